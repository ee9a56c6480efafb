// src/mapping.ts: what waits for storage: its arguments, its signals, and what happens to it when
// the mapping is resized or closed meanwhile.

import assert from "node:assert/strict";
import { pbkdf2 } from "node:crypto";
import { truncateSync } from "node:fs";
import test from "node:test";
import { promisify } from "node:util";
import { FaultError, Mapping, MemmapError, mapAnonymous, mapFileSync, pageSize } from "memmap";
import { flagsAt, statusBytes } from "../helpers/proc-self.js";
import { hasCode, patternFile } from "./support.js";

const closed = hasCode(MemmapError, "ERR_MEMMAP_CLOSED");

/** Keeps each thread of the runtime's pool at work for a moment: calls after it have to wait. */
function occupyPool(): Promise<unknown> {
  const work = () => promisify(pbkdf2)("password", "salt", 100_000, 64, "sha512");
  return Promise.all(Array.from({ length: 8 }, work));
}

/** Locks cannot be looked at where the library of a sanitizer answers mlock(2) itself. */
const locks = {
  skip: process.env["LD_PRELOAD"]?.includes("asan") === true && "AddressSanitizer locks nothing",
};

/** The three methods that wait, by name. */
const waiting = ["flush", "load", "lock"] as const;

test("a Mapping comes from the functions that map, and from no constructor", () => {
  const refused = hasCode(TypeError, "ERR_ILLEGAL_CONSTRUCTOR", /mapFile or mapAnonymous/);
  assert.throws(() => Reflect.construct(Mapping, []), refused);
  assert.throws(() => Reflect.construct(Mapping, [{}, Symbol("memmap.construct")]), refused);
});

test("what waits rejects for a bad argument and never throws", async () => {
  using mapping = mapAnonymous(pageSize);
  for (const name of waiting) {
    for (const [options, type, code] of [
      [{ offset: -1 }, RangeError, "ERR_OUT_OF_RANGE"],
      [{ length: pageSize + 1 }, RangeError, "ERR_OUT_OF_RANGE"],
      [{ offset: "0" }, TypeError, "ERR_INVALID_ARG_TYPE"],
      [{ signal: {} }, TypeError, "ERR_INVALID_ARG_TYPE"],
      [null, TypeError, "ERR_INVALID_ARG_TYPE"],
      [[], TypeError, "ERR_INVALID_ARG_TYPE"],
    ] as const) {
      const promise: unknown = Reflect.apply(mapping[name], mapping, [options]);
      assert.ok(promise instanceof Promise);
      await assert.rejects(promise, hasCode(type, code));
    }
  }
  const bad: unknown = Reflect.apply(mapping.flush, mapping, [{ wait: 1 }]);
  assert.ok(bad instanceof Promise);
  await assert.rejects(bad, hasCode(TypeError, "ERR_INVALID_ARG_TYPE", /options\.wait/));
});

test("what waits does nothing for an empty range, but looks at its signal", async () => {
  using mapping = mapAnonymous(pageSize);
  using empty = mapAnonymous(0);
  const reason = new Error("stop");
  for (const name of waiting) {
    await mapping[name]({ offset: pageSize });
    await empty[name]();
    const signal = AbortSignal.abort(reason);
    await assert.rejects(empty[name]({ signal }), reason);
    await assert.rejects(mapping[name]({ signal }), reason);
  }
  mapping.flushSync({ length: 0 });
  mapping.loadSync({ length: 0 });
  mapping.lockSync({ length: 0 });
});

test("what waits rejects with the signal's reason, whatever that is", async () => {
  const busy = occupyPool();
  using mapping = mapAnonymous(pageSize, { sharing: "shared" });
  for (const name of waiting) {
    const controller = new AbortController();
    const promise = mapping[name]({ signal: controller.signal });
    controller.abort("any value");
    const reason = await promise.then(
      () => "fulfilled",
      (given: unknown) => given,
    );
    assert.equal(reason, "any value");
  }
  await busy;
});

test("10,000 calls that wait all reject when the mapping is closed", async () => {
  const busy = occupyPool();
  const mapping = mapAnonymous(16 * pageSize, { sharing: "shared" });
  mapping.bytes.fill(1);
  const promises = Array.from({ length: 10_000 }, () => mapping.flush());
  mapping.close();
  const results = await Promise.allSettled(promises);
  for (const result of results) {
    assert.equal(result.status, "rejected");
    if (result.status === "rejected") closed(result.reason);
  }
  await busy;
});

test("a lock that was waiting when its mapping was closed locks nothing", async () => {
  const before = statusBytes("VmLck");
  const busy = occupyPool();
  const mapping = mapAnonymous(1024 * pageSize);
  mapping.bytes[0] = 1;
  const promise = mapping.lock();
  mapping.close();
  await assert.rejects(promise, closed);
  await busy;
  // Behind the call of ours in the queue of the pool.
  await occupyPool();
  assert.equal(statusBytes("VmLck"), before);
});

test(
  "a lock that was waiting when its mapping was resized locks the new pages",
  locks,
  async () => {
    const before = statusBytes("VmLck");
    const busy = occupyPool();
    using mapping = mapAnonymous(16 * pageSize, { sharing: "shared" });
    mapping.bytes[0] = 1;
    const promise = mapping.lock();
    mapping.resize(32 * pageSize);
    await promise;
    assert.ok(flagsAt(mapping.address).includes("lo"));
    await busy;
    assert.equal(statusBytes("VmLck") - before, 16 * pageSize);
  },
);

test("a load of several pieces goes on when the mapping is resized meanwhile", async (t) => {
  const path = patternFile(t, 0);
  truncateSync(path, 600 * 2 ** 20);
  for (const length of [300 * 2 ** 20, 0]) {
    const mapping = mapFileSync(path);
    t.after(() => mapping.close());
    const promise = mapping.load();
    mapping.resize(length);
    await promise;
  }
});

test("load() and loadSync() name the first byte of their range that cannot come", async (t) => {
  const path = patternFile(t, 4 * pageSize);
  const mapping = mapFileSync(path, { offset: 100 });
  t.after(() => mapping.close());
  truncateSync(path, 2 * pageSize);
  const cases: readonly [offset: number, expected: number][] = [
    [0, 2 * pageSize - 100],
    [2 * pageSize, 2 * pageSize],
    [3 * pageSize - 100, 3 * pageSize - 100],
  ];
  for (const [offset, expected] of cases) {
    const isFault = (error: unknown): true => {
      hasCode(FaultError, "ERR_MEMMAP_FAULT")(error);
      assert.ok(error instanceof FaultError);
      assert.deepEqual([error.byteOffset, error.reason], [expected, "truncated"]);
      return true;
    };
    assert.throws(() => mapping.loadSync({ offset }), isFault);
    await assert.rejects(mapping.load({ offset }), isFault);
  }
  mapping.loadSync({ length: 2 * pageSize - 100 });
  await mapping.load({ length: 2 * pageSize - 100 });
});

test("the options of flush reach the kernel: locked pages refuse invalidate", locks, async () => {
  using mapping = mapAnonymous(pageSize, { sharing: "shared" });
  mapping.lockSync();
  const busy = hasCode(MemmapError, "EBUSY", /, msync$/);
  assert.throws(() => mapping.flushSync({ invalidate: true }), busy);
  assert.throws(() => mapping.flushSync({ invalidate: true, wait: false }), busy);
  await assert.rejects(mapping.flush({ invalidate: true }), busy);
  mapping.flushSync({ wait: false });
  mapping.unlock();
  mapping.flushSync({ invalidate: true });
});

test("onfault takes a function or null, and nothing else", () => {
  using mapping = mapAnonymous(1);
  assert.equal(mapping.onfault, null);
  const listener = () => {};
  mapping.onfault = listener;
  assert.equal(mapping.onfault, listener);
  for (const value of [undefined, 1, "f", {}, [], true]) {
    const refused = hasCode(TypeError, "ERR_INVALID_ARG_TYPE", /"onfault"/);
    assert.throws(() => Reflect.set(mapping, "onfault", value), refused);
  }
  assert.equal(mapping.onfault, listener);
  mapping.onfault = null;
  assert.equal(mapping.onfault, null);
});

test("flush() and flushSync() flush first, and then throw what nobody had collected", async (t) => {
  const path = patternFile(t, 2 * pageSize);
  const mapping = mapFileSync(path, { faults: "collect", protection: "read-write" });
  t.after(() => mapping.close());
  const fault = hasCode(FaultError, "ERR_MEMMAP_FAULT", /byte 4096/);
  for (const flush of [async () => mapping.flushSync(), () => mapping.flush()]) {
    truncateSync(path, pageSize);
    assert.equal(mapping.bytes[pageSize], 0);
    await assert.rejects(flush, fault);
    await flush();
    truncateSync(path, 2 * pageSize);
    mapping.remap();
  }
});

test("load() and loadSync() throw for a page that was repaired, until remap()", async (t) => {
  const path = patternFile(t, 2 * pageSize);
  const mapping = mapFileSync(path, { faults: "collect" });
  t.after(() => mapping.close());
  truncateSync(path, pageSize);
  assert.equal(mapping.bytes[pageSize], 0);
  truncateSync(path, 2 * pageSize);
  const fault = hasCode(FaultError, "ERR_MEMMAP_FAULT", /Cannot read byte 4096/);
  for (let i = 0; i < 2; i++) {
    assert.throws(() => mapping.loadSync(), fault);
    await assert.rejects(mapping.load(), fault);
  }
  mapping.loadSync({ length: pageSize });
  await mapping.load({ length: pageSize });
  mapping.remap();
  mapping.loadSync();
  await mapping.load();
});
