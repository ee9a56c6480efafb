// Locks of private memory whose pages move: VmLck counts each locked page once, however often that
// is, and what was locked, and how, is so afterwards. The kernel by itself counts pages again that
// move while their old addresses stay mapped.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { FaultError, mapAnonymous, mapFileSync, pageSize } from "memmap";
import * as raw from "memmap/raw";
import { native } from "#dist/native.js";
import { limitedOutput } from "../helpers/ordinary-user.js";
import { flagsAt, pageTable, statusBytes } from "../helpers/proc-self.js";
import { mapRaw, privateMemory, readWrite } from "../helpers/raw-memory.js";
import { tempDir } from "../helpers/temp.js";

const EAGAIN = 11;

/** Which pages are in areas that are locked. */
function lockedPages(address: bigint, pageCount: number): string {
  const isLocked = (page: number): boolean =>
    flagsAt(address + BigInt(page * pageSize)).includes("lo");
  return Array.from({ length: pageCount }, (_, page) => (isLocked(page) ? "L" : "-")).join("");
}

test("locked private memory counts once, through any number of resizes, until close", () => {
  const before = statusBytes("VmLck");
  const mapping = mapAnonymous(16 * pageSize);
  mapping.bytes.fill(3);
  mapping.lockSync();
  for (const pages of [32, 8, 40, 39, 16]) {
    mapping.resize(pages * pageSize);
    assert.equal(statusBytes("VmLck") - before, pages * pageSize, `${pages} pages`);
    assert.ok(flagsAt(mapping.address).includes("lo"));
    assert.equal(pageTable(mapping.address, pages).present, pages);
    assert.equal(mapping.bytes[0], 3);
  }
  mapping.close();
  assert.equal(statusBytes("VmLck"), before);
});

test("a private file mapping that is locked counts once when it is resized", (t) => {
  const path = join(tempDir(t), "data");
  writeFileSync(path, new Uint8Array(8 * pageSize).fill(7));
  const before = statusBytes("VmLck");
  const mapping = mapFileSync(path, { sharing: "private", protection: "read-write" });
  mapping.lockSync();
  for (const pages of [2, 8, 5]) {
    mapping.resize(pages * pageSize);
    assert.equal(statusBytes("VmLck") - before, pages * pageSize);
  }
  assert.equal(mapping.bytes[0], 7);
  mapping.close();
  assert.equal(statusBytes("VmLck"), before);
});

test("a mapping that is locked in part stays so, page by page, also in several areas", () => {
  const before = statusBytes("VmLck");
  const mapping = mapAnonymous(8 * pageSize);
  mapping.protect("read", { offset: 6 * pageSize, length: pageSize });
  mapping.lockSync({ offset: pageSize, length: 2 * pageSize });
  mapping.lockSync({ offset: 4 * pageSize, length: 1 });
  for (const pages of [12, 10, 8]) {
    mapping.resize(pages * pageSize);
    assert.equal(lockedPages(mapping.address, 8), "-LL-L---");
    assert.equal(statusBytes("VmLck") - before, 3 * pageSize);
  }
  mapping.resize(2 * pageSize);
  assert.equal(statusBytes("VmLck") - before, pageSize);
  mapping.close();
  assert.equal(statusBytes("VmLck"), before);
});

test("raw memory under a view counts once when it is moved, and not at its old place", (t) => {
  const before = statusBytes("VmLck");
  let address = raw.mmap(null, 16 * pageSize, readWrite, privateMemory, -1, 0);
  raw.mlock(address, 16 * pageSize);
  raw.view(address, 1)[0] = 9;
  const flags = raw.MREMAP_MAYMOVE | raw.MREMAP_FIXED;
  for (const pages of [16, 24, 8]) {
    const old = Math.round((statusBytes("VmLck") - before) / pageSize);
    const target = mapRaw(t, { length: 24 * pageSize });
    const moved = raw.mremap(address, old * pageSize, pages * pageSize, flags, target);
    assert.equal(statusBytes("VmLck") - before, pages * pageSize);
    assert.equal(lockedPages(moved, 1), "L");
    assert.equal(raw.view(moved, 1)[0], 9);
    address = moved;
  }
  raw.munmap(address, 8 * pageSize);
  assert.equal(statusBytes("VmLck"), before);
});

test("MREMAP_DONTUNMAP moves locks, and the old place is not locked", (t) => {
  const before = statusBytes("VmLck");
  const old = mapRaw(t, { length: 8 * pageSize });
  raw.mlock(old, 4 * pageSize);
  const flags = raw.MREMAP_MAYMOVE | raw.MREMAP_DONTUNMAP;
  const moved = raw.mremap(old, 4 * pageSize, 4 * pageSize, flags);
  assert.equal(statusBytes("VmLck") - before, 4 * pageSize);
  assert.deepEqual([lockedPages(old, 4), lockedPages(moved, 4)], ["----", "LLLL"]);
  raw.munmap(moved, 4 * pageSize);
  assert.equal(statusBytes("VmLck"), before);
});

test("pages that are locked on fault stay so: a move brings none in", (t) => {
  const before = statusBytes("VmLck");
  const old = mapRaw(t, { length: 8 * pageSize });
  raw.mlock2(old, 8 * pageSize, raw.MLOCK_ONFAULT);
  raw.view(old, 1)[0] = 1;
  const moved = raw.mremap(
    old,
    8 * pageSize,
    8 * pageSize,
    raw.MREMAP_MAYMOVE | raw.MREMAP_DONTUNMAP,
  );
  assert.equal(statusBytes("VmLck") - before, 8 * pageSize);
  assert.equal(pageTable(moved, 8).present, 1);
  raw.munmap(moved, 8 * pageSize);
});

test("a locked page that the guard puts aside counts once, and comes back locked", () => {
  const before = statusBytes("VmLck");
  const mapping = mapAnonymous(4 * pageSize, { faults: "collect" });
  mapping.bytes.fill(5);
  mapping.lockSync();
  mapping.protect("none", { offset: pageSize, length: pageSize });
  assert.equal(mapping.bytes[pageSize], 0);
  assert.throws(() => mapping.check(), FaultError);
  assert.equal(statusBytes("VmLck") - before, 4 * pageSize);
  mapping.protect("read-write");
  mapping.remap();
  assert.equal(mapping.bytes[pageSize], 5);
  assert.equal(lockedPages(mapping.address, 4), "LLLL");
  mapping.close();
  assert.equal(statusBytes("VmLck"), before);
});

test("a resize that fails leaves pages and locks where they were", () => {
  const mapping = mapAnonymous(8 * pageSize);
  mapping.bytes.fill(6);
  const before = statusBytes("VmLck");
  mapping.lockSync({ length: 4 * pageSize });
  const { address } = mapping;
  // The second lock is the one at the new place, and the first is asked whether it may be.
  for (const [call, nth] of [
    ["mremap", 1],
    ["mremap", 2],
    ["mlock", 2],
  ] as const) {
    native().failCall(call, nth, EAGAIN);
    assert.throws(() => mapping.resize(16 * pageSize), { code: "EAGAIN" }, `${call} ${nth}`);
    assert.deepEqual([mapping.address, mapping.byteLength], [address, 8 * pageSize]);
    assert.equal(lockedPages(address, 8), "LLLL----");
    assert.equal(statusBytes("VmLck") - before, 4 * pageSize);
    assert.ok(mapping.bytes.every((byte) => byte === 6));
  }
  mapping.resize(16 * pageSize);
  mapping.close();
  assert.equal(statusBytes("VmLck"), before);
});

test("resizing does not use the limit of an ordinary user up", async () => {
  const output = await limitedOutput(`
    limit("memlock", 16 * pageSize);
    dropRights();
    const mapping = mapAnonymous(8 * pageSize);
    mapping.lockSync();
    for (let i = 0; i < 8; i += 1) mapping.resize((7 + (i % 2)) * pageSize);
    console.log(failure(() => mapping.resize(17 * pageSize)));
    limit("memlock", pageSize);
    mapping.resize(4 * pageSize);
    console.log(/VmLck:\\s+(\\d+) kB/.exec(fs.readFileSync("/proc/self/status", "utf8"))[1] > 0);
    mapping.close();`);
  const [first, second] = output.split("\n");
  assert.match(first ?? "", /^SystemError \| EAGAIN \| mremap \|/);
  assert.equal(second, "true");
});
