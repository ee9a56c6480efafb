// What is said of mmap where people learn it, right or wrong: docs/semantics.md has the list. Most
// of it is shown by other tests; here is the rest.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync, statSync, watch, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { areaAt, areasOf, pageTable, statusBytes } from "../helpers/proc-self.js";
import { tempDir, undoAfter } from "../helpers/temp.js";
import { faultOf, makeFile, map, numbered, onExt4, openUntilEnd, pages, peek } from "./memory.js";

/* Page faults of this process so far that waited for no disk. */
function minorFaults(): number {
  const text = readFileSync("/proc/self/stat", "utf8");
  return Number(text.slice(text.lastIndexOf(")")).split(" ")[8]);
}

test("mapping takes addresses that were free, and no memory", (t) => {
  const before = {
    areas: areasOf(),
    virtual: statusBytes("VmSize"),
    resident: statusBytes("VmRSS"),
  };
  const length = 2 ** 32;
  const address = map(t, length, { prot: raw.PROT_READ });
  const end = address + BigInt(length);
  assert.ok(before.areas.every((area) => area.end <= address || area.start >= end));
  assert.ok(statusBytes("VmSize") - before.virtual >= length);
  assert.ok(statusBytes("VmRSS") - before.resident < length / 16);
  assert.equal(
    raw.mincore(address, 64 * pageSize).some((byte) => byte % 2 === 1),
    false,
  );
});

test("the libraries of a program lie among its mappings, each in several areas", () => {
  const areas = areasOf();
  const library = areas.find(({ name }) => /\/libc[.-]|\/ld-/.test(name))?.name;
  assert.ok(library !== undefined, "no shared library");
  const parts = areas.filter(({ name }) => name === library);
  assert.ok(parts.length > 2);
  assert.ok(parts.some(({ permissions }) => permissions === "r-xp"));
  assert.ok(parts.every(({ permissions }) => permissions.endsWith("p")));
  const stack = areas.find(({ name }) => name === "[stack]");
  assert.ok(stack !== undefined && parts.every(({ end }) => end <= stack.start));
});

const noRandom =
  readFileSync("/proc/sys/kernel/randomize_va_space", "utf8").trim() === "0" &&
  "needs a kernel that places libraries at random";

test("a library lies at another address in each process", { skip: noRandom }, (t) => {
  const places = Array.from({ length: 4 }, () => {
    const { stdout } = spawnSync("cat", ["/proc/self/maps"], { encoding: "utf8" });
    return /^([0-9a-f]+)-.*\/(?:libc[.-]|ld-)/m.exec(stdout)?.[1];
  });
  if (places[0] === undefined) return t.skip("needs a cat that is linked to libraries");
  assert.ok(new Set(places).size > 1, places.join());
});

test("a line of /proc/PID/maps has range, permissions, offset, inode and path", (t) => {
  const path = makeFile(t, numbered(3));
  const fd = openUntilEnd(t, path, "r");
  const address = map(t, pageSize, { fd, prot: raw.PROT_READ, offset: 2 * pageSize });
  const area = areaAt(address);
  assert.deepEqual(area, {
    start: address,
    end: address + pages(1),
    permissions: "r--s",
    offset: pages(2),
    inode: BigInt(statSync(path).ino),
    name: path,
  });
});

test("the first touch of each page is a page fault, later ones are none", (t) => {
  const count = 4096;
  const address = map(t, count * pageSize);
  raw.madvise(address, count * pageSize, raw.MADV_NOHUGEPAGE);
  const bytes = raw.view(address, count * pageSize);
  const before = minorFaults();
  for (let page = 0; page < count; page++) bytes[page * pageSize] = 1;
  const first = minorFaults() - before;
  for (let page = 0; page < count; page++) bytes[page * pageSize] = 2;
  const again = minorFaults() - before - first;
  assert.ok(first >= count && again < count / 2, `${first} and ${again} faults`);
});

test("the pages of a file mapping are those of the page cache, read by nobody twice", (t) => {
  const path = makeFile(t, numbered(4)); // Written just now, so all of it is in the cache.
  const address = map(t, 4 * pageSize, { fd: openUntilEnd(t, path) });
  assert.ok(raw.mincore(address, 4 * pageSize).every((byte) => byte % 2 === 1));
  assert.equal(pageTable(address, 4).present, 0);
  assert.equal(raw.view(address, 1)[0], 1);
  assert.ok(pageTable(address, 4).present > 0);
  assert.equal(pageTable(address, 4).anonymous, 0);
});

test("a populated page is as good as any other: it goes, and is a fault again", onExt4, (t) => {
  const fd = openUntilEnd(t, makeFile(t, numbered(4)));
  const address = map(t, 4 * pageSize, { fd, flags: raw.MAP_SHARED | raw.MAP_POPULATE });
  assert.equal(pageTable(address, 4).present, 4);
  raw.madvise(address, 4 * pageSize, raw.MADV_PAGEOUT);
  assert.equal(pageTable(address, 4).present, 0);
  assert.equal(peek(address)?.[0], 1);
});

test("write(2) from a mapping brings its pages in, and copies them out of it", (t) => {
  const path = makeFile(t, numbered(4));
  const address = map(t, 4 * pageSize, { fd: openUntilEnd(t, path), prot: raw.PROT_READ });
  assert.equal(pageTable(address, 4).present, 0);
  const copy = join(tempDir(t), "copy.bin");
  writeFileSync(copy, raw.view(address, 4 * pageSize));
  assert.equal(pageTable(address, 4).present, 4);
  assert.deepEqual(readFileSync(copy), Buffer.from(numbered(4)));
  writeFileSync(path, Buffer.alloc(4 * pageSize, 9), { flag: "r+" });
  assert.deepEqual(readFileSync(copy), Buffer.from(numbered(4)));
});

test("a program that reads on until a byte that never comes leaves the page and is told", (t) => {
  const text = "Hello world from the virtual address space!\n";
  const fd = openUntilEnd(t, makeFile(t, Buffer.from(text)), "r");
  const address = map(t, 2 * pageSize, { fd, prot: raw.PROT_READ, flags: raw.MAP_PRIVATE });
  const bytes = raw.view(address, 2 * pageSize);
  let at = 0;
  const fault = faultOf(address, 2 * pageSize, () => {
    while (at < bytes.length && bytes[at] !== "0".charCodeAt(0)) at += 1;
  });
  assert.equal(at, bytes.length);
  assert.deepEqual([fault.reason, fault.byteOffset], ["truncated", pageSize]);
  assert.equal(Buffer.from(bytes.subarray(0, text.length)).toString(), text);
});

test("nobody is told of a store through a mapping, as watchers are told of write(2)", async (t) => {
  const path = makeFile(t, numbered(1));
  const address = map(t, pageSize, { fd: openUntilEnd(t, path) });
  let count = 0;
  const watcher = watch(path, () => {
    count += 1;
  });
  undoAfter(t, () => watcher.close());
  await sleep(200); // Some runtimes begin to watch a little later.
  count = 0;
  raw.view(address, 1)[0] = 50;
  raw.msync(address, pageSize, raw.MS_SYNC);
  await sleep(200);
  assert.equal(count, 0);
  for (let tries = 0; count === 0 && tries < 100; tries++) {
    writeFileSync(path, "x", { flag: "r+" });
    await sleep(50);
  }
  assert.ok(count > 0, "no watcher works here");
});
