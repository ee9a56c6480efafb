/**
 * Pure: page arithmetic and the one range check. Everything here is numbers in, numbers out.
 *
 * All quantities are bytes, and all are safe integers; a page size is a power of two. Sums and
 * products stay below 2^53 because every operand is checked against a length first.
 */
import { outOfRange } from "./errors.js";

/** A part of a mapping, in bytes from its first byte. */
export interface ByteRange {
  /** The first byte. Default 0. */
  readonly offset?: number | undefined;
  /** How many bytes. Default: to the end. */
  readonly length?: number | undefined;
}

/** A range whose both ends are known. */
export interface Extent {
  readonly offset: number;
  readonly length: number;
}

/** The next multiple of `pageSize` at or below `value`. */
export function roundDown(value: number, pageSize: number): number {
  return value - (value % pageSize);
}

/** The next multiple of `pageSize` at or above `value`. */
export function roundUp(value: number, pageSize: number): number {
  const over = value % pageSize;
  return over === 0 ? value : value - over + pageSize;
}

/**
 * The whole pages that an extent touches: what the kernel acts on when it is given a part of a
 * page.
 *
 * An empty extent touches no page.
 */
export function touchedPages(extent: Extent, pageSize: number): Extent {
  const offset = roundDown(extent.offset, pageSize);
  if (extent.length === 0) return { offset, length: 0 };
  return { offset, length: roundUp(extent.offset + extent.length, pageSize) - offset };
}

/** The whole pages that lie inside an extent; none when it holds no whole page. */
export function innerPages(extent: Extent, pageSize: number): Extent {
  const offset = roundUp(extent.offset, pageSize);
  const end = roundDown(extent.offset + extent.length, pageSize);
  return { offset, length: Math.max(0, end - offset) };
}

/**
 * Completes a range and checks it against the length it must lie in.
 *
 * This is the only range check of the library. The sum of offset and length is never formed before
 * both are known to be in bounds.
 *
 * @param range What the caller asked for.
 * @param byteLength The bytes there are.
 * @param action What was about to be done, for the message: "flush", "read" ...
 * @throws {RangeError} `ERR_OUT_OF_RANGE` when a byte of the range is not there.
 */
export function checkRange(range: ByteRange, byteLength: number, action: string): Extent {
  const offset = range.offset ?? 0;
  if (offset > byteLength) {
    throw outOfRange(`Cannot ${action} at offset ${offset}: mapping is ${byteLength} bytes long`);
  }
  const length = range.length ?? byteLength - offset;
  if (length > byteLength - offset) {
    throw outOfRange(
      `Cannot ${action} ${length} bytes at offset ${offset}: mapping is ${byteLength} bytes long`,
    );
  }
  return { offset, length };
}
