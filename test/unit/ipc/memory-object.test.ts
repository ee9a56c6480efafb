// src/ipc/memory-object.ts: objects without a name, and who closes their descriptors.

import assert from "node:assert/strict";
import { existsSync, statSync } from "node:fs";
import test from "node:test";
import { F_SEAL_SEAL, F_SEAL_SHRINK, get_seals } from "memmap/raw";
import { makeName } from "#dist/ipc/memory-name.js";
import { findInherited, isObject, keep, makeAnonymous, reopen } from "#dist/ipc/memory-object.js";
import { native } from "#dist/native.js";

const pathOf = (fd: number) => `/proc/self/fd/${fd}`;

test("makeAnonymous() makes an object of its length, sealed or open to be shortened", () => {
  for (const [sealed, seals] of [
    [true, F_SEAL_SEAL | F_SEAL_SHRINK],
    [false, F_SEAL_SEAL],
  ] as const) {
    const { fd, isWritable } = makeAnonymous(10, sealed);
    assert.deepEqual([isWritable, get_seals(fd), native().seek(fd, 0, 2)], [true, seals, 10]);
    native().closeDescriptor(fd);
  }
});

test("makeAnonymous() leaves no descriptor when a call of it fails", () => {
  const probe = makeAnonymous(0, true).fd;
  native().closeDescriptor(probe);
  native().failCall("ftruncate", 1, 12);
  assert.throws(() => makeAnonymous(10, true), { code: "ENOMEM", syscall: "ftruncate" });
  const again = makeAnonymous(0, true).fd;
  assert.equal(again, probe);
  native().closeDescriptor(again);
});

test("keep() takes the descriptor over, until its region is closed", () => {
  const { fd } = makeAnonymous(10, true);
  const region = keep(fd);
  const kept = native().descriptor(region);
  assert.ok(kept >= 0 && existsSync(pathOf(kept)));
  native().close(region, false);
  assert.ok(!existsSync(pathOf(kept)));
});

test("keep() lets go of the name of an object that it cannot keep", () => {
  const name = `memmap-test-keep-${process.pid}`;
  const made = makeName({ name, byteLength: 8, mode: 0o600, isPersistent: false });
  assert.ok(made && existsSync(`/dev/shm/${name}`));
  native().failCall("mmap", 1, 12);
  assert.throws(() => keep(made.fd, name), { code: "ENOMEM", syscall: "mmap" });
  assert.ok(!existsSync(`/dev/shm/${name}`));
  assert.ok(!existsSync(pathOf(made.fd)));
});

test("isObject() tells one object from others, and from none", () => {
  const { fd } = makeAnonymous(10, true);
  const { dev, ino } = statSync(pathOf(fd), { bigint: true });
  assert.equal(isObject(fd, { device: String(dev), inode: String(ino) }), true);
  assert.equal(isObject(fd, { device: String(dev), inode: String(ino + 1n) }), false);
  assert.equal(findInherited({ device: String(dev), inode: String(ino) }), pathOf(fd));
  native().closeDescriptor(fd);
  assert.equal(isObject(fd, { device: String(dev), inode: String(ino) }), false);
});

test("reopen() opens the same object again, and tells of one that has gone", () => {
  const { fd } = makeAnonymous(10, true);
  const again = reopen(pathOf(fd), "Cannot attach");
  assert.deepEqual([again.isWritable, native().seek(again.fd, 0, 2)], [true, 10]);
  native().closeDescriptor(again.fd);
  native().closeDescriptor(fd);
  assert.throws(() => reopen(pathOf(1_000_000), "Cannot attach"), { code: "ERR_MEMMAP_CLOSED" });
});
