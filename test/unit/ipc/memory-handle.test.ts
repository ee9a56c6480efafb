// src/ipc/memory-handle.ts: a handle comes back as it was, and nothing in it is believed.

import assert from "node:assert/strict";
import test from "node:test";
import { makeHandle, readHandle } from "#dist/ipc/memory-handle.js";

const fields = {
  pid: 7,
  startTime: "123",
  fd: 5,
  device: "18446744073709551615",
  inode: "9",
  name: null,
};

test("a handle is plain data, and reading it gives the fields that it was made of", () => {
  const handle = makeHandle(fields);
  assert.deepEqual(JSON.parse(JSON.stringify(handle)), handle);
  assert.deepEqual(readHandle(JSON.parse(JSON.stringify(handle))), fields);
  assert.deepEqual(readHandle(makeHandle({ ...fields, name: "/a" })), { ...fields, name: "a" });
});

test("a handle of another form, and what is none, say so", () => {
  const handle = makeHandle(fields);
  const other = { ...handle, sharedMemory: handle.sharedMemory + 1 };
  assert.throws(() => readHandle(other), { code: "ERR_MEMMAP_VERSION" });
  for (const value of [undefined, null, 1, "text", {}, [], { memmap: 1 }]) {
    assert.throws(() => readHandle(value), TypeError);
  }
});

test("each field that was changed on the way is a mistake with its name", () => {
  const handle = makeHandle(fields);
  for (const name of Object.keys(fields)) {
    for (const value of [undefined, {}, -1, 1.5, "x", "1".repeat(21), "../x"]) {
      if (name === "name" && value === "x") continue;
      if (name === "name" && value === "1".repeat(21)) continue;
      const changed = { ...handle, [name]: value };
      assert.throws(
        () => readHandle(changed),
        (error) => error instanceof Error && error.message.includes(`handle.${name}`),
        `${name}: ${String(value)}`,
      );
    }
  }
});
