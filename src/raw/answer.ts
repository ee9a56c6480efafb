/**
 * Turns what a native call of the raw door answered into its value or its error.
 */
import { memmapError } from "../errors.js";
import { systemError } from "../failure.js";
import { refusals } from "../native.js";

/** Which call was made on what, for messages. */
export interface Call {
  /** The name in the manual. */
  readonly syscall: string;
  /** "map 4096 bytes at 0x1000" */
  readonly what: string;
}

/** An address in messages. */
export function hex(address: bigint): string {
  return `0x${address.toString(16)}`;
}

/** The error of a negative answer. */
export function errorOf(answer: number, { syscall, what }: Call): Error {
  if (answer === refusals.foreign) {
    const reason = "others mapped memory there, or nobody did through this door";
    return memmapError("ERR_MEMMAP_UNSAFE_FIXED", `Cannot ${what}: ${reason}`);
  }
  if (answer === refusals.viewed) {
    return memmapError("ERR_MEMMAP_PINNED", `Cannot ${what}: a view covers a part of it`);
  }
  if (answer === refusals.sealed) {
    const reason = "a part of it is sealed, and a fault there could not be repaired";
    return memmapError("ERR_MEMMAP_UNSUPPORTED", `Cannot ${what}: ${reason}`);
  }
  return systemError(answer, { syscall, what: `Cannot ${what}` });
}

/** The address of an answer; a negative number is an error. */
export function addressOf(answer: bigint | number, call: Call): bigint {
  if (typeof answer !== "number") return answer;
  throw errorOf(answer, call);
}

/** A number that is not negative. */
export function numberOf(answer: number, call: Call): number {
  if (answer >= 0) return answer;
  throw errorOf(answer, call);
}
