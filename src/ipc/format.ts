/**
 * Pure: the word by which a structure in shared memory says what it is, so that another structure,
 * another version of this library, another byte order or garbage is an error and never read as if
 * it were ours.
 *
 *      31 ......... 16  15 ...... 8  7 ........ 0
 *     +----------------+------------+------------+
 *     |     0x6d6d     |    kind    |  version   |      in the byte order of the machine
 *     +----------------+------------+------------+
 *
 * 0 stands for memory that nobody has used yet: whoever comes first writes the word.
 */
import { memmapError } from "../errors.js";

/** The structures, by the numbers that say which one it is. */
const kinds = { mutex: 1, rwLock: 2, semaphore: 3, event: 4, barrier: 5, channel: 6 } as const;

/** A structure in shared memory. */
export type Kind = keyof typeof kinds;

/** The layout that this version of the library reads and writes, of all structures alike. */
const version = 1;

const mark = 0x6d6d;

/** The word of a structure. */
export function formatOf(kind: Kind): number {
  return (mark << 16) | (kinds[kind] << 8) | version;
}

function swapped(word: number): number {
  const [a, b, c, d] = [word >>> 24, (word >>> 16) & 255, (word >>> 8) & 255, word & 255];
  return (d << 24) | (c << 16) | (b << 8) | a;
}

/** What is wrong with a word that is not the wanted one. */
function mismatch(word: number, kind: Kind, what: string): Error {
  if (word >>> 16 !== mark) {
    if (swapped(word) === formatOf(kind)) {
      const reason = "it was made on a machine of the other byte order";
      return memmapError("ERR_MEMMAP_VERSION", `${what}: ${reason}`);
    }
    return memmapError("ERR_MEMMAP_CORRUPT", `${what}: other data lies there`);
  }
  if (((word >>> 8) & 255) !== kinds[kind]) {
    return memmapError("ERR_MEMMAP_CORRUPT", `${what}: another kind of structure lies there`);
  }
  const layout = `its layout is ${word & 255}, and this version of memmap knows layout ${version}`;
  return memmapError("ERR_MEMMAP_VERSION", `${what}: ${layout}`);
}

/**
 * Makes sure that the structure at a word is of a kind and of this version.
 *
 * @throws {MemmapError} `ERR_MEMMAP_VERSION` for another version or byte order;
 *   `ERR_MEMMAP_CORRUPT` for anything else.
 */
export function requireFormat(word: number, kind: Kind, what: string): void {
  if (word !== formatOf(kind)) throw mismatch(word, kind, what);
}

/** The same of memory that may be unused; then it is of that kind from now on. */
export function claimFormat(words: Int32Array, index: number, claim: Claim): void {
  const found = Atomics.compareExchange(words, index, 0, formatOf(claim.kind));
  if (found !== 0) requireFormat(found, claim.kind, claim.what);
}

/** What memory is claimed for, and how the attempt is called in messages. */
export interface Claim {
  readonly kind: Kind;
  readonly what: string;
}
