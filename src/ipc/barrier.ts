/**
 * class Barrier: a place where a fixed number of threads of all processes wait for each other.
 *
 *     bytes 0        4            8              12           16
 *          +--------------+--------------+--------------+--------------+
 *          |    phase     |   sleepers   |     size     |    format    |    layout 1; byte order
 *          +--------------+--------------+--------------+--------------+    of the machine
 *           barrier-word.ts sleepers.ts    1 to 65535      format.ts
 *
 * All zeros is no barrier: it is made with its size, which stays.
 */
import { memmapError } from "../errors.js";
import { asInteger } from "../validate.js";
import {
  type Arrival,
  arrive,
  arriveLast,
  isSizeOf,
  phaseOf,
  sizeMax,
  withdraw,
} from "./barrier-word.js";
import {
  type BlockOptions,
  type BlockSyncOptions,
  block,
  blockSync,
  type Limits,
  readLimits,
  readTimeout,
  type Stage,
  type Task,
} from "./block.js";
import { claimFormat, requireFormat } from "./format.js";
import { Place } from "./place.js";
import { Sleepers } from "./sleepers.js";

const at = { phase: 0, sleepers: 1, size: 2, format: 3 } as const;
const byteLength = 16;
const kind = { label: "barrier", byteLength };

function corrupt(place: Place, reason: string): Error {
  return memmapError("ERR_MEMMAP_CORRUPT", `Cannot use ${place.label}: ${reason}`);
}

/* The barrier's words. */
class State {
  readonly place: Place;
  readonly sleepers: Sleepers;
  readonly size: number;

  constructor(place: Place) {
    this.place = place;
    this.sleepers = new Sleepers(place, at.sleepers);
    this.size = Atomics.load(place.words, at.size);
    if (!isSizeOf(this.size)) throw corrupt(place, "none was created there");
  }

  arrive(): Arrival {
    const arrival = this.#checked(arrive(this.place.words, at.phase, this.size));
    if (arrival.isLast) this.sleepers.wake();
    return arrival;
  }

  arriveLast(): boolean {
    const isLast = this.#checked(arriveLast(this.place.words, at.phase, this.size));
    if (isLast) this.sleepers.wake();
    return isLast;
  }

  #checked<T>(answer: T | "corrupt"): T {
    this.place.requireShared();
    if (answer === "corrupt") throw corrupt(this.place, "somebody has written over it");
    return answer;
  }

  get phase(): number {
    const phase = phaseOf(Atomics.load(this.place.words, at.phase));
    this.place.requireShared();
    return phase;
  }

  /** Takes an arrival back; false when its phase is over. */
  withdraw(phase: number): boolean {
    return withdraw(this.place.words, at.phase, phase);
  }
}

/* An arrival that waits for the others. It has left its mark, so the mapping is pinned. */
class Waiting implements Task<true> {
  readonly action = "wait at";
  readonly place: Place;
  readonly index: number;
  value = 0;
  /** Whether the phase was completed after all when the wait had failed. */
  isOver = false;
  readonly #state: State;
  readonly #phase: number;

  constructor(state: State, phase: number) {
    this.#state = state;
    this.#phase = phase;
    this.place = state.place;
    this.index = state.sleepers.index;
  }

  attempt(stage: Stage): true | undefined {
    if (this.#state.phase !== this.#phase) return true;
    if (stage === "spin") return undefined;
    this.value = this.#state.sleepers.announce();
    return this.#state.phase !== this.#phase || undefined;
  }

  giveUp(): void {
    this.isOver = !this.#state.withdraw(this.#phase);
  }
}

/**
 * A place where a fixed number of parties, threads or tasks of any process, wait for each other.
 *
 * The last one to arrive lets all go on, and the next phase begins: the barrier can be used again
 * and again. All are let go at once, so there is no order among them. While one waits, the mapping
 * is pinned.
 *
 * A party that dies before it arrives is not noticed: parties have no names, and another may come
 * in its place. Use timeouts. One that dies while it waits has arrived all the same.
 *
 * **Platform** Linux. Follows pthread_barrier_wait(3p), futex(2).
 *
 * @example
 * ```ts
 * import { Barrier, SharedMemory } from "memmap/ipc";
 *
 * using memory = SharedMemory.create({ byteLength: 4096 });
 * using mapping = memory.map();
 * const barrier = Barrier.create(mapping.bytes.subarray(0, Barrier.byteLength), 2);
 * const same = new Barrier(mapping.bytes); // as another process would have it
 * console.log(await Promise.all([barrier.arrive(), same.arrive()])); // [ false, true ]
 * ```
 */
export class Barrier {
  /** Bytes that a barrier takes. */
  static readonly byteLength: number = byteLength;

  readonly #state: State;

  /**
   * Makes a barrier at the beginning of some bytes that are zeros; one of the same size that is
   * there is used as it is.
   *
   * @param bytes At least {@link Barrier.byteLength} of a shared mapping that may be written, at an
   *   address that is a multiple of 4.
   * @param size How many parties wait for each other, 1 to 65535.
   * @returns The barrier.
   * @throws {TypeError} {RangeError} For other bytes and sizes.
   * @throws {MemmapError} `ERR_MEMMAP_CLOSED`, `ERR_MEMMAP_READ_ONLY` for such a mapping;
   *   `ERR_MEMMAP_CORRUPT` where something else lies, a barrier of another size too;
   *   `ERR_MEMMAP_VERSION` for the barrier of another version.
   * @throws {FaultError} When the file no longer has their page.
   *
   * @example
   * ```ts
   * import { Barrier, SharedMemory } from "memmap/ipc";
   *
   * using memory = SharedMemory.create({ byteLength: 4096 });
   * console.log(Barrier.create(memory.map().bytes, 3).size); // 3
   * ```
   */
  static create(bytes: Uint8Array, size: number): Barrier {
    const wanted = asInteger(size, "size", { min: 1, max: sizeMax });
    const place = new Place(bytes, kind);
    claimFormat(place.words, at.format, { kind: "barrier", what: `Cannot use ${place.label}` });
    const found = Atomics.compareExchange(place.words, at.size, 0, wanted);
    if (found !== 0 && found !== wanted) {
      throw corrupt(place, `it is one for ${found} parties, and ${wanted} are wanted`);
    }
    return new Barrier(bytes);
  }

  /**
   * Uses the barrier at the beginning of some bytes.
   *
   * @param bytes As for {@link Barrier.create}.
   * @throws As {@link Barrier.create}; `ERR_MEMMAP_CORRUPT` also when none was created there.
   */
  constructor(bytes: Uint8Array) {
    const place = new Place(bytes, kind);
    const format = Atomics.load(place.words, at.format);
    if (format === 0) throw corrupt(place, "none was created there");
    requireFormat(format, "barrier", `Cannot use ${place.label}`);
    this.#state = new State(place);
  }

  /** How many parties wait for each other. */
  get size(): number {
    return this.#state.size;
  }

  /**
   * Arrives, and waits until all have, without blocking the event loop.
   *
   * A timeout or abort takes the arrival back, unless the last one arrived in that moment: then it
   * counts.
   *
   * @param options For how long, and a signal; see {@link BlockOptions}.
   * @returns True for the last one to arrive, false for the others. Rejects with `signal.reason`
   *   when aborted.
   * @throws {TypeError} {RangeError} For options of the wrong type.
   * @throws {MemmapError} `ERR_MEMMAP_TIMEOUT`; `ERR_MEMMAP_CORRUPT` when somebody has written over
   *   it; `ERR_MEMMAP_CLOSED`.
   * @throws {FaultError} When the file no longer has the page.
   *
   * @example
   * ```ts
   * import { Barrier, SharedMemory } from "memmap/ipc";
   *
   * using memory = SharedMemory.create({ byteLength: 4096 });
   * const barrier = Barrier.create(memory.map().bytes, 1);
   * console.log(await barrier.arrive({ timeoutMs: 1000 })); // true
   * ```
   */
  async arrive(options?: BlockOptions): Promise<boolean> {
    const limits = readLimits(options);
    limits.signal?.throwIfAborted();
    const { isLast, phase } = this.#state.arrive();
    return isLast || this.#wait(phase, limits);
  }

  async #wait(phase: number, limits: Limits): Promise<false> {
    const waiting = new Waiting(this.#state, phase);
    waiting.place.pin();
    try {
      await block(waiting, limits);
    } catch (error) {
      if (!waiting.isOver) throw error;
    } finally {
      waiting.place.unpin();
    }
    return false;
  }

  /**
   * Arrives, and waits on this thread until all have.
   *
   * @param options For how long; see {@link BlockSyncOptions}.
   * @returns True for the last one to arrive, false for the others.
   * @throws As {@link Barrier.arrive}.
   *
   * @example
   * ```ts
   * import { Barrier, SharedMemory } from "memmap/ipc";
   *
   * using memory = SharedMemory.create({ byteLength: 4096 });
   * const barrier = Barrier.create(memory.map().bytes, 1);
   * console.log(barrier.arriveSync({ timeoutMs: 1000 })); // true
   * ```
   */
  arriveSync(options?: BlockSyncOptions): boolean {
    const timeoutMs = readTimeout(options);
    const { isLast, phase } = this.#state.arrive();
    if (isLast) return true;
    const waiting = new Waiting(this.#state, phase);
    try {
      blockSync(waiting, timeoutMs);
    } catch (error) {
      if (!waiting.isOver) throw error;
    }
    return false;
  }

  /**
   * Arrives if all the others have, and lets them go on.
   *
   * @returns Whether it did.
   * @throws {MemmapError} `ERR_MEMMAP_CORRUPT` when somebody has written over it;
   *   `ERR_MEMMAP_CLOSED`.
   * @throws {FaultError} When the file no longer has the page.
   *
   * @example
   * ```ts
   * import { Barrier, SharedMemory } from "memmap/ipc";
   *
   * using memory = SharedMemory.create({ byteLength: 4096 });
   * const barrier = Barrier.create(memory.map().bytes, 2);
   * console.log(barrier.tryArrive()); // false: the other has not
   * ```
   */
  tryArrive(): boolean {
    return this.#state.arriveLast();
  }
}
