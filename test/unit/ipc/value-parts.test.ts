// src/ipc/value-parts.ts: typed arrays leave a value and come back to the same places, whatever the
// value looks like, and nothing else is taken for one. The clone of the runtime is between.

import assert from "node:assert/strict";
import test from "node:test";
import {
  bytesOf,
  kindOf,
  type Parted,
  putParts,
  takeParts,
  viewOf,
} from "#dist/ipc/value-parts.js";

/* What a serializer does that keeps the buffers of views: the structured clone of every engine. */
function through(parted: Parted | undefined): unknown {
  assert.ok(parted);
  const copies = parted.parts.map((part) => Uint8Array.from(part));
  const found = putParts(structuredClone(parted.value), copies);
  assert.ok(found);
  return found.value;
}

const long = (): Float64Array => Float64Array.from({ length: 100 }, (_, i) => i / 3);

test("arrays come back with type and content from objects, lists, maps, sets and keys", () => {
  const [a, b, c] = [long(), Uint16Array.from({ length: 300 }, (_, i) => i), long().fill(7)];
  const value = {
    plain: a,
    list: Object.assign(new Array(4), { 1: 1, 3: { deep: b } }),
    map: new Map<unknown, unknown>([
      [c, "as a key"],
      ["x", new DataView(a.buffer, 8, 600)],
    ]),
    set: new Set([b, "text"]),
    date: new Date(5),
    undefined: undefined,
  };
  const parted = takeParts(value);
  assert.equal(parted?.parts.length, 4, "one that is met twice goes once");
  assert.deepEqual(through(parted), structuredClone(value));
  assert.equal(value.plain, a, "the user's value stays as it was");
});

test("cycles, shared objects and the arrays themselves keep their identity", () => {
  const shared = { array: long() };
  const value: Record<string, unknown> = { one: shared, two: shared, again: shared.array };
  value["self"] = value;
  const found = through(takeParts(value)) as typeof value;
  assert.equal(found["self"], found);
  assert.equal(found["one"], found["two"]);
  assert.equal(Reflect.get(Object(found["one"]), "array"), found["again"]);
});

test("an array alone, and a name that objects treat in their own way", () => {
  assert.deepEqual(through(takeParts(long())), long());
  const value = JSON.parse('{"__proto__": 1}');
  Object.defineProperty(value, "__proto__", { value: long(), enumerable: true });
  const found = through(takeParts(value));
  assert.deepEqual(Object.keys(Object(found)), ["__proto__"]);
  assert.equal(Object.getPrototypeOf(found), Object.prototype);
});

test("deep values do not end the stack", () => {
  let deep: unknown = long();
  for (let i = 0; i < 100_000; i += 1) deep = [deep];
  assert.equal(takeParts(deep)?.parts.length, 1);
});

test("nothing is taken out where there is nothing to gain, or no way to do it right", () => {
  assert.equal(takeParts({ a: 1, b: new Uint8Array(10) }), undefined);
  assert.equal(takeParts("text"), undefined);
  assert.equal(takeParts({ array: long(), odd: Promise.resolve() }), undefined);
  assert.equal(takeParts({ array: long(), odd: new WeakMap() }), undefined);
  class Point {
    array = long();
  }
  assert.deepEqual(through(takeParts(new Point())), { array: long() });
});

test("an array that begins where a placeholder would, in a buffer of the user's, stays", () => {
  const own = new ArrayBuffer(128);
  const value = [new Uint8Array(own, 0, 0), new Uint8Array(own, 0, 1), long()];
  assert.deepEqual(through(takeParts(value)), value);
});

test("more arrays than have numbers stay in the value", () => {
  const value = Array.from({ length: 4100 }, (_, i) => new Uint8Array(512).fill(i));
  const parted = takeParts(value);
  assert.equal(parted?.parts.length, 4096);
  assert.deepEqual(through(parted), value);
});

test("what others have made instead is no value", () => {
  const marker = new ArrayBuffer(128);
  const parts = [new Uint8Array(512)];
  for (const from of [undefined, 1, [], [marker], [marker, 5, 6], [1, [1], 2]]) {
    assert.equal(putParts(from, parts), undefined);
  }
  const stranger = new Uint8Array(marker, 3, 3);
  assert.equal(putParts([marker, [1], stranger], parts), undefined, "no part of that number");
  const first = new Uint8Array(marker, 0, 0);
  assert.equal(putParts([marker, [99], first], parts), undefined, "no type of that number");
  assert.equal(putParts([marker, [], first], parts), undefined);
});

test("kindOf(), bytesOf() and viewOf() are each other's inverse for all types", () => {
  const buffer = new ArrayBuffer(64);
  const views = [new Int8Array(buffer), new BigUint64Array(buffer, 8, 2), new DataView(buffer, 3)];
  for (const view of views) {
    const copy = viewOf(kindOf(view), Uint8Array.from(bytesOf(view)));
    assert.equal(Object.prototype.toString.call(copy), Object.prototype.toString.call(view));
    assert.equal(copy?.byteLength, view.byteLength);
  }
  assert.equal(kindOf(Buffer.from("x")), kindOf(new Uint8Array()), "a Buffer is bytes");
  assert.equal(viewOf(99, new Uint8Array()), undefined);
});
