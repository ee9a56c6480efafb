// src/bits.ts: words to numbers, against the numbers that the runtime and the manual know.

import assert from "node:assert/strict";
import test from "node:test";
import { adviceNumber, bitsOf, protectionBits } from "#dist/bits.js";
import { MemmapError } from "#dist/errors.js";
import { advices, protections } from "#dist/flags.js";
import { native } from "#dist/native.js";
import { hasCode } from "./support.js";

test("protectionBits() gives the numbers that POSIX systems share", () => {
  const bits = protections.map((protection) => [protection, protectionBits(protection)]);
  assert.deepEqual(Object.fromEntries(bits), {
    none: 0,
    read: 1,
    "read-write": 3,
    "read-execute": 5,
    "read-write-execute": 7,
  });
});

test("adviceNumber() gives each advice a number of its own", () => {
  const numbers = advices.map(adviceNumber);
  assert.equal(new Set(numbers).size, advices.length);
  // madvise(2) is an old call: its first numbers are the same on every processor.
  const first = ["normal", "random", "sequential", "will-need"] as const;
  assert.deepEqual(first.map(adviceNumber), [0, 1, 2, 3]);
});

test("bitsOf() joins names, and nothing is 0", () => {
  const { MAP_SHARED = 0, MAP_NORESERVE = 0 } = native().constants;
  assert.equal(bitsOf(["MAP_SHARED", "MAP_NORESERVE"]), MAP_SHARED | MAP_NORESERVE);
  assert.equal(bitsOf([]), 0);
});

test("bitsOf() refuses a name that this machine does not have, by that name", () => {
  const refused = hasCode(MemmapError, "ERR_MEMMAP_UNSUPPORTED", /MAP_NOWHERE.*linux/);
  assert.throws(() => bitsOf(["MAP_SHARED", "MAP_NOWHERE"]), refused);
});
