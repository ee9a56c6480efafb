// What docs/conformance.md says of the cases: their rows from their lists, which are all that the
// modules of this folder export, and its numbers from what became of them in a run.

import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { noCompiler } from "../helpers/compile.js";
import { noExt4Here } from "../helpers/ext4.js";
import { whyNot } from "../helpers/root-powers.js";
import { needs } from "../helpers/temp.js";
import type { Case, Outcome } from "./case.js";
import { idsByTopic } from "./ids.js";
import { noAreaNames } from "./procfs.js";
import { needsPager } from "./waiting.js";

/** A case and where it stands. */
export interface Listed {
  readonly file: string;
  readonly item: Case;
}

function isCase(value: unknown): value is Case {
  return typeof value === "object" && value !== null && "id" in value && "says" in value;
}

/** The cases of all lists, as often as they stand there. */
export async function collectCases(): Promise<Listed[]> {
  const folder = new URL(".", import.meta.url);
  const names = readdirSync(folder).filter((name) => /^[\w-]+\.js$/.test(name));
  const found: Listed[] = [];
  for (const name of names.sort()) {
    const exported: Readonly<Record<string, unknown>> = await import(new URL(name, folder).href);
    const file = `test/cases/${name.replace(/js$/, "ts")}`;
    for (const list of Object.values(exported)) {
      if (!Array.isArray(list) || !list.every(isCase)) continue;
      found.push(...list.map((item) => ({ file, item })));
    }
  }
  return found;
}

/** Why the numbers of the document are not made here; false on the kind of machine they are of. */
export function whyNotReference(): string | false {
  const { skip } = needs("node", "root", { kernel: "6.17" });
  const hasNames =
    !noAreaNames && "the kernel names anonymous areas, that of the document does not";
  return skip || whyNot("huge-pages") || noCompiler || noExt4Here || hasNames;
}

/** What the lists themselves skip here. */
export function listedSkips(cases: readonly Listed[]): Outcome[] {
  return cases.flatMap(({ item }) => (item.skip ? [{ id: item.id, skipped: item.skip }] : []));
}

/** The lines that cases wrote in a run, as they became known. */
export function parseOutcomes(text: string): Outcome[] {
  const lines = text.split("\n").filter((line) => line !== "");
  return lines.map((line) => {
    const found: unknown = JSON.parse(line);
    assert.ok(typeof found === "object" && found !== null && "id" in found, line);
    const skipped = "skipped" in found ? String(found.skipped) : undefined;
    return { id: String(found.id), skipped };
  });
}

const tableHead = (...names: readonly string[]) => [
  `| ${names.join(" | ")} |`,
  `|${"---|".repeat(names.length)}`,
];

/** The table of numbers of a run. */
export function summaryTable(outcomes: readonly Outcome[]): string {
  const counts = new Map<string, number>();
  for (const { skipped } of outcomes) {
    if (skipped) counts.set(skipped, (counts.get(skipped) ?? 0) + 1);
  }
  const waitingCount = counts.get(needsPager) ?? 0;
  counts.delete(needsPager);
  const rows = [
    ["cases, but for those below", outcomes.length - waitingCount],
    ["passed", outcomes.filter(({ skipped }) => !skipped).length],
    ...[...counts].sort().map(([reason, count]) => [`skipped: ${reason}`, count]),
    [`apart: ${needsPager}`, waitingCount],
  ];
  return [...tableHead("what", "count"), ...rows.map((row) => `| ${row.join(" | ")} |`)].join("\n");
}

/** The table of what a run skipped, by id. */
export function skipTable(outcomes: readonly Outcome[]): string {
  const rows = outcomes
    .filter(({ skipped }) => skipped)
    .map(({ id, skipped }) => `| \`${id}\` | ${skipped} |`);
  return [...tableHead("id", "skipped, because it"), ...rows.sort()].join("\n");
}

/** The rows of such a table. */
export function parseSkipTable(table: string): Outcome[] {
  const rows = [...table.matchAll(/^\| `([^`]+)` \| (.+) \|$/gm)];
  return rows.map(([, id = "", skipped = ""]) => ({ id, skipped }));
}

/** The tables of all cases, one for each topic. */
export function caseTables(cases: readonly Listed[]): string {
  const byId = new Map(cases.map((listed) => [listed.item.id, listed]));
  const tables = Object.entries(idsByTopic).map(([topic, ids]) => {
    const rows = ids
      .map((id) => byId.get(id))
      .filter((listed) => listed !== undefined)
      .map(
        ({ file, item }) => `| \`${item.id}\` | ${item.says.replaceAll("|", "\\|")} | ${file} |`,
      );
    const head = [`### ${topic}`, "", "| id | what it says | file |", "|---|---|---|"];
    return rows.length === 0 ? "" : [...head, ...rows].join("\n");
  });
  return tables.filter((table) => table !== "").join("\n\n");
}

/** What stands in the document between the marks of a part; undefined where there are none. */
export function partOf(document: string, name: string): string | undefined {
  return new RegExp(`<!-- ${name} -->\\n([^]*?)\\n<!-- end -->`).exec(document)?.[1]?.trim();
}

/** The document with another part. */
export function withPart(document: string, name: string, text: string): string {
  const marks = new RegExp(`(<!-- ${name} -->\\n)[^]*?(\\n<!-- end -->)`);
  return document.replace(marks, (_, begin: string, end: string) => `${begin}\n${text}\n${end}`);
}
