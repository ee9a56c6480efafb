// src/raw/arguments.ts: each C type at its bounds and one past them; nothing is converted.

import assert from "node:assert/strict";
import test from "node:test";
import { asAddress, asInt, asOffset, asSize, asText } from "#dist/raw/arguments.js";
import { hasCode } from "../support.js";

const wrongType = hasCode(TypeError, "ERR_INVALID_ARG_TYPE", /^"x" must be/);
const wrongValue = hasCode(TypeError, "ERR_INVALID_ARG_VALUE", /^"x" must be/);
const outOfRange = hasCode(RangeError, "ERR_OUT_OF_RANGE", /^"x" must/);

/** Values that are neither number, bigint nor string; the first would be one if it were asked. */
const trap = {
  valueOf: () => assert.fail("valueOf was called"),
  toString: () => assert.fail("toString was called"),
  [Symbol.toPrimitive]: () => assert.fail("toPrimitive was called"),
};
const others: readonly unknown[] = [
  trap,
  undefined,
  true,
  [],
  [1],
  {},
  Object.create(null),
  Symbol("1"),
  () => 1,
  new Date(0),
  Object(1),
  Object(1n),
  Object("1"),
];

test("asAddress() takes a bigint of 64 bits, and null for 0", () => {
  assert.equal(asAddress(null, "x"), 0n);
  for (const value of [0n, 1n, 2n ** 63n, 2n ** 64n - 1n]) {
    assert.equal(asAddress(value, "x"), value);
  }
  for (const value of [-1n, 2n ** 64n, -(2n ** 64n)]) {
    assert.throws(() => asAddress(value, "x"), outOfRange, String(value));
  }
});

test("asAddress() refuses numbers, which do not hold every address", () => {
  for (const value of [0, 4096, Number.NaN, "0", ...others]) {
    assert.throws(() => asAddress(value, "x"), wrongType);
  }
});

test("asSize() takes numbers and bigints from 0 to 2^64 - 1", () => {
  for (const value of [0, 1, 2 ** 32, Number.MAX_SAFE_INTEGER, 0n, 2n ** 64n - 1n]) {
    assert.equal(asSize(value, "x"), BigInt(value));
  }
  assert.equal(asSize(-0, "x"), 0n);
  for (const value of [-1, -1n, 2n ** 64n, -(2n ** 63n)]) {
    assert.throws(() => asSize(value, "x"), outOfRange, String(value));
  }
});

test("asOffset() takes numbers and bigints from -2^63 to 2^63 - 1", () => {
  const { MAX_SAFE_INTEGER, MIN_SAFE_INTEGER } = Number;
  const inside = [0, -1, MIN_SAFE_INTEGER, MAX_SAFE_INTEGER, -(2n ** 63n), 2n ** 63n - 1n];
  for (const value of inside) assert.equal(asOffset(value, "x"), BigInt(value));
  for (const value of [-(2n ** 63n) - 1n, 2n ** 63n, 2n ** 64n - 1n]) {
    assert.throws(() => asOffset(value, "x"), outOfRange, String(value));
  }
});

test("sizes and offsets refuse fractions and numbers that may have been rounded", () => {
  const unsafe = [2 ** 53, -(2 ** 53), 1e300];
  for (const value of [0.5, 4096.5, 5e-324, Number.NaN, Infinity, -Infinity, ...unsafe]) {
    assert.throws(() => asSize(value, "x"), outOfRange, String(value));
    assert.throws(() => asOffset(value, "x"), outOfRange, String(value));
  }
  // The same values as a bigint are exact.
  assert.equal(asSize(2n ** 53n, "x"), 2n ** 53n);
  assert.equal(asOffset(-(2n ** 53n), "x"), -(2n ** 53n));
});

test("sizes and offsets convert nothing and call nothing", () => {
  for (const value of [null, "1", "", ...others]) {
    assert.throws(() => asSize(value, "x"), wrongType);
    assert.throws(() => asOffset(value, "x"), wrongType);
  }
});

test("asInt() takes int, and the upper half of unsigned int as the same bits", () => {
  for (const value of [0, 1, -1, 2 ** 31 - 1, -(2 ** 31)]) assert.equal(asInt(value, "x"), value);
  assert.ok(Object.is(asInt(-0, "x"), 0));
  assert.equal(asInt(2 ** 31, "x"), -(2 ** 31));
  assert.equal(asInt(2 ** 32 - 1, "x"), -1);
});

test("asInt() refuses what has other bits, and every other type", () => {
  const past = [-(2 ** 31) - 1, 2 ** 32, 2 ** 53];
  for (const value of [...past, 0.5, -0.5, 5e-324, Number.NaN, Infinity, -Infinity]) {
    assert.throws(() => asInt(value, "x"), outOfRange, String(value));
  }
  for (const value of [null, 1n, "1", "", ...others]) {
    assert.throws(() => asInt(value, "x"), wrongType);
  }
});

test("asText() takes strings without a null byte, wherever it stands", () => {
  for (const value of ["", "a", "/a b", "ü\u{1F600}", "\\0"]) {
    assert.equal(asText(value, "x"), value);
  }
  for (const value of ["\0", "a\0", "\0a", "a\0b"]) {
    assert.throws(() => asText(value, "x"), wrongValue);
  }
  for (const value of [null, 1, 1n, Buffer.from("a"), ...others]) {
    assert.throws(() => asText(value, "x"), wrongType);
  }
});

test("a message names the argument, and what was given instead", () => {
  const told = (call: () => unknown, words: RegExp) => {
    assert.throws(call, (error) => error instanceof Error && words.test(error.message));
  };
  told(() => asAddress(4096, "addr"), /^"addr" must be a bigint or null, not number$/);
  told(() => asAddress(-1n, "addr"), /2\^64 - 1, not -1$/);
  told(() => asSize(null, "length"), /^"length" must be a number or a bigint, not null$/);
  told(() => asSize(-1, "length"), /size_t, from 0 to 2\^64 - 1, not -1$/);
  told(() => asOffset(2n ** 63n, "offset"), /off_t, of 64 bits, not 9223372036854775808$/);
  told(() => asInt(2 ** 32, "prot"), /^"prot" must fit int, .*, not 4294967296$/);
  told(() => asText("a\0", "name"), /^"name" must be a string without null bytes$/);
});
