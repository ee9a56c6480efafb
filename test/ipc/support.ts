// What the tests of waiting share.

import { readFileSync } from "node:fs";
import { notify } from "memmap/ipc";

/** The threads of this process, as the kernel counts them. */
export function threadCount(): number {
  const status = readFileSync("/proc/self/status", "utf8");
  return Number(/^Threads:\s+(\d+)$/m.exec(status)?.[1]);
}

/** Notifies until so many waits were woken: they may still be on their way into the kernel. */
export async function wake(words: Int32Array, index: number, count: number): Promise<void> {
  let left = count;
  for (let tries = 0; left > 0; tries += 1) {
    if (tries > 2000) throw new Error(`${left} of ${count} waits did not come`);
    left -= notify(words, index, left);
    if (left > 0) await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
