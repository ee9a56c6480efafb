// src/pages.ts: rounding at the edges of a page and of the safe integers, and the one range
// check.

import assert from "node:assert/strict";
import test from "node:test";
import { checkRange, innerPages, roundDown, roundUp, touchedPages } from "#dist/pages.js";
import { hasCode } from "./support.js";

const max = Number.MAX_SAFE_INTEGER;

for (const page of [4096, 16384, 65536, 2 ** 21]) {
  test(`roundDown() and roundUp() know the edges of a page of ${page} bytes`, () => {
    const edges: readonly [value: number, down: number, up: number][] = [
      [0, 0, 0],
      [1, 0, page],
      [page - 1, 0, page],
      [page, page, page],
      [page + 1, page, 2 * page],
      [2 ** 32 - 1, 2 ** 32 - page, 2 ** 32],
      [2 ** 32, 2 ** 32, 2 ** 32],
      [max - page, 2 ** 53 - 2 * page, 2 ** 53 - page],
      // The only sum that is no safe integer any more, and still exact.
      [max, 2 ** 53 - page, 2 ** 53],
    ];
    for (const [value, down, up] of edges) {
      assert.equal(roundDown(value, page), down, `down from ${value}`);
      assert.equal(roundUp(value, page), up, `up from ${value}`);
    }
  });
}

test("touchedPages() covers every page that holds a byte of the extent", () => {
  const cases: readonly [offset: number, length: number, first: number, count: number][] = [
    [0, 0, 0, 0],
    [5000, 0, 4096, 0],
    [0, 1, 0, 1],
    [4095, 1, 0, 1],
    [4095, 2, 0, 2],
    [4096, 4096, 4096, 1],
    [4096, 4097, 4096, 2],
    [4097, 4095, 4096, 1],
    [max - 4096, 4096, 2 ** 53 - 8192, 2],
  ];
  for (const [offset, length, first, count] of cases) {
    const touched = touchedPages({ offset, length }, 4096);
    assert.deepEqual(touched, { offset: first, length: count * 4096 }, `${offset}+${length}`);
  }
});

test("innerPages() keeps only the pages that lie inside the extent", () => {
  const cases: readonly [offset: number, length: number, first: number, count: number][] = [
    [0, 0, 0, 0],
    [0, 4095, 0, 0],
    [0, 4096, 0, 1],
    [1, 4096, 4096, 0],
    [1, 8190, 4096, 0],
    [1, 8191, 4096, 1],
    [4096, 8191, 4096, 1],
  ];
  for (const [offset, length, first, count] of cases) {
    const inner = innerPages({ offset, length }, 4096);
    assert.deepEqual(inner, { offset: first, length: count * 4096 }, `${offset}+${length}`);
  }
});

test("checkRange() completes what is left out", () => {
  assert.deepEqual(checkRange({}, 10, "read"), { offset: 0, length: 10 });
  assert.deepEqual(checkRange({ offset: 3 }, 10, "read"), { offset: 3, length: 7 });
  assert.deepEqual(checkRange({ length: 3 }, 10, "read"), { offset: 0, length: 3 });
  assert.deepEqual(checkRange({ offset: 10 }, 10, "read"), { offset: 10, length: 0 });
  assert.deepEqual(checkRange({ offset: undefined, length: undefined }, 0, "read"), {
    offset: 0,
    length: 0,
  });
});

test("checkRange() refuses the first byte past the end and names the bound", () => {
  const refused = hasCode(RangeError, "ERR_OUT_OF_RANGE", /^Cannot flush .* 10 bytes long$/);
  assert.throws(() => checkRange({ offset: 11 }, 10, "flush"), refused);
  assert.throws(() => checkRange({ offset: 10, length: 1 }, 10, "flush"), refused);
  assert.throws(() => checkRange({ length: 11 }, 10, "flush"), refused);
});

test("checkRange() never forms a sum that could lose bits", () => {
  const refused = hasCode(RangeError, "ERR_OUT_OF_RANGE");
  assert.throws(() => checkRange({ offset: max, length: max }, max - 1, "read"), refused);
  assert.throws(() => checkRange({ offset: 1, length: max }, max, "read"), refused);
  assert.deepEqual(checkRange({ offset: max, length: 0 }, max, "read"), { offset: max, length: 0 });
  assert.deepEqual(checkRange({ length: max }, max, "read"), { offset: 0, length: max });
});
