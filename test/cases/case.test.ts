// The runner of cases: what it counts as passed, as skipped, and as neither.

import assert from "node:assert/strict";
import test from "node:test";
import { type Case, type CaseContext, runCase, testCases } from "./case.js";

/** The context of a test that keeps what it is told. */
function makeContext(): CaseContext & { readonly skips: string[] } {
  const skips: string[] = [];
  return { skips, skip: (reason) => skips.push(reason), after: (fn) => fn() };
}

function makeCase(run: Case["run"], skip?: Case["skip"]): Case {
  return { id: "suite:file", says: "something", run, skip };
}

test("a case that checks something passes", async () => {
  const context = makeContext();
  const item = makeCase((check) => check.equal(1, 1));
  assert.deepEqual(await runCase(item, context), { id: "suite:file", skipped: undefined });
  assert.deepEqual(context.skips, []);
});

test("a case that checks nothing fails, and so does one whose check fails", async () => {
  const nothing = makeCase(() => {});
  await assert.rejects(runCase(nothing, makeContext()), /checks nothing/);
  const wrong = makeCase((check) => check.ok(false, "wrong"));
  await assert.rejects(runCase(wrong, makeContext()), /wrong/);
  const accepted = makeCase((check) => check.refuses(() => {}, "EINVAL"));
  await assert.rejects(runCase(accepted, makeContext()), /not refused with EINVAL/);
});

test("a skip inside a case is its outcome, with the reason", async () => {
  const context = makeContext();
  const item = makeCase((_check, t) => t.skip("needs a moon"));
  assert.deepEqual(await runCase(item, context), { id: "suite:file", skipped: "needs a moon" });
  assert.deepEqual(context.skips, ["needs a moon"]);
});

test("a skip without a reason is a failure, wherever it stands", async () => {
  for (const reason of [undefined, null, "", "  ", false, true, 1]) {
    const item = makeCase((_check, t) => Reflect.apply(t.skip, t, [reason]));
    await assert.rejects(runCase(item, makeContext()), /a skip needs a reason/);
  }
  for (const reason of ["", " "]) {
    assert.throws(() => testCases([makeCase(() => {}, reason)]), /a skip needs a reason/);
  }
});

test("an id that stands twice is refused before any test is defined", () => {
  const item = makeCase(() => {});
  assert.throws(() => testCases([item, item]), /an id stands twice/);
});
