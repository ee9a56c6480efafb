/**
 * What a channel's end can send: the first third of class Channel. Every method reads all its
 * arguments before it looks at the state.
 */
import { memmapError, outOfRange, wrongValue } from "../errors.js";
import { asBytes } from "../validate.js";
import {
  type BlockOptions,
  type BlockSyncOptions,
  block,
  blockSync,
  type Limits,
  readLimits,
  readTimeout,
  timedOut,
} from "./block.js";
import { type ChannelEnd, endOf } from "./channel-end.js";
import type { ChannelState } from "./channel-ends.js";
import { asReserved } from "./channel-options.js";
import { Sending } from "./channel-producer.js";
import { type Reservation, Reserved } from "./reservation.js";
import { partLength, payloadMax, recordLength, what } from "./ring.js";

interface Part {
  readonly offset: number;
  readonly length: number;
  readonly mark: number;
}

/** What is sent: bytes, or something else that writes its bytes from `offset` into a target. */
export type Content = Uint8Array | Written;

/** See {@link Content}. */
export interface Written {
  readonly length: number;
  copyTo(target: Uint8Array, offset: number): void;
}

/* The records of a message, in their order. */
function partsOf(length: number, capacity: number, mark: number): Iterable<Part> {
  if (length > payloadMax(capacity)) return piecesOf(length, capacity, mark);
  return [{ offset: 0, length, mark: mark | what.whole }];
}

function* piecesOf(length: number, capacity: number, mark: number): Generator<Part> {
  const most = partLength(capacity);
  for (let offset = 0; offset < length; offset += most) {
    const isLast = offset + most >= length;
    const kind = offset === 0 ? what.first : isLast ? what.last : what.middle;
    yield { offset, length: Math.min(most, length - offset), mark: mark | kind };
  }
}

/** The end of a channel, as it sends. */
export abstract class SendingChannel {
  /** @internal */
  readonly [endOf]: ChannelEnd;

  /** @internal */
  protected constructor(end: ChannelEnd) {
    this[endOf] = end;
  }

  /**
   * How the channel stands for this end: "closed" when this end is closed, or when all others that
   * it needs have closed theirs; "peer-died" when the last of them was killed or failed.
   *
   * An end that receives needs one that may send, and the other way round. It is "open" again when
   * somebody comes. The ends that have died are looked for here, by asking the kernel.
   */
  get state(): ChannelState {
    const end = this[endOf];
    if (end.isClosed) return "closed";
    end.ends.reap();
    return end.ends.state;
  }

  /** Bytes of the ring. */
  get capacity(): number {
    return this[endOf].memory.shape.capacity;
  }

  /**
   * Sends a message, and waits for room without blocking the event loop.
   *
   * Messages arrive in the order in which they got the channel, those of one end in the order of
   * its calls. One that is longer than half of the ring goes in parts, while a receiver takes them.
   *
   * @param message Its bytes, which must not change until the promise settles.
   * @param options For how long, and a signal; see {@link BlockOptions}. A message that is given up
   *   is never received, not even in part.
   * @returns When the message is in the ring. Rejects with `signal.reason` when aborted.
   * @throws {TypeError} {RangeError} For arguments of the wrong type.
   * @throws {MemmapError} `ERR_MEMMAP_CLOSED`, of a queue also when all who could receive have
   *   closed it; `ERR_MEMMAP_PEER_DIED` when the last of them has died; `ERR_MEMMAP_TIMEOUT`;
   *   `ERR_MEMMAP_CORRUPT` when somebody has written over the channel.
   *
   * @example
   * ```ts
   * import { Channel } from "memmap/ipc";
   *
   * using channel = Channel.create();
   * await channel.send(new TextEncoder().encode("hello"), { timeoutMs: 1000 });
   * console.log(new TextDecoder().decode(channel.tryReceive())); // "hello"
   * ```
   */
  async send(message: Uint8Array, options?: BlockOptions): Promise<void> {
    const bytes = asBytes(message, "message");
    const limits = readLimits(options);
    limits.signal?.throwIfAborted();
    await this.sendMarked(bytes, 0, limits);
  }

  /**
   * Sends a message, and waits for room on this thread: a bounded spin, then the kernel's wait.
   *
   * @param message Its bytes.
   * @param options For how long; see {@link BlockSyncOptions}.
   * @throws As {@link Channel.send}.
   * @throws {SystemError} `EDEADLK` while another message of this thread is under way: nothing
   *   could end it meanwhile.
   *
   * @example
   * ```ts
   * import { Channel } from "memmap/ipc";
   *
   * using channel = Channel.create();
   * channel.sendSync(Uint8Array.of(1, 2, 3));
   * console.log(channel.receiveSync()); // Uint8Array(3) [ 1, 2, 3 ]
   * ```
   */
  sendSync(message: Uint8Array, options?: BlockSyncOptions): void {
    const bytes = asBytes(message, "message");
    this.sendMarkedSync(bytes, 0, readTimeout(options));
  }

  /**
   * Sends a message if that can be done at once.
   *
   * @param message Its bytes, at most half of the ring less 8.
   * @returns Whether it was sent.
   * @throws {RangeError} `ERR_OUT_OF_RANGE` for a longer message: that goes in parts, so it waits.
   * @throws As {@link Channel.send} otherwise.
   *
   * @example
   * ```ts
   * import { Channel } from "memmap/ipc";
   *
   * using channel = Channel.create({ capacity: 1024 });
   * while (channel.trySend(new Uint8Array(100))) {} // until the ring is full
   * ```
   */
  trySend(message: Uint8Array): boolean {
    const bytes = asBytes(message, "message");
    const end = this.#requireOpen("send to");
    const most = payloadMax(end.memory.shape.capacity);
    if (bytes.length > most) {
      const reason = `${most} go at once; send() sends longer ones in parts`;
      throw outOfRange(`Cannot send ${bytes.length} bytes without waiting: at most ${reason}`);
    }
    const sending = this.#tryBegin(end, bytes.length);
    if (sending === undefined) return false;
    try {
      const position = sending.attempt("spin");
      if (position === undefined) return false;
      this.#write(bytes, { offset: 0, length: bytes.length, mark: what.whole }, position);
    } finally {
      end.producer.leave(sending);
    }
    end.producer.wake();
    return true;
  }

  /**
   * Takes room in the ring for a message that is written there, without a copy.
   *
   * Until it is committed or aborted nobody else sends, so write at once, or at least soon.
   *
   * @param length Bytes, at most half of the ring less 8.
   * @param options For how long, and a signal; see {@link BlockOptions}.
   * @throws {RangeError} `ERR_OUT_OF_RANGE` for more bytes than lie in one piece.
   * @throws As {@link Channel.send} otherwise.
   *
   * @example
   * ```ts
   * import { Channel } from "memmap/ipc";
   *
   * using channel = Channel.create();
   * using room = await channel.reserve(3);
   * room.bytes.set([1, 2, 3]);
   * room.commit();
   * console.log(channel.tryReceive()); // Uint8Array(3) [ 1, 2, 3 ]
   * ```
   */
  async reserve(length: number, options?: BlockOptions): Promise<Reservation> {
    const bytes = asReserved(length, payloadMax(this.capacity));
    const limits = readLimits(options);
    limits.signal?.throwIfAborted();
    const end = this.#requireOpen("send to");
    const until = performance.now() + limits.timeoutMs;
    const sending = this.#tryBegin(end, bytes) ?? (await this.#begin(end, bytes, limits));
    try {
      const position = sending.attempt("spin") ?? (await block(sending, rest(limits, until)));
      this.#requireOpen("send to");
      return new Reserved(this, sending, { position, length: bytes });
    } catch (error) {
      end.producer.leave(sending);
      throw error;
    }
  }

  /**
   * The same if there is room at once.
   *
   * @param length Bytes, at most half of the ring less 8.
   * @returns undefined when there is no room, or another message is under way.
   * @throws As {@link Channel.reserve}.
   *
   * @example
   * ```ts
   * import { Channel } from "memmap/ipc";
   *
   * using channel = Channel.create();
   * const room = channel.tryReserve(8);
   * room?.bytes.fill(7);
   * room?.commit();
   * ```
   */
  tryReserve(length: number): Reservation | undefined {
    const bytes = asReserved(length, payloadMax(this.capacity));
    const end = this.#requireOpen("send to");
    const sending = this.#tryBegin(end, bytes);
    if (sending === undefined) return undefined;
    let reserved: Reserved | undefined;
    try {
      const position = sending.attempt("spin");
      if (position === undefined) return undefined;
      reserved = new Reserved(this, sending, { position, length: bytes });
      return reserved;
    } finally {
      if (reserved === undefined) end.producer.leave(sending);
    }
  }

  /** @internal */
  protected async sendMarked(content: Content, mark: number, limits: Limits): Promise<void> {
    const end = this.#requireOpen("send to");
    const until = performance.now() + limits.timeoutMs;
    const sending = this.#tryBegin(end, 0) ?? (await this.#begin(end, 0, limits));
    try {
      for (const part of partsOf(content.length, end.memory.shape.capacity, mark)) {
        sending.bytes = recordLength(part.length);
        let position = sending.attempt("spin");
        if (position === undefined) {
          position = await block(sending, rest(limits, until));
          this.#requireOpen("send to");
        }
        this.#write(content, part, position);
        if (part.length < content.length) end.producer.wake();
      }
    } finally {
      end.producer.leave(sending);
    }
    end.producer.wake();
  }

  /** @internal */
  protected sendMarkedSync(content: Content, mark: number, timeoutMs: number): void {
    const end = this.#requireOpen("send to");
    const until =
      timeoutMs === Number.POSITIVE_INFINITY ? timeoutMs : performance.now() + timeoutMs;
    end.producer.enterSync();
    const sending = this.#sending(end, 0);
    sending.isSync = true;
    try {
      for (const part of partsOf(content.length, end.memory.shape.capacity, mark)) {
        sending.bytes = recordLength(part.length);
        this.#write(content, part, sending.attempt("spin") ?? this.#wait(sending, until));
        if (part.length < content.length) end.producer.wake();
      }
    } finally {
      end.producer.leave(sending);
    }
    end.producer.wake();
  }

  #wait(sending: Sending, until: number): number {
    const { producer } = this[endOf];
    if (!producer.isHeldBy(sending)) producer.requireNotOwn();
    return blockSync(sending, Math.max(0, until - performance.now()));
  }

  #write(content: Content, part: Part, position: number): void {
    const { producer } = this[endOf];
    if (content.length < part.offset + part.length) throw changed();
    const target = producer.payload(position, part.length);
    if (!(content instanceof Uint8Array)) content.copyTo(target, part.offset);
    else if (part.length === content.length) target.set(content);
    else target.set(content.subarray(part.offset, part.offset + part.length));
    producer.publish(position, part.length, part.mark);
  }

  #sending(end: ChannelEnd, length: number): Sending {
    end.ends.sends();
    return new Sending(end.producer, length, end);
  }

  #tryBegin(end: ChannelEnd, length: number): Sending | undefined {
    return end.producer.line.tryEnter() ? this.#sending(end, length) : undefined;
  }

  /* Begins when what this end began before has been sent. */
  async #begin(end: ChannelEnd, length: number, limits: Limits): Promise<Sending> {
    const { line, place } = end.producer;
    const isIn = await line.enter(limits, end.keepsAlive);
    if (!isIn) throw timedOut({ action: "send to", place }, limits.timeoutMs);
    try {
      return this.#sending(this.#requireOpen("send to"), length);
    } catch (error) {
      line.leave();
      throw error;
    }
  }

  #requireOpen(action: string): ChannelEnd {
    const end = this[endOf];
    if (end.isClosed) {
      throw memmapError("ERR_MEMMAP_CLOSED", `Cannot ${action} the channel: it is closed`);
    }
    end.requireWhole();
    return end;
  }
}

function rest(limits: Limits, until: number): Limits {
  return { ...limits, timeoutMs: Math.max(0, until - performance.now()) };
}

/* A buffer that was resized or transferred meanwhile: the ring's old bytes are nobody's to see. */
function changed(): TypeError {
  return wrongValue(`"message" was made shorter while it was sent`);
}
