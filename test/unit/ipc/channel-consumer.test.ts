// src/ipc/channel-consumer.ts: what a receiver leaves behind when it dies, and whom it wakes.

import assert from "node:assert/strict";
import test from "node:test";
import { Channel } from "memmap/ipc";
import { at } from "#dist/ipc/channel-layout.js";
import { pattern } from "../support.js";
import { pair, pause, wordsOf } from "./channel-support.js";

const nobody = 0x3f_ffff;

test("the lock of a dead receiver is taken, and its message is the next one's", async (t) => {
  const [channel, other] = pair(t);
  const words = wordsOf(t, channel);
  for (const how of ["sync", "async"]) {
    other.sendSync(pattern(9));
    words[at.queueLane + 1] = 5;
    words[at.queueLane] = nobody;
    assert.equal(channel.tryReceive(), undefined, "only those who wait look for the dead");
    const limits = { timeoutMs: 5000 };
    const found = how === "sync" ? channel.receiveSync(limits) : await channel.receive(limits);
    assert.deepEqual(found, pattern(9));
    assert.equal(words[at.queueLane], 0);
  }
});

test("all who sleep behind a borrowed message are woken by its release", async (t) => {
  const [channel, other] = pair(t);
  other.sendSync(Uint8Array.of(0));
  const loan = channel.borrow();
  const ends = [1, 2, 3].map(() => Channel.attach(channel.handle));
  const waits = ends.map((end) => end.receive());
  await pause(40);
  for (let i = 1; i <= 3; i += 1) other.sendSync(Uint8Array.of(i));
  loan?.release();
  const found = await Promise.all(waits);
  assert.deepEqual(found.map((message) => message?.[0]).sort(), [1, 2, 3]);
  for (const end of ends) end.close();
});

test("the rest of a message whose first parts a dead receiver had is skipped", async (t) => {
  const [channel, other] = pair(t, { capacity: 1024 });
  const words = wordsOf(t, channel);
  const sent = other.send(pattern(2000));
  assert.equal(channel.tryReceive(), undefined, "some parts");
  words[at.queueLane] = nobody; // As if this end had died with them.
  words[at.queueLane + 1] = 5;
  using third = Channel.attach(channel.handle);
  const received = third.receive({ timeoutMs: 5000 });
  await sent;
  other.sendSync(Uint8Array.of(1));
  assert.deepEqual(await received, Uint8Array.of(1));
});

test("who sleeps is told that somebody has written over the head, or over the locks", async (t) => {
  const [channel, other] = pair(t);
  const words = wordsOf(t, channel);
  const asleep = other.receive({ timeoutMs: 20_000 });
  await pause(50);
  words[at.format] = -1;
  await assert.rejects(asleep, { code: "ERR_MEMMAP_CORRUPT" });
  words[at.producers] = -1;
  assert.throws(() => channel.sendSync(Uint8Array.of(1)), { code: "ERR_MEMMAP_CORRUPT" });
  words[at.producers] = 0;
});
