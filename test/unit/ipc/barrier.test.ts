// src/ipc/barrier.ts: all go on together, one of them as the last.

import assert from "node:assert/strict";
import test from "node:test";
import { MemmapError } from "memmap";
import { Barrier, notify } from "memmap/ipc";
import { makeShared } from "../../ipc/lock-support.js";
import { type Structure, testPlaces, testWaits } from "../../ipc/structure-tests.js";
import { hasCode } from "../support.js";

const structure: Structure = {
  kind: "barrier",
  byteLength: Barrier.byteLength,
  format: 3,
  make(bytes) {
    const barrier = Barrier.create(bytes, 2);
    return {
      use: () => barrier.tryArrive(),
      wait: (options) => barrier.arrive(options),
      waitSync: (options) => barrier.arriveSync(options),
    };
  },
  unblock: (words) => {
    Atomics.store(words, 0, 1 << 16);
    Atomics.add(words, 1, 1);
    notify(words, 1);
  },
  pins: true,
};

testPlaces(structure);
testWaits(structure);

const corrupt = hasCode(MemmapError, "ERR_MEMMAP_CORRUPT");

test("create() makes one of a size, and finds it again; it is of no other size", (t) => {
  const { bytes, words } = makeShared(t);
  assert.throws(() => new Barrier(bytes), hasCode(MemmapError, "ERR_MEMMAP_CORRUPT", /created/));
  assert.equal(Barrier.create(bytes, 3).size, 3);
  assert.equal(Barrier.create(bytes, 3).size, 3);
  assert.equal(new Barrier(bytes).size, 3);
  assert.throws(
    () => Barrier.create(bytes, 4),
    hasCode(MemmapError, "ERR_MEMMAP_CORRUPT", /3 parties/),
  );
  for (const size of [0, -1, 65_536]) {
    words[2] = size;
    assert.throws(() => new Barrier(bytes), corrupt, String(size));
    const range = hasCode(RangeError, "ERR_OUT_OF_RANGE");
    assert.throws(() => Barrier.create(bytes.subarray(64), size), range);
  }
  assert.equal(Barrier.create(bytes.subarray(128), 65_535).size, 65_535);
});

test("phase after phase all go on together, and one is told that it was the last", async (t) => {
  const { bytes } = makeShared(t);
  const barrier = Barrier.create(bytes, 4);
  const phases = [0, 0, 0, 0];
  let last = 0;
  const party = async (mine: number) => {
    for (let phase = 1; phase <= 5; phase += 1) {
      phases[mine] = phase;
      if (await barrier.arrive()) last += 1;
      assert.ok(
        phases.every((other) => other >= phase),
        phases.join(),
      );
    }
  };
  await Promise.all(phases.map((_, i) => party(i)));
  assert.equal(last, 5);
});

test("alone at a barrier for one, each arrival is the last", async (t) => {
  const { bytes } = makeShared(t);
  const barrier = Barrier.create(bytes, 1);
  const all = [barrier.arriveSync(), await barrier.arrive(), barrier.tryArrive()];
  assert.deepEqual(all, [true, true, true]);
});

test("tryArrive() arrives only when all the others have", async (t) => {
  const { bytes, words } = makeShared(t);
  const barrier = Barrier.create(bytes, 2);
  assert.equal(barrier.tryArrive(), false);
  assert.equal(words[0], 0);
  const waiting = barrier.arrive();
  assert.equal(barrier.tryArrive(), true);
  assert.equal(await waiting, false);
});

test("a timeout and an abort take the arrival back", async (t) => {
  const { bytes, words } = makeShared(t);
  const barrier = Barrier.create(bytes, 3);
  const waiting = barrier.arrive();
  assert.equal(words[0], 1);
  assert.throws(() => barrier.arriveSync({ timeoutMs: 1 }), { code: "ERR_MEMMAP_TIMEOUT" });
  assert.equal(words[0], 1);
  const controller = new AbortController();
  const aborted = assert.rejects(barrier.arrive({ signal: controller.signal }), /enough/);
  assert.equal(words[0], 2);
  controller.abort(new Error("enough"));
  await aborted;
  assert.equal(words[0], 1);
  const second = barrier.arrive();
  assert.equal(barrier.arriveSync(), true);
  assert.deepEqual([await waiting, await second], [false, false]);
});

test("an abort in the moment in which the last arrives comes too late", async (t) => {
  const { bytes } = makeShared(t);
  const barrier = Barrier.create(bytes, 2);
  for (let i = 0; i < 3; i += 1) {
    const controller = new AbortController();
    const waiting = barrier.arrive({ signal: controller.signal });
    await new Promise((resolve) => setTimeout(resolve, 15 * i));
    assert.equal(barrier.tryArrive(), true);
    controller.abort(new Error("enough"));
    assert.equal(await waiting, false);
  }
});

test("garbage is an error, or a wait that ends", async (t) => {
  const { bytes, words } = makeShared(t);
  const barrier = Barrier.create(bytes, 2);
  words[0] = 0x0001_0005;
  assert.throws(() => barrier.arriveSync({ timeoutMs: 1 }), corrupt);
  assert.throws(() => barrier.tryArrive(), corrupt);
  await assert.rejects(barrier.arrive(), corrupt);
  words.set([0x0007_0000, 99]);
  assert.throws(() => barrier.arriveSync({ timeoutMs: 1 }), { code: "ERR_MEMMAP_TIMEOUT" });
  const waiting = barrier.arrive({ timeoutMs: 30 });
  words[0] = 0x0007_0000;
  await assert.rejects(waiting, { code: "ERR_MEMMAP_TIMEOUT" });
  assert.equal(words[0], 0x0007_0000, "nothing is taken back that is not there");
});
