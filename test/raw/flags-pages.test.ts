// Each flag of mmap(2) that says which pages stand when the call returns, and of what kind they
// are: by the page tables and the counters of the kernel. The others are in flags.test.ts.

import assert from "node:assert/strict";
import { closeSync, openSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { flagsAt, pageTable, smapsBytesAt, statusBytes } from "../helpers/proc-self.js";
import { mapRaw, memoryFile, privateMemory, readWrite } from "../helpers/raw-memory.js";
import { fillHugePages, fillPool, whyNot } from "../helpers/root-powers.js";
import { type Cleanup, needs, tempDir, undoAfter } from "../helpers/temp.js";

const pageCount = 16;
const length = pageCount * pageSize;
const mebibyte2 = 2 ** 21;
const gibibyte = 2 ** 30;

function makeFile(t: Cleanup): number {
  const path = join(tempDir(t), "data.bin");
  writeFileSync(path, Buffer.alloc(length, 5));
  const fd = openSync(path, "r+");
  undoAfter(t, () => closeSync(fd));
  return fd;
}

function presentPages(t: Cleanup, flags: number, fd = -1): number {
  return pageTable(mapRaw(t, { length, flags, fd }), pageCount).present;
}

test("MAP_POPULATE: all pages stand when the call returns, of memory and of files", (t) => {
  const fd = makeFile(t);
  const kinds = [
    [privateMemory, -1],
    [raw.MAP_SHARED | raw.MAP_ANONYMOUS, -1],
    [raw.MAP_SHARED, fd],
    [raw.MAP_PRIVATE, fd],
  ] as const;
  for (const [flags, file] of kinds) {
    assert.equal(presentPages(t, flags, file), 0);
    assert.equal(presentPages(t, flags | raw.MAP_POPULATE, file), pageCount);
  }
  const copied = mapRaw(t, { length, flags: raw.MAP_PRIVATE | raw.MAP_POPULATE, fd });
  assert.equal(pageTable(copied, pageCount).anonymous, pageCount);
});

test("MAP_NONBLOCK with MAP_POPULATE prefaults nothing", (t) => {
  const fd = makeFile(t);
  const both = raw.MAP_POPULATE | raw.MAP_NONBLOCK;
  assert.equal(presentPages(t, privateMemory | both), 0);
  assert.equal(presentPages(t, raw.MAP_SHARED | both, fd), 0);
});

test("MAP_NONBLOCK alone changes nothing", (t) => {
  const plain = mapRaw(t, { length });
  const address = mapRaw(t, { length, flags: privateMemory | raw.MAP_NONBLOCK });
  assert.deepEqual(flagsAt(address), flagsAt(plain));
  assert.equal(pageTable(address, pageCount).present, 0);
});

test("MAP_LOCKED: the pages stand and count in VmLck until they are unmapped", (t) => {
  const before = statusBytes("VmLck");
  const address = mapRaw(t, { length, flags: privateMemory | raw.MAP_LOCKED });
  assert.ok(flagsAt(address).includes("lo"));
  assert.equal(pageTable(address, pageCount).present, pageCount);
  assert.equal(statusBytes("VmLck"), before + length);
  raw.munmap(address, length / 2);
  assert.equal(statusBytes("VmLck"), before + length / 2);
  raw.munlock(address + BigInt(length / 2), length / 2);
  assert.equal(statusBytes("VmLck"), before);
});

test("MAP_DROPPABLE: zeros that the kernel may take back", needs({ kernel: "6.11" }), (t) => {
  const flags = raw.MAP_DROPPABLE | raw.MAP_ANONYMOUS;
  const address = mapRaw(t, { length, flags });
  raw.view(address, length).fill(3);
  assert.ok(flagsAt(address).includes("dp"));
  assert.ok(flagsAt(address).includes("wf"), "a child of fork gets zeros");
  const both = { flags: flags | raw.MAP_PRIVATE };
  assert.throws(() => mapRaw(t, { flags: raw.MAP_DROPPABLE, fd: makeFile(t) }), { code: "EINVAL" });
  // 8 is the kind; with the bits of the others it is none that the kernel knows.
  assert.throws(() => mapRaw(t, both), { code: "EINVAL", syscall: "mmap" });
});

const hugePages = { skip: whyNot("huge-pages") };

test(
  "MAP_HUGETLB: pages of the pool, of its default size without another",
  hugePages,
  async (t) => {
    const missing = await fillHugePages(t, 2);
    if (missing) return t.skip(missing);
    for (const kind of [privateMemory, raw.MAP_SHARED | raw.MAP_ANONYMOUS]) {
      const address = mapRaw(t, { length: mebibyte2, flags: kind | raw.MAP_HUGETLB });
      assert.equal(address % BigInt(mebibyte2), 0n);
      assert.ok(flagsAt(address).includes("ht"));
      assert.equal(smapsBytesAt(address, "KernelPageSize"), mebibyte2);
      raw.view(address, mebibyte2)[mebibyte2 - 1] = 1;
      raw.munmap(address, mebibyte2);
    }
  },
);

test(
  "MAP_HUGETLB with MAP_HUGE_2MB: a length of bytes is whole huge pages",
  hugePages,
  async (t) => {
    const missing = await fillHugePages(t, 2);
    if (missing) return t.skip(missing);
    const flags = privateMemory | raw.MAP_HUGETLB | raw.MAP_HUGE_2MB;
    const address = raw.mmap(null, mebibyte2 + 1, readWrite, flags, -1, 0);
    undoAfter(t, () => raw.munmap(address, 2 * mebibyte2));
    assert.equal(smapsBytesAt(address, "KernelPageSize"), mebibyte2);
    assert.equal(smapsBytesAt(address, "Size"), 2 * mebibyte2);
    assert.deepEqual([...raw.view(address + 2n * BigInt(mebibyte2) - 1n, 1)], [0]);
    const part = () => raw.munmap(address, pageSize);
    assert.throws(part, { code: "EINVAL", syscall: "munmap" });
    const uneven = { addr: address + BigInt(pageSize), length: mebibyte2 };
    assert.throws(() => mapRaw(t, { ...uneven, flags: flags | raw.MAP_FIXED }), { code: "EINVAL" });
  },
);

const isWithout1GiB = !raw.accepts("MAP_HUGE_1GB") && "needs huge pages of 1 GiB";

test("MAP_HUGETLB with MAP_HUGE_1GB: an area of pages of 1 GiB", { skip: isWithout1GiB }, (t) => {
  const flags = privateMemory | raw.MAP_HUGETLB | raw.MAP_HUGE_1GB | raw.MAP_NORESERVE;
  const address = mapRaw(t, { length: gibibyte, flags });
  assert.equal(address % BigInt(gibibyte), 0n);
  assert.equal(smapsBytesAt(address, "KernelPageSize"), gibibyte);
  assert.equal(pageTable(address, 1).present, 0);
});

test("MAP_HUGETLB with MAP_HUGE_1GB: one fault brings 1 GiB", hugePages, async (t) => {
  if (isWithout1GiB) return t.skip(isWithout1GiB);
  const missing = await fillPool(t, gibibyte, 1);
  if (missing) return t.skip(missing);
  const flags = privateMemory | raw.MAP_HUGETLB | raw.MAP_HUGE_1GB;
  const address = mapRaw(t, { length: gibibyte, flags });
  raw.view(address + BigInt(gibibyte) - 1n, 1)[0] = 7;
  assert.equal(pageTable(address, 1).present, 1, "one fault brings the whole page");
});

test(
  "MAP_HUGETLB of an empty pool is ENOMEM, of a size without a pool EINVAL",
  hugePages,
  async (t) => {
    const missing = await fillHugePages(t, 0);
    if (missing) return t.skip(missing);
    const huge = privateMemory | raw.MAP_HUGETLB;
    const map = (flags: number) => () => mapRaw(t, { length: mebibyte2, flags });
    assert.throws(map(huge | raw.MAP_HUGE_2MB), { code: "ENOMEM", syscall: "mmap" });
    const pools = readdirSync("/sys/kernel/mm/hugepages");
    assert.ok(!pools.includes("hugepages-16777216kB"));
    assert.throws(map(huge | raw.MAP_HUGE_16GB), { code: "EINVAL", syscall: "mmap" });
  },
);

test("MAP_HUGETLB with a file that is not of huge pages is EINVAL", (t) => {
  const fd = memoryFile(t, mebibyte2);
  const flags = raw.MAP_SHARED | raw.MAP_HUGETLB;
  const map = () => mapRaw(t, { length: mebibyte2, flags, fd });
  assert.throws(map, { code: "EINVAL", syscall: "mmap" });
});
