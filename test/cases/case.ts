// The runner of cases that outside suites wrote down: each is a behaviour with an id, told again
// in terms of the doors of memmap. A case that checks nothing fails, and so does one that skips
// without a reason. What became of each case is written down where `MEMMAP_CASE_OUTCOMES` names a
// file: scripts/conformance.mjs counts that. The lists stand in the files beside this one.

import assert from "node:assert/strict";
import { appendFileSync } from "node:fs";
import test from "node:test";
import { SystemError } from "memmap";
import { type Cleanup, undoAfter } from "../helpers/temp.js";

/** What a case checks with: every call counts. */
export class Check {
  count = 0;

  ok(value: unknown, message?: string): void {
    this.count += 1;
    assert.ok(value, message);
  }

  equal(actual: unknown, expected: unknown, message?: string): void {
    this.count += 1;
    assert.strictEqual(actual, expected, message);
  }

  deepEqual(actual: unknown, expected: unknown, message?: string): void {
    this.count += 1;
    assert.deepStrictEqual(actual, expected, message);
  }

  match(actual: string, expected: RegExp, message?: string): void {
    this.count += 1;
    assert.match(actual, expected, message);
  }

  /** The call fails with one of these codes: of a SystemError, a MemmapError, or of Node. */
  refuses(call: () => unknown, ...codes: readonly string[]): void {
    this.count += 1;
    const name = codes.join(" or ");
    try {
      call();
    } catch (error) {
      assert.ok(error instanceof Error && "code" in error, `no code: ${String(error)}`);
      assert.ok(codes.includes(String(error.code)), `${String(error)}: not ${name}`);
      if (/^E[A-Z0-9]+$/.test(String(error.code)) && error instanceof SystemError) {
        assert.ok(error.errno < 0 && error.syscall !== "", "not in the shape of Node");
      }
      return;
    }
    assert.fail(`it was accepted, and not refused with ${name}`);
  }
}

/** The part of a test's context that a case may use. */
export interface CaseContext extends Cleanup {
  /** Skips from here on, for what shows only when it is tried; the case must return at once. */
  skip(reason: string): void;
}

/** One behaviour. */
export interface Case {
  /** `suite:file[:case]`, as its suite calls it. */
  readonly id: string;
  /** What is expected, in a clause. */
  readonly says: string;
  /** Why it cannot run here; false or left out when it can. Told without running anything. */
  readonly skip?: string | false | undefined;
  readonly run: (check: Check, t: CaseContext) => void | Promise<void>;
}

/** What became of a case; one that fails has an error instead. */
export interface Outcome {
  readonly id: string;
  /** Why it was skipped; undefined when it passed. */
  readonly skipped?: string | undefined;
}

/** The reason of a skip, which is words and nothing else. */
function reasonOf(value: unknown): string {
  assert.ok(typeof value === "string" && value.trim() !== "", "a skip needs a reason");
  return value;
}

/** Runs a case that its list does not skip. */
export async function runCase(item: Case, t: CaseContext): Promise<Outcome> {
  const check = new Check();
  let skipped: string | undefined;
  await item.run(check, {
    after: (fn) => undoAfter(t, fn),
    skip: (reason) => {
      skipped = reasonOf(reason);
      t.skip(skipped);
    },
  });
  if (skipped === undefined) assert.ok(check.count > 0, "the case checks nothing");
  return { id: item.id, skipped };
}

/** Writes down what became of a case, a line for each. */
function report(outcome: Outcome): void {
  const file = process.env["MEMMAP_CASE_OUTCOMES"];
  if (file) appendFileSync(file, `${JSON.stringify(outcome)}\n`);
}

/** Defines the tests of a list of cases. */
export function testCases(cases: readonly Case[]): void {
  const ids = cases.map(({ id }) => id);
  assert.equal(new Set(ids).size, ids.length, "an id stands twice");
  for (const item of cases) {
    const skip = (item.skip ?? false) === false ? false : reasonOf(item.skip);
    if (skip) report({ id: item.id, skipped: skip });
    test(`${item.id}: ${item.says}`, { skip, timeout: 120_000 }, async (t) => {
      report(await runCase(item, t));
    });
  }
}
