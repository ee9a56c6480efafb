// src/ipc/rw-state.ts: what readers and writers see of each other, and the marks that they leave
// for those who sleep.

import assert from "node:assert/strict";
import test from "node:test";
import { Guard } from "#dist/ipc/guard.js";
import { abandoned } from "#dist/ipc/lock-word.js";
import { thisThread } from "#dist/ipc/owner.js";
import { at, RwState } from "#dist/ipc/rw-state.js";
import type { Cleanup } from "../../helpers/temp.js";
import { dead, makePlace, stranger } from "../../ipc/lock-support.js";

const unrepaired = 1 << 30;

function makeState(t: Cleanup) {
  const { place, words, mapping } = makePlace(t);
  words[at.namespaceIndex] = thisThread().namespace;
  return { state: new RwState(place), words, mapping };
}

function taken(value: unknown): Guard {
  assert.ok(value instanceof Guard);
  return value;
}

test("a reader that finds a writer has kept no slot, and waits for its end", (t) => {
  const { state, words } = makeState(t);
  words[at.index] = stranger.id;
  assert.equal(state.tryEnter(), state.entry);
  assert.equal(state.isDrained, true);
  words.fill(stranger.id, at.slots, at.slots + 120);
  words[at.index] = 0;
  assert.equal(state.tryEnter(), state.room);
});

test("the last reader wakes the writer, and no other", (t) => {
  const { state, words } = makeState(t);
  const guards = [taken(state.tryEnter()), taken(state.tryEnter())];
  state.drain.announce();
  state.room.announce();
  guards[0]?.release();
  assert.deepEqual([words[at.drain], words[at.room]], [1, 2]);
  guards[1]?.release();
  assert.equal(words[at.drain], 2);
});

test("a writer that leaves wakes the readers, whether it has written or not", (t) => {
  const { state, words } = makeState(t);
  state.entry.announce();
  state.tryWrite()?.release();
  assert.equal(words[at.entry], 2);
  state.entry.announce();
  assert.equal(state.word.attempt("spin"), "whole");
  state.leaveUnwritten();
  assert.deepEqual([words[at.entry], words[at.index]], [4, 0]);
});

test("tryWrite() leaves the word alone while there is a reader or a writer", (t) => {
  const { state, words } = makeState(t);
  words[at.slots + 119] = stranger.id;
  assert.equal(state.tryWrite(), undefined);
  assert.equal(words[at.index], 0);
  words[at.slots + 119] = 0;
  words[at.index] = stranger.id;
  assert.equal(state.tryWrite(), undefined);
  assert.equal(words[at.index], stranger.id);
});

test("dead readers give their slots back, and the writer hears of it", (t) => {
  const { state, words } = makeState(t);
  words.fill(dead.id, at.slots + 3, at.slots + 6);
  words.fill(dead.startTime, at.slots + 123, at.slots + 126);
  words[at.slots + 9] = stranger.id;
  state.drain.announce();
  state.dropDeadReaders();
  assert.deepEqual([...words.slice(at.slots + 3, at.slots + 10)], [0, 0, 0, 0, 0, 0, stranger.id]);
  assert.equal(words[at.drain], 1, "one is still there");
  words[at.slots + 9] = dead.id;
  words[at.slots + 129] = dead.startTime;
  state.dropDeadReaders();
  assert.deepEqual([state.isDrained, words[at.drain]], [true, 2]);
});

test("a dead writer is dropped for readers, a living one is not", (t) => {
  const { state, words } = makeState(t);
  words[at.index] = stranger.id;
  state.dropDeadWriter();
  assert.equal(words[at.index], stranger.id);
  words.set([dead.id, dead.startTime], at.index);
  words[at.insideIndex] = 1;
  state.entry.announce();
  state.dropDeadWriter();
  assert.deepEqual([words[at.index], words[at.entry]], [unrepaired, 2]);
  const guard = taken(state.tryEnter());
  assert.equal(guard.ownerDied, true);
  guard.release();
});

test("a writer that died before it was inside leaves the lock as it was", (t) => {
  const { state, words } = makeState(t);
  for (const before of [0, unrepaired]) {
    words.set([dead.id | before, dead.startTime], at.index);
    state.dropDeadWriter();
    assert.equal(words[at.index], before);
    words.set([dead.id | before, dead.startTime], at.index);
    assert.equal(state.word.attempt("look"), before === 0 ? "whole" : "unrepaired");
    words[at.index] = 0;
  }
});

test("a lock that was abandoned has no dead writer to drop", (t) => {
  const { state, words } = makeState(t);
  words[at.index] = abandoned;
  state.dropDeadWriter();
  assert.equal(words[at.index], abandoned);
});

test("a writer is marked as inside from its guard to its release", (t) => {
  const { state, words } = makeState(t);
  const guard = taken(state.tryWrite());
  assert.equal(words[at.insideIndex], 1);
  guard.release();
  assert.equal(words[at.insideIndex], 0);
  words[at.slots] = stranger.id;
  assert.equal(state.word.attempt("spin"), "whole");
  assert.equal(words[at.insideIndex], 0, "it has the word, and waits");
  state.leaveUnwritten();
});
