/**
 * The calls of one end that wait behind each other, in the order in which they were made. Shared
 * memory knows threads alone, and would serve the tasks of one thread in any order.
 *
 * Invariant: whoever was let in leaves; then the next one is in, before anybody who comes later.
 */
import { clearTimeout, setTimeout } from "node:timers";
import type { Limits } from "./block.js";

/** The longest time that a timer of the runtime takes. */
const timerMaxMs = 2 ** 31 - 1;

/** A line with one place at its head. */
export class Line {
  readonly #waiting = new Set<() => void>();
  #isTaken = false;

  /** Goes in if nobody is; whoever waits is before us. */
  tryEnter(): boolean {
    if (this.#isTaken) return false;
    this.#isTaken = true;
    return true;
  }

  /**
   * Goes in when everybody before has left.
   *
   * @param keepsAlive Whether the time limit keeps the process alive.
   * @returns false when the time was over before. Rejects with `signal.reason` when aborted.
   */
  enter(limits: Limits, keepsAlive: boolean): Promise<boolean> {
    if (this.tryEnter()) return Promise.resolve(true);
    const { timeoutMs, signal } = limits;
    if (timeoutMs <= 0) return Promise.resolve(false);
    if (signal?.aborted === true) return Promise.reject(signal.reason);
    return new Promise((resolve, reject) => {
      const until = performance.now() + timeoutMs;
      let timer: ReturnType<typeof setTimeout> | undefined;
      const quit = (): void => {
        this.#waiting.delete(goIn);
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
      };
      function goIn(): void {
        quit();
        resolve(true);
      }
      function abort(): void {
        quit();
        reject(signal?.reason);
      }
      function look(): void {
        const rest = until - performance.now();
        if (rest <= 0) {
          quit();
          resolve(false);
          return;
        }
        timer = setTimeout(look, Math.min(Math.ceil(rest), timerMaxMs));
        if (!keepsAlive) timer.unref();
      }
      /* First: when it throws, nobody stands in the line who would never leave it. */
      signal?.addEventListener("abort", abort, { once: true });
      this.#waiting.add(goIn);
      if (timeoutMs !== Number.POSITIVE_INFINITY) look();
    });
  }

  /** Lets the next one in. */
  leave(): void {
    const [next] = this.#waiting;
    if (next === undefined) this.#isTaken = false;
    else next();
  }

  /** Lets everybody in: there is nothing to wait for any more. */
  dissolve(): void {
    for (const goIn of [...this.#waiting]) goIn();
  }
}
