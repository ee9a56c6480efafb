// src/ipc/channel-producer.ts: what a producer leaves behind when it dies, and what it drops.

import assert from "node:assert/strict";
import test from "node:test";
import { Channel } from "memmap/ipc";
import { at, lane } from "#dist/ipc/channel-layout.js";
import { what, writeHead } from "#dist/ipc/ring.js";
import { pattern } from "../support.js";
import { pair, wordsOf } from "./channel-support.js";

const nobody = 0x3f_ffff;

test("the lock of a dead producer is taken, and what it had begun is nowhere", async (t) => {
  const [channel, other] = pair(t, { capacity: 1024 });
  const words = wordsOf(t, channel);
  const data = words.subarray(1024);
  for (const how of ["sync", "async", "reserve"]) {
    words[at.producers + 1] = 5;
    words[at.producers] = nobody;
    const place = (words[at.tail] ?? 0) & 1023;
    writeHead(data, place, { length: 100, mark: what.whole });
    assert.equal(other.trySend(pattern(8)), false, "only those who wait look for the dead");
    if (how === "sync") other.sendSync(pattern(8), { timeoutMs: 5000 });
    else if (how === "async") await other.send(pattern(8), { timeoutMs: 5000 });
    else (await other.reserve(8, { timeoutMs: 5000 })).commit();
    assert.equal(channel.tryReceive()?.length, 8);
    assert.equal(channel.tryReceive(), undefined);
    assert.equal(words[at.producers], 0);
  }
});

test("parts of a dead producer's message are never received", async (t) => {
  const [channel, other] = pair(t, { capacity: 1024 });
  const words = wordsOf(t, channel);
  const sent = other.send(pattern(3000));
  assert.equal(channel.tryReceive(), undefined, "some parts");
  words[at.producers] = nobody; // As if the sender had died between two parts.
  words[at.producers + 1] = 5;
  await Promise.race([assert.rejects(sent), channel.receive({ timeoutMs: 150 }).catch(() => {})]);
  using third = Channel.attach(channel.handle);
  third.sendSync(Uint8Array.of(1), { timeoutMs: 5000 });
  assert.deepEqual(await channel.receive({ timeoutMs: 5000 }), Uint8Array.of(1));
  other.close();
  await sent.catch(() => {});
});

test("a lane whose reader has died is dropped from all the same", (t) => {
  const options = { capacity: 1024, overflow: "drop-oldest" } as const;
  const [channel, other] = pair(t, options);
  const words = wordsOf(t, channel);
  words[at.queueLane + 1] = 5;
  words[at.queueLane] = nobody;
  for (let i = 0; i < 12; i += 1) {
    other.sendSync(new Uint8Array(100).fill(i), { timeoutMs: 5000 });
  }
  assert.ok(channel.droppedCount >= 3);
  assert.equal(words[at.queueLane + lane.dropped], channel.droppedCount);
  assert.equal(channel.tryReceive()?.[0], channel.droppedCount);
});
