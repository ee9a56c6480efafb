// src/ipc/barrier-word.ts: phases and arrivals, for all small sizes.

import assert from "node:assert/strict";
import test from "node:test";
import { arrive, arriveLast, isSizeOf, phaseOf, withdraw } from "#dist/ipc/barrier-word.js";

test("of each phase one arrival is the last, and begins the next", () => {
  for (let size = 1; size <= 8; size += 1) {
    const words = new Int32Array(1);
    for (let phase = 0; phase < 5; phase += 1) {
      for (let i = 1; i <= size; i += 1) {
        assert.deepEqual(arrive(words, 0, size), { phase, isLast: i === size });
      }
      assert.equal(words[0], (phase + 1) << 16);
    }
  }
});

test("the greatest size counts to its end, and the phase goes round", () => {
  const words = new Int32Array([0xffff_fffe | 0]);
  assert.deepEqual(arrive(words, 0, 0xffff), { phase: 0xffff, isLast: true });
  assert.equal(words[0], 0);
  assert.deepEqual([0, 1, 0xffff, 0x1_0000, -1].map(isSizeOf), [false, true, true, false, false]);
  assert.equal(phaseOf(-1), 0xffff);
});

test("an arrival is taken back in its phase, and not later", () => {
  const words = new Int32Array(1);
  arrive(words, 0, 3);
  arrive(words, 0, 3);
  assert.equal(withdraw(words, 0, 0), true);
  assert.equal(words[0], 1);
  arrive(words, 0, 3);
  arrive(words, 0, 3);
  assert.equal(withdraw(words, 0, 0), false);
  assert.equal(words[0], 1 << 16);
  assert.equal(withdraw(words, 0, 1), true, "of nothing there is nothing to take back");
  assert.equal(words[0], 1 << 16);
});

test("arriveLast() arrives only where the phase ends by it", () => {
  const words = new Int32Array(1);
  assert.equal(arriveLast(words, 0, 2), false);
  assert.equal(words[0], 0);
  arrive(words, 0, 2);
  assert.equal(arriveLast(words, 0, 2), true);
  assert.equal(words[0], 1 << 16);
  assert.equal(arriveLast(words, 0, 1), true);
});

test("more arrivals than parties are garbage", () => {
  for (const word of [2, 3, 0xffff, -1]) {
    const words = new Int32Array([word]);
    assert.equal(arrive(words, 0, 2), "corrupt");
    assert.equal(arriveLast(words, 0, 2), "corrupt");
    assert.equal(words[0], word);
  }
});
