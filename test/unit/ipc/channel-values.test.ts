// src/ipc/channel-values.ts: values as bytes and back, and everything that is no value.

import assert from "node:assert/strict";
import test from "node:test";
import { MemmapError } from "memmap";
import { decodeValue, encodeValue } from "#dist/ipc/channel-values.js";
import { needs } from "../../helpers/temp.js";
import { hasCode } from "../support.js";

function bytesOf(value: unknown): Uint8Array<ArrayBuffer> {
  const message = encodeValue(value);
  const bytes = new Uint8Array(message.length).fill(255);
  message.copyTo(bytes, 0);
  return bytes;
}

const roundTrip = (value: unknown): unknown => decodeValue(bytesOf(value));

test("values of all kinds come back, with their arrays, cycles and shared objects", () => {
  const values: readonly unknown[] = [
    null,
    false,
    -1.5,
    12n,
    "text \u{1f600}",
    new Date(7),
    /x/giu,
    [1, [2]],
    new Map([["a", new Set([1])]]),
    { a: { b: new Float64Array(300).fill(0.5) }, c: new Uint8Array(3) },
    new Uint8Array(0),
    new BigInt64Array(100).fill(-3n),
    new DataView(new ArrayBuffer(600), 8),
    new ArrayBuffer(9),
    new Map([[new Uint16Array(400), new Set([new Int8Array(700)])]]),
  ];
  for (const value of values) assert.deepEqual(roundTrip(value), value);
  const cycle: Record<string, unknown> = { array: new Uint8Array(5000).fill(1) };
  cycle["self"] = cycle;
  const found = Object(roundTrip(cycle));
  assert.equal(found.self, found);
  assert.deepEqual(found.array, cycle["array"]);
});

test("a Buffer comes back as bytes, a long one as a Uint8Array, and an error as one", () => {
  const value = {
    bytes: Buffer.from("abc"),
    long: Buffer.alloc(600, 1),
    error: new RangeError("far"),
  };
  const { bytes, long, error } = Object(roundTrip(value));
  assert.ok(bytes instanceof Uint8Array); // On Bun it is a Buffer again.
  assert.deepEqual([...bytes], [97, 98, 99]);
  assert.equal(Object.getPrototypeOf(long), Uint8Array.prototype);
  assert.deepEqual(long, new Uint8Array(600).fill(1));
  assert.ok(error instanceof RangeError && error.message === "far");
});

test("large arrays lie beside what the serializer wrote, at multiples of 8", () => {
  const array = new Uint8Array(10_001).fill(0xab);
  const bytes = bytesOf({ array, name: "x" });
  const from = bytes.indexOf(0xab);
  assert.equal(from % 8, 0);
  assert.deepEqual(bytes.subarray(from, from + array.length), array);
  assert.equal(bytes.length, from + Math.ceil(array.length / 8) * 8, "the last thing in it");
});

test("a value is written in pieces of any size", () => {
  const value = { a: new Uint8Array(777).fill(7), b: [new Float32Array(333).fill(1)], c: "d" };
  const whole = bytesOf(value);
  const message = encodeValue(value);
  for (const size of [1, 7, 248, 1000]) {
    const pieces = new Uint8Array(whole.length).fill(255);
    for (let offset = 0; offset < whole.length; offset += size) {
      message.copyTo(pieces.subarray(offset, offset + size), offset);
    }
    assert.deepEqual(decodeValue(pieces), value);
  }
});

test("what cannot be cloned is a DataCloneError, and undefined is a TypeError", () => {
  const isClone = { name: "DataCloneError" };
  for (const value of [() => {}, { deep: [Symbol("s")] }, new WeakMap(), Promise.resolve()]) {
    assert.throws(() => encodeValue(value), isClone);
  }
  assert.throws(() => encodeValue(undefined), hasCode(TypeError, "ERR_INVALID_ARG_TYPE"));
});

test("V8 refuses a SharedArrayBuffer", {
  skip: needs("bun").skip === false && "JSC copies it",
}, () => {
  assert.throws(() => encodeValue(new SharedArrayBuffer(8)), { name: "DataCloneError" });
});

test("a view of shared memory is sent as a copy of its bytes", () => {
  const view = new Uint8Array(new SharedArrayBuffer(1000)).fill(9);
  assert.deepEqual(roundTrip({ view }), { view: new Uint8Array(1000).fill(9) });
});

test("an array that is transferred while it is sent is an error, not other bytes", () => {
  const array = new Uint8Array(1000);
  const message = encodeValue([array]);
  structuredClone(array.buffer, { transfer: [array.buffer] });
  assert.throws(() => message.copyTo(new Uint8Array(message.length), 0), TypeError);
});

test("bytes that are no value are an error, whatever they are", () => {
  const corrupt = hasCode(MemmapError, "ERR_MEMMAP_CORRUPT");
  const good = bytesOf({ a: new Uint8Array(2000), b: new Map([["x", [1, 2, 3]]]) });
  assert.throws(() => decodeValue(new Uint8Array(0)), corrupt);
  assert.throws(() => decodeValue(new Uint8Array(15)), corrupt);
  const words = (index: number, value: number): Uint8Array<ArrayBuffer> => {
    const bytes = good.slice();
    new Uint32Array(bytes.buffer, 0, 6)[index] = value;
    return bytes;
  };
  assert.throws(() => decodeValue(words(0, 3)), hasCode(MemmapError, "ERR_MEMMAP_VERSION"));
  for (const count of [2 ** 32 - 1, 2 ** 20, 0]) {
    assert.throws(() => decodeValue(words(1, count)), corrupt, `${count} parts`);
  }
  for (const length of [2 ** 32 - 1, good.length, 0]) {
    assert.throws(() => decodeValue(words(2, length)), corrupt, `${length} bytes`);
  }
  for (const part of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 1e9]) {
    const bytes = good.slice();
    new Float64Array(bytes.buffer, 16, 1)[0] = part;
    assert.throws(() => decodeValue(bytes), corrupt, `a part of ${part}`);
  }
});

test("a value with bytes changed anywhere is a value or an error", () => {
  const good = bytesOf({ a: new Uint8Array(600), b: [1, "x", new Date(1), /y/, 5n] });
  let seed = 1;
  const random = (limit: number): number => {
    seed = (seed * 48_271) % 2_147_483_647;
    return seed % limit;
  };
  let errors = 0;
  for (let i = 0; i < 3000; i += 1) {
    const bytes = good.slice(0, random(4) === 0 ? random(good.length) : good.length);
    const end = Math.min(bytes.length, good.length - 600);
    for (let k = random(3); k >= 0 && end > 0; k -= 1) bytes[random(end)] = random(256);
    try {
      decodeValue(bytes);
    } catch (error) {
      assert.ok(error instanceof MemmapError, String(error));
      errors += 1;
    }
  }
  assert.ok(errors > 500, `${errors} errors`);
});
