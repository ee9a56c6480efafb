/**
 * The bytes of a mapping and their life: the first half of class Mapping. The second half, what can
 * be asked of the pages below the bytes, is mapping.ts.
 *
 * Every method reads all its arguments before it looks at the state, so that a getter which closes
 * or resizes the mapping meets a method that has not begun.
 */
import { Buffer } from "node:buffer";
import type { MappingCore } from "./core.js";
import { faultAt, requireOriginal } from "./fault.js";
import type { Backing, Protection, Sharing } from "./flags.js";
import { native } from "./native.js";
import { type ByteRange, checkRange } from "./pages.js";
import { resizeMapping } from "./resize.js";
import { findFirst, findLast, type Windows } from "./search.js";
import { asByteRange, asBytes, asInteger } from "./validate.js";
import { closed } from "./watch.js";

/** Where a mapping keeps its state. @internal */
export const core: unique symbol = Symbol("memmap.core");

const encoder = new TextEncoder();

/** The bytes of a mapping and their life. */
export abstract class MappedMemory {
  /** @internal */
  readonly [core]: MappingCore;

  /** @internal */
  protected constructor(state: MappingCore) {
    this[core] = state;
  }

  /**
   * The mapped bytes themselves, without a copy: exactly what was asked for.
   *
   * Reading an element reads memory, writing one writes memory. The array stays the same until
   * `resize()` or `close()`, which leave old views with length 0; after `close()` it is empty.
   *
   * **Safety** A touch that cannot be served (the file was truncated, the protection forbids it)
   * does not end the process: the page reads as zeros or takes the write for itself, and a
   * `FaultError` tells it afterwards (`onfault`, `check()`, or an uncaught error). `read()` and
   * `write()` throw instead, before a wrong byte is seen.
   */
  get bytes(): Uint8Array<ArrayBuffer> {
    return this[core].bytes;
  }

  /** The buffer of {@link bytes}: the same bytes, from its first to its last. */
  get buffer(): ArrayBuffer {
    return this[core].bytes.buffer;
  }

  /**
   * The same bytes as a `SharedArrayBuffer`, for `Atomics.wait` and for `postMessage` to workers;
   * undefined where the runtime cannot make one.
   *
   * Shared memory cannot be detached: after `close()` or `resize()` the old buffer keeps its
   * length, and touching it is a reported fault.
   */
  get sharedBuffer(): SharedArrayBuffer | undefined {
    return this[core].sharedBuffer;
  }

  /** How many bytes are mapped; 0 after `close()`. */
  get byteLength(): number {
    return this[core].byteLength;
  }

  /** The address of the first byte. */
  get address(): bigint {
    return this[core].address;
  }

  /** Where in the file the mapping begins, in bytes; 0 for anonymous memory. */
  get offset(): number {
    return this[core].offset;
  }

  /** The path it was mapped from; undefined for a descriptor and for anonymous memory. */
  get path(): string | undefined {
    return this[core].path;
  }

  /** What may be done with the bytes; "mixed" after protecting a part. */
  get protection(): Protection | "mixed" {
    return this[core].protection;
  }

  /** Who sees what is written. */
  get sharing(): Sharing {
    return this[core].sharing;
  }

  /** What stands behind the pages. */
  get backing(): Backing {
    return this[core].backing;
  }

  /** Whether `close()` was called. */
  get closed(): boolean {
    return this[core].closed;
  }

  /**
   * Copies bytes out of the mapping into a new array.
   *
   * The kernel copies, so a page that is not there is an error and never a signal.
   *
   * @param offset The first byte, from 0.
   * @param length How many bytes.
   * @returns A copy that the mapping no longer changes.
   * @throws {TypeError} `ERR_INVALID_ARG_TYPE`.
   * @throws {RangeError} `ERR_OUT_OF_RANGE` for bytes past the end.
   * @throws {FaultError} `ERR_MEMMAP_FAULT` at the first byte that cannot be read.
   * @throws {MemmapError} `ERR_MEMMAP_CLOSED`.
   *
   * @example
   * ```ts
   * import { mapFileSync } from "memmap";
   *
   * using mapping = mapFileSync("message.txt");
   * console.log(new TextDecoder().decode(mapping.read(0, 5)));
   * ```
   */
  read(offset: number, length: number): Uint8Array<ArrayBuffer> {
    const from = asInteger(offset, "offset");
    const count = asInteger(length, "length");
    this[core].requireOpen("read");
    const extent = checkRange({ offset: from, length: count }, this.byteLength, "read");
    requireOriginal(this[core], extent, "read");
    const target = new Uint8Array(count);
    readChecked(this[core], target, from);
    return target;
  }

  /**
   * Fills an array with bytes of the mapping, as {@link read} without the allocation.
   *
   * @param target Filled from its first to its last byte.
   * @param offset The first byte of the mapping, from 0.
   * @throws {TypeError} `ERR_INVALID_ARG_TYPE`.
   * @throws {RangeError} `ERR_OUT_OF_RANGE` for bytes past the end.
   * @throws {FaultError} `ERR_MEMMAP_FAULT`; the bytes before the fault are in `target` then.
   * @throws {MemmapError} `ERR_MEMMAP_CLOSED`.
   *
   * @example
   * ```ts
   * import { mapFileSync } from "memmap";
   *
   * using mapping = mapFileSync("data.bin");
   * const record = new Uint8Array(64);
   * mapping.readInto(record, 3 * 64);
   * ```
   */
  readInto(target: Uint8Array, offset: number): void {
    const bytes = asBytes(target, "target");
    const from = asInteger(offset, "offset");
    this[core].requireOpen("read");
    const extent = checkRange({ offset: from, length: bytes.length }, this.byteLength, "read");
    requireOriginal(this[core], extent, "read");
    readChecked(this[core], bytes, from);
  }

  /**
   * Copies bytes into the mapping.
   *
   * The pages are brought in for writing first, so that a missing page is found before anything is
   * written; the kernel copies, so that it is an error and never a signal.
   *
   * @param offset The first byte to write, from 0.
   * @param bytes What to write.
   * @throws {TypeError} `ERR_INVALID_ARG_TYPE`.
   * @throws {RangeError} `ERR_OUT_OF_RANGE` for bytes past the end.
   * @throws {MemmapError} `ERR_MEMMAP_READ_ONLY` where the protection forbids it,
   *   `ERR_MEMMAP_CLOSED`.
   * @throws {FaultError} `ERR_MEMMAP_FAULT` at the first byte that cannot be written.
   *
   * @example
   * ```ts
   * import { mapAnonymous } from "memmap";
   *
   * using mapping = mapAnonymous(4096);
   * mapping.write(100, new Uint8Array([1, 2, 3]));
   * ```
   */
  write(offset: number, bytes: Uint8Array): void {
    const from = asInteger(offset, "offset");
    const source = asBytes(bytes, "bytes");
    this[core].requireOpen("write");
    const extent = checkRange({ offset: from, length: source.length }, this.byteLength, "write");
    if (extent.length === 0) return;
    this[core].requireWritable(this[core].touched(extent), `write ${source.length} bytes to`);
    requireOriginal(this[core], extent, "write");
    const written = native().write(this[core].region, this[core].start + from, source);
    this[core].check(written, "process_vm_readv", "write");
    if (written < source.length) {
      throw faultAt(this[core], { byteOffset: from + written, access: "write" });
    }
  }

  /**
   * Finds the first place where a pattern stands.
   *
   * @param pattern Bytes, a string (as UTF-8), or one byte as a number from 0 to 255. An empty
   *   pattern stands at the beginning of the range.
   * @param range Where the whole match must lie; default everywhere.
   * @returns The offset of the match from the first byte of the mapping, or -1.
   * @throws {TypeError} `ERR_INVALID_ARG_TYPE`.
   * @throws {RangeError} `ERR_OUT_OF_RANGE` for a range past the end or a number that is no byte.
   * @throws {MemmapError} `ERR_MEMMAP_CLOSED`.
   *
   * @example
   * ```ts
   * import { mapFileSync } from "memmap";
   *
   * using mapping = mapFileSync("message.txt");
   * const lineEnd = mapping.indexOf("\n");
   * console.log(lineEnd);
   * ```
   */
  indexOf(pattern: Uint8Array | string | number, range?: ByteRange): number {
    const needle = patternBytes(pattern);
    const part = asByteRange(range);
    this[core].requireOpen("search");
    const extent = checkRange(part, this.byteLength, "search");
    return findFirst(windowsOf(this[core]), needle, extent);
  }

  /**
   * Finds the last place where a pattern stands.
   *
   * @param pattern As {@link indexOf}; an empty pattern stands at the end of the range.
   * @param range Where the whole match must lie; default everywhere.
   * @returns The offset of the match from the first byte of the mapping, or -1.
   * @throws {TypeError} {RangeError} {MemmapError} As {@link indexOf}.
   *
   * @example
   * ```ts
   * import { mapFileSync } from "memmap";
   *
   * using mapping = mapFileSync("message.txt");
   * console.log(mapping.lastIndexOf(0x0a, { offset: 1 }));
   * ```
   */
  lastIndexOf(pattern: Uint8Array | string | number, range?: ByteRange): number {
    const needle = patternBytes(pattern);
    const part = asByteRange(range);
    this[core].requireOpen("search");
    const extent = checkRange(part, this.byteLength, "search");
    return findLast(windowsOf(this[core]), needle, extent);
  }

  /**
   * Makes the mapping longer or shorter, keeping its content.
   *
   * `bytes`, `buffer` and `address` are new afterwards, and old views have length 0. New anonymous
   * memory is zero. A file is never made shorter, and longer only when it was mapped with `grow`,
   * with its space allocated for real. The same length changes nothing. Advice and locks given to a
   * part of a shared mapping are not carried over; protections are. A growing private mapping
   * follows its file again in its last page, if that was repaired after a fault.
   *
   * @param byteLength The new length in bytes, 0 or more.
   * @throws {TypeError} `ERR_INVALID_ARG_TYPE`.
   * @throws {RangeError} `ERR_OUT_OF_RANGE`: past the end of a file that was not mapped with
   *   `grow`;
   *   `ERR_BUFFER_TOO_LARGE`: more than the runtime can view.
   * @throws {SystemError} `ENOMEM`, `ENOSPC` ...; nothing has changed then.
   * @throws {MemmapError} `ERR_MEMMAP_PINNED`, `ERR_MEMMAP_CLOSED`.
   *
   * **Platform** Linux. Follows mremap(2).
   *
   * @example
   * ```ts
   * import { mapAnonymous } from "memmap";
   *
   * using mapping = mapAnonymous(4096);
   * mapping.bytes[0] = 1;
   * mapping.resize(1024 * 1024);
   * console.log(mapping.bytes[0], mapping.bytes.length);
   * ```
   */
  resize(byteLength: number): void {
    const length = asInteger(byteLength, "byteLength");
    this[core].requireOpen("resize");
    this[core].requireUnpinned("resize");
    resizeMapping(this[core], length);
  }

  /**
   * Holds the mapping open: while a pin is held, `close()` and `resize()` throw.
   *
   * For the time in which an operation of the runtime (fs, zlib, crypto) works on the bytes.
   *
   * @returns The pin; dispose it to let go. Disposing it again does nothing.
   * @throws {MemmapError} `ERR_MEMMAP_CLOSED`.
   *
   * @example
   * ```ts
   * import { open } from "node:fs/promises";
   * import { mapFileSync } from "memmap";
   *
   * using mapping = mapFileSync("data.bin");
   * const pin = mapping.pin();
   * const file = await open("copy.bin", "w");
   * await file.write(mapping.bytes);
   * await file.close();
   * pin[Symbol.dispose]();
   * ```
   */
  pin(): Disposable {
    const state = this[core];
    state.requireOpen("pin");
    state.pins += 1;
    let held = true;
    return {
      [Symbol.dispose](): void {
        if (held) state.pins -= 1;
        held = false;
      },
    };
  }

  /**
   * Ends the mapping at once; a second call does nothing.
   *
   * Nothing is flushed: what was written to a shared mapping reaches the file all the same, when
   * the kernel writes it back. `bytes` is empty afterwards and old views have length 0 where the
   * engine allows it; a buffer that was transferred away reads zeros. Waiting promises reject with
   * `ERR_MEMMAP_CLOSED`. The addresses are not used again before the engine has let go of them.
   *
   * @throws {MemmapError} `ERR_MEMMAP_PINNED` while a pin is held.
   *
   * **Platform** Linux. Follows munmap(2).
   */
  close(): void {
    native().assertGuard();
    if (this[core].closed) return;
    this[core].requireUnpinned("close");
    this[core].close();
    closed(this[core]);
  }

  /** What `console.log` shows. @internal */
  [Symbol.for("nodejs.util.inspect.custom")](): string {
    const { address, byteLength, offset, path, protection, sharing, backing, closed } = this;
    if (closed) return "Mapping { closed: true }";
    const fields = { byteLength, offset, path, protection, sharing, backing };
    return `Mapping { address: 0x${address.toString(16)}, ${JSON.stringify(fields).slice(1, -1)} }`;
  }

  /** Closes, for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }
}

function readChecked(state: MappingCore, target: Uint8Array, offset: number): void {
  if (target.length === 0) return;
  const copied = state.check(
    native().read(state.region, state.start + offset, target),
    "process_vm_readv",
    "read",
  );
  if (copied < target.length) {
    throw faultAt(state, { byteOffset: offset + copied, access: "read" });
  }
}

/* The bytes where they lie; copies of them when a user has transferred the buffer away. */
function windowsOf(state: MappingCore): Windows {
  const { bytes } = state;
  if (bytes.length === state.byteLength) {
    const { buffer, byteOffset } = bytes;
    return {
      length: 2 ** 30,
      at: (offset, end) => Buffer.from(buffer, byteOffset + offset, end - offset),
    };
  }
  return {
    length: 2 ** 24,
    at: (offset, end) => {
      const copy = Buffer.alloc(end - offset);
      readChecked(state, copy, offset);
      return copy;
    },
  };
}

function patternBytes(pattern: unknown): Uint8Array {
  if (typeof pattern === "string") return encoder.encode(pattern);
  if (typeof pattern === "number") {
    return Uint8Array.of(asInteger(pattern, "pattern", { max: 255 }));
  }
  return asBytes(pattern, "pattern");
}
