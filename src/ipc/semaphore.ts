/**
 * class Semaphore: a number of permits, of all threads of all processes.
 *
 *     bytes 0        4            8              12           16
 *          +--------------+--------------+--------------+--------------+
 *          |   permits    |   sleepers   |      0       |    format    |    layout 1; byte order
 *          +--------------+--------------+--------------+--------------+    of the machine
 *                           sleepers.ts                    format.ts
 *
 * All zeros is a semaphore without permits. The number is changed in one atomic step each time, so
 * a kill leaves either all of a change or nothing of it.
 */
import { memmapError, outOfRange } from "../errors.js";
import { asInteger } from "../validate.js";
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
import { Place } from "./place.js";
import { Sleepers } from "./sleepers.js";

const at = { permits: 0, sleepers: 1, format: 3 } as const;
const byteLength = 16;
const permitsMax = 2 ** 31 - 1;

/** Permits that were taken from a {@link Semaphore}. */
export interface Permit extends Disposable {
  /** How many. */
  readonly count: number;
  /**
   * Gives them back; a second call does nothing. `using` does it at the end of a block.
   *
   * @throws {RangeError} {MemmapError} {FaultError} As {@link Semaphore.release}.
   */
  release(): void;
}

class TakenPermit implements Permit {
  readonly count: number;
  readonly #semaphore: Semaphore;
  #isTaken = true;

  constructor(semaphore: Semaphore, count: number) {
    this.#semaphore = semaphore;
    this.count = count;
  }

  release(): void {
    if (!this.#isTaken) return;
    this.#isTaken = false;
    this.#semaphore.release(this.count);
  }

  [Symbol.dispose](): void {
    this.release();
  }
}

function asCount(count: unknown): number {
  return asInteger(count, "count", { min: 1, max: permitsMax });
}

/* The semaphore's words. */
class State {
  readonly place: Place;
  readonly sleepers: Sleepers;

  constructor(place: Place) {
    this.place = place;
    this.sleepers = new Sleepers(place, at.sleepers);
  }

  /** How many permits there are; a number below 0 was written by somebody else. */
  get permits(): number {
    const permits = Atomics.load(this.place.words, at.permits);
    this.place.requireShared();
    if (permits >= 0) return permits;
    const reason = "somebody has written over it";
    throw memmapError("ERR_MEMMAP_CORRUPT", `Cannot use ${this.place.label}: ${reason}`);
  }

  tryTake(count: number): boolean {
    for (;;) {
      const { permits } = this;
      if (permits < count) return false;
      if (this.#change(permits, permits - count)) return true;
    }
  }

  give(count: number): void {
    for (;;) {
      const { permits } = this;
      if (permits > permitsMax - count) {
        const bound = `it has ${permits}, and can have ${permitsMax}`;
        throw outOfRange(`Cannot give ${count} permits to ${this.place.label}: ${bound}`);
      }
      if (this.#change(permits, permits + count)) break;
    }
    this.sleepers.wake();
  }

  #change(from: number, to: number): boolean {
    return Atomics.compareExchange(this.place.words, at.permits, from, to) === from;
  }
}

class Acquire implements Task<true> {
  readonly action: string;
  readonly place: Place;
  readonly index: number;
  value = 0;
  readonly #state: State;
  readonly #count: number;

  constructor(state: State, count: number) {
    this.#state = state;
    this.#count = count;
    this.place = state.place;
    this.action = `take ${count} of`;
    this.index = state.sleepers.index;
  }

  attempt(stage: Stage): true | undefined {
    if (this.#state.tryTake(this.#count)) return true;
    if (stage === "spin") return undefined;
    this.value = this.#state.sleepers.announce();
    return this.#state.tryTake(this.#count) || undefined;
  }

  /* All are woken each time, so nobody else has to be told. */
  giveUp(): void {}
}

/**
 * A number of permits that threads of all processes take and give back: what bounds how many do
 * something at a time, or counts what there is to do.
 *
 * Permits have no owner: whoever wants can give some, as with sem_post(3), also for a thread that
 * waits elsewhere. So those that a killed process had taken are not given back: nobody could tell
 * whether it had passed them on. Where that matters, a {@link Mutex} knows its owner.
 *
 * Permits go to whoever finds enough of them first. Those who wait are not served in their order,
 * and one who wants many may wait for as long as others take few.
 *
 * **Platform** Linux. Follows sem_overview(7), futex(2).
 *
 * @example
 * ```ts
 * import { Semaphore, SharedMemory } from "memmap/ipc";
 *
 * using memory = SharedMemory.create({ byteLength: 4096 });
 * using mapping = memory.map();
 * const semaphore = new Semaphore(mapping.bytes.subarray(0, Semaphore.byteLength));
 * semaphore.release(3); // three at a time
 * {
 *   using permit = semaphore.acquireSync();
 *   console.log(permit.count, semaphore.value); // 1 2
 * }
 * console.log(semaphore.value); // 3
 * ```
 */
export class Semaphore {
  /** Bytes that a semaphore takes. */
  static readonly byteLength: number = byteLength;

  readonly #state: State;

  /**
   * Uses the semaphore at the beginning of some bytes; zeros become one without permits.
   *
   * @param bytes At least {@link Semaphore.byteLength} of a shared mapping that may be written, at
   *   an address that is a multiple of 4.
   * @throws {TypeError} {RangeError} For other bytes.
   * @throws {MemmapError} `ERR_MEMMAP_CLOSED`, `ERR_MEMMAP_READ_ONLY` for such a mapping;
   *   `ERR_MEMMAP_CORRUPT` where something else lies; `ERR_MEMMAP_VERSION` for the semaphore of
   *   another version.
   * @throws {FaultError} When the file no longer has their page.
   */
  constructor(bytes: Uint8Array) {
    const place = new Place(bytes, { label: "semaphore", byteLength });
    claimFormat(place.words, at.format, { kind: "semaphore", what: `Cannot use ${place.label}` });
    this.#state = new State(place);
  }

  /**
   * How many permits there are; others may take or give some in the same moment.
   *
   * @throws {MemmapError} `ERR_MEMMAP_CORRUPT` when somebody has written over it;
   *   `ERR_MEMMAP_CLOSED`.
   * @throws {FaultError} When the file no longer has the page.
   */
  get value(): number {
    return this.#state.permits;
  }

  /**
   * Takes permits, and waits until there are enough, without blocking the event loop.
   *
   * @param count How many, 1 to 2147483647; all at once or none.
   * @param options For how long, and a signal; see {@link BlockOptions}.
   * @returns What gives them back; without its `release()` they stay taken. Rejects with
   *   `signal.reason` when aborted.
   * @throws {TypeError} {RangeError} For arguments of the wrong type, and counts out of range.
   * @throws {MemmapError} `ERR_MEMMAP_TIMEOUT`; `ERR_MEMMAP_CORRUPT` when somebody has written over
   *   it; `ERR_MEMMAP_CLOSED`.
   * @throws {FaultError} When the file no longer has the page.
   *
   * @example
   * ```ts
   * import { Semaphore, SharedMemory } from "memmap/ipc";
   *
   * using memory = SharedMemory.create({ byteLength: 4096 });
   * const semaphore = new Semaphore(memory.map().bytes);
   * const waiting = semaphore.acquire(2, { timeoutMs: 1000 });
   * semaphore.release(2);
   * const permit = await waiting;
   * console.log(permit.count); // 2
   * ```
   */
  async acquire(count = 1, options?: BlockOptions): Promise<Permit> {
    const wanted = asCount(count);
    const limits = readLimits(options);
    limits.signal?.throwIfAborted();
    if (!this.#state.tryTake(wanted)) await block(new Acquire(this.#state, wanted), limits);
    return new TakenPermit(this, wanted);
  }

  /**
   * Takes permits, and waits on this thread until there are enough.
   *
   * @param count How many, 1 to 2147483647; all at once or none.
   * @param options For how long; see {@link BlockSyncOptions}.
   * @returns What gives them back; without its `release()` they stay taken.
   * @throws As {@link Semaphore.acquire}.
   *
   * @example
   * ```ts
   * import { Semaphore, SharedMemory } from "memmap/ipc";
   *
   * using memory = SharedMemory.create({ byteLength: 4096 });
   * const semaphore = new Semaphore(memory.map().bytes);
   * semaphore.release();
   * using permit = semaphore.acquireSync(1, { timeoutMs: 1000 });
   * console.log(permit.count); // 1
   * ```
   */
  acquireSync(count = 1, options?: BlockSyncOptions): Permit {
    const wanted = asCount(count);
    const timeoutMs = readTimeout(options);
    if (!this.#state.tryTake(wanted)) blockSync(new Acquire(this.#state, wanted), timeoutMs);
    return new TakenPermit(this, wanted);
  }

  /**
   * Takes permits if there are enough.
   *
   * @param count How many, 1 to 2147483647; all at once or none.
   * @returns What gives them back; undefined when there are too few.
   * @throws {TypeError} {RangeError} For counts out of range.
   * @throws {MemmapError} {FaultError} As {@link Semaphore.value}.
   *
   * @example
   * ```ts
   * import { Semaphore, SharedMemory } from "memmap/ipc";
   *
   * using memory = SharedMemory.create({ byteLength: 4096 });
   * const semaphore = new Semaphore(memory.map().bytes);
   * console.log(semaphore.tryAcquire()); // undefined
   * ```
   */
  tryAcquire(count = 1): Permit | undefined {
    const wanted = asCount(count);
    return this.#state.tryTake(wanted) ? new TakenPermit(this, wanted) : undefined;
  }

  /**
   * Gives permits, whether or not they were taken before.
   *
   * @param count How many, 1 to 2147483647.
   * @throws {TypeError} {RangeError} For counts out of range, and when there would be more than
   *   2147483647.
   * @throws {MemmapError} {FaultError} As {@link Semaphore.value}.
   *
   * @example
   * ```ts
   * import { Semaphore, SharedMemory } from "memmap/ipc";
   *
   * using memory = SharedMemory.create({ byteLength: 4096 });
   * const semaphore = new Semaphore(memory.map().bytes);
   * semaphore.release(2);
   * console.log(semaphore.value); // 2
   * ```
   */
  release(count = 1): void {
    this.#state.give(asCount(count));
  }
}
