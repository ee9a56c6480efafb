// The claims of mremap(2) and remap_file_pages(2) that no other test shows: docs/semantics.md has
// the list.

import assert from "node:assert/strict";
import { truncateSync } from "node:fs";
import test from "node:test";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { flagsAt, pageTable, statusBytes } from "../helpers/proc-self.js";
import { type Cleanup, needs, undoAfter } from "../helpers/temp.js";
import {
  anonymous,
  faultOf,
  firstBytes,
  makeFile,
  map,
  mappedBytes,
  memoryFile,
  numbered,
  openUntilEnd,
  pages,
  peek,
  refuses,
  retry,
} from "./memory.js";

const shared = raw.MAP_SHARED | raw.MAP_ANONYMOUS;
const { MREMAP_DONTUNMAP, MREMAP_FIXED, MREMAP_MAYMOVE } = raw;

/* Numbered pages; the view that fills them is over a place that tests leave. */
function filled(t: Cleanup, pageCount: number, flags = anonymous): bigint {
  const address = map(t, pageCount * pageSize, { flags });
  for (let page = 0; page < pageCount; page++) raw.view(address + pages(page), 1)[0] = page + 1;
  return address;
}

/* Addresses in which a test may map at places of its own choice. */
function reserve(t: Cleanup, pageCount: number): bigint {
  return map(t, pageCount * pageSize, { prot: raw.PROT_NONE });
}

/* From how many pages to how many, and with which flags. */
type Plan = readonly [from: number, to: number, flags?: number];

function remap(t: Cleanup, address: bigint, plan: Plan): bigint {
  const [from, to, flags = MREMAP_MAYMOVE] = plan;
  const moved = raw.mremap(address, from * pageSize, to * pageSize, flags);
  undoAfter(t, () => raw.munmap(moved, to * pageSize));
  return moved;
}

// ==== mremap =====================================================================================

test("mremap to a shorter length cuts the end off, in place", (t) => {
  const address = filled(t, 4, shared);
  assert.equal(raw.mremap(address, 4 * pageSize, 2 * pageSize, 0), address);
  assert.deepEqual(firstBytes(address, 2), [1, 2]);
  refuses(() => raw.mincore(address, 3 * pageSize), "ENOMEM");
});

test("mremap to a longer length is ENOMEM where there is no room, and moves if it may", (t) => {
  const place = reserve(t, 4);
  map(t, 2 * pageSize, { at: place, flags: anonymous | raw.MAP_FIXED });
  for (const page of [0, 1]) raw.view(place + pages(page), 1)[0] = page + 1;
  refuses(() => raw.mremap(place, 2 * pageSize, 3 * pageSize, 0), "ENOMEM");
  assert.deepEqual(firstBytes(place, 2), [1, 2]);
  const moved = remap(t, place, [2, 3]);
  assert.notEqual(moved, place);
  assert.deepEqual(firstBytes(moved, 3), [1, 2, 0]);
  refuses(() => raw.mincore(place, pageSize), "ENOMEM");
});

test("mremap moves page tables and copies nothing", (t) => {
  const address = filled(t, 64);
  const moved = remap(t, address, [64, 128]);
  assert.deepEqual(pageTable(moved, 128), { present: 64, anonymous: 64 });
});

test("MREMAP_FIXED moves exactly there and takes the place of what was mapped there", (t) => {
  const address = filled(t, 2);
  const place = filled(t, 4);
  const target = place + pages(1);
  const flags = MREMAP_MAYMOVE | MREMAP_FIXED;
  assert.equal(raw.mremap(address, 2 * pageSize, 2 * pageSize, flags, target), target);
  assert.deepEqual(firstBytes(place, 4), [1, 1, 2, 4]);
});

test("mremap refuses what the manual lists under EINVAL", (t) => {
  const address = filled(t, 4);
  const target = reserve(t, 4);
  const size = 2 * pageSize;
  const both = MREMAP_MAYMOVE | MREMAP_FIXED;
  const calls: readonly (() => unknown)[] = [
    () => raw.mremap(address + 1n, size, size, MREMAP_MAYMOVE),
    () => raw.mremap(address, size, size, 64),
    () => raw.mremap(address, size, 0, MREMAP_MAYMOVE),
    () => raw.mremap(address, size, size, both, target + 1n),
    () => raw.mremap(address, size, size, both, address + pages(1)),
    () => raw.mremap(address, size, size, MREMAP_FIXED, target),
    () => raw.mremap(address, size, size, MREMAP_DONTUNMAP),
    () => raw.mremap(address, size, pageSize, MREMAP_MAYMOVE | MREMAP_DONTUNMAP),
    () => raw.mremap(address, 0, size, MREMAP_MAYMOVE),
  ];
  for (const [index, call] of calls.entries()) {
    assert.throws(call, { code: "EINVAL" }, `call ${index}`);
  }
  assert.deepEqual(firstBytes(address, 4), [1, 2, 3, 4]);
});

test("mremap of a hole is EFAULT, and moves nothing", (t) => {
  retry(() => {
    const address = map(t, 3 * pageSize, { flags: shared });
    raw.munmap(address + pages(1), pageSize);
    const call = () => raw.mremap(address + pages(1), pageSize, 2 * pageSize, MREMAP_MAYMOVE);
    refuses(call, "EFAULT");
    const over = () => raw.mremap(address, 3 * pageSize, 4 * pageSize, MREMAP_MAYMOVE);
    refuses(over, "EFAULT");
    assert.equal(mappedBytes(address, 3 * pageSize), pages(2));
  });
});

test("an old length of 0 makes a second mapping of shared pages", needs("doubling"), (t) => {
  const address = filled(t, 2, shared);
  const second = remap(t, address, [0, 2]);
  raw.view(second, 1)[0] = 50;
  assert.deepEqual(firstBytes(address, 2), [50, 2]);
  // The manual says EINVAL.
  refuses(() => raw.mremap(address, 0, pageSize, 0), "ENOMEM");
});

test("MREMAP_DONTUNMAP leaves the old addresses mapped, as zeros", (t) => {
  if (!raw.accepts("MREMAP_DONTUNMAP")) return t.skip("needs MREMAP_DONTUNMAP");
  const address = filled(t, 2);
  const moved = remap(t, address, [2, 2, MREMAP_MAYMOVE | MREMAP_DONTUNMAP]);
  assert.deepEqual(
    [firstBytes(moved, 2), firstBytes(address, 2)],
    [
      [1, 2],
      [0, 0],
    ],
  );
});

test("MREMAP_DONTUNMAP takes shared memory as well, since 5.13", needs({ kernel: "5.13" }), (t) => {
  const address = filled(t, 2, shared);
  const moved = remap(t, address, [2, 2, MREMAP_MAYMOVE | MREMAP_DONTUNMAP]);
  assert.deepEqual(
    [firstBytes(moved, 2), firstBytes(address, 2)],
    [
      [1, 2],
      [1, 2],
    ],
  );
});

test("a locked mapping stays locked when it grows, and counts as more", (t) => {
  const before = statusBytes("VmLck");
  const address = map(t, 4 * pageSize); // Without a view, under which the old addresses stay.
  raw.mlock(address, 4 * pageSize);
  const moved = remap(t, address, [4, 8]);
  assert.equal(statusBytes("VmLck"), before + 8 * pageSize);
  assert.ok(flagsAt(moved).includes("lo"));
  assert.equal(pageTable(moved, 8).present, 8);
});

test("a shared file mapping that grows past the end of its file faults there", (t) => {
  const path = makeFile(t, numbered(1));
  const moved = remap(t, map(t, pageSize, { fd: openUntilEnd(t, path) }), [1, 2]);
  assert.deepEqual(firstBytes(moved, 2), [1, undefined]);
  truncateSync(path, 2 * pageSize);
  assert.deepEqual(firstBytes(moved, 2), [1, 0]);
});

test("a view stays with its addresses when the pages are moved away", (t) => {
  const address = filled(t, 1);
  const bytes = raw.view(address, pageSize);
  const moved = remap(t, address, [1, 2]);
  if (moved === address) return t.skip("the kernel had room behind it");
  const fault = faultOf(address, pageSize, () => assert.equal(bytes[0], 0));
  assert.equal(fault.reason, "closed");
  assert.equal(peek(moved)?.[0], 1);
});

// ==== remap_file_pages ===========================================================================

test("remap_file_pages shows pages of the file in another order, some twice", (t) => {
  const address = map(t, 4 * pageSize, { fd: memoryFile(t, 4) });
  raw.remap_file_pages(address, pageSize, 0, 3, 0);
  raw.remap_file_pages(address + pages(3), pageSize, 0, 0, raw.MAP_NONBLOCK);
  raw.remap_file_pages(address + pages(1), 2 * pageSize, 0, 0, 0);
  assert.deepEqual(firstBytes(address, 4), [4, 1, 2, 1]);
  raw.view(address + pages(1), 1)[0] = 50;
  assert.deepEqual(firstBytes(address, 4), [4, 50, 2, 50]);
});

test("remap_file_pages rounds address and size down to pages", (t) => {
  const address = map(t, 3 * pageSize, { fd: memoryFile(t, 3) });
  raw.remap_file_pages(address + 5n, pageSize + 5, 0, 2, 0);
  assert.deepEqual(firstBytes(address, 3), [3, 2, 3]);
});

test("remap_file_pages refuses a protection, and memory that is not shared", (t) => {
  const fd = memoryFile(t, 2);
  const address = map(t, 2 * pageSize, { fd });
  refuses(() => raw.remap_file_pages(address, pageSize, raw.PROT_READ, 1, 0), "EINVAL");
  const own = map(t, 2 * pageSize, { fd, flags: raw.MAP_PRIVATE });
  refuses(() => raw.remap_file_pages(own, pageSize, 0, 1, 0), "EINVAL");
  refuses(() => raw.remap_file_pages(address, pageSize, 0, 2n ** 64n - 1n, 0), "EINVAL");
  assert.deepEqual(firstBytes(address, 2), [1, 2]);
});
