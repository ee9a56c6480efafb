/**
 * The sending half of a channel's end. Whoever sends holds the producers' lock from the first byte
 * to the last, so records lie one after the other and the parts of a long message together. A
 * record counts from the moment in which the tail passes it, in one atomic step: a producer that is
 * killed before leaves nothing, and the next one writes over it.
 */
import { MemmapError, memmapError } from "../errors.js";
import { errnoOf, systemError } from "../failure.js";
import type { Stage, Task } from "./block.js";
import { type Ends, wake } from "./channel-ends.js";
import { at, lane } from "./channel-layout.js";
import type { ChannelMemory } from "./channel-memory.js";
import { Line } from "./line.js";
import { OwnedWord, type Sleep, type Taken } from "./owned-word.js";
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
  /** Whether it waits on this thread, which can do nothing else meanwhile. */
  isSync = false;
  readonly #producer: Producer;

  constructor(producer: Producer, payload: number, keeper: Keeper) {
    this.#producer = producer;
    this.place = producer.place;
    this.keeper = keeper;
    this.bytes = recordLength(payload);
  }

  /** The position of a record with so many bytes, when there is room. */
  attempt(stage: Stage): number | undefined {
    const slept = this.index;
    const found = this.#producer.attempt(this, stage);
    const isSleep = typeof found === "object";
    if (isSleep) {
      this.index = found.index;
      this.value = found.value;
    }
    if (stage !== "spin") this.#producer.passOnFrom(slept, isSleep ? found.index : 0);
    return isSleep ? undefined : found;
  }

  giveUp(): void {
    this.#producer.giveUp(this);
  }
}

/** The sending half of an end. */
export class Producer {
  readonly place: Place;
  /** The calls that send by this end, one after the other. */
  readonly line: Line = new Line();
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

  /** Goes into the line of this end's calls on a thread that cannot wait for them. */
  enterSync(): void {
    if (this.line.tryEnter()) return;
    const what = `Cannot wait for ${this.place.label}: this thread has a message under way`;
    throw systemError(errnoOf("EDEADLK"), { syscall: "futex", what });
  }

  /**
   * Takes the lock for a message and finds room for its next record.
   *
   * @returns The position of the record; or what to sleep on; undefined when there is no room now.
   */
  attempt(sending: Sending, stage: Stage): number | Sleep | undefined {
    if (stage === "look") this.place.requireShared();
    if (this.#holder !== sending) {
      const taken = takeLock(this.#lock, { place: this.place, stage });
      if (typeof taken !== "string") {
        if (stage === "look") this.#requireReceivers();
        return taken;
      }
      if (taken === "unrepaired") this.#lock.repaired(); // What it had begun counts for nothing.
      this.#holder = sending;
    }
    if (this.#ends.epoch !== this.#epoch) this.#ends.requireReceivers();
    const found = this.#findRoom(sending, stage);
    if (found !== undefined || stage === "spin") return found;
    if (stage === "look") this.#requireReceivers();
    else this.#ends.requireReceivers();
    const { words } = this.place;
    Atomics.store(words, at.spaceFlag, 1);
    const value = Atomics.load(words, at.spaceCount);
    return this.#findRoom(sending, stage) ?? { index: at.spaceCount, value };
  }

  #requireReceivers(): void {
    this.#ends.reap();
    this.#ends.requireReceivers();
  }

  #findRoom(sending: Sending, stage: Stage): number | Sleep | undefined {
    const { capacity, dropsOldest } = this.#memory.shape;
    const tail = Atomics.load(this.place.words, at.tail);
    const padding = paddingBefore(tail, sending.bytes, capacity);
    const need = padding + sending.bytes;
    if (!this.#hasRoom(tail, need)) {
      if (sending.isSync && stage !== "spin") this.#requireNotInOwnWay(tail, need);
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

  /* The position that the slowest receiver has reached; the tail where there is none. A cursor that
     is out of range means nothing where its end is just coming, or has left unnoticed. */
  #readHead(tail: number, isSure = false): number {
    const { capacity } = this.#memory.shape;
    let [head, used] = [tail, 0];
    for (const { first, isNew } of this.#ends.lanes) {
      const cursor = Atomics.load(this.place.words, first + lane.cursor);
      if (!isExtent(cursor, tail, capacity)) {
        if (isNew) continue;
        if (isSure) throw corrupt(this.place, `its cursors are ${cursor >>> 0} and ${tail >>> 0}`);
        this.#ends.forget();
        return this.#readHead(tail, true);
      }
      if (distance(cursor, tail) <= used) continue;
      head = cursor;
      used = distance(cursor, tail);
    }
    return head;
  }

  /* Throws when room can only be made by this thread, which would wait. */
  #requireNotInOwnWay(tail: number, need: number): void {
    const { words } = this.place;
    const { capacity, dropsOldest } = this.#memory.shape;
    for (const { first } of this.#ends.lanes) {
      if (distance(Atomics.load(words, first + lane.cursor), tail) + need <= capacity) continue;
      this.#laneLock(first).requireNotOwn();
      if (dropsOldest || !this.#ends.isOwnLane(first)) continue;
      const what = `Cannot wait for room in ${this.place.label}`;
      const reason = "this thread itself must receive first";
      throw systemError(errnoOf("EDEADLK"), { syscall: "futex", what: `${what}: ${reason}` });
    }
  }

  #laneLock(first: number): OwnedWord {
    return new OwnedWord(this.place, { index: first, namespaceIndex: at.namespace });
  }

  /* Moves the lanes on that are in the way; where one is being read, tells what to sleep on. */
  #dropOldest(tail: number, need: number, stage: Stage): Sleep | undefined | "none" {
    const { capacity } = this.#memory.shape;
    for (const { first, isNew } of this.#ends.lanes) {
      const cursor = Atomics.load(this.place.words, first + lane.cursor);
      if (distance(cursor, tail) + need <= capacity) continue;
      if (isNew && !isExtent(cursor, tail, capacity)) continue;
      const lock = this.#laneLock(first);
      const taken = takeLock(lock, { place: this.place, stage });
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

  /* A cursor that is out of range is judged by the next look for room. It is read once: nobody else
     moves it, unless somebody writes nonsense, and that must not keep us here. */
  #dropFrom(first: number, tail: number, most: number): void {
    const { words } = this.place;
    const { data, shape } = this.#memory;
    const { capacity } = shape;
    let head = Atomics.load(words, first + lane.cursor);
    while (isExtent(head, tail, capacity) && distance(head, tail) > most) {
      const record = recordAt(data, { head, tail, capacity });
      if (record === undefined) throw corrupt(this.place, "there is no record at its cursor");
      this.#countDropped(first, record.kind);
      head = record.next;
      Atomics.store(words, first + lane.cursor, head);
    }
  }

  /* Who is killed in between has counted a message twice rather than not at all. */
  #countDropped(first: number, kind: number): void {
    if (kind === what.padding) return;
    const { words } = this.place;
    const isRest = Atomics.load(words, first + lane.partial) !== 0;
    const isBeginning = kind === what.whole || kind === what.first;
    if (isBeginning || isRest) Atomics.add(words, first + lane.dropped, 1);
    Atomics.store(words, first + lane.partial, 0);
  }

  /** Where the payload of a record lies, for the channel itself. */
  payload(position: number, length: number): Uint8Array<ArrayBuffer> {
    const offset = this.#payloadOffset(position);
    return this.#memory.bytes.subarray(offset, offset + length);
  }

  /** The same for a user. */
  lend(position: number, length: number): Uint8Array<ArrayBuffer> {
    return this.#memory.lent.bytes(this.#payloadOffset(position), length);
  }

  #payloadOffset(position: number): number {
    return (position & (this.#memory.shape.capacity - 1)) + recordHead;
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

  /** A message was sent, or will not be: the lock and the line are for the next one. */
  leave(sending: Sending): void {
    try {
      if (!this.place.isClosed) this.release(sending);
    } finally {
      this.line.leave();
    }
  }

  /** The same for a message that has waited; without the lock it passes on what it was told. */
  giveUp(sending: Sending): void {
    if (this.#holder === sending) this.release(sending);
    else this.#lock.passOn();
  }

  /** A wake of a lane's lock that somebody slept on, and has not taken then, is another one's. */
  passOnFrom(slept: number, now: number): void {
    if (now === slept || slept === 0 || slept === at.producers || slept === at.spaceCount) return;
    this.#laneLock(slept).passOn();
  }

  /** The end is closed: what is under way is not sent. */
  close(): void {
    this.line.dissolve();
    this.release(this.#holder);
  }
}

/** The error of a channel that somebody has written over. */
export function corrupt(place: Place, how: string): Error {
  return memmapError("ERR_MEMMAP_CORRUPT", `Cannot use ${place.label}: ${how}`);
}

/**
 * One try to take a lock of a channel. Whoever takes one from the dead repairs it, so one that is
 * abandoned was written over.
 */
export function takeLock(lock: OwnedWord, { place, stage }: Taking): Taken | Sleep | undefined {
  try {
    return lock.attempt(stage);
  } catch (error) {
    const isAbandoned = error instanceof MemmapError && error.code === "ERR_MEMMAP_OWNER_DIED";
    throw isAbandoned ? corrupt(place, "its locks were written over") : error;
  }
}

interface Taking {
  readonly place: Place;
  readonly stage: Stage;
}
