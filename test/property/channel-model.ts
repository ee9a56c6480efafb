// A channel as plain queues: what each end must get, and what must not fit.

import {
  distance,
  forward,
  paddingBefore,
  partLength,
  payloadMax,
  recordLength,
} from "#dist/ipc/ring.js";

/** A message of the model. */
export interface Sent {
  readonly number: number;
  readonly length: number;
}

interface Stored extends Sent {
  /** Where its record begins and ends; padding before it belongs to nobody. */
  readonly from: number;
  readonly to: number;
}

interface Lane {
  queue: Stored[];
  cursor: number;
  dropped: number;
  isBorrowed: boolean;
}

/** What is decided when a channel is made. */
export interface Shape {
  readonly capacity: number;
  readonly isBroadcast: boolean;
  readonly dropsOldest: boolean;
}

/** The model: positions as in the ring, messages as objects. */
export class ChannelModel {
  readonly shape: Shape;
  /** One for all ends of a queue, one for each end of a broadcast that receives. */
  readonly #lanes = new Map<string, Lane>();
  /** The ends of a broadcast in the order in which room is made at their lanes. */
  readonly #slots: (string | undefined)[] = [];
  tail: number;
  /** The end that has the producers' lock. */
  reserved: string | undefined;

  constructor(shape: Shape, start: number) {
    this.shape = shape;
    this.tail = start;
    if (!shape.isBroadcast) this.#lanes.set("all", newLane(start));
  }

  #key(end: string): string {
    return this.shape.isBroadcast ? end : "all";
  }

  /** An end of a broadcast gets what is sent from now on. */
  listen(end: string): void {
    if (this.#lanes.has(this.#key(end))) return;
    this.#lanes.set(end, newLane(this.tail));
    const free = this.#slots.indexOf(undefined);
    this.#slots[free < 0 ? this.#slots.length : free] = end;
  }

  *#inOrder(): Generator<Lane> {
    for (const key of this.shape.isBroadcast ? this.#slots : ["all"]) {
      const lane = key === undefined ? undefined : this.#lanes.get(key);
      if (lane !== undefined) yield lane;
    }
  }

  close(end: string): void {
    if (this.reserved === end) this.reserved = undefined;
    const lane = this.#lanes.get(this.#key(end));
    if (lane !== undefined && this.borrower === end) lane.isBorrowed = false;
    if (this.shape.isBroadcast) {
      this.#lanes.delete(end);
      this.#slots[this.#slots.indexOf(end)] = undefined;
    }
    if (this.borrower === end) this.borrower = undefined;
  }

  /** The end of a queue that has a message borrowed. */
  borrower: string | undefined;

  /** Whether a record fits, after dropping where that is the policy. */
  makeRoom(length: number): boolean {
    const { capacity, dropsOldest } = this.shape;
    const bytes = recordLength(length);
    const need = paddingBefore(this.tail, bytes, capacity) + bytes;
    const isBlocked = (lane: Lane): boolean => distance(lane.cursor, this.tail) + need > capacity;
    for (const lane of this.#inOrder()) {
      if (!isBlocked(lane)) continue;
      if (!dropsOldest || lane.isBorrowed) return false;
      while (isBlocked(lane)) dropOne(lane, this.tail);
    }
    return true;
  }

  /** Puts a message in, for which there is room. */
  put(sent: Sent, from = this.position(sent.length)): void {
    const to = forward(from, recordLength(sent.length));
    for (const lane of this.#lanes.values()) lane.queue.push({ ...sent, from, to });
    this.tail = to;
  }

  /** Where a record of that length would begin. */
  position(length: number): number {
    const bytes = recordLength(length);
    return forward(this.tail, paddingBefore(this.tail, bytes, this.shape.capacity));
  }

  /** What an end gets next; undefined for nothing, or when it may not have it. */
  take(end: string, way: "copy" | "borrow"): Sent | undefined {
    this.listen(end);
    const lane = this.#lanes.get(this.#key(end));
    if (lane === undefined || lane.isBorrowed) return undefined;
    const [first] = lane.queue;
    if (first === undefined) return undefined;
    if (way === "borrow") {
      lane.isBorrowed = true;
      lane.cursor = first.from; // Padding before it is read.
      if (!this.shape.isBroadcast) this.borrower = end;
      return first;
    }
    lane.queue.shift();
    lane.cursor = first.to;
    return first;
  }

  giveBack(end: string): void {
    const lane = this.#lanes.get(this.#key(end));
    const first = lane?.queue.shift();
    if (lane === undefined || first === undefined) return;
    lane.isBorrowed = false;
    lane.cursor = first.to;
    if (this.borrower === end) this.borrower = undefined;
  }

  dropped(end: string): number {
    return this.#lanes.get(this.#key(end))?.dropped ?? 0;
  }

  /** Messages that an end has not received. */
  waiting(end: string): number {
    return this.#lanes.get(this.#key(end))?.queue.length ?? 0;
  }
}

function newLane(cursor: number): Lane {
  return { queue: [], cursor, dropped: 0, isBorrowed: false };
}

/* A record goes, or only the padding before it: one at a time. */
function dropOne(lane: Lane, tail: number): void {
  const [first] = lane.queue;
  if (first === undefined) {
    lane.cursor = tail;
  } else if (lane.cursor !== first.from) {
    lane.cursor = first.from;
  } else {
    lane.cursor = first.to;
    lane.queue.shift();
    lane.dropped += 1;
  }
}

/** Lengths that matter: nothing, the bounds of records, one more. */
export function lengthsOf(capacity: number): readonly number[] {
  const whole = payloadMax(capacity);
  return [0, 1, 7, 8, 9, 100, partLength(capacity), whole - 1, whole];
}
