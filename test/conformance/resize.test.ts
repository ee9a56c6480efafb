// mremap(2) through resize(): the content is kept for each kind, old views end, and the old
// addresses belong to nobody else while a view may still reach them.

import assert from "node:assert/strict";
import { appendFileSync, readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { type Mapping, mapAnonymous, mapFileSync, pageSize } from "memmap";
import { areaAt, areasNamed, flagsAt, permissionsAt } from "../helpers/proc-self.js";
import { type Cleanup, tempDir } from "../helpers/temp.js";

function makeFile(t: Cleanup, byteLength: number): string {
  const path = join(tempDir(t), "data.bin");
  writeFileSync(path, Buffer.alloc(byteLength, 5));
  return path;
}

function isFilled(bytes: Uint8Array, value: number): boolean {
  return bytes.every((byte) => byte === value);
}

/** Shrinks and grows anonymous memory and looks at every byte that must be kept or zero. */
function checkAnonymous(mapping: Mapping): void {
  mapping.bytes.fill(7);
  for (const [from, to] of [
    [100, 50],
    [50, 3 * pageSize],
    [3 * pageSize, 9 * pageSize + 1],
    [9 * pageSize + 1, 2 * pageSize - 1],
    [2 * pageSize - 1, 2 * pageSize],
    [2 * pageSize, 0],
    [0, pageSize],
  ] as const) {
    assert.equal(mapping.byteLength, from);
    mapping.resize(to);
    assert.equal(mapping.bytes.length, to);
    assert.ok(isFilled(mapping.bytes.subarray(0, Math.min(from, to)), 7), `${from} to ${to}: kept`);
    assert.ok(isFilled(mapping.bytes.subarray(from), 0), `${from} to ${to}: new bytes`);
    mapping.bytes.fill(7);
  }
}

test("resize of private anonymous memory keeps the content and adds zeros", () => {
  using mapping = mapAnonymous(100);
  checkAnonymous(mapping);
});

test("resize of shared anonymous memory keeps the content and adds zeros", () => {
  using mapping = mapAnonymous(100, { sharing: "shared" });
  checkAnonymous(mapping);
});

test("anonymous memory that was cut off comes back as zeros whatever its protection was", () => {
  for (const sharing of ["private", "shared"] as const) {
    using mapping = mapAnonymous(2 * pageSize, { sharing });
    mapping.bytes.fill(7);
    mapping.protect("read");
    mapping.resize(10);
    mapping.resize(2 * pageSize);
    assert.ok(isFilled(mapping.bytes.subarray(0, 10), 7));
    assert.ok(isFilled(mapping.bytes.subarray(10), 0), sharing);
  }
});

test("a private file mapping that is resized keeps its private writes", (t) => {
  const path = makeFile(t, 4 * pageSize);
  const options = { sharing: "private", protection: "read-write", length: pageSize } as const;
  using mapping = mapFileSync(path, options);
  mapping.bytes.fill(7);
  mapping.resize(4 * pageSize);
  assert.ok(isFilled(mapping.bytes.subarray(0, pageSize), 7));
  assert.ok(isFilled(mapping.bytes.subarray(pageSize), 5));
  mapping.resize(10);
  assert.ok(isFilled(mapping.bytes, 7));
  assert.ok(isFilled(readFileSync(path), 5));
});

test("a shared file mapping that is resized shows the file, up to its end", (t) => {
  const path = makeFile(t, 4 * pageSize);
  using mapping = mapFileSync(path, { protection: "read-write", offset: 100, length: 10 });
  mapping.bytes.fill(7);
  mapping.resize(4 * pageSize - 100);
  assert.ok(isFilled(mapping.bytes.subarray(0, 10), 7));
  assert.ok(isFilled(mapping.bytes.subarray(10), 5));
  const expected = { name: "RangeError", code: "ERR_OUT_OF_RANGE", message: /grow/ };
  assert.throws(() => mapping.resize(4 * pageSize - 99), expected);
  assert.equal(mapping.bytes.length, 4 * pageSize - 100);
  appendFileSync(path, Buffer.alloc(100, 6));
  mapping.resize(4 * pageSize);
  assert.ok(isFilled(mapping.bytes.subarray(-100), 6));
});

test("resize never shortens a file, and lengthens it only with grow, for real", (t) => {
  const path = makeFile(t, 10);
  using mapping = mapFileSync(path, { grow: true });
  mapping.resize(2 ** 20);
  const { size, blocks } = statSync(path);
  assert.equal(size, 2 ** 20);
  assert.ok(blocks * 512 >= 2 ** 20, `${blocks} blocks`);
  assert.ok(isFilled(mapping.bytes.subarray(0, 10), 5));
  assert.ok(isFilled(mapping.bytes.subarray(10), 0));
  mapping.bytes.fill(9);
  mapping.resize(5);
  assert.equal(statSync(path).size, 2 ** 20);
  assert.ok(isFilled(readFileSync(path), 9));
});

test("resize past the end of a file that others shortened makes it long again with grow", (t) => {
  const path = makeFile(t, 4 * pageSize);
  using mapping = mapFileSync(path, { grow: true });
  truncateSync(path, 10);
  mapping.resize(6 * pageSize);
  assert.ok(statSync(path).size >= 6 * pageSize);
  assert.deepEqual([...mapping.read(6 * pageSize - 2, 2)], [0, 0]);
});

test("old views have length 0 after a resize, and bytes, buffer and address are new", (t) => {
  for (const mapping of [
    mapAnonymous(pageSize),
    mapAnonymous(pageSize, { sharing: "shared" }),
    mapFileSync(makeFile(t, 2 * pageSize), { length: 10 }),
    mapFileSync(makeFile(t, 2 * pageSize), { length: 10, sharing: "private" }),
  ]) {
    const { bytes, buffer } = mapping;
    const part = bytes.subarray(1, 5);
    mapping.resize(2 * pageSize);
    assert.deepEqual([bytes.length, part.length, buffer.byteLength], [0, 0, 0]);
    assert.notEqual(mapping.buffer, buffer);
    assert.equal(mapping.bytes.length, 2 * pageSize);
    mapping.close();
  }
});

test("the old addresses stay reserved after a resize: no other mapping is put there", (t) => {
  const path = makeFile(t, 4 * pageSize);
  for (const mapping of [
    mapAnonymous(2 * pageSize),
    mapAnonymous(2 * pageSize, { sharing: "shared" }),
    mapFileSync(path, { length: 2 * pageSize }),
    mapFileSync(path, { length: 2 * pageSize, sharing: "private" }),
  ]) {
    const { address } = mapping;
    assert.equal(mapping.bytes.length, 2 * pageSize);
    mapping.resize(4 * pageSize);
    assert.notEqual(mapping.address, address);
    for (const at of [address, address + BigInt(pageSize)]) {
      const area = areaAt(at);
      assert.deepEqual([area?.permissions.at(-1), area?.inode], ["p", 0n]);
    }
    using other = mapFileSync(path, { at: address });
    assert.notEqual(other.address, address);
    mapping.close();
  }
});

test("the area has the new length at once, and one area stands for the mapping", () => {
  using mapping = mapAnonymous(pageSize, { sharing: "shared", name: "resize-area" });
  for (const pageCount of [5, 2, 7]) {
    mapping.resize(pageCount * pageSize);
    const [area, second] = areasNamed("memmap:resize-area");
    assert.equal((area?.end ?? 0n) - (area?.start ?? 0n), BigInt(pageCount * pageSize));
    assert.equal(second, undefined);
  }
});

test("protections of parts are kept by a resize, and new pages are like the last one", () => {
  for (const sharing of ["private", "shared"] as const) {
    using mapping = mapAnonymous(3 * pageSize, { sharing });
    mapping.protect("none", { offset: pageSize, length: pageSize });
    mapping.protect("read", { offset: 2 * pageSize });
    mapping.resize(5 * pageSize);
    const found = [0, 1, 2, 3, 4].map((page) =>
      permissionsAt(mapping.address + BigInt(page * pageSize)).slice(0, 3),
    );
    assert.deepEqual(found, ["rw-", "---", "r--", "r--", "r--"], sharing);
    assert.equal(mapping.protection, "mixed");
    mapping.resize(10);
    assert.equal(mapping.protection, "read-write");
  }
});

test("advice goes along with private memory that is resized", () => {
  using mapping = mapAnonymous(2 * pageSize);
  mapping.advise("dont-dump");
  mapping.resize(4 * pageSize);
  assert.ok(flagsAt(mapping.address).includes("dd"));
});

test("the same length changes nothing: views, buffer and address stay", () => {
  using mapping = mapAnonymous(pageSize + 1);
  const { bytes, address } = mapping;
  mapping.resize(pageSize + 1);
  assert.equal(mapping.bytes, bytes);
  assert.deepEqual([bytes.length, mapping.address], [pageSize + 1, address]);
});

test("a device keeps its length when it is asked to grow, and may shrink", () => {
  using mapping = mapFileSync("/dev/zero", { length: 2 * pageSize, sharing: "private" });
  assert.throws(() => mapping.resize(4 * pageSize), { code: "ERR_OUT_OF_RANGE" });
  mapping.resize(10);
  assert.equal(mapping.bytes.length, 10);
});
