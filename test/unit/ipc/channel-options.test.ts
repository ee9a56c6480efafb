// src/ipc/channel-options.ts: types, bounds and defaults of what users decide.

import assert from "node:assert/strict";
import test from "node:test";
import { asReserved, readOpenOptions, readOptions } from "#dist/ipc/channel-options.js";
import { hasCode } from "../support.js";

const type = hasCode(TypeError, "ERR_INVALID_ARG_TYPE");
const value = hasCode(TypeError, "ERR_INVALID_ARG_VALUE");
const range = hasCode(RangeError, "ERR_OUT_OF_RANGE");

test("readOptions() fills in what is left out", () => {
  const plan = { capacity: 2 ** 20, name: undefined, isBroadcast: false, dropsOldest: false };
  assert.deepEqual(readOptions(undefined), plan);
  assert.deepEqual(readOptions({ mode: "queue", overflow: "block" }), plan);
  const given = readOptions({ capacity: 5000, mode: "broadcast", overflow: "drop-oldest" });
  assert.deepEqual(given, { ...plan, capacity: 8192, isBroadcast: true, dropsOldest: true });
  assert.equal(readOptions({ name: "/x" }).name, "x");
});

test("options of the wrong type or out of range are refused", () => {
  const wrong = (options: object): unknown => Reflect.apply(readOptions, undefined, [options]);
  assert.throws(() => wrong({ capacity: "1024" }), type);
  assert.throws(() => wrong({ capacity: null }), type);
  assert.throws(() => wrong({ capacity: 2 ** 31 }), range);
  assert.throws(() => wrong({ mode: "topic" }), value);
  assert.throws(() => wrong({ overflow: 1 }), type);
  assert.throws(() => wrong({ name: "a/b" }), value);
  assert.throws(() => Reflect.apply(readOpenOptions, undefined, [{ receives: 1 }]), type);
  assert.throws(() => Reflect.apply(readOpenOptions, undefined, [null]), type);
  assert.deepEqual(
    [readOpenOptions(undefined), readOpenOptions({ receives: false })],
    [true, false],
  );
});

test("asReserved() keeps a reservation within one record", () => {
  assert.deepEqual([asReserved(0, 504), asReserved(504, 504)], [0, 504]);
  assert.throws(() => asReserved(505, 504), range);
  assert.throws(() => asReserved("1", 504), type);
});
