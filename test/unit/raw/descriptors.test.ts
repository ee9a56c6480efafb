// src/raw/descriptors.ts: each call once for what it makes or tells, as the kernel's own files show
// it, and once for each kind of mistake in its arguments; no descriptor stays behind.

import assert from "node:assert/strict";
import {
  existsSync,
  constants as fs,
  readFileSync,
  readlinkSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import test from "node:test";
import { SystemError } from "#dist/errors.js";
import { pageSize } from "#dist/native.js";
import * as constants from "#dist/raw/constants.js";
import * as calls from "#dist/raw/descriptors.js";
import { callUntyped } from "../../helpers/bad-calls.js";
import { descriptors, descriptorsNamed } from "../../helpers/proc-self.js";
import { memoryFile } from "../../helpers/raw-memory.js";
import { undoAfter } from "../../helpers/temp.js";
import { hasCode } from "../support.js";
import { needsKernel, refusesMistakes } from "./support.js";

const { MFD_CLOEXEC, MFD_ALLOW_SEALING, F_SEAL_GROW, F_SEAL_SEAL } = constants;
const sealable = MFD_CLOEXEC | MFD_ALLOW_SEALING;
const closeOnExec = 0o2000000;

/** A name that no other test, and no other run of this one, has. */
const object = `/memmap-unit-${process.pid}`;

/** What the kernel says of a descriptor. */
function infoOf(fd: number, field: string): string {
  const text = readFileSync(`/proc/self/fdinfo/${fd}`, "utf8");
  return new RegExp(`^${field}:\\s*(.*)$`, "m").exec(text)?.[1] ?? assert.fail(text);
}

test("memfd_create() makes an empty file in memory of that name", () => {
  const fd = calls.memfd_create("unit file", MFD_CLOEXEC);
  assert.equal(readlinkSync(`/proc/self/fd/${fd}`), "/memfd:unit file (deleted)");
  assert.equal(statSync(`/proc/self/fd/${fd}`).size, 0);
  assert.equal(Number.parseInt(infoOf(fd, "flags"), 8) & closeOnExec, closeOnExec);
  calls.close(fd);
  refusesMistakes(calls.memfd_create, [
    ["name", "text", "unit refused"],
    ["flags", "int", 0],
  ]);
  const tooLong = hasCode(SystemError, "EINVAL", /make a memory file/);
  assert.throws(() => calls.memfd_create("x".repeat(250), 0), tooLong);
  assert.deepEqual(descriptorsNamed("memfd:unit refused"), []);
});

test("memfd_secret() makes a secret file, or tells that the system has none", () => {
  try {
    const fd = calls.memfd_secret(closeOnExec);
    assert.match(readlinkSync(`/proc/self/fd/${fd}`), /secretmem/);
    calls.close(fd);
  } catch (error) {
    hasCode(SystemError, "ENOSYS", /secret memory file/)(error);
  }
  refusesMistakes(calls.memfd_secret, [["flags", "int", 0]]);
});

test("shm_open() makes and opens a named object, shm_unlink() takes the name away", (t) => {
  const { O_CREAT, O_EXCL, O_RDWR, O_RDONLY } = fs;
  const path = `/dev/shm${object}`;
  const fd = calls.shm_open(object, O_CREAT | O_EXCL | O_RDWR, 0o600);
  undoAfter(t, () => calls.close(fd));
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.equal(Number.parseInt(infoOf(fd, "flags"), 8) & closeOnExec, closeOnExec);
  const again = calls.shm_open(object, O_RDONLY, 0);
  assert.equal(readlinkSync(`/proc/self/fd/${again}`), path);
  calls.close(again);
  const exists = hasCode(SystemError, "EEXIST", /^EEXIST: Cannot open the shared memory/);
  assert.throws(() => calls.shm_open(object, O_CREAT | O_EXCL | O_RDWR, 0o600), exists);
  assert.equal(calls.shm_unlink(object), undefined);
  assert.equal(existsSync(path), false);
  assert.throws(() => calls.shm_unlink(object), hasCode(SystemError, "ENOENT"));
});

test("shm_open() and shm_unlink() refuse mistakes, and make nothing", () => {
  const refused = `${object}-refused`;
  refusesMistakes(calls.shm_open, [
    ["name", "text", refused],
    ["oflag", "int", fs.O_CREAT | fs.O_RDWR],
    ["mode", "int", 0o600],
  ]);
  refusesMistakes(calls.shm_unlink, [["name", "text", refused]]);
  assert.equal(existsSync(`/dev/shm${refused}`), false);
  assert.deepEqual(descriptorsNamed(refused), []);
});

test("add_seals() seals, and get_seals() tells the seals", (t) => {
  const fd = memoryFile(t, pageSize, sealable);
  assert.equal(calls.get_seals(fd), 0);
  assert.equal(calls.add_seals(fd, F_SEAL_GROW), undefined);
  assert.equal(calls.get_seals(fd), F_SEAL_GROW);
  assert.throws(() => truncateSync(`/proc/self/fd/${fd}`, 2 * pageSize));
  assert.equal(statSync(`/proc/self/fd/${fd}`).size, pageSize);
  calls.add_seals(fd, F_SEAL_SEAL);
  assert.throws(() => calls.add_seals(fd, F_SEAL_GROW), hasCode(SystemError, "EPERM"));
});

test("add_seals() and get_seals() refuse mistakes", (t) => {
  const fd = memoryFile(t, pageSize, sealable);
  refusesMistakes(calls.add_seals, [
    ["fd", "int", fd],
    ["seals", "int", F_SEAL_GROW],
  ]);
  assert.equal(calls.get_seals(fd), 0);
  refusesMistakes(calls.get_seals, [["fd", "int", fd]]);
  assert.throws(() => calls.get_seals(-1), hasCode(SystemError, "EBADF", /of descriptor -1/));
});

test("close() closes", () => {
  const fd = calls.memfd_create("unit close", MFD_CLOEXEC);
  assert.deepEqual(descriptorsNamed("memfd:unit close"), [fd]);
  refusesMistakes(calls.close, [["fd", "int", -1]]);
  assert.ok(descriptors().has(fd));
  assert.equal(calls.close(fd), undefined);
  assert.deepEqual(descriptorsNamed("memfd:unit close"), []);
  assert.throws(() => calls.close(-1), hasCode(SystemError, "EBADF", /close descriptor -1/));
});

test("ftruncate() gives a file of the door a length", (t) => {
  const fd = memoryFile(t, 1);
  assert.equal(calls.ftruncate(fd, 3 * pageSize), undefined);
  assert.equal(statSync(`/proc/self/fd/${fd}`).size, 3 * pageSize);
  refusesMistakes(calls.ftruncate, [
    ["fd", "int", fd],
    ["length", "offset", 0],
  ]);
  assert.equal(statSync(`/proc/self/fd/${fd}`).size, 3 * pageSize);
  const foreign = hasCode(SystemError, "EBADF", /descriptor -1 .* length of 5 bytes: .*this door/);
  assert.throws(() => calls.ftruncate(-1, 5), foreign);
});

test("pidfd_open() opens a process", () => {
  const fd = calls.pidfd_open(process.pid, 0);
  assert.equal(infoOf(fd, "Pid"), String(process.pid));
  calls.close(fd);
  refusesMistakes(calls.pidfd_open, [
    ["pid", "int", process.pid],
    ["flags", "int", 0],
  ]);
  // No process has a number above 2^22.
  assert.throws(() => calls.pidfd_open(2 ** 30, 0), hasCode(SystemError, "ESRCH"));
  assert.throws(() => calls.pidfd_open(0, 0), hasCode(SystemError, "EINVAL"));
});

test("cachestat() counts the pages of a range in the cache", needsKernel("6.5"), (t) => {
  const fd = memoryFile(t, 4 * pageSize);
  const pagesOf = (off: number, len: number) => calls.cachestat(fd, { off, len }, 0).nr_cache;
  assert.equal(pagesOf(0, 0), 0);
  writeFileSync(`/proc/self/fd/${fd}`, Buffer.alloc(3 * pageSize, 1));
  assert.deepEqual(
    [pagesOf(0, 0), pagesOf(pageSize, pageSize), pagesOf(2 * pageSize, 0)],
    [3, 1, 1],
  );
  const fields = ["nr_cache", "nr_dirty", "nr_writeback", "nr_evicted", "nr_recently_evicted"];
  assert.deepEqual(Object.keys(calls.cachestat(fd, { off: 0, len: 0 }, 0)), fields);
  const refused = hasCode(SystemError, "EINVAL", /cache of descriptor/);
  assert.throws(() => calls.cachestat(fd, { off: 0, len: 0 }, 1), refused);
});

test("cachestat() refuses mistakes, and a range that is no object", () => {
  refusesMistakes(
    calls.cachestat,
    [
      ["fd", "int", -1],
      ["range.off", "size", 0],
      ["range.len", "size", 0],
      ["flags", "int", 0],
    ],
    ([fd, off, len, flags]) => [fd, { off, len }, flags],
  );
  const refused = hasCode(TypeError, "ERR_INVALID_ARG_TYPE", /^"range" must be an object/);
  for (const range of [undefined, null, 1, "range"]) {
    assert.throws(() => callUntyped(calls.cachestat, undefined, [-1, range, 0]), refused);
  }
});
