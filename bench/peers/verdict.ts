// What became of a cell. Whether a silent answer is right is found by doing the same to ordinary
// memory with the same content: the value, and the bytes afterwards, must be equal.

import { readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import type { Cell } from "../../test/crash/matrix.js";
import { fileOffset, windowLength, windowOfAbuse } from "../../test/crash/place.js";
import {
  isEndless,
  isKernelAnswer,
  type Touched,
  touch,
  touchNow,
} from "../../test/crash/touch.js";
import { asBuffer, type Kit, type View } from "../../test/crash/way.js";

/**
 * What can become of a cell, the best first:
 * - "right": no error, and the answer and the bytes are those of ordinary memory;
 * - "told": an error, thrown at the touch or told by the library;
 * - "empty": no error, but the view says by its length that it has nothing any more;
 * - "unseen": it ended before the touch was over, and nothing was harmed;
 * - "wrong": no error, and wrong or foreign bytes;
 * - the signal by which the process has died, or "abort" for another end before its time;
 * - "hung": it did not end;
 * - "cannot": there is no such operation;
 * - "unrun": there was no time for it.
 */
export const verdicts = [
  "right",
  "told",
  "empty",
  "unseen",
  "wrong",
  "SIGBUS",
  "SIGSEGV",
  "abort",
  "hung",
  "cannot",
  "unrun",
] as const;
export type Verdict = (typeof verdicts)[number];

/** Those of a process that has died of the cell. */
export const deaths: readonly Verdict[] = ["SIGBUS", "SIGSEGV", "abort"];

/** One word for a text that claims to be one. */
export function verdictOf(text: string): Verdict {
  const found = verdicts.find((verdict) => verdict === text);
  if (found === undefined) throw new Error(`${text} is no verdict`);
  return found;
}

/** A touch that is over, and what it touched. */
export interface Evidence {
  readonly cell: Cell;
  readonly view: View;
  readonly touched: Touched;
  /** What the whole buffer of the view held before. */
  readonly before: Before;
  /** The file, which must show the same as the view. */
  readonly path: string | undefined;
  readonly kit: Kit;
}

/** The content of a buffer: one byte all over, or a copy. */
export type Before = number | Uint8Array;

/* Random bytes are equal to no others. */
function isRandom({ way }: Cell): boolean {
  return /random/i.test(way.name);
}

/** What the runtime itself has said; undefined when it has said nothing. */
function saidBy({ cell, view, touched: { outcome } }: Evidence): Verdict | undefined {
  if (isEndless(outcome)) return "hung";
  if (outcome.error !== undefined) return "told";
  if (view.length === 0) return "empty";
  const isKernel = cell.way.touch.startsWith("kernel");
  return isKernel && isKernelAnswer(outcome, view.length) ? "told" : undefined;
}

/* Ordinary memory like that of the view, before it was touched. */
function ordinary({ view, before }: Evidence): View {
  const { byteOffset, length } = view;
  const buffer = new ArrayBuffer(view.buffer.byteLength);
  const whole = new Uint8Array(buffer);
  if (typeof before === "number") whole.fill(before);
  else whole.set(before);
  return new Uint8Array(buffer, byteOffset, length);
}

function compared({ cell, view, touched, path }: Evidence, other: View, same: Touched): Verdict {
  const isInFile = path === undefined || asBuffer(view).equals(windowOfFile(path, cell));
  const isSame =
    isRandom(cell) ||
    (isDeepStrictEqual(plain(touched.value), plain(same.value)) && asBuffer(view).equals(other));
  return isInFile && isSame ? "right" : "wrong";
}

function windowOfFile(path: string, { abuse }: Cell): Uint8Array {
  const start = fileOffset + windowOfAbuse(abuse).windowStart;
  return readFileSync(path).subarray(start, start + windowLength);
}

/* A key has no content to be compared, and of memory only the content is. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return asBuffer(value).toString("latin1");
  if (value instanceof ArrayBuffer || value instanceof SharedArrayBuffer) {
    return Buffer.from(value).toString("latin1");
  }
  const kind = Object.prototype.toString.call(value);
  return kind === "[object KeyObject]" || kind === "[object CryptoKey]" ? kind : value;
}

/** The verdict on a touch that is over when the call returns. */
export function judgeNow(evidence: Evidence): Verdict {
  const said = saidBy(evidence);
  if (said !== undefined) return said;
  const other = ordinary(evidence);
  const same = touchNow(evidence.cell.way.ready(other, evidence.kit));
  return compared(evidence, other, same);
}

/** The verdict on any touch. */
export async function judge(evidence: Evidence): Promise<Verdict> {
  const said = saidBy(evidence);
  if (said !== undefined) return said;
  const other = ordinary(evidence);
  const same = await touch(evidence.cell.way.ready(other, evidence.kit));
  return compared(evidence, other, same);
}
