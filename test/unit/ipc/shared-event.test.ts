// src/ipc/shared-event.ts: who waits sees that it was set, also when it was reset at once.

import assert from "node:assert/strict";
import test from "node:test";
import { notify, SharedEvent } from "memmap/ipc";
import { makeShared } from "../../ipc/lock-support.js";
import { type Structure, testPlaces, testWaits } from "../../ipc/structure-tests.js";

const structure: Structure = {
  kind: "event",
  byteLength: SharedEvent.byteLength,
  format: 3,
  make(bytes) {
    const event = new SharedEvent(bytes);
    return {
      use: () => event.isSet,
      wait: (options) => event.wait(options),
      waitSync: (options) => event.waitSync(options),
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

test("it is set and reset, each once, by whoever uses it", (t) => {
  const { bytes, words } = makeShared(t);
  const event = new SharedEvent(bytes);
  const same = new SharedEvent(bytes);
  assert.equal(event.isSet, false);
  event.reset();
  assert.equal(words[0], 0);
  event.set();
  same.set();
  assert.deepEqual([event.isSet, same.isSet, words[0]], [true, true, 1]);
  same.reset();
  event.reset();
  assert.deepEqual([event.isSet, words[0]], [false, 2]);
});

test("while it is set nobody waits", async (t) => {
  const { bytes } = makeShared(t);
  const event = new SharedEvent(bytes);
  event.set();
  event.waitSync({ timeoutMs: 0 });
  await event.wait({ timeoutMs: 0 });
});

test("set() and reset() at once wake all who wait, and none who come later", async (t) => {
  const { bytes, words } = makeShared(t);
  const event = new SharedEvent(bytes);
  const waits = [1, 2, 3].map(() => event.wait());
  await new Promise((resolve) => setTimeout(resolve, 30));
  event.set();
  event.reset();
  const late = assert.rejects(event.wait({ timeoutMs: 30 }), { code: "ERR_MEMMAP_TIMEOUT" });
  await Promise.all(waits);
  await late;
  assert.equal(words[0], 2);
});

test("the generation goes round without losing its meaning", async (t) => {
  const { bytes, words } = makeShared(t);
  const event = new SharedEvent(bytes);
  words[0] = 2 ** 31 - 2;
  for (const isSet of [true, false, true]) {
    if (isSet) event.set();
    else event.reset();
    assert.equal(event.isSet, isSet);
  }
  assert.equal(words[0], -(2 ** 31) + 1);
  words[0] = -1;
  event.reset();
  assert.equal(words[0], 0);
});

test("whatever is written over it, it is set or not", async (t) => {
  const { bytes, words } = makeShared(t);
  const event = new SharedEvent(bytes);
  for (const word of [-2, -1, 0x5a5a_5a5a, 0x5a5a_5a5b]) {
    words.set([word, word]);
    assert.equal(event.isSet, word % 2 !== 0);
    event.set();
    await event.wait();
    event.reset();
    assert.throws(() => event.waitSync({ timeoutMs: 1 }), { code: "ERR_MEMMAP_TIMEOUT" });
  }
});
