// Makes random calls of the raw door for a time, alone or with a second thread on the same
// addresses, and looks after each round whether anything else was changed. Ends by itself, with a
// line of JSON that counts the rounds, and the calls by their outcome; of two threads, those of the
// first.
//
//   random-child.js SEED MILLISECONDS FOLDER alone|together

import assert from "node:assert/strict";
import { mkdirSync, writeSync } from "node:fs";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { isMainThread, threadId, Worker, workerData } from "node:worker_threads";
import fc from "fast-check";
import { FaultError, MemmapError } from "memmap";
import * as raw from "memmap/raw";
import { anyCall, makeCall, type RandomCall, skipped } from "./random-calls.js";
import { Canaries } from "./random-canaries.js";
import { World } from "./random-world.js";

interface Orders {
  readonly seed: number;
  readonly milliseconds: number;
  readonly folder: string;
  readonly pool?: SharedArrayBuffer | undefined;
}

/** How often each call came to each end: "ok", "skipped", or the code of its error. */
type Counts = Record<string, Record<string, number>>;

interface Outcome {
  readonly rounds: number;
  readonly counts: Counts;
}

function codeOf(error: unknown): string {
  assert.ok(error instanceof Error && "code" in error, `an error without a code: ${String(error)}`);
  const isOurs = error instanceof MemmapError || /^ERR_/.test(String(error.code));
  assert.ok(isOurs || "syscall" in error, `an error of another kind: ${error.stack}`);
  assert.doesNotMatch(String(error.code), /^E\d+$/, `an errno without a name: ${error.stack}`);
  return String(error.code);
}

/** Faults are told, and are no failure here. */
const told = { count: 0 };
process.on("uncaughtException", (error) => {
  if (!(error instanceof FaultError)) {
    writeSync(2, `uncaught: ${error instanceof Error ? error.stack : String(error)}\n`);
    process.exit(3);
  }
  told.count += 1;
});

function collectAll(): void {
  for (;;) {
    try {
      raw.check(0n, 2n ** 64n - 1n);
      return;
    } catch (error) {
      if (!(error instanceof FaultError)) throw error;
      told.count += 1;
    }
  }
}

/** What the engine collects, it collects now. */
function collectGarbage(): void {
  const { gc, Bun } = globalThis as { gc?: () => void; Bun?: { gc(now: boolean): void } };
  gc?.();
  Bun?.gc(true);
}

const trace = process.env["MEMMAP_RANDOM_TRACE"] !== undefined;

function write(call: RandomCall): void {
  const text = JSON.stringify(call, (_, value: unknown) =>
    typeof value === "object" || typeof value === "number" || typeof value === "string"
      ? value
      : String(value),
  );
  writeSync(2, `${threadId} ${text}\n`);
}

function makeAll(world: World, calls: readonly RandomCall[], counts: Counts): void {
  for (const call of calls) {
    let outcome = "ok";
    if (trace) write(call);
    try {
      if (makeCall(world, call) === skipped) outcome = "skipped";
    } catch (error) {
      outcome = codeOf(error);
    }
    const row = counts[call.name] ?? {};
    row[outcome] = (row[outcome] ?? 0) + 1;
    counts[call.name] = row;
  }
}

async function run({ seed, milliseconds, folder, pool }: Orders): Promise<Outcome> {
  const counts: Counts = {};
  const canaries = new Canaries();
  mkdirSync(folder, { recursive: true });
  const world = new World(folder, pool === undefined ? undefined : new BigUint64Array(pool));
  let rounds = 0;
  const property = fc.asyncProperty(
    fc.array(anyCall, { minLength: 20, maxLength: 60, size: "max" }),
    async (calls) => {
      world.look();
      makeAll(world, calls, counts);
      collectAll();
      raw.munlockall();
      canaries.check();
      rounds += 1;
      if (rounds % 16 === 0) {
        collectGarbage();
        await nextTurn();
        canaries.checkAll();
      }
    },
  );
  const limits = { numRuns: 1_000_000, interruptAfterTimeLimit: milliseconds, endOnFailure: true };
  const { failed, errorInstance } = await fc.check(property, { seed, ...limits });
  if (failed) throw errorInstance;
  world.end();
  collectGarbage();
  await nextTurn();
  collectAll();
  canaries.end();
  return { rounds, counts };
}

/** A second thread, which is ended in the middle of its calls. */
async function runTogether(orders: Orders): Promise<Outcome> {
  const pool = new SharedArrayBuffer(8 * 64);
  const other = new Worker(new URL(import.meta.url), {
    workerData: {
      ...orders,
      seed: orders.seed + 1,
      milliseconds: orders.milliseconds * 10,
      folder: join(orders.folder, "other"),
      pool,
    } satisfies Orders,
  });
  const failed: unknown[] = [];
  other.on("error", (error: unknown) => {
    if (!(error instanceof FaultError)) failed.push(error);
  });
  const outcome = await run({ ...orders, pool });
  await other.terminate();
  await run({ ...orders, seed: orders.seed + 2, milliseconds: 300, pool });
  for (const error of failed) writeSync(2, `the other thread: ${String(error)}\n`);
  if (failed.length > 0) process.exitCode = 4;
  return outcome;
}

if (isMainThread) {
  const [seed = "0", milliseconds = "1000", folder = ".", way = "alone"] = process.argv.slice(2);
  const orders = { seed: Number(seed), milliseconds: Number(milliseconds), folder };
  const outcome = way === "together" ? await runTogether(orders) : await run(orders);
  writeSync(1, `${JSON.stringify({ seed: orders.seed, told: told.count, ...outcome })}\n`);
} else {
  await run(workerData);
}
