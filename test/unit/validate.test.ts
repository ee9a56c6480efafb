// src/validate.ts: what is refused and how; nothing is converted and no code of the caller is run
// beyond reading each field once.

import assert from "node:assert/strict";
import test from "node:test";
import { runInNewContext } from "node:vm";
import {
  asByteRange,
  asBytes,
  asBytesPlace,
  asInt32Array,
  asInteger,
  asOneOf,
  asOptionalAddress,
  asOptionalBoolean,
  asOptionalInteger,
  asOptionalOneOf,
  asOptionalSignal,
  asOptions,
  asTimeout,
} from "#dist/validate.js";
import { hasCode } from "./support.js";

const wrongType = hasCode(TypeError, "ERR_INVALID_ARG_TYPE", /"x" must be/);
const wrongValue = hasCode(TypeError, "ERR_INVALID_ARG_VALUE", /"x" must be/);
const outOfRange = hasCode(RangeError, "ERR_OUT_OF_RANGE", /"x" must be/);

/** Values of every kind that is no number; the first would be one if it were asked. */
const trap = {
  valueOf: () => assert.fail("valueOf was called"),
  toString: () => assert.fail("toString was called"),
  [Symbol.toPrimitive]: () => assert.fail("toPrimitive was called"),
};
const noNumbers: readonly unknown[] = [
  trap,
  undefined,
  null,
  "1",
  "",
  1n,
  true,
  [],
  [1],
  {},
  Object.create(null),
  Symbol("1"),
  () => 1,
  new Date(0),
  Object(1),
];

test("asInteger() takes whole numbers from 0 to 2^53 - 1, and makes -0 a 0", () => {
  for (const value of [0, 1, 2 ** 31, 2 ** 32, Number.MAX_SAFE_INTEGER]) {
    assert.equal(asInteger(value, "x"), value);
  }
  assert.ok(Object.is(asInteger(-0, "x"), 0));
  assert.equal(asInteger(-5, "x", { min: -5, max: -5 }), -5);
});

test("asInteger() refuses what is no whole number in bounds", () => {
  for (const value of [-1, 0.5, Number.NaN, Infinity, -Infinity, 2 ** 53, 1e300, 5e-324]) {
    assert.throws(() => asInteger(value, "x"), outOfRange, String(value));
  }
  assert.throws(() => asInteger(8, "x", { max: 7 }), hasCode(RangeError, "ERR_OUT_OF_RANGE", /7/));
  assert.throws(() => asInteger(3, "x", { min: 4 }), outOfRange);
});

test("asInteger() converts nothing and calls nothing", () => {
  for (const value of noNumbers) assert.throws(() => asInteger(value, "x"), wrongType);
});

test("asOptionalInteger() lets undefined through and null not", () => {
  assert.equal(asOptionalInteger(undefined, "x"), undefined);
  assert.equal(asOptionalInteger(7, "x"), 7);
  assert.throws(() => asOptionalInteger(null, "x"), wrongType);
});

test("asOptionalAddress() takes bigints of 64 bits", () => {
  for (const value of [undefined, 0n, 1n, 2n ** 64n - 1n]) {
    assert.equal(asOptionalAddress(value, "x"), value);
  }
  for (const value of [-1n, 2n ** 64n]) {
    assert.throws(() => asOptionalAddress(value, "x"), outOfRange);
  }
  for (const value of [0, "0", null, trap]) {
    assert.throws(() => asOptionalAddress(value, "x"), wrongType);
  }
});

test("asOptionalBoolean() takes booleans and not what is truthy", () => {
  for (const value of [undefined, true, false]) assert.equal(asOptionalBoolean(value, "x"), value);
  for (const value of [null, 0, 1, "true", "", {}, Object(true)]) {
    assert.throws(() => asOptionalBoolean(value, "x"), wrongType);
  }
});

test("asOneOf() takes the words of the list only", () => {
  const words = ["read", "none"] as const;
  assert.equal(asOneOf("none", "x", words), "none");
  for (const value of ["", "Read", "read ", "constructor", "__proto__"]) {
    assert.throws(() => asOneOf(value, "x", words), wrongValue);
  }
  assert.throws(
    () => asOneOf("write", "x", words),
    hasCode(TypeError, "ERR_INVALID_ARG_VALUE", /one of read, none, not "write"/),
  );
  for (const value of [null, 0, ["read"], Object("read"), trap]) {
    assert.throws(() => asOneOf(value, "x", words), wrongType);
  }
  assert.equal(asOptionalOneOf(undefined, "x", words), undefined);
  assert.throws(() => asOptionalOneOf(null, "x", words), wrongType);
});

test("asOptions() takes objects, and an empty one for nothing", () => {
  const given = { a: 1 };
  assert.equal(asOptions(given), given);
  assert.deepEqual(asOptions(undefined), {});
  assert.deepEqual(asOptions(Object.create(null)), Object.create(null));
  assert.throws(() => asOptions([]), hasCode(TypeError, "ERR_INVALID_ARG_TYPE", /"options"/));
});

test("asBytes() gives a plain view of the same bytes, also of a subclass and another realm", () => {
  const memory = new Uint8Array(8);
  const foreign: unknown = runInNewContext("Uint8Array.of(7, 8)");
  const views: readonly [unknown, number[]][] = [
    [new Uint8Array(memory.buffer, 2, 3), [0, 0, 0]],
    [Buffer.from("ab"), [97, 98]],
    [foreign, [7, 8]],
    [new Uint8Array(new SharedArrayBuffer(1)), [0]],
    [new Uint8Array(0), []],
  ];
  for (const [value, bytes] of views) assert.deepEqual([...asBytes(value, "x")], bytes);
  asBytes(new Uint8Array(memory.buffer, 2, 3), "x").fill(9);
  assert.deepEqual([...memory], [0, 0, 9, 9, 9, 0, 0, 0]);
});

test("asBytes() trusts the engine for the length, and not what a subclass says of itself", () => {
  class Liar extends Uint8Array {
    override get length(): number {
      return assert.fail("length was asked");
    }
    override get byteOffset(): number {
      return assert.fail("byteOffset was asked");
    }
    override get [Symbol.toStringTag](): "Uint8Array" {
      return assert.fail("toStringTag was asked");
    }
  }
  assert.equal(asBytes(new Liar(5), "x").length, 5);
});

test("asBytes() takes a detached array for an empty one", () => {
  const bytes = new Uint8Array(4);
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
  assert.equal(asBytes(bytes, "x").length, 0);
});

test("asBytes() refuses every other view and what only looks like one", () => {
  const others: readonly unknown[] = [
    new ArrayBuffer(1),
    new DataView(new ArrayBuffer(1)),
    new Int8Array(1),
    new Uint8ClampedArray(1),
    [1],
    "a",
    null,
    undefined,
    { length: 1 },
    Object.create(Uint8Array.prototype),
    new Proxy(new Uint8Array(1), {}),
    { [Symbol.toStringTag]: "Uint8Array", buffer: new ArrayBuffer(1), byteOffset: 0, length: 1 },
  ];
  for (const value of others) assert.throws(() => asBytes(value, "x"), wrongType);
});

test("asOptionalSignal() takes an AbortSignal and no look-alike", () => {
  const { signal } = new AbortController();
  assert.equal(asOptionalSignal(signal, "x"), signal);
  assert.equal(asOptionalSignal(undefined, "x"), undefined);
  for (const value of [null, {}, { aborted: false }, new AbortController()]) {
    assert.throws(() => asOptionalSignal(value, "x"), wrongType);
  }
});

test("asByteRange() reads each field once, in order, and names it", () => {
  const reads: string[] = [];
  const range = asByteRange({
    get offset() {
      reads.push("offset");
      return 1;
    },
    get length() {
      reads.push("length");
      return 2;
    },
  });
  assert.deepEqual(range, { offset: 1, length: 2 });
  assert.deepEqual(reads, ["offset", "length"]);
  const named = hasCode(RangeError, "ERR_OUT_OF_RANGE", /"range.length"/);
  assert.throws(() => asByteRange({ length: -1 }), named);
  assert.deepEqual(asByteRange(undefined), { offset: undefined, length: undefined });
});

test("what a caller gets wrong is described without running the caller's code", () => {
  const described: readonly [unknown, RegExp][] = [
    [null, /not null$/],
    [undefined, /not undefined$/],
    ["a\n", /not "a\\n"$/],
    [5n, /not bigint 5$/],
    [Symbol("s"), /not symbol Symbol\(s\)$/],
    [[], /not an object$/],
    [{ constructor: { name: Symbol("s") } }, /not an object$/],
    [class A {}, /not a function$/],
  ];
  for (const [value, words] of described) {
    assert.throws(() => asInteger(value, "x"), hasCode(TypeError, "ERR_INVALID_ARG_TYPE", words));
  }
});

test("asBytesPlace() tells the buffer of bytes, also of ones that are detached", () => {
  const bytes = new Uint8Array(16).subarray(3, 9);
  const { buffer } = bytes;
  assert.deepEqual(asBytesPlace(bytes, "x"), { buffer, byteOffset: 3, length: 6 });
  structuredClone(buffer, { transfer: [buffer] });
  assert.deepEqual(asBytesPlace(bytes, "x"), { buffer, byteOffset: 0, length: 0 });
  assert.equal(asBytesPlace(runInNewContext("new Uint8Array(5)"), "x").length, 5);
  for (const value of [
    undefined,
    null,
    {},
    [],
    new Int8Array(2),
    new DataView(new ArrayBuffer(2)),
  ]) {
    assert.throws(() => asBytesPlace(value, "x"), TypeError);
  }
});

test("asInt32Array() tells where such an array of any realm lies, and takes no other", () => {
  const own = new Int32Array(new ArrayBuffer(32), 4, 3);
  assert.deepEqual(asInt32Array(own, "x"), { buffer: own.buffer, byteOffset: 4, length: 3 });
  assert.equal(asInt32Array(runInNewContext("new Int32Array(5)"), "x").length, 5);
  for (const value of [undefined, 1, [], new Uint32Array(1), Object.create(own)]) {
    assert.throws(
      () => asInt32Array(value, "x"),
      hasCode(TypeError, "ERR_INVALID_ARG_TYPE", /"x"/),
    );
  }
});

test("asTimeout() takes milliseconds from 0 on; left out there is no end", () => {
  const forever = Number.POSITIVE_INFINITY;
  assert.deepEqual(
    [undefined, 0, 0.5, forever].map((ms) => asTimeout(ms, "x")),
    [forever, 0, 0.5, forever],
  );
  for (const value of [-1, Number.NaN]) {
    assert.throws(() => asTimeout(value, "x"), hasCode(RangeError, "ERR_OUT_OF_RANGE"));
  }
  assert.throws(() => asTimeout("1", "x"), hasCode(TypeError, "ERR_INVALID_ARG_TYPE"));
});
