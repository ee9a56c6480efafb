// Runs the cells of one stage and one abuse with one library: in a child process, and behind a cell
// of which the child has died in another one.

import { spawn } from "node:child_process";
import { closeSync, openSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  type Abuse,
  type Cell,
  cellsOf,
  exclusionOf,
  type Stage,
} from "../../test/crash/matrix.js";
import type { Runtime } from "../../test/crash/way.js";
import { lackOf } from "./driver.js";
import { type DriverName, drivers } from "./drivers.js";
import type { Orders } from "./orders.js";
import { readReport } from "./report.js";
import type { Verdict } from "./verdict.js";

/** A library on a runtime. */
export interface Peer {
  readonly driver: DriverName;
  readonly runtime: Runtime;
  /** The runtime's binary. */
  readonly binary: string;
  /** Where npm has installed the library. */
  readonly installed: string;
}

/** What became of a cell; for one that cannot be, why. */
export interface Result {
  readonly stage: string;
  readonly abuse: string;
  readonly way: string;
  readonly verdict: Verdict;
  readonly reason?: string | undefined;
}

/** How long a child may say nothing: longer than a touch is waited for. */
const silenceMsMax = 60_000;
const pollMs = 250;

/** Where a child works: files of mappings, and all others. */
export interface Folders {
  readonly folder: string;
  readonly work: string;
}

/** Why a peer has no such cell; undefined when it has. */
function whyNot(peer: Peer, cell: Cell): string | undefined {
  return lackOf(drivers[peer.driver], cell) ?? exclusionOf(cell, peer.runtime);
}

/**
 * The cells of one stage and abuse that there was no time for: each has its place in one of several
 * passes, so that a run that is stopped has taken some ways of every kind.
 */
export function unrun(
  peer: Peer,
  { stage, abuse, pass }: { stage: Stage; abuse: Abuse; pass: Pass },
): readonly Result[] {
  const names = waysOf(stage, abuse, pass);
  const cells = cellsOf(stage, abuse).filter(({ way }) => names.includes(way.name));
  return cells.map((cell) => {
    const reason = whyNot(peer, cell);
    return { stage, abuse, way: cell.way.name, verdict: reason ? "cannot" : "unrun", reason };
  });
}

/** One of several passes, from 0. */
export interface Pass {
  readonly index: number;
  readonly count: number;
}

/** The names of the ways of a pass. */
export function waysOf(stage: Stage, abuse: Abuse, { index, count }: Pass): readonly string[] {
  const cells = cellsOf(stage, abuse).filter((_, i) => i % count === index);
  return cells.map(({ way }) => way.name);
}

/** Runs the cells of one stage and abuse to their end; `only` are the names of ways to keep. */
export async function runGroup(
  peer: Peer,
  { stage, abuse, only }: { stage: Stage; abuse: Abuse; only?: readonly string[] },
  folders: Folders,
): Promise<readonly Result[]> {
  const cells = cellsOf(stage, abuse).filter(({ way }) => only?.includes(way.name) ?? true);
  const missing = cells.flatMap((cell): Result[] => {
    const reason = whyNot(peer, cell);
    return reason ? [{ stage, abuse, way: cell.way.name, verdict: "cannot", reason }] : [];
  });
  const waiting = cells.filter((cell) => whyNot(peer, cell) === undefined);
  const found: Result[] = [];
  while (waiting.length > 0) {
    const batch = nextBatch(waiting);
    const ways = batch.map(({ way }) => way.name);
    const { driver, installed } = peer;
    const orders: Orders = { driver, installed, stage, abuse, ...folders, ways };
    const over = await runChild(peer, orders);
    for (const [way, verdict] of over) found.push({ stage, abuse, way, verdict });
    for (let i = waiting.length - 1; i >= 0; i--) {
      if (over.has(waiting[i]?.way.name ?? "")) waiting.splice(i, 1);
    }
  }
  return [...missing, ...found];
}

/* What goes on while its process or thread ends has a process of its own: it may die behind its
   last word. */
function nextBatch(waiting: readonly Cell[]): readonly Cell[] {
  const [first] = waiting;
  const ends = first?.stage === "exiting" || first?.stage.startsWith("worker-");
  if (!ends) return waiting;
  return first?.way.waits ? [first] : waiting.filter(({ way }) => !way.waits);
}

/** Runs a child and returns what became of the cells up to its end. */
async function runChild(peer: Peer, orders: Orders): Promise<ReadonlyMap<string, Verdict>> {
  const path = join(orders.work, "report.txt");
  const fd = openSync(path, "w");
  const script = fileURLToPath(new URL("./child.js", import.meta.url));
  const child = spawn(peer.binary, [...flagsOf(peer), script, JSON.stringify(orders)], {
    cwd: orders.work,
    stdio: ["ignore", fd, process.env["PEERS_VERBOSE"] ? "inherit" : "ignore"],
    env: {
      ...process.env,
      NODE_NO_WARNINGS: "1",
      NODE_TEST_CONTEXT: undefined,
      /* A report of a crash to its makers takes longer than all cells. */
      BUN_ENABLE_CRASH_REPORTING: "0",
    },
  });
  closeSync(fd);
  const isSilent = watch(path, () => child.kill("SIGKILL"));
  const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>(
    (resolve, reject) => {
      child.on("error", reject);
      child.on("exit", (...end) => resolve(end));
    },
  );
  const end = isSilent.stop() ? "hung" : endOf(code, signal);
  const { over, unfinished } = readReport(readFileSync(path, "utf8"));
  if (end === undefined) return withoutGaps(over, orders);
  const last = unfinished ?? [...over.keys()].at(-1);
  if (last === undefined) throw new Error(`${orders.driver}: the child has not begun: ${end}`);
  return new Map([...over, [last, end]]);
}

/* A child that ends as if all were well has done all of its cells. */
function withoutGaps(over: ReadonlyMap<string, Verdict>, { ways }: Orders): typeof over {
  const missing = ways.filter((way) => !over.has(way));
  if (missing.length > 0) throw new Error(`nothing was said of ${missing.join(", ")}`);
  return over;
}

function flagsOf({ runtime }: Peer): string[] {
  if (runtime === "bun") return [];
  return runtime === "deno"
    ? ["run", "-A", "--no-check", "--no-lock", "--v8-flags=--expose-gc"]
    : ["--expose-gc"];
}

function endOf(code: number | null, signal: NodeJS.Signals | null): Verdict | undefined {
  if (signal === "SIGBUS" || signal === "SIGSEGV") return signal;
  return code === 0 ? undefined : "abort";
}

/* Calls when a file has not grown for too long; stop() tells whether it has. */
function watch(path: string, onSilence: () => void): { stop(): boolean } {
  let size = 0;
  let silentMs = 0;
  let isSilent = false;
  const timer = setInterval(() => {
    const now = statSync(path).size;
    silentMs = now === size ? silentMs + pollMs : 0;
    size = now;
    if (silentMs < silenceMsMax || isSilent) return;
    isSilent = true;
    onSilence();
  }, pollMs);
  const stop = () => {
    clearInterval(timer);
    return isSilent;
  };
  return { stop };
}
