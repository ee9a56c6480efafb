// The numbers of the matrix as they stand in docs/safety.md, computed from its definition. Pure.

import { abuses, allCells, type Cell, exclusionOf } from "./matrix.js";
import { type Runtime, runtimes } from "./way.js";

const titles: Readonly<Record<Runtime, string>> = {
  "node-20": "Node 20",
  "node-22": "Node 22",
  "node-24": "Node 24",
  "node-26": "Node 26",
  bun: "Bun",
  deno: "Deno",
  "node-22-arm64": "Node 22, arm64",
};

function row(head: string, numbers: readonly number[]): string {
  return `| ${[head, ...numbers].join(" | ")} |`;
}

function table(head: string, rows: readonly string[]): string {
  const heads = [head, ...runtimes.map((name) => titles[name])];
  return [`| ${heads.join(" | ")} |`, `|${"---|".repeat(heads.length)}`, ...rows].join("\n");
}

function count(cells: readonly Cell[], holds: (cell: Cell, runtime: Runtime) => boolean): number[] {
  return runtimes.map((runtime) => cells.filter((cell) => holds(cell, runtime)).length);
}

/** How many cells run, by abuse and runtime. */
export function runTable(): string {
  const cells = allCells();
  const isRun = (cell: Cell, runtime: Runtime) => exclusionOf(cell, runtime) === undefined;
  const rows = abuses.map((abuse) =>
    row(
      `\`${abuse}\``,
      count(
        cells.filter((cell) => cell.abuse === abuse),
        isRun,
      ),
    ),
  );
  return table("cells that run", [...rows, row("all", count(cells, isRun))]);
}

/** How many cells a runtime runs. */
export function runCount(runtime: Runtime): number {
  return allCells().filter((cell) => exclusionOf(cell, runtime) === undefined).length;
}

/** How many cells a runtime does not run, by reason. */
export function exclusionCounts(runtime: Runtime): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const cell of allCells()) {
    const reason = exclusionOf(cell, runtime);
    if (reason !== undefined) counts.set(reason, (counts.get(reason) ?? 0) + 1);
  }
  return counts;
}

/** How many cells do not run, by reason and runtime. */
export function exclusionTable(): string {
  const columns = runtimes.map(exclusionCounts);
  const reasons = new Set(columns.flatMap((counts) => [...counts.keys()]));
  const rows = [...reasons].map((reason) =>
    row(
      reason,
      columns.map((counts) => counts.get(reason) ?? 0),
    ),
  );
  return table("cells left out, and why", rows);
}
