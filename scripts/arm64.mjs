// Builds the addon for arm64 with a cross compiler and runs a part of the tests on the arm64 Node
// under qemu: the crash matrix and the others that make real faults, since whether a fault was a
// read or a write is told by another register there.
//
//   node scripts/arm64.mjs [filter]...
//
// Filters are parts of the paths of compiled tests, as in scripts/test.mjs; build with --tests
// first. Works in build/arm64/, a copy of what a test needs: `process.execPath` is a script there
// that starts the emulator, so that children of the tests run under it as well. Where a package
// is missing it says so and ends with exit code 0. At the end it says how many cells of the matrix
// have passed and which the emulator cannot have; all must end within fifteen minutes.

import { spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const EMULATOR = "qemu-aarch64-static";
const COMPILER = "aarch64-linux-gnu-gcc";

/** The C library and the C++ library for the arm64 Node, where Debian's cross packages put them. */
const LIBRARIES = "/usr/aarch64-linux-gnu";

/** The alias of the emulated Node in runtimes/package.json, and its name in the crash matrix. */
const RUNTIME = "node-22-arm64";

/**
 * The tests that run without being named, longest first: real faults in children, and reports of
 * them. Not those of remap() and resize(): both double shared mappings, by mremap(2) with an old
 * size of 0, which the emulator refuses.
 */
const TESTS = [
  ...["here", "there", "plain"].map((name) => `crash/${name}.`),
  ...["never-lost", "access", "handlers", "install", "reporting", "wasm"].map(
    (name) => `guard/${name}.`,
  ),
];

/** How long all tests together may take. */
const MS_MAX = 15 * 60_000;

/** Files at a time, as in scripts/test.mjs. */
const CONCURRENCY = Math.min(2, availableParallelism());

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const home = join(root, "build/arm64");
process.chdir(root);

const missing = whatIsMissing();
if (missing !== undefined) {
  console.log(`arm64: skipped: ${missing}`);
} else {
  const node = prepareNode();
  if (node === undefined) console.log("arm64: skipped: npm could not give the arm64 Node");
  else process.exitCode = (await buildAndTest(node)) ? 0 : 1;
}

/** Why this machine cannot run the tests; undefined when it can. */
function whatIsMissing() {
  if (process.platform !== "linux") return `needs Linux, this is ${process.platform}`;
  for (const [command, packageName] of [
    [EMULATOR, "qemu-user-static"],
    [COMPILER, "gcc-aarch64-linux-gnu"],
  ]) {
    const { status } = spawnSync(command, ["--version"]);
    if (status !== 0) return `no ${command} (Debian: apt-get install ${packageName})`;
  }
  const libraries = ["lib/libc.so.6", "lib/libstdc++.so.6"].map((name) => join(LIBRARIES, name));
  const absent = libraries.find((file) => !existsSync(file));
  if (absent !== undefined) {
    return `no ${absent} (Debian: apt-get install libstdc++6-arm64-cross libc6-dev-arm64-cross)`;
  }
  if (!existsSync("out/test")) return "no compiled tests (node scripts/build.mjs --tests)";
  return undefined;
}

/** Fetches the pinned arm64 Node once; returns the path of its binary. */
function prepareNode() {
  const { optionalDependencies } = JSON.parse(readFileSync("runtimes/package.json", "utf8"));
  const [name, version] = optionalDependencies[RUNTIME].slice("npm:".length).split("@");
  const folder = join(home, `node-${version}`);
  const binary = join(folder, "node_modules", name, "bin/node");
  if (existsSync(binary)) return binary;
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "package.json"), `{ "private": true }\n`);
  // Forced, since the package is for another processor than this one.
  const flags = ["--force", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
  spawnSync("npm", ["install", "--prefix", folder, ...flags, `${name}@${version}`], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  return existsSync(binary) ? binary : undefined;
}

/** Copies what the tests need, builds the addon by the project's own script, and runs them. */
async function buildAndTest(node) {
  for (const folder of ["native", "scripts", "out", "dist"]) {
    rmSync(join(home, folder), { recursive: true, force: true });
    cpSync(folder, join(home, folder), { recursive: true });
  }
  cpSync("package.json", join(home, "package.json"));
  rmSync(join(home, "node_modules"), { recursive: true, force: true });
  symlinkSync(join(root, "node_modules"), join(home, "node_modules"));
  const start = writeStarter(node);
  const env = {
    ...process.env,
    CC: COMPILER,
    NODE_OPTIONS: `--import=${writePreload(start)}`,
    TEST_TIME_FACTOR: "8",
    TEST_EMULATED: RUNTIME,
  };
  const version = run(start, ["-p", "process.version + ' ' + process.arch"], {
    env,
    stdio: "pipe",
  });
  if (version.status !== 0) {
    console.error(`arm64: the emulated Node does not start: ${version.stderr}`);
    return false;
  }
  console.log(`arm64: node ${version.stdout.trim()}`);
  /* Only the addon; the flags are those of the processor that the build believes to run on. */
  const built = run(start, ["scripts/build.mjs", "--sanitize="], { env });
  if (built.status !== 0) return false;
  return runTests(start, env);
}

/* A script that stands for the emulated Node wherever a path of a program is asked for. */
function writeStarter(node) {
  const start = join(home, "node-arm64");
  writeFileSync(start, `#!/bin/sh\nexec ${EMULATOR} -L ${LIBRARIES} "${node}" "$@"\n`);
  chmodSync(start, 0o755);
  return start;
}

/* Children are started by `process.execPath`, which is the emulated binary itself otherwise. */
function writePreload(start) {
  const file = join(home, "exec-path.mjs");
  writeFileSync(file, `process.execPath = ${JSON.stringify(start)};\n`);
  return file;
}

/** Runs each matching test file in a process of its own; returns whether all have passed. */
async function runTests(start, env) {
  const filters = process.argv.slice(2);
  const wanted = filters.length > 0 ? filters : TESTS;
  const compiled = readdirSync(join(home, "out/test"), { recursive: true })
    .filter((name) => name.endsWith(".test.js"))
    .map((name) => join("out/test", name))
    .sort();
  const files = [
    ...new Set(wanted.flatMap((filter) => compiled.filter((file) => file.includes(filter)))),
  ];
  const end = Date.now() + MS_MAX;
  const waiting = [...files];
  const failed = [];
  let cells = { passed: 0, run: 0 };
  const worker = async () => {
    for (let file = waiting.shift(); file; file = waiting.shift()) {
      const { passes, text } = await runFile(start, file, { env, msMax: end - Date.now() });
      process.stdout.write(`\narm64: ${file}\n${text}`);
      if (!passes) failed.push(file);
      cells = addCells(cells, text);
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, worker));
  if (files.some((file) => /crash.(here|there)/.test(file))) await sayCells(cells);
  const seconds = Math.round((MS_MAX - (end - Date.now())) / 1000);
  const passed = files.length - failed.length;
  console.log(`arm64: ${passed} of ${files.length} test files passed in ${seconds} s`);
  for (const file of failed) console.error(`arm64: failed: ${file}`);
  return files.length > 0 && failed.length === 0;
}

/** Runs one test file and all its children to their end, or until the time is over. */
function runFile(start, file, { env, msMax }) {
  return new Promise((resolve, reject) => {
    const args = ["--test-reporter=spec", file];
    /* The leader of a process group of its own, so that its children end with it. */
    const child = spawn(start, args, { cwd: home, env, detached: true });
    let text = "";
    const keep = (chunk) => {
      text += chunk;
    };
    child.stdout.setEncoding("utf8").on("data", keep);
    child.stderr.setEncoding("utf8").on("data", keep);
    const timer = setTimeout(() => process.kill(-child.pid, "SIGKILL"), Math.max(msMax, 1));
    child.on("error", reject);
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      if (signal) text += `arm64: ended by ${signal}\n`;
      resolve({ passes: code === 0, text });
    });
  });
}

/** Each test of the matrix says how many of its cells have passed. */
function addCells({ passed, run }, text) {
  const found = [...text.matchAll(/cells passed: (\d+) of (\d+)/g)];
  const sum = (index) => found.reduce((total, match) => total + Number(match[index]), 0);
  return { passed: passed + sum(1), run: run + sum(2) };
}

/** What ran of the matrix, and what did not: here, or nowhere on this runtime. */
async function sayCells({ passed, run }) {
  const { runCount, exclusionCounts } = await import(join(root, "out/test/crash/counts.js"));
  const wanted = runCount(RUNTIME);
  console.log(`\narm64: ${passed} of ${wanted} cells of the crash matrix passed, ${run} were run`);
  for (const [reason, count] of exclusionCounts(RUNTIME)) {
    console.log(`arm64: ${count} cells left out: ${reason}`);
  }
  if (run < wanted)
    console.log(`arm64: ${wanted - run} cells not run: see the skipped tests above`);
}

function run(command, args, options) {
  const stdio = ["ignore", "inherit", "inherit"];
  return spawnSync(command, args, { cwd: home, encoding: "utf8", stdio, ...options });
}
