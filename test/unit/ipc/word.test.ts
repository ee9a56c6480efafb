// src/ipc/word.ts: which elements of which arrays are words that the kernel can share.

import assert from "node:assert/strict";
import { truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { FaultError, mapAnonymous, mapFileSync, pageSize, SystemError } from "memmap";
import { asElement, asValue, failureOf, locate } from "#dist/ipc/word.js";
import { tempDir } from "../../helpers/temp.js";
import { hasCode } from "../support.js";

const shared = (byteLength: number) => mapAnonymous(byteLength, { sharing: "shared" });
const wordAt = (buffer: ArrayBufferLike, index: number) =>
  locate(asElement(new Int32Array(buffer), index), "wait on");

test("asElement() takes an Int32Array and an index, and asValue() 32 bits, nothing else", () => {
  const type = hasCode(TypeError, "ERR_INVALID_ARG_TYPE");
  const range = hasCode(RangeError, "ERR_OUT_OF_RANGE");
  for (const array of [undefined, null, {}, new Uint32Array(1), new Uint8Array(4), [1]]) {
    assert.throws(() => asElement(array, 0), type);
  }
  assert.throws(() => asElement(new Int32Array(1), "0"), type);
  for (const index of [-1, 0.5, Number.NaN]) {
    assert.throws(() => asElement(new Int32Array(1), index), range);
  }
  assert.deepEqual([asValue(-(2 ** 31)), asValue(2 ** 31 - 1)], [-(2 ** 31), 2 ** 31 - 1]);
  assert.throws(() => asValue(2 ** 31), range);
  assert.throws(() => asValue(-(2 ** 31) - 1), range);
  assert.throws(() => asValue(1n), type);
});

test("locate() counts from the array, and from the first byte of the region", (t) => {
  const mapping = shared(2 * pageSize);
  t.after(() => mapping.close());
  const part = new Int32Array(mapping.buffer, 8, 4);
  const word = locate(asElement(part, 3), "notify");
  assert.deepEqual([word.byteOffset, word.offset], [20, 20]);
  assert.equal(word.core.address, mapping.address);
  assert.throws(
    () => locate(asElement(part, 4), "notify"),
    hasCode(RangeError, "ERR_OUT_OF_RANGE", /has 4 of them/),
  );
  const { sharedBuffer } = mapping;
  if (sharedBuffer !== undefined) assert.equal(wordAt(sharedBuffer, 5).byteOffset, 20);
});

test("memory that nobody shares is refused by its type", (t) => {
  const own = mapAnonymous(pageSize);
  t.after(() => own.close());
  const type = hasCode(TypeError, "ERR_INVALID_ARG_TYPE");
  assert.throws(() => wordAt(own.buffer, 0), type);
  assert.throws(() => wordAt(new ArrayBuffer(8), 0), type);
  assert.throws(() => wordAt(new SharedArrayBuffer(8), 0), type);
});

test("a word whose address is no multiple of four is out of range", (t) => {
  const file = join(tempDir(t), "odd");
  writeFileSync(file, new Uint8Array(100));
  const odd = mapFileSync(file, { protection: "read-write", offset: 2, length: 64 });
  t.after(() => odd.close());
  assert.throws(
    () => wordAt(odd.buffer, 0),
    hasCode(RangeError, "ERR_OUT_OF_RANGE", /multiple of 4/),
  );
  const even = mapFileSync(file, { protection: "read-write", offset: 4, length: 64 });
  t.after(() => even.close());
  assert.deepEqual([wordAt(even.buffer, 1).byteOffset, wordAt(even.buffer, 1).offset], [4, 8]);
});

test("a closed or resized mapping has no words", () => {
  const mapping = shared(pageSize);
  const before = new Int32Array(mapping.buffer);
  const beforeShared = mapping.sharedBuffer;
  mapping.resize(2 * pageSize);
  const gone = { code: "ERR_MEMMAP_CLOSED" };
  assert.throws(() => locate(asElement(before, 0), "wait on"), gone);
  if (beforeShared !== undefined) assert.throws(() => wordAt(beforeShared, 0), gone);
  const after = new Int32Array(mapping.buffer);
  assert.equal(locate(asElement(after, 0), "wait on").byteOffset, 0);
  mapping.close();
  assert.throws(() => locate(asElement(after, 0), "wait on"), gone);
});

test("failureOf() tells a lost page as its fault, and all else as the system's error", (t) => {
  const file = join(tempDir(t), "short");
  writeFileSync(file, new Uint8Array(2 * pageSize));
  const mapping = mapFileSync(file, { protection: "read-write" });
  t.after(() => mapping.close());
  const word = wordAt(mapping.buffer, pageSize / 4);
  truncateSync(file, pageSize);
  const lost = failureOf(word, -14, "wait on");
  assert.ok(lost instanceof FaultError, String(lost));
  assert.deepEqual([lost.byteOffset, lost.reason], [pageSize, "truncated"]);
  const refused = failureOf(word, -12, "wait on");
  assert.ok(refused instanceof SystemError && refused.code === "ENOMEM", String(refused));
  assert.equal(refused.syscall, "futex");
});
