// Offsets and lengths: any alignment, the tail of the last page, nothing at all, and beyond 4 GiB.

import assert from "node:assert/strict";
import {
  appendFileSync,
  closeSync,
  ftruncateSync,
  openSync,
  readFileSync,
  readSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { mapAnonymous, mapFile, mapFileSync, pageSize } from "memmap";
import { areaAt } from "../helpers/proc-self.js";
import { type Cleanup, tempDir } from "../helpers/temp.js";

const gib = 2 ** 30;

function makeFile(t: Cleanup, byteLength: number): string {
  const path = join(tempDir(t), "data.bin");
  writeFileSync(
    path,
    Uint8Array.from({ length: byteLength }, (_, offset) => (offset * 7) % 251),
  );
  return path;
}

/** A file with holes: each number is an offset, where the bytes of its decimal digits stand. */
function makeSparse(t: Cleanup, byteLength: number, offsets: readonly number[]): string {
  const path = join(tempDir(t), "sparse.bin");
  const fd = openSync(path, "w");
  ftruncateSync(fd, byteLength);
  for (const offset of offsets) {
    const digits = Buffer.from(String(offset));
    // With the length written out: Bun takes a length of null for a missing position as well.
    assert.equal(writeSync(fd, digits, 0, digits.length, offset), digits.length);
  }
  closeSync(fd);
  return path;
}

/** Bytes of a file as read(2) gives them. */
function bytesAt(path: string, offset: number, length: number): Buffer {
  const fd = openSync(path, "r");
  const bytes = Buffer.alloc(length);
  readSync(fd, bytes, 0, length, offset);
  closeSync(fd);
  return bytes;
}

test("offset and length need no alignment: the view is exactly the bytes asked for", (t) => {
  const path = makeFile(t, 3 * pageSize + 123);
  const whole = readFileSync(path);
  for (const offset of [0, 1, 4095, 4096, 4097, 5000, 8192, 3 * pageSize, 3 * pageSize + 122]) {
    for (const length of [1, 2, 100, 4096, 4097, undefined]) {
      const end = length === undefined ? whole.length : offset + length;
      if (end > whole.length) continue;
      using mapping = mapFileSync(path, { offset, length });
      assert.deepEqual(Buffer.from(mapping.bytes), whole.subarray(offset, end));
      assert.deepEqual([mapping.offset, mapping.byteLength], [offset, end - offset]);
    }
  }
});

test("the kernel is asked for whole pages: the area begins and ends at page boundaries", (t) => {
  using mapping = mapFileSync(makeFile(t, 3 * pageSize), { offset: pageSize + 10, length: 20 });
  const area = areaAt(mapping.address);
  assert.equal(mapping.address, (area?.start ?? 0n) + 10n);
  assert.equal(area?.offset, BigInt(pageSize));
  assert.equal((area?.end ?? 0n) - (area?.start ?? 0n), BigInt(pageSize));
  assert.equal(mapping.buffer.byteLength, 20);
});

test("a write through an unaligned view lands at its offset in the file", (t) => {
  const path = makeFile(t, 2 * pageSize);
  const expected = readFileSync(path);
  using mapping = mapFileSync(path, { offset: 4090, length: 12, protection: "read-write" });
  mapping.bytes.fill(0xee);
  expected.fill(0xee, 4090, 4102);
  assert.deepEqual(readFileSync(path), expected);
});

test("the rest of the last page is zeros and not part of the view", (t) => {
  const path = makeFile(t, pageSize + 10);
  using mapping = mapFileSync(path);
  assert.equal(mapping.bytes.length, pageSize + 10);
  assert.equal(mapping.bytes[pageSize + 10], undefined);
  appendFileSync(path, Buffer.alloc(20, 1));
  assert.equal(mapping.bytes.length, pageSize + 10);
  truncateSync(path, pageSize + 5);
  assert.deepEqual([...mapping.bytes.subarray(pageSize + 5)], [0, 0, 0, 0, 0]);
});

test("what is written behind the end of the file in its last page does not reach the file", (t) => {
  const path = makeFile(t, pageSize + 10);
  using mapping = mapFileSync(path, { protection: "read-write" });
  truncateSync(path, pageSize + 4);
  mapping.bytes.fill(0xee, pageSize);
  mapping.flushSync();
  assert.equal(readFileSync(path).length, pageSize + 4);
  assert.ok(
    readFileSync(path)
      .subarray(pageSize)
      .every((byte) => byte === 0xee),
  );
});

test("an empty file, an empty length and an offset at the end give empty mappings", async (t) => {
  const path = makeFile(t, 100);
  const empty = makeFile(t, 0);
  for (const mapping of [
    mapFileSync(empty),
    await mapFile(empty),
    mapFileSync(empty, { protection: "read-write" }),
    mapFileSync(path, { length: 0 }),
    mapFileSync(path, { offset: 50, length: 0 }),
    mapFileSync(path, { offset: 100 }),
    mapAnonymous(0),
    mapAnonymous(0, { sharing: "shared" }),
  ]) {
    assert.deepEqual([mapping.byteLength, mapping.bytes.length], [0, 0]);
    assert.deepEqual([mapping.closed, mapping.read(0, 0).length], [false, 0]);
    assert.deepEqual([mapping.residency().pageCount, mapping.discard()], [0, 0]);
    mapping.flushSync();
    mapping.loadSync();
    mapping.lockSync();
    mapping.unlock();
    mapping.evict();
    mapping.advise("random");
    await mapping.flush();
    await mapping.load();
    assert.equal(mapping.indexOf(0), -1);
    assert.throws(() => mapping.read(0, 1), { code: "ERR_OUT_OF_RANGE" });
    mapping.close();
    assert.equal(mapping.closed, true);
  }
});

test("offsets beyond 4 GiB are right to the byte", (t) => {
  const marks = [4 * gib - 1, 4 * gib + 12_345, 5 * gib - 20];
  const path = makeSparse(t, 5 * gib, marks);
  for (const mark of marks) {
    const length = String(mark).length;
    using mapping = mapFileSync(path, { offset: mark, length });
    assert.equal(Buffer.from(mapping.bytes).toString(), String(mark));
    assert.equal(Buffer.from(mapping.read(0, length)).toString(), String(mark));
    assert.equal(mapping.offset, mark);
  }
  using tail = mapFileSync(path, { offset: 5 * gib - 20 });
  assert.equal(tail.byteLength, 20);
});

test("a write beyond 4 GiB lands at its byte of the file", (t) => {
  const path = makeSparse(t, 5 * gib, []);
  const offset = 4 * gib + pageSize + 3;
  using mapping = mapFileSync(path, { offset, length: 5, protection: "read-write" });
  mapping.bytes.set(Buffer.from("above"));
  mapping.flushSync();
  assert.deepEqual(bytesAt(path, offset - 1, 7).toString(), "\0above\0");
});

/** Whether this runtime holds a view of more than 4 GiB. */
function holdsLongViews(): boolean {
  try {
    return new Uint8Array(4 * gib + pageSize).length > 4 * gib;
  } catch {
    return false;
  }
}

test("a view of more than 4 GiB is whole where the runtime can hold it, else a RangeError", (t) => {
  const mark = 4 * gib + 17;
  const path = makeSparse(t, 5 * gib, [mark]);
  const expected = Buffer.from(String(mark));
  if (!holdsLongViews()) {
    const message = /map (a range|less)/;
    const refusal = { name: "RangeError", code: "ERR_BUFFER_TOO_LARGE", message };
    assert.throws(() => mapFileSync(path), refusal);
    assert.throws(() => mapFileSync(path, { length: 4 * gib + 1 }), refusal);
    assert.throws(() => mapAnonymous(4 * gib + 1, { reserve: false }), refusal);
    return;
  }
  using mapping = mapFileSync(path);
  assert.equal(mapping.bytes.length, 5 * gib);
  assert.deepEqual(Buffer.from(mapping.bytes.subarray(mark, mark + expected.length)), expected);
  assert.deepEqual(Buffer.from(mapping.read(mark, expected.length)), expected);
  assert.equal(mapping.indexOf(expected, { offset: 4 * gib }), mark);
  assert.equal(mapping.indexOf(expected, { offset: mark - 2 ** 20, length: 2 ** 21 }), mark);
  assert.equal(mapping.bytes[5 * gib - 1], 0);
});

test("a view of exactly 4 GiB is whole wherever such an array can be made", (t) => {
  const path = makeSparse(t, 4 * gib, [4 * gib - 10]);
  using mapping = mapFileSync(path);
  assert.equal(mapping.byteLength, 4 * gib);
  assert.equal(mapping.bytes.length, 4 * gib);
  assert.equal(Buffer.from(mapping.bytes.subarray(4 * gib - 10)).toString(), "4294967286");
});
