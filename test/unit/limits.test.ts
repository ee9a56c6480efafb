// src/limits.ts: the bounds are the runtime's own, and rounding beyond them stays exact.

import assert from "node:assert/strict";
import { constants } from "node:buffer";
import test from "node:test";
import { byteMax, viewMax } from "#dist/limits.js";
import { roundUp } from "#dist/pages.js";
import { runtimeName } from "../helpers/runtime.js";

test("byteMax leaves room to round it up to the largest page", () => {
  for (const page of [4096, 2 ** 21, 2 ** 30, 16 * 2 ** 30]) {
    assert.ok(Number.isSafeInteger(roundUp(byteMax, page) + page), String(page));
  }
  // No processor has more than 57 bits of addresses; half of them are the kernel's.
  assert.ok(byteMax > 2 ** 52);
});

test("viewMax is the runtime's own bound, as far as it is exact", () => {
  assert.ok(viewMax <= constants.MAX_LENGTH && viewMax <= byteMax);
  assert.ok(viewMax === constants.MAX_LENGTH || viewMax === byteMax);
});

test("viewMax is at least the 4 GiB of Node 20 and Bun", () => {
  const old = runtimeName === "node" && process.versions.node.startsWith("20.");
  if (old || runtimeName === "bun") assert.equal(viewMax, 2 ** 32);
  else assert.ok(viewMax >= 2 ** 32);
});
