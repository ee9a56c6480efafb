/**
 * The words of flags.ts as numbers of the running system.
 */
import { type Advice, adviceConstant, type Protection, protectionConstants } from "./flags.js";
import { constant } from "./native.js";

/** The bits of mmap(2) for a list of names. */
export function bitsOf(names: readonly string[]): number {
  return names.reduce((bits, name) => bits | constant(name), 0);
}

/** The bits of a protection. */
export function protectionBits(protection: Protection): number {
  return bitsOf(protectionConstants(protection));
}

/** The number of an advice. */
export function adviceNumber(advice: Advice): number {
  return constant(adviceConstant(advice));
}
