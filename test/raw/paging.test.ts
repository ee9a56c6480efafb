// When memory is really taken, where it comes from and where it goes: each row of the table
// "Paging, measured" in docs/semantics.md, read from smaps, the page tables, the page cache and the
// kernel's counters.

import assert from "node:assert/strict";
import { closeSync, ftruncateSync, openSync, readFileSync, readSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { pageSize, SystemError } from "memmap";
import * as raw from "memmap/raw";
import { pageTable, smapsAt, smapsBytesAt, statusBytes } from "../helpers/proc-self.js";
import { addSwap, fillHugePages, setKernel, takePower, whyNot } from "../helpers/root-powers.js";
import { type Cleanup, tempDir, undoAfter } from "../helpers/temp.js";
import {
  anonymous,
  type MapPlan,
  makeFile,
  map,
  numbered,
  onExt4,
  openUntilEnd,
  pages,
  peek,
  rw,
} from "./memory.js";

const MiB = 2 ** 20;

/* Memory between two pages that nobody may touch, so that the kernel counts it as one area. */
function fenced(t: Cleanup, length: number, plan: MapPlan = {}): bigint {
  const place = map(t, length + 2 * pageSize, { prot: raw.PROT_NONE });
  const at = place + pages(1);
  const flags = (plan.flags ?? anonymous) | raw.MAP_FIXED;
  return map(t, length, { ...plan, flags, at });
}

/* A file without content yet, of which nothing can be in the page cache. */
function coldFile(t: Cleanup, length: number): number {
  const fd = openSync(join(tempDir(t), "cold.bin"), "w+");
  undoAfter(t, () => closeSync(fd));
  ftruncateSync(fd, length);
  return fd;
}

function residentCount(address: bigint, length: number): number {
  return raw.mincore(address, length).filter((byte) => byte % 2 === 1).length;
}

function dirtyBytes(address: bigint): number {
  return smapsBytesAt(address, "Shared_Dirty") + smapsBytesAt(address, "Private_Dirty");
}

/* Pages in swap, by the page tables. */
function swappedCount(address: bigint, pageCount: number): number {
  const entries = new BigUint64Array(pageCount);
  const fd = openSync("/proc/self/pagemap", "r");
  const position = Number(address / BigInt(pageSize)) * 8;
  readSync(fd, new Uint8Array(entries.buffer), 0, entries.byteLength, position);
  closeSync(fd);
  return [...entries].filter((entry) => (entry >> 62n) % 2n === 1n).length;
}

function meminfo(field: string): number {
  const found = new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(readFileSync("/proc/meminfo", "utf8"));
  assert.ok(found !== null, `no ${field}`);
  return Number(found[1]);
}

/* Waits for what the kernel does in its own time. */
async function until(holds: () => boolean, what: string): Promise<void> {
  const end = Date.now() + 30_000;
  while (!holds()) {
    assert.ok(Date.now() < end, `${what} did not happen`);
    await sleep(20);
  }
}

// ==== Demand paging ==============================================================================

test("private anonymous memory has no pages until it is touched, and reading takes none", (t) => {
  const address = fenced(t, 64 * pageSize);
  assert.deepEqual(pageTable(address, 64), { present: 0, anonymous: 0 });
  assert.equal(residentCount(address, 64 * pageSize), 0);
  const bytes = raw.view(address, 64 * pageSize);
  assert.ok(bytes.every((byte) => byte === 0));
  assert.equal(pageTable(address, 64).present, 64); // All of them the one page of zeros.
  assert.equal(smapsBytesAt(address, "Rss"), 0);
  bytes[5 * pageSize] = 1;
  assert.equal(smapsBytesAt(address, "Rss"), pageSize);
  assert.equal(smapsBytesAt(address, "Anonymous"), pageSize);
});

test("shared anonymous memory takes a page also for reading", (t) => {
  const address = fenced(t, 8 * pageSize, { flags: raw.MAP_SHARED | raw.MAP_ANONYMOUS });
  assert.equal(smapsBytesAt(address, "Rss"), 0);
  assert.equal(raw.view(address, pageSize)[0], 0);
  assert.equal(smapsBytesAt(address, "Rss"), pageSize);
});

test("a touch of a cold file brings in its surroundings, and not the whole file", onExt4, (t) => {
  const length = 64 * MiB;
  const address = map(t, length, { fd: coldFile(t, length), prot: raw.PROT_READ });
  assert.equal(residentCount(address, length), 0);
  const touched = length / pageSize / 2;
  assert.equal(raw.view(address, length)[touched * pageSize], 0);
  const vector = raw.mincore(address, length);
  const count = vector.filter((byte) => byte % 2 === 1).length;
  assert.ok(count > 1 && count < length / pageSize / 2, `${count} pages`);
  const [first, last] = [vector.indexOf(1), vector.lastIndexOf(1)];
  assert.ok(first <= touched && touched <= last, `${first} to ${last}`);
  assert.equal(last - first + 1, count);
});

test("a touch under MADV_RANDOM brings in no surroundings", onExt4, (t) => {
  const length = 64 * MiB;
  const address = map(t, length, { fd: coldFile(t, length), prot: raw.PROT_READ });
  raw.madvise(address, length, raw.MADV_RANDOM);
  assert.equal(raw.view(address, length)[length / 2], 0);
  assert.equal(residentCount(address, length), 1);
});

test("MADV_WILLNEED reads ahead into the page cache, and maps nothing", onExt4, async (t) => {
  const length = 2 * MiB;
  const address = map(t, length, { fd: coldFile(t, length), prot: raw.PROT_READ });
  raw.madvise(address, length, raw.MADV_WILLNEED);
  await until(() => residentCount(address, length) > 1, "reading ahead");
  assert.equal(pageTable(address, length / pageSize).present, 0);
});

test("MAP_POPULATE has every page in the page tables when mmap returns", (t) => {
  const length = 64 * pageSize;
  const fd = openUntilEnd(t, makeFile(t, numbered(64)));
  const plain = map(t, length, { fd });
  assert.equal(pageTable(plain, 64).present, 0);
  const file = map(t, length, { fd, flags: raw.MAP_SHARED | raw.MAP_POPULATE });
  assert.deepEqual(pageTable(file, 64), { present: 64, anonymous: 0 });
  const memory = map(t, length, { flags: anonymous | raw.MAP_POPULATE });
  assert.deepEqual(pageTable(memory, 64), { present: 64, anonymous: 64 });
});

test("MADV_POPULATE_READ maps what is there, MADV_POPULATE_WRITE makes the copies", (t) => {
  if (!raw.accepts("MADV_POPULATE_READ")) return t.skip("needs MADV_POPULATE_READ");
  const fd = openUntilEnd(t, makeFile(t, numbered(16)));
  const address = map(t, 16 * pageSize, { fd, flags: raw.MAP_PRIVATE });
  raw.madvise(address, 8 * pageSize, raw.MADV_POPULATE_READ);
  assert.equal(pageTable(address, 8).present, 8);
  assert.equal(pageTable(address, 16).anonymous, 0);
  raw.madvise(address, 4 * pageSize, raw.MADV_POPULATE_WRITE);
  assert.equal(pageTable(address, 16).anonymous, 4);
});

// ==== Huge pages =================================================================================

const thp = "/sys/kernel/mm/transparent_hugepage";

function whyNoTransparent(): string | false {
  try {
    const enabled = readFileSync(`${thp}/enabled`, "utf8");
    return enabled.includes("[never]") && "transparent huge pages are off";
  } catch {
    return "needs a kernel with transparent huge pages";
  }
}

/* Memory whose first byte is where a huge page can begin, fenced from all else. */
function hugeAligned(t: Cleanup, huge: number): bigint {
  const place = map(t, 4 * huge, { prot: raw.PROT_NONE });
  const at = (place / BigInt(huge) + 1n) * BigInt(huge);
  return map(t, 2 * huge, { flags: anonymous | raw.MAP_FIXED, at });
}

test("a store under MADV_HUGEPAGE takes a whole huge page", { skip: whyNoTransparent() }, (t) => {
  const huge = Number(readFileSync(`${thp}/hpage_pmd_size`, "utf8"));
  const address = hugeAligned(t, huge);
  raw.madvise(address, 2 * huge, raw.MADV_HUGEPAGE);
  raw.view(address, 1)[0] = 1;
  assert.equal(smapsBytesAt(address, "AnonHugePages"), huge);
  assert.equal(smapsBytesAt(address, "Rss"), huge);
  raw.madvise(address, 2 * huge, raw.MADV_DONTNEED);
  raw.madvise(address, 2 * huge, raw.MADV_NOHUGEPAGE);
  raw.view(address, 1)[0] = 1;
  assert.equal(smapsBytesAt(address, "AnonHugePages"), 0);
  assert.equal(smapsBytesAt(address, "Rss"), pageSize);
});

test("MADV_COLLAPSE makes one huge page of many, with their content", {
  skip: whyNoTransparent(),
}, (t) => {
  if (!raw.accepts("MADV_COLLAPSE")) return t.skip("needs MADV_COLLAPSE");
  const huge = Number(readFileSync(`${thp}/hpage_pmd_size`, "utf8"));
  const address = hugeAligned(t, huge);
  const bytes = raw.view(address, 2 * huge);
  for (let at = 0; at < huge; at += pageSize) bytes[at] = (at / pageSize) % 251;
  raw.madvise(address, huge, raw.MADV_COLLAPSE);
  assert.equal(smapsBytesAt(address, "AnonHugePages"), huge);
  for (let at = 0; at < huge; at += pageSize) assert.equal(bytes[at], (at / pageSize) % 251);
});

test("MAP_HUGETLB reserves huge pages when mapping, and takes them when touched", {
  skip: whyNot("huge-pages"),
}, async (t) => {
  const problem = await fillHugePages(t, 4);
  if (problem) return t.skip(problem);
  const huge = 2 * MiB;
  const before = { free: meminfo("HugePages_Free"), reserved: meminfo("HugePages_Rsvd") };
  const flags = anonymous | raw.MAP_HUGETLB | raw.MAP_HUGE_2MB;
  const address = raw.mmap(null, 2 * huge, rw, flags, -1, 0);
  assert.equal(meminfo("HugePages_Rsvd"), before.reserved + 2);
  assert.equal(meminfo("HugePages_Free"), before.free);
  raw.view(address, 1)[0] = 1;
  assert.equal(meminfo("HugePages_Free"), before.free - 1);
  assert.equal(smapsBytesAt(address, "Private_Hugetlb"), huge);
  assert.equal(smapsBytesAt(address, "KernelPageSize"), huge);
  raw.munmap(address, 2 * huge);
  assert.equal(meminfo("HugePages_Free"), before.free);
  assert.equal(meminfo("HugePages_Rsvd"), before.reserved);
});

// ==== Locking ====================================================================================

test("locked pages stand in VmLck and in the area's Locked, until munlock", (t) => {
  const length = 16 * pageSize;
  const address = fenced(t, length);
  const before = statusBytes("VmLck");
  raw.mlock(address, length);
  assert.equal(pageTable(address, 16).present, 16);
  assert.equal(statusBytes("VmLck"), before + length);
  assert.equal(smapsBytesAt(address, "Locked"), length);
  assert.match(smapsAt(address, "VmFlags"), /\blo\b/);
  raw.munlock(address, length);
  assert.equal(statusBytes("VmLck"), before);
  assert.equal(pageTable(address, 16).present, 16);
});

test("mlock2 with MLOCK_ONFAULT counts the whole range and brings nothing in", (t) => {
  const length = 16 * pageSize;
  const address = fenced(t, length);
  const before = statusBytes("VmLck");
  raw.mlock2(address, length, raw.MLOCK_ONFAULT);
  assert.equal(statusBytes("VmLck"), before + length);
  assert.equal(pageTable(address, 16).present, 0);
  raw.view(address, 1)[0] = 1;
  assert.equal(smapsBytesAt(address, "Locked"), pageSize);
});

// ==== Dirty pages ================================================================================

interface Dirty {
  readonly fd: number;
  readonly address: bigint;
}

const dirtyPages = 16;

/* A file on a disk with dirty pages that were stored through a shared mapping. */
function makeDirty(t: Cleanup): Dirty {
  const fd = openUntilEnd(t, makeFile(t, numbered(dirtyPages)));
  const address = map(t, dirtyPages * pageSize, { fd });
  raw.msync(address, dirtyPages * pageSize, raw.MS_SYNC);
  const bytes = raw.view(address, dirtyPages * pageSize);
  for (let page = 0; page < dirtyPages; page++) bytes[page * pageSize] = 200;
  return { fd, address };
}

/* Pages of a file that are not on the disk yet, by cachestat(2). */
function unwrittenCount(fd: number): number {
  const { nr_dirty, nr_writeback } = raw.cachestat(fd, { off: 0, len: 0 }, 0);
  return nr_dirty + nr_writeback;
}

function whyNoCacheStat(): string | false {
  const fd = raw.memfd_create("probe", raw.MFD_CLOEXEC);
  try {
    unwrittenCount(fd);
    return false;
  } catch (error) {
    if (error instanceof SystemError && error.code === "ENOSYS") return "needs cachestat";
    throw error;
  } finally {
    raw.close(fd);
  }
}

const counts = { skip: onExt4.skip || whyNoCacheStat() };

test(
  "msync writes dirty pages back: they are clean in smaps and in the page cache",
  counts,
  (t) => {
    const { fd, address } = makeDirty(t);
    assert.equal(dirtyBytes(address), dirtyPages * pageSize);
    assert.equal(unwrittenCount(fd), dirtyPages);
    raw.msync(address, dirtyPages * pageSize, raw.MS_SYNC);
    assert.equal(dirtyBytes(address), 0);
    assert.equal(unwrittenCount(fd), 0);
  },
);

test("MS_ASYNC starts nothing: the pages are as dirty as before", counts, async (t) => {
  await takePower(t, "sysctl");
  const { address } = makeDirty(t);
  raw.msync(address, dirtyPages * pageSize, raw.MS_ASYNC);
  assert.equal(dirtyBytes(address), dirtyPages * pageSize);
});

test("the kernel writes dirty pages back by itself when they are old enough", {
  skip: counts.skip || whyNot("sysctl"),
}, async (t) => {
  await takePower(t, "sysctl");
  setKernel(t, "vm/dirty_expire_centisecs", "30");
  setKernel(t, "vm/dirty_writeback_centisecs", "10");
  await sleep(200); // Another interval makes the kernel write everything back, once.
  const { fd, address } = makeDirty(t);
  assert.equal(unwrittenCount(fd), dirtyPages);
  await until(() => unwrittenCount(fd) === 0, "writing back");
  assert.equal(dirtyBytes(address), 0);
});

// ==== Swap =======================================================================================

const swaps = { skip: whyNot("swap") };
const swapPages = 256;

function contentOf(address: bigint): Buffer {
  const bytes = peek(address, swapPages * pageSize);
  assert.ok(bytes !== undefined);
  return bytes;
}

/* Sends pages out until at least half of them are in swap, and reads them back. */
async function checkSwap(address: bigint): Promise<void> {
  const length = swapPages * pageSize;
  const before = contentOf(address);
  await until(() => {
    raw.madvise(address, length, raw.MADV_PAGEOUT);
    return swappedCount(address, swapPages) >= swapPages / 2;
  }, "swapping out");
  assert.ok(smapsBytesAt(address, "Swap") >= length / 2);
  assert.ok(contentOf(address).equals(before));
  assert.equal(swappedCount(address, swapPages), 0);
  assert.equal(smapsBytesAt(address, "Swap"), 0);
  assert.equal(smapsBytesAt(address, "Rss"), length);
}

test("private dirty memory goes to the swap file and comes back intact", swaps, async (t) => {
  await addSwap(t, 32);
  const address = fenced(t, swapPages * pageSize);
  raw.madvise(address, swapPages * pageSize, raw.MADV_NOHUGEPAGE);
  raw.view(address, swapPages * pageSize).set(numbered(swapPages));
  await checkSwap(address);
});

test(
  "private copies of file pages go to the swap file, and not to their file",
  swaps,
  async (t) => {
    await addSwap(t, 32);
    const path = makeFile(t, Buffer.alloc(swapPages * pageSize, 9));
    const fd = openUntilEnd(t, path);
    const address = fenced(t, swapPages * pageSize, { fd, flags: raw.MAP_PRIVATE });
    raw.view(address, swapPages * pageSize).set(numbered(swapPages));
    await checkSwap(address);
    assert.ok(readFileSync(path).equals(Buffer.alloc(swapPages * pageSize, 9)));
  },
);

test("locked memory does not go to swap: MADV_PAGEOUT is EINVAL", swaps, async (t) => {
  await addSwap(t, 32);
  const address = fenced(t, 16 * pageSize);
  raw.mlock(address, 16 * pageSize);
  const call = () => raw.madvise(address, 16 * pageSize, raw.MADV_PAGEOUT);
  assert.throws(call, { code: "EINVAL" });
  assert.equal(swappedCount(address, 16), 0);
});
