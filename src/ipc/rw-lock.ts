/**
 * class RwLock: one writer or many readers at a time, of all threads of all processes.
 *
 *     bytes 0        4            8              12           16
 *          +--------------+--------------+--------------+--------------+
 *          |  lock word   |  start time  |  namespace   |    format    |    layout 1; byte order
 *          +--------------+--------------+--------------+--------------+    of the machine
 *       16 |    entry     |     room     |    drain     |    inside    |    rw-state.ts
 *          +--------------+--------------+--------------+--------------+
 *       32 |  120 thread ids of readers, 120 start times               |    reader-slots.ts
 *          +-----------------------------------------------------------+
 *      992 |  0                                                        |    to byte 1024
 *          +-----------------------------------------------------------+
 *
 * The first row is as in mutex.ts, and says who writes or waits for the readers to leave; "inside"
 * is 1 while it writes. All zeros is a lock that nobody holds. How readers and writers keep each
 * other out is in rw-state.ts; without a rival it takes a few atomic operations and no system call.
 */
import {
  type BlockOptions,
  type BlockSyncOptions,
  block,
  blockSync,
  readLimits,
  readTimeout,
  type Stage,
  type Task,
} from "./block.js";
import { claimFormat } from "./format.js";
import type { LockGuard } from "./guard.js";
import { joinNamespace } from "./namespace.js";
import type { Taken } from "./owned-word.js";
import { thisThread } from "./owner.js";
import { Place } from "./place.js";
import { at, RwState } from "./rw-state.js";
import { Sleepers } from "./sleepers.js";

const byteLength = 1024;

class Read implements Task<LockGuard> {
  readonly action = "take";
  readonly place: Place;
  index = 0;
  value = 0;
  readonly #state: RwState;

  constructor(state: RwState) {
    this.#state = state;
    this.place = state.place;
  }

  attempt(stage: Stage): LockGuard | undefined {
    if (stage === "look") this.#state.dropDeadWriter();
    let entered = this.#state.tryEnter();
    if (stage === "look" && entered === this.#state.room) this.#state.dropDeadReaders();
    for (;;) {
      if (!(entered instanceof Sleepers)) return entered;
      if (stage === "spin") return undefined;
      const sleepers: Sleepers = entered;
      this.value = sleepers.announce();
      entered = this.#state.tryEnter();
      if (entered !== sleepers) continue;
      this.index = sleepers.index;
      return undefined;
    }
  }

  /* All are woken each time, so nobody else has to be told. */
  giveUp(): void {}
}

class Write implements Task<LockGuard> {
  readonly action = "take";
  readonly place: Place;
  index = 0;
  value = 0;
  readonly #state: RwState;
  /** The lock word is taken; readers may be there. The mapping is pinned until that is over. */
  #taken: Taken | undefined;

  constructor(state: RwState) {
    this.#state = state;
    this.place = state.place;
  }

  attempt(stage: Stage): LockGuard | undefined {
    this.#taken ??= this.#take(stage);
    if (this.#taken === undefined || !this.#drains(stage)) return undefined;
    const taken = this.#taken;
    this.#taken = undefined;
    this.place.unpin();
    return this.#state.guardOfWriter(taken);
  }

  #take(stage: Stage): Taken | undefined {
    const taken = this.#state.word.attempt(stage);
    if (typeof taken === "string") {
      this.place.pin();
      return taken;
    }
    this.index = taken?.index ?? this.index;
    this.value = taken?.value ?? this.value;
    return undefined;
  }

  #drains(stage: Stage): boolean {
    const { drain } = this.#state;
    if (this.#state.isDrained) return true;
    if (stage === "spin") return false;
    if (stage === "look") this.#state.dropDeadReaders();
    this.index = drain.index;
    this.value = drain.announce();
    return this.#state.isDrained;
  }

  giveUp(): void {
    if (this.#taken === undefined) {
      this.#state.word.passOn();
      return;
    }
    try {
      this.#state.leaveUnwritten();
    } finally {
      this.place.unpin();
    }
  }
}

/**
 * A lock for one writer or up to 120 readers at a time, of all threads of all processes that map
 * its bytes; more readers wait.
 *
 * Writers come first: as soon as one has its turn and waits for the readers to leave, new readers
 * wait until it is done. Between two writers readers may come in. None of them are served in their
 * order, and writers without a pause between them keep readers out.
 *
 * It survives the death of those who hold it, killed processes and terminated workers. A reader
 * that dies is forgotten within a second, and so is a writer that dies while it waits. When a
 * writer dies that had the lock, the next writer gets it with `ownerDied` set, repairs and calls
 * `recover()`, or abandons it by releasing it without that; as with {@link Mutex}. Until then
 * readers get it with `ownerDied` set too; they can read what is there, and not recover.
 *
 * Two asynchronous tasks of one thread are two owners. While the lock is held, and while a writer
 * waits for the readers to leave, the mapping is pinned.
 *
 * **Platform** Linux. Threads of another PID namespace cannot be asked whether they live: their
 * death is not noticed then. Follows futex(2).
 *
 * @example
 * ```ts
 * import { RwLock, SharedMemory } from "memmap/ipc";
 *
 * using memory = SharedMemory.create({ byteLength: 4096 });
 * const mapping = memory.map();
 * const lock = new RwLock(mapping.bytes.subarray(0, RwLock.byteLength));
 * {
 *   using guard = lock.writeSync();
 *   if (guard.ownerDied) guard.recover(); // after repairing what the lock protects
 *   mapping.bytes[2000] = 1;
 * }
 * {
 *   using first = lock.readSync();
 *   using second = lock.readSync();
 *   console.log(mapping.bytes[2000], first.ownerDied, second.ownerDied); // 1 false false
 * }
 * ```
 */
export class RwLock {
  /** Bytes that a lock takes. */
  static readonly byteLength: number = byteLength;

  readonly #state: RwState;

  /**
   * Uses the lock at the beginning of some bytes; zeros become one that nobody holds.
   *
   * @param bytes At least {@link RwLock.byteLength} of a shared mapping that may be written, at an
   *   address that is a multiple of 4.
   * @throws {TypeError} {RangeError} For other bytes.
   * @throws {MemmapError} `ERR_MEMMAP_CLOSED`, `ERR_MEMMAP_READ_ONLY` for such a mapping;
   *   `ERR_MEMMAP_CORRUPT` where something else lies; `ERR_MEMMAP_VERSION` for the lock of another
   *   version.
   * @throws {FaultError} When the file no longer has their page.
   */
  constructor(bytes: Uint8Array) {
    const place = new Place(bytes, { label: "lock", byteLength });
    claimFormat(place.words, at.format, { kind: "rwLock", what: `Cannot use ${place.label}` });
    joinNamespace(place.words, at.namespaceIndex, thisThread().namespace);
    this.#state = new RwState(place);
  }

  /**
   * Takes the lock for reading, and waits until it can be had, without blocking the event loop.
   *
   * @param options For how long, and a signal; see {@link BlockOptions}.
   * @returns The guard that gives it back. Rejects with `signal.reason` when aborted.
   * @throws {TypeError} {RangeError} For options of the wrong type.
   * @throws {MemmapError} `ERR_MEMMAP_TIMEOUT`; `ERR_MEMMAP_OWNER_DIED` when it was abandoned;
   *   `ERR_MEMMAP_CLOSED`.
   * @throws {FaultError} When the file no longer has the page.
   *
   * @example
   * ```ts
   * import { RwLock, SharedMemory } from "memmap/ipc";
   *
   * using memory = SharedMemory.create({ byteLength: 4096 });
   * const lock = new RwLock(memory.map().bytes);
   * const guard = await lock.read({ timeoutMs: 1000 });
   * guard.release();
   * ```
   */
  async read(options?: BlockOptions): Promise<LockGuard> {
    const limits = readLimits(options);
    limits.signal?.throwIfAborted();
    return this.tryRead() ?? (await block(new Read(this.#state), limits));
  }

  /**
   * Takes the lock for reading, and waits on this thread until it can be had.
   *
   * @param options For how long; see {@link BlockSyncOptions}.
   * @returns The guard that gives it back.
   * @throws As {@link RwLock.read}.
   * @throws {SystemError} `EDEADLK` when this thread holds it for writing, or holds it for reading
   *   while a writer waits for that to end.
   *
   * @example
   * ```ts
   * import { RwLock, SharedMemory } from "memmap/ipc";
   *
   * using memory = SharedMemory.create({ byteLength: 4096 });
   * const lock = new RwLock(memory.map().bytes);
   * using guard = lock.readSync({ timeoutMs: 1000 });
   * console.log(guard.ownerDied); // false
   * ```
   */
  readSync(options?: BlockSyncOptions): LockGuard {
    const timeoutMs = readTimeout(options);
    const guard = this.tryRead();
    if (guard !== undefined) return guard;
    this.#state.requireOtherForReading();
    return blockSync(new Read(this.#state), timeoutMs);
  }

  /**
   * Takes the lock for reading if it can be had at once. Deaths are found by those who wait.
   *
   * @returns The guard that gives it back; undefined when a writer holds it or waits for readers to
   *   leave, or when there are too many readers.
   * @throws {MemmapError} `ERR_MEMMAP_OWNER_DIED` when it was abandoned; `ERR_MEMMAP_CLOSED`.
   * @throws {FaultError} When the file no longer has the page.
   *
   * @example
   * ```ts
   * import { RwLock, SharedMemory } from "memmap/ipc";
   *
   * using memory = SharedMemory.create({ byteLength: 4096 });
   * const lock = new RwLock(memory.map().bytes);
   * const guard = lock.tryRead();
   * console.log(lock.tryWrite()); // undefined
   * guard?.release();
   * ```
   */
  tryRead(): LockGuard | undefined {
    const entered = this.#state.tryEnter();
    return entered instanceof Sleepers ? undefined : entered;
  }

  /**
   * Takes the lock for writing, and waits until it can be had, without blocking the event loop.
   *
   * @param options For how long, and a signal; see {@link BlockOptions}.
   * @returns The guard that gives it back. Rejects with `signal.reason` when aborted.
   * @throws As {@link RwLock.read}.
   *
   * @example
   * ```ts
   * import { RwLock, SharedMemory } from "memmap/ipc";
   *
   * using memory = SharedMemory.create({ byteLength: 4096 });
   * const lock = new RwLock(memory.map().bytes);
   * const guard = await lock.write({ timeoutMs: 1000 });
   * guard.release();
   * ```
   */
  async write(options?: BlockOptions): Promise<LockGuard> {
    const limits = readLimits(options);
    limits.signal?.throwIfAborted();
    return this.tryWrite() ?? (await block(new Write(this.#state), limits));
  }

  /**
   * Takes the lock for writing, and waits on this thread until it can be had.
   *
   * @param options For how long; see {@link BlockSyncOptions}.
   * @returns The guard that gives it back.
   * @throws As {@link RwLock.read}.
   * @throws {SystemError} `EDEADLK` when this thread holds it, for writing or for reading.
   *
   * @example
   * ```ts
   * import { RwLock, SharedMemory } from "memmap/ipc";
   *
   * using memory = SharedMemory.create({ byteLength: 4096 });
   * const lock = new RwLock(memory.map().bytes);
   * using guard = lock.writeSync({ timeoutMs: 1000 });
   * console.log(guard.ownerDied); // false
   * ```
   */
  writeSync(options?: BlockSyncOptions): LockGuard {
    const timeoutMs = readTimeout(options);
    const guard = this.tryWrite();
    if (guard !== undefined) return guard;
    this.#state.requireOtherForWriting();
    return blockSync(new Write(this.#state), timeoutMs);
  }

  /**
   * Takes the lock for writing if nobody holds it. Deaths are found by those who wait.
   *
   * @returns The guard that gives it back; undefined when somebody holds it.
   * @throws As {@link RwLock.tryRead}.
   *
   * @example
   * ```ts
   * import { RwLock, SharedMemory } from "memmap/ipc";
   *
   * using memory = SharedMemory.create({ byteLength: 4096 });
   * const lock = new RwLock(memory.map().bytes);
   * const guard = lock.tryWrite();
   * console.log(lock.tryRead()); // undefined
   * guard?.release();
   * ```
   */
  tryWrite(): LockGuard | undefined {
    return this.#state.tryWrite();
  }
}
