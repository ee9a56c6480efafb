// src/ipc/channel-layout.ts: the places of all words, and what a head may say.

import assert from "node:assert/strict";
import test from "node:test";
import { MemmapError } from "memmap";
import {
  at,
  end,
  endsMax,
  headBytes,
  lane,
  readShape,
  writeShape,
} from "#dist/ipc/channel-layout.js";
import { hasCode } from "../support.js";

test("no two words lie at one place, and the ends fill the page", () => {
  const lanes = Object.values(lane).map((word) => at.queueLane + word);
  const alone = Object.entries(at).filter(([name]) => name !== "queueLane" && name !== "ends");
  const starts = [at.producers + 1, lanes[0] ?? 0, (lanes[0] ?? 0) + 1, ...lanes.slice(1)];
  const all = [...alone.map(([, word]) => word), ...starts];
  assert.equal(new Set(all).size, all.length);
  assert.ok(Math.max(...all) < at.ends);
  assert.ok(end.lane + Math.max(...Object.values(lane)) < end.words);
  assert.equal(endsMax, 60);
  assert.equal(at.ends + endsMax * end.words, headBytes / 4);
});

test("a shape is read as it was written", () => {
  for (const isBroadcast of [false, true]) {
    for (const dropsOldest of [false, true]) {
      const shape = { capacity: 4096, isBroadcast, dropsOldest };
      const words = new Int32Array(1024);
      writeShape(words, shape);
      assert.deepEqual(readShape(words, headBytes + 4096), shape);
    }
  }
});

test("a head that says what cannot be is corrupt", () => {
  const corrupt = hasCode(MemmapError, "ERR_MEMMAP_CORRUPT");
  const heads = [
    [0, 0],
    [1000, 0],
    [512, 0],
    [8192, 0],
    [-4096, 0],
    [4096, 4],
    [4096, -1],
  ] as const;
  for (const [capacity, options] of heads) {
    const words = new Int32Array(1024);
    words[at.capacity] = capacity;
    words[at.options] = options;
    assert.throws(() => readShape(words, headBytes + 4096), corrupt, `${capacity} ${options}`);
  }
});
