// src/memory.ts: the bytes of a mapping: the edges of copies and searches, and that arguments are
// read before the state is looked at.

import assert from "node:assert/strict";
import test from "node:test";
import { FaultError, type Mapping, MemmapError, mapAnonymous, mapFileSync, pageSize } from "memmap";
import type { Cleanup } from "../helpers/temp.js";
import { hasCode, pattern, patternFile } from "./support.js";

const closed = hasCode(MemmapError, "ERR_MEMMAP_CLOSED");
const outOfRange = hasCode(RangeError, "ERR_OUT_OF_RANGE");

function anonymous(t: Cleanup, byteLength: number): Mapping {
  const mapping = mapAnonymous(byteLength);
  t.after(() => mapping.close());
  return mapping;
}

test("read() and readInto() copy to the last byte and not past it", (t) => {
  const mapping = mapFileSync(patternFile(t, 3 * pageSize), { offset: 7, length: 2 * pageSize });
  t.after(() => mapping.close());
  const all = pattern(3 * pageSize).subarray(7, 7 + 2 * pageSize);
  assert.deepEqual(mapping.read(0, mapping.byteLength), all.slice());
  assert.deepEqual([...mapping.read(mapping.byteLength - 1, 1)], [...all.subarray(-1)]);
  assert.deepEqual(mapping.read(mapping.byteLength, 0).length, 0);
  const target = new Uint8Array(20).fill(255);
  mapping.readInto(target.subarray(5, 15), pageSize - 3);
  const expected = new Uint8Array(20).fill(255);
  expected.set(all.subarray(pageSize - 3, pageSize + 7), 5);
  assert.deepEqual(target, expected);
  assert.throws(() => mapping.read(mapping.byteLength, 1), outOfRange);
  assert.throws(() => mapping.read(0, mapping.byteLength + 1), outOfRange);
  assert.throws(() => mapping.readInto(new Uint8Array(2), mapping.byteLength - 1), outOfRange);
});

test("read() gives a copy that the mapping no longer changes", (t) => {
  const mapping = anonymous(t, 10);
  const copy = mapping.read(0, 10);
  mapping.bytes.fill(1);
  assert.deepEqual(copy, new Uint8Array(10));
  copy.fill(2);
  assert.equal(mapping.bytes[0], 1);
});

test("write() writes exactly its bytes, at every alignment", (t) => {
  const mapping = anonymous(t, 3 * pageSize);
  const model = new Uint8Array(3 * pageSize);
  for (const [offset, length] of [
    [0, 1],
    [pageSize - 1, 2],
    [pageSize + 5, pageSize],
    [3 * pageSize - 1, 1],
    [100, 0],
  ] as const) {
    const bytes = pattern(length + 1).subarray(1);
    mapping.write(offset, bytes);
    model.set(bytes, offset);
    assert.deepEqual(mapping.bytes, model);
  }
  assert.throws(() => mapping.write(3 * pageSize, new Uint8Array(1)), outOfRange);
  assert.deepEqual(mapping.bytes, model);
});

test("write() never passes the end of the mapping, whatever a subclass says of its length", (t) => {
  class Short extends Uint8Array {
    override get length(): number {
      return 1;
    }
  }
  const path = patternFile(t, 200);
  const mapping = mapFileSync(path, { protection: "read-write", length: 100 });
  t.after(() => mapping.close());
  assert.throws(() => mapping.write(99, new Short(50)), outOfRange);
  assert.throws(() => mapping.readInto(new Short(50), 99), outOfRange);
  const whole = mapFileSync(path);
  t.after(() => whole.close());
  assert.deepEqual(whole.bytes, pattern(200));
});

test("write() copies rightly from the same bytes, forwards and backwards", (t) => {
  for (const [from, to] of [
    [0, 1],
    [1, 0],
    [pageSize, pageSize + 10],
    [pageSize + 10, pageSize],
    [5, 5],
  ] as const) {
    const mapping = anonymous(t, 3 * pageSize);
    const model = pattern(3 * pageSize);
    mapping.bytes.set(model);
    mapping.write(to, mapping.bytes.subarray(from, from + pageSize));
    model.copyWithin(to, from, from + pageSize);
    assert.deepEqual(mapping.bytes, model, `${from} to ${to}`);
    mapping.readInto(mapping.bytes.subarray(to, to + pageSize), from);
    model.copyWithin(to, from, from + pageSize);
    assert.deepEqual(mapping.bytes, model, `read ${from} to ${to}`);
  }
});

test("write() of bytes of which some cannot be read is the caller's EFAULT", (t) => {
  const source = anonymous(t, 2 * pageSize);
  const { bytes } = source;
  source.protect("none", { offset: pageSize });
  const target = anonymous(t, 2 * pageSize);
  assert.throws(() => target.write(0, bytes), hasCode(MemmapError, "EFAULT"));
});

test("read() up to a page that cannot be read gives the bytes before it to readInto()", (t) => {
  const mapping = anonymous(t, 2 * pageSize);
  mapping.bytes.fill(7);
  mapping.protect("none", { offset: pageSize });
  const target = new Uint8Array(2 * pageSize - 3);
  assert.throws(() => mapping.readInto(target, 3), hasCode(FaultError, "ERR_MEMMAP_FAULT"));
  const expected = new Uint8Array(2 * pageSize - 3).fill(7, 0, pageSize - 3);
  assert.deepEqual(target, expected);
});

test("indexOf() takes bytes, text as UTF-8 and one byte, inside a range", (t) => {
  const mapping = anonymous(t, 100);
  mapping.write(10, Buffer.from("größe größe"));
  assert.equal(mapping.indexOf("größe"), 10);
  assert.equal(mapping.lastIndexOf("größe"), 18);
  assert.equal(mapping.indexOf(Buffer.from("größe"), { offset: 11 }), 18);
  assert.equal(mapping.indexOf("größe", { offset: 11, length: 13 }), -1);
  assert.equal(mapping.lastIndexOf("größe", { length: 24 }), 10);
  assert.equal(mapping.indexOf(0xc3), 12);
  assert.equal(mapping.indexOf(0, { offset: 12, length: 5 }), -1);
  assert.equal(mapping.indexOf("", { offset: 5 }), 5);
  assert.equal(mapping.lastIndexOf("", { offset: 5, length: 6 }), 11);
  assert.equal(mapping.indexOf("\ud800"), -1, "a lone surrogate is U+FFFD in UTF-8");
  for (const byte of [256, -1, 0.5]) assert.throws(() => mapping.indexOf(byte), outOfRange);
  assert.throws(() => mapping.indexOf("a", { offset: 101 }), outOfRange);
});

test("indexOf() and lastIndexOf() find what straddles the first GiB", () => {
  const gib = 2 ** 30;
  using mapping = mapAnonymous(gib + 2 * pageSize, { reserve: false });
  mapping.write(gib - 3, Buffer.from("needle"));
  const near = { offset: gib - pageSize, length: 2 * pageSize };
  assert.equal(mapping.indexOf("needle", near), gib - 3);
  assert.equal(mapping.indexOf("needle"), gib - 3);
  assert.equal(mapping.lastIndexOf("needle"), gib - 3);
});

test("what a user does to the buffer does not hide the bytes from the mapping", (t) => {
  const mapping = anonymous(t, pageSize);
  mapping.write(5, Buffer.from("A"));
  try {
    structuredClone(mapping.buffer, { transfer: [mapping.buffer] });
  } catch (error) {
    // Some runtimes do not let such a buffer go.
    assert.ok(error instanceof Error && error.name === "DataCloneError");
  }
  assert.equal(mapping.byteLength, pageSize);
  assert.equal(mapping.indexOf("A"), 5);
  assert.equal(mapping.lastIndexOf("A"), 5);
  assert.deepEqual([...mapping.read(5, 1)], [65]);
  mapping.resize(2 * pageSize);
  assert.equal(mapping.bytes.length, 2 * pageSize);
  assert.equal(mapping.bytes[5], 65);
});

test("arguments are read before the state is looked at", (t) => {
  const calls: readonly ((mapping: Mapping, range: object) => unknown)[] = [
    (mapping, range) => mapping.indexOf("a", range),
    (mapping, range) => mapping.lastIndexOf("a", range),
    (mapping, range) => mapping.evict(range),
    (mapping, range) => mapping.discard(range),
    (mapping, range) => mapping.protect("read", range),
    (mapping, range) => mapping.advise("normal", range),
    (mapping, range) => mapping.residency(range),
    (mapping, range) => mapping.unlock(range),
    (mapping, range) => mapping.flushSync(range),
    (mapping, range) => mapping.loadSync(range),
    (mapping, range) => mapping.lockSync(range),
  ];
  for (const call of calls) {
    const mapping = anonymous(t, pageSize);
    const closing = {
      get offset(): number {
        mapping.close();
        return 0;
      },
    };
    assert.throws(() => call(mapping, closing), closed, String(call));
    const shrinking = anonymous(t, 2 * pageSize);
    const range = {
      offset: 0,
      get length(): number {
        shrinking.resize(10);
        return 2 * pageSize;
      },
    };
    assert.throws(() => call(shrinking, range), outOfRange, String(call));
  }
});

test("every method of a closed mapping refuses, and close() does not", (t) => {
  const mapping = anonymous(t, pageSize);
  mapping.close();
  mapping.close();
  mapping[Symbol.dispose]();
  for (const call of [
    () => mapping.read(0, 0),
    () => mapping.readInto(new Uint8Array(0), 0),
    () => mapping.write(0, new Uint8Array(0)),
    () => mapping.indexOf("a"),
    () => mapping.lastIndexOf("a"),
    () => mapping.resize(0),
    () => mapping.pin(),
  ]) {
    assert.throws(call, closed, String(call));
  }
  assert.throws(() => mapping.read(-1, 0), outOfRange);
});

test("pins are counted: close() and resize() wait for the last one", (t) => {
  const mapping = anonymous(t, pageSize);
  const pinned = hasCode(MemmapError, "ERR_MEMMAP_PINNED", /1 pins or locks hold/);
  const first = mapping.pin();
  const second = mapping.pin();
  first[Symbol.dispose]();
  first[Symbol.dispose]();
  assert.throws(() => mapping.close(), pinned);
  assert.throws(() => mapping.resize(1), pinned);
  assert.throws(() => mapping[Symbol.dispose](), pinned);
  assert.equal(mapping.bytes.length, pageSize);
  second[Symbol.dispose]();
  mapping.resize(1);
  mapping.close();
  second[Symbol.dispose]();
});

test("read() and write() of a repaired page throw until remap(), those around work", (t) => {
  const mapping = mapAnonymous(3 * pageSize, { faults: "collect", sharing: "shared" });
  t.after(() => mapping.close());
  mapping.bytes.fill(4);
  mapping.protect("none", { offset: pageSize, length: 1 });
  assert.equal(mapping.bytes[pageSize + 1], 0);
  mapping.protect("read-write");
  const fault = hasCode(FaultError, "ERR_MEMMAP_FAULT");
  const target = new Uint8Array(2);
  for (const call of [
    () => mapping.read(pageSize - 1, 2),
    () => mapping.readInto(target, pageSize - 1),
    () => mapping.write(pageSize - 1, Uint8Array.of(1, 1)),
    () => mapping.read(2 * pageSize - 1, 1),
  ]) {
    assert.throws(call, fault, String(call));
  }
  assert.deepEqual([...target], [0, 0]);
  assert.deepEqual([...mapping.read(pageSize - 1, 1)], [4], "nothing was written");
  mapping.write(2 * pageSize, Uint8Array.of(5));
  mapping.read(pageSize + 5, 0);
  mapping.remap();
  assert.deepEqual([...mapping.read(2 * pageSize - 1, 2)], [4, 5]);
});

test("sharedBuffer shows the same bytes, and a closed mapping has an empty one", (t) => {
  const mapping = anonymous(t, 100);
  const { sharedBuffer } = mapping;
  if (sharedBuffer === undefined) return t.skip("this runtime makes no such buffer");
  new Int32Array(sharedBuffer)[2] = 77;
  assert.equal(mapping.bytes[8], 77);
  assert.equal(Atomics.notify(new Int32Array(sharedBuffer), 2), 0);
  assert.equal(mapping.sharedBuffer, sharedBuffer);
  mapping.close();
  assert.equal(mapping.sharedBuffer?.byteLength, 0);
});
