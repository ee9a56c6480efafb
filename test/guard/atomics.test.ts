// What the engines make of Atomics on memory that may only be read: a load that stores is a fault,
// and is told as any other.

import assert from "node:assert/strict";
import test from "node:test";
import { setTimeout } from "node:timers/promises";
import { mapAnonymous } from "memmap";
import { runtimeName } from "../helpers/runtime.js";

/** Enough for every engine to compile the loop. */
const rounds = 50;
const loads = 100_000;

function loadOften(words: Int32Array): number {
  let sum = 0;
  for (let i = 0; i < loads; i += 1) sum += Atomics.load(words, 0);
  return sum;
}

test("Atomics.load of a read-only mapping only loads, or is told as a write", async () => {
  using mapping = mapAnonymous(4096, { sharing: "shared", faults: "collect" });
  mapping.bytes[0] = 1;
  mapping.protect("read");
  const words = new Int32Array(mapping.buffer);
  let fault: unknown;
  for (let round = 0; round < rounds && fault === undefined; round += 1) {
    assert.equal(loadOften(words), loads);
    try {
      mapping.check();
    } catch (error) {
      fault = error;
    }
    await setTimeout(0); // Engines take compiled code into use between two calls.
  }
  // JavaScriptCore compiles it to an addition of 0.
  if (runtimeName !== "bun") assert.equal(fault, undefined);
  else assert.equal(Reflect.get(Object(fault), "access"), "write");
});
