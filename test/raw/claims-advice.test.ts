// The claims of madvise(2) on memory that is not of the plain kind, and on limits and settings of
// the machine: docs/semantics.md has the list.

import assert from "node:assert/strict";
import { closeSync, openSync, readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { noCompiler } from "../helpers/compile.js";
import { limitedOutput } from "../helpers/ordinary-user.js";
import { areasNamed, pageTable, smapsBytesAt } from "../helpers/proc-self.js";
import { fillHugePages, mountPlain, takePower, whyNot } from "../helpers/root-powers.js";
import { syscallAddon } from "../helpers/syscalls.js";
import { needs, undoAfter } from "../helpers/temp.js";
import {
  anonymous,
  collapse,
  firstBytes,
  makeFile,
  map,
  memoryFile,
  numbered,
  onExt4,
  openUntilEnd,
  pages,
  pathOf,
  refuses,
  retry,
} from "./memory.js";

const shared = raw.MAP_SHARED | raw.MAP_ANONYMOUS;
const huge = 2 * 2 ** 20;
const noCollapse = !raw.accepts("MADV_COLLAPSE") && "needs MADV_COLLAPSE";

test("RLIMIT_RSS bounds nothing: WILLNEED past it is taken, and no EIO", async (t) => {
  const path = makeFile(t, numbered(4));
  const stdout = await limitedOutput(`
    limit("rss", 0);
    const fd = fs.openSync(${JSON.stringify(path)}, "r");
    const address = raw.mmap(null, 4 * pageSize, raw.PROT_READ, raw.MAP_PRIVATE, fd, 0);
    raw.madvise(address, 4 * pageSize, raw.MADV_WILLNEED);
    console.log(raw.view(address, 4 * pageSize)[3 * pageSize]);`);
  assert.equal(stdout, "4\n");
});

test("REMOVE is EOPNOTSUPP where the file system makes no holes", { skip: whyNot("loop") }, (t) => {
  const path = join(mountPlain(t, "ramfs"), "data.bin");
  writeFileSync(path, numbered(2));
  const fd = openSync(path, "r+");
  const address = map(t, 2 * pageSize, { fd });
  closeSync(fd);
  refuses(() => raw.madvise(address, pageSize, raw.MADV_REMOVE), "EOPNOTSUPP");
  assert.deepEqual(firstBytes(address, 2), [1, 2]);
  raw.munmap(address, 2 * pageSize);
});

test("huge pages are given up by REMOVE, and refuse what is for small ones", {
  skip: whyNot("huge-pages"),
}, async (t) => {
  const problem = await fillHugePages(t, 2);
  if (problem) return t.skip(problem);
  const flags = shared | raw.MAP_HUGETLB | raw.MAP_HUGE_2MB;
  const address = map(t, huge, { flags });
  raw.view(address, huge)[5] = 7;
  const small = [raw.MADV_COLD, raw.MADV_PAGEOUT, raw.MADV_FREE, raw.MADV_WIPEONFORK];
  if (raw.accepts("MADV_GUARD_INSTALL")) small.push(raw.MADV_GUARD_INSTALL);
  for (const advice of small) refuses(() => raw.madvise(address, huge, advice), "EINVAL");
  assert.equal(raw.view(address, huge)[5], 7);
  raw.madvise(address, huge, raw.MADV_REMOVE);
  assert.equal(raw.view(address, huge)[5], 0);
});

test("memory that is no memory of files refuses COLD, PAGEOUT and POPULATE", (t) => {
  const [area] = areasNamed("[vvar]"); // Pages of the kernel, as devices map theirs.
  if (area === undefined) return t.skip("needs a kernel that maps [vvar]");
  const advice = [raw.MADV_COLD, raw.MADV_PAGEOUT];
  if (raw.accepts("MADV_POPULATE_READ")) advice.push(raw.MADV_POPULATE_READ);
  for (const each of advice) refuses(() => raw.madvise(area.start, pageSize, each), "EINVAL");
  const content = [raw.MADV_DONTNEED, raw.MADV_REMOVE];
  for (const each of content) {
    refuses(() => raw.madvise(area.start, pageSize, each), "ERR_MEMMAP_UNSAFE_FIXED");
  }
});

test("POPULATE_READ leaves pages clean, POPULATE_WRITE gives holes their blocks", {
  skip: onExt4.skip || (!raw.accepts("MADV_POPULATE_WRITE") && "needs MADV_POPULATE_WRITE"),
}, (t) => {
  const path = makeFile(t, new Uint8Array(0));
  truncateSync(path, 4 * pageSize);
  const address = map(t, 4 * pageSize, { fd: openUntilEnd(t, path) });
  raw.madvise(address, 4 * pageSize, raw.MADV_POPULATE_READ);
  assert.equal(pageTable(address, 4).present, 4);
  assert.deepEqual([smapsBytesAt(address, "Shared_Dirty"), statSync(path).blocks], [0, 0]);
  raw.madvise(address, 4 * pageSize, raw.MADV_POPULATE_WRITE);
  assert.ok(statSync(path).blocks * 512 >= 4 * pageSize);
});

test("a guarded page cannot be locked or populated, and outlasts other advice", (t) => {
  if (!raw.accepts("MADV_GUARD_INSTALL")) return t.skip("needs MADV_GUARD_INSTALL");
  const address = map(t, 2 * pageSize);
  raw.view(address, 2 * pageSize).set(numbered(2));
  raw.madvise(address, pageSize, raw.MADV_GUARD_INSTALL);
  refuses(() => raw.mlock(address, pageSize), "ENOMEM");
  raw.munlock(address, pageSize);
  for (const advice of [raw.MADV_POPULATE_READ, raw.MADV_POPULATE_WRITE]) {
    refuses(() => raw.madvise(address, pageSize, advice), "EFAULT");
  }
  for (const advice of [raw.MADV_DONTNEED, raw.MADV_FREE, raw.MADV_PAGEOUT, raw.MADV_COLD]) {
    raw.madvise(address, 2 * pageSize, advice);
    assert.equal(firstBytes(address, 1)[0], undefined);
  }
});

/* Addresses of some huge pages of memory, the first of them a multiple of their size. */
function hugeAligned(address: bigint): bigint {
  return (address + BigInt(huge) - 1n) & ~BigInt(huge - 1);
}

test("COLLAPSE takes the whole huge pages of its range, of shared memory as well", {
  skip: noCollapse,
}, (t) => {
  const fd = memoryFile(t, 0);
  truncateSync(pathOf(fd), 3 * huge);
  const start = hugeAligned(map(t, 4 * huge, { prot: raw.PROT_NONE }));
  map(t, 3 * huge, { fd, at: start, flags: raw.MAP_SHARED | raw.MAP_FIXED });
  raw.view(start, 3 * huge).fill(7);
  collapse(start + pages(1), 2 * huge);
  assert.equal(smapsBytesAt(start, "ShmemPmdMapped"), huge);
  assert.ok(raw.view(start, 3 * huge).every((byte) => byte === 7));
});

test("COLLAPSE is EINVAL under NOHUGEPAGE, and where no page has been touched", {
  skip: noCollapse,
}, (t) => {
  const start = hugeAligned(map(t, 3 * huge));
  refuses(() => raw.madvise(start, huge, raw.MADV_COLLAPSE), "EINVAL");
  raw.madvise(start, huge, raw.MADV_NOHUGEPAGE);
  raw.view(start, huge).fill(7);
  refuses(() => raw.madvise(start, huge, raw.MADV_COLLAPSE), "EINVAL");
  assert.equal(smapsBytesAt(start, "AnonHugePages"), 0);
});

test("a process without transparent huge pages gets none by HUGEPAGE or COLLAPSE", {
  skip: noCompiler || noCollapse,
}, async (t) => {
  const stdout = await limitedOutput(
    `
    import { createRequire } from "node:module";
    const { syscall } = createRequire(import.meta.url)(process.argv[2]);
    const huge = 2 ** 21;
    const kind = raw.MAP_PRIVATE | raw.MAP_ANONYMOUS;
    const base = raw.mmap(null, 2 * huge, 3, kind, -1, 0);
    const start = (base + BigInt(huge) - 1n) & ~BigInt(huge - 1);
    assert.equal(syscall("prctl", 41n, 1n, 0n, 0n, 0n), 0); // PR_SET_THP_DISABLE
    raw.madvise(start, huge, raw.MADV_HUGEPAGE);
    raw.view(start, huge)[0] = 1;
    const resident = raw.mincore(start, huge).filter((byte) => byte % 2 === 1).length;
    const collapsed = failure(() => raw.madvise(start, huge, raw.MADV_COLLAPSE)).split(" | ")[1];
    console.log(resident, collapsed);`,
    [syscallAddon(t)],
  );
  assert.equal(stdout, "1 EINVAL\n");
});

test("pages under FREE are zeros once the kernel has taken them, but for stored ones", (t) => {
  if (!raw.accepts("MADV_PAGEOUT")) return t.skip("needs MADV_PAGEOUT");
  const count = 256; // The kernel marks them in batches.
  const address = map(t, count * pageSize);
  const bytes = raw.view(address, count * pageSize).fill(7);
  retry(() => {
    bytes.fill(7);
    raw.madvise(address, count * pageSize, raw.MADV_FREE);
    bytes[0] = 5;
    raw.madvise(address, count * pageSize, raw.MADV_PAGEOUT); // As if memory were short.
    const found = firstBytes(address, count);
    assert.equal(found[0], 5);
    assert.ok(found.slice(1).filter((byte) => byte === 0).length > count / 2);
  });
});

test("MERGEABLE pages of equal content become one, until a store or UNMERGEABLE", {
  skip:
    whyNot("sysctl") ||
    (!raw.accepts("MADV_MERGEABLE") && "needs a kernel with KSM") ||
    needs({ kernel: "6.6" }).skip,
}, async (t) => {
  await takePower(t, "sysctl");
  const folder = "/sys/kernel/mm/ksm";
  for (const [name, value] of Object.entries({ pages_to_scan: "1000", run: "1" })) {
    const before = readFileSync(join(folder, name), "utf8");
    undoAfter(t, () => writeFileSync(join(folder, name), before));
    writeFileSync(join(folder, name), value);
  }
  const count = 32;
  const address = map(t, count * pageSize, { flags: anonymous });
  const bytes = raw.view(address, count * pageSize).fill(0x6b);
  raw.madvise(address, count * pageSize, raw.MADV_MERGEABLE);
  const mergedBytes = () => smapsBytesAt(address, "KSM");
  for (let i = 0; i < 200 && mergedBytes() < count * pageSize; i++) await sleep(20);
  assert.equal(mergedBytes(), count * pageSize);
  bytes[5] = 1;
  assert.deepEqual([bytes[5], bytes[pageSize + 5]], [1, 0x6b]);
  assert.equal(mergedBytes(), (count - 1) * pageSize);
  raw.madvise(address, count * pageSize, raw.MADV_UNMERGEABLE);
  assert.equal(mergedBytes(), 0);
  assert.equal(bytes[2 * pageSize], 0x6b);
});
