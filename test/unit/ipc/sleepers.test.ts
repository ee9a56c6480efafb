// src/ipc/sleepers.ts: who slept is woken, and nobody is called when nobody sleeps.

import assert from "node:assert/strict";
import test from "node:test";
import { Sleepers } from "#dist/ipc/sleepers.js";
import { wait } from "#dist/ipc/wait.js";
import { makePlace } from "../../ipc/lock-support.js";

test("announce() makes the word odd and wake() makes it even, each once", (t) => {
  const { place, words } = makePlace(t);
  const sleepers = new Sleepers(place, 2);
  assert.equal(sleepers.areThere, false);
  sleepers.wake();
  assert.equal(words[2], 0);
  for (const value of [1, 3, 5]) {
    assert.deepEqual([sleepers.announce(), sleepers.announce()], [value, value]);
    assert.deepEqual([...words.slice(0, 4)], [0, 0, value, 0]);
    assert.equal(sleepers.areThere, true);
    sleepers.wake();
    sleepers.wake();
    assert.deepEqual([sleepers.areThere, words[2]], [false, value + 1]);
  }
});

test("the count goes round", (t) => {
  const { place, words } = makePlace(t);
  const sleepers = new Sleepers(place, 2);
  words[2] = 2 ** 31 - 2;
  assert.equal(sleepers.announce(), 2 ** 31 - 1);
  sleepers.wake();
  assert.equal(words[2], -(2 ** 31));
  words[2] = -1;
  sleepers.wake();
  assert.equal(words[2], 0);
});

test("who announced before a wake does not sleep on the word of one that came after", async (t) => {
  const { place, words } = makePlace(t);
  const sleepers = new Sleepers(place, 2);
  const early = sleepers.announce();
  sleepers.wake();
  sleepers.announce();
  assert.equal(await wait(words, 2, early), "not-equal");
});

test("wake() wakes all, and those who come too late do not sleep", async (t) => {
  const { place, words } = makePlace(t);
  const sleepers = new Sleepers(place, 2);
  const value = sleepers.announce();
  const waits = [1, 2, 3].map(() => wait(words, 2, value));
  sleepers.wake();
  assert.equal(await wait(words, 2, value), "not-equal");
  for (const result of await Promise.all(waits)) assert.match(result, /^(?:ok|not-equal)$/);
});

test("garbage in the word costs one wake at most", (t) => {
  const { place, words } = makePlace(t);
  const sleepers = new Sleepers(place, 2);
  for (const garbage of [-77, -78, 0x5a5a_5a5a]) {
    words[2] = garbage;
    sleepers.wake();
    assert.equal(sleepers.areThere, false);
    assert.equal(sleepers.announce() & 1, 1);
  }
});
