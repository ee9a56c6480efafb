/**
 * class Channel: messages between processes and workers over a ring in shared memory. Here is how
 * it is made and ends, and what is built on bytes: values, loops and streams. Sending and receiving
 * are channel-sending.ts and channel-receiving.ts, the picture of the memory is channel-layout.ts.
 */
import { illegalConstructor } from "../errors.js";
import { asOptionalSignal } from "../validate.js";
import { type BlockOptions, type BlockSyncOptions, readLimits, readTimeout } from "./block.js";
import type { Message } from "./channel-consumer.js";
import { type ChannelEnd, endOf, enter, leaveWith } from "./channel-end.js";
import { type ChannelHandle, makeHandle, readHandle } from "./channel-handle.js";
import { headBytes } from "./channel-layout.js";
import { makeChannel, openChannel } from "./channel-memory.js";
import {
  type ChannelOpenOptions,
  type ChannelOptions,
  readOpenOptions,
  readOptions,
} from "./channel-options.js";
import { ReceivingChannel } from "./channel-receiving.js";
import { decodeValue, encodeValue } from "./channel-values.js";
import { valueMark } from "./ring.js";
import { SharedMemory } from "./shared-memory.js";
import { updateKeeping } from "./wait.js";

/* Only this file can construct one. */
const token = Symbol("Channel");

function contentOf(message: Message | undefined): unknown {
  if (message === undefined) return undefined;
  return message.isValue ? decodeValue(message.bytes) : message.bytes;
}

/* Aborting a stream ends a write that waits for room, which nothing else would. */
function signalOf(controller: WritableStreamDefaultController): AbortSignal | undefined {
  return asOptionalSignal(Reflect.get(controller, "signal"), "signal");
}

/**
 * One end of a channel: messages between two or more processes or workers over a ring in shared
 * memory, each end used for sending, receiving, or both.
 *
 * Sending and receiving make no system call while nobody has to be woken. Messages keep their
 * order, are received once ("queue") or by everyone ("broadcast"), and are never torn: what a
 * sender had not finished when it was killed is never seen. The death of the last who could send or
 * receive is noticed within a second. A channel keeps the process alive only while something waits,
 * and not even then after `unref()`.
 *
 * **Platform** Linux. Follows memfd_create(2), shm_open(3) and futex(2). Threads of another PID
 * namespace cannot be asked whether they live: their death is not noticed then.
 *
 * @example
 * ```ts
 * import { Channel } from "memmap/ipc";
 *
 * using channel = Channel.create({ capacity: 65536 });
 * using other = Channel.attach(channel.handle); // the handle goes to another process as JSON
 * other.sendSync(Uint8Array.of(1, 2, 3));
 * other.close();
 * for await (const message of channel) console.log(message.length); // 3
 * ```
 */
export class Channel extends ReceivingChannel {
  #readable: ReadableStream<Uint8Array<ArrayBuffer>> | undefined;
  #writable: WritableStream<Uint8Array> | undefined;

  /** @internal */
  constructor(end: ChannelEnd, key: symbol) {
    if (key !== token) {
      throw illegalConstructor("Cannot construct a Channel: call create, open or attach");
    }
    super(end);
    leaveWith(this, end);
  }

  /**
   * Makes a channel, and is its first end.
   *
   * @param options Its capacity, name, mode and overflow; see {@link ChannelOptions}.
   * @throws {TypeError} {RangeError} For options of the wrong type.
   * @throws {SystemError} `EEXIST` when somebody holds an object of that name; `ENOSPC` when there
   *   is no memory for it; `EACCES`, `EMFILE`, `ENOMEM`.
   *
   * @example
   * ```ts
   * import { Channel } from "memmap/ipc";
   *
   * using news = Channel.create({ mode: "broadcast", overflow: "drop-oldest" });
   * await news.send(Uint8Array.of(1)); // for whoever is there
   * ```
   */
  static create(options?: ChannelOptions): Channel {
    const { name, ...shape } = readOptions(options);
    const byteLength = headBytes + shape.capacity;
    const memory = SharedMemory.create({ byteLength, name });
    return new Channel(enter(makeChannel(memory, shape), false), token);
  }

  /**
   * Opens a channel by its name.
   *
   * @param name As it was made.
   * @param options Whether it receives; see {@link ChannelOpenOptions}.
   * @throws {TypeError} For what is no name.
   * @throws {SystemError} `ENOENT` when there is none, or its last holder has died; `EACCES`;
   *   `EUSERS` when it has 60 ends.
   * @throws {MemmapError} `ERR_MEMMAP_CORRUPT` when the object is no channel; `ERR_MEMMAP_VERSION`;
   *   `ERR_MEMMAP_READ_ONLY` when it may not be written.
   *
   * @example
   * ```ts
   * import { Channel } from "memmap/ipc";
   *
   * const name = `memmap-example-${process.pid}`;
   * using made = Channel.create({ name });
   * using opened = Channel.open(name); // in any process of the same user
   * opened.trySend(Uint8Array.of(1));
   * console.log(made.tryReceive()); // Uint8Array(1) [ 1 ]
   * ```
   */
  static open(name: string, options?: ChannelOpenOptions): Channel {
    const receives = readOpenOptions(options);
    return new Channel(enter(openChannel(SharedMemory.open(name)), receives), token);
  }

  /**
   * Opens the channel that a handle names.
   *
   * @param handle What `handle` was, as it came out of JSON, `process.send` or `postMessage`.
   * @param options Whether it receives; see {@link ChannelOpenOptions}.
   * @throws {TypeError} {RangeError} For what is no handle.
   * @throws {MemmapError} `ERR_MEMMAP_PEER_DIED` when the process that made the handle has ended;
   *   `ERR_MEMMAP_CLOSED` when it has closed the channel; as {@link Channel.open} otherwise.
   *
   * @example
   * ```ts
   * import { Channel } from "memmap/ipc";
   *
   * using channel = Channel.create();
   * const text = JSON.stringify(channel.handle); // for an environment variable, say
   * using attached = Channel.attach(JSON.parse(text));
   * console.log(attached.capacity); // 1048576
   * ```
   */
  static attach(handle: ChannelHandle, options?: ChannelOpenOptions): Channel {
    const memory = readHandle(handle);
    const receives = readOpenOptions(options);
    return new Channel(enter(openChannel(SharedMemory.attach(memory)), receives), token);
  }

  /**
   * Names the channel to another process or worker, as plain data; good while this end is open.
   *
   * @throws {MemmapError} `ERR_MEMMAP_CLOSED` after `close()`.
   */
  get handle(): ChannelHandle {
    return makeHandle(this[endOf].memory.memory.handle);
  }

  /**
   * Sends a structured value, by the serializer of the platform.
   *
   * The bytes of its typed arrays are kept out of that, and copied once into the ring; they must
   * not change until the promise settles. They come back as views of one buffer, a `Buffer` as a
   * `Uint8Array` (on Bun, below 512 bytes, as a `Buffer`), an array over a `SharedArrayBuffer` as a
   * copy. On Bun arrays of less than 512 bytes go through the serializer, and all do when the value
   * holds an object whose inside cannot be seen, such as a `Blob`.
   *
   * @param value What the structured clone of the runtime takes, but not undefined.
   * @param options As {@link Channel.send}.
   * @throws {TypeError} For undefined.
   * @throws {DOMException} `DataCloneError` for what cannot be cloned; nothing is sent then.
   * @throws As {@link Channel.send} otherwise.
   *
   * @example
   * ```ts
   * import { Channel } from "memmap/ipc";
   *
   * using channel = Channel.create();
   * await channel.sendValue({ name: "chunk", bytes: new Float32Array(4) });
   * console.log(await channel.receiveValue());
   * ```
   */
  async sendValue(value: unknown, options?: BlockOptions): Promise<void> {
    const limits = readLimits(options);
    limits.signal?.throwIfAborted();
    await this.sendMarked(encodeValue(value), valueMark, limits);
  }

  /** The same on this thread; as {@link Channel.sendSync}. */
  sendValueSync(value: unknown, options?: BlockSyncOptions): void {
    const timeoutMs = readTimeout(options);
    this.sendMarkedSync(encodeValue(value), valueMark, timeoutMs);
  }

  /**
   * Receives the next message as a value; one that was sent as bytes is a `Uint8Array`.
   *
   * @param options As {@link Channel.receive}.
   * @returns The value; undefined when no more will come.
   * @throws {MemmapError} `ERR_MEMMAP_VERSION` for a value of another JavaScript engine: Bun on one
   *   side and Node or Deno on the other understand bytes alone; `ERR_MEMMAP_CORRUPT` for bytes
   *   that are no value. The message is gone then.
   * @throws As {@link Channel.receive} otherwise.
   */
  async receiveValue(options?: BlockOptions): Promise<unknown> {
    const limits = readLimits(options);
    limits.signal?.throwIfAborted();
    return contentOf(await this.nextMessage(limits));
  }

  /** The same on this thread; as {@link Channel.receiveSync}. */
  receiveValueSync(options?: BlockSyncOptions): unknown {
    return contentOf(this.nextMessageSync(readTimeout(options)));
  }

  /**
   * Receives until no more will come; leaving the loop early leaves the channel open.
   *
   * @throws As {@link Channel.receive}.
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array<ArrayBuffer>, void, void> {
    for (;;) {
      const message = await this.receive();
      if (message === undefined) return;
      yield message;
    }
  }

  /** The messages as a stream of byte arrays; cancelling it closes the channel. */
  get readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    this.#readable ??= new ReadableStream(
      {
        pull: async (controller) => {
          const message = await this.receive();
          if (message === undefined) controller.close();
          else controller.enqueue(message);
        },
        cancel: () => this.close(),
      },
      { highWaterMark: 0 },
    );
    return this.#readable;
  }

  /**
   * A stream whose chunks are sent as messages: a write waits while the ring is full. Closing or
   * aborting it closes the channel.
   */
  get writable(): WritableStream<Uint8Array> {
    this.#writable ??= new WritableStream({
      write: (chunk, controller) => this.send(chunk, { signal: signalOf(controller) }),
      close: () => this.close(),
      abort: () => this.close(),
    });
    return this.#writable;
  }

  /** What waits on this end keeps the process alive; that is how it begins. */
  ref(): this {
    return this.#keep(true);
  }

  /** What waits on this end does not keep the process alive. */
  unref(): this {
    return this.#keep(false);
  }

  #keep(keepsAlive: boolean): this {
    this[endOf].keepsAlive = keepsAlive;
    updateKeeping();
    return this;
  }

  /** Whether {@link Channel.close} was called. */
  get closed(): boolean {
    return this[endOf].isClosed;
  }

  /**
   * Leaves the channel; a second call does nothing. What was sent stays for the others. Pending
   * calls that receive give undefined, those that send reject with `ERR_MEMMAP_CLOSED`, what was
   * reserved is not sent, and what was borrowed is the next receiver's.
   */
  close(): void {
    this[endOf].close();
  }

  /** The same as {@link Channel.close}. */
  [Symbol.dispose](): void {
    this.close();
  }
}
