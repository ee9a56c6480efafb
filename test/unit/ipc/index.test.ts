// src/ipc/index.ts: the door holds the names that it promises, and no others.

import assert from "node:assert/strict";
import test from "node:test";
import * as door from "memmap/ipc";

test('the door "memmap/ipc" holds the names that it promises, and no others', () => {
  const locks = ["Barrier", "Mutex", "RwLock", "Semaphore", "SharedEvent"];
  const names = [...locks, "Channel", "SharedMemory", "notify", "wait", "waitSync"];
  assert.deepEqual(Object.keys(door).sort(), names.sort());
});
