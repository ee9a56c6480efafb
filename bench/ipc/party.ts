// One of two programs that talk, for the benchmarks of memmap/ipc: started with the name of a way,
// a task, the size of a message and their count, it starts the other, measures, and prints what it
// has measured. The tasks:
//
//     trip      each message comes back before the next one is sent
//     one-way   messages follow one another; the other one says at the end how many bytes came

import { type ChildProcess, fork, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { Worker, workerData } from "node:worker_threads";
import type { Measured } from "../run.js";
import { channelWays } from "./channel-ways.js";
import { messageWays } from "./message-ways.js";

/** What is measured. */
export interface Task {
  readonly name: "trip" | "one-way";
  /** Bytes of a message. */
  readonly size: number;
  readonly count: number;
}

/** Starts the other one with the same way and task; `extra` reaches it as it is. */
export interface Start {
  process(extra: unknown): ChildProcess;
  forked(serialization: "json" | "advanced"): ChildProcess;
  worker(extra: unknown): Worker;
}

/** A way to talk. */
export interface Way {
  /** The one that measures: resolves with the bytes that the other one got or gave back. */
  near(task: Task, start: Start, clock: Clock): Promise<number>;
  /** The other one. */
  far(task: Task, extra: unknown): Promise<void>;
}

/** Measures from start() to stop(). */
export interface Clock {
  start(): void;
  stop(): void;
}

const ways: Readonly<Record<string, Way>> = { ...channelWays, ...messageWays };

const self = fileURLToPath(import.meta.url);
const inWorker: { readonly args: string[]; readonly extra: unknown } | null = workerData;
const [role = "", wayName = "", name = "", size = "", count = ""] =
  inWorker?.args ?? process.argv.slice(2);
const args = ["far", wayName, name, size, count];
const task: Task = {
  name: name === "trip" ? "trip" : "one-way",
  size: Number(size),
  count: Number(count),
};

const start: Start = {
  process: (extra) => {
    const env = { ...process.env, BENCH_EXTRA: JSON.stringify(extra) };
    return spawn(process.execPath, [self, ...args], { env, stdio: "inherit" });
  },
  forked: (serialization) => fork(self, args, { serialization }),
  worker: (extra) => new Worker(self, { workerData: { args, extra } }),
};

async function measure(way: Way): Promise<Measured> {
  let [from, elapsedMs] = [0, 0];
  const answer = await way.near(task, start, {
    start: () => {
      from = performance.now();
    },
    stop: () => {
      elapsedMs = performance.now() - from;
    },
  });
  return { answer, elapsedMs };
}

const way = ways[wayName];
if (way === undefined) throw new Error(`there is no way ${wayName}`);
if (role === "far") {
  const extra: unknown = inWorker?.extra ?? JSON.parse(process.env["BENCH_EXTRA"] ?? "null");
  await way.far(task, extra);
} else {
  console.log(JSON.stringify(await measure(way)));
}
