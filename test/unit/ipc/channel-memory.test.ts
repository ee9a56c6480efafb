// src/ipc/channel-memory.ts: memory is a channel's only when its head says so.

import assert from "node:assert/strict";
import { chmodSync, readdirSync, truncateSync } from "node:fs";
import test from "node:test";
import { FaultError, MemmapError } from "memmap";
import { Channel, Mutex, SharedMemory } from "memmap/ipc";
import { at, headBytes } from "#dist/ipc/channel-layout.js";
import { formatOf } from "#dist/ipc/format.js";
import { needs } from "../../helpers/temp.js";
import { hasCode, pattern } from "../support.js";
import { pair, pause, wordsOf } from "./channel-support.js";

const corrupt = hasCode(MemmapError, "ERR_MEMMAP_CORRUPT");

function nameOf(t: { name: string }): string {
  return `memmap-test-${t.name.replaceAll(/\W+/g, "-").slice(0, 40)}-${process.pid}`;
}

test("memory that is too small, of others, or of another version is refused", (t) => {
  const name = nameOf(t);
  const version = hasCode(MemmapError, "ERR_MEMMAP_VERSION");
  for (const [byteLength, format, expected] of [
    [100, formatOf("channel"), corrupt],
    [headBytes, formatOf("channel"), corrupt],
    [headBytes + 1024, 5, corrupt],
    [headBytes + 1024, formatOf("mutex"), corrupt],
    [headBytes + 1024, formatOf("channel") + 1, version],
  ] as const) {
    using memory = SharedMemory.create({ byteLength, name });
    using mapping = memory.map();
    new Int32Array(mapping.buffer)[at.format] = format;
    const before = readdirSync("/proc/self/fd").length;
    assert.throws(() => Channel.open(name), expected);
    assert.equal(readdirSync("/proc/self/fd").length, before, "nothing is kept open");
  }
});

test("another structure at the beginning of an object is no channel", (t) => {
  const name = nameOf(t);
  using memory = SharedMemory.create({ byteLength: headBytes + 1024, name });
  using mapping = memory.map();
  new Mutex(mapping.bytes);
  new Int32Array(mapping.buffer)[at.format] = 7;
  assert.throws(() => Channel.open(name), corrupt);
});

test("a channel that is just being made is waited for", async (t) => {
  const [channel] = pair(t);
  const words = wordsOf(t, channel);
  const { handle } = channel;
  words[at.format] = 0;
  setTimeout(() => {}, 1000);
  assert.throws(() => Channel.attach(handle), corrupt, "but not for ever");
  words[at.format] = formatOf("channel");
  Channel.attach(handle).close();
});

test("memory that may only be read is refused", needs("nonroot"), (t) => {
  const name = nameOf(t);
  using channel = Channel.create({ name });
  chmodSync(`/dev/shm/${name}`, 0o400);
  const error = hasCode(MemmapError, "ERR_MEMMAP_READ_ONLY");
  assert.throws(() => Channel.open(name), error);
  assert.equal(channel.state, "open");
});

test("named memory that a peer has shortened is an error of the next call", async (t) => {
  const name = nameOf(t);
  const channel = Channel.create({ name, capacity: 8192 });
  t.after(() => channel.close());
  const other = Channel.open(name);
  t.after(() => other.close());
  const waiting = channel.receive();
  await pause(50);
  truncateSync(`/dev/shm/${name}`, 0);
  const isFault = (error: unknown): boolean => error instanceof FaultError;
  await assert.rejects(waiting, isFault);
  other.trySend(pattern(100)); // Zeros take its place, and the guard tells a moment later.
  await pause(50);
  assert.throws(() => other.trySend(pattern(100)), isFault);
  assert.throws(() => other.tryReceive(), isFault);
  await assert.rejects(other.receive(), isFault);
});
