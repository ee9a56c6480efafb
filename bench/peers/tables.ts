// The tables of a comparison, as they stand in docs/safety.md, from what became of each cell. Pure.

import type { Result } from "./run.js";
import { deaths, type Verdict, verdicts } from "./verdict.js";

/** What became of all cells of one library. */
export interface Column {
  /** The library with its version and runtime. */
  readonly title: string;
  readonly results: readonly Result[];
  /** How long all of it took, one cell after the other. */
  readonly minutes: number;
}

const heads: Readonly<Record<Verdict, string>> = {
  right: "lives, and all bytes are right",
  told: "lives, and an error is told",
  empty: "lives, and the view says that it is empty",
  unseen: "ends before the touch is over, nothing harmed",
  wrong: "**lives, with wrong or foreign bytes and no error**",
  SIGBUS: "**dies of SIGBUS**",
  SIGSEGV: "**dies of SIGSEGV**",
  abort: "**dies otherwise**",
  hung: "**hangs**",
  cannot: "no such operation",
  unrun: "not run, for lack of time",
};

const allCellsHead = "all cells";

function table(rows: readonly (readonly (string | number)[])[]): string {
  const [head = [], ...rest] = rows;
  const lines = [head, head.map((_, i) => (i === 0 ? "---" : "---:")), ...rest];
  return lines.map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

function isRun({ verdict }: Result): boolean {
  return verdict !== "cannot" && verdict !== "unrun";
}

function count(results: readonly Result[], wanted: readonly Verdict[]): number {
  return results.filter(({ verdict }) => wanted.includes(verdict)).length;
}

/** How many cells ended how, by library. */
export function verdictTable(columns: readonly Column[]): string {
  const titles = columns.map(({ title }) => title);
  const rows = verdicts.map((verdict) => [
    heads[verdict],
    ...columns.map(({ results }) => count(results, [verdict])),
  ]);
  const all = [allCellsHead, ...columns.map(({ results }) => results.length)];
  const minutes = ["minutes that they took", ...columns.map((column) => column.minutes.toFixed(1))];
  return table([["", ...titles], ...rows, all, minutes]);
}

/** In how many cells that were run the process died, by stage or abuse, and by library. */
export function deathTable(columns: readonly Column[], by: "stage" | "abuse"): string {
  const titles = columns.map(({ title }) => title);
  const names = new Set(columns.flatMap(({ results }) => results.map((result) => result[by])));
  const rows = [...names].map((name) => [
    `\`${name}\``,
    ...columns.map(({ results }) => {
      const found = results.filter((result) => result[by] === name && isRun(result));
      return found.length === 0 ? "-" : `${count(found, deaths)} of ${found.length}`;
    }),
  ]);
  return table([[`processes that died, by ${by}`, ...titles], ...rows]);
}

/** What a library has no way to do: each reason, with its number of cells. */
export function reasonList(columns: readonly Column[]): string {
  return columns
    .map(({ title, results }) => {
      const counts = new Map<string, number>();
      for (const { reason } of results) {
        if (reason !== undefined) counts.set(reason, (counts.get(reason) ?? 0) + 1);
      }
      const parts = [...counts].map(([reason, cells]) => `${reason} (${cells})`);
      return `- ${title}: ${parts.length === 0 ? "nothing" : parts.join("; ")}.`;
    })
    .join("\n");
}

/** The part of the document that a run writes. */
export function section(columns: readonly Column[]): string {
  return [
    verdictTable(columns),
    deathTable(columns, "stage"),
    deathTable(columns, "abuse"),
    `What is counted as no such operation, and in how many cells:\n\n${reasonList(columns)}`,
  ].join("\n\n");
}

/** What the table of a document says of one library: how many cells in all, and how they ended. */
export interface Counted {
  readonly title: string;
  readonly all: number;
  readonly verdicts: Readonly<Partial<Record<Verdict, number>>>;
}

/** Reads the first table back. */
export function readVerdicts(document: string): readonly Counted[] {
  const rows = document
    .split("\n")
    .filter((line) => line.startsWith("| "))
    .map((line) => line.split("|").map((cell) => cell.trim()));
  const first = rows.findIndex(([, name]) => name === heads.right);
  const numbersOf = (name: string) => rows.find(([, own]) => own === name)?.slice(2, -1) ?? [];
  const titles = rows[first - 2]?.slice(2, -1) ?? [];
  return titles.map((title, i) => ({
    title,
    all: Number(numbersOf(allCellsHead)[i]),
    verdicts: Object.fromEntries(
      verdicts.map((verdict) => [verdict, Number(numbersOf(heads[verdict])[i])]),
    ),
  }));
}
