/**
 * Class Mapping: what waits for storage, on top of its pages (mapped-pages.ts) and its bytes
 * (memory.ts).
 */
import type { MappingCore } from "./core.js";
import { type FaultError, illegalConstructor, wrongType } from "./errors.js";
import { collectFault, faultAt, requireOriginal } from "./fault.js";
import { type MappingHandle, makeHandle } from "./handle.js";
import { extentOf, MappedPages, pagesOf } from "./mapped-pages.js";
import { core } from "./memory.js";
import { constant, type NativeRegion, native } from "./native.js";
import type { ByteRange, Extent } from "./pages.js";
import { remapPages } from "./remap.js";
import { asByteRange, asOptionalBoolean, asOptionalSignal, asOptions } from "./validate.js";
import { release, tellSoon, watch } from "./watch.js";

/** A range, and a signal that ends the waiting for a call on it. */
export interface WaitOptions extends ByteRange {
  /** Aborting rejects the promise with `signal.reason`; the call itself goes on. */
  readonly signal?: AbortSignal | undefined;
}

/** How a range is flushed. */
export interface FlushOptions extends ByteRange {
  /** False: only starts the writing (MS_ASYNC). Default true (MS_SYNC). */
  readonly wait?: boolean | undefined;
  /** Tells other mappings of the file to look again (MS_INVALIDATE). Default false. */
  readonly invalidate?: boolean | undefined;
}

const token = Symbol("memmap.construct");

/**
 * Memory that was mapped by `mapFile`, `mapFileSync` or `mapAnonymous`, or attached by
 * `attachMapping`.
 *
 * @example
 * ```ts
 * import { mapAnonymous } from "memmap";
 *
 * using mapping = mapAnonymous(3 * 4096);
 * mapping.bytes.fill(7, 4096, 8192);
 * for (const run of mapping.residency().runs()) console.log(run);
 * ```
 */
export class Mapping extends MappedPages {
  /** @internal */
  constructor(state: MappingCore, key: symbol) {
    if (key !== token) {
      throw illegalConstructor("Cannot construct a Mapping: call mapFile or mapAnonymous");
    }
    super(state);
  }

  /**
   * Writes what was changed in a shared file mapping to storage, off the event loop.
   *
   * Acts on every page that the range touches. On private and anonymous memory it does nothing.
   *
   * @param options The range, `wait`, `invalidate`, and a `signal`.
   * @returns A promise that fulfils when the bytes are stored (with `wait: false`: at once).
   * @throws {TypeError} {RangeError} For a bad option or a range past the end.
   * @throws {SystemError} `EIO`, `ENOSPC` ... from the storage; `EBUSY` for `invalidate` on locked
   *   pages.
   * @throws {MemmapError} `ERR_MEMMAP_CLOSED`, also when the mapping is closed meanwhile.
   *
   * **Platform** Linux. Follows msync(2).
   *
   * @example
   * ```ts
   * import { mapFileSync } from "memmap";
   *
   * using mapping = mapFileSync("data.bin", { protection: "read-write" });
   * mapping.bytes[0] = 1;
   * await mapping.flush({ length: 1 });
   * ```
   */
  async flush(options?: FlushOptions & WaitOptions): Promise<void> {
    const { range, signal } = readWait(options);
    const flags = flushFlags(options);
    const extent = this[extentOf](range, "flush");
    const result = await this.#wait({ extent, signal, idle: 0 }, (region, pages) =>
      native().flushAsync(region, pages.offset, pages.length, flags),
    );
    this[core].check(result, "msync", "flush");
    this.check();
  }

  /**
   * As {@link flush}, and waits for it.
   *
   * @param options As {@link flush}, without a signal.
   * @throws {TypeError} {RangeError} {SystemError} {FaultError} {MemmapError} As {@link flush}
   * rejects.
   */
  flushSync(options?: FlushOptions): void {
    const range = asByteRange(options, "options");
    const flags = flushFlags(options);
    const extent = this[extentOf](range, "flush");
    const { offset, length } = this[core].touched(extent);
    const result = length === 0 ? 0 : native().flush(this[core].region, offset, length, flags);
    this[core].check(result, "msync", "flush");
    this.check();
  }

  /**
   * Brings pages into memory now, off the event loop.
   *
   * Acts on every page that the range touches.
   *
   * @param options The range and a `signal`.
   * @returns A promise that fulfils when every page has come.
   * @throws {TypeError} {RangeError} For a bad option or a range past the end.
   * @throws {FaultError} `ERR_MEMMAP_FAULT` at the first page that cannot come.
   * @throws {MemmapError} `ERR_MEMMAP_CLOSED`, also when the mapping is closed meanwhile.
   *
   * **Platform** Linux; MADV_POPULATE_READ since 5.14, before that page by page. Follows
   * madvise(2).
   *
   * @example
   * ```ts
   * import { mapFile } from "memmap";
   *
   * using mapping = await mapFile("data.bin");
   * await mapping.load({ offset: 0, length: 65536 });
   * ```
   */
  async load(options?: WaitOptions): Promise<void> {
    const { range, signal } = readWait(options);
    const extent = this[extentOf](range, "load");
    let done = 0;
    do {
      const length = Math.min(loadPiece, extent.length - done);
      const piece = { offset: extent.offset + done, length };
      const pages = await this.#wait({ extent: piece, signal, idle: undefined }, loadPages);
      if (pages === undefined) return;
      requireOriginal(this[core], piece, "read");
      if (pages.loaded < pages.length) throw this.#loadFault(piece, pages.loaded);
      done += length;
    } while (done < extent.length);
  }

  /**
   * As {@link load}, and waits for it.
   *
   * @param options As {@link load}, without a signal.
   * @throws {TypeError} {RangeError} {SystemError} {FaultError} {MemmapError} As {@link load}
   * rejects.
   */
  loadSync(options?: ByteRange): void {
    const range = asByteRange(options, "options");
    const extent = this[extentOf](range, "load");
    if (extent.length === 0) return;
    requireOriginal(this[core], extent, "read");
    const { offset, length } = this[core].touched(extent);
    const done = native().load(this[core].region, offset, length);
    if (done < length) throw this.#loadFault(extent, done);
  }

  /**
   * Keeps pages in memory until `unlock()` or `close()`, off the event loop.
   *
   * Acts on every page that the range touches, and brings them in.
   *
   * @param options The range and a `signal`.
   * @returns A promise that fulfils when the pages are locked.
   * @throws {TypeError} {RangeError} For a bad option or a range past the end.
   * @throws {SystemError} `ENOMEM`, `EPERM`, `EAGAIN` when RLIMIT_MEMLOCK is used up.
   * @throws {MemmapError} `ERR_MEMMAP_CLOSED`, also when the mapping is closed meanwhile.
   *
   * **Platform** Linux. Follows mlock(2).
   *
   * @example
   * ```ts
   * import { mapAnonymous } from "memmap";
   *
   * using key = mapAnonymous(4096);
   * await key.lock();
   * ```
   */
  async lock(options?: WaitOptions): Promise<void> {
    const { range, signal } = readWait(options);
    const extent = this[extentOf](range, "lock");
    const result = await this.#wait({ extent, signal, idle: 0 }, (region, pages) =>
      native().lockAsync(region, pages.offset, pages.length),
    );
    this[core].check(result, "mlock", lockAction(extent));
  }

  /**
   * As {@link lock}, and waits for it.
   *
   * @param options As {@link lock}, without a signal.
   * @throws {TypeError} {RangeError} {SystemError} {FaultError} {MemmapError} As {@link lock}
   * rejects.
   */
  lockSync(options?: ByteRange): void {
    const range = asByteRange(options, "options");
    const extent = this[extentOf](range, "lock");
    if (extent.length === 0) return;
    const { offset, length } = this[core].touched(extent);
    const result = native().lock(this[core].region, offset, length);
    this[core].check(result, "mlock", lockAction(extent));
  }

  /**
   * Lets the kernel move pages out of memory again.
   *
   * Acts on every page that the range touches; unlocking what is not locked does nothing.
   *
   * @param range Default everywhere.
   * @throws {TypeError} {RangeError} {MemmapError} As {@link lock}.
   *
   * **Platform** Linux. Follows munlock(2).
   */
  unlock(range?: ByteRange): void {
    const pages = this[pagesOf](range, "unlock");
    const { offset, length } = pages;
    if (length === 0) return;
    this[core].check(native().unlock(this[core].region, offset, length), "munlock", "unlock");
  }

  /**
   * Called with a fault that no method has collected, before anything is thrown for it.
   *
   * A fault is a touch of `bytes` that could not be served: the page reads as zeros or takes the
   * write for itself, execution goes on, and this tells. Null: the fault is thrown as an uncaught
   * error.
   *
   * @example
   * ```ts
   * import { mapFileSync } from "memmap";
   *
   * using mapping = mapFileSync("data.bin");
   * mapping.onfault = (fault) => console.log(fault.reason, fault.byteOffset, fault.count);
   * ```
   */
  get onfault(): ((fault: FaultError) => void) | null {
    return this[core].onfault;
  }

  set onfault(listener: ((fault: FaultError) => void) | null) {
    if (listener !== null && typeof listener !== "function") {
      throw wrongType(`"onfault" must be a function or null`);
    }
    this[core].onfault = listener;
  }

  /**
   * Throws the oldest fault that nobody has collected; its `count` says how many there were.
   *
   * All of them are collected then. Works after `close()` as well.
   *
   * @throws {FaultError} `ERR_MEMMAP_FAULT` when there was a fault.
   *
   * @example
   * ```ts
   * import { mapFileSync } from "memmap";
   *
   * using mapping = mapFileSync("data.bin", { faults: "collect" });
   * let sum = 0;
   * for (const byte of mapping.bytes) sum += byte;
   * mapping.check(); // throws if a byte of the sum was not there
   * console.log(sum);
   * ```
   */
  check(): void {
    native().assertGuard();
    const fault = collectFault(this[core]);
    if (fault !== undefined) throw fault;
  }

  /**
   * Makes pages that were repaired after a fault follow the file again.
   *
   * For a file that has grown back, or memory whose protection was changed. What was written to a
   * repaired page is lost. Acts on every page that the range touches.
   *
   * @param range Default everywhere.
   * @throws {TypeError} {RangeError} For a bad range.
   * @throws {SystemError} What open(2), mmap(2) or mremap(2) refused.
   * @throws {MemmapError} `ERR_MEMMAP_UNSUPPORTED` for a private mapping of a file that has no path
   *   or whose path names another file now; `ERR_MEMMAP_CLOSED`.
   *
   * **Platform** Linux. Follows mmap(2) and mremap(2).
   *
   * @example
   * ```ts
   * import { mapFileSync } from "memmap";
   *
   * using mapping = mapFileSync("data.bin");
   * mapping.remap();
   * ```
   */
  remap(range?: ByteRange): void {
    const pages = this[pagesOf](range, "remap");
    if (pages.length > 0) remapPages(this[core], pages);
  }

  /**
   * Makes a handle by which workers and other processes attach to the same memory.
   *
   * The handle is plain data: send it by `postMessage` or `process.send`, or as JSON. It is good
   * while this mapping is open, and for a file while it stands at its path. A private mapping can
   * be attached to by workers of this process only.
   *
   * @returns The handle, for `attachMapping`.
   * @throws {MemmapError} `ERR_MEMMAP_CLOSED`.
   *
   * @example
   * ```ts
   * import { mapFileSync } from "memmap";
   *
   * using mapping = mapFileSync("data.bin");
   * process.env["DATASET"] = JSON.stringify(mapping.share());
   * ```
   */
  share(): MappingHandle {
    this[core].requireOpen("share");
    return makeHandle(this[core]);
  }

  /*
   * Waits for a call on pages. A mapping that is resized meanwhile has its pages elsewhere: the
   * call is made again there, on what is left of the range.
   */
  async #wait<T>(
    job: { readonly extent: Extent; readonly signal: AbortSignal | undefined; readonly idle: T },
    start: (region: NativeRegion, pages: Extent) => Promise<T>,
  ): Promise<T> {
    job.signal?.throwIfAborted();
    const state = this[core];
    state.collecting += 1;
    try {
      return await this.#repeat(job, start);
    } finally {
      state.collecting -= 1;
      queueMicrotask(() => tellSoon(state));
    }
  }

  async #repeat<T>(
    job: { readonly extent: Extent; readonly signal: AbortSignal | undefined; readonly idle: T },
    start: (region: NativeRegion, pages: Extent) => Promise<T>,
  ): Promise<T> {
    for (;;) {
      this[core].requireOpen("wait for");
      const { region, byteLength, pending } = this[core];
      const offset = Math.min(job.extent.offset, byteLength);
      const length = Math.min(job.extent.length, byteLength - offset);
      if (length === 0) return job.idle;
      const pages = this[core].touched({ offset, length });
      const result = await pending.wait(job.signal, () => start(region, pages));
      if (this[core].region === region) return result;
    }
  }

  #loadFault(extent: Extent, pagesDone: number): Error {
    const first = this[core].touched(extent).offset + pagesDone - this[core].start;
    return faultAt(this[core], { byteOffset: Math.max(extent.offset, first), access: "read" });
  }
}

/* A long load is asked for in pieces, so that closing or aborting ends it soon. */
const loadPiece = 2 ** 28;

async function loadPages(
  region: NativeRegion,
  { offset, length }: Extent,
): Promise<{ readonly loaded: number; readonly length: number } | undefined> {
  return { loaded: await native().loadAsync(region, offset, length), length };
}

/** Wraps the state of a new mapping. */
export function makeMapping(state: MappingCore): Mapping {
  if (state.faults === "collect") native().quiet(state.region);
  state.onView = (buffer) => watch(state, buffer);
  state.onDetach = release;
  return new Mapping(state, token);
}

function readWait(options: WaitOptions | undefined): {
  readonly range: ByteRange;
  readonly signal: AbortSignal | undefined;
} {
  const range = asByteRange(options, "options");
  return { range, signal: asOptionalSignal(asOptions(options).signal, "options.signal") };
}

function flushFlags(value: FlushOptions | undefined): number {
  const options = asOptions(value);
  const wait = asOptionalBoolean(options.wait, "options.wait") ?? true;
  const invalidate = asOptionalBoolean(options.invalidate, "options.invalidate") ?? false;
  return constant(wait ? "MS_SYNC" : "MS_ASYNC") | (invalidate ? constant("MS_INVALIDATE") : 0);
}

function lockAction(extent: Extent): string {
  return `lock ${extent.length} bytes at offset ${extent.offset} of`;
}
