// What came of touching, in a form that crosses threads and processes, and whether it is what the
// matrix demands.

import { FaultError, type FaultReason } from "memmap";
import { type Cell, type Expectation, expectationOf } from "./matrix.js";

/** A FaultError as plain data. */
export interface SeenFault {
  readonly reason: FaultReason;
  readonly access: "read" | "write";
  readonly byteOffset: number;
  readonly count: number;
  readonly address: bigint;
}

/** What the touch itself gave: an error, or a number where it counts bytes. */
export interface Outcome {
  readonly error: string | undefined;
  readonly code: string | undefined;
  readonly count: number | undefined;
}

/** A fault as plain data; what is none is a failure of the test. */
export function seen(error: unknown): SeenFault {
  if (!(error instanceof FaultError)) throw error;
  const { reason, access, byteOffset, count, address } = error;
  return { reason, access, byteOffset, count, address };
}

function describe(error: unknown): Outcome {
  if (!(error instanceof Error)) return { error: String(error), code: undefined, count: undefined };
  const code: unknown = Reflect.get(error, "code");
  const isBadAddress = code === "EFAULT" || /EFAULT|bad address/i.test(error.message);
  return {
    error: `${error.name}: ${error.message}`,
    code: isBadAddress ? "EFAULT" : typeof code === "string" ? code : undefined,
    count: undefined,
  };
}

function numberOf(value: unknown): Outcome {
  const count = typeof value === "number" ? value : undefined;
  return { error: undefined, code: undefined, count };
}

/** Touches, and tells what came of it. */
export function touchNow(run: () => unknown): Outcome {
  try {
    return numberOf(run());
  } catch (error) {
    return describe(error);
  }
}

/* Longer than any touch takes; one that does not end is a finding, not a hanging test. */
const touchMsMax = 10_000;
const endless = "it did not end";

/** Touches, and tells what came of it when all of it is over. */
export async function touch(run: () => unknown): Promise<Outcome> {
  let timer: NodeJS.Timeout | undefined;
  try {
    const result = run();
    if (!(result instanceof Promise)) return numberOf(result);
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(endless)), touchMsMax);
    });
    return numberOf(await Promise.race([result, late]));
  } catch (error) {
    return describe(error);
  } finally {
    clearTimeout(timer);
  }
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

/* The runtime's system call says that it could not reach all of the memory. */
function isKernelAnswer({ outcome, windowLength }: Evidence): boolean {
  const { code, count } = outcome;
  return code === "EFAULT" || (count !== undefined && count < windowLength);
}

/** What is wrong with a cell; undefined when nothing is. */
export function judge(cell: Cell, evidence: Evidence): string | undefined {
  const expected = expectationOf(cell);
  const { outcome, faults } = evidence;
  const isTold = faults.length > 0;
  const wrong = wrongFault(cell, expected, evidence);
  if (wrong !== undefined) return wrong;
  if (outcome.error?.endsWith(endless) === true) return endless;
  if (isRefused(cell, evidence)) return undefined;
  switch (expected.promised) {
    case "fault":
      if (!isTold) return `no FaultError (${outcome.error ?? "and no error"})`;
      return outcome.error;
    case "kernel":
      return isTold || isKernelAnswer(evidence) ? undefined : (outcome.error ?? "nothing is told");
    case "sound":
      return isTold ? "a FaultError where nothing is wrong" : outcome.error;
    case "empty":
      return isTold ? "a FaultError of an empty view" : undefined;
    case "alive":
      return undefined;
  }
}
