// src/ipc/memory-options.ts: what is left out has its default, and what contradicts is refused.

import assert from "node:assert/strict";
import test from "node:test";
import { readOptions } from "#dist/ipc/memory-options.js";

test("readOptions() fills in what is left out, by whether there is a name", () => {
  const plain = { byteLength: 5, name: undefined, mode: 0o600, sealed: true, persistent: false };
  assert.deepEqual(readOptions({ byteLength: 5 }), plain);
  assert.deepEqual(readOptions({ byteLength: 5, name: "/a" }), {
    ...plain,
    name: "a",
    sealed: false,
  });
});

test("readOptions() keeps what is given", () => {
  const given = { byteLength: 0, name: "a", mode: 0o777, persistent: true };
  assert.deepEqual(readOptions(given), { ...given, sealed: false });
  assert.equal(readOptions({ byteLength: 1, sealed: false }).sealed, false);
});

test("readOptions() refuses options that contradict each other", () => {
  for (const options of [
    { byteLength: 1, name: "a", sealed: true },
    { byteLength: 1, persistent: true },
    { byteLength: 1, mode: 0o600 },
  ]) {
    assert.throws(() => readOptions(options), { code: "ERR_INVALID_ARG_VALUE" });
  }
});
