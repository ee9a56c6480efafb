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

/** Whether the lock is of no use any more. */
export function isAbandoned(word: number): boolean {
  return (word & ~waiters) === abandoned;
}

/** Whether an owner has died and nobody has repaired what it left. */
export function isUnrepaired(word: number): boolean {
  return (word & unrepaired) !== 0;
}

/** Takes a free lock; `others` says whether somebody else may be asleep. */
export function take(words: Int32Array, index: number, { thread, others }: Taker): boolean {
  return Atomics.compareExchange(words, index, 0, others ? thread | waiters : thread) === 0;
}

/** Who takes a lock. */
export interface Taker {
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
  const next = from.thread | unrepaired | (from.word & waiters);
  return Atomics.compareExchange(words, index, from.word, next) === from.word;
}

/** The state in which a dead owner left a lock, and who takes it. */
export interface Seizure {
  readonly word: number;
  readonly thread: number;
}

/** What was left by a dead owner is repaired. */
export function markRepaired(words: Int32Array, index: number): void {
  Atomics.and(words, index, ~unrepaired);
}

/** How many must be woken after a release; undefined when the lock was not the thread's. */
export type Released = "none" | "one" | "all" | undefined;

/** Gives a lock back that a thread holds. */
export function giveBack(words: Int32Array, index: number, thread: number): Released {
  if (Atomics.compareExchange(words, index, thread, 0) === thread) return "none";
  for (;;) {
    const word = Atomics.load(words, index);
    if (holderOf(word) !== thread) return undefined;
    const next = isUnrepaired(word) ? abandoned : 0;
    if (Atomics.compareExchange(words, index, word, next) !== word) continue;
    if (next === abandoned) return "all";
    return (word & waiters) === 0 ? "none" : "one";
  }
}
