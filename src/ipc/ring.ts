/**
 * Pure: records in a ring of bytes, and the arithmetic of positions.
 *
 *        head                         tail
 *          |                            |
 *     +----v--------+--------+----------v---------------------------+---------+
 *     |    | record | record |  record  |           free            | padding |
 *     +----+--------+--------+----------+---------------------------+---------+
 *     0                                                                  capacity
 *
 *     record:  | length, 4 bytes | what, 4 bytes | payload | up to 7 bytes of nothing |
 *
 * Positions count bytes for ever, modulo 2^32, in steps of 8; the capacity is a power of two, so a
 * position masked by it is a place in the ring. A record is never cut by the end of the ring: where
 * it does not fit, padding fills the rest and it lies at the beginning.
 *
 * Invariant: `0 <= used <= capacity`. Whoever reads positions or records from shared memory checks
 * them here: anybody may have written them.
 */

/** Bytes before a payload. */
export const recordHead = 8;

/** The least and the most bytes of a ring. */
export const capacityMin = 1024;
/** See {@link capacityMin}: a position has 32 bits, and a few more than the ring are needed. */
export const capacityMax: number = 2 ** 30;

/** What a record is. */
export const what = { whole: 1, first: 2, middle: 3, last: 4, padding: 5 } as const;
/** Added to the above: the payload is a structured value. */
export const valueMark = 16;

/** The capacity for a wish: a power of two. */
export function capacityFor(wish: number): number {
  let capacity = capacityMin;
  while (capacity < wish) capacity *= 2;
  return capacity;
}

/** Whether a number is the capacity of a ring. */
export function isCapacity(value: number): boolean {
  const isPower = value > 0 && (value & (value - 1)) === 0;
  return isPower && value >= capacityMin && value <= capacityMax;
}

/** The longest payload that fits into one record, wherever the ring stands. */
export function payloadMax(capacity: number): number {
  return capacity / 2 - recordHead;
}

/** The payload of one part of a message that is longer: readers free it while others are sent. */
export function partLength(capacity: number): number {
  return capacity / 4 - recordHead;
}

/** Bytes of a record with so long a payload. */
export function recordLength(payload: number): number {
  return recordHead + ((payload + 7) & ~7);
}

/** A position so many bytes further. */
export function forward(position: number, bytes: number): number {
  return (position + bytes) | 0;
}

/** Bytes from one position to a later one. */
export function distance(from: number, to: number): number {
  return (to - from) >>> 0;
}

/** Whether two positions can be head and tail of a ring. */
export function isExtent(head: number, tail: number, capacity: number): boolean {
  return distance(head, tail) <= capacity && ((head | tail) & 7) === 0;
}

/**
 * Where a record goes that follows a position: bytes of padding before it.
 */
export function paddingBefore(tail: number, bytes: number, capacity: number): number {
  const room = capacity - (tail & (capacity - 1));
  return bytes <= room ? 0 : room;
}

/** A record as its head says, checked. */
export interface RecordFacts {
  /** Where its payload begins, in bytes of the ring. */
  readonly offset: number;
  readonly length: number;
  /** One of {@link what}. */
  readonly kind: number;
  readonly isValue: boolean;
  /** The position after it. */
  readonly next: number;
}

/** Where a record is looked for. */
export interface RingExtent {
  readonly head: number;
  readonly tail: number;
  readonly capacity: number;
}

/** The record at the head of a ring that is not empty; undefined for what can be none. */
export function recordAt(data: Int32Array, extent: RingExtent): RecordFacts | undefined {
  const { head, tail, capacity } = extent;
  const place = head & (capacity - 1);
  const length = (data[place >>> 2] ?? 0) >>> 0;
  const mark = data[(place >>> 2) + 1] ?? 0;
  const kind = mark & ~valueMark;
  if (length > capacity || kind < what.whole || kind > what.padding) return undefined;
  const bytes = recordLength(length);
  if (bytes > distance(head, tail) || place + bytes > capacity) return undefined;
  const next = forward(head, bytes);
  const isValue = (mark & valueMark) !== 0;
  return { offset: place + recordHead, length, kind, isValue, next };
}

/** Writes the head of a record. */
export function writeHead(data: Int32Array, place: number, head: RecordHead): void {
  data[place >>> 2] = head.length;
  data[(place >>> 2) + 1] = head.mark;
}

/** What stands before a payload: its length, and one of {@link what} with {@link valueMark}. */
export interface RecordHead {
  readonly length: number;
  readonly mark: number;
}

/** Fills the ring from a position to its end. */
export function writePadding(data: Int32Array, tail: number, padding: number): void {
  const place = tail & (data.length * 4 - 1);
  writeHead(data, place, { length: padding - recordHead, mark: what.padding });
}
