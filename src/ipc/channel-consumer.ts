/**
 * The receiving half of a channel's end. Whoever reads holds the lock of its lane, and moves the
 * cursor on when it has what it wanted: a receiver that is killed before leaves the message to the
 * next one. The parts of a long message are put together here.
 *
 * Invariants: between two parts the lock of a queue is kept, since the next part is of no use to
 * anybody else; that of a broadcast is not, so that producers may drop the rest for a slow reader.
 * They clear the lane's `partial` then, by which the reader knows, and count the message once.
 */
import type { Stage, Task } from "./block.js";
import { type ChannelState, type Ends, wake } from "./channel-ends.js";
import { at, lane } from "./channel-layout.js";
import type { ChannelMemory } from "./channel-memory.js";
import { corrupt, takeLock } from "./channel-producer.js";
import { requireFormat } from "./format.js";
import { Line } from "./line.js";
import { holderOf } from "./lock-word.js";
import { OwnedWord, type Sleep } from "./owned-word.js";
import type { Place } from "./place.js";
import { distance, isExtent, type RecordFacts, recordAt, what } from "./ring.js";
import type { Keeper } from "./wait.js";

/** A message; in place, its bytes are good until it is let go. */
export interface Message {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly isValue: boolean;
  readonly isInPlace: boolean;
}

/** What a try to receive gives: "end" when nothing will come any more. */
export type Received = Message | "end";

/** Whether the bytes of a message are wanted as a copy, or in the ring. */
export type Way = "copy" | "in place";

/** How many records of a message, or of a peer that writes nonsense without an end, in one try. */
const recordsAtOnce = 64;

/** A wait for a message. */
export class Arrival implements Task<Received> {
  readonly action = "receive from";
  readonly place: Place;
  readonly keeper: Keeper;
  readonly spins = 4000;
  /* How often the event loop turns before a sleep. */
  readonly turns = 16;
  /* About two microseconds: an answer is often quicker than a turn of the event loop. */
  readonly triesInTurn = 150;
  index = 0;
  value = 0;
  readonly #consumer: Consumer;

  constructor(consumer: Consumer, keeper: Keeper) {
    this.#consumer = consumer;
    this.place = consumer.place;
    this.keeper = keeper;
  }

  attempt(stage: Stage): Received | undefined {
    const slept = this.index;
    const found = this.#consumer.attempt("copy", stage);
    const isSleep = found !== undefined && found !== "end" && !("bytes" in found);
    if (isSleep) {
      this.index = found.index;
      this.value = found.value;
    }
    if (stage !== "spin") this.#consumer.passOnFrom(slept, isSleep ? found.index : 0);
    return isSleep ? undefined : found;
  }

  giveUp(): void {
    this.#consumer.giveUp();
  }
}

/** The receiving half of an end. */
export class Consumer {
  readonly place: Place;
  /** The calls that wait for a message of this end. */
  readonly line: Line = new Line();
  readonly #memory: ChannelMemory;
  readonly #ends: Ends;
  readonly #producers: OwnedWord;
  #word: OwnedWord | undefined;
  #isHeld = false;
  /** The parts of a long message that have come. */
  #parts: Uint8Array<ArrayBuffer>[] = [];
  /** The record that is borrowed. */
  #borrowed: RecordFacts | undefined;

  constructor(memory: ChannelMemory, ends: Ends) {
    this.place = memory.place;
    this.#memory = memory;
    this.#ends = ends;
    const places = { index: at.producers, namespaceIndex: at.namespace };
    this.#producers = new OwnedWord(memory.place, places);
  }

  get #lock(): OwnedWord {
    const places = { index: this.#ends.lane, namespaceIndex: at.namespace };
    this.#word ??= new OwnedWord(this.place, places);
    return this.#word;
  }

  get #cursor(): number {
    return this.#ends.lane + lane.cursor;
  }

  /** Whether a message is borrowed. */
  get isBorrowed(): boolean {
    return this.#borrowed !== undefined;
  }

  /** Throws when this thread would wait for itself. */
  requireNotOwn(): void {
    if (!this.#isHeld || this.isBorrowed) this.#lock.requireNotOwn();
  }

  get #isEmpty(): boolean {
    const { words } = this.place;
    return Atomics.load(words, this.#cursor) === Atomics.load(words, at.tail);
  }

  /** One try: a message, what to sleep on, or undefined when there is none now. */
  attempt(way: Way, stage: Stage): Received | Sleep | undefined {
    if (stage === "spin" && this.#isEmpty && this.#parts.length === 0) return undefined;
    try {
      if (stage === "look") this.#requireWhole();
      const found = this.#next(way, stage);
      if (found !== undefined || stage === "spin") return found;
      if (stage === "look") this.#ends.reap();
      const { words } = this.place;
      Atomics.store(words, at.dataFlag, 1);
      const value = Atomics.load(words, at.dataCount);
      const { senders } = this.#ends;
      const late = this.#next(way, stage);
      if (late !== undefined) return late;
      if (senders !== "open") return this.#end(senders);
      return { index: at.dataCount, value };
    } catch (error) {
      this.#parts = [];
      if (!this.place.isClosed) this.giveUp();
      throw error;
    }
  }

  /* A peer may have written over the head, or made the memory shorter, while this end slept. */
  #requireWhole(): void {
    this.place.requireShared();
    const format = Atomics.load(this.place.words, at.format);
    requireFormat(format, "channel", `Cannot receive from ${this.place.label}`);
  }

  /* Nothing more had come when there were no senders; an unfinished message is of no use. How they
     stand now may be another thing: the next one may have come. */
  #end(senders: ChannelState): "end" {
    this.#parts = [];
    this.#release();
    if (senders === "peer-died") throw this.#ends.sendersDied();
    return "end";
  }

  #next(way: Way, stage: Stage): Message | Sleep | undefined {
    for (let records = 0; this.isBorrowed || !this.#isEmpty; records += 1) {
      if (records === recordsAtOnce) return this.#later();
      const isTaken = this.#take(stage);
      if (isTaken !== true) return isTaken;
      const record = this.#record();
      const message = record === undefined ? undefined : this.#read(record, way);
      if (message !== undefined) return message;
    }
    if (this.#parts.length > 0 && this.#isOrphaned(stage)) this.#parts = [];
    if (this.#parts.length === 0 || this.#memory.shape.isBroadcast) this.#release();
    return undefined;
  }

  /* More has come all the time: goes on when time limits were looked at. No tail is odd, so the
     sleep on it ends at once. */
  #later(): Sleep {
    return { index: at.tail, value: Atomics.load(this.place.words, at.tail) | 1 };
  }

  /* Whether the rest of a message that has begun will never come: its sender has given up or died.
     While it sends, it holds the producers' lock from the first part to the last. */
  #isOrphaned(stage: Stage): boolean {
    const word = Atomics.load(this.place.words, at.producers);
    if (holderOf(word) === 0) return this.#isEmpty;
    return stage === "look" && this.#producers.isOwnerDead(word) && this.#isEmpty;
  }

  /* Takes the lock, unless parts of a message have kept it. */
  #take(stage: Stage): true | Sleep | undefined {
    if (this.#isHeld && !this.isBorrowed) return true;
    const taken = takeLock(this.#lock, { place: this.place, stage });
    if (typeof taken !== "string") return taken;
    if (taken === "unrepaired") this.#lock.repaired(); // Its message was not received.
    this.#isHeld = true;
    return true;
  }

  #record(): RecordFacts | undefined {
    const { words } = this.place;
    const head = Atomics.load(words, this.#cursor);
    const tail = Atomics.load(words, at.tail);
    if (head === tail) return undefined;
    const { capacity } = this.#memory.shape;
    if (!isExtent(head, tail, capacity)) {
      throw corrupt(this.place, `its cursors are ${head >>> 0} and ${tail >>> 0}`);
    }
    const record = recordAt(this.#memory.data, { head, tail, capacity });
    if (record === undefined) throw corrupt(this.place, "there is no record at its cursor");
    return record;
  }

  /* A message, if this record is one or the last part of one. */
  #read(record: RecordFacts, way: Way): Message | undefined {
    const { kind, isValue, offset, length } = record;
    const isBeginning = kind === what.whole || kind === what.first;
    if (isBeginning || this.#isRestDropped) this.#parts = [];
    if (kind === what.whole) {
      if (way === "in place") {
        this.#borrowed = record;
        return { bytes: this.#bytesOf(record), isValue, isInPlace: true };
      }
      const bytes = this.#memory.bytes.slice(offset, offset + length);
      this.#pass(record);
      this.#release();
      return { bytes, isValue, isInPlace: false };
    }
    const isPart = kind === what.first || (kind !== what.padding && this.#parts.length > 0);
    if (isPart) this.#parts.push(this.#memory.bytes.slice(offset, offset + length));
    const isDone = isPart && kind === what.last;
    if (isPart) this.#setPartial(isDone ? 0 : 1);
    this.#pass(record);
    if (!isDone) return undefined;
    const bytes = joined(this.#parts);
    this.#parts = [];
    this.#release();
    return { bytes, isValue, isInPlace: false };
  }

  /* Whether a producer has dropped the rest of the message whose beginning is here. */
  get #isRestDropped(): boolean {
    if (this.#parts.length === 0 || !this.#memory.shape.isBroadcast) return false;
    return Atomics.load(this.place.words, this.#ends.lane + lane.partial) === 0;
  }

  #setPartial(value: 0 | 1): void {
    if (!this.#memory.shape.isBroadcast) return; // A queue's lock is kept instead.
    Atomics.store(this.place.words, this.#ends.lane + lane.partial, value);
  }

  #bytesOf({ offset, length }: RecordFacts): Uint8Array<ArrayBuffer> {
    return this.#memory.lent.bytes(offset, length);
  }

  /* Moves the cursor on, and wakes producers that wait for room: not for every record, since a
     system call costs more than most of them, but when a quarter of the ring is free. Who waits
     for less looks by itself after a while. */
  #pass(record: RecordFacts): void {
    const { words } = this.place;
    Atomics.store(words, this.#cursor, record.next);
    if (Atomics.load(words, at.spaceFlag) === 0) return;
    const used = distance(record.next, Atomics.load(words, at.tail));
    const isWorthIt = used <= (this.#memory.shape.capacity / 4) * 3;
    if (isWorthIt) wake(words, at.spaceFlag, at.spaceCount);
  }

  /** Gives a borrowed message back. */
  giveBack(): void {
    const record = this.#borrowed;
    if (record === undefined) return;
    this.#borrowed = undefined;
    this.#pass(record);
    this.#release();
  }

  #release(): void {
    if (!this.#isHeld) return;
    this.#isHeld = false;
    this.#lock.release();
  }

  /** Lets go of everything: what was borrowed or received in part is not received. */
  giveUp(): void {
    if (this.isBorrowed || this.#parts.length > 0) return;
    if (this.#isHeld) this.#release();
    else this.#lock.passOn();
  }

  /** A wake of the lock that somebody slept on, and has not taken then, is another one's. */
  passOnFrom(slept: number, now: number): void {
    if (slept === this.#ends.lane && now !== slept && !this.#isHeld) this.#lock.passOn();
  }

  /** The end is closed: what was borrowed is not received, and the rest is of no use. */
  close(): void {
    this.#borrowed = undefined;
    this.#parts = [];
    this.line.dissolve();
    this.#release();
  }

  /** How many messages were dropped before this end, or the receivers of a queue, read them. */
  get dropped(): number {
    return Atomics.load(this.place.words, this.#ends.lane + lane.dropped) >>> 0;
  }
}

function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}
