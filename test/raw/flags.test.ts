// Each flag of mmap(2) that says where a mapping lies and whose it is, or that the kernel ignores:
// by the address, the rows of /proc/self/smaps, and the bytes of the file. Those that bring pages
// in are in flags-pages.test.ts.

import assert from "node:assert/strict";
import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { mapAnonymous, pageSize } from "memmap";
import * as raw from "memmap/raw";
import { areaAt, flagsAt, pageTable, permissionsAt } from "../helpers/proc-self.js";
import {
  freeAddress,
  mapRaw,
  memoryFile,
  privateMemory,
  readWrite,
} from "../helpers/raw-memory.js";
import { type Cleanup, needs, tempDir, undoAfter } from "../helpers/temp.js";

const page = BigInt(pageSize);

/** A file of a few pages of fives, open for reading and writing until the test ends. */
function makeFile(t: Cleanup, pageCount: number): { path: string; fd: number } {
  const path = join(tempDir(t), "data.bin");
  writeFileSync(path, Buffer.alloc(pageCount * pageSize, 5));
  const fd = openSync(path, "r+");
  undoAfter(t, () => closeSync(fd));
  return { path, fd };
}

/** What the kernel shows of a mapping, but for its place. */
function looks(address: bigint): unknown {
  const { present } = pageTable(address, 1);
  return { permissions: permissionsAt(address), flags: flagsAt(address), present };
}

/** A bit that is no flag of mmap(2). */
const noFlag = 0x20_0000;

test("MAP_SHARED: a write is seen by another mapping and in the file", (t) => {
  const { path, fd } = makeFile(t, 1);
  const one = mapRaw(t, { flags: raw.MAP_SHARED, fd });
  const other = mapRaw(t, { flags: raw.MAP_SHARED, fd });
  raw.view(one, 1)[0] = 9;
  assert.equal(raw.view(other, 1)[0], 9);
  assert.equal(readFileSync(path)[0], 9);
  assert.equal(permissionsAt(one), "rw-s");
  assert.ok(flagsAt(one).includes("sh"));
});

test("MAP_PRIVATE: a write is seen by nobody else and does not reach the file", (t) => {
  const { path, fd } = makeFile(t, 1);
  const one = mapRaw(t, { flags: raw.MAP_PRIVATE, fd });
  const other = mapRaw(t, { flags: raw.MAP_PRIVATE, fd });
  raw.view(one, 1)[0] = 9;
  assert.deepEqual([raw.view(one, 1)[0], raw.view(other, 1)[0]], [9, 5]);
  assert.equal(readFileSync(path)[0], 5);
  assert.equal(permissionsAt(one), "rw-p");
  assert.equal(pageTable(one, 1).anonymous, 1);
});

test("MAP_SHARED_VALIDATE shares as MAP_SHARED and refuses flags that are none", (t) => {
  const { path, fd } = makeFile(t, 1);
  const address = mapRaw(t, { flags: raw.MAP_SHARED_VALIDATE, fd });
  raw.view(address, 1)[0] = 9;
  assert.equal(readFileSync(path)[0], 9);
  assert.equal(permissionsAt(address), "rw-s");
  mapRaw(t, { flags: raw.MAP_SHARED | noFlag, fd });
  const map = () => mapRaw(t, { flags: raw.MAP_SHARED_VALIDATE | noFlag, fd });
  assert.throws(map, { code: "EOPNOTSUPP", syscall: "mmap" });
  const without = raw.MAP_SHARED_VALIDATE | raw.MAP_ANONYMOUS;
  assert.throws(() => mapRaw(t, { flags: without }), { code: "EINVAL", syscall: "mmap" });
});

test("a mapping is shared or private or droppable: without a type it is EINVAL", (t) => {
  for (const flags of [
    raw.MAP_ANONYMOUS,
    raw.MAP_ANONYMOUS | 4,
    raw.MAP_ANONYMOUS | raw.MAP_TYPE,
  ]) {
    assert.throws(() => mapRaw(t, { flags }), { code: "EINVAL", syscall: "mmap" });
  }
});

test("MAP_ANONYMOUS and MAP_ANON are one: zeros, and no file whatever the descriptor is", (t) => {
  assert.equal(raw.MAP_ANON, raw.MAP_ANONYMOUS);
  const { fd } = makeFile(t, 1);
  for (const flags of [raw.MAP_PRIVATE | raw.MAP_ANON, raw.MAP_SHARED | raw.MAP_ANON]) {
    for (const given of [-1, fd]) {
      const address = mapRaw(t, { flags, fd: given });
      assert.deepEqual(raw.view(address, pageSize), new Uint8Array(pageSize));
      assert.ok(!areaAt(address)?.name.includes("data.bin"));
    }
  }
  assert.throws(() => mapRaw(t, { flags: raw.MAP_PRIVATE }), { code: "EBADF", syscall: "mmap" });
});

test("MAP_32BIT: the mapping ends below 2^31, on x86-64", (t) => {
  if (raw.MAP_32BIT === undefined) {
    assert.notEqual(process.arch, "x64");
    assert.equal(raw.accepts("MAP_32BIT"), false);
    return t.skip("needs x86-64");
  }
  const length = 16 * 2 ** 20;
  const address = mapRaw(t, { length, flags: privateMemory | raw.MAP_32BIT });
  assert.ok(address + BigInt(length) <= 2n ** 31n, address.toString(16));
  const { fd } = makeFile(t, 1);
  const file = mapRaw(t, { flags: raw.MAP_SHARED | raw.MAP_32BIT, fd });
  assert.ok(file + page <= 2n ** 31n, file.toString(16));
  assert.equal(raw.view(file, 1)[0], 5);
  const whole = { length: 2 ** 31, flags: privateMemory | raw.MAP_32BIT | raw.MAP_NORESERVE };
  assert.throws(() => mapRaw(t, whole), { code: "ENOMEM", syscall: "mmap" });
});

test("MAP_ABOVE4G: the kernel chooses above 2^32; a free hint below is taken all the same", (t) => {
  if (raw.MAP_ABOVE4G === undefined) {
    assert.notEqual(process.arch, "x64");
    return t.skip("needs x86-64");
  }
  const low = mapRaw(t, { flags: privateMemory | (raw.MAP_32BIT ?? 0) });
  const flags = privateMemory | raw.MAP_ABOVE4G;
  assert.ok(mapRaw(t, { flags }) >= 2n ** 32n);
  assert.ok(mapRaw(t, { addr: low, flags }) >= 2n ** 32n, "the hint is used, the search begins");
  raw.munmap(low, pageSize);
  assert.equal(mapRaw(t, { addr: low, flags }), low);
});

test("MAP_DENYWRITE and MAP_EXECUTABLE change nothing", (t) => {
  const { path, fd } = makeFile(t, 1);
  const prot = raw.PROT_READ;
  const plain = looks(mapRaw(t, { flags: raw.MAP_PRIVATE, fd, prot }));
  for (const flag of [raw.MAP_DENYWRITE, raw.MAP_EXECUTABLE]) {
    const address = mapRaw(t, { flags: raw.MAP_PRIVATE | flag, fd, prot });
    assert.deepEqual(looks(address), plain);
    const other = openSync(path, "r+");
    writeSync(other, Buffer.from([flag & 0xff, 1]), 0, 2, 0);
    closeSync(other);
    assert.equal(raw.view(address, 2)[1], 1);
  }
});

test("MAP_FILE is 0 and changes nothing", (t) => {
  assert.equal(raw.MAP_FILE, 0);
  const { fd } = makeFile(t, 1);
  const address = mapRaw(t, { flags: raw.MAP_FILE | raw.MAP_SHARED, fd });
  assert.deepEqual(looks(address), looks(mapRaw(t, { flags: raw.MAP_SHARED, fd })));
  assert.equal(raw.view(address, 1)[0], 5);
});

test("MAP_FIXED: exactly there, in the place of what this door had mapped", (t) => {
  const { fd } = makeFile(t, 1);
  const base = mapRaw(t, { length: 3 * pageSize });
  raw.view(base, 3 * pageSize).fill(1);
  const address = base + page;
  const flags = raw.MAP_SHARED | raw.MAP_FIXED;
  assert.equal(mapRaw(t, { addr: address, flags, fd }), address);
  assert.equal(areaAt(address)?.start, address);
  assert.deepEqual([...raw.view(address - 1n, 2)], [1, 5]);
  assert.deepEqual([...raw.view(address + page - 1n, 2)], [5, 1]);
  const uneven = () => mapRaw(t, { addr: address + 1n, flags, fd });
  assert.throws(uneven, { code: "EINVAL", syscall: "mmap" });
});

test("MAP_FIXED over memory that others mapped is refused, and it stays as it was", (t) => {
  using foreign = mapAnonymous(pageSize);
  foreign.bytes.fill(3);
  const over = { addr: foreign.address, flags: privateMemory | raw.MAP_FIXED };
  assert.throws(() => mapRaw(t, over), { code: "ERR_MEMMAP_UNSAFE_FIXED" });
  assert.equal(foreign.bytes[0], 3);
});

test("without MAP_FIXED the address is a hint: taken when free, else passed over", (t) => {
  const free = freeAddress(pageSize);
  const one = mapRaw(t, { addr: free });
  assert.equal(one, free);
  raw.view(one, 1)[0] = 7;
  assert.notEqual(mapRaw(t, { addr: free }), free);
  assert.equal(raw.view(one, 1)[0], 7);
});

test("MAP_FIXED_NOREPLACE: exactly there when it is free, else EEXIST", (t) => {
  const free = freeAddress(pageSize);
  const flags = privateMemory | raw.MAP_FIXED_NOREPLACE;
  assert.equal(mapRaw(t, { addr: free, flags }), free);
  assert.equal(permissionsAt(free), "rw-p");
  raw.view(free, 1)[0] = 7;
  const again = () => mapRaw(t, { addr: free, flags });
  assert.throws(again, { code: "EEXIST", syscall: "mmap" });
  assert.equal(raw.view(free, 1)[0], 7);
  using foreign = mapAnonymous(pageSize);
  const over = () => mapRaw(t, { addr: foreign.address, flags });
  assert.throws(over, { code: "EEXIST", syscall: "mmap" });
});

test("MAP_NORESERVE: the area is not accounted for", (t) => {
  const plain = flagsAt(mapRaw(t));
  const without = flagsAt(mapRaw(t, { flags: privateMemory | raw.MAP_NORESERVE }));
  assert.deepEqual([plain.includes("ac"), plain.includes("nr")], [true, false]);
  assert.deepEqual([without.includes("ac"), without.includes("nr")], [false, true]);
});

test("MAP_STACK: without huge pages since Linux 6.7, else no difference", (t) => {
  const plain = flagsAt(mapRaw(t));
  const stack = flagsAt(mapRaw(t, { flags: privateMemory | raw.MAP_STACK }));
  if (needs({ kernel: "6.7" }).skip === false) assert.deepEqual(stack, [...plain, "nh"]);
  else assert.deepEqual(stack, plain);
});

test("MAP_SYNC: EOPNOTSUPP from a file that is not on persistent memory", (t) => {
  const { fd } = makeFile(t, 1);
  const flags = raw.MAP_SHARED_VALIDATE | raw.MAP_SYNC;
  assert.throws(() => mapRaw(t, { flags, fd }), { code: "EOPNOTSUPP", syscall: "mmap" });
  const memory = memoryFile(t, pageSize);
  assert.throws(() => mapRaw(t, { flags, fd: memory }), { code: "EOPNOTSUPP", syscall: "mmap" });
});

test("MAP_SYNC is ignored by anonymous memory", (t) => {
  const address = mapRaw(t, { flags: privateMemory | raw.MAP_SYNC });
  raw.view(address, 1)[0] = 1;
  assert.equal(permissionsAt(address), "rw-p");
});

test("MAP_UNINITIALIZED is ignored: the memory is zeros", (t) => {
  const length = 64 * pageSize;
  const used = raw.mmap(null, length, readWrite, privateMemory | raw.MAP_POPULATE, -1, 0);
  raw.view(used, length).fill(0xaa);
  raw.munmap(used, length);
  const address = mapRaw(t, { length, flags: privateMemory | raw.MAP_UNINITIALIZED });
  assert.deepEqual(flagsAt(address), flagsAt(mapRaw(t)));
  assert.ok(raw.view(address, length).every((byte) => byte === 0));
});
