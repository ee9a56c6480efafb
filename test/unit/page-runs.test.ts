// src/page-runs.ts: runs are split, joined, cut and continued; against arrays by a property test.

import assert from "node:assert/strict";
import test from "node:test";
import { PageRuns } from "#dist/page-runs.js";

type Value = "a" | "b" | "c";

function text(runs: PageRuns<Value>): string {
  return runs
    .runs()
    .map(({ value, pageCount }) => value.repeat(pageCount))
    .join("|");
}

function runsOf(pageCount: number): PageRuns<Value> {
  return new PageRuns<Value>(pageCount, "a");
}

test("PageRuns over no pages has no runs and no value", () => {
  const runs = runsOf(0);
  assert.deepEqual(runs.runs(), []);
  assert.equal(runs.pageCount, 0);
  assert.equal(runs.at(0), undefined);
  assert.equal(runs.summary(), undefined);
});

test("PageRuns.set() splits a run at both ends, at one end, and replaces it", () => {
  const runs = runsOf(6);
  runs.set({ pageIndex: 2, pageCount: 2, value: "b" });
  assert.equal(text(runs), "aa|bb|aa");
  runs.set({ pageIndex: 0, pageCount: 1, value: "c" });
  assert.equal(text(runs), "c|a|bb|aa");
  runs.set({ pageIndex: 5, pageCount: 1, value: "c" });
  assert.equal(text(runs), "c|a|bb|a|c");
  runs.set({ pageIndex: 1, pageCount: 4, value: "b" });
  assert.equal(text(runs), "c|bbbb|c");
  runs.set({ pageIndex: 0, pageCount: 6, value: "a" });
  assert.equal(text(runs), "aaaaaa");
});

test("PageRuns.set() joins neighbours that became equal", () => {
  const runs = runsOf(3);
  runs.set({ pageIndex: 1, pageCount: 1, value: "b" });
  assert.equal(runs.summary(), "mixed");
  runs.set({ pageIndex: 1, pageCount: 1, value: "a" });
  assert.equal(text(runs), "aaa");
  assert.equal(runs.summary(), "a");
});

test("PageRuns.set() of no pages changes nothing", () => {
  const runs = runsOf(2);
  runs.set({ pageIndex: 1, pageCount: 0, value: "b" });
  assert.equal(text(runs), "aa");
});

test("PageRuns.at() knows the first and the last page of each run, and none past the end", () => {
  const runs = runsOf(4);
  runs.set({ pageIndex: 1, pageCount: 2, value: "b" });
  assert.deepEqual(
    [0, 1, 2, 3, 4].map((page) => runs.at(page)),
    ["a", "b", "b", "a", undefined],
  );
});

test("PageRuns.resize() cuts inside a run, and continues the last one", () => {
  const runs = runsOf(4);
  runs.set({ pageIndex: 1, pageCount: 2, value: "b" });
  runs.resize(2);
  assert.equal(text(runs), "a|b");
  runs.resize(4);
  assert.equal(text(runs), "a|bbb");
  assert.equal(runs.pageCount, 4);
  runs.resize(4);
  assert.equal(text(runs), "a|bbb");
});

test("PageRuns hands out a list that later changes do not reach", () => {
  const runs = runsOf(2);
  const before = runs.runs();
  runs.set({ pageIndex: 0, pageCount: 1, value: "b" });
  assert.deepEqual(before, [{ pageIndex: 0, pageCount: 2, value: "a" }]);
});

test("PageRuns.between() gives the runs that hold a page of the range, and no others", () => {
  const runs = runsOf(10);
  runs.set({ pageIndex: 2, pageCount: 3, value: "b" });
  runs.set({ pageIndex: 7, pageCount: 1, value: "c" });
  const found = (first: number, end: number) =>
    [...runs.between(first, end)].map(({ value }) => value).join("");
  assert.equal(found(0, 10), "abaca");
  assert.equal(found(0, 2), "a");
  assert.equal(found(1, 3), "ab");
  assert.equal(found(4, 5), "b");
  assert.equal(found(5, 8), "ac");
  assert.equal(found(7, 7), "");
  assert.equal(found(9, 99), "a");
  assert.equal(found(10, 99), "");
});
