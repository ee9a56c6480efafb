// Sockets that the raw door maps, and such that nobody can: the descriptors come from the addon of
// the tests, which may make packet sockets as root.

import assert from "node:assert/strict";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { loadHelper, whyNoHelper } from "../helpers/native-helper.js";
import { permissionsAt } from "../helpers/proc-self.js";
import { mapRaw } from "../helpers/raw-memory.js";
import { syscall } from "../helpers/syscalls.js";
import { needs, undoAfter } from "../helpers/temp.js";

const frameSize = 2048;

/** Of a frame in the ring: struct tpacket2_hdr of the system's headers. */
const header = { status: 0, capturedLength: 8, dataOffset: 12 };

/** In `status`: the frame is the program's. */
const isForUser = 1;

/** Looks for a text in the frames of a ring, and gives the frames that hold others back. */
function holdsText(ring: Uint8Array, text: string): boolean {
  const fields = new DataView(ring.buffer, ring.byteOffset, ring.byteLength);
  for (let frame = 0; frame < ring.length; frame += frameSize) {
    if ((fields.getUint32(frame + header.status, true) & isForUser) === 0) continue;
    const start = frame + fields.getUint16(frame + header.dataOffset, true);
    const length = fields.getUint32(frame + header.capturedLength, true);
    if (Buffer.from(ring.subarray(start, start + length)).includes(text)) return true;
    fields.setUint32(frame + header.status, 0, true);
  }
  return false;
}

const skip = needs("root").skip || whyNoHelper;

test("a packet socket with a ring is mapped: a frame is read through the view", {
  skip,
}, async (t) => {
  const helper = loadHelper(t);
  const blockCount = 8;
  const length = blockCount * pageSize;
  const fd = helper.packetRing(pageSize, blockCount);
  // Without the right to raw sockets, or on a kernel without them, there is nothing to map.
  if (fd < 0) return t.skip(`needs packet sockets: errno ${-fd}`);
  const part = () => mapRaw(t, { length: pageSize, flags: raw.MAP_SHARED, fd });
  assert.throws(part, { code: "EINVAL", syscall: "mmap" }, "a ring is mapped whole");
  const address = mapRaw(t, { length, flags: raw.MAP_SHARED, fd });
  syscall(t, "close", fd);
  assert.equal(permissionsAt(address), "rw-s");
  const ring = raw.view(address, length);
  const text = `memmap frame ${process.pid}`;
  let isFound = false;
  for (let tries = 0; tries < 100 && !isFound; tries += 1) {
    const sent = helper.send(text);
    if (sent < 0) return t.skip(`needs a loopback device that is up: errno ${-sent}`);
    isFound = holdsText(ring, text);
    if (!isFound) await sleep(20);
  }
  assert.ok(isFound, "the frame came through the ring");
  raw.check(address, length);
});

test("a socket without memory to map is ENODEV", { skip: whyNoHelper }, (t) => {
  const helper = loadHelper(t);
  for (const kind of [0, 1] as const) {
    const fd = helper.socket(kind);
    assert.ok(fd >= 0, `errno ${-fd}`);
    undoAfter(t, () => syscall(t, "close", fd));
    for (const flags of [raw.MAP_SHARED, raw.MAP_PRIVATE]) {
      const map = () => mapRaw(t, { prot: raw.PROT_READ, flags, fd });
      assert.throws(map, { name: "SystemError", code: "ENODEV", syscall: "mmap" });
    }
  }
});
