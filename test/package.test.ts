// The package as its users get it: packed, installed into an empty project without network and
// without install scripts, then loaded on each runtime and compiled against in both ways that
// TypeScript resolves modules today.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { accessSync, constants, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { after } from "node:test";
import { fileURLToPath } from "node:url";
import { runtimeName } from "./helpers/runtime.js";
import { tempDir } from "./helpers/temp.js";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** Everything here starts other programs, the other runtimes among them: once is enough. */
const skip = runtimeName !== "node" && "needs node: it starts the other runtimes itself";

/** Made by the first test; all others work in it. */
const project = skip ? "" : tempDir({ after });

test("the tarball installs offline, without scripts and without dependencies", { skip }, () => {
  const pack = ["pack", root, "--ignore-scripts", "--json", "--loglevel=error"];
  const packed = run("npm", pack);
  const [tarball] = JSON.parse(packed) as [{ filename: string; files: { path: string }[] }];
  const paths = tarball.files.map((file) => file.path);
  for (const wanted of ["package.json", "LICENSE", "dist/index.js", "dist/index.d.ts"]) {
    assert.ok(paths.includes(wanted), `${wanted} is in the tarball`);
  }
  assert.ok(
    paths.some((path) => /^dist\/addon\/[\w-]+\.node$/.test(path)),
    "the addon is in the tarball",
  );
  const strays = paths.filter((path) => /^(?:src|test|out|build|scripts)\//.test(path));
  assert.deepEqual(strays, []);

  writeFileSync(join(project, "package.json"), '{ "private": true, "type": "module" }\n');
  const flags = ["--offline", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
  run("npm", ["install", `./${tarball.filename}`, ...flags]);
  rmSync(join(project, tarball.filename));
  const lock = JSON.parse(readFileSync(join(project, "package-lock.json"), "utf8")) as {
    packages: object;
  };
  assert.deepEqual(Object.keys(lock.packages), ["", "node_modules/memmap"]);
});

test("the command is installed and may be executed", { skip }, () => {
  accessSync(join(project, "node_modules/.bin/memmap"), constants.X_OK);
});

/** Maps a file of the project by each door that maps: only a loaded addon can. */
const PROGRAM = `
const { bytes } = memmap.mapFileSync("message.txt");
console.log(typeof memmap.mapFileSync, new TextDecoder().decode(bytes));
const { MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE } = raw;
const address = raw.mmap(null, 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
raw.view(address, 5).set([104, 101, 108, 108, 111]);
console.log(typeof address, new TextDecoder().decode(raw.view(address, 5)));
raw.munmap(address, 1);
`;
const OUTPUT = "function mapped\nbigint hello\n";

const IMPORTS = `import * as memmap from "memmap"; import * as raw from "memmap/raw";`;
const REQUIRES = `const memmap = require("memmap"), raw = require("memmap/raw");`;

test("import and require() load it on this Node", { skip }, () => {
  writeFileSync(join(project, "message.txt"), "mapped");
  writeFileSync(join(project, "main.js"), IMPORTS + PROGRAM);
  writeFileSync(join(project, "main.cjs"), REQUIRES + PROGRAM);
  for (const file of ["main.js", "main.cjs"]) {
    assert.equal(run(process.execPath, ["--no-warnings", file]), OUTPUT);
  }
});

for (const name of ["node-22", "node-24", "node-26", "bun", "deno"]) {
  const path = skip ? undefined : installedRuntime(name);
  const missing = path === undefined && `${name} is not there: npm run test:runtimes installs it`;
  test(`import loads it on ${name}`, { skip: skip || missing }, () => {
    const flags = name === "deno" ? ["run", "-A", "--no-lock"] : [];
    assert.equal(run(path ?? "", [...flags, "main.js"]), OUTPUT);
  });
}

for (const resolution of ["nodenext", "bundler"]) {
  test(`a typed program compiles with ${resolution} resolution`, { skip }, () => {
    const code = `
      import { type Mapping, mapFileSync } from "memmap";
      import { mmap } from "memmap/raw";
      export const address: bigint = mmap(null, 1n, 0, 0x22, -1, 0);
      const mapping: Mapping = mapFileSync("package.json", { length: 1 });
      export const first: number | undefined = mapping.bytes[0];
      // @ts-expect-error A path is no number of bytes.
      mapFileSync("package.json", { length: "1" });`;
    writeFileSync(join(project, "typed.ts"), code);
    const config = {
      compilerOptions: {
        lib: ["es2022", "esnext.disposable", "dom"],
        module: resolution === "bundler" ? "esnext" : "nodenext",
        moduleResolution: resolution,
        noEmit: true,
        strict: true,
        target: "es2022",
        // The types have to stand without those of Node, which a user may not have installed.
        types: [],
      },
      files: ["typed.ts"],
    };
    writeFileSync(join(project, "tsconfig.json"), JSON.stringify(config));
    run(process.execPath, [join(root, "node_modules/typescript/lib/tsc.js"), "-p", "."]);
  });
}

/** Runs a command in the project and returns what it prints; its failure fails the test. */
function run(command: string, args: readonly string[]): string {
  const { error, status, stdout, stderr } = spawnSync(command, args, {
    cwd: project,
    encoding: "utf8",
    env: { ...process.env, NODE_TEST_CONTEXT: undefined, NO_COLOR: "1" },
    timeout: 120_000,
  });
  if (error) throw error;
  assert.equal(status, 0, `${command} ${args.join(" ")}\n${stdout}${stderr}`);
  return stdout;
}

/** The binary of a pinned runtime, where they are installed. */
function installedRuntime(name: string): string | undefined {
  const record = join(root, ".runtimes/runtimes.json");
  if (!existsSync(record)) return undefined;
  const paths = JSON.parse(readFileSync(record, "utf8")) as Record<string, string>;
  return paths[name] && join(root, paths[name]);
}
