// The document says of the matrix what its definition says.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { exclusionCounts, exclusionTable, runCount, runTable } from "./counts.js";
import { allCells, expectationOf } from "./matrix.js";
import { ways } from "./ways.js";

const document = readFileSync(
  fileURLToPath(new URL("../../../docs/safety.md", import.meta.url)),
  "utf8",
);

test("docs/safety.md has the numbers of the crash matrix", () => {
  for (const table of [runTable(), exclusionTable()]) {
    assert.ok(document.includes(table), `docs/safety.md should hold:\n\n${table}\n`);
  }
  assert.ok(document.includes(`${ways.length} ways`), `${ways.length} ways`);
});

test("docs/safety.md has the numbers of the emulated runtime", () => {
  const run = runCount("node-22-arm64");
  const leftOut = [...exclusionCounts("node-22-arm64")];
  const sum = (counts: typeof leftOut) => counts.reduce((total, [, count]) => total + count, 0);
  const emulator = leftOut.filter(([reason]) => reason.startsWith("the emulator"));
  const text = document.replaceAll("\n", " ");
  for (const words of [
    `all ${run} of ${run},`,
    `${sum(leftOut)} cells are left out`,
    `the emulator are ${sum(emulator)} of them`,
  ]) {
    assert.ok(text.includes(words), `docs/safety.md should hold: ${words}`);
  }
});

test("each way of touching has its own name, and no cell demands a fault without a reason", () => {
  assert.equal(new Set(ways.map(({ name }) => name)).size, ways.length);
  for (const cell of allCells()) {
    const { promised, reason } = expectationOf(cell);
    const name = `${cell.stage}, ${cell.abuse}, ${cell.way.name}`;
    if (promised === "fault" || promised === "kernel") assert.ok(reason, name);
  }
});
