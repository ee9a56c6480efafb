// src/ipc/channel-receiving.ts: what an end receives, in which order, and how it ends.

import assert from "node:assert/strict";
import test from "node:test";
import { MemmapError, SystemError } from "memmap";
import { Channel } from "memmap/ipc";
import { hasCode, pattern } from "../support.js";
import { fillRing, pair, pause } from "./channel-support.js";

const timeout = hasCode(MemmapError, "ERR_MEMMAP_TIMEOUT");

test("limits: 0 only looks, a time, a signal before and meanwhile", async (t) => {
  const [channel] = pair(t);
  for (const timeoutMs of [0, 5]) {
    assert.throws(() => channel.receiveSync({ timeoutMs }), timeout);
    await assert.rejects(channel.receive({ timeoutMs }), timeout);
  }
  const reason = new Error("enough");
  const isReason = (error: unknown): boolean => error === reason;
  await assert.rejects(channel.receive({ signal: AbortSignal.abort(reason) }), isReason);
  for (const delay of [0, 20]) {
    const controller = new AbortController();
    const waits = [1, 2].map(() => {
      return assert.rejects(channel.receive({ signal: controller.signal }), isReason);
    });
    setTimeout(() => controller.abort(reason), delay);
    await Promise.all(waits);
  }
  await assert.rejects(channel.receive({ timeoutMs: -1 }), RangeError);
});

test("calls that wait get the messages in the order of the calls", async (t) => {
  const [channel, other] = pair(t);
  const waits = Array.from({ length: 10 }, () => channel.receive());
  await pause(20);
  for (let i = 0; i < 10; i += 1) other.sendSync(Uint8Array.of(i));
  const late = channel.receive();
  other.sendSync(Uint8Array.of(10));
  const found = await Promise.all([...waits, late]);
  assert.deepEqual(
    found.map((message) => message?.[0]),
    Array.from({ length: 11 }, (_, i) => i),
  );
});

test("waiting in line has limits too", async (t) => {
  const [channel, other] = pair(t);
  const first = channel.receive();
  await assert.rejects(channel.receive({ timeoutMs: 0 }), timeout);
  await assert.rejects(channel.receive({ timeoutMs: 5 }), timeout);
  other.sendSync(Uint8Array.of(1));
  assert.deepEqual(await first, Uint8Array.of(1));
});

test("the end of all who could send is the end of the messages, after the last one", async (t) => {
  const [channel, other] = pair(t);
  other.sendSync(Uint8Array.of(1));
  other.close();
  assert.deepEqual(await channel.receive(), Uint8Array.of(1));
  assert.equal(await channel.receive(), undefined);
  assert.equal(channel.receiveSync(), undefined);
  assert.equal(channel.tryReceive(), undefined);
  assert.equal(channel.state, "closed");
  using again = Channel.attach(channel.handle);
  assert.equal(channel.state, "open");
  again.sendSync(Uint8Array.of(2));
  assert.deepEqual(await channel.receive(), Uint8Array.of(2));
});

test("an end that has done nothing yet may still send: nobody is told of an end", async (t) => {
  for (const mode of ["queue", "broadcast"] as const) {
    const [channel, idle] = pair(t, { mode });
    const third = Channel.attach(channel.handle);
    const received = channel.receive();
    third.sendSync(Uint8Array.of(1));
    third.close();
    assert.deepEqual(await received, Uint8Array.of(1));
    await assert.rejects(channel.receive({ timeoutMs: 30 }), timeout);
    idle.sendSync(Uint8Array.of(2));
    assert.deepEqual(await channel.receive(), Uint8Array.of(2));
    idle.close();
    assert.equal(await channel.receive(), undefined);
  }
});

test("close() ends what waits with undefined, and a closed end gives no more", async (t) => {
  const [channel, other] = pair(t);
  const waits = [channel.receive(), channel.receive(), channel.receiveValue()];
  await pause(20);
  channel.close();
  assert.deepEqual(await Promise.all(waits), [undefined, undefined, undefined]);
  assert.equal(await channel.receive(), undefined);
  assert.equal(channel.receiveSync(), undefined);
  assert.equal(channel.borrow(), undefined);
  assert.equal(channel.droppedCount, 0);
  const closing = {
    get timeoutMs(): number {
      other.close();
      return 10;
    },
  };
  assert.equal(await other.receive(closing), undefined);
});

test("a borrowed message lies in the ring, and nobody else gets it or those behind", async (t) => {
  const [channel, other] = pair(t, { capacity: 1024 });
  other.sendSync(pattern(10));
  other.sendSync(Uint8Array.of(2));
  {
    using loan = channel.borrow();
    assert.deepEqual(Uint8Array.from(loan?.bytes ?? []), pattern(10));
    assert.equal(channel.borrow(), undefined);
    assert.equal(channel.tryReceive(), undefined);
    assert.equal(other.tryReceive(), undefined);
    assert.throws(() => channel.receiveSync(), hasCode(SystemError, "EDEADLK"));
    assert.throws(() => other.receiveSync(), hasCode(SystemError, "EDEADLK"));
    await assert.rejects(channel.receive({ timeoutMs: 5 }), timeout);
    const received = other.receive();
    await pause(30);
    loan?.release();
    assert.deepEqual(await received, Uint8Array.of(2));
  }
  assert.equal(channel.tryReceive(), undefined);
});

test("a borrowed message that its end closes over is the next one's", (t) => {
  const [channel, other] = pair(t);
  channel.sendSync(Uint8Array.of(1));
  const loan = other.borrow();
  other.close();
  loan?.release();
  assert.deepEqual(channel.tryReceive(), Uint8Array.of(1));
});

test("drop-oldest never takes a message that is borrowed", async (t) => {
  for (const mode of ["queue", "broadcast"] as const) {
    const [channel, other] = pair(t, { capacity: 1024, mode, overflow: "drop-oldest" });
    channel.tryReceive();
    other.trySend(pattern(200));
    const loan = channel.borrow();
    assert.equal(channel.droppedCount, 0);
    let tries = 0;
    while (other.trySend(new Uint8Array(100).fill(7)) && tries < 20) tries += 1;
    assert.ok(tries < 20, mode);
    const sent = other.send(new Uint8Array(100).fill(8));
    await pause(20);
    assert.deepEqual(Uint8Array.from(loan?.bytes ?? []), pattern(200));
    loan?.release();
    await sent;
    assert.equal(channel.droppedCount, 0);
    assert.equal(fillUntilDropped(other, channel), 1);
  }
});

function fillUntilDropped(from: Channel, to: Channel): number {
  for (let i = 0; i < 20 && to.droppedCount === 0; i += 1) from.trySend(new Uint8Array(100));
  return to.droppedCount;
}

test("parts of a message free their room while the others are sent", async (t) => {
  const [channel, other] = pair(t, { capacity: 1024 });
  const sent = other.send(pattern(3000));
  assert.equal(channel.tryReceive(), undefined, "some parts");
  await assert.rejects(channel.receive({ timeoutMs: 0 }), timeout);
  assert.deepEqual(await channel.receive({ timeoutMs: 5000 }), pattern(3000));
  await sent;
});

test("a sender that gives up leaves no queue locked behind", async (t) => {
  const [channel, other] = pair(t, { capacity: 1024 });
  using third = Channel.attach(channel.handle);
  for (const way of ["try", "wait"]) {
    const sent = assert.rejects(other.send(pattern(5000), { timeoutMs: 20 }), timeout);
    assert.equal(channel.tryReceive(), undefined, "some parts");
    assert.equal(third.tryReceive(), undefined, "the others are not for anybody else");
    await sent;
    const received = way === "try" ? channel.tryReceive() : channel.receive({ timeoutMs: 5000 });
    await pause(20);
    const next = third.receive({ timeoutMs: 5000 });
    await pause(20);
    for (let i = 0; i < 2; i += 1) other.sendSync(Uint8Array.of(9));
    assert.deepEqual(await next, Uint8Array.of(9), way);
    if (way === "wait") assert.deepEqual(await received, Uint8Array.of(9));
    else assert.deepEqual(channel.tryReceive(), Uint8Array.of(9));
  }
});

test("a message whose parts are dropped under its reader counts once", async (t) => {
  const [, reader] = pair(t, { capacity: 1024, mode: "broadcast", overflow: "drop-oldest" });
  using sender = Channel.attach(reader.handle, { receives: false });
  const sent = sender.send(pattern(600)); // Three parts, all of which are in the ring now.
  await sent;
  assert.equal(reader.tryReceive()?.length, 600);
  const long = sender.send(pattern(1500));
  assert.equal(reader.tryReceive(), undefined, "its beginning was dropped by its own rest");
  await long;
  const before = reader.droppedCount;
  assert.equal(before, 1);
  let received = 0;
  while (reader.tryReceive() !== undefined) {}
  for (let i = 0; i < 12; i += 1) sender.sendSync(new Uint8Array(100));
  while (reader.tryReceive() !== undefined) received += 1;
  assert.ok(received < 12);
  assert.equal(reader.droppedCount - before, 12 - received);
});

test("a message that is read in parts and dropped meanwhile counts once", async (t) => {
  const options = { capacity: 1024, mode: "broadcast", overflow: "drop-oldest" } as const;
  const [, reader] = pair(t, options);
  using slow = Channel.attach(reader.handle);
  using sender = Channel.attach(reader.handle, { receives: false });
  slow.sendSync(new Uint8Array(8));
  reader.tryReceive();
  const loan = slow.borrow(); // The sender waits for this one, with some parts in the ring.
  const sent = sender.send(pattern(1500));
  assert.equal(reader.tryReceive(), undefined, "the reader has the beginning");
  const end = fillLater(sender, sent, 12);
  await pause(20);
  loan?.release();
  await end;
  const before = reader.droppedCount;
  let received = 0;
  while (reader.tryReceive() !== undefined) received += 1;
  assert.equal(received + before, 1 + 12);
});

async function fillLater(channel: Channel, first: Promise<void>, count: number): Promise<void> {
  await first;
  for (let i = 0; i < count; i += 1) channel.sendSync(new Uint8Array(100));
}

test("fillRing() fills", (t) => {
  const [, other] = pair(t, { capacity: 2048 });
  assert.equal(fillRing(other), 18);
});
