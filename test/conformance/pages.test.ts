// What can be asked of pages: to be given back, thrown away, protected, advised. For each of the
// four kinds, by what is in the memory afterwards and what /proc/self/smaps says.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { type Advice, Mapping, mapAnonymous, mapFileSync, pageSize } from "memmap";
import {
  areasOf,
  descriptorsNamed,
  flagsAt,
  pageTable,
  permissionsAt,
} from "../helpers/proc-self.js";
import { type Cleanup, tempDir } from "../helpers/temp.js";

const pageCount = 8;
const byteLength = pageCount * pageSize;

function makeFile(t: Cleanup): string {
  const path = join(tempDir(t), "data.bin");
  writeFileSync(path, Buffer.alloc(byteLength, 5));
  return path;
}

/** One writable mapping of each kind; the files hold fives. */
function makeKinds(t: Cleanup): Record<"fileShared" | "filePrivate" | "shared" | "own", Mapping> {
  const protection = "read-write";
  const kinds = {
    fileShared: mapFileSync(makeFile(t), { protection }),
    filePrivate: mapFileSync(makeFile(t), { protection, sharing: "private" }),
    shared: mapAnonymous(byteLength, { sharing: "shared", name: "pages-shared" }),
    own: mapAnonymous(byteLength),
  } as const;
  t.after(() => {
    for (const mapping of Object.values(kinds)) mapping.close();
  });
  return kinds;
}

function isFilled(bytes: Uint8Array, value: number): boolean {
  return bytes.length > 0 && bytes.every((byte) => byte === value);
}

test("evict keeps the content of all four kinds", (t) => {
  for (const mapping of Object.values(makeKinds(t))) {
    mapping.bytes.fill(7);
    mapping.evict();
    assert.ok(isFilled(mapping.bytes, 7));
    mapping.evict({ offset: pageSize + 1, length: 1 });
    assert.ok(isFilled(mapping.bytes, 7));
  }
});

test("evict takes the pages of shared mappings out of this process", (t) => {
  const { fileShared, shared } = makeKinds(t);
  for (const mapping of [fileShared, shared]) {
    mapping.bytes.fill(7);
    assert.equal(pageTable(mapping.address, pageCount).present, pageCount);
    mapping.evict();
    assert.equal(pageTable(mapping.address, pageCount).present, 0);
    assert.ok(isFilled(mapping.bytes, 7));
  }
});

test("evict of one mapping leaves the pages of another mapping of the file where they are", (t) => {
  const path = makeFile(t);
  using one = mapFileSync(path);
  using two = mapFileSync(path);
  one.loadSync();
  two.loadSync();
  one.evict();
  assert.equal(pageTable(one.address, pageCount).present, 0);
  assert.equal(pageTable(two.address, pageCount).present, pageCount);
});

test("discard of private anonymous memory leaves zeros and gives the pages back", (t) => {
  const { own } = makeKinds(t);
  own.bytes.fill(7);
  assert.equal(own.discard(), byteLength);
  assert.equal(pageTable(own.address, pageCount).present, 0);
  assert.ok(isFilled(own.bytes, 0));
});

test("discard of a private file mapping shows the file again", (t) => {
  const { filePrivate } = makeKinds(t);
  filePrivate.bytes.fill(7);
  assert.equal(filePrivate.discard(), byteLength);
  assert.equal(pageTable(filePrivate.address, pageCount).anonymous, 0);
  assert.ok(isFilled(filePrivate.bytes, 5));
});

test("discard of a shared file mapping loses nothing: the file keeps what was written", (t) => {
  const path = makeFile(t);
  using mapping = mapFileSync(path, { protection: "read-write" });
  mapping.bytes.fill(7);
  assert.equal(mapping.discard(), byteLength);
  assert.equal(pageTable(mapping.address, pageCount).present, 0);
  assert.ok(isFilled(mapping.bytes, 7));
  assert.ok(isFilled(readFileSync(path), 7));
});

test("discard of shared anonymous memory leaves zeros for everybody who maps it", (t) => {
  const { shared } = makeKinds(t);
  const [fd] = descriptorsNamed("memmap:pages-shared");
  using other = mapFileSync(`/proc/self/fd/${fd}`);
  shared.bytes.fill(7);
  assert.ok(isFilled(other.bytes, 7));
  assert.equal(shared.discard({ offset: pageSize, length: pageSize }), pageSize);
  for (const bytes of [shared.bytes, other.bytes]) {
    assert.ok(isFilled(bytes.subarray(pageSize, 2 * pageSize), 0));
    assert.ok(isFilled(bytes.subarray(0, pageSize), 7));
    assert.ok(isFilled(bytes.subarray(2 * pageSize), 7));
  }
  shared.protect("read");
  assert.throws(() => shared.discard(), { code: "ERR_MEMMAP_READ_ONLY" });
  assert.ok(isFilled(other.bytes.subarray(0, pageSize), 7));
});

test("discard takes whole pages inside its range and loses no byte outside", () => {
  using mapping = mapAnonymous(byteLength);
  for (const [offset, length, dropped] of [
    [0, pageSize, 1],
    [1, pageSize, 0],
    [1, 2 * pageSize, 1],
    [0, pageSize - 1, 0],
    [pageSize - 1, pageSize + 2, 1],
    [5, byteLength - 5, pageCount - 1],
    [byteLength, 0, 0],
  ] as const) {
    mapping.bytes.fill(7);
    assert.equal(mapping.discard({ offset, length }), dropped * pageSize);
    const first = Math.ceil(offset / pageSize) * pageSize;
    const expected = Buffer.alloc(byteLength, 7).fill(0, first, first + dropped * pageSize);
    assert.ok(expected.equals(mapping.bytes), `${offset}+${length}`);
  }
});

test("protect acts on the pages that its range touches, and protection is mixed then", () => {
  using mapping = mapAnonymous(4 * pageSize);
  mapping.protect("read", { offset: pageSize + 1, length: 1 });
  const at = (page: number) => permissionsAt(mapping.address + BigInt(page * pageSize));
  assert.deepEqual([at(0), at(1), at(2), at(3)], ["rw-p", "r--p", "rw-p", "rw-p"]);
  assert.equal(mapping.protection, "mixed");
  mapping.protect("none", { offset: 2 * pageSize - 1, length: 2 });
  assert.deepEqual([at(0), at(1), at(2), at(3)], ["rw-p", "---p", "---p", "rw-p"]);
  mapping.protect("read-execute");
  assert.deepEqual([at(0), at(1), at(2), at(3)], new Array(4).fill("r-xp"));
  assert.equal(mapping.protection, "read-execute");
  mapping.protect("read", { offset: 2 * pageSize, length: 0 });
  assert.equal(mapping.protection, "read-execute");
});

test("ranges of an unaligned mapping are counted from its own first byte", (t) => {
  using mapping = mapFileSync(makeFile(t), { offset: 100, sharing: "private" });
  const at = (offset: number) => permissionsAt(mapping.address + BigInt(offset));
  mapping.protect("none", { offset: pageSize - 100, length: 1 });
  assert.deepEqual([at(0), at(pageSize - 101), at(pageSize - 100)], ["r--p", "r--p", "---p"]);
  assert.deepEqual([at(2 * pageSize - 101), at(2 * pageSize - 100)], ["---p", "r--p"]);
  assert.throws(() => mapping.read(0, pageSize), { byteOffset: pageSize - 100 });
  mapping.protect("read-write");
  mapping.bytes.fill(7);
  assert.equal(mapping.discard({ offset: 0, length: 2 * pageSize - 100 }), pageSize);
  assert.ok(isFilled(mapping.bytes.subarray(0, pageSize - 100), 7));
  assert.ok(isFilled(mapping.bytes.subarray(pageSize - 100, 2 * pageSize - 100), 5));
  assert.ok(isFilled(mapping.bytes.subarray(2 * pageSize - 100), 7));
});

test("write is refused where any page of its range is protected, and writes nothing then", () => {
  using mapping = mapAnonymous(4 * pageSize);
  mapping.protect("read", { offset: 2 * pageSize });
  const bytes = new Uint8Array(2 * pageSize).fill(1);
  assert.throws(() => mapping.write(pageSize, bytes), { code: "ERR_MEMMAP_READ_ONLY" });
  assert.ok(isFilled(mapping.bytes, 0));
  mapping.write(0, bytes);
  assert.ok(isFilled(mapping.bytes.subarray(0, 2 * pageSize), 1));
});

test("a read over a page without permission is a fault at its first byte", () => {
  using mapping = mapAnonymous(4 * pageSize);
  mapping.protect("none", { offset: 2 * pageSize, length: pageSize });
  const expected = { name: "FaultError", reason: "protected", byteOffset: 2 * pageSize };
  assert.throws(() => mapping.read(0, 4 * pageSize), { ...expected, access: "read" });
  assert.throws(() => mapping.loadSync(), expected);
  assert.equal(mapping.read(3 * pageSize, pageSize).length, pageSize);
});

test("a shared mapping of a file that was opened for reading cannot be made writable", (t) => {
  using mapping = mapFileSync(makeFile(t));
  const expected = { name: "SystemError", code: "EACCES", syscall: "mprotect" };
  assert.throws(() => mapping.protect("read-write"), expected);
  assert.deepEqual([mapping.protection, permissionsAt(mapping.address)], ["read", "r--s"]);
  using own = mapFileSync(makeFile(t), { sharing: "private" });
  own.protect("read-write");
  assert.equal(permissionsAt(own.address), "rw-p");
});

/** The flag that an advice leaves on the area, and the one that it takes away. */
const marks: readonly (readonly [Advice, string, boolean])[] = [
  ["random", "rr", true],
  ["sequential", "sr", true],
  ["sequential", "rr", false],
  ["normal", "sr", false],
  ["dont-fork", "dc", true],
  ["do-fork", "dc", false],
  ["wipe-on-fork", "wf", true],
  ["keep-on-fork", "wf", false],
  ["dont-dump", "dd", true],
  ["do-dump", "dd", false],
  ["huge-page", "hg", true],
  ["no-huge-page", "nh", true],
  ["mergeable", "mg", true],
  ["unmergeable", "mg", false],
];

test("each advice of the manual reaches the area it is given for", () => {
  using mapping = mapAnonymous(byteLength);
  const supported = Mapping.supportedAdvice();
  for (const [advice, flag, set] of marks) {
    if (!supported.has(advice)) continue;
    mapping.advise(advice);
    assert.equal(flagsAt(mapping.address).includes(flag), set, advice);
  }
  mapping.advise("dont-dump", { offset: pageSize + 1, length: 1 });
  assert.ok(flagsAt(mapping.address + BigInt(pageSize)).includes("dd"));
  assert.ok(!flagsAt(mapping.address).includes("dd"));
  assert.ok(!flagsAt(mapping.address + BigInt(2 * pageSize)).includes("dd"));
});

test("advice that brings pages in or sends them away keeps the content", (t) => {
  const supported = Mapping.supportedAdvice();
  for (const mapping of Object.values(makeKinds(t))) {
    for (const advice of ["populate-read", "will-need", "cold", "page-out"] as const) {
      if (!supported.has(advice)) continue;
      mapping.bytes.fill(7);
      mapping.advise(advice);
      assert.ok(isFilled(mapping.bytes, 7), advice);
    }
  }
  using fresh = mapAnonymous(byteLength);
  fresh.advise("populate-write");
  assert.equal(pageTable(fresh.address, pageCount).present, pageCount);
});

test("the supported advice is what the running kernel takes, and the rest is its EINVAL", () => {
  const supported = Mapping.supportedAdvice();
  for (const advice of ["normal", "random", "sequential", "will-need"] as const) {
    assert.ok(supported.has(advice));
  }
  using mapping = mapAnonymous(byteLength);
  const expected = { name: "SystemError", code: "EINVAL", syscall: "madvise" };
  for (const advice of ["mergeable", "collapse", "populate-write", "cold"] as const) {
    if (supported.has(advice)) continue;
    assert.throws(() => mapping.advise(advice), expected, advice);
  }
});

test("load brings the pages in before they are touched", async () => {
  using now = mapAnonymous(byteLength, { sharing: "shared" });
  now.loadSync({ length: byteLength / 2 });
  assert.equal(pageTable(now.address, pageCount).present, pageCount / 2);
  using later = mapAnonymous(byteLength, { sharing: "shared" });
  await later.load({ offset: pageSize, length: 1 });
  assert.equal(pageTable(later.address, pageCount).present, 1);
});

test("neighbouring pages of one protection are one area again", () => {
  using mapping = mapAnonymous(4 * pageSize, { reserve: false });
  const end = mapping.address + BigInt(4 * pageSize);
  const parts = () =>
    areasOf().filter((area) => area.start < end && area.end > mapping.address).length;
  assert.equal(parts(), 1);
  mapping.protect("none", { offset: pageSize, length: pageSize });
  assert.equal(parts(), 3);
  mapping.protect("read-write", { offset: pageSize, length: pageSize });
  assert.equal(parts(), 1);
});
