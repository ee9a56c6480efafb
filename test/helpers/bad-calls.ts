// Calls that must fail: with arguments that the types forbid, many times over, and without leaving
// anything behind.

import assert from "node:assert/strict";
import { holdings } from "./proc-self.js";

/** Calls a function with arguments that its type would refuse. */
export function callUntyped(
  fn: (...args: never[]) => unknown,
  self: object | undefined,
  args: readonly unknown[],
): unknown {
  return Reflect.apply(fn, self, args);
}

/** Calls a method by its name, with arguments that its type would refuse. */
export function callMethod(self: object, name: string, args: readonly unknown[]): unknown {
  const method: unknown = Reflect.get(self, name);
  assert.ok(typeof method === "function", name);
  return Reflect.apply(method, self, args);
}

/** What an error must be: its name, its code, and a text in its message. */
export interface Expected {
  readonly name: string;
  readonly code: string | RegExp;
  readonly message?: RegExp;
}

export const wrongType: Expected = { name: "TypeError", code: "ERR_INVALID_ARG_TYPE" };
export const wrongValue: Expected = { name: "TypeError", code: "ERR_INVALID_ARG_VALUE" };
export const outOfRange: Expected = { name: "RangeError", code: "ERR_OUT_OF_RANGE" };
export const closed: Expected = { name: "MemmapError", code: "ERR_MEMMAP_CLOSED" };

/** Values of every type that is no number; those that could become one must not be asked to. */
export const notNumbers: readonly unknown[] = [
  "1",
  "",
  null,
  true,
  1n,
  Symbol("one"),
  {},
  [],
  [1],
  () => 1,
  new Date(1),
  {
    valueOf: () => assert.fail("valueOf was called"),
    toString: () => assert.fail("toString was called"),
  },
];

/** Numbers that are no count of bytes. */
export const badNumbers: readonly number[] = [
  -1,
  -4096,
  0.5,
  4096.000001,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
  2 ** 53,
  2 ** 64,
  Number.MAX_VALUE,
  -(2 ** 53),
];

/** Values that are no boolean, no object of options and no byte array. */
export const notBooleans: readonly unknown[] = ["", "true", 0, 1, null, {}, [], Symbol("x"), 1n];
export const notObjects: readonly unknown[] = [
  null,
  1,
  "offset",
  true,
  1n,
  Symbol("x"),
  [],
  () => 1,
];
export const notBytes: readonly unknown[] = [
  undefined,
  null,
  5,
  true,
  [1, 2],
  {},
  new ArrayBuffer(4),
  new Uint16Array(2),
  new DataView(new ArrayBuffer(4)),
  { length: 1, 0: 1 },
];

/** Demands that a call throws, and a promise rejects, with one error. */
export async function fails(call: () => unknown, expected: Expected, what = ""): Promise<void> {
  let result: unknown;
  try {
    result = call();
  } catch (error) {
    checkError(error, expected, what);
    return;
  }
  assert.ok(result instanceof Promise, `${what}: nothing was thrown`);
  try {
    await result;
  } catch (error) {
    checkError(error, expected, what);
    return;
  }
  assert.fail(`${what}: the promise was fulfilled`);
}

/** Demands that an asynchronous call gives a promise, which rejects: it never throws at once. */
export async function rejects(call: () => unknown, expected: Expected, what = ""): Promise<void> {
  const result = call();
  assert.ok(result instanceof Promise, what);
  await fails(() => result, expected, what);
}

function checkError(error: unknown, expected: Expected, what: string): void {
  assert.ok(error instanceof Error && "code" in error, `${what}: ${String(error)}`);
  const found = `${what}: ${error.name} ${error.code}: ${error.message}`;
  assert.equal(error.name, expected.name, found);
  if (typeof expected.code === "string") assert.equal(error.code, expected.code, found);
  else assert.match(String(error.code), expected.code, found);
  if (expected.message !== undefined) assert.match(error.message, expected.message, found);
}

/*
 * A leak of one area or descriptor a round shows as hundreds; the runtime's own heap may come and
 * go by a few areas, and by what its collector holds back.
 */
const rounds = 300;
const areasMax = 100;
const bytesMax = 512 * 2 ** 20;

/** Runs failing calls some hundred times and demands that nothing is left behind. */
export async function leavesNothing(call: () => unknown, expected: Expected): Promise<void> {
  for (let i = 0; i < 10; i++) await fails(call, expected, "first rounds");
  const before = holdings();
  for (let i = 0; i < rounds; i++) await fails(call, expected, `round ${i}`);
  const after = holdings();
  const report = `before ${JSON.stringify(before)}, after ${JSON.stringify(after)}`;
  assert.equal(after.descriptors, before.descriptors, report);
  assert.ok(after.areas - before.areas <= areasMax, report);
  assert.ok(after.virtualBytes - before.virtualBytes <= bytesMax, report);
}
