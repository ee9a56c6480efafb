// The edges of pages and of what the manual says: the last page of a file, holes, and what becomes
// of a mapping whose file changes. Where the manual leaves it open, the test tells what this kernel
// does, and docs/semantics.md says that it is not promised.

import assert from "node:assert/strict";
import {
  fstatSync,
  ftruncateSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import test from "node:test";
import { mapAnonymous, pageSize } from "memmap";
import * as raw from "memmap/raw";
import { areaAt, areasOf } from "../helpers/proc-self.js";
import type { Cleanup } from "../helpers/temp.js";
import {
  anonymous,
  faultOf,
  firstBytes,
  makeFile,
  map,
  mappedBytes,
  memoryFile,
  numbered,
  onExt4,
  onTmpfs,
  openUntilEnd,
  pages,
  pathOf,
  peek,
  retry,
  rw,
} from "./memory.js";

/* What a file holds in its last page. */
const tail = 100;

interface Partial {
  readonly path: string;
  readonly fd: number;
  readonly address: bigint;
}

/* A file of a page and a bit, mapped shared over three pages. */
function mapPartial(t: Cleanup, base?: string): Partial {
  const path = makeFile(t, Buffer.alloc(pageSize + tail, 7), base);
  const fd = openUntilEnd(t, path);
  return { path, fd, address: map(t, 3 * pageSize, { fd }) };
}

const unsafe = { code: "ERR_MEMMAP_UNSAFE_FIXED" };

// ==== The last page ==============================================================================

function checkTailIsZeros(t: Cleanup, base?: string): void {
  const { address } = mapPartial(t, base);
  const last = raw.view(address + pages(1), pageSize);
  assert.deepEqual(last.subarray(0, tail), new Uint8Array(tail).fill(7));
  assert.deepEqual(last.subarray(tail), new Uint8Array(pageSize - tail));
  raw.check(address, 3 * pageSize);
}

test(
  "a raw view of the whole last page reads zeros past the end of a file on ext4",
  onExt4,
  (t) => {
    checkTailIsZeros(t);
  },
);

test(
  "a raw view of the whole last page reads zeros past the end of a file on tmpfs",
  onTmpfs,
  (t) => {
    checkTailIsZeros(t, "/dev/shm");
  },
);

test("a raw view of the whole last page reads zeros past the end of a memory file", (t) => {
  const fd = memoryFile(t, 1);
  truncateSync(pathOf(fd), tail);
  const bytes = raw.view(map(t, pageSize, { fd }), pageSize);
  assert.deepEqual(bytes.subarray(0, tail), new Uint8Array(tail).fill(1));
  assert.deepEqual(bytes.subarray(tail), new Uint8Array(pageSize - tail));
});

test("a page wholly behind the end of a file is a reported fault, for reading and writing", (t) => {
  const { path, address } = mapPartial(t);
  const bytes = raw.view(address, 3 * pageSize);
  let seen = -1;
  const read = faultOf(address, 3 * pageSize, () => {
    seen = bytes[2 * pageSize] ?? -1;
  });
  assert.equal(seen, 0);
  assert.deepEqual([read.reason, read.byteOffset], ["truncated", 2 * pageSize]);
  const other = map(t, 3 * pageSize, { fd: openUntilEnd(t, path) });
  const written = faultOf(other, 3 * pageSize, () => {
    raw.view(other, 3 * pageSize)[2 * pageSize + 5] = 1;
  });
  assert.deepEqual([written.reason, written.byteOffset], ["truncated", 2 * pageSize + 5]);
  assert.equal(statSync(path).size, pageSize + tail);
});

function checkNotWritten(t: Cleanup, base?: string): void {
  const { path, address } = mapPartial(t, base);
  const before = readFileSync(path);
  raw.view(address, 2 * pageSize).fill(9, pageSize + tail);
  raw.msync(address, 2 * pageSize, raw.MS_SYNC);
  assert.deepEqual(readFileSync(path), before);
  raw.view(address, 2 * pageSize).fill(9, pageSize + tail);
  raw.munmap(address, 3 * pageSize);
  assert.deepEqual(readFileSync(path), before);
  assert.equal(statSync(path).size, pageSize + tail);
}

test("what is stored past the end reaches no file on ext4, by msync nor by munmap", onExt4, (t) => {
  checkNotWritten(t);
});

test(
  "what is stored past the end reaches no file on tmpfs, by msync nor by munmap",
  onTmpfs,
  (t) => {
    checkNotWritten(t, "/dev/shm");
  },
);

/* What a file that grows shows where bytes had been stored behind its end. */
function grownTail(t: Cleanup, base: string | undefined): Buffer {
  const { path, fd, address } = mapPartial(t, base);
  raw.view(address, 2 * pageSize).fill(9, pageSize + tail);
  ftruncateSync(fd, 2 * pageSize);
  return readFileSync(path).subarray(pageSize + tail);
}

test("what was stored past the end is gone when a file on ext4 grows", onExt4, (t) => {
  assert.deepEqual(grownTail(t, undefined), Buffer.alloc(pageSize - tail));
});

test("what was stored past the end is content when a file on tmpfs grows", onTmpfs, (t) => {
  assert.deepEqual(grownTail(t, "/dev/shm"), Buffer.alloc(pageSize - tail, 9));
});

test(
  "a later mapping sees what was stored past the end, until msync clears it on ext4",
  onExt4,
  (t) => {
    const { fd, address } = mapPartial(t);
    raw.view(address, 2 * pageSize)[pageSize + tail] = 9;
    raw.munmap(address, 3 * pageSize);
    const later = map(t, 2 * pageSize, { fd });
    const place = later + pages(1) + BigInt(tail);
    assert.equal(peek(place)?.[0], 9);
    raw.msync(later, 2 * pageSize, raw.MS_SYNC);
    assert.equal(peek(place)?.[0], 0);
  },
);

test(
  "a later mapping sees what was stored past the end on tmpfs, also after msync",
  onTmpfs,
  (t) => {
    const { fd, address } = mapPartial(t, "/dev/shm");
    raw.view(address, 2 * pageSize)[pageSize + tail] = 9;
    raw.msync(address, 3 * pageSize, raw.MS_SYNC);
    raw.munmap(address, 3 * pageSize);
    assert.equal(peek(map(t, 2 * pageSize, { fd }) + pages(1) + BigInt(tail))?.[0], 9);
  },
);

// ==== Holes ======================================================================================

test("munmap of a hole succeeds and leaves its neighbours alone", (t) => {
  retry(() => {
    const address = map(t, 3 * pageSize, { flags: raw.MAP_SHARED | raw.MAP_ANONYMOUS });
    raw.view(address, 1)[0] = 1;
    raw.view(address + pages(2), 1)[0] = 3;
    raw.munmap(address + pages(1), pageSize);
    raw.munmap(address + pages(1), pageSize);
    assert.deepEqual(firstBytes(address, 3), [1, undefined, 3]);
    assert.equal(mappedBytes(address, 3 * pageSize), pages(2));
  });
});

test("munmap of a range of ours with holes unmaps what is there", (t) => {
  retry(() => {
    const address = map(t, 5 * pageSize);
    raw.munmap(address + pages(1), pageSize);
    raw.munmap(address + pages(3), pageSize);
    assert.equal(mappedBytes(address, 5 * pageSize), pages(3));
    raw.munmap(address, 5 * pageSize);
    assert.equal(mappedBytes(address, 5 * pageSize), 0n);
  });
});

test("a length that is not whole pages unmaps every page that it touches", (t) => {
  retry(() => {
    const address = map(t, 3 * pageSize);
    raw.munmap(address, pageSize + 1);
    assert.equal(mappedBytes(address, 2 * pageSize), 0n);
    assert.equal(mappedBytes(address, 3 * pageSize), pages(1));
  });
});

test("a range that touches foreign memory is refused, and nothing in it changes", (t) => {
  retry(() => {
    const address = map(t, 3 * pageSize, { flags: raw.MAP_SHARED | raw.MAP_ANONYMOUS });
    for (const page of [0, 2]) raw.view(address + pages(page), 1)[0] = page + 1;
    raw.munmap(address + pages(1), pageSize);
    using foreign = mapAnonymous(pageSize, { at: address + pages(1) });
    assert.equal(foreign.address, address + pages(1));
    foreign.bytes[0] = 2;
    const before = areasOf().filter(
      ({ end, start }) => end > address && start < address + pages(3),
    );
    const length = 3 * pageSize;
    assert.throws(() => raw.munmap(address, length), unsafe);
    assert.throws(() => raw.mprotect(address, length, raw.PROT_NONE), unsafe);
    assert.throws(() => raw.madvise(address, length, raw.MADV_DONTNEED), unsafe);
    const flags = anonymous | raw.MAP_FIXED;
    assert.throws(() => raw.mmap(address, length, rw, flags, -1, 0), unsafe);
    assert.throws(() => raw.mremap(address, length, pageSize, raw.MREMAP_MAYMOVE), unsafe);
    assert.deepEqual(firstBytes(address, 3), [1, 2, 3]);
    const after = areasOf().filter(({ end, start }) => end > address && start < address + pages(3));
    assert.deepEqual(after, before);
  });
});

test("the memory of the runtime is foreign: it is neither unmapped nor replaced", () => {
  const areas = areasOf().filter(({ name }) => /\/(?:node|bun|deno)[^/]*$|libc[.-]/.test(name));
  const [program] = areas;
  assert.ok(program !== undefined, "no area of the runtime");
  assert.throws(() => raw.munmap(program.start, pageSize), unsafe);
  const flags = anonymous | raw.MAP_FIXED;
  assert.throws(() => raw.mmap(program.start, pageSize, rw, flags, -1, 0), unsafe);
  assert.deepEqual(areaAt(program.start), program);
});

// ==== Files that change ==========================================================================

function checkFollows(t: Cleanup, base?: string): void {
  const path = makeFile(t, numbered(3), base);
  const fd = openUntilEnd(t, path);
  const address = map(t, 3 * pageSize, { fd, flags: raw.MAP_PRIVATE });
  const filled = map(t, 3 * pageSize, { fd, flags: raw.MAP_PRIVATE | raw.MAP_POPULATE });
  raw.view(address, 2)[1] = 50;
  writeFileSync(path, Buffer.alloc(3 * pageSize, 9), { flag: "r+" });
  assert.deepEqual(firstBytes(address, 3), [1, 9, 9]);
  assert.deepEqual(firstBytes(filled, 3), [1, 2, 3]);
  assert.equal(peek(address, 2)?.[1], 50);
}

test(
  "a private page on ext4 follows the file until its own store, and after POPULATE never",
  onExt4,
  (t) => {
    checkFollows(t);
  },
);

test(
  "a private page on tmpfs follows the file until its own store, and after POPULATE never",
  onTmpfs,
  (t) => {
    checkFollows(t, "/dev/shm");
  },
);

function checkPrivateCopies(t: Cleanup, base?: string): void {
  const path = makeFile(t, numbered(3), base);
  const fd = openUntilEnd(t, path);
  const copies = map(t, 3 * pageSize, { fd, flags: raw.MAP_PRIVATE });
  raw.view(copies, 3 * pageSize).fill(50, pageSize);
  const shared = map(t, 3 * pageSize, { fd });
  raw.madvise(shared + pages(1), pageSize, raw.MADV_REMOVE);
  assert.deepEqual(firstBytes(shared, 3), [1, 0, 3]);
  assert.deepEqual(firstBytes(copies, 3), [1, 50, 50]);
  truncateSync(path, 2 * pageSize);
  assert.deepEqual(firstBytes(copies, 3), [1, 50, undefined]);
  truncateSync(path, 3 * pageSize);
  assert.deepEqual(firstBytes(copies, 3), [1, 50, 0]);
}

test(
  "a private copy on ext4 survives a hole in its file, and is lost when the file is cut",
  onExt4,
  (t) => {
    checkPrivateCopies(t);
  },
);

test(
  "a private copy on tmpfs survives a hole in its file, and is lost when the file is cut",
  onTmpfs,
  (t) => {
    checkPrivateCopies(t, "/dev/shm");
  },
);

function checkSizes(t: Cleanup, base?: string): void {
  const path = makeFile(t, numbered(2), base);
  const fd = openUntilEnd(t, path);
  const address = map(t, 4 * pageSize, { fd });
  assert.deepEqual(firstBytes(address, 4), [1, 2, undefined, undefined]);
  writeFileSync(path, Buffer.alloc(pageSize, 3), { flag: "a" });
  assert.deepEqual(firstBytes(address, 4), [1, 2, 3, undefined]);
  ftruncateSync(fd, 10);
  assert.deepEqual(firstBytes(address, 4), [1, undefined, undefined, undefined]);
  assert.deepEqual(
    peek(address, 20),
    Buffer.from([...new Array(10).fill(1), ...new Array(10).fill(0)]),
  );
  ftruncateSync(fd, 2 * pageSize);
  assert.deepEqual(firstBytes(address, 4), [1, 0, undefined, undefined]);
  assert.equal(fstatSync(fd).size, 2 * pageSize);
}

test("a mapping on ext4 shows what its file gains, and loses what it loses", onExt4, (t) => {
  checkSizes(t);
});

test("a mapping on tmpfs shows what its file gains, and loses what it loses", onTmpfs, (t) => {
  checkSizes(t, "/dev/shm");
});

test("a page that was lost and touched is zeros until it is protected or mapped anew", (t) => {
  const path = makeFile(t, numbered(2));
  const address = map(t, 2 * pageSize, { fd: openUntilEnd(t, path) });
  const bytes = raw.view(address, 2 * pageSize);
  truncateSync(path, pageSize);
  const fault = faultOf(address, 2 * pageSize, () => assert.equal(bytes[pageSize], 0));
  assert.deepEqual([fault.reason, fault.address], ["truncated", address + pages(1)]);
  writeFileSync(path, Buffer.alloc(pageSize, 5), { flag: "a" });
  assert.equal(bytes[pageSize], 0);
  raw.mprotect(address, 2 * pageSize, rw);
  assert.equal(bytes[pageSize], 5);
});
