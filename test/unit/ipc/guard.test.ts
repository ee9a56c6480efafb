// src/ipc/guard.ts: a guard gives its hold back once, whichever way it ends.

import assert from "node:assert/strict";
import test from "node:test";
import { MemmapError } from "memmap";
import { Guard, type Holdable } from "#dist/ipc/guard.js";
import { hasCode } from "../support.js";

function makeLock(): Holdable & { readonly log: string[] } {
  const log: string[] = [];
  return {
    log,
    repaired: (hold) => log.push(`repaired ${hold}`),
    letGo: (hold) => log.push(`let go ${hold}`),
  };
}

test("a guard gives back the hold that it has, once", () => {
  const lock = makeLock();
  const guard = new Guard(lock, 7, false);
  assert.equal(guard.ownerDied, false);
  guard.release();
  guard.release();
  guard[Symbol.dispose]();
  assert.deepEqual(lock.log, ["let go 7"]);
});

test("recover() tells the lock, and is too late after the release", () => {
  const lock = makeLock();
  const guard = new Guard(lock, 1, true);
  assert.equal(guard.ownerDied, true);
  guard.recover();
  assert.equal(guard.ownerDied, false);
  guard[Symbol.dispose]();
  assert.throws(() => guard.recover(), hasCode(MemmapError, "ERR_MEMMAP_CLOSED"));
  assert.deepEqual(lock.log, ["repaired 1", "let go 1"]);
});

test("a recovery that failed leaves the guard as it was", () => {
  const lock: Holdable = {
    repaired: () => assert.fail("not here"),
    letGo: () => undefined,
  };
  const guard = new Guard(lock, 0, true);
  assert.throws(() => guard.recover(), /not here/);
  assert.equal(guard.ownerDied, true);
});
