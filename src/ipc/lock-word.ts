/**
 * Pure: a lock as one word, and the changes between its states. Each change is one atomic
 * operation, so that a thread may be killed before or after it and never within.
 *
 *      31        30           29 ................ 0
 *     +---------+------------+---------------------+
 *     | waiters | unrepaired |     thread id       |
 *     +---------+------------+---------------------+
 *
 *     0                          free
 *     id                         held by that thread
 *     id + waiters               the same, and somebody sleeps until it is released
 *     id + unrepaired            held after the death of an owner: nobody has called recover() yet
 *     unrepaired                 the same, and nobody holds it: the next to take it has to repair
 *     all ones but the waiters   abandoned: released unrepaired, of no use until it is zeroed
 *
 * These are the bits that the kernel uses for its own robust locks (get_robust_list(2)). Thread ids
 * of Linux have at most 22 bits.
 */

const waiters = 1 << 31;
const unrepaired = 1 << 30;
const threadMask = unrepaired - 1;

/** The state of a lock that was released unrepaired. */
export const abandoned: number = threadMask | unrepaired;

/** The thread that holds a lock; 0 for none. */
export function holderOf(word: number): number {
  return word & threadMask;
}

/** Whether nobody holds the lock; it may be unrepaired all the same. */
export function isFree(word: number): boolean {
  return holderOf(word) === 0;
}

/** Whether the lock is of no use any more. */
export function isAbandoned(word: number): boolean {
  return (word & ~waiters) === abandoned;
}

/** Whether an owner has died and nobody has repaired what it left. */
export function isUnrepaired(word: number): boolean {
  return (word & unrepaired) !== 0;
}

/** Takes a lock that is free in the state `word`; false when that has changed. */
export function take(words: Int32Array, index: number, taker: Taker): boolean {
  const { word, thread, others } = taker;
  const next = word | thread | (others ? waiters : 0);
  return Atomics.compareExchange(words, index, word, next) === word;
}

/** Who takes a lock, in which state. */
export interface Taker {
  readonly word: number;
  readonly thread: number;
  /** The taker has slept, so it cannot know whether it was the only one. */
  readonly others: boolean;
}

/** Says that somebody will sleep; the word to sleep on, or undefined when it has changed. */
export function announce(words: Int32Array, index: number, word: number): number | undefined {
  const marked = word | waiters;
  if (word === marked) return marked;
  return Atomics.compareExchange(words, index, word, marked) === word ? marked : undefined;
}

/** Takes a lock from an owner that is dead; false when somebody was quicker. */
export function seize(words: Int32Array, index: number, from: Seizure): boolean {
  const next = from.thread | leftBy(from) | (from.word & waiters);
  return Atomics.compareExchange(words, index, from.word, next) === from.word;
}

/** The state in which a dead owner left a lock. */
export interface Legacy {
  readonly word: number;
  /** Whether it may have changed what the lock protects; if not, the lock is what it was before. */
  readonly wasInside: boolean;
}

/** The same, and who takes it. */
export interface Seizure extends Legacy {
  readonly thread: number;
}

function leftBy({ word, wasInside }: Legacy): number {
  return wasInside ? unrepaired : word & unrepaired;
}

/** Takes a lock from an owner that is dead, and leaves it free. */
export function orphan(words: Int32Array, index: number, from: Legacy): boolean {
  return Atomics.compareExchange(words, index, from.word, leftBy(from)) === from.word;
}

/** What was left by a dead owner is repaired. */
export function markRepaired(words: Int32Array, index: number): void {
  Atomics.and(words, index, ~unrepaired);
}

/** How many must be woken after a release; undefined when the lock was not the thread's. */
export type Released = "none" | "one" | "all" | undefined;

/** What becomes of an unrepaired lock: it is abandoned, or stays as it was found. */
export type Ending = "abandon" | "keep";

/** Gives a lock back that a thread holds. */
export function giveBack(
  words: Int32Array,
  index: number,
  { thread, ending }: { readonly thread: number; readonly ending: Ending },
): Released {
  if (Atomics.compareExchange(words, index, thread, 0) === thread) return "none";
  const left = ending === "abandon" ? abandoned : unrepaired;
  for (;;) {
    const word = Atomics.load(words, index);
    if (holderOf(word) !== thread) return undefined;
    const next = isUnrepaired(word) ? left : 0;
    if (Atomics.compareExchange(words, index, word, next) !== word) continue;
    if (next === abandoned) return "all";
    return (word & waiters) === 0 ? "none" : "one";
  }
}
