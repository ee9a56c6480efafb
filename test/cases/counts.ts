// What docs/conformance.md says of the cases, computed from their lists: all that the modules of
// this folder export.

import { readdirSync } from "node:fs";
import { noCompiler } from "../helpers/compile.js";
import { noExt4Here } from "../helpers/ext4.js";
import { whyNot } from "../helpers/root-powers.js";
import { needs } from "../helpers/temp.js";
import type { Case } from "./case.js";
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

/** Why the numbers of the document do not hold here; false on the machine they were counted on. */
export function whyNotReference(): string | false {
  const { skip } = needs("node", "root", { kernel: "6.17" });
  const hasNames =
    !noAreaNames && "the kernel names anonymous areas, that of the document does not";
  return skip || whyNot("huge-pages") || noCompiler || noExt4Here || hasNames;
}

/** Each reason that cases are skipped here for, and how many. */
export function skipsOf(cases: readonly Listed[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { item } of cases) {
    if (item.skip) counts.set(item.skip, (counts.get(item.skip) ?? 0) + 1);
  }
  return counts;
}

/** The table of numbers, as they are on this machine. */
export function summaryTable(cases: readonly Listed[]): string {
  const skips = skipsOf(cases);
  const waitingCount = skips.get(needsPager) ?? 0;
  skips.delete(needsPager);
  const skipped = [...skips.values()].reduce((sum, count) => sum + count, 0);
  const own = cases.length - waitingCount;
  const rows = [
    ["cases, but for those below", own],
    ["passed", own - skipped],
    ...[...skips].sort().map(([reason, count]) => [`skipped: ${reason}`, count]),
    [`apart: ${needsPager}`, waitingCount],
  ];
  return ["| what | count |", "|---|---|", ...rows.map((row) => `| ${row.join(" | ")} |`)].join(
    "\n",
  );
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
