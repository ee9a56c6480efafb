// Runs the compiled tests of out/test on one runtime, on several, or on all pinned ones.
//
//   node scripts/test.mjs [--runtime=node|node-22|node-24|node-26|bun|deno|all]... [filter]...
//
// A filter keeps the test files whose path holds it. Every runtime runs the same files, and every
// file has a process of its own: a crash or a leak in one cannot be taken for another's.

import { spawn, spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { RUNTIMES, runtimePath } from "./runtimes.mjs";

/** How long a runtime may take for one run of the suite. */
const RUNTIME_MINUTES_MAX = 10;

/** How long one test file may take: less, so that the file that hangs is named. */
const FILE_MS_MAX = 300_000;

/** How much of a failed file's output is shown again at the end. */
const OUTPUT_LINES_MAX = 60;

/** Files at a time: more than two would disturb the tests that measure waits and faults. */
const CONCURRENCY = Math.min(2, availableParallelism());

/** How one file is run where there is no runner for many. */
const commands = {
  bun: ["test", "--timeout", "60000"],
  deno: ["test", "-A", "--no-check", "--no-lock"],
};

/** Runtimes whose output is piped through here cannot see by themselves where it goes. */
const plainText = process.stdout.isTTY ? {} : { NO_COLOR: "1" };

process.chdir(dirname(dirname(fileURLToPath(import.meta.url))));

const { values, positionals } = parseArgs({
  options: { runtime: { type: "string", multiple: true, default: ["node"] } },
  allowPositionals: true,
});

/** The processes that run now; each leads a group of its own, so that its children end with it. */
const running = new Set();
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, () => {
    killAll();
    process.exit(1);
  });
}

const files = findTests(positionals);
if (files.length === 0) {
  // `node --test` passes when it is given nothing to run, so this has to be asked for here.
  console.error(`test: no compiled test matches [${positionals.join(", ")}]: build first`);
  process.exit(1);
}
const names = values.runtime.flatMap((name) => (name === "all" ? RUNTIMES : [name]));
const unknown = names.filter((name) => name !== "node" && !RUNTIMES.includes(name));
if (unknown.length > 0) {
  console.error(`test: no runtime ${unknown.join(", ")}: one of node, ${RUNTIMES.join(", ")}, all`);
  process.exit(2);
}
const failures = [];

/** What a file that failed to the end printed at its last try: shown once more when all is done. */
const lastOutputs = new Map();
for (const name of names) if (!(await runSuite(name))) failures.push(name);
if (names.length > 1) console.log(`\ntest: ${names.length - failures.length} runtimes passed`);
for (const [title, text] of lastOutputs) {
  const lines = text.trimEnd().split("\n");
  console.error(`\n==== ${title}\n${lines.slice(-OUTPUT_LINES_MAX).join("\n")}`);
}
if (failures.length > 0) {
  console.error(`test: failed on ${failures.join(", ")}`);
  process.exitCode = 1;
}

/** The compiled test files whose path holds one of the filters; all when there is no filter. */
function findTests(filters) {
  if (!existsSync("out/test")) return [];
  return readdirSync("out/test", { recursive: true })
    .filter((name) => name.endsWith(".test.js"))
    .map((name) => join("out/test", name))
    .filter((file) => filters.length === 0 || filters.some((filter) => file.includes(filter)))
    .sort();
}

/** Runs the files on one runtime within its time; returns whether all of them passed. */
async function runSuite(name) {
  const path = name === "node" ? process.execPath : runtimePath(name);
  const version = spawnSync(path, ["--version"], { encoding: "utf8" }).stdout.split("\n")[0];
  console.log(`\n==== ${name}: ${version} (${files.length} test files)`);
  let isLate = false;
  const timer = setTimeout(() => {
    console.error(`test: ${name} was stopped after ${RUNTIME_MINUTES_MAX} minutes`);
    isLate = true;
    killAll();
  }, RUNTIME_MINUTES_MAX * 60_000);
  const first = name.startsWith("node")
    ? await runTogether(path)
    : await runEach(path, name, () => isLate);
  const failed = [];
  for (const file of first) {
    if (!isLate && (await runAgain(path, name, file))) continue;
    failed.push(file);
  }
  clearTimeout(timer);
  for (const file of failed) console.error(`test: ${name} failed: ${file}`);
  return failed.length === 0 && !isLate;
}

/** Node: its own runner gives each file a process and sums up. */
async function runTogether(path) {
  const options = [`--test-concurrency=${CONCURRENCY}`, `--test-timeout=${FILE_MS_MAX}`];
  const args = ["--test", "--test-reporter=spec", ...options, ...files];
  let text = "";
  const code = await run(path, args, {
    output: "pipe",
    onText: (chunk) => {
      text += chunk;
    },
  });
  if (code === 0) return [];
  const places = [...text.matchAll(/^test at (out\/test\/\S+?\.js):/gm)].map(([, file]) => file);
  const failed = places.flatMap(testsDefinedAt);
  return failed.length === 0 ? ["see above"] : [...new Set(failed)];
}

/**
 * The test files behind a place where tests are defined: a module that defines tests for others
 * would pass alone, having none of its own, so those that import it stand for it.
 */
function testsDefinedAt(place) {
  if (files.includes(place)) return [place];
  const name = `/${basename(place)}"`;
  const users = files.filter((file) => readFileSync(file, "utf8").includes(name));
  return users.length === 0 ? ["see above"] : users;
}

/**
 * A file that failed beside others is tried again by itself, twice at the most: machines are
 * shared, and engines die of what others take. What passes then is said, so that it is seen.
 */
async function runAgain(path, name, file) {
  const node = ["--test", "--test-reporter=spec", `--test-timeout=${FILE_MS_MAX}`];
  const command = name.startsWith("node") ? node : commands[name];
  for (let tries = 2; existsSync(file) && tries <= 3; tries += 1) {
    console.error(`test: ${name}: ${file} failed and is run again, alone`);
    let text = "";
    const onText = (chunk) => {
      text += chunk;
    };
    if ((await run(path, [...command, `./${file}`], { output: "pipe", onText })) === 0) {
      console.error(`test: ${name}: ${file} passed at try ${tries}`);
      return true;
    }
    lastOutputs.set(`${name} ${file}`, text);
  }
  return false;
}

/** Bun and Deno would run all files in one process, so they are started once for each file. */
async function runEach(path, name, isLate) {
  const command = commands[name];
  const waiting = [...files];
  const failed = [];
  const worker = async () => {
    for (let file = waiting.shift(); file && !isLate(); file = waiting.shift()) {
      if ((await run(path, [...command, `./${file}`], { output: "pipe" })) !== 0) failed.push(file);
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, worker));
  return failed;
}

/** Runs one command and returns its exit code; piped output appears whole, when it has ended. */
function run(path, args, { output, onText }) {
  return new Promise((resolve, reject) => {
    const child = spawn(path, args, {
      detached: true, // Makes it the leader of a process group.
      env: { ...process.env, DENO_NO_UPDATE_CHECK: "1", ...plainText },
      stdio: ["ignore", output, output],
    });
    running.add(child);
    // Node's own runner has the same limit for each file.
    const timer = setTimeout(() => !onText && output === "pipe" && kill(child), FILE_MS_MAX);
    let text = "";
    const keep = (chunk) => {
      if (onText) process.stdout.write(chunk);
      else text += chunk;
      onText?.(chunk);
    };
    child.stdout?.setEncoding("utf8").on("data", keep);
    child.stderr?.setEncoding("utf8").on("data", keep);
    child.on("error", reject);
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      running.delete(child);
      process.stdout.write(text);
      if (signal) console.error(`test: ended by ${signal}: ${args.at(-1)}`);
      resolve(code);
    });
  });
}

function killAll() {
  for (const child of running) kill(child);
}

/** Ends a child and all that it has started. */
function kill(child) {
  try {
    process.kill(-child.pid, "SIGKILL");
  } catch (error) {
    if (error.code !== "ESRCH") throw error; // It has ended by itself meanwhile.
  }
}
