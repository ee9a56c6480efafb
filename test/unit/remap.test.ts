// src/remap.ts: repaired pages follow their file again, or are empty memory again; the pages around
// them, and the descriptors, stay as they are.

import assert from "node:assert/strict";
import { closeSync, openSync, renameSync, truncateSync, unlinkSync, writeFileSync } from "node:fs";
import test from "node:test";
import {
  FaultError,
  type Mapping,
  MemmapError,
  mapAnonymous,
  mapFileSync,
  pageSize,
  SystemError,
} from "memmap";
import { native } from "#dist/native.js";
import { descriptorsNamed, permissionsAt } from "../helpers/proc-self.js";
import type { Cleanup } from "../helpers/temp.js";
import { hasCode, pattern, patternFile } from "./support.js";

const collect = { faults: "collect" } as const;
const unsupported = hasCode(MemmapError, "ERR_MEMMAP_UNSUPPORTED", /^Cannot remap /);

/** Demands that the faults so far were `count`, and collects them. */
function assertFaults(mapping: Mapping, count: number): void {
  assert.throws(
    () => mapping.check(),
    (error) => error instanceof FaultError && error.count === count,
  );
}

/** Cuts a file to a page, touches what is gone of a mapping, and restores the file. */
function loseAndRestore(path: string, mapping: Mapping, pages: readonly number[]): void {
  const length = mapping.offset + mapping.byteLength;
  truncateSync(path, pageSize);
  const start = mapping.offset % pageSize;
  for (const page of pages) assert.equal(mapping.bytes[page * pageSize - start], 0);
  writeFileSync(path, pattern(length));
  assertFaults(mapping, pages.length);
}

for (const sharing of ["shared", "private"] as const) {
  test(`repaired pages of a ${sharing} file follow it again after remap()`, (t) => {
    const path = patternFile(t, 6 * pageSize);
    const mapping = mapFileSync(path, { ...collect, sharing, offset: 10 });
    t.after(() => mapping.close());
    loseAndRestore(path, mapping, [2, 3, 5]);
    assert.equal(mapping.bytes[2 * pageSize], 0);
    const expected = pattern(6 * pageSize).subarray(10);
    for (let i = 0; i < 2; i++) {
      assert.throws(() => mapping.read(0, mapping.byteLength), {
        code: "ERR_MEMMAP_FAULT",
        byteOffset: 2 * pageSize - 10,
      });
    }
    mapping.remap();
    assert.deepEqual(mapping.read(0, mapping.byteLength), expected.slice());
    assert.deepEqual(mapping.bytes, expected);
    writeFileSync(path, new Uint8Array(6 * pageSize).fill(9));
    if (sharing === "shared") assert.equal(mapping.bytes[3 * pageSize], 9);
    mapping.check();
    assert.deepEqual(descriptorsNamed(path), []);
  });
}

test("remap() of a range makes the pages it touches again, and no others", (t) => {
  const path = patternFile(t, 6 * pageSize);
  const mapping = mapFileSync(path, collect);
  t.after(() => mapping.close());
  loseAndRestore(path, mapping, [1, 2, 3, 4]);
  mapping.remap({ offset: 3 * pageSize - 1, length: 2 });
  const reads = [1, 2, 3, 4].map((page) => {
    try {
      return mapping.read(page * pageSize + 9, 1)[0];
    } catch (error) {
      return error instanceof FaultError ? error.byteOffset - page * pageSize : error;
    }
  });
  const expected = pattern(6 * pageSize);
  assert.deepEqual(reads, [9, expected[2 * pageSize + 9], expected[3 * pageSize + 9], 9]);
  mapping.remap({ offset: 0, length: 0 });
  assert.throws(() => mapping.read(pageSize, 1), FaultError);
});

test("remap() gives each page the protection that it should have", (t) => {
  const path = patternFile(t, 5 * pageSize);
  const mapping = mapFileSync(path, { ...collect, protection: "read-write" });
  t.after(() => mapping.close());
  loseAndRestore(path, mapping, [2, 3, 4]);
  mapping.protect("read", { offset: 3 * pageSize, length: 1 });
  mapping.protect("none", { offset: 4 * pageSize, length: 1 });
  mapping.remap();
  const letters = [1, 2, 3, 4].map((page) =>
    permissionsAt(mapping.address + BigInt(page * pageSize)),
  );
  assert.deepEqual(letters, ["rw-s", "rw-s", "r--s", "---s"]);
  mapping.write(2 * pageSize, Uint8Array.of(77));
  using other = mapFileSync(path);
  assert.equal(other.bytes[2 * pageSize], 77);
});

test("a forbidden write is dropped by remap() and never reaches the file", (t) => {
  const path = patternFile(t, 2 * pageSize);
  const mapping = mapFileSync(path, collect);
  t.after(() => mapping.close());
  mapping.bytes[3] = 250;
  assert.equal(mapping.bytes[3], 250);
  assert.equal(mapping.bytes[4], 4, "the page keeps the rest of its content");
  assertFaults(mapping, 1);
  using other = mapFileSync(path);
  assert.equal(other.bytes[3], 3);
  mapping.remap();
  assert.equal(mapping.bytes[3], 3);
  assert.deepEqual([...mapping.read(2, 3)], [2, 3, 4]);
});

test("remap() makes anonymous memory again, with the content it had, private or shared", (t) => {
  for (const sharing of ["private", "shared"] as const) {
    const mapping = mapAnonymous(3 * pageSize, { ...collect, sharing });
    t.after(() => mapping.close());
    mapping.bytes.fill(5);
    mapping.protect("none", { offset: pageSize, length: pageSize });
    assert.equal(mapping.bytes[pageSize], 0);
    mapping.bytes[pageSize] = 6;
    assert.equal(mapping.bytes[pageSize], 6);
    assertFaults(mapping, 2);
    mapping.protect("read-write");
    assert.throws(() => mapping.read(pageSize, 1), FaultError);
    mapping.remap();
    const expected = new Uint8Array(3 * pageSize).fill(5);
    assert.deepEqual(mapping.read(0, mapping.byteLength), expected);
  }
});

test("private changes stay, on the pages around and on the one that was forbidden", (t) => {
  const path = patternFile(t, 4 * pageSize);
  const options = { ...collect, sharing: "private", protection: "read-write" } as const;
  const mapping = mapFileSync(path, options);
  t.after(() => mapping.close());
  mapping.bytes[0] = 200;
  mapping.bytes[3 * pageSize] = 201;
  mapping.bytes[2 * pageSize] = 202;
  mapping.protect("none", { offset: 2 * pageSize, length: 1 });
  assert.equal(mapping.bytes[2 * pageSize], 0);
  assertFaults(mapping, 1);
  mapping.protect("read-write");
  mapping.remap();
  const { bytes } = mapping;
  assert.deepEqual([bytes[0], bytes[2 * pageSize], bytes[3 * pageSize]], [200, 202, 201]);
});

/** A private mapping of a file, with a page that was repaired. */
function repairedPrivate(t: Cleanup, source: string | number, path: string): Mapping {
  const mapping = mapFileSync(source, { ...collect, sharing: "private" });
  t.after(() => mapping.close());
  loseAndRestore(path, mapping, [1]);
  return mapping;
}

test("a private mapping is made again by its path alone, and never from another file", (t) => {
  const path = patternFile(t, 2 * pageSize);
  const fd = openSync(path, "r");
  t.after(() => closeSync(fd));
  assert.throws(() => repairedPrivate(t, fd, path).remap(), unsupported);
  const mapping = repairedPrivate(t, path, path);
  renameSync(path, `${path}-moved`);
  assert.throws(() => mapping.remap(), hasCode(SystemError, "ENOENT", /Cannot remap/));
  writeFileSync(path, new Uint8Array(2 * pageSize));
  assert.throws(() => mapping.remap(), unsupported);
  assert.deepEqual(
    descriptorsNamed(path).filter((found) => found !== fd),
    [],
  );
  assert.throws(() => mapping.read(pageSize, 1), FaultError);
  unlinkSync(path);
  renameSync(`${path}-moved`, path);
  mapping.remap();
  assert.deepEqual([...mapping.read(pageSize, 1)], [pageSize % 251]);
});

test("remap() of a mapping without repaired pages asks nothing of the file", (t) => {
  const path = patternFile(t, pageSize);
  const mapping = mapFileSync(path, { sharing: "private" });
  t.after(() => mapping.close());
  unlinkSync(path);
  mapping.remap();
  assert.equal(mapping.bytes[5], 5);
});

test("a file that is still too short is a fault again after remap()", (t) => {
  const path = patternFile(t, 2 * pageSize);
  const mapping = mapFileSync(path, collect);
  t.after(() => mapping.close());
  truncateSync(path, pageSize);
  for (let i = 0; i < 3; i++) {
    assert.equal(mapping.bytes[pageSize], 0);
    assertFaults(mapping, 1);
    mapping.remap();
  }
});

test("what the kernel refuses leaves the page repaired, and the next remap() makes it", (t) => {
  const path = patternFile(t, 3 * pageSize);
  for (const [sharing, syscall] of [
    ["shared", "mremap"],
    ["private", "mmap"],
  ] as const) {
    writeFileSync(path, pattern(3 * pageSize));
    const mapping = mapFileSync(path, { ...collect, sharing });
    t.after(() => mapping.close());
    loseAndRestore(path, mapping, [1, 2]);
    native().failCall(syscall, 1, 12);
    assert.throws(() => mapping.remap(), hasCode(SystemError, "ENOMEM", /Cannot remap/));
    assert.equal(mapping.bytes[pageSize], 0);
    assert.throws(() => mapping.read(pageSize, 1), FaultError);
    mapping.remap();
    assert.deepEqual(mapping.read(0, 3 * pageSize), pattern(3 * pageSize));
  }
  assert.deepEqual(descriptorsNamed(path), []);
});
