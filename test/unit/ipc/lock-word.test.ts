// src/ipc/lock-word.ts: from each state of a lock word, what each change makes of it.

import assert from "node:assert/strict";
import test from "node:test";
import * as lock from "#dist/ipc/lock-word.js";

const waiters = 1 << 31;
const unrepaired = 1 << 30;
const [me, other] = [41, 42];

function at(word: number): Int32Array {
  return new Int32Array([9, word, 9]);
}

/** What a change answers, and the word that it leaves; its neighbours are never touched. */
function change<T>(word: number, call: (words: Int32Array) => T): [T, number] {
  const words = at(word);
  const answer = call(words);
  assert.deepEqual([words[0], words[2]], [9, 9]);
  return [answer, words[1] ?? 0];
}

test("each state says who holds the lock, and in what condition it is", () => {
  const rows: readonly [number, number, boolean, boolean][] = [
    // word, holder, unrepaired, abandoned
    [0, 0, false, false],
    [me, me, false, false],
    [me | waiters, me, false, false],
    [me | unrepaired, me, true, false],
    [me | unrepaired | waiters, me, true, false],
    [unrepaired, 0, true, false],
    [unrepaired | waiters, 0, true, false],
  ];
  for (const [word, holder, isUnrepaired, isAbandoned] of rows) {
    assert.equal(lock.holderOf(word), holder);
    assert.equal(lock.isFree(word), holder === 0);
    assert.equal(lock.isUnrepaired(word), isUnrepaired);
    assert.equal(lock.isAbandoned(word), isAbandoned);
  }
  for (const word of [lock.abandoned, lock.abandoned | waiters]) {
    assert.deepEqual([lock.isAbandoned(word), lock.isFree(word)], [true, false]);
  }
});

test("take() takes a free lock in the state that was seen, and no other", () => {
  const take = (word: number, found: number, others: boolean) =>
    change(found, (words) => lock.take(words, 1, { word, thread: me, others }));
  assert.deepEqual(take(0, 0, false), [true, me]);
  assert.deepEqual(take(0, 0, true), [true, me | waiters]);
  assert.deepEqual(take(unrepaired, unrepaired, false), [true, me | unrepaired]);
  assert.deepEqual(take(0, other, true), [false, other]);
  assert.deepEqual(take(0, unrepaired, false), [false, unrepaired]);
});

test("announce() marks the word that was seen, and no other", () => {
  const announce = (word: number, found: number) =>
    change(found, (words) => lock.announce(words, 1, word));
  assert.deepEqual(announce(other, other), [other | waiters, other | waiters]);
  const marked = other | waiters;
  assert.deepEqual(announce(marked, marked), [marked, marked]);
  assert.deepEqual(announce(other, 0), [undefined, 0]);
});

test("seize() and orphan() take a lock from the dead, whose word must not have changed", () => {
  const seize = (word: number, found: number, wasInside = true) =>
    change(found, (words) => lock.seize(words, 1, { word, wasInside, thread: me }));
  assert.deepEqual(seize(other, other), [true, me | unrepaired]);
  assert.deepEqual(seize(other | waiters, other | waiters), [true, me | unrepaired | waiters]);
  assert.deepEqual(seize(other, other | waiters), [false, other | waiters]);
  assert.deepEqual(seize(other | waiters, other | waiters, false), [true, me | waiters]);
  const broken = other | unrepaired;
  assert.deepEqual(seize(broken, broken, false), [true, me | unrepaired], "as it was before");
  const orphan = (word: number, found: number, wasInside = true) =>
    change(found, (words) => lock.orphan(words, 1, { word, wasInside }));
  assert.deepEqual(orphan(other | waiters, other | waiters, false), [true, 0]);
  assert.deepEqual(orphan(broken, broken, false), [true, unrepaired]);
  assert.deepEqual(orphan(other | waiters, other | waiters), [true, unrepaired]);
  assert.deepEqual(orphan(other, 0), [false, 0]);
});

test("giveBack() frees a whole lock, and ends an unrepaired one as it is told", () => {
  const giveBack = (found: number, ending: lock.Ending) =>
    change(found, (words) => lock.giveBack(words, 1, { thread: me, ending }));
  for (const ending of ["abandon", "keep"] as const) {
    assert.deepEqual(giveBack(me, ending), ["none", 0]);
    assert.deepEqual(giveBack(me | waiters, ending), ["one", 0]);
    for (const word of [0, other, other | waiters, unrepaired, lock.abandoned]) {
      assert.deepEqual(giveBack(word, ending), [undefined, word]);
    }
  }
  assert.deepEqual(giveBack(me | unrepaired, "abandon"), ["all", lock.abandoned]);
  assert.deepEqual(giveBack(me | unrepaired | waiters, "abandon"), ["all", lock.abandoned]);
  assert.deepEqual(giveBack(me | unrepaired, "keep"), ["none", unrepaired]);
  assert.deepEqual(giveBack(me | unrepaired | waiters, "keep"), ["one", unrepaired]);
});

test("markRepaired() keeps the holder and those who wait", () => {
  for (const word of [me, me | waiters]) {
    const [, next] = change(word | unrepaired, (words) => lock.markRepaired(words, 1));
    assert.equal(next, word);
  }
});
