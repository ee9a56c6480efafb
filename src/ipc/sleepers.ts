/**
 * The word of a structure that says whether somebody sleeps until it changes. It counts: who will
 * sleep makes it odd, and who changes something makes it even again and wakes all. So nobody makes
 * a system call where nobody sleeps, and a sleeper that was killed costs one call at most.
 *
 *     sleeper   make it odd, look again at what is waited for, sleep while it has that value
 *     waker     change something, and if it is odd: add 1, wake all
 *
 * Either the sleeper sees the change or the waker sees the odd number. A number that is never used
 * again is what keeps a sleeper from sleeping on behalf of one that came after its waker. A waker
 * that is killed between its two steps leaves sleepers that look again by themselves (block.ts).
 */
import type { Place } from "./place.js";
import { notify } from "./wait.js";

/** The sleepers of a structure that wait for one thing. */
export class Sleepers {
  readonly #place: Place;
  /** Of the word: what a task of block.ts sleeps on. */
  readonly index: number;

  constructor(place: Place, index: number) {
    this.#place = place;
    this.index = index;
  }

  /**
   * Says that somebody will sleep; what is waited for must be looked at again after it.
   *
   * @returns The value to sleep on.
   */
  announce(): number {
    return announce(this.#place.words, this.index);
  }

  /** Whether somebody may sleep. */
  get areThere(): boolean {
    return (Atomics.load(this.#place.words, this.index) & 1) === 1;
  }

  /** Wakes all after a change. */
  wake(): void {
    const { words } = this.#place;
    if (endSleep(words, this.index)) notify(words, this.index);
  }
}

/** Makes the word odd, and answers what it is then. */
export function announce(words: Int32Array, index: number): number {
  return Atomics.or(words, index, 1) | 1;
}

/** Makes the word even; whether somebody must be woken. */
export function endSleep(words: Int32Array, index: number): boolean {
  const value = Atomics.load(words, index);
  if ((value & 1) === 0) return false;
  /* When it has changed, another one has woken all who had to see this change. */
  return Atomics.compareExchange(words, index, value, (value + 1) | 0) === value;
}
