// src/ipc/channel-sending.ts: what an end sends, when it waits, and how a message is given up.

import assert from "node:assert/strict";
import test from "node:test";
import { MemmapError, SystemError } from "memmap";
import { payloadMax } from "#dist/ipc/ring.js";
import { hasCode, pattern } from "../support.js";
import { fillRing, pair, pause } from "./channel-support.js";

const closed = hasCode(MemmapError, "ERR_MEMMAP_CLOSED");
const timeout = hasCode(MemmapError, "ERR_MEMMAP_TIMEOUT");
const deadlock = hasCode(SystemError, "EDEADLK");

test("messages of every length arrive whole, of nothing up to ten rings", async (t) => {
  const [channel, other] = pair(t, { capacity: 1024 });
  const most = payloadMax(1024);
  for (const length of [0, 1, 7, 8, most - 1, most, most + 1, 1024, 10_240]) {
    const sent = other.send(pattern(length));
    assert.deepEqual(await channel.receive(), pattern(length), `${length} bytes`);
    await sent;
  }
});

test("arguments are read before the state, and refused before anything is sent", async (t) => {
  const [channel, other] = pair(t, { capacity: 1024 });
  const type = hasCode(TypeError, "ERR_INVALID_ARG_TYPE");
  const range = hasCode(RangeError, "ERR_OUT_OF_RANGE");
  const wrong: readonly unknown[] = [undefined, null, "text", [1], new Uint16Array(2), {}];
  for (const message of wrong) {
    await assert.rejects(other.send(message as Uint8Array), type);
    assert.throws(() => other.sendSync(message as Uint8Array), type);
    assert.throws(() => other.trySend(message as Uint8Array), type);
  }
  assert.throws(() => other.trySend(new Uint8Array(505)), range);
  assert.throws(() => other.tryReserve(505), range);
  await assert.rejects(other.reserve(-1), range);
  await assert.rejects(other.send(new Uint8Array(1), { timeoutMs: -1 }), range);
  const closing = {
    get timeoutMs(): number {
      other.close();
      return 10;
    },
  };
  await assert.rejects(other.send(new Uint8Array(1), closing), closed);
  for (const call of [
    () => other.sendSync(new Uint8Array(1)),
    () => other.trySend(new Uint8Array(1)),
    () => other.tryReserve(1),
  ]) {
    assert.throws(call, closed);
  }
  assert.equal(channel.tryReceive(), undefined);
});

test("a full ring: try says no, time limits end the wait, 0 only tries", async (t) => {
  const [channel, other] = pair(t, { capacity: 1024 });
  const count = fillRing(other);
  assert.equal(count, 9);
  assert.equal(other.tryReserve(100), undefined);
  assert.throws(() => other.sendSync(new Uint8Array(100), { timeoutMs: 0 }), timeout);
  assert.throws(() => other.sendSync(new Uint8Array(100), { timeoutMs: 5 }), timeout);
  await assert.rejects(other.send(new Uint8Array(100), { timeoutMs: 0 }), timeout);
  await assert.rejects(other.send(new Uint8Array(100), { timeoutMs: 5 }), timeout);
  await assert.rejects(other.reserve(100, { timeoutMs: 5 }), timeout);
  const sent = other.send(new Uint8Array(100).fill(99));
  await pause(5);
  for (let i = 0; i < count; i += 1) assert.equal(channel.tryReceive()?.[0], i);
  await sent;
  assert.equal((await channel.receive())?.[0], 99);
});

test("a signal ends a wait for room, before it begins and meanwhile", async (t) => {
  const [, other] = pair(t, { capacity: 1024 });
  fillRing(other);
  const reason = new Error("enough");
  const early = { signal: AbortSignal.abort(reason) };
  const isReason = (error: unknown): boolean => error === reason;
  await assert.rejects(other.send(new Uint8Array(100), early), isReason);
  await assert.rejects(other.reserve(100, early), isReason);
  for (const delay of [0, 20]) {
    const controller = new AbortController();
    const { signal } = controller;
    const sent = assert.rejects(other.send(new Uint8Array(100), { signal }), isReason);
    const reserved = assert.rejects(other.reserve(100, { signal }), isReason);
    setTimeout(() => controller.abort(reason), delay);
    await Promise.all([sent, reserved]);
  }
  // Nobody has kept the producers' lock.
  await assert.rejects(other.send(new Uint8Array(100), { timeoutMs: 0 }), timeout);
});

test("a message of parts that is given up is not received, and the next one is", async (t) => {
  const [channel, other] = pair(t, { capacity: 1024 });
  await assert.rejects(other.send(pattern(5000), { timeoutMs: 10 }), timeout);
  const received = channel.receive();
  await pause(30);
  other.sendSync(Uint8Array.of(5));
  assert.deepEqual(await received, Uint8Array.of(5));
  assert.throws(() => other.sendSync(pattern(5000), { timeoutMs: 5 }), timeout);
  assert.equal(channel.tryReceive(), undefined);
  assert.ok(other.trySend(Uint8Array.of(6)));
  assert.deepEqual(channel.tryReceive(), Uint8Array.of(6));
});

test("calls of one end arrive in their order, however they wait", async (t) => {
  const [channel, other] = pair(t, { capacity: 1024 });
  const sent: Promise<void>[] = [];
  for (let i = 0; i < 60; i += 1) sent.push(other.send(new Uint8Array(100 + i).fill(i)));
  assert.equal(other.trySend(Uint8Array.of(1)), false, "the others are before it");
  assert.equal(other.tryReserve(1), undefined);
  for (let i = 0; i < 60; i += 1) {
    assert.deepEqual(await channel.receive(), new Uint8Array(100 + i).fill(i));
    if (i === 5) sent.push(other.send(Uint8Array.of(250)));
  }
  assert.deepEqual(await channel.receive(), Uint8Array.of(250));
  await Promise.all(sent);
});

test("waiting in line has limits too", async (t) => {
  const [, other] = pair(t, { capacity: 1024 });
  fillRing(other);
  const controller = new AbortController();
  const first = other.send(new Uint8Array(100), { signal: controller.signal });
  await assert.rejects(other.send(new Uint8Array(1), { timeoutMs: 0 }), timeout);
  await assert.rejects(other.send(new Uint8Array(1), { timeoutMs: 5 }), timeout);
  const signal = AbortSignal.timeout(10);
  await assert.rejects(other.send(new Uint8Array(1), { signal }), { name: "TimeoutError" });
  controller.abort();
  await assert.rejects(first, { name: "AbortError" });
});

test("a thread that could only wait for itself is told", (t) => {
  const [channel, other] = pair(t, { capacity: 1024 });
  const room = other.tryReserve(8);
  assert.throws(() => other.sendSync(Uint8Array.of(1)), deadlock);
  assert.throws(() => channel.sendSync(Uint8Array.of(1)), deadlock);
  room?.abort();
  fillRing(other);
  const borrowed = channel.borrow();
  assert.throws(() => other.sendSync(new Uint8Array(100)), deadlock);
  borrowed?.release();
  other.sendSync(new Uint8Array(100));
  const [, talker] = pair(t, { capacity: 1024, mode: "broadcast" });
  fillRing(talker);
  assert.throws(() => talker.sendSync(new Uint8Array(100)), deadlock);
});

test("a reservation is written in place, sent whole or in part, or not at all", async (t) => {
  const [channel, other] = pair(t, { capacity: 1024 });
  {
    using room = await other.reserve(16);
    room.bytes.set(pattern(16));
    assert.equal(channel.tryReceive(), undefined, "nothing is sent before commit");
    assert.throws(() => room.commit(17), RangeError);
    room.commit(3);
    assert.throws(() => room.commit(), closed);
  }
  {
    using room = other.tryReserve(8);
    assert.equal(room?.bytes.length, 8);
  }
  assert.deepEqual(channel.tryReceive(), pattern(3));
  assert.equal(channel.tryReceive(), undefined);
  const room = other.tryReserve(0);
  const later = other.send(Uint8Array.of(2));
  room?.commit();
  await later;
  assert.deepEqual(channel.tryReceive(), new Uint8Array());
  assert.deepEqual(channel.tryReceive(), Uint8Array.of(2));
});

test("close() ends what waits, and what is reserved is not sent", async (t) => {
  const [channel, other] = pair(t, { capacity: 1024 });
  fillRing(other);
  const waits = [
    other.send(new Uint8Array(100)),
    other.send(new Uint8Array(5000)),
    other.reserve(100),
  ].map((wait) => assert.rejects(wait, closed));
  await pause(20);
  other.close();
  await Promise.all(waits);
  assert.equal(other.state, "closed");
  while (channel.tryReceive() !== undefined) {}
  const [, third] = pair(t, { capacity: 1024 });
  const room = await third.reserve(8);
  third.close();
  assert.throws(() => room.commit(), closed);
  room.abort();
  room[Symbol.dispose]();
});

test("close() in the moment in which a wait for room succeeds", async (t) => {
  for (let turns = 0; turns < 12; turns += 1) {
    const [channel, other] = pair(t, { capacity: 1024 });
    fillRing(other);
    const sent = other.send(new Uint8Array(100));
    await pause(2);
    channel.tryReceive();
    for (let i = 0; i < turns; i += 1) await new Promise((resolve) => setImmediate(resolve));
    other.close();
    await sent.catch((error: unknown) => closed(error));
  }
});

test("what changes while it waits is not sent as something else", async (t) => {
  const [channel, other] = pair(t, { capacity: 1024 });
  fillRing(other);
  const message = new Uint8Array(200);
  const sent = other.send(message);
  await pause(5);
  structuredClone(message.buffer, { transfer: [message.buffer] });
  while (channel.tryReceive() !== undefined) {}
  await assert.rejects(sent, TypeError);
  await other.send(Uint8Array.of(1));
  assert.deepEqual(await channel.receive(), Uint8Array.of(1));
});
