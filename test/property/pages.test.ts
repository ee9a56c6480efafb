// The pure files against naive models: page arithmetic, one value for each page, /proc/PID/maps,
// and the search in windows.

import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import { PageRuns } from "#dist/page-runs.js";
import {
  checkRange,
  type Extent,
  innerPages,
  roundDown,
  roundUp,
  touchedPages,
} from "#dist/pages.js";
import { type MapsEntry, parseMaps, parseMapsLine } from "#dist/proc-maps.js";
import { Residency } from "#dist/residency.js";
import { findFirst, findLast } from "#dist/search.js";
import { parameters } from "./support.js";

const max = Number.MAX_SAFE_INTEGER;

const pageSize = fc.integer({ min: 12, max: 30 }).map((log) => 2 ** log);

/** Numbers near the multiples of a page, and any. */
function near(page: number, limit: number): fc.Arbitrary<number> {
  const multiple = fc.tuple(fc.nat({ max: 8 }), fc.integer({ min: -2, max: 2 }));
  const edge = multiple.map(([pages, delta]) => Math.max(0, pages * page + delta));
  return fc.oneof(edge, fc.maxSafeNat()).map((value) => Math.min(value, limit));
}

/** An extent whose end is a safe integer, with a page size. */
const extents: fc.Arbitrary<{ page: number; extent: Extent }> = pageSize.chain((page) =>
  near(page, max - 2 ** 31).chain((offset) =>
    near(page, max - 2 ** 31 - offset).map((length) => ({ page, extent: { offset, length } })),
  ),
);

function endOf({ offset, length }: Extent): number {
  return offset + length;
}

test("rounding gives the nearest multiples, and nothing for a multiple", () => {
  const values = pageSize.chain((page) => fc.tuple(fc.constant(page), near(page, max)));
  fc.assert(
    fc.property(values, ([page, value]) => {
      const [exact, size] = [BigInt(value), BigInt(page)];
      assert.equal(BigInt(roundDown(value, page)), (exact / size) * size);
      assert.equal(BigInt(roundUp(value, page)), ((exact + size - 1n) / size) * size);
    }),
    parameters(2000),
  );
});

test("touched pages hold the extent and inner pages lie in it; neither can be better", () => {
  fc.assert(
    fc.property(extents, ({ page, extent }) => {
      const touched = touchedPages(extent, page);
      const inner = innerPages(extent, page);
      for (const { offset, length } of [touched, inner]) {
        assert.equal(offset % page, 0);
        assert.equal(length % page, 0);
        assert.ok(length >= 0);
      }
      if (extent.length > 0) {
        assert.ok(touched.offset <= extent.offset && endOf(touched) >= endOf(extent));
        assert.ok(touched.offset + page > extent.offset, "the first page is touched");
        assert.ok(endOf(touched) - page < endOf(extent), "the last page is touched");
      } else {
        assert.equal(touched.length, 0);
      }
      if (inner.length > 0) {
        assert.ok(inner.offset >= extent.offset && endOf(inner) <= endOf(extent));
        assert.ok(inner.offset - page < extent.offset, "no page before it lies inside");
        assert.ok(endOf(inner) + page > endOf(extent), "no page behind it lies inside");
      } else {
        assert.ok(roundUp(extent.offset, page) + page > endOf(extent), "no whole page inside");
      }
    }),
    parameters(2000),
  );
});

test("checkRange() accepts exactly the ranges that lie inside, as exact arithmetic says", () => {
  const lengths = fc.oneof(fc.nat({ max: 10_000 }), fc.maxSafeNat());
  const part = fc.option(lengths, { nil: undefined });
  fc.assert(
    fc.property(part, part, lengths, (offset, length, byteLength) => {
      const first = BigInt(offset ?? 0);
      const count = length === undefined ? BigInt(byteLength) - first : BigInt(length);
      const isInside = first <= BigInt(byteLength) && first + count <= BigInt(byteLength);
      const range = { offset, length };
      if (!isInside) {
        assert.throws(() => checkRange(range, byteLength, "read"), RangeError);
        return;
      }
      const extent = checkRange(range, byteLength, "read");
      assert.deepEqual(extent, { offset: Number(first), length: Number(count) });
    }),
    parameters(2000),
  );
});

test("PageRuns is an array of values, in runs that are in order, not empty and not equal", () => {
  const value = fc.constantFrom("a", "b", "c");
  const change = fc.record({ pageIndex: fc.nat(12), pageCount: fc.nat(12), value });
  const step = fc.oneof(change, fc.integer({ min: 1, max: 12 }));
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 12 }), fc.array(step), (count, steps) => {
      const runs = new PageRuns<string>(count, "a");
      let model = Array.from({ length: count }, () => "a");
      for (const change of steps) {
        if (typeof change === "number") {
          const last = model.at(-1) ?? "a";
          model = Array.from({ length: change }, (_, page) => model[page] ?? last);
          runs.resize(change);
        } else {
          const pageIndex = Math.min(change.pageIndex, model.length);
          const pageCount = Math.min(change.pageCount, model.length - pageIndex);
          model.fill(change.value, pageIndex, pageIndex + pageCount);
          runs.set({ pageIndex, pageCount, value: change.value });
        }
        assertRuns(runs, model);
      }
    }),
    parameters(500),
  );
});

function assertRuns(runs: PageRuns<string>, model: readonly string[]): void {
  const spread = runs
    .runs()
    .flatMap((run) => Array.from({ length: run.pageCount }, () => run.value));
  assert.deepEqual(spread, model);
  let end = 0;
  let before: string | undefined;
  for (const { pageIndex, pageCount, value } of runs.runs()) {
    assert.ok(pageIndex === end && pageCount > 0 && value !== before);
    end = pageIndex + pageCount;
    before = value;
  }
  assert.equal(runs.pageCount, model.length);
  assert.deepEqual(
    [...model.keys(), model.length].map((page) => runs.at(page)),
    [...model, undefined],
  );
  assert.equal(runs.summary(), new Set(model).size > 1 ? "mixed" : model[0]);
}

test("Residency is its vector: pages, counts and runs", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (vector) => {
      const pages = Array.from(vector, (byte) => byte % 2 === 1);
      const residency = new Residency(vector, 4096);
      assert.deepEqual(
        pages.map((_, page) => residency.isResident(page)),
        pages,
      );
      assert.equal(residency.residentCount, pages.filter(Boolean).length);
      const runs = [...residency.runs()];
      const spread = runs.flatMap((run) =>
        Array.from({ length: run.pageCount }, () => run.resident),
      );
      assert.deepEqual(spread, pages);
      assert.ok(runs.every((run, i) => run.resident !== runs[i + 1]?.resident));
    }),
    parameters(300),
  );
});

// ==== /proc/PID/maps ===========================================================================

/** A line as the kernel prints it: fields padded with zeros, the name from column 73 on. */
function printEntry(entry: MapsEntry): string {
  const hex = (value: bigint, digits: number): string => value.toString(16).padStart(digits, "0");
  const range = `${hex(entry.start, 8)}-${hex(entry.end, 8)}`;
  const { permissions, offset, device, inode, name } = entry;
  const fields = `${range} ${permissions} ${hex(offset, 8)} ${device} ${inode} `;
  return name === "" ? fields : `${fields.padEnd(73)}${name.replaceAll("\n", "\\012")}`;
}

const address = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const entries: fc.Arbitrary<MapsEntry> = fc.record({
  start: address,
  end: address,
  permissions: fc
    .tuple(
      fc.constantFrom("r", "-"),
      fc.constantFrom("w", "-"),
      fc.constantFrom("x", "-"),
      fc.constantFrom("s", "p"),
    )
    .map((letters) => letters.join("")),
  offset: address,
  device: fc
    .tuple(fc.nat({ max: 0xfff }), fc.nat({ max: 0xfffff }))
    .map((numbers) => numbers.map((n) => n.toString(16).padStart(2, "0")).join(":")),
  inode: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  // A name never begins with a space here: no path and no kernel name does.
  name: fc.oneof(
    fc.constantFrom("", "[heap]", "[vsyscall]", "/memfd:a b (deleted)", "anon_inode:[a]"),
    fc
      .string({ unit: "binary", maxLength: 30 })
      .map((text) => `/${text.replace(/[\r\u2028\u2029]/g, "")}`),
  ),
});

test("parseMaps() reads back every entry that the kernel could print", () => {
  fc.assert(
    fc.property(fc.array(entries, { maxLength: 5 }), (list) => {
      const text = list.map((entry) => `${printEntry(entry)}\n`).join("");
      const expected = list.map((entry) => ({
        ...entry,
        name: entry.name.replaceAll("\n", "\\012"),
      }));
      assert.deepEqual(parseMaps(text), expected);
    }),
    parameters(500),
  );
});

test("parseMapsLine() takes any text, and answers an entry only for what prints as it", () => {
  const piece = fc.constantFrom("0", "f", "-", " ", ":", "r", "w", "p", "\n", "1000-2000", "rw-p");
  const texts = fc.oneof(
    fc.string(),
    fc.array(piece).map((pieces) => pieces.join("")),
  );
  fc.assert(
    fc.property(texts, (text) => {
      const entry = parseMapsLine(text);
      assert.ok(entry === undefined || !text.includes("\n"));
    }),
    parameters(1000),
  );
});

// ==== Search ===================================================================================

test("searching in windows finds what a naive search finds", () => {
  const searches = fc.record({
    bytes: fc.uint8Array({ min: 0, max: 1, maxLength: 60 }),
    needle: fc.uint8Array({ min: 0, max: 1, maxLength: 6 }),
    length: fc.integer({ min: 1, max: 20 }),
    a: fc.nat(60),
    b: fc.nat(60),
  });
  fc.assert(
    fc.property(searches, ({ bytes, needle, length, a, b }) => {
      const offset = Math.min(a, bytes.length);
      const extent = { offset, length: Math.min(b, bytes.length - offset) };
      const windows = {
        length,
        at: (from: number, to: number) => Buffer.from(bytes.slice(from, to)),
      };
      const places: number[] = [];
      for (let at = offset; at + needle.length <= endOf(extent); at++) {
        if (needle.every((byte, i) => bytes[at + i] === byte)) places.push(at);
      }
      assert.equal(findFirst(windows, needle, extent), places[0] ?? -1);
      assert.equal(findLast(windows, needle, extent), places.at(-1) ?? -1);
    }),
    parameters(1000),
  );
});
