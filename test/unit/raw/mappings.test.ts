// src/raw/mappings.ts: each call once for what it does to the address space, as the kernel lists
// it, and once for each kind of mistake in its arguments; no mapping stays behind.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import test from "node:test";
import { FaultError, MemmapError, SystemError } from "#dist/errors.js";
import { pageSize } from "#dist/native.js";
import * as constants from "#dist/raw/constants.js";
import * as calls from "#dist/raw/mappings.js";
import { type Area, areaAt, areasNamed, areasOf } from "../../helpers/proc-self.js";
import { mapRaw, memoryFile, privateMemory, readWrite } from "../../helpers/raw-memory.js";
import { type Cleanup, undoAfter } from "../../helpers/temp.js";
import { hasCode } from "../support.js";
import { refusesMistakes } from "./support.js";

const { MAP_SHARED, MREMAP_FIXED, MREMAP_MAYMOVE, PROT_NONE, PROT_READ } = constants;
const page = BigInt(pageSize);

/** A memory file of some pages, each filled with its number from 1 on. */
function numberedFile(t: Cleanup, pageCount: number): number {
  const fd = memoryFile(t, pageCount * pageSize);
  const content = Buffer.alloc(pageCount * pageSize);
  for (let i = 0; i < pageCount; i += 1) content.fill(i + 1, i * pageSize, (i + 1) * pageSize);
  writeFileSync(`/proc/self/fd/${fd}`, content);
  return fd;
}

/** The pages of the address space that show the files of these tests. */
function mappedPages(): number {
  const areas = areasNamed("/memfd:memmap test");
  return areas.reduce((sum, { start, end }) => sum + Number((end - start) / page), 0);
}

/** The first area of the address space: the runtime's own program. */
function firstArea(): Area {
  return areasOf()[0] ?? assert.fail("nothing is mapped");
}

test("mmap() maps what the kernel then lists, and munmap() ends it", (t) => {
  const fd = numberedFile(t, 3);
  const address = calls.mmap(null, 2 * pageSize, PROT_READ, MAP_SHARED, fd, pageSize);
  const area = areaAt(address);
  assert.deepEqual([area?.start, area?.end], [address, address + 2n * page]);
  assert.deepEqual([area?.permissions, area?.offset], ["r--s", page]);
  assert.equal(mappedPages(), 2);
  assert.equal(calls.munmap(address, pageSize), undefined);
  assert.equal(mappedPages(), 1);
  calls.munmap(address, 2n * page);
  assert.equal(mappedPages(), 0);
});

test("mmap() refuses mistakes, tells the kernel's refusal, and maps nothing", (t) => {
  const fd = numberedFile(t, 1);
  refusesMistakes(calls.mmap, [
    ["addr", "address", null],
    ["length", "size", pageSize],
    ["prot", "int", PROT_READ],
    ["flags", "int", MAP_SHARED],
    ["fd", "int", fd],
    ["offset", "offset", 0],
  ]);
  const refused = hasCode(SystemError, "EINVAL", /Cannot map 0 bytes at 0x1000: .*, mmap$/);
  assert.throws(() => calls.mmap(0x1000n, 0, PROT_READ, MAP_SHARED, fd, 0), refused);
  assert.throws(() => calls.mmap(null, pageSize, PROT_READ, MAP_SHARED, fd, 1), { code: "EINVAL" });
  assert.equal(mappedPages(), 0);
});

test("munmap() refuses mistakes and the memory of others, and unmaps nothing", (t) => {
  const address = mapRaw(t, { flags: MAP_SHARED, fd: numberedFile(t, 1) });
  refusesMistakes(calls.munmap, [
    ["addr", "address", address],
    ["length", "size", pageSize],
  ]);
  assert.equal(mappedPages(), 1);
  const program = firstArea();
  const refused = hasCode(MemmapError, "ERR_MEMMAP_UNSAFE_FIXED", /^Cannot unmap \d+ bytes at 0x/);
  assert.throws(() => calls.munmap(program.start, pageSize), refused);
  assert.deepEqual(areaAt(program.start), program);
});

test("mremap() moves pages to where it says", (t) => {
  const fd = numberedFile(t, 2);
  const old = calls.mmap(null, pageSize, PROT_READ, MAP_SHARED, fd, 0);
  const room = calls.mmap(null, 2 * pageSize, PROT_NONE, privateMemory, -1, 0);
  undoAfter(t, () => calls.munmap(room, 2 * pageSize));
  const flags = MREMAP_MAYMOVE | MREMAP_FIXED;
  assert.equal(calls.mremap(old, pageSize, 2 * pageSize, flags, room), room);
  assert.equal(areaAt(room)?.permissions, "r--s");
  assert.equal(mappedPages(), 2);
  assert.deepEqual([...calls.view(room + page - 1n, 2)], [1, 2]);
  // The new address is not looked at without a flag that uses it.
  assert.equal(calls.mremap(room, 2 * pageSize, pageSize, 0, 1n), room);
});

test("mremap() refuses mistakes, also in a new address that it does not use", (t) => {
  const address = mapRaw(t, { flags: MAP_SHARED, fd: numberedFile(t, 1) });
  const common = [
    ["oldAddr", "address", address],
    ["oldLength", "size", pageSize],
    ["newLength", "size", 2 * pageSize],
  ] as const;
  const flags = MREMAP_MAYMOVE | MREMAP_FIXED;
  const given = [...common, ["flags", "int", flags], ["newAddr", "address", address]] as const;
  refusesMistakes(calls.mremap, given);
  refusesMistakes(calls.mremap, [...common, ["flags", "int", 0]]);
  const wrongType = hasCode(TypeError, "ERR_INVALID_ARG_TYPE", /"newAddr" must be a bigint/);
  const unused = () => Reflect.apply(calls.mremap, undefined, [address, 1, 1, 0, 4096]);
  assert.throws(unused, wrongType);
  assert.equal(mappedPages(), 1);
});

test("remap_file_pages() shows another page of the file", (t) => {
  const address = mapRaw(t, { length: 2 * pageSize, flags: MAP_SHARED, fd: numberedFile(t, 2) });
  const bytes = calls.view(address, 2 * pageSize);
  assert.equal(calls.remap_file_pages(address, pageSize, 0, 1, 0), undefined);
  assert.equal(areaAt(address)?.offset, page);
  assert.deepEqual([bytes[0], bytes[pageSize]], [2, 2]);
  refusesMistakes(calls.remap_file_pages, [
    ["addr", "address", address],
    ["size", "size", pageSize],
    ["prot", "int", 0],
    ["pgoff", "size", 0],
    ["flags", "int", 0],
  ]);
  const refused = hasCode(SystemError, "EINVAL", /Cannot show page 0 of the file/);
  assert.throws(() => calls.remap_file_pages(address, pageSize, PROT_READ, 0, 0), refused);
  assert.equal(bytes[0], 2);
});

test("view() shows the bytes at any address of this door, without a copy", (t) => {
  const fd = numberedFile(t, 2);
  const address = mapRaw(t, { length: 2 * pageSize, flags: MAP_SHARED, fd });
  const other = mapRaw(t, { length: 2 * pageSize, flags: MAP_SHARED, fd });
  const bytes = calls.view(address + page - 1n, 2n);
  assert.ok(bytes instanceof Uint8Array);
  assert.deepEqual([...bytes], [1, 2]);
  calls.view(other, 2 * pageSize)[pageSize] = 77;
  assert.deepEqual([...bytes], [1, 77]);
  assert.deepEqual([calls.view(address, 0).length, calls.view(null, 0).length], [0, 0]);
});

test("view() refuses mistakes, and addresses where this door has mapped nothing", (t) => {
  const address = mapRaw(t);
  refusesMistakes(calls.view, [
    ["addr", "address", address],
    ["length", "size", 1],
  ]);
  const refused = hasCode(MemmapError, "ERR_MEMMAP_UNSAFE_FIXED", /^Cannot view \d+ bytes at 0x/);
  assert.throws(() => calls.view(null, 1), refused);
  assert.throws(() => calls.view(firstArea().start, 1), refused);
  assert.throws(() => calls.view(2n ** 64n - 1n, 2n ** 64n - 1n), refused);
});

test("check() throws the fault of a range once, and refuses mistakes", (t) => {
  const address = mapRaw(t, { prot: PROT_NONE });
  const quiet = mapRaw(t, { prot: readWrite });
  assert.equal(calls.check(address, pageSize), undefined);
  assert.equal(calls.view(address + 5n, 1)[0], 0);
  refusesMistakes(calls.check, [
    ["addr", "address", address],
    ["length", "size", pageSize],
  ]);
  calls.check(quiet, pageSize);
  assert.throws(
    () => calls.check(address, pageSize),
    (error) => {
      hasCode(FaultError, "ERR_MEMMAP_FAULT")(error);
      assert.ok(error instanceof FaultError);
      assert.equal(error.address - BigInt(error.byteOffset), address);
      assert.deepEqual([error.access, error.reason, error.count], ["read", "protected", 1]);
      return true;
    },
  );
  calls.check(address, pageSize);
});
