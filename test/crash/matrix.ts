// The definition of the crash matrix: the stages of a mapping's life, the abuses, which cells there
// are, and what each one must show. It says nothing of how a cell is made (scene.ts, child.ts), so
// that the numbers in docs/safety.md can be computed without running anything.

import type { FaultReason } from "memmap";
import type { Runtime, Way } from "./way.js";
import { ways } from "./ways.js";

/** Where a mapping is in its life when it is touched. */
export const stages = [
  "mapped",
  "pinned",
  "closed",
  "resized",
  "transferred",
  "dropped",
  "exiting",
  "posted",
  "shared",
  "attached",
  "worker-exiting",
  "worker-terminated",
] as const;
export type Stage = (typeof stages)[number];

/** The stages whose touches are made by a worker. */
export const workerStages: readonly Stage[] = [
  "posted",
  "shared",
  "attached",
  "worker-exiting",
  "worker-terminated",
];

/** What is done to the memory. */
export const abuses = [
  "truncate-part",
  "truncate-zero",
  "delete",
  "read-only",
  "none",
  "close",
  "close-meanwhile",
  "disk-full",
  "huge-pool",
] as const;
export type Abuse = (typeof abuses)[number];

/**
 * What a cell must show:
 * - "fault": a FaultError of that reason, and nothing thrown at the place of the touch;
 * - "kernel": that, or EFAULT, or a result that is too short;
 * - "sound": no fault and no error, since nothing was wrong;
 * - "empty": no fault; the view is empty, and what the runtime says to that is its own;
 * - "alive": nothing but life, since the touch and the abuse race each other.
 */
export type Promised = "fault" | "kernel" | "sound" | "empty" | "alive";

export interface Cell {
  readonly stage: Stage;
  readonly abuse: Abuse;
  readonly way: Way;
}

export interface Expectation {
  readonly promised: Promised;
  /** Of the faults that are seen, whether they must be or may be. */
  readonly reason: FaultReason | undefined;
}

const reasons: Readonly<Record<Abuse, FaultReason | undefined>> = {
  "truncate-part": "truncated",
  "truncate-zero": "truncated",
  delete: undefined,
  "read-only": "protected",
  none: "protected",
  close: "closed",
  "close-meanwhile": "closed",
  "disk-full": "io",
  "huge-pool": "memory",
};

/* Which combinations of stage and abuse make sense at all. */
function meets(stage: Stage, abuse: Abuse): boolean {
  /* More or fewer huge pages come from the pool at once: an error of resize(), and no touch. */
  if (abuse === "huge-pool" && stage === "resized") return false;
  if (abuse === "close") return stage !== "dropped" && stage !== "closed";
  if (abuse !== "close-meanwhile") return true;
  return ["mapped", "pinned", "resized", "transferred", "exiting"].includes(stage);
}

/** Whether a cell is one: a read does no harm to what may only not be written. */
export function isCell({ stage, abuse, way }: Cell): boolean {
  if (!meets(stage, abuse)) return false;
  if (abuse === "close-meanwhile" && !way.waits) return false;
  return abuse !== "read-only" || /write|update/.test(way.touch);
}

/* What a touch of memory that still shows, but cannot be served, must lead to. */
function ofTouch(cell: Cell): Promised {
  const { touch, waits } = cell.way;
  /* What would be copied is shared here. */
  if (cell.way.clones && cell.stage === "shared") return "sound";
  const isKernel = touch.startsWith("kernel");
  /* A worker that ends takes the result of its calls with it. */
  const isUntold = cell.stage === "worker-exiting" || cell.stage === "worker-terminated";
  if (isUntold && isKernel) return "alive";
  if (waits && (isUntold || cell.stage === "exiting")) return "alive";
  return isKernel ? "kernel" : "fault";
}

/* What follows from a close() before the touch. */
function ofClose(cell: Cell): Promised {
  switch (cell.stage) {
    case "pinned":
    case "attached":
    case "worker-exiting":
    case "worker-terminated":
      return "sound";
    case "transferred":
    case "posted":
    case "shared":
      return ofTouch(cell);
    default:
      return "empty";
  }
}

/** What a cell must show. */
export function expectationOf(cell: Cell): Expectation {
  const { stage, abuse } = cell;
  const reason = reasons[abuse];
  if (stage === "closed") return { promised: "empty", reason: undefined };
  if (abuse === "delete") return { promised: "sound", reason };
  if (abuse === "close") return { promised: ofClose(cell), reason };
  if (abuse !== "close-meanwhile") return { promised: ofTouch(cell), reason };
  return stage === "pinned"
    ? { promised: "sound", reason: undefined }
    : { promised: "alive", reason };
}

/** Whether writes may have reached the file. */
export function mayWrite(cell: Cell): boolean {
  const { stage, abuse } = cell;
  if (abuse === "read-only" || abuse === "none" || stage === "closed") return false;
  return abuse !== "close" || expectationOf(cell).promised === "sound";
}

/** A reason not to run some cells on some runtimes. */
interface Exclusion {
  readonly reason: string;
  readonly runtimes: readonly Runtime[];
  holds(cell: Cell): boolean;
}

/* The buffer goes while the runtime works on it. Pinned it stays, and one that was transferred away
   is out of the reach of close(). */
function isMeanwhile(...names: readonly string[]): (cell: Cell) => boolean {
  return ({ stage, abuse, way }) =>
    abuse === "close-meanwhile" &&
    stage !== "pinned" &&
    stage !== "transferred" &&
    names.includes(way.name);
}

/* resize() doubles the memory of a file; so does remap(), by which a worker that is terminated
   makes repaired pages bad again. */
function isDoubled({ stage, abuse }: Cell): boolean {
  if (abuse === "close-meanwhile" || abuse === "huge-pool") return false;
  if (stage === "worker-terminated") return abuse !== "delete" && abuse !== "close";
  return stage === "resized";
}

/** The cells that a runtime cannot have, or that it cannot survive with ordinary memory either. */
export const exclusions: readonly Exclusion[] = [
  {
    reason: "the runtime has no ArrayBuffer.prototype.transfer",
    runtimes: ["node-20"],
    holds: ({ stage }) => stage === "transferred",
  },
  {
    reason: "the runtime can make no SharedArrayBuffer over a mapping",
    runtimes: ["deno"],
    holds: ({ stage }) => stage === "shared",
  },
  {
    reason: "a stream of an ordinary buffer that is taken away never ends either",
    runtimes: ["node-20", "node-22", "node-24", "node-26", "bun", "node-22-arm64"],
    holds: isMeanwhile("createWriteStream"),
  },
  {
    reason: "an ordinary buffer that is taken away ends the process there, too",
    runtimes: ["deno"],
    holds: isMeanwhile("randomFill"),
  },
  {
    reason:
      "compressing an ordinary buffer that is taken away aborts, throws or never ends as well",
    runtimes: ["node-20", "node-22", "node-24", "node-26", "deno", "node-22-arm64"],
    holds: isMeanwhile("deflate", "gzip", "brotliCompress", "createDeflate stream"),
  },
  {
    reason: "the emulator refuses to double shared memory (mremap with an old size of 0)",
    runtimes: ["node-22-arm64"],
    holds: isDoubled,
  },
  {
    reason: "the emulator refuses to map huge pages",
    runtimes: ["node-22-arm64"],
    holds: ({ abuse }) => abuse === "huge-pool",
  },
];

/** Why a runtime does not run a cell; undefined when it does. */
export function exclusionOf(cell: Cell, runtime: Runtime): string | undefined {
  const found = exclusions.find((one) => one.runtimes.includes(runtime) && one.holds(cell));
  return found?.reason;
}

/** The cells of one stage and abuse. */
export function cellsOf(stage: Stage, abuse: Abuse): readonly Cell[] {
  return ways.map((way) => ({ stage, abuse, way })).filter(isCell);
}

/** All cells. */
export function allCells(): readonly Cell[] {
  return stages.flatMap((stage) => abuses.flatMap((abuse) => cellsOf(stage, abuse)));
}
