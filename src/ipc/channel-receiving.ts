/**
 * What a channel's end can receive: the second third of class Channel. A channel that is closed
 * gives "no more" rather than an error, so that loops end.
 */
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
import { Arrival, type Message, type Received, type Way } from "./channel-consumer.js";
import { type ChannelEnd, endOf } from "./channel-end.js";
import { SendingChannel } from "./channel-sending.js";

/** A message that is read where it lies. */
export interface Borrowed extends Disposable {
  /** Its bytes, in the ring: good until `release()`, and of no meaning after it. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Gives the room back, and counts the message as received; a second call does nothing. */
  release(): void;
}

/* It holds the channel, which must not be collected while somebody reads its memory. */
class Loan implements Borrowed {
  readonly bytes: Uint8Array<ArrayBuffer>;
  #channel: ReceivingChannel | undefined;

  constructor(message: Message, channel: ReceivingChannel) {
    this.bytes = message.bytes;
    this.#channel = message.isInPlace ? channel : undefined;
  }

  release(): void {
    const end = this.#channel?.[endOf];
    this.#channel = undefined;
    if (end !== undefined && !end.isClosed) end.consumer.giveBack();
  }

  [Symbol.dispose](): void {
    this.release();
  }
}

/** The end of a channel, as it receives. */
export abstract class ReceivingChannel extends SendingChannel {
  /**
   * How many messages were dropped (`overflow: "drop-oldest"`) that this end of a broadcast, or
   * all receivers of a queue together, should have read.
   */
  get droppedCount(): number {
    const end = this[endOf];
    return end.isClosed ? 0 : end.consumer.dropped;
  }

  /**
   * Receives the next message, and waits for it without blocking the event loop.
   *
   * Calls that wait get messages in the order of the calls. One that is given up in the middle of a
   * long message keeps what has come for the next call of this end, and with it the queue.
   *
   * @param options For how long, and a signal; see {@link BlockOptions}.
   * @returns A copy of its bytes; undefined when no more will come, because this end is closed, or
   *   all who could send have closed theirs. Rejects with `signal.reason` when aborted.
   * @throws {TypeError} {RangeError} For options of the wrong type.
   * @throws {MemmapError} `ERR_MEMMAP_PEER_DIED` when the last who could send has died, after
   *   everything that it had sent; `ERR_MEMMAP_TIMEOUT`; `ERR_MEMMAP_CORRUPT` when somebody has
   *   written over the channel.
   *
   * @example
   * ```ts
   * import { Channel } from "memmap/ipc";
   *
   * using channel = Channel.create();
   * using other = Channel.attach(channel.handle); // in another process or worker
   * await other.send(Uint8Array.of(1));
   * console.log(await channel.receive()); // Uint8Array(1) [ 1 ]
   * ```
   */
  async receive(options?: BlockOptions): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const limits = readLimits(options);
    limits.signal?.throwIfAborted();
    return (await this.nextMessage(limits))?.bytes;
  }

  /**
   * Receives the next message, and waits for it on this thread: a bounded spin, then the kernel's
   * wait.
   *
   * @param options For how long; see {@link BlockSyncOptions}.
   * @returns As {@link Channel.receive}.
   * @throws As {@link Channel.receive}.
   * @throws {SystemError} `EDEADLK` while this thread has a message of the channel borrowed.
   *
   * @example
   * ```ts
   * import { Channel } from "memmap/ipc";
   *
   * using channel = Channel.create();
   * channel.sendSync(Uint8Array.of(1));
   * console.log(channel.receiveSync({ timeoutMs: 1000 })); // Uint8Array(1) [ 1 ]
   * ```
   */
  receiveSync(options?: BlockSyncOptions): Uint8Array<ArrayBuffer> | undefined {
    const timeoutMs = readTimeout(options);
    return this.nextMessageSync(timeoutMs)?.bytes;
  }

  /**
   * Receives the next message if there is one.
   *
   * @returns A copy of its bytes; undefined when there is none now: `state` tells whether any will
   *   come.
   * @throws {MemmapError} `ERR_MEMMAP_CORRUPT`.
   *
   * @example
   * ```ts
   * import { Channel } from "memmap/ipc";
   *
   * using channel = Channel.create();
   * console.log(channel.tryReceive(), channel.state); // undefined "open"
   * ```
   */
  tryReceive(): Uint8Array<ArrayBuffer> | undefined {
    return this.tryMessage("copy")?.bytes;
  }

  /**
   * Takes the next message, if there is one, to be read where it lies, without a copy.
   *
   * Until it is released nobody else reads from a queue, and its room is not used again. A receiver
   * that dies meanwhile has not received it: the next one gets it. A message that was sent in parts
   * comes as a copy.
   *
   * @returns undefined when there is none now, or while one is borrowed.
   * @throws {MemmapError} `ERR_MEMMAP_CORRUPT`.
   *
   * @example
   * ```ts
   * import { Channel } from "memmap/ipc";
   *
   * using channel = Channel.create();
   * channel.trySend(Uint8Array.of(1, 2));
   * using message = channel.borrow();
   * console.log(message?.bytes); // Uint8Array(2) [ 1, 2 ]
   * ```
   */
  borrow(): Borrowed | undefined {
    const message = this.tryMessage("in place");
    return message && new Loan(message, this);
  }

  /** @internal */
  protected tryMessage(way: Way): Message | undefined {
    const end = this.#begin();
    const found = end?.consumer.attempt(way, "spin");
    return found === undefined || found === "end" || !("bytes" in found) ? undefined : found;
  }

  /** @internal */
  protected async nextMessage(limits: Limits): Promise<Message | undefined> {
    const end = this.#begin();
    if (end === undefined) return undefined;
    try {
      return await takeTurn(end, limits);
    } catch (error) {
      if (end.isClosed && limits.signal?.aborted !== true) return undefined;
      throw error;
    }
  }

  /** @internal */
  protected nextMessageSync(timeoutMs: number): Message | undefined {
    const end = this.#begin();
    if (end === undefined) return undefined;
    const soon = end.consumer.attempt("copy", "spin");
    if (soon !== undefined && soon !== "end" && "bytes" in soon) return soon;
    end.consumer.requireNotOwn();
    return messageOf(blockSync(new Arrival(end.consumer, end), timeoutMs));
  }

  #begin(): ChannelEnd | undefined {
    const end = this[endOf];
    if (end.isClosed) return undefined;
    end.requireWhole();
    end.ends.receives();
    return end;
  }
}

/* Receives when those have received who have asked before. */
async function takeTurn(end: ChannelEnd, limits: Limits): Promise<Message | undefined> {
  const { line } = end.consumer;
  const arrival = new Arrival(end.consumer, end);
  let rest = limits;
  if (!line.tryEnter()) {
    const until = performance.now() + limits.timeoutMs;
    const isIn = await line.enter(limits, end.keepsAlive);
    if (!isIn) throw timedOut(arrival, limits.timeoutMs);
    rest = { ...limits, timeoutMs: Math.max(0, until - performance.now()) };
  }
  try {
    return end.isClosed ? undefined : messageOf(await block(arrival, rest));
  } finally {
    line.leave();
  }
}

function messageOf(found: Received): Message | undefined {
  return found === "end" ? undefined : found;
}
