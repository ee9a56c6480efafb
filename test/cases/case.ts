// The runner of cases that outside suites wrote down: each is a behaviour with an id, told again
// in terms of the doors of memmap. A case that checks nothing fails, and so does one that skips
// without a reason. The lists stand in the files beside this one; counts.test.ts counts them for
// docs/conformance.md.

import assert from "node:assert/strict";
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

/** Defines the tests of a list of cases. */
export function testCases(cases: readonly Case[]): void {
  const ids = cases.map(({ id }) => id);
  assert.equal(new Set(ids).size, ids.length, "an id stands twice");
  for (const { id, says, skip = false, run } of cases) {
    test(`${id}: ${says}`, { skip, timeout: 120_000 }, async (t) => {
      let isSkipped = false;
      const check = new Check();
      const context: CaseContext = {
        after: (fn) => undoAfter(t, fn),
        skip: (reason) => {
          assert.notEqual(reason, "", "a skip needs a reason");
          isSkipped = true;
          t.skip(reason);
        },
      };
      await run(check, context);
      if (!isSkipped) assert.ok(check.count > 0, "the case checks nothing");
    });
  }
}
