// src/search.ts: matches anywhere, above all across the edges of the windows. The windows here
// are so small that every place of a match relative to an edge comes up.

import assert from "node:assert/strict";
import test from "node:test";
import { findFirst, findLast, type Windows } from "#dist/search.js";

/** Windows over bytes; each access is checked to lie inside the extent that was asked for. */
function windowsOf(bytes: Uint8Array, length: number, seen: number[] = []): Windows {
  return {
    length,
    at(offset, end) {
      assert.ok(offset >= 0 && offset < end && end <= bytes.length, `window ${offset}-${end}`);
      seen.push(end - offset);
      return Buffer.from(bytes.buffer, bytes.byteOffset + offset, end - offset);
    },
  };
}

interface Place {
  readonly offset: number;
  readonly length: number;
}

/** Every place of the pattern in the extent, found the slow way. */
function placesOf(bytes: Uint8Array, pattern: Uint8Array, { offset, length }: Place): number[] {
  const places: number[] = [];
  for (let at = offset; at + pattern.length <= offset + length; at++) {
    if (pattern.every((byte, i) => bytes[at + i] === byte)) places.push(at);
  }
  return places;
}

const text = Buffer.from("abaababaabbabaab");

test("findFirst() and findLast() agree with a naive search in windows of any length", () => {
  const patterns = [
    "a",
    "b",
    "ab",
    "ba",
    "aba",
    "abaab",
    "bb",
    "c",
    "abaababaabbabaab",
    "abaababaabbabaaba",
  ];
  for (const pattern of patterns.map((word) => Buffer.from(word))) {
    for (let offset = 0; offset <= text.length; offset++) {
      for (let length = 0; offset + length <= text.length; length++) {
        const extent = { offset, length };
        const places = placesOf(text, pattern, extent);
        for (const size of [1, 2, 3, 7, 100]) {
          const windows = windowsOf(text, size);
          const place = `${pattern} in ${offset}+${length}, windows of ${size}`;
          assert.equal(findFirst(windows, pattern, extent), places[0] ?? -1, place);
          assert.equal(findLast(windows, pattern, extent), places.at(-1) ?? -1, place);
        }
      }
    }
  }
});

test("an empty pattern stands at the beginning and at the end, and nothing is looked at", () => {
  const seen: number[] = [];
  const windows = windowsOf(text, 4, seen);
  const empty = new Uint8Array(0);
  assert.equal(findFirst(windows, empty, { offset: 3, length: 5 }), 3);
  assert.equal(findLast(windows, empty, { offset: 3, length: 5 }), 8);
  assert.equal(findFirst(windows, empty, { offset: 16, length: 0 }), 16);
  assert.deepEqual(seen, []);
});

test("a pattern longer than the range is not there, and nothing is looked at", () => {
  const seen: number[] = [];
  const windows = windowsOf(text, 4, seen);
  assert.equal(findFirst(windows, text, { offset: 0, length: 15 }), -1);
  assert.equal(findLast(windows, text, { offset: 1, length: 15 }), -1);
  assert.deepEqual(seen, []);
});

test("a window is never longer than its length and what a match could straddle", () => {
  const seen: number[] = [];
  const bytes = new Uint8Array(100);
  const windows = windowsOf(bytes, 10, seen);
  const absent = Buffer.from("xyz");
  assert.equal(findFirst(windows, absent, { offset: 0, length: 100 }), -1);
  assert.equal(findLast(windows, absent, { offset: 0, length: 100 }), -1);
  assert.ok(Math.max(...seen) === 12, String(seen));
  // Each byte is looked at once, but for the overlaps.
  assert.ok(seen.length <= 20, String(seen));
});

test("the search stops at the first window that has a match", () => {
  const seen: number[] = [];
  const bytes = new Uint8Array(100).fill(1);
  const one = Uint8Array.of(1);
  assert.equal(findFirst(windowsOf(bytes, 10, seen), one, { offset: 5, length: 90 }), 5);
  assert.equal(findLast(windowsOf(bytes, 10, seen), one, { offset: 5, length: 90 }), 94);
  assert.deepEqual(seen, [10, 10]);
});
