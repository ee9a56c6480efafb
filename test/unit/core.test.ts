// src/core.ts: the state of one mapping: its pages, its view, what it refuses, and its end. The
// states are made by hand, without the options that usually make them.

import assert from "node:assert/strict";
import test from "node:test";
import { pageSize } from "memmap";
import { MemmapError, SystemError } from "#dist/errors.js";
import { collectFault } from "#dist/fault.js";
import { native } from "#dist/native.js";
import type { FileFacts } from "#dist/source.js";
import { areaAt, holdings } from "../helpers/proc-self.js";
import { anonymousRegion, hasCode, makeCore } from "./support.js";

/** A file that this user owns, as source.ts would describe it. */
function factsOf(overrides: Partial<FileFacts> = {}): FileFacts {
  const identity = { path: "/a b", absolute: "/a b", dev: 1n, ino: 1n, size: 10 };
  const ownerUid = process.geteuid?.() ?? 0;
  const common = { kind: "file", size: 10, identity, ownerUid } as const;
  return { ...common, mayWrite: true, granularity: pageSize, ...overrides };
}

test("MappingCore.pageCount() counts the pages that hold the bytes, at least one", (t) => {
  const state = makeCore(t, 3, { start: 100, byteLength: 2 * pageSize });
  const cases: readonly [byteLength: number, count: number][] = [
    [0, 1],
    [1, 1],
    [pageSize - 100, 1],
    [pageSize - 99, 2],
    [2 * pageSize, 3],
  ];
  for (const [byteLength, count] of cases) assert.equal(state.pageCount(byteLength), count);
});

test("MappingCore.touched() and inner() count from the first byte of the region", (t) => {
  const state = makeCore(t, 3, { start: 100, byteLength: 2 * pageSize });
  const whole = { offset: 0, length: 2 * pageSize };
  assert.deepEqual(state.touched(whole), { offset: 0, length: 3 * pageSize });
  assert.deepEqual(state.inner(whole), { offset: pageSize, length: pageSize });
  const last = { offset: 2 * pageSize - 100, length: 1 };
  assert.deepEqual(state.touched(last), { offset: 2 * pageSize, length: pageSize });
});

test("MappingCore.address is the region's and where the bytes begin in it", (t) => {
  const state = makeCore(t, 1, { start: 7, byteLength: 1 });
  assert.equal(state.address, native().address(state.region) + 7n);
  assert.equal(areaAt(state.address)?.permissions, "rw-p");
});

test("MappingCore.bytes is made once, over the memory itself", (t) => {
  const state = makeCore(t, 1, { start: 7, byteLength: 100 });
  const { bytes } = state;
  assert.equal(bytes, state.bytes);
  assert.deepEqual([bytes.length, bytes.byteOffset, bytes.buffer.byteLength], [100, 0, 100]);
  bytes[3] = 42;
  const copy = new Uint8Array(1);
  assert.equal(native().read(state.region, 10, copy), 1);
  assert.equal(copy[0], 42);
});

test("MappingCore.bytes of an empty mapping is an empty array, always the same", (t) => {
  const state = makeCore(t, 1, { byteLength: 0 });
  assert.equal(state.bytes.length, 0);
  assert.equal(state.bytes, state.bytes);
});

test("MappingCore.requireWritable() names the first bad one of the pages it is given", (t) => {
  const state = makeCore(t, 4);
  state.protections.set({ pageIndex: 1, pageCount: 1, value: "read" });
  state.protections.set({ pageIndex: 3, pageCount: 1, value: "read-execute" });
  const refused = hasCode(MemmapError, "ERR_MEMMAP_READ_ONLY", /write it|page 1 is "read"$/);
  for (const [page, count, isAllowed] of [
    [0, 1, true],
    [0, 2, false],
    [1, 1, false],
    [2, 1, true],
    [2, 2, false],
    [1, 0, true],
  ] as const) {
    const pages = { offset: page * pageSize, length: count * pageSize };
    if (isAllowed) state.requireWritable(pages, "write");
    else if (page < 2) assert.throws(() => state.requireWritable(pages, "write"), refused);
    else assert.throws(() => state.requireWritable(pages, "write"), /page 3 is "read-execute"$/);
  }
});

test("MappingCore.requireOpen() and requireUnpinned() name the mapping and the bound", (t) => {
  const state = makeCore(t, 1);
  const named = makeCore(t, 1, { file: factsOf() });
  state.pins = 2;
  const message = /^Cannot resize .*: 2 pins or locks hold it$/;
  const pinned = hasCode(MemmapError, "ERR_MEMMAP_PINNED", message);
  assert.throws(() => state.requireUnpinned("resize"), pinned);
  state.pins = 0;
  state.requireUnpinned("resize");
  state.requireOpen("read");
  named.close();
  const closed = hasCode(MemmapError, "ERR_MEMMAP_CLOSED", /^Cannot read "\/a b": it is closed$/);
  assert.throws(() => named.requireOpen("read"), closed);
});

test("MappingCore.check() passes on what is no failure, and throws the rest with the path", (t) => {
  const state = makeCore(t, 1, { file: factsOf() });
  assert.equal(state.check(0, "msync", "flush"), 0);
  assert.equal(state.check(5, "msync", "flush"), 5);
  assert.throws(
    () => state.check(-5, "msync", "flush"),
    (error: unknown) => {
      hasCode(SystemError, "EIO", /^EIO: Cannot flush "\/a b": .*, msync$/)(error);
      assert.ok(error instanceof SystemError);
      assert.equal(error.path, "/a b");
      return true;
    },
  );
});

test("MappingCore.tellsResidency is true for memory, devices, owners and writers", (t) => {
  const other = (process.geteuid?.() ?? 0) + 1;
  const cases: readonly [Partial<FileFacts> | undefined, boolean][] = [
    [undefined, true],
    [{}, true],
    [{ mayWrite: false }, true],
    [{ ownerUid: other }, true],
    [{ ownerUid: other, mayWrite: false }, false],
    [{ ownerUid: other, mayWrite: false, kind: "device" }, true],
  ];
  for (const [facts, expected] of cases) {
    const file = facts === undefined ? undefined : factsOf(facts);
    assert.equal(makeCore(t, 1, { file }).tellsResidency, expected, JSON.stringify(facts));
  }
});

test("MappingCore.protection of an empty mapping is what it was mapped with", (t) => {
  assert.equal(makeCore(t, 1, { byteLength: 0, protection: "read" }).protection, "read");
});

test("MappingCore.replaceRegion() ends the old view and goes on with the new memory", (t) => {
  const state = makeCore(t, 1);
  const { bytes } = state;
  bytes[0] = 1;
  const region = anonymousRegion(3, "private");
  state.replaceRegion(region, 2 * pageSize + 1);
  assert.equal(bytes.length, 0);
  assert.deepEqual([state.byteLength, state.bytes.length], [2 * pageSize + 1, 2 * pageSize + 1]);
  assert.equal(state.protections.pageCount, 3);
  assert.equal(state.address, native().address(region));
  assert.equal(state.bytes[0], 0);
});

test("MappingCore.close() is idempotent, empties the view and rejects who waits", async (t) => {
  const before = holdings();
  const state = makeCore(t, 4);
  const { address, bytes } = state;
  const waiting = state.pending.wait(undefined, () => new Promise<void>(() => {}));
  state.close();
  state.close();
  await assert.rejects(waiting, hasCode(MemmapError, "ERR_MEMMAP_CLOSED", /closed meanwhile/));
  assert.deepEqual([state.closed, state.byteLength, bytes.length], [true, 0, 0]);
  assert.equal(state.bytes.length, 0);
  assert.equal(state.address, address);
  native().releaseRetired();
  assert.equal(holdings().descriptors, before.descriptors);
});

test("MappingCore.sharedBuffer is one buffer over the same memory, where there are such", (t) => {
  const state = makeCore(t, 1, { start: 7, byteLength: 100 });
  const buffer = state.sharedBuffer;
  if (buffer === undefined) {
    assert.equal(native().canShare(), false);
    return;
  }
  assert.ok(buffer instanceof SharedArrayBuffer && native().canShare());
  assert.equal(state.sharedBuffer, buffer);
  assert.equal(buffer.byteLength, 100);
  new Uint8Array(buffer)[3] = 9;
  assert.equal(state.bytes[3], 9);
  state.replaceRegion(anonymousRegion(2, "private"), 200);
  const next = state.sharedBuffer;
  assert.ok(next instanceof SharedArrayBuffer && next !== buffer);
  assert.deepEqual([next.byteLength, buffer.byteLength], [200, 100]);
  assert.equal(new Uint8Array(buffer)[3], 0, "the old range is covered");
  state.close();
  assert.equal(state.sharedBuffer?.byteLength, 0);
  assert.equal(collectFault(state)?.reason, "closed");
});

test("MappingCore.onView is told each buffer that is made, and none that is empty", (t) => {
  const state = makeCore(t, 1);
  const seen: ArrayBufferLike[] = [];
  state.onView = (buffer) => seen.push(buffer);
  const buffers = [state.bytes.buffer, state.sharedBuffer].filter((made) => made !== undefined);
  assert.equal(state.bytes.buffer, buffers[0]);
  assert.deepEqual(seen, buffers);
  state.close();
  assert.equal(state.bytes.length, 0);
  assert.equal(seen.length, buffers.length);
});

test("MappingCore.escaped holds the regions whose buffers are out of reach", (t) => {
  const state = makeCore(t, 1);
  const first = state.region;
  const { bytes } = state;
  state.replaceRegion(anonymousRegion(1, "private"), pageSize);
  // Where the engine has let go of the old view, nobody can reach the old region.
  assert.equal(state.escaped.includes(first), bytes.length > 0);
  const count = state.escaped.length;
  try {
    structuredClone(state.bytes.buffer, { transfer: [state.bytes.buffer] });
  } catch {
    t.skip("this runtime does not let such a buffer go");
    return;
  }
  const second = state.region;
  state.replaceRegion(anonymousRegion(1, "private"), pageSize);
  assert.equal(state.escaped.length, count + 1);
  assert.equal(state.escaped.at(-1), second);
});
