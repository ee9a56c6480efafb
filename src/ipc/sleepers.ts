/**
 * The word of a structure that says whether somebody sleeps until it changes: who sleeps has set it
 * to 1, and who changes something sets it to 0 and wakes all. So nobody makes a system call where
 * nobody sleeps, and a sleeper that was killed costs one call at most.
 *
 *     sleeper   set to 1, look again at what is waited for, sleep while it is 1
 *     waker     change something, and if it is not 0: exchange it for 0, wake all
 *
 * Either the sleeper sees the change or the waker sees the 1. A waker that is killed between the
 * two leaves sleepers that look again by themselves (block.ts).
 */
import type { Place } from "./place.js";
import { notify } from "./wait.js";

/** The sleepers of a structure that wait for one thing. */
export class Sleepers {
  readonly #place: Place;
  /** Of the word: what a task of block.ts sleeps on. */
  readonly index: number;
  /** What the word holds while somebody sleeps. */
  readonly value: number = 1;

  constructor(place: Place, index: number) {
    this.#place = place;
    this.index = index;
  }

  /** Says that somebody will sleep; what is waited for must be looked at again after it. */
  announce(): void {
    Atomics.store(this.#place.words, this.index, this.value);
  }

  /** Whether somebody may sleep. */
  get areThere(): boolean {
    return Atomics.load(this.#place.words, this.index) !== 0;
  }

  /** Wakes all after a change. */
  wake(): void {
    if (!this.areThere) return;
    const { words } = this.#place;
    if (Atomics.exchange(words, this.index, 0) !== 0) notify(words, this.index);
  }
}
