// Installs the pinned runtimes of runtimes/package.json into .runtimes/ and says where each one is.
// The platform packages hold the binaries themselves, so that no install script has to run.
// .runtimes/runtimes.json maps each name to its binary and is written last: where it stands beside
// the same lock file, the installation is whole.

import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const home = join(root, ".runtimes");
const record = join(home, "runtimes.json");

/** Each runtime's binary inside .runtimes/node_modules, for the architecture at hand. */
const BINARIES = {
  "node-22": `node-22-${process.arch}/bin/node`,
  "node-24": `node-24-${process.arch}/bin/node`,
  "node-26": `node-26-${process.arch}/bin/node`,
  bun: `@oven/bun-linux-${process.arch === "arm64" ? "aarch64" : process.arch}/bin/bun`,
  deno: `@deno/linux-${process.arch}-glibc/deno`,
};

/** The names of the pinned runtimes, in the order in which they are run. */
export const RUNTIMES = Object.keys(BINARIES);

/** The path of a runtime's binary; installs all of them first where they are absent or outdated. */
export function runtimePath(name) {
  if (!isInstalled()) install();
  return join(root, JSON.parse(readFileSync(record, "utf8"))[name]);
}

function isInstalled() {
  if (!existsSync(record)) return false;
  const [pinned, installed] = [join(root, "runtimes"), home].map((folder) =>
    readFileSync(join(folder, "package-lock.json"), "utf8"),
  );
  return pinned === installed;
}

function install() {
  console.log("runtimes: installing into .runtimes/");
  mkdirSync(home, { recursive: true });
  rmSync(record, { force: true });
  for (const file of ["package.json", "package-lock.json"]) {
    copyFileSync(join(root, "runtimes", file), join(home, file));
  }
  const args = ["ci", "--prefix", home, "--ignore-scripts", "--no-audit", "--no-fund"];
  const { status } = spawnSync("npm", args, { stdio: "inherit" });
  if (status !== 0) throw new Error("Cannot install the runtimes: npm failed");
  const paths = Object.entries(BINARIES).map(([name, binary]) => {
    // The packages are optional to npm, which leaves out what it cannot have without an error.
    const path = join(".runtimes/node_modules", binary);
    if (existsSync(join(root, path))) return [name, path];
    throw new Error(`Cannot install ${name}: it has no package for this machine`);
  });
  writeFileSync(record, `${JSON.stringify(Object.fromEntries(paths), null, 2)}\n`);
}
