/**
 * Pure: the phase of a barrier and how many have arrived in it, in one word. So each arrival is one
 * atomic step, and a kill leaves no half of it.
 *
 *      31 ......... 16  15 ............ 0
 *     +----------------+-----------------+
 *     |     phase      |     arrived     |      arrived < size; the last one begins the next phase
 *     +----------------+-----------------+
 *
 * The phase counts modulo 65536: a party that slept through so many would take a later one for its
 * own, but it is needed in each of them.
 */

/** The most parties that a word can count. */
export const sizeMax = 0xffff;

/** Whether a number from shared memory can be the size of a barrier. */
export function isSizeOf(size: number): boolean {
  return size >= 1 && size <= sizeMax;
}

/** The phase of a barrier. */
export function phaseOf(word: number): number {
  return word >>> 16;
}

/** An arrival: in which phase, and whether it has ended the phase. */
export interface Arrival {
  readonly phase: number;
  readonly isLast: boolean;
}

/** Arrives; "corrupt" when more have arrived than can be. */
export function arrive(words: Int32Array, index: number, size: number): Arrival | "corrupt" {
  for (;;) {
    const word = Atomics.load(words, index);
    const arrived = (word & sizeMax) + 1;
    if (arrived > size) return "corrupt";
    const phase = phaseOf(word);
    const isLast = arrived === size;
    const next = isLast ? (phase + 1) << 16 : word + 1;
    if (Atomics.compareExchange(words, index, word, next) === word) return { phase, isLast };
  }
}

/** Arrives if all the others have; whether it did. */
export function arriveLast(words: Int32Array, index: number, size: number): boolean | "corrupt" {
  const word = Atomics.load(words, index);
  const arrived = (word & sizeMax) + 1;
  if (arrived > size) return "corrupt";
  if (arrived < size) return false;
  const next = (phaseOf(word) + 1) << 16;
  /* When it has changed, one of the others has withdrawn, or somebody else was the last. */
  return Atomics.compareExchange(words, index, word, next) === word;
}

/** Takes an arrival back; false when its phase is over. */
export function withdraw(words: Int32Array, index: number, phase: number): boolean {
  for (;;) {
    const word = Atomics.load(words, index);
    if (phaseOf(word) !== phase) return false;
    /* Where somebody has written over the word there may be nothing to take back. */
    if ((word & sizeMax) === 0) return true;
    if (Atomics.compareExchange(words, index, word, word - 1) === word) return true;
  }
}
