// ftruncate(2) of the raw door: the lengths of files in memory, as the file system shows them, what
// becomes of their mappings, and that no file is reached which the door has not made.

import assert from "node:assert/strict";
import { closeSync, constants, openSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { pageSize, SystemError } from "memmap";
import * as raw from "memmap/raw";
import { runLimited } from "../helpers/ordinary-user.js";
import { mapRaw, memoryFile } from "../helpers/raw-memory.js";
import { tempDir, undoAfter } from "../helpers/temp.js";
import { faultOf, refuses } from "./memory.js";

function sizeOf(fd: number): number {
  return statSync(`/proc/self/fd/${fd}`).size;
}

test("ftruncate gives files in memory a length, and what is added reads as zeros", (t) => {
  const fd = memoryFile(t, 0);
  for (const length of [1, 3 * pageSize, 100n, pageSize + 1, 0]) {
    raw.ftruncate(fd, length);
    assert.equal(sizeOf(fd), Number(length));
  }
  raw.ftruncate(fd, pageSize);
  const bytes = raw.view(mapRaw(t, { length: pageSize, flags: raw.MAP_SHARED, fd }), pageSize);
  bytes.fill(7);
  raw.ftruncate(fd, 10);
  raw.ftruncate(fd, pageSize);
  assert.deepEqual([bytes[9], bytes[10]], [7, 0]);
  assert.deepEqual([...readFileSync(`/proc/self/fd/${fd}`).subarray(8, 12)], [7, 7, 0, 0]);
});

test("ftruncate of a named object reaches all who have it", (t) => {
  const name = `/memmap-lengths-${process.pid}`;
  const { O_CREAT, O_EXCL, O_RDONLY, O_RDWR } = constants;
  const fd = raw.shm_open(name, O_CREAT | O_EXCL | O_RDWR, 0o600);
  undoAfter(t, () => raw.close(fd));
  undoAfter(t, () => raw.shm_unlink(name));
  const reader = raw.shm_open(name, O_RDONLY, 0);
  undoAfter(t, () => raw.close(reader));
  raw.ftruncate(fd, 5000);
  assert.equal(sizeOf(reader), 5000);
  refuses(() => raw.ftruncate(reader, 0), "EINVAL");
  assert.equal(sizeOf(fd), 5000);
});

test("pages that ftruncate cuts off a mapping are reported faults, and come back", (t) => {
  const fd = memoryFile(t, 2 * pageSize);
  const address = mapRaw(t, { length: 2 * pageSize, flags: raw.MAP_SHARED, fd });
  const bytes = raw.view(address, 2 * pageSize);
  bytes.fill(1);
  raw.ftruncate(fd, pageSize);
  const fault = faultOf(address, 2 * pageSize, () => assert.equal(bytes[pageSize], 0));
  assert.equal(fault.reason, "truncated");
  assert.equal(bytes[0], 1);
});

test("ftruncate reaches no file that the door has not made", (t) => {
  const path = join(tempDir(t), "data");
  writeFileSync(path, "content");
  const fd = openSync(path, "r+");
  undoAfter(t, () => closeSync(fd));
  for (const other of [fd, -1, 2 ** 20, 0]) refuses(() => raw.ftruncate(other, 0), "EBADF");
  assert.equal(readFileSync(path, "utf8"), "content");
  const closed = raw.memfd_create("closed", raw.MFD_CLOEXEC);
  raw.close(closed);
  refuses(() => raw.ftruncate(closed, 0), "EBADF");
});

test("ftruncate refuses what the manual says: seals, negative lengths, no file", (t) => {
  const fd = memoryFile(t, pageSize, raw.MFD_CLOEXEC | raw.MFD_ALLOW_SEALING);
  raw.add_seals(fd, raw.F_SEAL_SHRINK);
  refuses(() => raw.ftruncate(fd, 0), "EPERM");
  raw.ftruncate(fd, 2 * pageSize);
  raw.add_seals(fd, raw.F_SEAL_GROW);
  refuses(() => raw.ftruncate(fd, 3 * pageSize), "EPERM");
  refuses(() => raw.ftruncate(fd, -1), "EINVAL");
  assert.equal(sizeOf(fd), 2 * pageSize);
  const pidfd = raw.pidfd_open(process.pid, 0);
  undoAfter(t, () => raw.close(pidfd));
  // EINVAL, or EOPNOTSUPP where such descriptors have a file system of their own (Linux 6.9).
  assert.throws(() => raw.ftruncate(pidfd, 0), SystemError);
});

test("ftruncate past the limit of file sizes is EFBIG, and no signal", async () => {
  const { code, signal, stdout, stderr } = await runLimited(`
    const fd = raw.memfd_create("limited", raw.MFD_CLOEXEC);
    limit("fsize", 2 ** 30); // The runtime has files of its own to write.
    raw.ftruncate(fd, 2 ** 30);
    console.log(failure(() => raw.ftruncate(fd, 2 ** 30 + 1)));`);
  assert.deepEqual([code, signal], [0, null], stderr);
  assert.match(stdout, /^SystemError \| EFBIG \| ftruncate \| /);
});
