// What came of touching, in a form that crosses threads and processes, and whether it is what the
// matrix demands.

import { FaultError, type FaultReason } from "memmap";
import { type Cell, type Expectation, expectationOf } from "./matrix.js";
import { isEndless, isKernelAnswer, type Outcome } from "./touch.js";

/** A FaultError as plain data. */
export interface SeenFault {
  readonly reason: FaultReason;
  readonly access: "read" | "write";
  readonly byteOffset: number;
  readonly count: number;
  readonly address: bigint;
}

/** A fault as plain data; what is none is a failure of the test. */
export function seen(error: unknown): SeenFault {
  if (!(error instanceof FaultError)) throw error;
  const { reason, access, byteOffset, count, address } = error;
  return { reason, access, byteOffset, count, address };
}

export interface Evidence {
  readonly outcome: Outcome;
  readonly faults: readonly SeenFault[];
  /** Where the window begins, in bytes of the mapping. */
  readonly windowStart: number;
  readonly windowLength: number;
  readonly address: bigint;
}

function wrongFault(cell: Cell, expected: Expectation, evidence: Evidence): string | undefined {
  const { windowStart, windowLength, address } = evidence;
  for (const fault of evidence.faults) {
    const { reason, access, byteOffset, count } = fault;
    if (reason !== expected.reason) return `reason ${reason}, not ${expected.reason}`;
    const isInside = byteOffset >= windowStart && byteOffset < windowStart + windowLength;
    if (!isInside && !cell.way.whole) {
      return `byteOffset ${byteOffset} is not in the window`;
    }
    if (fault.address !== address + BigInt(byteOffset)) return `address ${fault.address}`;
    if (count < 1) return `count ${count}`;
    const wanted = accessOf(cell);
    if (wanted !== undefined && access !== wanted) return `access ${access}, not ${wanted}`;
  }
  return undefined;
}

function accessOf({ abuse, way }: Cell): string | undefined {
  if (abuse === "read-only") return "write";
  return way.touch === "read" || way.touch === "write" ? way.touch : undefined;
}

/** A runtime may refuse shared memory where it wants its own. */
function isRefused({ stage }: Cell, { outcome }: Evidence): boolean {
  return stage === "shared" && (outcome.error?.startsWith("TypeError") ?? false);
}

/** What is wrong with a cell; undefined when nothing is. */
export function judge(cell: Cell, evidence: Evidence): string | undefined {
  const expected = expectationOf(cell);
  const { outcome, faults } = evidence;
  const isTold = faults.length > 0;
  const wrong = wrongFault(cell, expected, evidence);
  if (wrong !== undefined) return wrong;
  if (isEndless(outcome)) return outcome.error;
  if (isRefused(cell, evidence)) return undefined;
  switch (expected.promised) {
    case "fault":
      if (!isTold) return `no FaultError (${outcome.error ?? "and no error"})`;
      return outcome.error;
    case "kernel":
      return isTold || isKernelAnswer(outcome, evidence.windowLength)
        ? undefined
        : (outcome.error ?? "nothing is told");
    case "sound":
      return isTold ? "a FaultError where nothing is wrong" : outcome.error;
    case "empty":
      return isTold ? "a FaultError of an empty view" : undefined;
    case "alive":
      return undefined;
  }
}
