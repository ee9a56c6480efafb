// docs/conformance.md says of the cases what their lists say, and its numbers are those of a run
// that holds all of them.

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import test from "node:test";
import { fileURLToPath } from "node:url";
import {
  caseTables,
  collectCases,
  listedSkips,
  parseOutcomes,
  parseSkipTable,
  partOf,
  skipTable,
  summaryTable,
  whyNotReference,
} from "./counts.js";
import { idsByTopic } from "./ids.js";
import { needsPager } from "./waiting.js";

const path = fileURLToPath(new URL("../../../docs/conformance.md", import.meta.url));
const document = readFileSync(path, "utf8");
const cases = await collectCases();
const hint = "run node scripts/conformance.mjs";
const skips = parseSkipTable(partOf(document, "skips") ?? "");

test("the document has a row for each case, with its words and its file", () => {
  assert.equal(partOf(document, "cases"), caseTables(cases), hint);
});

test("every id stands in exactly one list", () => {
  const known = Object.values(idsByTopic).flat();
  const listed = cases.map(({ item }) => item.id);
  const isTwice = (id: string, i: number, ids: readonly string[]) => ids.indexOf(id) !== i;
  assert.equal(new Set(known).size, 238);
  const missing = known.filter((id) => !listed.includes(id));
  const unknown = listed.filter((id) => !known.includes(id));
  const twice = listed.filter(isTwice);
  assert.deepEqual({ missing, unknown, twice }, { missing: [], unknown: [], twice: [] });
});

test("each list of cases is run by a test file of its name", () => {
  assert.ok(cases.length > 0, "no cases");
  for (const file of new Set(cases.map((listed) => listed.file))) {
    const compiled = new URL(`../../${file.replace(/ts$/, "test.js")}`, import.meta.url);
    assert.ok(existsSync(compiled), file);
  }
});

test("the numbers of the document are those of a run of all cases", () => {
  const byId = new Map(skips.map((outcome) => [outcome.id, outcome]));
  const run = cases.map(({ item: { id } }) => byId.get(id) ?? { id });
  assert.equal(skips.length, byId.size, "an id stands twice");
  assert.equal(run.filter(({ id }) => byId.has(id)).length, byId.size, "an id is no case");
  assert.equal(partOf(document, "summary"), summaryTable(run), hint);
  assert.equal(partOf(document, "skips"), skipTable(run), hint);
});

test("less than a tenth is skipped, but for what waits for the pager", () => {
  const own = skips.filter(({ skipped }) => skipped !== needsPager);
  assert.ok(own.length < cases.length / 10, `${own.length} of ${cases.length} cases are skipped`);
});

test("what the lists skip is skipped in the document; a machine that skips more says so", () => {
  const known = new Set(skips.map(({ id, skipped }) => `${id}: ${skipped}`));
  const here = listedSkips(cases).map(({ id, skipped }) => `${id}: ${skipped}`);
  const more = here.filter((line) => !known.has(line));
  const why = whyNotReference();
  if (why === false) assert.deepEqual(more, [], hint);
  else if (more.length > 0) {
    const lines = [`skipped here (${why}), and not in docs/conformance.md:`, ...more];
    process.stderr.write(`${lines.join("\n  ")}\n`);
  }
  const waiting = here.filter((line) => line.endsWith(`: ${needsPager}`));
  assert.deepEqual(
    waiting.filter((line) => !known.has(line)),
    [],
    hint,
  );
});

test("outcomes are read as they were written, and counted by their reasons", () => {
  const outcomes = parseOutcomes(
    '{"id":"a:1"}\n{"id":"a:2","skipped":"needs a moon"}\n{"id":"a:3","skipped":"needs a moon"}\n',
  );
  assert.deepEqual(outcomes[0], { id: "a:1", skipped: undefined });
  assert.match(summaryTable(outcomes), /^\| passed \| 1 \|\n\| skipped: needs a moon \| 2 \|$/m);
  assert.deepEqual(parseSkipTable(skipTable(outcomes)), outcomes.slice(1));
  assert.throws(() => parseOutcomes("1\n"));
});
