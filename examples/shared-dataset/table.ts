// The dataset of shared-dataset.ts: numbers that follow from their version and place, so that one
// of another version is found out.
//
//     word 0     the version
//     word 1     the sum of all words from 2 on, in 32 bits
//     word 2...  the numbers

/** Asks for the sum of the numbers from one place to before another. */
export interface Question {
  readonly from: number;
  readonly to: number;
  /** It takes until word 1 of the control block is no longer 0. */
  readonly isSlow: boolean;
}

/** Numbers come after the version and the sum. */
const start = 2;

function numberAt(version: number, place: number): number {
  return Math.imul(place ^ Math.imul(version, 0x9e3779b1), 0x85ebca6b) | 0;
}

/** Adds up words of a table. */
export function sumOf(words: Int32Array, from = 0, to = words.length - start): number {
  let sum = 0;
  for (let i = start + from; i < start + to; i += 1) sum = (sum + (words[i] ?? 0)) | 0;
  return sum;
}

/** What the sum must be. */
export function expectedSum(version: number, { from, to }: Question): number {
  let sum = 0;
  for (let place = from; place < to; place += 1) sum = (sum + numberAt(version, place)) | 0;
  return sum;
}

/** Writes a version. */
export function build(words: Int32Array, version: number): void {
  let sum = 0;
  for (let i = start; i < words.length; i += 1) {
    const number = numberAt(version, i - start);
    words[i] = number;
    sum = (sum + number) | 0;
  }
  words[1] = sum;
  words[0] = version;
}

/** Reads all of a table, and refuses what is not this version, whole. */
export function requireWhole(words: Int32Array, version: number): void {
  if (words[0] === version && words[1] === sumOf(words)) return;
  throw new Error(`The table is not version ${version}: ${words[0]}, ${words[1]}`);
}
