// What a mapping can be made from, and what becomes of it when the file or the descriptor changes.

import assert from "node:assert/strict";
import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { pathToFileURL } from "node:url";
import { type Mapping, mapAnonymous, mapFile, mapFileSync, pageSize } from "memmap";
import { descriptorsNamed, holdings, permissionsAt } from "../helpers/proc-self.js";
import { type Cleanup, tempDir } from "../helpers/temp.js";

function makeFile(t: Cleanup, byteLength: number): string {
  const path = join(tempDir(t), "data.bin");
  writeFileSync(path, Buffer.alloc(byteLength, 5));
  return path;
}

test("a file is named by a path, a URL, a Buffer, a descriptor or a FileHandle", async (t) => {
  const path = makeFile(t, 10);
  const fd = openSync(path, "r");
  const handle = await open(path, "r");
  const sources = [path, pathToFileURL(path), Buffer.from(path), fd, handle, { fd }];
  for (const source of sources) {
    using now = mapFileSync(source);
    using later = await mapFile(source);
    assert.deepEqual([...now.bytes, ...later.bytes], new Array(20).fill(5));
  }
  closeSync(fd);
  await handle.close();
});

test("closing the descriptor does not unmap", (t) => {
  const path = makeFile(t, pageSize);
  const fd = openSync(path, "r");
  using mapping = mapFileSync(fd);
  closeSync(fd);
  assert.equal(mapping.bytes[100], 5);
  assert.equal(permissionsAt(mapping.address), "r--s");
});

test("a mapping holds no descriptor; shared memory and grow hold one until close", (t) => {
  const path = makeFile(t, pageSize);
  const before = holdings().descriptors;
  const plain = [mapFileSync(path), mapFileSync(path, { protection: "read-write" })];
  plain.push(mapFileSync(path, { sharing: "private" }), mapAnonymous(pageSize));
  assert.equal(holdings().descriptors, before);
  const memory = mapAnonymous(pageSize, { sharing: "shared" });
  const growing = mapFileSync(path, { grow: true });
  assert.equal(holdings().descriptors, before + 2);
  for (const mapping of [...plain, memory, growing]) mapping.close();
  assert.equal(holdings().descriptors, before);
});

test("a mapping outlives its file's name: renaming and removing do not disturb it", (t) => {
  const path = makeFile(t, pageSize);
  using mapping = mapFileSync(path);
  renameSync(path, `${path}.new`);
  assert.equal(mapping.bytes[0], 5);
  unlinkSync(`${path}.new`);
  assert.deepEqual([...mapping.read(10, 2)], [5, 5]);
  assert.equal(mapping.path, path);
});

test("/dev/zero maps as zeros: private is memory of its own, shared too", () => {
  for (const sharing of ["private", "shared"] as const) {
    using mapping = mapFileSync("/dev/zero", {
      length: 2 * pageSize + 5,
      sharing,
      protection: "read-write",
    });
    assert.deepEqual([mapping.backing, mapping.sharing], ["device", sharing]);
    assert.equal(mapping.bytes.length, 2 * pageSize + 5);
    assert.ok(mapping.bytes.every((byte) => byte === 0));
    mapping.bytes.fill(3);
    using other = mapFileSync("/dev/zero", { length: pageSize, sharing });
    assert.ok(other.bytes.every((byte) => byte === 0));
    assert.equal(permissionsAt(mapping.address), sharing === "shared" ? "rw-s" : "rw-p");
  }
});

test("a device without a length is a mistake of the caller", async () => {
  const expected = { name: "TypeError", code: "ERR_INVALID_ARG_VALUE", message: /"length"/ };
  assert.throws(() => mapFileSync("/dev/zero"), expected);
  await assert.rejects(mapFile("/dev/zero"), expected);
});

test("a file of size 0 that the kernel cannot map is its error and no empty mapping", async () => {
  for (const path of ["/proc/self/status", "/proc/version"]) {
    assert.equal(statSync(path).size, 0);
    const expected = { name: "SystemError", syscall: "mmap", path };
    assert.throws(() => mapFileSync(path), expected);
    await assert.rejects(mapFile(path), expected);
  }
});

test("create makes a file, and grow gives it its length with space for every byte", (t) => {
  const path = join(tempDir(t), "new.bin");
  using mapping = mapFileSync(path, { create: true, grow: true, length: 1_000_001, mode: 0o600 });
  const { size, blocks, mode } = statSync(path);
  assert.equal(size, 1_000_001);
  assert.ok(blocks * 512 >= size, `${blocks} blocks`);
  assert.equal(mode & 0o777, 0o600);
  assert.equal(mapping.protection, "read-write");
  mapping.bytes[1_000_000] = 9;
  assert.equal(readFileSync(path)[1_000_000], 9);
});

test("grow fills the holes of its range and never shortens a file", (t) => {
  const path = makeFile(t, 10);
  truncateSync(path, 2 ** 20);
  assert.ok(statSync(path).blocks * 512 < 2 ** 20);
  using part = mapFileSync(path, { grow: true, offset: 2 ** 18, length: 2 ** 18 });
  const { size, blocks } = statSync(path);
  assert.equal(size, 2 ** 20);
  assert.ok(blocks * 512 >= 2 ** 18, `${blocks} blocks`);
  assert.equal(part.byteLength, 2 ** 18);
});

test("create opens an existing file unchanged, and exclusive refuses it", async (t) => {
  const path = makeFile(t, 10);
  using mapping = mapFileSync(path, { create: true });
  assert.deepEqual([...mapping.bytes], new Array(10).fill(5));
  const refusal = { name: "SystemError", code: "EEXIST", path };
  assert.throws(() => mapFileSync(path, { create: true, exclusive: true }), refusal);
  await assert.rejects(mapFile(path, { create: true, exclusive: true }), refusal);
});

test("a range past the end of the file is refused before anything is mapped", async (t) => {
  const path = makeFile(t, 100);
  const before = holdings().descriptors;
  const expected = { name: "RangeError", code: "ERR_OUT_OF_RANGE", message: /100 bytes long/ };
  assert.throws(() => mapFileSync(path, { length: 101 }), { ...expected, message: /grow/ });
  assert.throws(() => mapFileSync(path, { offset: 101 }), expected);
  assert.throws(() => mapFileSync(path, { offset: 99, length: 2 }), expected);
  await assert.rejects(mapFile(path, { offset: 1, length: 100 }), expected);
  assert.equal(statSync(path).size, 100);
  assert.equal(holdings().descriptors, before);
});

/** What read, write and load say of the pages that a truncation took away. */
async function checkTruncated(mapping: Mapping, lost: number): Promise<void> {
  const fault = { name: "FaultError", code: "ERR_MEMMAP_FAULT", reason: "truncated" };
  const place = { byteOffset: lost, address: mapping.address + BigInt(lost) };
  assert.throws(() => mapping.read(lost - 5, 10), { ...fault, ...place, access: "read" });
  assert.throws(() => mapping.readInto(new Uint8Array(1), lost), { ...fault, access: "read" });
  const bytes = new Uint8Array(10).fill(1);
  assert.throws(() => mapping.write(lost - 5, bytes), { ...fault, ...place, access: "write" });
  assert.throws(() => mapping.loadSync(), { ...fault, ...place });
  await assert.rejects(mapping.load(), { ...fault, ...place });
  assert.equal(mapping.read(0, lost).length, lost);
}

test("read, write and load of a truncated file are a FaultError at the lost byte", async (t) => {
  const path = makeFile(t, 4 * pageSize);
  using mapping = mapFileSync(path, { protection: "read-write" });
  truncateSync(path, 2 * pageSize);
  await checkTruncated(mapping, 2 * pageSize);
  assert.ok(
    readFileSync(path).every((byte) => byte === 5),
    "a failed write wrote nothing",
  );
});

test("the lost byte of a truncated file is counted from an unaligned beginning", async (t) => {
  const path = makeFile(t, 4 * pageSize);
  using mapping = mapFileSync(path, { protection: "read-write", offset: 100 });
  truncateSync(path, 2 * pageSize);
  await checkTruncated(mapping, 2 * pageSize - 100);
});

test("a truncation is told as such for a mapping that was made from a descriptor", async (t) => {
  const path = makeFile(t, 4 * pageSize);
  const fd = openSync(path, "r+");
  using mapping = mapFileSync(fd, { protection: "read-write" });
  closeSync(fd);
  truncateSync(path, 2 * pageSize);
  await checkTruncated(mapping, 2 * pageSize);
});

test("a truncation is told as such for a file whose name is gone", async (t) => {
  const path = makeFile(t, 4 * pageSize);
  const fd = openSync(path, "r+");
  using mapping = mapFileSync(path, { protection: "read-write" });
  unlinkSync(path);
  truncateSync(`/proc/self/fd/${fd}`, 2 * pageSize);
  closeSync(fd);
  await checkTruncated(mapping, 2 * pageSize);
});

test("pages of a truncated file come back when the file grows again", (t) => {
  const path = makeFile(t, 4 * pageSize);
  using mapping = mapFileSync(path);
  truncateSync(path, pageSize);
  assert.throws(() => mapping.read(pageSize, 1), { reason: "truncated" });
  truncateSync(path, 4 * pageSize);
  assert.deepEqual([...mapping.read(pageSize, 2)], [0, 0]);
});

test("a folder is no file that can be mapped", async (t) => {
  const path = join(tempDir(t), "folder");
  mkdirSync(path);
  const before = descriptorsNamed(path).length;
  const expected = { name: "SystemError", code: "ENODEV", syscall: "mmap", path };
  assert.throws(() => mapFileSync(path), expected);
  await assert.rejects(mapFile(path), expected);
  assert.equal(descriptorsNamed(path).length, before);
});
