// The ways in which the reader of no-message.ts learns that a store was made.

import { setTimeout } from "node:timers/promises";
import { wait } from "memmap/ipc";
import { now } from "./writer.js";

/** Comes back when word 0 is no longer `seen`, or when it is later than `end` in ms. */
export type Way = (words: Int32Array, seen: number, end: number) => Promise<void>;

function isSame(words: Int32Array, seen: number, end: number): boolean {
  return Atomics.load(words, 0) === seen && performance.now() < end;
}

/** Looks, and sleeps for some ms, and looks again. */
export function polling(ms: number): Way {
  return async (words, seen, end) => {
    while (isSame(words, seen, end)) await setTimeout(ms);
  };
}

/** Looks all the time: nothing else runs on this thread. */
export async function spinning(words: Int32Array, seen: number, end: number): Promise<void> {
  while (isSame(words, seen, end));
}

/** Sleeps until it is told. */
export async function waiting(words: Int32Array, seen: number, end: number): Promise<void> {
  while (isSame(words, seen, end)) {
    await wait(words, 0, seen, { timeoutMs: Math.max(0, end - performance.now()) });
  }
}

export interface Cost {
  /** How late the reader knew, the median in ms. */
  readonly delayMs: number;
  /** Processor time by time, with stores and without. */
  readonly load: number;
  readonly idleLoad: number;
}

async function loadOf(run: () => Promise<void>): Promise<number> {
  const [begin, used] = [performance.now(), process.cpuUsage()];
  await run();
  const { user, system } = process.cpuUsage(used);
  return (user + system) / 1000 / (performance.now() - begin);
}

/** Learns of each store of a writer that has just been started, but the first. */
export async function read(words: Int32Array, stores: number, way: Way): Promise<Cost> {
  const time = new Float64Array(words.buffer, 8, 1);
  const delays: number[] = [];
  await polling(1)(words, 0, performance.now() + 10_000);
  const load = await loadOf(async () => {
    for (let seen = 1; seen < stores; seen = Atomics.load(words, 0)) {
      await way(words, seen, performance.now() + 5000);
      if (Atomics.load(words, 0) === seen) throw new Error(`No store after ${seen}`);
      delays.push(now() - (time[0] ?? 0));
    }
  });
  const idleLoad = await loadOf(() => way(words, stores, performance.now() + 10 * stores));
  delays.sort((a, b) => a - b);
  return { delayMs: Math.max(0, delays[delays.length >> 1] ?? 0), load, idleLoad };
}
