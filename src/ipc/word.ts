/**
 * A word of shared memory: finds the mapping behind an element of an Int32Array, and refuses what
 * the kernel's futex could not share.
 */
import type { MappingCore } from "../core.js";
import { memmapError, outOfRange, wrongType } from "../errors.js";
import { errnoName, systemError } from "../failure.js";
import { faultAt, requireOriginal } from "../fault.js";
import { type ArrayPlace, asInt32Array, asInteger } from "../validate.js";
import { ownerOf } from "../watch.js";

/** An element of an array, as a user named it. */
export interface Element {
  readonly place: ArrayPlace;
  readonly index: number;
}

/** A word of a mapping. */
export interface Word {
  readonly core: MappingCore;
  /** Bytes from the first byte of the mapping. */
  readonly byteOffset: number;
  /** Bytes from the first byte of the region. */
  readonly offset: number;
}

/** Reads the arguments that name a word; their state is not looked at yet. */
export function asElement(array: unknown, index: unknown): Element {
  return { place: asInt32Array(array, "array"), index: asInteger(index, "index") };
}

/** A value of 32 bits with its sign. */
export function asValue(value: unknown): number {
  return asInteger(value, "value", { min: -(2 ** 31), max: 2 ** 31 - 1 });
}

function ownerOrThrow(buffer: ArrayBufferLike, action: string): MappingCore {
  const owner = ownerOf(buffer);
  if (owner === undefined) {
    const wanted = `"array" must lie in a shared mapping of memmap`;
    throw wrongType(`${wanted}: nobody else could ${action} it`);
  }
  const what = `Cannot ${action} a word`;
  if (owner === "emptied") {
    const reason = "its mapping was closed or resized";
    throw memmapError("ERR_MEMMAP_CLOSED", `${what}: ${reason}`);
  }
  owner.requireOpen(`${action} a word of`);
  if (owner.isCurrent(buffer)) return owner;
  throw memmapError("ERR_MEMMAP_CLOSED", `${what} of ${owner.label}: it was resized`);
}

/**
 * The word behind an element.
 *
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE` for memory that nobody shares.
 * @throws {RangeError} `ERR_OUT_OF_RANGE` past the end, or for a word that is not aligned.
 * @throws {MemmapError} `ERR_MEMMAP_CLOSED`.
 * @throws {FaultError} When its page is no longer the file's.
 */
export function locate({ place, index }: Element, action: "wait on" | "notify"): Word {
  const core = ownerOrThrow(place.buffer, action);
  if (core.sharing !== "shared") {
    throw wrongType(`"array" must lie in a shared mapping, and ${core.label} is private`);
  }
  const what = `Cannot ${action} word ${index} of ${core.label}`;
  if (index >= place.length) {
    throw outOfRange(`${what}: the array has ${place.length} of them`);
  }
  const byteOffset = place.byteOffset + 4 * index;
  const offset = core.start + byteOffset;
  if (offset % 4 !== 0) {
    throw outOfRange(`${what}: its address is no multiple of 4, since the mapping begins at none`);
  }
  requireOriginal(core, { offset: byteOffset, length: 4 }, "read");
  return { core, byteOffset, offset };
}

/**
 * The error of a call on a word that answered a negative errno; -EFAULT says that its page could
 * not be had.
 */
export function failureOf(word: Word, errno: number, action: string): Error {
  const { core, byteOffset } = word;
  if (errnoName(errno) === "EFAULT") return faultAt(core, { byteOffset, access: "read" });
  const what = `Cannot ${action} byte ${byteOffset} of ${core.label}`;
  return systemError(errno, { syscall: "futex", what, path: core.path });
}
