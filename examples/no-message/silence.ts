// Who is told of stores into a mapped file: nobody, as no-message.ts shows.

import { watch } from "node:fs";
import { setTimeout } from "node:timers/promises";
import { wait } from "memmap/ipc";
import { polling } from "./reader.js";

export interface Told {
  readonly events: number;
  readonly woken: string;
}

/** Waits until somebody wakes it; a store that comes before the sleep only makes it look again. */
async function sleep(words: Int32Array, signal: AbortSignal): Promise<string> {
  for (;;) {
    const result = await wait(words, 0, Atomics.load(words, 0), { signal });
    if (result !== "not-equal") return "woken";
  }
}

/**
 * Listens from the first store of a writer to the last but one: when the writer ends, its file is
 * closed, and that is an event of its own on some runtimes.
 */
export async function listen(words: Int32Array, file: string, stores: number): Promise<Told> {
  const end = performance.now() + 20_000;
  await polling(1)(words, 0, end);
  let events = 0;
  const watcher = watch(file, () => {
    events += 1;
  });
  const aborter = new AbortController();
  const woken = sleep(words, aborter.signal).catch(() => "never woken");
  while (Atomics.load(words, 0) < stores - 1 && performance.now() < end) await setTimeout(1);
  aborter.abort();
  watcher.close();
  return { events, woken: await woken };
}
