/**
 * The progress of a long job: one line on standard error that is written over again and again, only
 * when that is a terminal, and only when the job lasts.
 */
import { writeSync } from "node:fs";
import { isatty } from "node:tty";
import { formatClock, formatSize } from "./text.js";

/** The time after which a job counts as long. */
const quietMs = 1000;

/** The time between two lines. */
const everyMs = 200;

/** What is known in the middle of a job. */
export interface ProgressState {
  /** How far the job has come, and how far it must go: bytes. */
  readonly done: number;
  readonly total: number;
  /** What was moved so far, which is less where there are holes: bytes. */
  readonly moved: number;
  readonly elapsedMs: number;
}

/** The line for a state: percent, sizes, speed and the time it still takes. */
export function progressLine({ done, total, moved, elapsedMs }: ProgressState): string {
  const seconds = elapsedMs / 1000;
  const percent = total === 0 ? 100 : Math.floor((done / total) * 100);
  const rate = (moved / 2 ** 20 / seconds).toFixed(1);
  const left = done === 0 ? "?" : formatClock((seconds * (total - done)) / done);
  const end = done === total ? "bringing it to storage" : `ETA ${left}`;
  const parts = [
    `${String(percent).padStart(3)}%`,
    `${formatSize(done)} of ${formatSize(total)}`,
    `${rate} MiB/s`,
    end,
  ];
  return parts.join("  ");
}

/** Shows how far a job is, also while one of its calls takes long. */
export class Progress {
  readonly #total: number;
  readonly #begin = performance.now();
  readonly #timer: NodeJS.Timeout | undefined;
  #done = 0;
  #moved = 0;
  #shown = false;

  /** A job whose length is not known, 0, shows nothing. */
  constructor(total: number) {
    this.#total = total;
    if (total > 0 && isatty(2)) this.#timer = setInterval(() => this.#show(), everyMs);
  }

  /** Tells how far the job is. */
  update(done: number, moved: number): void {
    this.#done = done;
    this.#moved = moved;
  }

  /** Takes the line away, so that the terminal is as before. */
  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    if (this.#shown) this.#write("\r\u001b[K");
  }

  #show(): void {
    const elapsedMs = performance.now() - this.#begin;
    if (elapsedMs < quietMs) return;
    const state = { done: this.#done, total: this.#total, moved: this.#moved, elapsedMs };
    this.#shown = true;
    this.#write(`\r${progressLine(state)}\u001b[K`);
  }

  /* A terminal that is gone is no reason to end the job. */
  #write(text: string): void {
    try {
      writeSync(2, text);
    } catch {}
  }
}
