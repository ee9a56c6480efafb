// What a child says of each cell, in a file that is its standard output: line by line, at once, so
// that its parent knows where it was when it died.
//
//     > NAME            the cell begins
//     = VERDICT NAME    it is over

import { writeSync } from "node:fs";
import { type Verdict, verdictOf } from "./verdict.js";

/** Says which cell comes next. */
export function atCell(name: string): void {
  writeSync(1, `> ${name}\n`);
}

/** Says what became of it. */
export function cellIs(name: string, verdict: Verdict): void {
  writeSync(1, `= ${verdict} ${name}\n`);
}

/** What a child has said. */
export interface Report {
  readonly over: ReadonlyMap<string, Verdict>;
  /** The cell that had begun and was never over. */
  readonly unfinished: string | undefined;
}

/** Reads what a child has written, up to its last whole line. */
export function readReport(text: string): Report {
  const over = new Map<string, Verdict>();
  let unfinished: string | undefined;
  for (const line of text.split("\n").slice(0, -1)) {
    const [, mark, rest = ""] = /^([>=]) (.*)$/.exec(line) ?? [];
    if (mark === ">") unfinished = rest;
    if (mark !== "=") continue;
    const [verdict = "", ...name] = rest.split(" ");
    over.set(name.join(" "), verdictOf(verdict));
    unfinished = undefined;
  }
  return { over, unfinished };
}
