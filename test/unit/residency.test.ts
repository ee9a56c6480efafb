// src/residency.ts: the answer over a vector of mincore(2), of which only the lowest bit counts.

import assert from "node:assert/strict";
import test from "node:test";
import { Residency } from "#dist/residency.js";
import { hasCode } from "./support.js";

function residencyOf(...pages: number[]): Residency {
  return new Residency(Uint8Array.from(pages), 4096);
}

test("Residency over no pages has no runs", () => {
  const residency = residencyOf();
  assert.deepEqual([residency.pageCount, residency.residentCount], [0, 0]);
  assert.deepEqual([...residency.runs()], []);
  assert.throws(() => residency.isResident(0), hasCode(RangeError, "ERR_OUT_OF_RANGE", /0 pages/));
});

test("Residency looks at the lowest bit alone: the others are reserved", () => {
  const residency = residencyOf(0xfe, 0xff, 0x80, 0x81);
  assert.equal(residency.residentCount, 2);
  assert.deepEqual(
    [0, 1, 2, 3].map((page) => residency.isResident(page)),
    [false, true, false, true],
  );
});

test("Residency.runs() covers all pages in order, with neighbours that differ", () => {
  const residency = residencyOf(1, 1, 0, 0, 0, 1);
  assert.deepEqual(
    [...residency.runs()],
    [
      { pageIndex: 0, pageCount: 2, resident: true },
      { pageIndex: 2, pageCount: 3, resident: false },
      { pageIndex: 5, pageCount: 1, resident: true },
    ],
  );
  assert.deepEqual([...residency.runs()].length, 3, "a second iteration begins anew");
  assert.deepEqual([...residencyOf(0).runs()], [{ pageIndex: 0, pageCount: 1, resident: false }]);
});

test("Residency.runs() agrees with isResident() and the counts on every small bitmap", () => {
  for (let bits = 0; bits < 2 ** 8; bits++) {
    const pages = Array.from({ length: 8 }, (_, page) => (bits >> page) & 1);
    const residency = residencyOf(...pages);
    const spread = [...residency.runs()].flatMap(({ pageCount, resident }) =>
      Array.from({ length: pageCount }, () => (resident ? 1 : 0)),
    );
    assert.deepEqual(spread, pages);
    assert.equal(
      residency.residentCount,
      pages.reduce((sum, page) => sum + page, 0),
    );
  }
});

test("Residency.isResident() takes page indices only", () => {
  const residency = residencyOf(1, 1);
  for (const index of [2, -1, 0.5, Number.NaN, Infinity]) {
    assert.throws(() => residency.isResident(index), hasCode(RangeError, "ERR_OUT_OF_RANGE"));
  }
  const call: (index: never) => unknown = (index) => residency.isResident(index);
  assert.throws(
    () => Reflect.apply(call, undefined, ["0"]),
    hasCode(TypeError, "ERR_INVALID_ARG_TYPE"),
  );
});
