// Writes the tables of docs/conformance.md: the rows from the compiled lists of cases, the numbers
// from a run of all of them, which this script makes.
//
//   node scripts/build.mjs --tests && node scripts/conformance.mjs
//
// The numbers are those of one kind of machine; on another one only the rows are written.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const document = join(root, "docs/conformance.md");
const compiled = join(root, "out/test/cases");
const counts = await import(join(compiled, "counts.js"));

/** Runs all cases and returns what became of each; ends this script when one of them fails. */
function runCases() {
  const folder = mkdtempSync(join(tmpdir(), "memmap-conformance-"));
  const file = join(folder, "outcomes");
  const names = readdirSync(compiled).filter((name) => name.endsWith(".test.js"));
  const files = names.filter((name) => name !== "counts.test.js").map((n) => join(compiled, n));
  const env = { ...process.env, MEMMAP_CASE_OUTCOMES: file };
  try {
    const { status, stdout } = spawnSync(process.execPath, ["--test", ...files], {
      encoding: "utf8",
      env,
    });
    if (status === 0) return counts.parseOutcomes(readFileSync(file, "utf8"));
    console.error(stdout);
    process.exit(1);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const cases = await counts.collectCases();
let text = counts.withPart(readFileSync(document, "utf8"), "cases", counts.caseTables(cases));
const reason = counts.whyNotReference();
if (reason) {
  console.error(`conformance: the numbers stay as they are: ${reason}`);
} else {
  const outcomes = runCases();
  if (new Set(outcomes.map(({ id }) => id)).size !== cases.length) {
    throw new Error(`${outcomes.length} outcomes of ${cases.length} cases`);
  }
  text = counts.withPart(text, "summary", counts.summaryTable(outcomes));
  text = counts.withPart(text, "skips", counts.skipTable(outcomes));
  for (const { id, skipped } of outcomes) console.log(skipped ? `${id}: skipped: ${skipped}` : id);
}
writeFileSync(document, text);
console.log(`conformance: ${cases.length} cases`);
