// Ranges of an open mapping: no number, no bytes there, or a sum that overflows.

import assert from "node:assert/strict";
import test from "node:test";
import { mapAnonymous, pageSize } from "memmap";
import {
  badNumbers,
  callMethod,
  type Expected,
  fails,
  notNumbers,
  outOfRange,
  wrongType,
} from "../helpers/bad-calls.js";

const byteLength = 3 * pageSize + 5;

/** Every method that takes a range, with what stands before the range. */
const ranged: readonly (readonly [string, readonly unknown[]])[] = [
  ["flush", []],
  ["flushSync", []],
  ["load", []],
  ["loadSync", []],
  ["lock", []],
  ["lockSync", []],
  ["unlock", []],
  ["evict", []],
  ["discard", []],
  ["residency", []],
  ["protect", ["read"]],
  ["advise", ["random"]],
  ["indexOf", ["a"]],
  ["lastIndexOf", ["a"]],
];

async function allFail(range: unknown, expected: Expected): Promise<void> {
  using mapping = mapAnonymous(byteLength);
  for (const [name, args] of ranged) {
    await fails(() => callMethod(mapping, name, [...args, range]), expected, name);
  }
  assert.equal(mapping.protection, "read-write");
}

test("a range whose fields are no numbers is refused by every method", async () => {
  for (const value of notNumbers) {
    await allFail({ offset: value }, wrongType);
    await allFail({ length: value }, wrongType);
  }
});

test("a range of negative, broken or huge numbers is refused by every method", async () => {
  for (const value of badNumbers) {
    await allFail({ offset: value }, outOfRange);
    await allFail({ length: value }, outOfRange);
  }
});

test("a range past the end is refused by every method, which tells the length", async () => {
  const expected = { ...outOfRange, message: new RegExp(`${byteLength} bytes long`) };
  const max = Number.MAX_SAFE_INTEGER;
  for (const [offset, length] of [
    [0, byteLength + 1],
    [byteLength, 1],
    [byteLength + 1, 0],
    [byteLength - 1, 2],
    [max, max],
    [1, max],
    [max, 0],
  ] as const) {
    await allFail({ offset, length }, expected);
  }
  await allFail({ offset: byteLength + 1 }, expected);
});

test("a range at the end is empty and taken by every method", async () => {
  using mapping = mapAnonymous(byteLength);
  for (const [name, args] of ranged) {
    for (const range of [
      { offset: byteLength },
      { offset: byteLength, length: 0 },
      { length: 0 },
    ]) {
      await callMethod(mapping, name, [...args, range]);
    }
  }
  assert.equal(mapping.protection, "read-write");
});

test("read, readInto and write refuse places that are no place in the mapping", async () => {
  using mapping = mapAnonymous(byteLength);
  const bytes = new Uint8Array(8).fill(1);
  for (const [values, expected] of [
    [[undefined, ...notNumbers], wrongType],
    [badNumbers, outOfRange],
  ] as const) {
    for (const value of values) {
      await fails(() => callMethod(mapping, "read", [value, 1]), expected);
      await fails(() => callMethod(mapping, "read", [0, value]), expected);
      await fails(() => callMethod(mapping, "readInto", [bytes, value]), expected);
      await fails(() => callMethod(mapping, "write", [value, bytes]), expected);
    }
  }
  for (const offset of [byteLength - 7, byteLength, byteLength + 1, Number.MAX_SAFE_INTEGER]) {
    await fails(() => mapping.read(offset, 8), outOfRange);
    await fails(() => mapping.readInto(bytes, offset), outOfRange);
    await fails(() => mapping.write(offset, bytes), outOfRange);
  }
  await fails(() => mapping.read(0, Number.MAX_SAFE_INTEGER), outOfRange);
  assert.ok(bytes.every((byte) => byte === 1));
  assert.ok(mapping.bytes.every((byte) => byte === 0));
});

test("resize and isResident refuse what is no length and no page", async () => {
  using mapping = mapAnonymous(byteLength);
  const { bytes } = mapping;
  const residency = mapping.residency();
  for (const value of [undefined, ...notNumbers]) {
    await fails(() => callMethod(mapping, "resize", [value]), wrongType);
    await fails(() => callMethod(residency, "isResident", [value]), wrongType);
  }
  for (const value of badNumbers) {
    await fails(() => mapping.resize(value), outOfRange);
    await fails(() => residency.isResident(value), outOfRange);
  }
  await fails(() => residency.isResident(4), { ...outOfRange, message: /4 pages/ });
  assert.equal(mapping.bytes, bytes);
  assert.equal(bytes.length, byteLength);
});
