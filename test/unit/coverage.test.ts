// Each file of src/ has its unit test, and each unit test its file. The command has its own
// tests.

import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import test from "node:test";
import { fileURLToPath } from "node:url";

/** The names below a folder of the checkout that end in `ending`, without it. */
function stems(folder: string, ending: string): string[] {
  const place = fileURLToPath(new URL(`../../../${folder}/`, import.meta.url));
  return readdirSync(place, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(ending))
    .map((name) => name.slice(0, -ending.length))
    .sort();
}

test("each file of src/ has a unit test, and each unit test a file of src/", () => {
  const sources = stems("src", ".ts").filter((name) => !name.startsWith("cli/"));
  const tests = stems("test/unit", ".test.ts").filter((name) => name !== "coverage");
  assert.ok(sources.includes("pages"), "the sources are found");
  assert.deepEqual(tests, sources);
});
