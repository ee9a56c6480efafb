// The numbers of the matrix as they stand in docs/safety.md, computed from its definition. Pure.

import { abuses, allCells, type Cell, exclusionOf } from "./matrix.js";
import { type Runtime, runtimes } from "./way.js";

function row(head: string, numbers: readonly number[]): string {
  return `| ${[head, ...numbers].join(" | ")} |`;
}

function table(head: string, rows: readonly string[]): string {
  const titles = runtimes.map((name) => name.replace("node-", "Node "));
  const heads = [head, ...titles.map((name) => name.replace("bun", "Bun").replace("deno", "Deno"))];
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

/** How many cells do not run, by reason and runtime. */
export function exclusionTable(): string {
  const cells = allCells();
  const reasons = new Set(
    runtimes.flatMap((runtime) => cells.map((cell) => exclusionOf(cell, runtime))),
  );
  const rows = [...reasons]
    .filter((reason) => reason !== undefined)
    .map((reason) =>
      row(
        reason,
        count(cells, (cell, name) => exclusionOf(cell, name) === reason),
      ),
    );
  return table("cells left out, and why", rows);
}
