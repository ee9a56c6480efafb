// src/ipc/channel-handle.ts: handles are plain data, and anything else is refused.

import assert from "node:assert/strict";
import test from "node:test";
import { MemmapError } from "memmap";
import { Channel } from "memmap/ipc";
import { hasCode } from "../support.js";
import { pair } from "./channel-support.js";

const attach = (handle: unknown): unknown => Reflect.apply(Channel.attach, Channel, [handle]);

test("a handle survives JSON and the structured clone", (t) => {
  const [channel] = pair(t);
  const { handle } = channel;
  for (const copy of [JSON.parse(JSON.stringify(handle)), structuredClone(handle)]) {
    assert.deepEqual(copy, handle);
    using end = Channel.attach(copy);
    end.sendSync(Uint8Array.of(1));
    assert.equal(channel.tryReceive()?.length, 1);
  }
});

test("what is no handle is refused before anything is opened", (t) => {
  const [channel] = pair(t);
  const { handle } = channel;
  const wrong = [undefined, null, 5, "text", {}, [], { channel: 1 }, { memory: handle.memory }];
  for (const value of wrong) assert.throws(() => attach(value), TypeError);
  for (const memory of [null, {}, 5, { ...handle.memory, pid: "1" }]) {
    assert.throws(() => attach({ ...handle, memory }), TypeError);
  }
  const version = hasCode(MemmapError, "ERR_MEMMAP_VERSION");
  assert.throws(() => attach({ ...handle, channel: 2 }), version);
  const died = hasCode(MemmapError, "ERR_MEMMAP_PEER_DIED");
  assert.throws(() => attach({ ...handle, memory: { ...handle.memory, startTime: "1" } }), died);
  const closed = hasCode(MemmapError, "ERR_MEMMAP_CLOSED");
  assert.throws(() => attach({ ...handle, memory: { ...handle.memory, inode: "1" } }), closed);
  channel.close();
  assert.throws(() => attach(handle), closed);
});
