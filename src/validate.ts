/**
 * Pure: reads the arguments of users. Each function takes a value and its name and gives it back
 * with its type, or throws a `TypeError` or `RangeError` with Node's code. No value is converted:
 * what has a `valueOf` and is no number is refused without calling it.
 */
import { outOfRange, wrongType, wrongValue } from "./errors.js";
import type { ByteRange } from "./pages.js";

function describe(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "object") return "an object";
  if (typeof value === "function") return "a function";
  return `${typeof value} ${String(value)}`;
}

/** The bounds of an integer, both inclusive. */
export interface Bounds {
  readonly min?: number;
  readonly max?: number;
}

/** A whole number: by default 0 or more, and small enough to be exact. */
export function asInteger(value: unknown, name: string, bounds: Bounds = {}): number {
  const { min = 0, max = Number.MAX_SAFE_INTEGER } = bounds;
  if (typeof value !== "number") {
    throw wrongType(`"${name}" must be a number, not ${describe(value)}`);
  }
  if (!Number.isInteger(value) || value < min || value > max) {
    throw outOfRange(`"${name}" must be an integer from ${min} to ${max}, not ${value}`);
  }
  return value === 0 ? 0 : value;
}

/** An integer that may be left out. */
export function asOptionalInteger(
  value: unknown,
  name: string,
  bounds: Bounds = {},
): number | undefined {
  return value === undefined ? undefined : asInteger(value, name, bounds);
}

/** An address: a bigint of 64 bits, not negative. */
export function asOptionalAddress(value: unknown, name: string): bigint | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== "bigint") {
    throw wrongType(`"${name}" must be a bigint, not ${describe(value)}`);
  }
  if (value < 0n || value >= 1n << 64n) {
    throw outOfRange(`"${name}" must be an address from 0 to 2^64 - 1, not ${value}`);
  }
  return value;
}

/** A boolean that may be left out. */
export function asOptionalBoolean(value: unknown, name: string): boolean | undefined {
  if (value === undefined || typeof value === "boolean") return value;
  throw wrongType(`"${name}" must be a boolean, not ${describe(value)}`);
}

/** One of a list of words. */
export function asOneOf<T extends string>(value: unknown, name: string, list: readonly T[]): T {
  if (typeof value !== "string") {
    throw wrongType(`"${name}" must be a string, not ${describe(value)}`);
  }
  const found = list.find((word) => word === value);
  if (found !== undefined) return found;
  throw wrongValue(`"${name}" must be one of ${list.join(", ")}, not ${describe(value)}`);
}

/** One of a list of words that may be left out. */
export function asOptionalOneOf<T extends string>(
  value: unknown,
  name: string,
  list: readonly T[],
): T | undefined {
  return value === undefined ? undefined : asOneOf(value, name, list);
}

/** An object of options; left out, it is empty. */
export function asOptions<T extends object>(value: T | undefined, name = "options"): Partial<T> {
  if (value === undefined) return {};
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value;
  throw wrongType(`"${name}" must be an object, not ${describe(value)}`);
}

/* The fields as the engine keeps them: a subclass may answer anything under these names. */
const typedArray: object = Object.getPrototypeOf(Uint8Array.prototype);

function getter(name: string | symbol): (this: object) => unknown {
  const found = Object.getOwnPropertyDescriptor(typedArray, name)?.get;
  if (found === undefined) throw new Error(`This engine's typed arrays have no ${String(name)}`);
  return found;
}

const tagOf = getter(Symbol.toStringTag);
const bufferOf = getter("buffer");
const byteOffsetOf = getter("byteOffset");
const lengthOf = getter("length");

/**
 * The bytes of a user: a Uint8Array or Buffer, of this realm or another. What comes back is a plain
 * view of the same bytes, whose length is true; a detached array gives an empty one.
 */
export function asBytes(value: unknown, name: string): Uint8Array {
  if (typeof value !== "object" || value === null) throw notBytes(value, name);
  if (tagOf.call(value) !== "Uint8Array") throw notBytes(value, name);
  const [buffer, byteOffset] = [bufferOf.call(value), byteOffsetOf.call(value)];
  const length = lengthOf.call(value);
  if (length === 0) return new Uint8Array(0);
  if (typeof byteOffset !== "number" || typeof length !== "number") throw notBytes(value, name);
  if (!isBuffer(buffer)) throw notBytes(value, name);
  return new Uint8Array(buffer, byteOffset, length);
}

/* What an array of bytes answers for its buffer is one, also when it comes from another realm. */
function isBuffer(value: unknown): value is ArrayBufferLike {
  return typeof value === "object" && value !== null && "byteLength" in value;
}

/** Where a typed array lies, as the engine knows it. */
export interface ArrayPlace {
  readonly buffer: ArrayBufferLike;
  readonly byteOffset: number;
  /** Elements. */
  readonly length: number;
}

/** The place of an Int32Array of this realm or another; a detached one has a length of 0. */
export function asInt32Array(value: unknown, name: string): ArrayPlace {
  const place = arrayPlace(value, "Int32Array");
  if (place !== undefined) return place;
  throw wrongType(`"${name}" must be an Int32Array, not ${describe(value)}`);
}

/** The place of bytes of this realm or another; it tells the buffer of detached ones too. */
export function asBytesPlace(value: unknown, name: string): ArrayPlace {
  const place = arrayPlace(value, "Uint8Array");
  if (place !== undefined) return place;
  throw notBytes(value, name);
}

function arrayPlace(value: unknown, tag: string): ArrayPlace | undefined {
  if (typeof value !== "object" || value === null || tagOf.call(value) !== tag) return undefined;
  const [buffer, byteOffset] = [bufferOf.call(value), byteOffsetOf.call(value)];
  const length = lengthOf.call(value);
  if (typeof byteOffset !== "number" || typeof length !== "number") return undefined;
  return isBuffer(buffer) ? { buffer, byteOffset, length } : undefined;
}

/** A time to wait in milliseconds, fractions too; left out or `Infinity`, it never ends. */
export function asTimeout(value: unknown, name: string): number {
  if (value === undefined) return Number.POSITIVE_INFINITY;
  if (typeof value !== "number") {
    throw wrongType(`"${name}" must be a number, not ${describe(value)}`);
  }
  if (value >= 0) return value;
  throw outOfRange(`"${name}" must be a number of at least 0, not ${value}`);
}

/** The time limit of a call that blocks: a signal could not end it, and is refused. */
export function asTimeoutSync(options: { readonly timeoutMs?: number | undefined }): number {
  const timeoutMs = asTimeout(options.timeoutMs, "options.timeoutMs");
  if (!("signal" in options) || options.signal === undefined) return timeoutMs;
  throw wrongValue(`"options.signal" has no effect on a call that blocks: use timeoutMs`);
}

function notBytes(value: unknown, name: string): TypeError {
  return wrongType(`"${name}" must be a Uint8Array, not ${describe(value)}`);
}

/** A signal that may be left out. */
export function asOptionalSignal(value: unknown, name: string): AbortSignal | undefined {
  if (value === undefined || value instanceof AbortSignal) return value;
  throw wrongType(`"${name}" must be an AbortSignal, not ${describe(value)}`);
}

/** A range of bytes, whose fields are each read once. */
export function asByteRange(value: ByteRange | undefined, name = "range"): ByteRange {
  const range = asOptions(value, name);
  const offset = asOptionalInteger(range.offset, `${name}.offset`);
  const length = asOptionalInteger(range.length, `${name}.length`);
  return { offset, length };
}
