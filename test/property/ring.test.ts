// src/ipc/ring.ts: a ring of a few bytes in every state that it can have, and long runs of records
// against a plain queue.

import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import {
  distance,
  forward,
  isExtent,
  paddingBefore,
  recordAt,
  recordHead,
  recordLength,
  what,
  writeHead,
  writePadding,
} from "#dist/ipc/ring.js";
import { parameters } from "./support.js";

/** Positions near 0 and on both sides of where 32 bits are over, as laps of the ring. */
function bases(capacity: number): number[] {
  return [0, capacity, 2 ** 31 - capacity, 2 ** 31, 2 ** 32 - capacity].map((base) => base | 0);
}

test("every state of small rings takes a record where it fits, and nowhere else", () => {
  let states = 0;
  for (const capacity of [16, 32, 64]) {
    for (const base of bases(capacity)) {
      for (let at = 0; at < capacity; at += 8) {
        for (let used = 0; used <= capacity; used += 8) {
          for (let payload = 0; payload <= capacity / 2 - recordHead; payload += 1) {
            states += tryState({ capacity, head: forward(base, at), used, payload });
          }
        }
      }
    }
  }
  assert.ok(states > 9_000, `${states} states were looked at`);
});

interface State {
  readonly capacity: number;
  readonly head: number;
  readonly used: number;
  readonly payload: number;
}

/* One state: what the arithmetic says, beside what counting in plain numbers says. */
function tryState({ capacity, head, used, payload }: State): number {
  const tail = forward(head, used);
  const state = JSON.stringify({ capacity, head, used, payload });
  assert.equal(distance(head, tail), used, state);
  assert.ok(isExtent(head, tail, capacity), state);
  assert.ok(!isExtent(forward(head, 4), tail, capacity), `${state}: not aligned`);
  const place = ((tail % capacity) + capacity) % capacity;
  const bytes = recordLength(payload);
  const padding = paddingBefore(tail, bytes, capacity);
  assert.equal(padding, place + bytes > capacity ? capacity - place : 0, state);
  if (used + padding + bytes > capacity) return 1; // There is no room, and nobody writes.
  const data = new Int32Array(capacity / 4).fill(-1);
  if (padding > 0) writePadding(data, tail, padding);
  const position = forward(tail, padding);
  writeHead(data, position & (capacity - 1), { length: payload, mark: what.whole });
  const end = forward(position, bytes);
  const found = [];
  for (let at = tail; at !== end; ) {
    const record = recordAt(data, { head: at, tail: end, capacity });
    assert.ok(record, state);
    assert.ok(record.offset + record.length <= capacity, state);
    found.push([record.kind, record.length]);
    at = record.next;
  }
  const whole = [what.whole, payload];
  assert.deepEqual(found, padding > 0 ? [[what.padding, padding - recordHead], whole] : [whole]);
  return 1;
}

test("what two positions cannot be is no extent, and no record reaches past the tail", () => {
  for (const capacity of [16, 64]) {
    for (const base of bases(capacity)) {
      assert.ok(!isExtent(base, forward(base, capacity + 8), capacity));
      assert.ok(!isExtent(forward(base, 8), base, capacity), "a head behind its tail");
    }
  }
});

test("garbage in the heads of records never leads outside the ring", () => {
  const word = fc.oneof(fc.integer(), fc.integer({ min: 0, max: 80 }), fc.constant(what.whole));
  fc.assert(
    fc.property(fc.array(word, { minLength: 16, maxLength: 16 }), fc.integer(), (words, base) => {
      const capacity = 64;
      const data = Int32Array.from(words);
      const head = base & ~7;
      for (let used = 0; used <= capacity; used += 8) {
        const record = recordAt(data, { head, tail: forward(head, used), capacity });
        if (record === undefined) continue;
        const { offset, length, next } = record;
        assert.ok(offset >= recordHead && length >= 0 && offset + length <= capacity);
        assert.ok(distance(head, next) >= recordHead && distance(head, next) <= used);
      }
    }),
    parameters(500),
  );
});

test("a ring is a queue, over many laps and past the end of 32 bits", () => {
  const capacity = 128;
  const step = fc.oneof(fc.integer({ min: 0, max: capacity / 2 - recordHead }), fc.constant(-1));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300, size: "max" }), (steps) => {
      const ring = new Ring(capacity, -4 * capacity); // A few laps before the end of 32 bits.
      const queue: number[] = [];
      for (const payload of steps) {
        if (payload < 0) assert.equal(ring.take(), queue.shift());
        else if (ring.put(payload)) queue.push(payload);
      }
    }),
    parameters(200),
  );
});

/* What the two halves of a channel do with a ring, without anybody else. */
class Ring {
  readonly #capacity: number;
  readonly #data: Int32Array;
  #head: number;
  #tail: number;

  constructor(capacity: number, start: number) {
    this.#capacity = capacity;
    this.#data = new Int32Array(capacity / 4);
    this.#head = start;
    this.#tail = start;
  }

  put(payload: number): boolean {
    const bytes = recordLength(payload);
    const padding = paddingBefore(this.#tail, bytes, this.#capacity);
    if (distance(this.#head, this.#tail) + padding + bytes > this.#capacity) return false;
    if (padding > 0) writePadding(this.#data, this.#tail, padding);
    const position = forward(this.#tail, padding);
    const place = position & (this.#capacity - 1);
    writeHead(this.#data, place, { length: payload, mark: what.whole });
    this.#tail = forward(position, bytes);
    return true;
  }

  take(): number | undefined {
    while (this.#head !== this.#tail) {
      const extent = { head: this.#head, tail: this.#tail, capacity: this.#capacity };
      const record = recordAt(this.#data, extent);
      assert.ok(record);
      this.#head = record.next;
      if (record.kind === what.whole) return record.length;
    }
    return undefined;
  }
}
