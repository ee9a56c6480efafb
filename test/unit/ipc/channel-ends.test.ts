// src/ipc/channel-ends.ts: the table of ends, as others and the dead leave it.

import assert from "node:assert/strict";
import test from "node:test";
import { MemmapError, SystemError } from "memmap";
import { Channel } from "memmap/ipc";
import { at, endsMax, end as endWords, lane } from "#dist/ipc/channel-layout.js";
import { thisThread } from "#dist/ipc/owner.js";
import { hasCode } from "../support.js";
import { pair, pause, wordsOf } from "./channel-support.js";

/** A thread id that no thread has: more than the kernel gives. */
const nobody = 0x3f_ffff;

const died = hasCode(MemmapError, "ERR_MEMMAP_PEER_DIED");

/* Writes an end as a thread would that has been killed since. */
function addDead(words: Int32Array, slot: number, roles: number): void {
  const base = at.ends + slot * endWords.words;
  words[base + endWords.startTime] = 5;
  words[base + endWords.roles] = (nobody << 8) | roles;
  words[base + endWords.thread] = nobody;
  Atomics.add(words, at.epoch, 1);
}

test("a channel has 60 ends; one more is EUSERS, unless one has died or left", (t) => {
  const channel = Channel.create({ capacity: 1024 });
  t.after(() => channel.close());
  const words = wordsOf(t, channel);
  const others: Channel[] = [];
  t.after(() => {
    for (const other of others) other.close();
  });
  while (others.length < endsMax - 1) others.push(Channel.attach(channel.handle));
  assert.equal(others.length, 59);
  assert.throws(() => Channel.attach(channel.handle), hasCode(SystemError, "EUSERS"));
  others.pop()?.close();
  addDead(words, 59, 1);
  others.push(Channel.attach(channel.handle));
  assert.throws(() => Channel.attach(channel.handle), hasCode(SystemError, "EUSERS"));
  others[3]?.close();
  others[3] = Channel.attach(channel.handle);
});

test("an entry of a dead thread is freed without what would judge the next one", (t) => {
  const [channel, other] = pair(t);
  const words = wordsOf(t, channel);
  addDead(words, 2, 3);
  other.close();
  assert.equal(channel.state, "peer-died", "which was noticed last");
  const base = at.ends + 2 * endWords.words;
  assert.deepEqual([words[base], words[base + endWords.startTime]], [0, 0]);
});

test("the death of the last sender or receiver is told, until somebody comes", async (t) => {
  const [channel, other] = pair(t);
  const words = wordsOf(t, channel);
  other.close();
  addDead(words, 1, 1);
  await assert.rejects(channel.receive(), died);
  assert.throws(() => channel.receiveSync(), died);
  assert.equal(channel.state, "peer-died");
  const sender = Channel.attach(channel.handle);
  sender.sendSync(Uint8Array.of(1));
  assert.deepEqual(await channel.receive(), Uint8Array.of(1));
  channel.close();
  addDead(words, 0, 2);
  assert.equal(sender.state, "peer-died");
  assert.throws(() => sender.sendSync(Uint8Array.of(1)), died);
  await assert.rejects(sender.send(Uint8Array.of(1)), died);
  assert.throws(() => sender.trySend(Uint8Array.of(1)), died);
  assert.throws(() => sender.tryReserve(1), died);
  await assert.rejects(sender.reserve(1), died);
  sender.close();
});

test("a change that nobody counted is seen all the same", async (t) => {
  const [channel, other] = pair(t);
  const words = wordsOf(t, channel);
  other.sendSync(Uint8Array.of(1));
  channel.tryReceive();
  const waiting = channel.receive();
  await pause(30);
  // As a peer that is killed between freeing its entry and counting the epoch up.
  words[at.lastSender] = 1;
  words[at.ends + endWords.words + endWords.thread] = 0;
  assert.equal(await waiting, undefined);
});

test("a lane that is just being taken holds nobody up, wherever its cursor stands", (t) => {
  for (const overflow of ["block", "drop-oldest"] as const) {
    const [channel, reader] = pair(t, { mode: "broadcast", capacity: 1024, overflow });
    const words = wordsOf(t, channel);
    for (let i = 0; i < 30; i += 1) {
      channel.sendSync(new Uint8Array(100));
      reader.tryReceive();
    }
    const base = at.ends + 2 * endWords.words;
    words[base + endWords.lane + lane.cursor] = 8;
    words[base + endWords.roles] = (thisThread().id << 8) | 8;
    words[base + endWords.startTime] = thisThread().startTime;
    words[base + endWords.thread] = thisThread().id;
    Atomics.add(words, at.epoch, 1);
    for (let i = 0; i < 30; i += 1) {
      assert.ok(channel.trySend(new Uint8Array(100)), overflow);
      reader.tryReceive();
    }
    words[base + endWords.roles] = (thisThread().id << 8) | 4;
    Atomics.add(words, at.epoch, 1);
    const corrupt = hasCode(MemmapError, "ERR_MEMMAP_CORRUPT");
    assert.throws(() => channel.trySend(new Uint8Array(100)), corrupt);
  }
});

test("a dead end of a broadcast holds nobody up", (t) => {
  const [channel, reader] = pair(t, { mode: "broadcast", capacity: 1024 });
  const words = wordsOf(t, channel);
  reader.close();
  addDead(words, 1, 4 | 2);
  words[at.ends + endWords.words + endWords.lane + lane.cursor] = words[at.tail] ?? 0;
  for (let i = 0; i < 30; i += 1) channel.sendSync(new Uint8Array(100), { timeoutMs: 2000 });
});
