// src/ipc/semaphore.ts: permits are neither lost nor doubled.

import assert from "node:assert/strict";
import test from "node:test";
import { MemmapError } from "memmap";
import { notify, Semaphore } from "memmap/ipc";
import { makeShared } from "../../ipc/lock-support.js";
import { type Structure, testPlaces, testWaits } from "../../ipc/structure-tests.js";
import { hasCode } from "../support.js";

const structure: Structure = {
  kind: "semaphore",
  byteLength: Semaphore.byteLength,
  format: 3,
  make(bytes) {
    const semaphore = new Semaphore(bytes);
    return {
      use: () => semaphore.value,
      wait: (options) => semaphore.acquire(1, options),
      waitSync: (options) => semaphore.acquireSync(1, options),
    };
  },
  unblock: (words) => {
    Atomics.store(words, 0, 1);
    Atomics.add(words, 1, 1);
    notify(words, 1);
  },
};

testPlaces(structure);
testWaits(structure);

test("permits are taken all at once or not at all, and given back once", async (t) => {
  const { bytes, words } = makeShared(t);
  const semaphore = new Semaphore(bytes);
  assert.equal(semaphore.value, 0);
  assert.equal(semaphore.tryAcquire(), undefined);
  semaphore.release(5);
  const permit = semaphore.acquireSync(2);
  const other = await semaphore.acquire(2);
  assert.deepEqual([permit.count, other.count, semaphore.value, words[0]], [2, 2, 1, 1]);
  assert.equal(semaphore.tryAcquire(2), undefined);
  permit.release();
  permit.release();
  permit[Symbol.dispose]();
  assert.equal(semaphore.value, 3);
  {
    using _rest = semaphore.tryAcquire(3);
    assert.equal(semaphore.value, 0);
  }
  assert.equal(semaphore.value, 3);
});

test("it holds 2147483647 permits, and no more", (t) => {
  const { bytes } = makeShared(t);
  const semaphore = new Semaphore(bytes);
  const range = hasCode(RangeError, "ERR_OUT_OF_RANGE");
  semaphore.release(2 ** 31 - 2);
  assert.throws(() => semaphore.release(2), range);
  semaphore.release();
  assert.throws(() => semaphore.release(), range);
  assert.equal(semaphore.value, 2 ** 31 - 1);
  const all = semaphore.acquireSync(2 ** 31 - 1);
  assert.equal(semaphore.value, 0);
  all.release();
  for (const count of [0, -1, 1.5, 2 ** 31]) {
    assert.throws(() => semaphore.release(count), range);
    assert.throws(() => semaphore.tryAcquire(count), range);
    assert.throws(() => semaphore.acquireSync(count), range);
  }
});

test("a release wakes all who find enough, and the others wait on", async (t) => {
  const { bytes } = makeShared(t);
  const semaphore = new Semaphore(bytes);
  const got: number[] = [];
  const waits = [1, 2, 7].map(async (count) => {
    await semaphore.acquire(count);
    got.push(count);
  });
  await new Promise((resolve) => setTimeout(resolve, 30));
  semaphore.release(3);
  await Promise.all(waits.slice(0, 2));
  assert.deepEqual([got.sort(), semaphore.value], [[1, 2], 0]);
  semaphore.release(7);
  await Promise.all(waits);
  assert.equal(semaphore.value, 0);
});

test("nobody is marked as asleep once all have been woken", async (t) => {
  const { bytes, words } = makeShared(t);
  const semaphore = new Semaphore(bytes);
  const waiting = semaphore.acquire();
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.equal(words[1], 1);
  semaphore.release();
  assert.equal(words[1], 2);
  await waiting;
  assert.equal(words[1], 2);
});

test("a number that cannot be is an error everywhere, and stays", async (t) => {
  const { bytes, words } = makeShared(t);
  const semaphore = new Semaphore(bytes);
  words[0] = -5;
  const corrupt = hasCode(MemmapError, "ERR_MEMMAP_CORRUPT");
  assert.throws(() => semaphore.value, corrupt);
  assert.throws(() => semaphore.tryAcquire(), corrupt);
  assert.throws(() => semaphore.acquireSync(), corrupt);
  assert.throws(() => semaphore.release(), corrupt);
  await assert.rejects(semaphore.acquire(), corrupt);
  assert.equal(words[0], -5);
});

test("a semaphore that turns to garbage ends those who wait", async (t) => {
  const { bytes, words } = makeShared(t);
  const semaphore = new Semaphore(bytes);
  const ended = assert.rejects(semaphore.acquire(), hasCode(MemmapError, "ERR_MEMMAP_CORRUPT"));
  await new Promise((resolve) => setTimeout(resolve, 30));
  words[0] = -1;
  await ended;
});
