/**
 * class SharedEvent: something that has happened or not, for all threads of all processes.
 *
 *     bytes 0        4            8              12           16
 *          +--------------+--------------+--------------+--------------+
 *          |  generation  |   sleepers   |      0       |    format    |    layout 1; byte order
 *          +--------------+--------------+--------------+--------------+    of the machine
 *            odd: set       sleepers.ts                    format.ts
 *
 * All zeros is an event that has not happened. The generation grows by one with each change, so who
 * waits sees that it was set even when it was reset at once.
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
import { Place } from "./place.js";
import { Sleepers } from "./sleepers.js";

const at = { generation: 0, sleepers: 1, format: 3 } as const;
const byteLength = 16;

function isOdd(generation: number): boolean {
  return (generation & 1) === 1;
}

/* The event's words. */
class State {
  readonly place: Place;
  readonly sleepers: Sleepers;

  constructor(place: Place) {
    this.place = place;
    this.sleepers = new Sleepers(place, at.sleepers);
  }

  get generation(): number {
    const generation = Atomics.load(this.place.words, at.generation);
    this.place.requireShared();
    return generation;
  }

  /** Makes the generation odd or even; false when it was. */
  change(toOdd: boolean): boolean {
    for (;;) {
      const { generation } = this;
      if (isOdd(generation) === toOdd) return false;
      const next = (generation + 1) | 0;
      const { words } = this.place;
      if (Atomics.compareExchange(words, at.generation, generation, next) === generation) {
        return true;
      }
    }
  }
}

class WaitForSet implements Task<true> {
  readonly action = "wait for";
  readonly place: Place;
  readonly index: number;
  value = 0;
  readonly #state: State;
  readonly #since: number;

  constructor(state: State, since: number) {
    this.#state = state;
    this.#since = since;
    this.place = state.place;
    this.index = state.sleepers.index;
  }

  attempt(stage: Stage): true | undefined {
    if (this.#state.generation !== this.#since) return true;
    if (stage === "spin") return undefined;
    this.value = this.#state.sleepers.announce();
    return this.#state.generation !== this.#since || undefined;
  }

  /* All are woken each time, so nobody else has to be told. */
  giveUp(): void {}
}

/**
 * Something that has happened or not: threads of all processes wait until it has.
 *
 * It stays set until somebody resets it; meanwhile nobody waits. Setting it wakes all who wait,
 * also when it is reset at once. A process that was killed leaves it as it is: whoever waits for
 * the deed of another needs a timeout.
 *
 * **Platform** Linux. Follows futex(2).
 *
 * @example
 * ```ts
 * import { SharedEvent, SharedMemory } from "memmap/ipc";
 *
 * using memory = SharedMemory.create({ byteLength: 4096 });
 * using mapping = memory.map();
 * const ready = new SharedEvent(mapping.bytes.subarray(0, SharedEvent.byteLength));
 * const waiting = ready.wait({ timeoutMs: 1000 });
 * ready.set();
 * await waiting;
 * console.log(ready.isSet); // true
 * ```
 */
export class SharedEvent {
  /** Bytes that an event takes. */
  static readonly byteLength: number = byteLength;

  readonly #state: State;

  /**
   * Uses the event at the beginning of some bytes; zeros become one that is not set.
   *
   * @param bytes At least {@link SharedEvent.byteLength} of a shared mapping that may be written,
   *   at an address that is a multiple of 4.
   * @throws {TypeError} {RangeError} For other bytes.
   * @throws {MemmapError} `ERR_MEMMAP_CLOSED`, `ERR_MEMMAP_READ_ONLY` for such a mapping;
   *   `ERR_MEMMAP_CORRUPT` where something else lies; `ERR_MEMMAP_VERSION` for the event of another
   *   version.
   * @throws {FaultError} When the file no longer has their page.
   */
  constructor(bytes: Uint8Array) {
    const place = new Place(bytes, { label: "event", byteLength });
    claimFormat(place.words, at.format, { kind: "event", what: `Cannot use ${place.label}` });
    this.#state = new State(place);
  }

  /**
   * Whether it is set; others may change it in the same moment.
   *
   * @throws {MemmapError} `ERR_MEMMAP_CLOSED`.
   * @throws {FaultError} When the file no longer has the page.
   */
  get isSet(): boolean {
    return isOdd(this.#state.generation);
  }

  /**
   * Sets it, and wakes all who wait; nothing happens when it is set.
   *
   * @throws {MemmapError} {FaultError} As {@link SharedEvent.isSet}.
   */
  set(): void {
    if (this.#state.change(true)) this.#state.sleepers.wake();
  }

  /**
   * Resets it: who comes from now on waits. Nothing happens when it is not set.
   *
   * @throws {MemmapError} {FaultError} As {@link SharedEvent.isSet}.
   */
  reset(): void {
    this.#state.change(false);
  }

  /**
   * Waits until it is set, without blocking the event loop; resolves at once when it is.
   *
   * @param options For how long, and a signal; see {@link BlockOptions}.
   * @returns Resolves when it was set; rejects with `signal.reason` when aborted.
   * @throws {TypeError} {RangeError} For options of the wrong type.
   * @throws {MemmapError} `ERR_MEMMAP_TIMEOUT`; `ERR_MEMMAP_CLOSED`.
   * @throws {FaultError} When the file no longer has the page.
   *
   * @example
   * ```ts
   * import { SharedEvent, SharedMemory } from "memmap/ipc";
   *
   * using memory = SharedMemory.create({ byteLength: 4096 });
   * const event = new SharedEvent(memory.map().bytes);
   * event.set();
   * await event.wait();
   * ```
   */
  async wait(options?: BlockOptions): Promise<void> {
    const limits = readLimits(options);
    limits.signal?.throwIfAborted();
    const { generation } = this.#state;
    if (!isOdd(generation)) await block(new WaitForSet(this.#state, generation), limits);
  }

  /**
   * Waits on this thread until it is set; returns at once when it is.
   *
   * @param options For how long; see {@link BlockSyncOptions}.
   * @throws As {@link SharedEvent.wait}.
   *
   * @example
   * ```ts
   * import { SharedEvent, SharedMemory } from "memmap/ipc";
   *
   * using memory = SharedMemory.create({ byteLength: 4096 });
   * const event = new SharedEvent(memory.map().bytes);
   * event.set();
   * event.waitSync({ timeoutMs: 1000 });
   * ```
   */
  waitSync(options?: BlockSyncOptions): void {
    const timeoutMs = readTimeout(options);
    const { generation } = this.#state;
    if (!isOdd(generation)) blockSync(new WaitForSet(this.#state, generation), timeoutMs);
  }
}
