// src/ipc/format.ts: a structure is known by its word, and nothing else is taken for it.

import assert from "node:assert/strict";
import test from "node:test";
import { MemmapError } from "memmap";
import { claimFormat, formatOf, type Kind, requireFormat } from "#dist/ipc/format.js";
import { hasCode } from "../support.js";

const kinds: readonly Kind[] = ["mutex", "rwLock", "semaphore", "event", "barrier", "channel"];
const corrupt = hasCode(MemmapError, "ERR_MEMMAP_CORRUPT", /^Cannot use it: /);
const version = hasCode(MemmapError, "ERR_MEMMAP_VERSION", /^Cannot use it: /);

test("each kind has a word of its own, which stands in files of all versions", () => {
  assert.equal(new Set(kinds.map(formatOf)).size, kinds.length);
  assert.equal(formatOf("mutex"), 0x6d6d_0101);
  for (const kind of kinds) requireFormat(formatOf(kind), kind, "Cannot use it");
});

test("another kind and other data are corrupt; another version or byte order says so", () => {
  for (const kind of kinds) {
    for (const other of kinds) {
      if (other === kind) continue;
      assert.throws(() => requireFormat(formatOf(other), kind, "Cannot use it"), corrupt);
    }
    for (const word of [0, 1, -1, 0x6d6d, 0x7fff_ffff]) {
      assert.throws(() => requireFormat(word, kind, "Cannot use it"), corrupt, String(word));
    }
    const later = formatOf(kind) + 1;
    assert.throws(() => requireFormat(later, kind, "Cannot use it"), version);
    const bytes = new DataView(new ArrayBuffer(4));
    bytes.setInt32(0, formatOf(kind), true);
    const swapped = bytes.getInt32(0, false);
    assert.throws(() => requireFormat(swapped, kind, "Cannot use it"), version);
  }
});

test("zeros are claimed once, and by one kind", () => {
  const words = new Int32Array(2);
  claimFormat(words, 1, { kind: "mutex", what: "Cannot use it" });
  assert.deepEqual([...words], [0, formatOf("mutex")]);
  claimFormat(words, 1, { kind: "mutex", what: "Cannot use it" });
  assert.throws(() => claimFormat(words, 1, { kind: "event", what: "Cannot use it" }), corrupt);
  assert.deepEqual([...words], [0, formatOf("mutex")]);
});
