// src/ipc/ring.ts: capacities, lengths and the bytes of records; test/property/ring.test.ts tries
// all states of small rings.

import assert from "node:assert/strict";
import test from "node:test";
import {
  capacityFor,
  capacityMax,
  capacityMin,
  distance,
  forward,
  isCapacity,
  isExtent,
  partLength,
  payloadMax,
  recordAt,
  recordLength,
  valueMark,
  what,
  writeHead,
} from "#dist/ipc/ring.js";

test("capacityFor() rounds up to a power of two within the bounds", () => {
  const wishes = [1, 1024, 1025, 2 ** 20 - 1, 2 ** 30];
  assert.deepEqual(wishes.map(capacityFor), [1024, 1024, 2048, 2 ** 20, 2 ** 30]);
  for (const capacity of [capacityMin, 4096, capacityMax]) assert.ok(isCapacity(capacity));
  for (const capacity of [0, -1024, 512, 1025, 3000, 2 ** 31, 1.5, Number.NaN]) {
    assert.ok(!isCapacity(capacity), String(capacity));
  }
});

test("records are multiples of 8, and two of the longest fit into a ring", () => {
  assert.deepEqual([0, 1, 8, 9].map(recordLength), [8, 16, 16, 24]);
  for (const capacity of [1024, 2 ** 20, 2 ** 30]) {
    assert.equal(2 * recordLength(payloadMax(capacity)), capacity);
    assert.equal(4 * recordLength(partLength(capacity)), capacity);
  }
});

test("positions go on past the end of 32 bits", () => {
  const before = forward(0, 2 ** 32 - 8);
  assert.equal(distance(before, forward(before, 16)), 16);
  assert.equal(forward(before, 16), 8);
  assert.ok(isExtent(before, forward(before, 1024), 1024));
  assert.ok(!isExtent(before, forward(before, 1032), 1024));
});

test("recordAt() gives what was written, and nothing where there can be no record", () => {
  const data = new Int32Array(256);
  const extent = { head: 16, tail: 48, capacity: 1024 };
  writeHead(data, 16, { length: 20, mark: what.first | valueMark });
  assert.deepEqual(recordAt(data, extent), {
    offset: 24,
    length: 20,
    kind: what.first,
    isValue: true,
    next: 48,
  });
  for (const [length, mark] of [
    [25, what.whole],
    [-1, what.whole],
    [8, 0],
    [8, 6],
    [8, -1],
    [8, what.whole | 32],
  ] as const) {
    writeHead(data, 16, { length, mark });
    assert.equal(recordAt(data, extent), undefined, `${length} ${mark}`);
  }
  writeHead(data, 1016, { length: 8, mark: what.whole });
  const atEnd = { head: 1016, tail: 1016 + 64, capacity: 1024 };
  assert.equal(recordAt(data, atEnd), undefined, "past the end of the ring");
});
