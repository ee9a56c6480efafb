// Does the same things to the memory of memmap and of its peers, each in a process of its own, and
// prints what became of them as a table. Run by hand; the table in docs/safety.md comes from here.
//
//     node scripts/crash-peers.mjs
//
// The peers are installed into a temporary folder. A full disk needs root, to mount a small tmpfs.

import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { runtimePath } from "./runtimes.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const PACKAGES = ["@riaskov/mmap-io@1.4.3", "koffi@3.3.4"];

const ABUSES = {
  truncate: "the file is truncated; a lost page is read",
  "truncate-zlib": "the same, by a thread of the runtime (Python: by crc32)",
  "read-only": "memory that may only be read is written",
  none: "memory without any permission is read",
  unmapped: "memory is read after it was unmapped",
  alias: "the same, when other memory was mapped since",
  "disk-full": "a hole of a file on a full disk is written",
  "huge-pool": "a huge page is touched when there is none",
};

const work = mkdtempSync(join(tmpdir(), "memmap-peers-"));
const disk = join(work, "disk");
try {
  const peers = listPeers(install());
  const hasDisk = mountDisk();
  const rows = Object.entries(ABUSES).map(([abuse, what]) => [
    what,
    ...peers.map((peer) => (abuse === "disk-full" && !hasDisk ? "not run" : outcome(peer, abuse))),
  ]);
  const heads = ["", ...peers.map(({ title }) => title)];
  for (const row of [heads, heads.map(() => "---"), ...rows]) console.log(`| ${row.join(" | ")} |`);
} finally {
  spawnSync("umount", [disk]);
  rmSync(work, { recursive: true, force: true });
}

/** Installs the peers and returns which of them can be loaded by this Node. */
function install() {
  writeFileSync(join(work, "package.json"), '{ "private": true }\n');
  const args = ["install", "--prefix", work, "--no-audit", "--no-fund", ...PACKAGES];
  spawnSync("npm", args, { cwd: work, stdio: ["ignore", "ignore", "inherit"] });
  const canLoad = (name) => {
    const code = `require(${JSON.stringify(name)})`;
    return spawnSync(process.execPath, ["-e", code], { cwd: work }).status === 0;
  };
  return ["@riaskov/mmap-io", "koffi"].filter(canLoad);
}

/** Each library with the runtime that has it. */
function listPeers(installed) {
  const node = process.execPath;
  const nodeTitle = `Node ${process.versions.node}`;
  const versionOf = (name) => {
    const file = join(work, "node_modules", name, "package.json");
    return existsSync(file) ? JSON.parse(readFileSync(file, "utf8")).version : "not installed";
  };
  const fromNpm = ["@riaskov/mmap-io", "koffi"].map((library) => ({
    library,
    runtime: installed.includes(library) ? node : undefined,
    title: `${library} ${versionOf(library)} (${nodeTitle})`,
  }));
  const [bun, node26] = ["bun", "node-26"].map(runtimePath);
  const say = (path) =>
    spawnSync(path, ["--version"], { encoding: "utf8" }).stdout.trim().replace(/^v/, "");
  const python = spawnSync("python3", ["--version"], { encoding: "utf8" });
  return [
    { library: "memmap", runtime: node, title: `**memmap** (${nodeTitle})` },
    { library: "memmap", runtime: bun, title: `**memmap** (Bun ${say(bun)})` },
    ...fromNpm,
    { library: "Bun.mmap", runtime: bun, title: `Bun.mmap (${say(bun)})` },
    { library: "node:ffi", runtime: node26, title: `node:ffi (Node ${say(node26)})` },
    ...(python.status === 0
      ? [{ library: "python", runtime: "python3", title: `mmap (${python.stdout.trim()})` }]
      : []),
  ];
}

/** Mounts a file system that is full but for the files without pages. */
function mountDisk() {
  mkdirSync(disk);
  return spawnSync("mount", ["-t", "tmpfs", "-o", "size=1m", "none", disk]).status === 0;
}

/** Makes the file that is abused. */
function makeFile(abuse) {
  if (abuse !== "disk-full") {
    const path = join(work, "data.bin");
    writeFileSync(path, Buffer.alloc(8 * 4096, 5));
    return path;
  }
  const path = join(disk, "data.bin");
  rmSync(join(disk, "filler"), { force: true });
  writeFileSync(path, "");
  truncateSync(path, 8 * 4096);
  spawnSync("dd", ["if=/dev/zero", `of=${join(disk, "filler")}`, "bs=4096"], { stdio: "ignore" });
  return path;
}

/** What became of a process that did it. */
function outcome({ library, runtime }, abuse) {
  if (runtime === undefined) return "does not install";
  const path = makeFile(abuse);
  const folder = join(root, "bench/peers");
  const args =
    library === "python"
      ? [join(folder, "abuse.py"), abuse, path]
      : [join(folder, "abuse.mjs"), library, abuse, path, work];
  const { status, signal, stdout } = spawnSync(runtime, args, {
    encoding: "utf8",
    timeout: 60_000,
    env: { ...process.env, NODE_NO_WARNINGS: "1" },
  });
  if (signal !== null) return `**killed by ${signal}**`;
  if (status !== 0) return `**ended with code ${status}**`;
  return stdout.trim();
}
