/**
 * The sending half of a channel's end. Whoever sends holds the producers' lock from the first byte
 * to the last, so records lie one after the other and the parts of a long message together. A
 * record counts from the moment in which the tail passes it, in one atomic step: a producer that is
 * killed before leaves nothing, and the next one writes over it.
 */
import { memmapError } from "../errors.js";
import type { Stage, Task } from "./block.js";
import { type Ends, wake } from "./channel-ends.js";
import { at, lane } from "./channel-layout.js";
import type { ChannelMemory } from "./channel-memory.js";
import { OwnedWord, type Sleep } from "./owned-word.js";
import type { Place } from "./place.js";
import {
  distance,
  forward,
  isExtent,
  paddingBefore,
  recordAt,
  recordHead,
  recordLength,
  what,
  writeHead,
  writePadding,
} from "./ring.js";
import type { Keeper } from "./wait.js";

/** A message on its way, which waits for room in the ring; it has the producers' lock meanwhile. */
export class Sending implements Task<number> {
  readonly action = "send to";
  readonly place: Place;
  readonly keeper: Keeper;
  readonly spins = 2000;
  readonly turns = 16;
  index = 0;
  value = 0;
  /** Bytes of the record that is next. */
  bytes: number;
  readonly #producer: Producer;

  constructor(producer: Producer, payload: number, keeper: Keeper) {
    this.#producer = producer;
    this.place = producer.place;
    this.keeper = keeper;
    this.bytes = recordLength(payload);
  }

  /** The position of a record with so many bytes, when there is room. */
  attempt(stage: Stage): number | undefined {
    const found = this.#producer.attempt(this, stage);
    if (typeof found === "number") return found;
    if (found !== undefined) {
      this.index = found.index;
      this.value = found.value;
    }
    return undefined;
  }

  giveUp(): void {
    this.#producer.giveUp(this);
  }
}

/** The sending half of an end. */
export class Producer {
  readonly place: Place;
  readonly #memory: ChannelMemory;
  readonly #ends: Ends;
  readonly #lock: OwnedWord;
  /** The message that has the producers' lock: others of this end wait for it as all do. */
  #holder: Sending | undefined;
  /** What was free when it was last looked for: heads only go on. */
  #head = 0;
  #epoch = -1;

  constructor(memory: ChannelMemory, ends: Ends) {
    this.place = memory.place;
    this.#memory = memory;
    this.#ends = ends;
    this.#lock = new OwnedWord(memory.place, { index: at.producers, namespaceIndex: at.namespace });
  }

  /** Whether a message has the producers' lock. */
  isHeldBy(sending: Sending): boolean {
    return this.#holder === sending;
  }

  /** Throws when this thread would wait for itself. */
  requireNotOwn(): void {
    this.#lock.requireNotOwn();
  }

  /**
   * Takes the lock for a message and finds room for its next record.
   *
   * @returns The position of the record; or what to sleep on; undefined when there is no room now.
   */
  attempt(sending: Sending, stage: Stage): number | Sleep | undefined {
    if (this.#holder !== sending) {
      const taken = this.#lock.attempt(stage);
      if (typeof taken !== "string") return taken;
      if (taken === "unrepaired") this.#lock.repaired(); // What it had begun counts for nothing.
      this.#holder = sending;
    }
    const { bytes } = sending;
    if (this.#ends.epoch !== this.#epoch) this.#ends.requireReceivers();
    const found = this.#findRoom(bytes, stage);
    if (found !== undefined || stage === "spin") return found;
    if (stage === "look") this.#ends.reap();
    this.#ends.requireReceivers();
    const { words } = this.place;
    Atomics.store(words, at.spaceFlag, 1);
    const value = Atomics.load(words, at.spaceCount);
    return this.#findRoom(bytes, stage) ?? { index: at.spaceCount, value };
  }

  #findRoom(bytes: number, stage: Stage): number | Sleep | undefined {
    const { capacity, dropsOldest } = this.#memory.shape;
    const tail = Atomics.load(this.place.words, at.tail);
    const padding = paddingBefore(tail, bytes, capacity);
    const need = padding + bytes;
    if (!this.#hasRoom(tail, need)) {
      if (!dropsOldest) return undefined;
      const busy = this.#dropOldest(tail, need, stage);
      if (busy !== "none") return busy;
      if (!this.#hasRoom(tail, need)) return undefined;
    }
    if (padding > 0) writePadding(this.#memory.data, tail, padding);
    return forward(tail, padding);
  }

  #hasRoom(tail: number, need: number): boolean {
    const { capacity } = this.#memory.shape;
    const epoch = this.#ends.epoch;
    const isKnown = this.#epoch === epoch && distance(this.#head, tail) + need <= capacity;
    if (isKnown) return true;
    this.#epoch = epoch;
    this.#head = this.#readHead(tail);
    return distance(this.#head, tail) + need <= capacity;
  }

  /* The position that the slowest receiver has reached; the tail where there is none. */
  #readHead(tail: number): number {
    let [head, used] = [tail, 0];
    for (const first of this.#ends.lanes) {
      const cursor = Atomics.load(this.place.words, first + lane.cursor);
      this.#requireExtent(cursor, tail);
      if (distance(cursor, tail) <= used) continue;
      head = cursor;
      used = distance(cursor, tail);
    }
    return head;
  }

  #requireExtent(cursor: number, tail: number): void {
    if (isExtent(cursor, tail, this.#memory.shape.capacity)) return;
    throw corrupt(this.place, `its cursors are ${cursor >>> 0} and ${tail >>> 0}`);
  }

  /* Moves the lanes on that are in the way; where one is being read, tells what to sleep on. */
  #dropOldest(tail: number, need: number, stage: Stage): Sleep | undefined | "none" {
    const { capacity } = this.#memory.shape;
    for (const first of this.#ends.lanes) {
      const { words } = this.place;
      if (distance(Atomics.load(words, first + lane.cursor), tail) + need <= capacity) continue;
      const lock = new OwnedWord(this.place, { index: first, namespaceIndex: at.namespace });
      const taken = lock.attempt(stage);
      if (typeof taken !== "string") return taken;
      if (taken === "unrepaired") lock.repaired();
      try {
        this.#dropFrom(first, tail, capacity - need);
      } finally {
        lock.release();
      }
    }
    return "none";
  }

  #dropFrom(first: number, tail: number, most: number): void {
    const { words } = this.place;
    const { data, shape } = this.#memory;
    for (;;) {
      const head = Atomics.load(words, first + lane.cursor);
      this.#requireExtent(head, tail);
      if (distance(head, tail) <= most) return;
      const record = recordAt(data, { head, tail, capacity: shape.capacity });
      if (record === undefined) throw corrupt(this.place, "there is no record at its cursor");
      const isMessage = record.kind === what.whole || record.kind === what.first;
      if (isMessage) Atomics.add(words, first + lane.dropped, 1);
      Atomics.store(words, first + lane.cursor, record.next);
    }
  }

  /** Where the payload of a record lies. */
  payload(position: number, length: number): Uint8Array<ArrayBuffer> {
    const offset = (position & (this.#memory.shape.capacity - 1)) + recordHead;
    return this.#memory.bytes.subarray(offset, offset + length);
  }

  /** Lets the tail pass a record that is written, and wakes who sleeps. */
  publish(position: number, length: number, mark: number): void {
    const { data, shape } = this.#memory;
    const { words } = this.place;
    writeHead(data, position & (shape.capacity - 1), { length, mark });
    Atomics.store(words, at.tail, forward(position, recordLength(length)));
  }

  /** Wakes receivers that sleep. */
  wake(): void {
    wake(this.place.words, at.dataFlag, at.dataCount);
  }

  /** Gives the producers' lock back, if the message has it. */
  release(sending: Sending | undefined): void {
    if (sending === undefined || this.#holder !== sending) return;
    this.#holder = undefined;
    this.#lock.release();
  }

  /** The same for a message that has waited; without the lock it passes on what it was told. */
  giveUp(sending: Sending): void {
    if (this.#holder === sending) this.release(sending);
    else this.#lock.passOn();
  }

  /** The end is closed: what is under way is not sent. */
  close(): void {
    this.release(this.#holder);
  }
}

/** The error of a channel that somebody has written over. */
export function corrupt(place: Place, how: string): Error {
  return memmapError("ERR_MEMMAP_CORRUPT", `Cannot use ${place.label}: ${how}`);
}
