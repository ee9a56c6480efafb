// What a child of the matrix says, line by line, so that its parent knows which cell it was at when
// it died. Written to a file at once: a pipe may be full, and at the end of a process, or in a
// worker, nothing else gets out in time.

import { existsSync, openSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";

const fileName = "report.txt";
let fd: number | undefined;

function say(line: string): void {
  if (fd === undefined) throw new Error("no report was opened in this thread");
  writeSync(fd, `${line}\n`);
}

/** Goes on with the report in a folder; once in each thread. */
export function openReport(folder: string): void {
  fd = openSync(join(folder, fileName), "a");
}

/** Says which cell comes next. */
export function atCell(name: string): void {
  say(`> ${name}`);
}

/** Says that a cell is over, and what was wrong with it. */
export function cellDone(name: string, problems: readonly (string | undefined)[]): void {
  const found = problems.filter((problem) => problem !== undefined);
  say(found.length === 0 ? `= ${name}` : `! ${name}: ${found.join("; ")}`);
}

/** Says how many mappings stood between their neighbours. */
export function neighboursDone(adjacent: number, all: number): void {
  say(`# ${adjacent} ${all}`);
}

/** What a child has said. */
export interface Report {
  readonly passed: readonly string[];
  readonly problems: readonly string[];
  /** The cell that had begun and was never over. */
  readonly unfinished: string | undefined;
  /** How many mappings stood between their neighbours, and of how many. */
  readonly adjacent: number;
  readonly all: number;
}

/* A child that dies at once has said nothing. */
function textOf(path: string): string {
  return existsSync(path) ? readFileSync(path, "utf8") : "";
}

/** Reads what all children that had this folder said. */
export function readReport(folder: string): Report {
  const passed: string[] = [];
  const problems: string[] = [];
  let unfinished: string | undefined;
  let adjacent = 0;
  let all = 0;
  for (const line of textOf(join(folder, fileName)).split("\n")) {
    const text = line.slice(2);
    if (line.startsWith("> ")) unfinished = text;
    if (line.startsWith("= ")) passed.push(text);
    if (line.startsWith("! ")) problems.push(text);
    if (/^[=!] /.test(line)) unfinished = undefined;
    if (line.startsWith("# ")) [adjacent = 0, all = 0] = text.split(" ").map(Number);
  }
  return { passed, problems, unfinished, adjacent, all };
}
