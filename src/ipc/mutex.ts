/**
 * class Mutex: one holder at a time, of all threads of all processes.
 *
 *     bytes 0        4            8              12           16
 *          +--------------+--------------+--------------+--------------+
 *          |  lock word   |  start time  |  namespace   |    format    |    layout 1; byte order
 *          +--------------+--------------+--------------+--------------+    of the machine
 *            lock-word.ts    owner.ts      namespace.ts    format.ts
 *
 * All zeros is a mutex that nobody holds. Taking and giving back a free one is one atomic operation
 * each and no system call.
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
import { Guard, type Holdable, type LockGuard } from "./guard.js";
import { joinNamespace } from "./namespace.js";
import { OwnedWord, type Taken } from "./owned-word.js";
import { thisThread } from "./owner.js";
import { Place } from "./place.js";

const at = { index: 0, namespaceIndex: 2, format: 3 } as const;
const byteLength = 16;

/* The mutex as its guards hold it. */
class Hold implements Holdable {
  readonly place: Place;
  readonly word: OwnedWord;

  constructor(place: Place) {
    this.place = place;
    this.word = new OwnedWord(place, at);
  }

  /** The guard of a mutex that was just taken. */
  guard(taken: Taken): LockGuard {
    this.place.pin();
    const guard = new Guard(this, 0, taken === "unrepaired");
    try {
      this.place.requireShared();
    } catch (error) {
      guard.release();
      throw error;
    }
    return guard;
  }

  repaired(): void {
    this.word.repaired();
  }

  letGo(): void {
    try {
      this.word.release();
    } finally {
      this.place.unpin();
    }
  }
}

class Lock implements Task<LockGuard> {
  readonly action = "take";
  readonly place: Place;
  index = 0;
  value = 0;
  readonly #hold: Hold;

  constructor(hold: Hold) {
    this.#hold = hold;
    this.place = hold.place;
  }

  attempt(stage: Stage): LockGuard | undefined {
    const taken = this.#hold.word.attempt(stage);
    if (typeof taken === "string") return this.#hold.guard(taken);
    if (taken !== undefined) this.value = taken.value;
    return undefined;
  }

  giveUp(): void {
    this.#hold.word.passOn();
  }
}

/**
 * A lock with one holder at a time, of all threads of all processes that map its bytes.
 *
 * It survives the death of its owner, a killed process as well as a worker that was terminated:
 * within a second a waiter gets the lock with `ownerDied` set, looks at what it protects, repairs
 * it and calls `recover()`. Whoever releases it without that abandons it, and from then on every
 * call throws `ERR_MEMMAP_OWNER_DIED`, until the bytes are zeroed while nobody uses them.
 *
 * Two asynchronous tasks of one thread are two owners: the second waits for the first. A lock that
 * is released goes to whoever comes first; those who wait are not served in their order, and one
 * that was asleep may find it taken again. While it is held, the mapping is pinned.
 *
 * **Platform** Linux. Threads of another PID namespace (containers that share memory) cannot be
 * asked whether they live: their death is not noticed then. Follows futex(2), get_robust_list(2).
 *
 * @example
 * ```ts
 * import { Mutex, SharedMemory } from "memmap/ipc";
 *
 * using memory = SharedMemory.create({ byteLength: 4096 });
 * const mapping = memory.map();
 * const mutex = new Mutex(mapping.bytes.subarray(0, Mutex.byteLength));
 * {
 *   using guard = mutex.lockSync();
 *   if (guard.ownerDied) guard.recover(); // after repairing what the lock protects
 *   mapping.bytes[100] = 1;
 * }
 * ```
 */
export class Mutex {
  /** Bytes that a mutex takes. */
  static readonly byteLength: number = byteLength;

  readonly #hold: Hold;

  /**
   * Uses the mutex at the beginning of some bytes; zeros become one that nobody holds.
   *
   * @param bytes At least {@link Mutex.byteLength} of a shared mapping that may be written, at an
   *   address that is a multiple of 4.
   * @throws {TypeError} {RangeError} For other bytes.
   * @throws {MemmapError} `ERR_MEMMAP_CLOSED`, `ERR_MEMMAP_READ_ONLY` for such a mapping;
   *   `ERR_MEMMAP_CORRUPT` where something else lies; `ERR_MEMMAP_VERSION` for the mutex of another
   *   version.
   * @throws {FaultError} When the file no longer has their page.
   */
  constructor(bytes: Uint8Array) {
    const place = new Place(bytes, { label: "mutex", byteLength });
    claimFormat(place.words, at.format, { kind: "mutex", what: `Cannot use ${place.label}` });
    joinNamespace(place.words, at.namespaceIndex, thisThread().namespace);
    this.#hold = new Hold(place);
  }

  /**
   * Takes the mutex, and waits until it can be had, without blocking the event loop.
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
   * import { Mutex, SharedMemory } from "memmap/ipc";
   *
   * using memory = SharedMemory.create({ byteLength: 4096 });
   * const mutex = new Mutex(memory.map().bytes);
   * const guard = await mutex.lock({ timeoutMs: 1000 });
   * guard.release();
   * ```
   */
  async lock(options?: BlockOptions): Promise<LockGuard> {
    const limits = readLimits(options);
    limits.signal?.throwIfAborted();
    return this.#take() ?? (await block(new Lock(this.#hold), limits));
  }

  /**
   * Takes the mutex, and waits on this thread until it can be had.
   *
   * @param options For how long; see {@link BlockSyncOptions}.
   * @returns The guard that gives it back.
   * @throws As {@link Mutex.lock}.
   * @throws {SystemError} `EDEADLK` when this thread holds it: nothing could release it meanwhile.
   *
   * @example
   * ```ts
   * import { Mutex, SharedMemory } from "memmap/ipc";
   *
   * using memory = SharedMemory.create({ byteLength: 4096 });
   * const mutex = new Mutex(memory.map().bytes);
   * using guard = mutex.lockSync({ timeoutMs: 1000 });
   * console.log(guard.ownerDied); // false
   * ```
   */
  lockSync(options?: BlockSyncOptions): LockGuard {
    const timeoutMs = readTimeout(options);
    const guard = this.#take();
    if (guard !== undefined) return guard;
    this.#hold.word.requireNotOwn();
    return blockSync(new Lock(this.#hold), timeoutMs);
  }

  /**
   * Takes the mutex if it is free. The death of an owner is found by those who wait.
   *
   * @returns The guard that gives it back; undefined when somebody holds it.
   * @throws {MemmapError} `ERR_MEMMAP_OWNER_DIED` when it was abandoned; `ERR_MEMMAP_CLOSED`.
   * @throws {FaultError} When the file no longer has the page.
   *
   * @example
   * ```ts
   * import { Mutex, SharedMemory } from "memmap/ipc";
   *
   * using memory = SharedMemory.create({ byteLength: 4096 });
   * const mutex = new Mutex(memory.map().bytes);
   * const guard = mutex.tryLock();
   * console.log(mutex.tryLock()); // undefined
   * guard?.release();
   * ```
   */
  tryLock(): LockGuard | undefined {
    const guard = this.#take();
    if (guard !== undefined) return guard;
    const taken = this.#hold.word.attempt("spin");
    return typeof taken === "string" ? this.#hold.guard(taken) : undefined;
  }

  #take(): LockGuard | undefined {
    return this.#hold.word.tryTake() ? this.#hold.guard("whole") : undefined;
  }
}
