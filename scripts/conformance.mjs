// Writes the tables of docs/conformance.md from the compiled lists of cases:
//
//   node scripts/build.mjs --tests && node scripts/conformance.mjs
//
// The numbers are those of one kind of machine; on another one only the rows are written.

import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const document = join(root, "docs/conformance.md");
const { caseTables, collectCases, summaryTable, whyNotReference, withPart } = await import(
  join(root, "out/test/cases/counts.js")
);

const cases = await collectCases();
let text = withPart(readFileSync(document, "utf8"), "cases", caseTables(cases));
const reason = whyNotReference();
if (reason) console.error(`conformance: the numbers stay as they are: ${reason}`);
else text = withPart(text, "summary", summaryTable(cases));
writeFileSync(document, text);
console.log(`conformance: ${cases.length} cases`);
