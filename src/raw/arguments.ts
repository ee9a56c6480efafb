/**
 * Pure: reads the arguments of the raw door as the C types of the manual. A number or bigint that
 * fits the type goes to the kernel as it is, whose business everything else is; one that does not
 * fit is a `RangeError`, another type a `TypeError`. Nothing is converted by its `valueOf`.
 */
import { outOfRange, wrongType, wrongValue } from "../errors.js";

/** An address: a bigint of 64 bits; null is 0. */
export type Address = bigint | null;

/** A size or offset: a safe integer, or a bigint of 64 bits. */
export type Size = number | bigint;

const bits64 = 1n << 64n;
const bits63 = 1n << 63n;

function kindOf(value: unknown): string {
  return value === null ? "null" : typeof value;
}

/** `void *` */
export function asAddress(value: unknown, name: string): bigint {
  if (value === null) return 0n;
  if (typeof value !== "bigint") {
    throw wrongType(`"${name}" must be a bigint or null, not ${kindOf(value)}`);
  }
  if (value >= 0n && value < bits64) return value;
  throw outOfRange(`"${name}" must be an address from 0 to 2^64 - 1, not ${value}`);
}

interface Range64 {
  readonly min: bigint;
  readonly max: bigint;
  readonly type: string;
}

function asBits(value: unknown, name: string, { min, max, type }: Range64): bigint {
  if (typeof value !== "number" && typeof value !== "bigint") {
    throw wrongType(`"${name}" must be a number or a bigint, not ${kindOf(value)}`);
  }
  if (typeof value === "number" && !Number.isSafeInteger(value)) {
    const bound = "an integer below 2^53, or a bigint";
    throw outOfRange(`"${name}" must be ${bound}, not ${value}`);
  }
  const bits = BigInt(value);
  if (bits >= min && bits < max) return bits;
  throw outOfRange(`"${name}" must fit ${type}, not ${value}`);
}

/** `size_t` */
export function asSize(value: unknown, name: string): bigint {
  return asBits(value, name, { min: 0n, max: bits64, type: "size_t, from 0 to 2^64 - 1" });
}

/** `off_t` */
export function asOffset(value: unknown, name: string): bigint {
  return asBits(value, name, { min: -bits63, max: bits63, type: "off_t, of 64 bits" });
}

/** `int`; the upper half of `unsigned int` is taken for the same bits, as C does. */
export function asInt(value: unknown, name: string): number {
  if (typeof value !== "number") {
    throw wrongType(`"${name}" must be a number, not ${kindOf(value)}`);
  }
  if (Number.isInteger(value) && value >= -(2 ** 31) && value < 2 ** 32) return value | 0;
  throw outOfRange(`"${name}" must fit int, from -2^31 to 2^32 - 1, not ${value}`);
}

/** `const char *`, which ends at its first null. */
export function asText(value: unknown, name: string): string {
  if (typeof value !== "string") {
    throw wrongType(`"${name}" must be a string, not ${kindOf(value)}`);
  }
  if (!value.includes("\0")) return value;
  throw wrongValue(`"${name}" must be a string without null bytes`);
}
