// src/ipc/reservation.ts: room that is written in place and committed once, and what users can do
// to the memory that they were lent.

import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import test from "node:test";
import { Channel } from "memmap/ipc";

/** Takes the memory away from a buffer, as `postMessage` and others do. */
function takeAway(buffer: ArrayBuffer): void {
  const transfer: unknown = Reflect.get(buffer, "transfer");
  if (typeof transfer === "function") Reflect.apply(transfer, buffer, []);
  else structuredClone(buffer, { transfer: [buffer] });
}

function countOf(folder: string): number {
  return readdirSync(folder).length;
}

test("a reservation is committed once, whole or in part, or aborted", () => {
  using channel = Channel.create();
  const whole = channel.tryReserve(3);
  whole?.bytes.set([1, 2, 3]);
  whole?.commit();
  assert.throws(() => whole?.commit(), { code: "ERR_MEMMAP_CLOSED" });
  const part = channel.tryReserve(3);
  part?.bytes.set([4, 5, 6]);
  assert.throws(() => part?.commit(4), { code: "ERR_OUT_OF_RANGE" });
  part?.commit(2);
  channel.tryReserve(3)?.abort();
  assert.deepEqual([...(channel.tryReceive() ?? [])], [1, 2, 3]);
  assert.deepEqual([...(channel.tryReceive() ?? [])], [4, 5]);
  assert.equal(channel.tryReceive(), undefined);
});

test("the bytes of a reservation cannot be exchanged for longer ones", () => {
  using channel = Channel.create();
  const room = channel.tryReserve(8);
  assert.ok(room !== undefined);
  assert.equal(Reflect.set(room, "bytes", new Uint8Array(1000)), false);
  assert.throws(() => room.commit(1000), { code: "ERR_OUT_OF_RANGE" });
  room.abort();
});

test("a channel goes on when the buffer of a reservation or loan was transferred away", () => {
  const before = countOf("/proc/self/fd");
  const channel = Channel.create();
  const other = Channel.attach(channel.handle);
  const room = channel.tryReserve(8);
  assert.ok(room !== undefined);
  room.bytes.fill(7);
  takeAway(room.bytes.buffer);
  room.commit();
  const borrowed = other.borrow();
  assert.deepEqual([...(borrowed?.bytes ?? [])], [7, 7, 7, 7, 7, 7, 7, 7]);
  if (borrowed !== undefined) takeAway(borrowed.bytes.buffer);
  borrowed?.release();
  using again = channel.tryReserve(4);
  again?.bytes.fill(1);
  again?.commit();
  assert.deepEqual([...(other.tryReceive() ?? [])], [1, 1, 1, 1]);
  assert.equal(channel.state, "open");
  other.close();
  assert.equal(channel.state, "closed");
  channel.close();
  assert.equal(countOf("/proc/self/fd"), before);
});

test("a message that becomes shorter while it waits is not sent with others' bytes", async (t) => {
  if (!("resizable" in ArrayBuffer.prototype)) {
    t.skip("needs resizable buffers");
    return;
  }
  using channel = Channel.create({ capacity: 1024 });
  while (channel.trySend(new Uint8Array(200).fill(170)));
  const buffer: ArrayBuffer = Reflect.construct(ArrayBuffer, [300, { maxByteLength: 300 }]);
  const sent = channel.send(new Uint8Array(buffer, 0, 300), { timeoutMs: 5000 });
  const resize: unknown = Reflect.get(buffer, "resize");
  if (typeof resize === "function") Reflect.apply(resize, buffer, [10]);
  while (channel.tryReceive() !== undefined);
  await assert.rejects(sent, { code: "ERR_INVALID_ARG_VALUE" });
  assert.equal(channel.tryReceive(), undefined);
});
