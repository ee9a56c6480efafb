/**
 * Where a structure lies in shared memory: its mapping, its first byte, and its words as the
 * mapping has them now. A resize of the mapping moves the structure, and the place follows it.
 *
 * Invariants: the words lie in a shared mapping that may be written; what is read from them is a
 * number that anybody may have written.
 */
import type { MappingCore } from "../core.js";
import { memmapError, outOfRange, wrongType } from "../errors.js";
import { requireOriginal } from "../fault.js";
import { asBytesPlace } from "../validate.js";
import { ownerOf } from "../watch.js";

/** What a structure is called in messages, and its size in bytes, a multiple of 4. */
export interface StructureKind {
  readonly label: string;
  readonly byteLength: number;
}

/** A structure's place. */
export class Place {
  readonly #core: MappingCore;
  readonly #byteOffset: number;
  readonly #kind: StructureKind;
  #words: Int32Array<ArrayBuffer>;
  #generation = 0;

  /**
   * @param bytes Of a user; the structure lies at their beginning.
   * @throws {TypeError} `ERR_INVALID_ARG_TYPE` for bytes that nobody shares.
   * @throws {RangeError} `ERR_OUT_OF_RANGE` for too few bytes, or ones that are not aligned.
   * @throws {MemmapError} `ERR_MEMMAP_CLOSED`, `ERR_MEMMAP_READ_ONLY`.
   * @throws {FaultError} When the file no longer has their page.
   */
  constructor(bytes: Uint8Array, kind: StructureKind) {
    const { buffer, byteOffset, length } = asBytesPlace(bytes, "bytes");
    const owner = ownerOf(buffer);
    if (owner === "emptied" || owner?.closed === true) throw closed(kind, "its mapping was closed");
    if (owner?.isCurrent(buffer) === false) throw closed(kind, "its mapping was resized");
    if (owner !== undefined) requireBuffer(owner, buffer, kind);
    if (length < kind.byteLength) {
      const need = `${kind.byteLength} bytes, and there are ${length}`;
      throw outOfRange(`Cannot place a ${kind.label}: it takes ${need}`);
    }
    if (owner?.sharing !== "shared") {
      throw wrongType(`"bytes" must lie in a shared mapping of memmap: nobody else could see them`);
    }
    if (byteOffset % 4 !== 0 || owner.start % 4 !== 0) {
      throw outOfRange(`Cannot place a ${kind.label}: its address must be a multiple of 4`);
    }
    const extent = { offset: byteOffset, length: kind.byteLength };
    owner.requireWritable(owner.touched(extent), `place a ${kind.label} in`);
    this.#core = owner;
    this.#byteOffset = byteOffset;
    this.#kind = kind;
    this.requireOriginal();
    this.#words = this.#bind();
  }

  /**
   * The structure's words, as the mapping has them now.
   *
   * @throws {MemmapError} `ERR_MEMMAP_CLOSED`, also when a user has transferred the buffer away.
   */
  get words(): Int32Array<ArrayBuffer> {
    const isCurrent = this.#core.generation === this.#generation && this.#words.length > 0;
    if (!isCurrent) this.#words = this.#bind();
    return this.#words;
  }

  /** Whether the mapping is closed. */
  get isClosed(): boolean {
    return this.#core.closed;
  }

  /** What the structure is called in messages. */
  get label(): string {
    return `the ${this.#kind.label} at byte ${this.#byteOffset} of ${this.#core.label}`;
  }

  /** Keeps the mapping from being closed or resized, as a pin does, until it is let go. */
  pin(): void {
    this.#core.pins += 1;
  }

  /** Undoes one {@link Place.pin}. */
  unpin(): void {
    this.#core.pins -= 1;
  }

  /** Throws when the guard has replaced a page of the structure: nobody else sees it any more. */
  requireOriginal(): void {
    const extent = { offset: this.#byteOffset, length: this.#kind.byteLength };
    requireOriginal(this.#core, extent, "write");
  }

  /** The same where the page can go at all: in a file, which may be truncated. */
  requireShared(): void {
    if (this.#core.file !== undefined) this.requireOriginal();
  }

  #bind(): Int32Array<ArrayBuffer> {
    this.#core.requireOpen(`use the ${this.#kind.label} at byte ${this.#byteOffset} of`);
    this.#generation = this.#core.generation;
    const { byteLength } = this.#kind;
    if (this.#byteOffset + byteLength > this.#core.byteLength) {
      throw closed(this.#kind, "its mapping was made shorter");
    }
    const { buffer } = this.#core.bytes;
    requireBuffer(this.#core, buffer, this.#kind);
    return new Int32Array(buffer, this.#byteOffset, byteLength / 4);
  }
}

/* A buffer that a user has transferred away is empty, and no Atomics go on it. */
function requireBuffer(core: MappingCore, buffer: ArrayBufferLike, kind: StructureKind): void {
  if (buffer.byteLength > 0 || core.byteLength === 0) return;
  throw closed(kind, "its buffer was transferred");
}

function closed(kind: StructureKind, reason: string): Error {
  return memmapError("ERR_MEMMAP_CLOSED", `Cannot use a ${kind.label}: ${reason}`);
}
