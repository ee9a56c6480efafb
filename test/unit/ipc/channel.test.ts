// src/ipc/channel.ts: how channels are made and end; values, loops, streams, ref and unref.

import assert from "node:assert/strict";
import test from "node:test";
import { MemmapError, SystemError } from "memmap";
import { Channel, SharedMemory } from "memmap/ipc";
import { hasCode, pattern } from "../support.js";
import { fillRing, pair, pause } from "./channel-support.js";

const closed = hasCode(MemmapError, "ERR_MEMMAP_CLOSED");

test("nobody constructs a channel but its makers", () => {
  const construct = (): unknown => Reflect.construct(Channel, []);
  assert.throws(construct, hasCode(TypeError, "ERR_ILLEGAL_CONSTRUCTOR"));
});

test("capacities are rounded up, and the end that opens sees the same", (t) => {
  for (const [wish, capacity] of [
    [undefined, 2 ** 20],
    [1, 1024],
    [1025, 2048],
    [4096, 4096],
  ] as const) {
    const [channel, other] = pair(t, { capacity: wish });
    assert.deepEqual([channel.capacity, other.capacity], [capacity, capacity]);
  }
  for (const capacity of [0, -1, 1.5, 2 ** 30 + 1]) {
    assert.throws(() => Channel.create({ capacity }), hasCode(RangeError, "ERR_OUT_OF_RANGE"));
  }
});

test("a name leads to the channel, and to nothing else", (t) => {
  const name = `memmap-test-channel-${process.pid}`;
  const channel = Channel.create({ name });
  t.after(() => channel.close());
  assert.throws(() => Channel.create({ name }), hasCode(SystemError, "EEXIST"));
  const other = Channel.open(name);
  other.sendSync(Uint8Array.of(1));
  assert.deepEqual(channel.tryReceive(), Uint8Array.of(1));
  other.close();
  channel.close();
  assert.throws(() => Channel.open(name), hasCode(SystemError, "ENOENT"));
  using memory = SharedMemory.create({ byteLength: 8192, name });
  assert.throws(() => Channel.open(name), hasCode(MemmapError, "ERR_MEMMAP_CORRUPT"));
  memory.map().bytes.fill(1);
  assert.throws(() => Channel.open(name), hasCode(MemmapError, "ERR_MEMMAP_CORRUPT"));
});

test("an end has its state: whom it needs, and how the last of them went", (t) => {
  const [channel, other] = pair(t);
  assert.deepEqual([channel.state, other.state], ["open", "open"]);
  other.sendSync(Uint8Array.of(1));
  channel.tryReceive();
  other.close();
  assert.deepEqual([channel.state, other.state], ["closed", "closed"]);
  const again = Channel.attach(channel.handle);
  assert.equal(channel.state, "open");
  again.tryReceive();
  assert.equal(channel.state, "closed", "two that only receive have nobody who sends");
  assert.equal(again.state, "closed");
  channel.sendSync(Uint8Array.of(1));
  assert.deepEqual([channel.state, again.state], ["open", "open"]);
  again.close();
  assert.throws(() => channel.sendSync(Uint8Array.of(1)), closed);
  assert.throws(() => channel.handle.channel && other.handle, closed);
});

test("a broadcast sends to whoever is there, and a late end gets what follows", (t) => {
  const [channel, first] = pair(t, { mode: "broadcast" });
  channel.sendSync(Uint8Array.of(1));
  using late = Channel.attach(channel.handle);
  using silent = Channel.attach(channel.handle, { receives: false });
  silent.sendSync(Uint8Array.of(2));
  const all = (end: Channel): number[] => {
    const found: number[] = [];
    for (let next = end.tryReceive(); next !== undefined; next = end.tryReceive()) {
      found.push(next[0] ?? -1);
    }
    return found;
  };
  assert.deepEqual([all(first), all(late), all(channel), all(silent)], [[1, 2], [2], [], []]);
  silent.sendSync(Uint8Array.of(3));
  assert.deepEqual([all(silent), all(channel)], [[3], [3]], "from its first call that receives");
  for (const end of [first, late, channel]) end.close();
  silent.sendSync(Uint8Array.of(4));
  assert.equal(silent.state, "closed");
});

test("values go through the channel, also in parts, and bytes come as bytes", async (t) => {
  const [channel, other] = pair(t, { capacity: 4096 });
  const value = { list: [new Float64Array(1000).fill(1.5)], map: new Map([[1, "one"]]) };
  const sent = other.sendValue(value);
  assert.deepEqual(await channel.receiveValue(), value);
  await sent;
  other.sendValueSync([1, 2]);
  assert.deepEqual(channel.receiveValueSync(), [1, 2]);
  other.sendSync(pattern(5));
  assert.deepEqual(await channel.receiveValue(), pattern(5));
  await assert.rejects(other.sendValue(undefined), TypeError);
  await assert.rejects(
    other.sendValue(() => {}),
    { name: "DataCloneError" },
  );
  assert.equal(channel.tryReceive(), undefined, "nothing was sent");
});

test("a loop ends with the channel, and leaving it early leaves the channel open", async (t) => {
  const [channel, other] = pair(t);
  for (let i = 0; i < 3; i += 1) other.sendSync(Uint8Array.of(i));
  const found: number[] = [];
  for await (const message of channel) {
    found.push(message[0] ?? -1);
    if (found.length === 2) break;
  }
  assert.equal(channel.closed, false);
  setTimeout(() => other.close(), 10);
  for await (const message of channel) found.push(message[0] ?? -1);
  assert.deepEqual(found, [0, 1, 2]);
});

test("streams: pipe, backpressure, and the end of one is the end of the other", async (t) => {
  const [channel, other] = pair(t, { capacity: 1024 });
  const source = new ReadableStream<Uint8Array>({
    start(controller) {
      for (let i = 0; i < 40; i += 1) controller.enqueue(new Uint8Array(100).fill(i));
      controller.close();
    },
  });
  const piped = source.pipeTo(other.writable);
  await pause(20);
  assert.equal(other.closed, false, "the ring is full, so the pipe waits");
  const found: number[] = [];
  for await (const message of channel.readable) found.push(message[0] ?? -1);
  await piped;
  assert.deepEqual(
    found,
    Array.from({ length: 40 }, (_, i) => i),
  );
  assert.equal(other.closed, true);
  assert.equal(channel.readable, channel.readable);
});

test("cancelling and aborting streams closes, also while they wait", async (t) => {
  const [channel, other] = pair(t, { capacity: 1024 });
  const reader = channel.readable.getReader();
  const read = reader.read();
  await pause(20);
  await reader.cancel();
  assert.equal((await read).done, true);
  assert.equal(channel.closed, true);
  using third = Channel.attach(other.handle);
  third.tryReceive();
  fillRing(other);
  const writer = other.writable.getWriter();
  writer.closed.catch(() => {});
  const written = assert.rejects(writer.write(new Uint8Array(100)));
  await pause(20);
  await writer.abort(new Error("enough"));
  await written;
  assert.equal(other.closed, true);
});

test("an error of the channel is an error of the stream", async (t) => {
  const [channel, other] = pair(t);
  other.close();
  const writer = channel.writable.getWriter();
  await assert.rejects(writer.write(Uint8Array.of(1)), closed);
  await assert.rejects(writer.closed, closed);
});

test("close() is idempotent, and ref() and unref() give the end back", (t) => {
  const [channel, other] = pair(t);
  assert.equal(channel.unref().ref(), channel);
  channel.close();
  channel.close();
  channel[Symbol.dispose]();
  assert.equal(channel.closed, true);
  assert.equal(channel.ref().unref(), channel);
  assert.equal(other.state, "closed");
});
