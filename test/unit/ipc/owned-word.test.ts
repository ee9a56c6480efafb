// src/ipc/owned-word.ts: who is in a lock word, and when it is taken from somebody.

import assert from "node:assert/strict";
import test from "node:test";
import { MemmapError, SystemError } from "memmap";
import { abandoned } from "#dist/ipc/lock-word.js";
import { isRecordDead, OwnedWord } from "#dist/ipc/owned-word.js";
import { thisThread } from "#dist/ipc/owner.js";
import type { Cleanup } from "../../helpers/temp.js";
import { dead, makePlace, stranger } from "../../ipc/lock-support.js";
import { hasCode } from "../support.js";

const waiters = 1 << 31;
const unrepaired = 1 << 30;
const me = thisThread();
const at = { index: 4, namespaceIndex: 6 } as const;

function makeWord(t: Cleanup) {
  const { place, words } = makePlace(t);
  words[at.namespaceIndex] = me.namespace;
  return {
    word: new OwnedWord(place, at),
    words,
    put: (...values: number[]) => words.set(values, at.index),
  };
}

test("tryTake() writes the record, and release() clears it", (t) => {
  const { word, words } = makeWord(t);
  assert.equal(word.tryTake(), true);
  assert.deepEqual([...words.slice(3, 6)], [0, me.id, me.startTime]);
  assert.deepEqual([word.value, word.holder, word.isUnrepaired], [me.id, me.id, false]);
  assert.equal(word.tryTake(), false);
  word.release();
  assert.deepEqual([...words.slice(3, 6)], [0, 0, 0]);
  assert.equal(word.holder, 0);
});

test("attempt() takes what is free, and keeps in mind that others may sleep", (t) => {
  const { word, put } = makeWord(t);
  for (const [stage, mark] of [
    ["spin", 0],
    ["park", waiters],
    ["look", waiters],
  ] as const) {
    put(0, 0);
    assert.equal(word.attempt(stage), "whole");
    assert.equal(word.value, me.id | mark);
    put(unrepaired, 0);
    assert.equal(word.attempt(stage), "unrepaired");
    assert.equal(word.value, me.id | unrepaired | mark);
  }
});

test("attempt() names the word to sleep on, and marks it", (t) => {
  const { word, put } = makeWord(t);
  put(stranger.id, 0);
  assert.equal(word.attempt("spin"), undefined);
  assert.equal(word.value, stranger.id);
  for (const stage of ["park", "look"] as const) {
    const value = stranger.id | waiters;
    assert.deepEqual(word.attempt(stage), { index: at.index, value });
    assert.equal(word.value, value);
  }
});

test("only a look takes a lock from the dead", (t) => {
  const { word, words, put } = makeWord(t);
  put(dead.id, dead.startTime);
  assert.equal(word.attempt("spin"), undefined);
  assert.equal(typeof word.attempt("park"), "object");
  assert.equal(word.attempt("look"), "unrepaired");
  assert.deepEqual([word.value, words[at.index + 1]], [me.id | unrepaired | waiters, me.startTime]);
  assert.equal(word.isUnrepaired, true);
  word.repaired();
  assert.deepEqual([word.isUnrepaired, word.value], [false, me.id | waiters]);
  word.release();
  assert.equal(word.value, 0);
});

test("release() of an unrepaired lock abandons it, or leaves it as it was found", (t) => {
  const { word, put } = makeWord(t);
  put(me.id | unrepaired, me.startTime);
  word.release("keep");
  assert.equal(word.value, unrepaired);
  assert.equal(word.attempt("spin"), "unrepaired");
  word.release();
  assert.deepEqual([word.value, word.holder], [abandoned, 0]);
  const gone = hasCode(MemmapError, "ERR_MEMMAP_OWNER_DIED");
  for (const stage of ["spin", "park", "look"] as const) {
    assert.throws(() => word.attempt(stage), gone);
  }
  assert.throws(() => word.release(), hasCode(MemmapError, "ERR_MEMMAP_CORRUPT"));
});

test("orphan() frees a lock of the dead for all, and none of the living", (t) => {
  const { word, words, put } = makeWord(t);
  put(stranger.id, 0);
  assert.equal(word.orphan(word.value), false);
  put(dead.id | waiters, dead.startTime);
  assert.equal(word.orphan(stranger.id), false, "the word has changed");
  assert.equal(word.orphan(word.value), true);
  assert.deepEqual([word.value, words[at.index + 1]], [unrepaired, 0]);
});

test("passOn() marks a lock that is held, so that its holder wakes somebody", (t) => {
  const { word, put } = makeWord(t);
  for (const [before, after] of [
    [stranger.id, stranger.id | waiters],
    [0, 0],
    [unrepaired, unrepaired],
    [abandoned, abandoned],
  ] as const) {
    put(before, 0);
    word.passOn();
    assert.equal(word.value, after);
  }
});

test("requireNotOwn() throws for a lock of this thread, and not of one that had its id", (t) => {
  const { word, put } = makeWord(t);
  const deadlock = hasCode(SystemError, "EDEADLK");
  word.requireNotOwn();
  put(stranger.id, 0);
  word.requireNotOwn();
  put(dead.id, dead.startTime);
  word.requireNotOwn();
  put(me.id, me.startTime);
  assert.throws(() => word.requireNotOwn(), deadlock);
  put(me.id | waiters, 0);
  assert.throws(() => word.requireNotOwn(), deadlock);
});

test("a record is judged only while it stays the same, in a namespace that is ours", (t) => {
  const { words, put } = makeWord(t);
  const isDead = (word: number) => isRecordDead(words, at, word);
  put(dead.id, dead.startTime);
  assert.equal(isDead(dead.id), true);
  assert.equal(isDead(dead.id | waiters), false, "another word was seen");
  put(me.id, me.startTime);
  assert.equal(isDead(me.id), false);
  put(me.id, 0);
  assert.equal(isDead(me.id), false);
  put(dead.id, dead.startTime);
  words[at.namespaceIndex] = me.namespace + 1;
  assert.equal(isDead(dead.id), false);
  words[at.namespaceIndex] = me.namespace;
  words[20] = dead.startTime;
  put(dead.id, 0);
  assert.equal(isRecordDead(words, { ...at, startIndex: 20 }, dead.id), true);
});
