// Each option that is a flag of mmap(2), by what the kernel shows for it: the flags and counters of
// the area in /proc/self/smaps, and the address where it lies.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { mapAnonymous, mapFile, mapFileSync, pageSize } from "memmap";
import {
  areaAt,
  areasNamed,
  areasOf,
  flagsAt,
  pageTable,
  permissionsAt,
  smapsBytesAt,
  statusBytes,
} from "../helpers/proc-self.js";
import { fillHugePages, whyNot } from "../helpers/root-powers.js";
import { type Cleanup, needs, tempDir } from "../helpers/temp.js";

function makeFile(t: Cleanup, byteLength: number, base?: string): string {
  const path = join(tempDir(t, base), "data.bin");
  writeFileSync(path, Buffer.alloc(byteLength, 5));
  return path;
}

const letters = [
  ["none", "---"],
  ["read", "r--"],
  ["read-write", "rw-"],
  ["read-execute", "r-x"],
  ["read-write-execute", "rwx"],
] as const;

test("each protection of anonymous memory stands so in /proc/self/maps", () => {
  for (const [protection, expected] of letters) {
    using own = mapAnonymous(pageSize, { protection });
    using shared = mapAnonymous(pageSize, { protection, sharing: "shared" });
    assert.equal(permissionsAt(own.address), `${expected}p`);
    assert.equal(permissionsAt(shared.address), `${expected}s`);
    assert.deepEqual([own.protection, shared.protection], [protection, protection]);
  }
});

test("each protection of a file mapping stands so in /proc/self/maps", (t) => {
  const path = makeFile(t, pageSize);
  for (const [protection, expected] of letters) {
    using own = mapFileSync(path, { protection, sharing: "private" });
    using shared = mapFileSync(path, { protection });
    assert.equal(permissionsAt(own.address), `${expected}p`);
    assert.equal(permissionsAt(shared.address), `${expected}s`);
  }
});

test("populate brings all pages of anonymous memory in at once", () => {
  const byteLength = 64 * pageSize;
  using untouched = mapAnonymous(byteLength);
  assert.equal(pageTable(untouched.address, 64).present, 0);
  using mapping = mapAnonymous(byteLength, { populate: true });
  assert.equal(pageTable(mapping.address, 64).present, 64);
});

test("populate maps all pages of a file at once, without a touch", async (t) => {
  const byteLength = 64 * pageSize;
  const path = makeFile(t, byteLength);
  using untouched = mapFileSync(path);
  assert.equal(pageTable(untouched.address, 64).present, 0);
  using mapping = mapFileSync(path, { populate: true });
  assert.equal(pageTable(mapping.address, 64).present, 64);
  using waited = await mapFile(path, { populate: true });
  assert.equal(pageTable(waited.address, 64).present, 64);
});

test("populate of a private writable file mapping copies its pages at once", (t) => {
  const path = makeFile(t, 8 * pageSize);
  const options = { populate: true, sharing: "private", protection: "read-write" } as const;
  using mapping = mapFileSync(path, options);
  assert.equal(pageTable(mapping.address, 8).anonymous, 8);
});

test("lock keeps the pages in memory from the beginning", async (t) => {
  const byteLength = 16 * pageSize;
  const before = statusBytes("VmLck");
  {
    using mapping = mapAnonymous(byteLength, { lock: true });
    assert.ok(flagsAt(mapping.address).includes("lo"));
    assert.equal(pageTable(mapping.address, 16).present, 16);
    assert.equal(statusBytes("VmLck"), before + byteLength);
    using file = await mapFile(makeFile(t, byteLength), { lock: true });
    assert.ok(flagsAt(file.address).includes("lo"));
    assert.equal(statusBytes("VmLck"), before + 2 * byteLength);
  }
  assert.equal(statusBytes("VmLck"), before);
});

test("reserve false sets no swap space aside", () => {
  using plain = mapAnonymous(pageSize);
  using mapping = mapAnonymous(pageSize, { reserve: false });
  assert.ok(!flagsAt(plain.address).includes("nr"));
  assert.ok(flagsAt(mapping.address).includes("nr"));
});

test("huge pages that are transparent are advice on the area", () => {
  using plain = mapAnonymous(pageSize);
  using mapping = mapAnonymous(4 * 2 ** 20, { hugePages: "transparent" });
  using shared = mapAnonymous(4 * 2 ** 20, { hugePages: "transparent", sharing: "shared" });
  assert.ok(!flagsAt(plain.address).includes("hg"));
  assert.ok(flagsAt(mapping.address).includes("hg"));
  assert.ok(flagsAt(shared.address).includes("hg"));
});

const hugeSize = 2 ** 21;
const hugePages = { skip: whyNot("huge-pages") };

test("huge pages of a size come from the pool, private and shared", hugePages, async (t) => {
  const missing = await fillHugePages(t, 4);
  if (missing) return t.skip(missing);
  for (const sharing of ["private", "shared"] as const) {
    using mapping = mapAnonymous(hugeSize + 1, { hugePages: hugeSize, sharing });
    assert.equal(mapping.bytes.length, hugeSize + 1);
    assert.equal(mapping.address % BigInt(hugeSize), 0n);
    assert.ok(flagsAt(mapping.address).includes("ht"));
    assert.equal(smapsBytesAt(mapping.address, "KernelPageSize"), hugeSize);
    mapping.bytes[hugeSize] = 1;
    assert.deepEqual([...mapping.read(hugeSize, 1)], [1]);
  }
});

test("huge pages resize in whole huge pages and keep their content", hugePages, async (t) => {
  const missing = await fillHugePages(t, 8);
  if (missing) return t.skip(missing);
  for (const sharing of ["private", "shared"] as const) {
    using mapping = mapAnonymous(hugeSize, { hugePages: hugeSize, sharing });
    mapping.bytes.fill(9);
    mapping.resize(2 * hugeSize);
    assert.deepEqual([...mapping.read(hugeSize - 1, 2)], [9, 0]);
    assert.equal(smapsBytesAt(mapping.address, "KernelPageSize"), hugeSize);
    mapping.resize(10);
    assert.deepEqual([...mapping.read(0, 10)], new Array(10).fill(9));
  }
});

/** The end of a gap in the address space that a few pages fit into, below the highest library. */
function freeEnd(byteLength: number): bigint {
  const areas = areasOf().filter((area) => area.start < 2n ** 47n);
  let end = 0n;
  for (const [index, { start }] of areas.entries()) {
    const before = areas[index - 1];
    if (before !== undefined && start - before.end >= BigInt(byteLength)) end = start;
  }
  assert.ok(end > 0n);
  return end;
}

test("at is a hint: a free address is taken, a used one is passed over unharmed", () => {
  // Well inside the gap: the kernel keeps a distance from a stack that may grow.
  const free = freeEnd(2 ** 26) - 2n ** 25n;
  assert.equal(areaAt(free), undefined);
  using mapping = mapAnonymous(pageSize, { at: free });
  assert.equal(mapping.address, free);
  mapping.bytes[0] = 77;
  using other = mapAnonymous(pageSize, { at: mapping.address });
  assert.notEqual(other.address, mapping.address);
  assert.equal(mapping.bytes[0], 77);
  const lower = free - 8n * BigInt(pageSize);
  using uneven = mapAnonymous(pageSize, { at: lower + 123n });
  assert.equal(uneven.address, lower);
});

test("at beyond all addresses is passed over too", () => {
  using mapping = mapAnonymous(pageSize, { at: 2n ** 64n - 1n });
  assert.ok(mapping.address > 0n && mapping.address < 2n ** 57n);
});

test("stack and growsDown make private memory; growsDown stands in the area's flags", () => {
  using stack = mapAnonymous(4 * pageSize, { stack: true });
  assert.equal(permissionsAt(stack.address), "rw-p");
  stack.bytes.fill(1);
  using growing = mapAnonymous(4 * pageSize, { growsDown: true });
  assert.ok(flagsAt(growing.address).includes("gd"));
  assert.deepEqual([...growing.read(0, 2)], [0, 0]);
});

test("low32 puts the mapping into the first 2 GiB of addresses", (t) => {
  if (process.arch !== "x64") return t.skip("needs x86-64");
  using mapping = mapAnonymous(pageSize, { low32: true });
  assert.ok(mapping.address + BigInt(pageSize) <= 2n ** 31n);
  assert.equal(permissionsAt(mapping.address), "rw-p");
  using file = mapFileSync(makeFile(t, pageSize), { low32: true });
  assert.ok(file.address + BigInt(pageSize) <= 2n ** 31n);
});

test("droppable memory is private, zero, and marked as such", needs({ kernel: "6.11" }), () => {
  using mapping = mapAnonymous(2 * pageSize, { droppable: true });
  assert.ok(flagsAt(mapping.address).includes("dp"));
  assert.equal(permissionsAt(mapping.address), "rw-p");
  assert.deepEqual([...mapping.read(0, 2)], [0, 0]);
  assert.equal(mapping.sharing, "private");
});

test("droppable memory can be resized as other private memory", needs({ kernel: "6.11" }), () => {
  using mapping = mapAnonymous(2 * pageSize, { droppable: true });
  mapping.resize(4 * pageSize);
  assert.equal(mapping.bytes.length, 4 * pageSize);
  assert.ok(flagsAt(mapping.address).includes("dp"));
});

test("synchronous asks for persistent memory, and a file system without it refuses", (t) => {
  const path = makeFile(t, pageSize);
  const map = () => mapFileSync(path, { synchronous: true, protection: "read-write" });
  assert.throws(map, { name: "SystemError", code: "EOPNOTSUPP", syscall: "mmap", path });
});

test("a name stands on the object of shared anonymous memory", () => {
  using mapping = mapAnonymous(pageSize, { sharing: "shared", name: "flags test 1" });
  const [area] = areasNamed("memmap:flags test 1");
  assert.equal(area?.start, mapping.address);
});

test("a name stands on private memory where the kernel can name it", () => {
  using mapping = mapAnonymous(pageSize, { name: "flags test 2" });
  const name = areaAt(mapping.address)?.name;
  assert.ok(name === "[anon:memmap:flags test 2]" || name === "", name);
  assert.deepEqual([...mapping.read(0, 2)], [0, 0]);
});

test("memory without permission to read gives no byte, to write takes none", () => {
  using hidden = mapAnonymous(pageSize, { protection: "none" });
  const fault = { code: "ERR_MEMMAP_FAULT", reason: "protected", access: "read", byteOffset: 3 };
  assert.throws(() => hidden.read(3, 1), { ...fault, address: hidden.address + 3n });
  using fixed = mapAnonymous(pageSize, { protection: "read" });
  assert.throws(() => fixed.write(0, Buffer.from([1])), { code: "ERR_MEMMAP_READ_ONLY" });
  assert.deepEqual([...fixed.read(0, 1)], [0]);
});
