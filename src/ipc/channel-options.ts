/**
 * Reads the options by which channels are made and opened.
 */
import { outOfRange } from "../errors.js";
import { asInteger, asOptionalBoolean, asOptionalOneOf, asOptions } from "../validate.js";
import { asName } from "./memory-name.js";
import { capacityFor, capacityMax } from "./ring.js";

/** How a channel is made. */
export interface ChannelOptions {
  /**
   * Bytes of the ring, rounded up to a power of two from 1 KiB to 1 GiB; by default 1 MiB. Messages
   * up to half of it go in one piece, longer ones in parts.
   */
  readonly capacity?: number | undefined;
  /** 1 to 255 bytes, with or without a "/" before them; left out, it has no name. */
  readonly name?: string | undefined;
  /**
   * Who gets a message: one receiver, whoever comes first ("queue"), or everyone who was there when
   * it was sent ("broadcast"). Default "queue".
   */
  readonly mode?: "queue" | "broadcast" | undefined;
  /**
   * What happens when the ring is full: senders wait for the slowest receiver ("block"), or the
   * oldest messages are dropped that nobody is reading ("drop-oldest"). Default "block".
   */
  readonly overflow?: "block" | "drop-oldest" | undefined;
}

/** How a channel is opened. */
export interface ChannelOpenOptions {
  /**
   * Whether this end gets the messages of a broadcast from now on, its own too. Default true; with
   * false, and for the end that made the channel, from its first call that receives. Say false for
   * an end that only sends: senders wait for everybody who gets messages.
   */
  readonly receives?: boolean | undefined;
}

/** The options of a new channel, read. */
export interface ChannelPlan {
  readonly capacity: number;
  readonly name: string | undefined;
  readonly isBroadcast: boolean;
  readonly dropsOldest: boolean;
}

/** Reads the options of a new channel. */
export function readOptions(options: ChannelOptions | undefined): ChannelPlan {
  const given = asOptions(options);
  const wish = given.capacity === undefined ? 2 ** 20 : given.capacity;
  const capacity = capacityFor(asInteger(wish, "options.capacity", { min: 1, max: capacityMax }));
  const mode = asOptionalOneOf(given.mode, "options.mode", ["queue", "broadcast"]);
  const overflow = asOptionalOneOf(given.overflow, "options.overflow", ["block", "drop-oldest"]);
  return {
    capacity,
    name: given.name === undefined ? undefined : asName(given.name, "options.name"),
    isBroadcast: mode === "broadcast",
    dropsOldest: overflow === "drop-oldest",
  };
}

/** Reads the options of an end. */
export function readOpenOptions(options: ChannelOpenOptions | undefined): boolean {
  return asOptionalBoolean(asOptions(options).receives, "options.receives") ?? true;
}

/** The bytes of a reservation. */
export function asReserved(value: unknown, most: number): number {
  const length = asInteger(value, "length");
  if (length <= most) return length;
  const bound = `at most ${most} of them lie in one piece in the ring`;
  throw outOfRange(`Cannot reserve ${length} bytes: ${bound}`);
}
