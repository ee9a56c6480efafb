// src/ipc/mutex.ts: one holder at a time, and what becomes of the lock when its owner dies.

import assert from "node:assert/strict";
import test from "node:test";
import { MemmapError, SystemError } from "memmap";
import { Mutex, notify } from "memmap/ipc";
import { abandoned } from "#dist/ipc/lock-word.js";
import { thisThread } from "#dist/ipc/owner.js";
import { dead, makeShared, stranger, transferAway, until } from "../../ipc/lock-support.js";
import { type Structure, testPlaces, testWaits } from "../../ipc/structure-tests.js";
import { hasCode } from "../support.js";

const structure: Structure = {
  kind: "mutex",
  byteLength: Mutex.byteLength,
  format: 3,
  make(bytes) {
    const mutex = new Mutex(bytes);
    return {
      use: () => mutex.tryLock()?.release(),
      wait: async (options) => (await mutex.lock(options)).release(),
      waitSync: (options) => mutex.lockSync(options).release(),
    };
  },
  block: (words) => {
    words[0] = stranger.id;
  },
  unblock: (words) => {
    Atomics.store(words, 0, 0);
    notify(words, 0);
  },
};

testPlaces(structure);
testWaits(structure);

/** A mutex whose owner has died, and nobody has noticed. */
function makeOrphan(t: { after(fn: () => void): void }) {
  const shared = makeShared(t);
  const mutex = new Mutex(shared.bytes);
  shared.words.set([dead.id, dead.startTime]);
  return { ...shared, mutex };
}

test("a free mutex is taken by one word, and given back", (t) => {
  const { bytes, words } = makeShared(t);
  const mutex = new Mutex(bytes);
  const { id, startTime } = thisThread();
  for (const take of [() => mutex.lockSync(), () => mutex.tryLock()]) {
    const guard = take();
    assert.ok(guard);
    assert.deepEqual([guard.ownerDied, words[0], words[1]], [false, id, startTime]);
    assert.equal(mutex.tryLock(), undefined);
    guard.release();
    assert.deepEqual([words[0], words[1]], [0, 0]);
  }
});

test("while it is held the mapping is pinned", (t) => {
  const { bytes, mapping } = makeShared(t);
  const mutex = new Mutex(bytes);
  {
    using guard = mutex.lockSync();
    assert.equal(guard.ownerDied, false);
    assert.throws(() => mapping.close(), hasCode(MemmapError, "ERR_MEMMAP_PINNED"));
  }
  mapping.close();
});

test("a release over a transferred buffer is an error, and pins no more", (t) => {
  const { bytes, mapping } = makeShared(t);
  const mutex = new Mutex(bytes);
  const guard = mutex.lockSync();
  transferAway(mapping.buffer);
  const gone = hasCode(MemmapError, "ERR_MEMMAP_CLOSED", /its buffer was transferred/);
  assert.throws(() => mutex.tryLock(), gone);
  assert.throws(() => guard.release(), gone);
  mapping.close();
});

test("two tasks of one thread are two owners; a wait that blocks it is a deadlock", async (t) => {
  const { bytes } = makeShared(t);
  const mutex = new Mutex(bytes);
  const same = new Mutex(bytes);
  const first = await mutex.lock();
  const order: string[] = [];
  const second = same.lock().then((guard) => {
    order.push("second");
    guard.release();
  });
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.throws(() => same.lockSync(), hasCode(SystemError, "EDEADLK"));
  order.push("first");
  first.release();
  await second;
  assert.deepEqual(order, ["first", "second"]);
});

test("many tasks that wait come all to their turn, one at a time", async (t) => {
  const { bytes } = makeShared(t);
  const mutex = new Mutex(bytes);
  let inside = 0;
  let done = 0;
  const task = async () => {
    for (let i = 0; i < 5; i += 1) {
      using _guard = await mutex.lock();
      inside += 1;
      assert.equal(inside, 1);
      await new Promise((resolve) => setImmediate(resolve));
      inside -= 1;
      done += 1;
    }
  };
  await Promise.all(Array.from({ length: 20 }, task));
  assert.equal(done, 100);
});

test("who comes after a dead owner is told, and recovers", async (t) => {
  const { mutex, words } = makeOrphan(t);
  assert.equal(mutex.tryLock(), undefined, "the dead are found by those who wait");
  const guard = await mutex.lock();
  assert.equal(guard.ownerDied, true);
  guard.recover();
  assert.equal(guard.ownerDied, false);
  guard.release();
  assert.deepEqual([words[0], words[1]], [0, 0]);
  const next = mutex.tryLock();
  assert.equal(next?.ownerDied, false);
  next?.release();
});

test("released without recover(), it is abandoned, for those who wait and who come", async (t) => {
  const { mutex, words } = makeOrphan(t);
  const guard = mutex.lockSync();
  assert.equal(guard.ownerDied, true);
  const gone = hasCode(MemmapError, "ERR_MEMMAP_OWNER_DIED");
  const waiting = assert.rejects(mutex.lock(), gone);
  await until(() => (words[0] ?? 0) < 0);
  guard.release();
  await waiting;
  assert.equal((words[0] ?? 0) & 0x7fff_ffff, abandoned);
  assert.throws(() => mutex.lockSync(), gone);
  assert.throws(() => mutex.tryLock(), gone);
  await assert.rejects(mutex.lock(), gone);
});

test("an owner that has only just died is found by those who wait already", async (t) => {
  const { bytes, words } = makeShared(t);
  const mutex = new Mutex(bytes);
  words[0] = stranger.id;
  const waiting = mutex.lock();
  await until(() => (words[0] ?? 0) < 0);
  Atomics.store(words, 0, dead.id | (1 << 31));
  Atomics.store(words, 1, dead.startTime);
  const guard = await waiting;
  assert.equal(guard.ownerDied, true);
  guard.recover();
  guard.release();
});

test("garbage in its words is an error, an owner that died, or a wait that ends", async (t) => {
  const { bytes, words } = makeShared(t);
  const mutex = new Mutex(bytes);
  const format = words[3] ?? 0;
  const seen = new Set<string>();
  for (let seed = 1; seed < 60; seed += 1) {
    for (let i = 0; i < 4; i += 1) words[i] = Math.imul(seed * 4 + i, 0x9e37_79b1) ^ (seed << 26);
    if (seed % 3 === 0) words[2] = thisThread().namespace;
    words[3] = format;
    try {
      const guard =
        seed % 2 === 0 ? mutex.lockSync({ timeoutMs: 0 }) : await mutex.lock({ timeoutMs: 0 });
      seen.add(`taken, ${guard.ownerDied}`);
      words.fill(0x5a5a_5a5a, 0, 2);
      assert.throws(() => guard.release(), hasCode(MemmapError, "ERR_MEMMAP_CORRUPT"));
    } catch (error) {
      assert.ok(error instanceof MemmapError, String(error));
      seen.add(error.code);
    }
  }
  assert.ok(seen.has("taken, true") && seen.has("ERR_MEMMAP_TIMEOUT"), [...seen].join());
});

test("where namespaces mix, no owner is taken for dead", async (t) => {
  const { mutex, words } = makeOrphan(t);
  words[2] = -1;
  await assert.rejects(mutex.lock({ timeoutMs: 60 }), { code: "ERR_MEMMAP_TIMEOUT" });
});
