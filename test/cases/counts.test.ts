// docs/conformance.md says of the cases what their lists say, and counts what is skipped where it
// was written.

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import test from "node:test";
import { fileURLToPath } from "node:url";
import {
  caseTables,
  collectCases,
  partOf,
  skipsOf,
  summaryTable,
  whyNotReference,
} from "./counts.js";
import { idsByTopic } from "./ids.js";
import { needsPager } from "./waiting.js";

const path = fileURLToPath(new URL("../../../docs/conformance.md", import.meta.url));
const document = readFileSync(path, "utf8");
const cases = await collectCases();
const hint = "run node scripts/conformance.mjs";

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

test("the numbers of the document are those of its machine", { skip: whyNotReference() }, () => {
  assert.equal(partOf(document, "summary"), summaryTable(cases), hint);
  const skips = skipsOf(cases);
  skips.delete(needsPager);
  const skipped = [...skips.values()].reduce((sum, count) => sum + count, 0);
  assert.ok(skipped < cases.length / 10, `${skipped} of ${cases.length} cases are skipped`);
});
