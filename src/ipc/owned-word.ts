/**
 * A lock word with the record of its owner, as it lies in shared memory, and the ways to take it,
 * to wait for it, and to take it from the dead. The states of the word are in lock-word.ts, the
 * record in owner.ts.
 *
 *      index          index + 1
 *     +--------------+--------------+
 *     |  lock word   |  start time  |
 *     +--------------+--------------+
 *
 * Invariant: a start time that is not 0 was written by the thread in the lock word. So it is
 * cleared before the word is given to anybody else.
 */
import { memmapError } from "../errors.js";
import { errnoOf, systemError } from "../failure.js";
import type { Stage } from "./block.js";
import {
  announce,
  type Ending,
  giveBack,
  holderOf,
  isAbandoned,
  isFree,
  isUnrepaired,
  markRepaired,
  orphan,
  seize,
  take,
} from "./lock-word.js";
import { canJudge } from "./namespace.js";
import { isDead, thisThread } from "./owner.js";
import type { Place } from "./place.js";
import { notify } from "./wait.js";

/** How a lock was taken: from an owner that died inside it is unrepaired. */
export type Taken = "whole" | "unrepaired";

/** Where the words of a lock lie in its structure. */
export interface WordPlaces {
  readonly index: number;
  readonly namespaceIndex: number;
}

/** The same of a lock whose owner may have to wait after it has taken the word. */
export interface LockPlaces extends WordPlaces {
  /**
   * The word that is not 0 while the owner is inside; by default it is from the first moment. It
   * may be left over where the lock is unrepaired anyway.
   */
  readonly insideIndex?: number;
}

/** Where the record of a thread lies: its id, and when it was started. */
export interface RecordPlaces extends WordPlaces {
  /** By default the word behind the id. */
  readonly startIndex?: number;
}

/**
 * Whether the thread of a record has died, as far as that can be told. The id and the start time
 * must be the same before and after the kernel is asked: read while one owner follows another, they
 * could be of two threads that live both.
 *
 * @param word What was found at the id's place.
 */
export function isRecordDead(words: Int32Array, at: RecordPlaces, word: number): boolean {
  const { index, startIndex = index + 1 } = at;
  const startTime = Atomics.load(words, startIndex);
  if (Atomics.load(words, index) !== word) return false;
  if (!canJudge(words, at.namespaceIndex, thisThread().namespace)) return false;
  if (!isDead(holderOf(word), startTime)) return false;
  return Atomics.load(words, startIndex) === startTime && Atomics.load(words, index) === word;
}

/** A lock word in shared memory. */
export class OwnedWord {
  readonly #place: Place;
  readonly #at: LockPlaces;

  constructor(place: Place, at: LockPlaces) {
    this.#place = place;
    this.#at = at;
  }

  /** Takes the lock if it is free and whole: one atomic operation. */
  tryTake(): boolean {
    return this.#take(0, false);
  }

  #take(word: number, others: boolean): boolean {
    const { words } = this.#place;
    const { index } = this.#at;
    const thread = thisThread();
    if (!take(words, index, { word, thread: thread.id, others })) return false;
    words[index + 1] = thread.startTime;
    return true;
  }

  /** The lock word as it is now. */
  get value(): number {
    return Atomics.load(this.#place.words, this.#at.index);
  }

  /** The thread that holds the lock, or that did when it died; 0 for none. */
  get holder(): number {
    const word = this.value;
    return isAbandoned(word) ? 0 : holderOf(word);
  }

  /**
   * One try of a task; the word to sleep on otherwise.
   *
   * @throws {MemmapError} `ERR_MEMMAP_OWNER_DIED` when the lock was abandoned.
   */
  attempt(stage: Stage): Taken | Sleep | undefined {
    for (;;) {
      const word = this.value;
      const taken = isFree(word) ? this.#takeFree(word, stage) : this.#takeHeld(word, stage);
      if (taken !== undefined || stage === "spin") return taken;
      const value = isFree(word) ? undefined : announce(this.#place.words, this.#at.index, word);
      if (value !== undefined) return { index: this.#at.index, value };
    }
  }

  #takeFree(word: number, stage: Stage): Taken | undefined {
    if (!this.#take(word, stage !== "spin")) return undefined;
    return isUnrepaired(word) ? "unrepaired" : "whole";
  }

  #takeHeld(word: number, stage: Stage): Taken | undefined {
    this.requireUsable(word);
    if (stage !== "look" || !this.#takeFromDead(word)) return undefined;
    return this.isUnrepaired ? "unrepaired" : "whole";
  }

  /** Throws when nobody can take the lock any more. */
  requireUsable(word: number): void {
    if (!isAbandoned(word)) return;
    const reason = "its owner died, and whoever held it next did not recover it";
    throw memmapError("ERR_MEMMAP_OWNER_DIED", `Cannot take ${this.#place.label}: ${reason}`);
  }

  /** Throws when waiting on this thread would never end, since the thread itself holds the lock. */
  requireNotOwn(): void {
    const { id, startTime } = thisThread();
    if (this.holder !== id) return;
    /* A thread that died may have had the id before. */
    const recorded = Atomics.load(this.#place.words, this.#at.index + 1);
    if (recorded !== 0 && recorded !== startTime) return;
    const what = `Cannot wait for ${this.#place.label}, which this thread holds`;
    throw systemError(errnoOf("EDEADLK"), { syscall: "futex", what });
  }

  /** Whether the thread in a lock word has died, as far as that can be told. */
  isOwnerDead(word: number): boolean {
    return isRecordDead(this.#place.words, this.#at, word);
  }

  /**
   * Takes the lock away from a thread that has died, and wakes who waits for it; it is free then,
   * and unrepaired when the thread was inside. What was abandoned stays so.
   */
  orphan(word: number): boolean {
    if (isAbandoned(word) || !this.isOwnerDead(word)) return false;
    const { words } = this.#place;
    const { index } = this.#at;
    const wasInside = this.#isInside;
    Atomics.store(words, index + 1, 0);
    if (!orphan(words, index, { word, wasInside })) return false;
    notify(words, index, 1);
    return true;
  }

  #takeFromDead(word: number): boolean {
    if (!this.isOwnerDead(word)) return false;
    const { words } = this.#place;
    const { index } = this.#at;
    const thread = thisThread();
    const wasInside = this.#isInside;
    Atomics.store(words, index + 1, 0);
    if (!seize(words, index, { word, wasInside, thread: thread.id })) return false;
    words[index + 1] = thread.startTime;
    return true;
  }

  /* Of an owner that is dead it does not change any more, as long as the lock word is its own. */
  get #isInside(): boolean {
    const { insideIndex } = this.#at;
    return insideIndex === undefined || Atomics.load(this.#place.words, insideIndex) !== 0;
  }

  /** What a dead owner left is repaired. */
  repaired(): void {
    markRepaired(this.#place.words, this.#at.index);
  }

  /** Whether the lock is held after the death of an owner. */
  get isUnrepaired(): boolean {
    return isUnrepaired(Atomics.load(this.#place.words, this.#at.index));
  }

  /**
   * Gives the lock back, and wakes who sleeps.
   *
   * @param ending Of a lock that is unrepaired: as in lock-word.ts.
   * @throws {MemmapError} `ERR_MEMMAP_CORRUPT` when the lock is no longer this thread's.
   */
  release(ending: Ending = "abandon"): void {
    const { words } = this.#place;
    const { index } = this.#at;
    words[index + 1] = 0;
    const wakes = giveBack(words, index, { thread: thisThread().id, ending });
    if (wakes === "none") return;
    if (wakes === undefined) {
      this.#place.requireShared();
      const reason = "somebody has written over it";
      throw memmapError("ERR_MEMMAP_CORRUPT", `Cannot release ${this.#place.label}: ${reason}`);
    }
    notify(words, index, wakes === "one" ? 1 : undefined);
  }

  /** Passes on a wake that came to somebody who gives up. */
  passOn(): void {
    const { words } = this.#place;
    const { index } = this.#at;
    const word = Atomics.load(words, index);
    if (isFree(word)) notify(words, index, 1);
    else if (!isAbandoned(word)) announce(words, index, word);
  }
}

/** A word to sleep on, and the value that it has meanwhile. */
export interface Sleep {
  readonly index: number;
  readonly value: number;
}
