// Programs in children that may be killed: a prelude with what they all need, and what they
// answer. An answer is the last line of the standard output, as JSON; a program without one is a
// failure.

import assert from "node:assert/strict";
import { type RunOptions, type RunResult, runSource } from "../helpers/child.js";
import { type Cleanup, tempDir } from "../helpers/temp.js";

/** What a program may answer. */
export type Answer = Readonly<Record<string, unknown>>;

/* A worker of a program is the same file again, with the name of its part in `workerData`. */
const prelude = `
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { isMainThread, parentPort, threadId, Worker, workerData } from "node:worker_threads";
import {
  attachMapping, FaultError, mapAnonymous, mapFile, mapFileSync, MemmapError, pageSize, SystemError,
} from "memmap";
const folder = process.argv[2];
const require = createRequire(import.meta.url);
let files = 0;

/** A file of some pages, each filled with its number from 1 on. */
function makeFile(pages) {
  const path = join(folder, ["data", process.pid, threadId, files++].join("-"));
  const content = Buffer.alloc(pages * pageSize);
  for (let i = 0; i < pages; i++) content.fill((i % 255) + 1, i * pageSize, (i + 1) * pageSize);
  fs.writeFileSync(path, content);
  return path;
}

/** A mapping of a file that was shortened to one page. */
function shortened(pages, options) {
  const path = makeFile(pages);
  const mapping = mapFileSync(path, options);
  fs.truncateSync(path, pageSize);
  return mapping;
}

const turn = () => new Promise((resolve) => setImmediate(resolve));
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until a condition holds; the time-out of the child ends a wait that never does. */
async function until(condition) {
  while (!condition()) await sleep(5);
}

/** The fields of a fault that can be sent as JSON. */
function fieldsOf(fault) {
  const { code, byteOffset, access, reason, count, path } = fault;
  return { name: fault.constructor.name, code, byteOffset, access, reason, count, path };
}

/** Which error a call throws: its code, "" for none. */
function codeOf(call) {
  try {
    call();
  } catch (error) {
    return error.code ?? error.name;
  }
  return "";
}

/** Starts this file as a worker with a part to play. */
function startPart(part, data) {
  return new Worker(new URL(import.meta.url), { workerData: { part, data }, argv: [folder] });
}

/** The next message of a worker. */
function messageOf(worker) {
  return new Promise((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
  });
}

function answer(value) {
  fs.writeSync(1, JSON.stringify(value) + "\\n");
}
`;

/* An emulated processor takes several times as long: who runs tests there says how many. */
const timeFactor = Number(process.env["TEST_TIME_FACTOR"] ?? 1);

function withTime(options: RunOptions): RunOptions {
  return { ...options, timeoutMs: (options.timeoutMs ?? 20_000) * timeFactor };
}

/** Runs such a program to its end, whatever that is; its first argument is a folder of its own. */
export function runProgram(t: Cleanup, code: string, options: RunOptions = {}): Promise<RunResult> {
  return runSource(`${prelude}\n${code}`, [tempDir(t)], withTime(options));
}

/** The same in a folder of the caller, with more arguments. */
export function runProgramIn(
  args: readonly string[],
  code: string,
  options: RunOptions = {},
): Promise<RunResult> {
  return runSource(`${prelude}\n${code}`, args, withTime(options));
}

/** What a program that ended well has answered. */
export function answerOf(result: RunResult): Answer {
  const { code, signal, stdout, stderr } = result;
  const told = `code ${code}, signal ${signal}, stdout: ${stdout}, stderr: ${stderr}`;
  assert.equal(signal, null, told);
  assert.equal(code, 0, told);
  const line = stdout.trimEnd().split("\n").at(-1) ?? "";
  assert.notEqual(line, "", `no answer: ${told}`);
  return JSON.parse(line);
}

/** Runs a program that must end well, and returns what it has answered. */
export async function answerTo(
  t: Cleanup,
  code: string,
  options: RunOptions = {},
): Promise<Answer> {
  return answerOf(await runProgram(t, code, options));
}
