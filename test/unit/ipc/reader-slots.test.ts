// src/ipc/reader-slots.ts: slots are taken by one reader each, and freed by who is in them.

import assert from "node:assert/strict";
import test from "node:test";
import { freeSlot, hasSlot, isEmpty, slotCount, takeSlot } from "#dist/ipc/reader-slots.js";

const first = 3;

function makeWords(): Int32Array {
  return new Int32Array(first + 2 * slotCount + 1);
}

test("takeSlot() begins at the hint, goes round, and ends when all are taken", () => {
  const words = makeWords();
  const taken: (number | undefined)[] = [];
  for (let i = 0; i <= slotCount; i += 1) {
    taken.push(takeSlot(words, first, { id: 100 + i, startTime: 7, hint: 118 }));
  }
  const all = Array.from({ length: slotCount }, (_, i) => (118 + i) % slotCount);
  assert.deepEqual(taken, [...all, undefined]);
  assert.deepEqual([words[first + 118], words[first + slotCount + 118]], [100, 7]);
  assert.deepEqual([...words.slice(0, first), words.at(-1)], [0, 0, 0, 0]);
});

test("freeSlot() leaves zeros, and nothing of another's id", () => {
  const words = makeWords();
  const slot = takeSlot(words, first, { id: 5, startTime: 7, hint: 0 }) ?? -1;
  assert.equal(isEmpty(words, first), false);
  assert.equal(freeSlot(words, first, { slot, id: 6 }), false);
  assert.equal(words[first], 5);
  assert.equal(freeSlot(words, first, { slot, id: 5 }), true);
  assert.ok(words.every((word) => word === 0));
  assert.equal(isEmpty(words, first), true);
  assert.equal(freeSlot(words, first, { slot, id: 5 }), false);
});

test("isEmpty() sees each slot", () => {
  for (let slot = 0; slot < slotCount; slot += 1) {
    const words = makeWords();
    words[first + slot] = 9;
    assert.equal(isEmpty(words, first), false, String(slot));
  }
  const words = makeWords();
  words.fill(9, first + slotCount);
  assert.equal(isEmpty(words, first), true, "start times are not looked at");
});

test("hasSlot() knows a thread by its id and its start", () => {
  const words = makeWords();
  takeSlot(words, first, { id: 5, startTime: 7, hint: 60 });
  assert.equal(hasSlot(words, first, { id: 5, startTime: 7 }), true);
  assert.equal(hasSlot(words, first, { id: 6, startTime: 7 }), false);
  assert.equal(hasSlot(words, first, { id: 5, startTime: 8 }), false, "it had the id before");
  words[first + slotCount + 60] = 0;
  assert.equal(hasSlot(words, first, { id: 5, startTime: 8 }), true, "not written yet");
});
