/**
 * The memory of a channel: a head of one page, then the ring. Owns the places of all words, and the
 * checks of what a creator wrote; what changes later is checked where it is read.
 *
 *     byte 0      format | capacity | options | namespace | epoch | last sender | last receiver
 *         32      producers: lock, its start time
 *         64      (free) | (free) | tail | data flag | data count
 *        128      the queue's lane: lock, its start time | cursor | dropped | partial
 *        192      space flag | space count
 *        256      ends: 60 of 64 bytes
 *                     thread id | start time | roles | (free) | lane of a broadcast | (free)
 *       4096      the ring (ring.ts)
 *
 * Layout 1 (format.ts); all numbers are of 32 bits, in the byte order of the machine. While
 * messages flow, one cache line of the head travels for each: that of the tail. What producers
 * write for themselves, and receivers for themselves, lies on others.
 *
 *     epoch     counts up whenever an end comes or goes: what was known about the ends is old then
 *     lane      how far has been read, and the lock of whoever reads: one for all receivers of a
 *               queue, one for each receiver of a broadcast; partial: the next record goes on with
 *               a message whose beginning was read
 *     data      flag: a receiver sleeps; count: what it sleeps on, counted up to wake it
 *     space     the same for producers
 */
import { memmapError } from "../errors.js";
import { isCapacity } from "./ring.js";

/** Bytes before the ring. */
export const headBytes = 4096;

/** Indices of the words. */
export const at = {
  format: 0,
  capacity: 1,
  options: 2,
  namespace: 3,
  epoch: 4,
  lastSender: 5,
  lastReceiver: 6,
  producers: 8,
  tail: 18,
  dataFlag: 19,
  dataCount: 20,
  queueLane: 32,
  spaceFlag: 48,
  spaceCount: 49,
  ends: 64,
} as const;

/** The words of an end, from its first. */
export const end = { thread: 0, startTime: 1, roles: 2, lane: 4, words: 16 } as const;

/** The words of a lane, from its first: the lock takes two. */
export const lane = { lock: 0, cursor: 2, dropped: 3, partial: 4 } as const;

/** How many ends a channel has at most. */
export const endsMax: number = (headBytes / 4 - at.ends) / end.words;

/** What the creator of a channel decides. */
export interface ChannelShape {
  readonly capacity: number;
  readonly isBroadcast: boolean;
  readonly dropsOldest: boolean;
}

const broadcastBit = 1;
const dropBit = 2;

/** Writes what a channel is; its format word, which comes last, is the caller's. */
export function writeShape(words: Int32Array, shape: ChannelShape): void {
  words[at.capacity] = shape.capacity;
  words[at.options] = (shape.isBroadcast ? broadcastBit : 0) | (shape.dropsOldest ? dropBit : 0);
}

/**
 * Reads what a channel is.
 *
 * @throws {MemmapError} `ERR_MEMMAP_CORRUPT` for what can be none in memory of that size.
 */
export function readShape(words: Int32Array, byteLength: number): ChannelShape {
  const capacity = words[at.capacity] ?? 0;
  const options = words[at.options] ?? 0;
  const isWhole = isCapacity(capacity) && headBytes + capacity <= byteLength;
  if (!isWhole || (options & ~(broadcastBit | dropBit)) !== 0) {
    const facts = `a ring of ${capacity} bytes in ${byteLength}`;
    throw memmapError("ERR_MEMMAP_CORRUPT", `Cannot open the channel: its head says ${facts}`);
  }
  return {
    capacity,
    isBroadcast: (options & broadcastBit) !== 0,
    dropsOldest: (options & dropBit) !== 0,
  };
}
