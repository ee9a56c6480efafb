// docs/semantics.md and docs/platforms.md against the tests: each row of their tables names the
// tests that show it, by their exact titles, or the cases of docs/conformance.md by their ids. Each
// title stands in one compiled test file, each id in one list of cases.

import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { parseSkipTable, partOf } from "./cases/counts.js";
import { idsByTopic } from "./cases/ids.js";

const root = fileURLToPath(new URL("../../", import.meta.url));

interface Row {
  /** As an editor shows it, from 1. */
  readonly line: number;
  readonly cells: readonly string[];
  /** What stands in backquotes in the last column. */
  readonly titles: readonly string[];
}

/** The rows of all tables of a document, without their heads. */
function rowsOf(text: string): Row[] {
  const lines = text.split("\n");
  return lines.flatMap((line, index) => {
    if (!line.startsWith("|") || isHead(line, lines[index + 1] ?? "")) return [];
    const cells = line.split("|").slice(1, -1);
    const last = cells.at(-1) ?? "";
    const titles = [...last.matchAll(/`([^`]+)`/g)].map(([, title = ""]) => title);
    return [{ line: index + 1, cells, titles }];
  });
}

function isHead(line: string, next: string): boolean {
  const isRule = (text: string) => /^\|[\s|:-]+\|$/.test(text) && text.includes("---");
  return isRule(line) || isRule(next);
}

/** The titles of the tests in a source file. */
function titlesOf(text: string): string[] {
  return [...text.matchAll(/^test\(\s*"((?:[^"\\]|\\.)+)"/gm)].map(([, title = ""]) => title);
}

function testFiles(): string[] {
  return readdirSync(join(root, "test"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".test.ts"))
    .sort();
}

function rowsOfDocument(name: string): Row[] {
  return rowsOf(readFileSync(join(root, "docs", name), "utf8"));
}

const rows = rowsOfDocument("semantics.md");
const titles = testFiles().flatMap((file) => {
  const compiled = join(root, "out/test", file.replace(/\.ts$/, ".js"));
  const found = titlesOf(readFileSync(join(root, "test", file), "utf8"));
  return found.map((title) => ({ title, file, isCompiled: existsSync(compiled) }));
});

/** The cases that run; test/cases/counts.test.ts sees to it that each one stands in a list. */
const conformance = readFileSync(join(root, "docs/conformance.md"), "utf8");
const skipped = parseSkipTable(partOf(conformance, "skips") ?? "").map(({ id }) => id);
const ids = Object.values(idsByTopic).flat();
const cases = new Set(ids.filter((id) => !skipped.includes(id)));

test("every row of docs/semantics.md and docs/platforms.md names a test", () => {
  assert.ok(rows.length > 50, `${rows.length} rows`);
  for (const name of ["semantics.md", "platforms.md"]) {
    const bare = rowsOfDocument(name).filter((row) => row.titles.length === 0);
    assert.deepEqual(
      bare.map(({ line }) => `${name}:${line}`),
      [],
      "lines without a test",
    );
  }
});

/** What is wrong with a title that a document names; "" when nothing is. */
function problemOf(wanted: string): string {
  if (cases.has(wanted)) return "";
  const found = titles.filter(({ title }) => title === wanted);
  if (found.length !== 1) return `${found.length} tests "${wanted}"`;
  return found.every(({ isCompiled }) => isCompiled) ? "" : "not built";
}

test("every test that these documents name exists once and is compiled", () => {
  const problems = ["semantics.md", "platforms.md"].flatMap((name) =>
    rowsOfDocument(name).flatMap(({ line, titles: wanted }) =>
      wanted.map((title) => ({ place: `${name}:${line}`, problem: problemOf(title) })),
    ),
  );
  assert.deepEqual(
    problems.filter(({ problem }) => problem !== ""),
    [],
  );
});

/** The files of which each test is a claim of the manual; others test how claims hold together. */
const claims = new RegExp(
  "^(?:conformance/|raw/(?:accepts|claims|files|flags|grows-down|paging|partial-pages|" +
    "process-rules|protections|sockets)\\b)",
);

test("every conformance test is named by docs/semantics.md", () => {
  const named = new Set(rows.flatMap((row) => row.titles));
  const unnamed = titles.filter(({ title, file }) => claims.test(file) && !named.has(title));
  assert.deepEqual(unnamed, []);
});

test("all rows of a table of docs/semantics.md have as many cells as its head", () => {
  const text = readFileSync(join(root, "docs/semantics.md"), "utf8");
  const tables = text
    .split(/\n{2,}/)
    .map((part) => part.trim())
    .filter((part) => part.startsWith("|"));
  assert.ok(tables.length > 5);
  for (const table of tables) {
    const counts = new Set(table.split("\n").map((line) => line.split("|").length));
    assert.equal(counts.size, 1, table.split("\n")[0]);
  }
});

test("rowsOf() finds the rows, and a row without a test has no titles", () => {
  const text =
    "| A | Test |\n| --- | --- |\n| a `x` | `one` `two, three` |\n| b | none |\n\ntext\n";
  assert.deepEqual(
    rowsOf(text).map(({ line, titles: found }) => [line, found]),
    [
      [3, ["one", "two, three"]],
      [4, []],
    ],
  );
});

test("titlesOf() finds titles on the line of test( and on the next", () => {
  const lines = ['test("one", () => {});', "test(", '  "two",', "  () => {},", ");", 'x("three");'];
  assert.deepEqual(titlesOf(lines.join("\n")), ["one", "two"]);
});
