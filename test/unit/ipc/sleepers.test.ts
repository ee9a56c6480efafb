// src/ipc/sleepers.ts: who slept is woken, and nobody is called when nobody sleeps.

import assert from "node:assert/strict";
import test from "node:test";
import { Sleepers } from "#dist/ipc/sleepers.js";
import { wait } from "#dist/ipc/wait.js";
import { makePlace } from "../../ipc/lock-support.js";

test("announce() marks the word and wake() clears it", (t) => {
  const { place, words } = makePlace(t);
  const sleepers = new Sleepers(place, 2);
  assert.equal(sleepers.areThere, false);
  sleepers.wake();
  sleepers.announce();
  assert.deepEqual([sleepers.areThere, sleepers.index, sleepers.value], [true, 2, 1]);
  assert.deepEqual([...words.slice(0, 4)], [0, 0, 1, 0]);
  sleepers.wake();
  assert.deepEqual([sleepers.areThere, words[2]], [false, 0]);
});

test("wake() wakes all, and those who come too late do not sleep", async (t) => {
  const { place, words } = makePlace(t);
  const sleepers = new Sleepers(place, 2);
  sleepers.announce();
  const waits = [1, 2, 3].map(() => wait(words, 2, sleepers.value));
  sleepers.wake();
  assert.equal(await wait(words, 2, sleepers.value), "not-equal");
  for (const result of await Promise.all(waits)) assert.match(result, /^(?:ok|not-equal)$/);
});

test("garbage in the word is taken for sleepers, and is gone after one wake", (t) => {
  const { place, words } = makePlace(t);
  const sleepers = new Sleepers(place, 2);
  words[2] = -77;
  assert.equal(sleepers.areThere, true);
  sleepers.wake();
  assert.equal(words[2], 0);
});
