// src/proc-maps.ts: lines as kernels really print them, with the odd names among them.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { entryAt, parseMaps, parseMapsLine } from "#dist/proc-maps.js";

const libc =
  "7f8a3c021000-7f8a3c176000 r-xp 00021000 08:01 12345                      /lib/libc.so.6";

test("parseMapsLine() reads every field", () => {
  assert.deepEqual(parseMapsLine(libc), {
    start: 0x7f8a3c021000n,
    end: 0x7f8a3c176000n,
    permissions: "r-xp",
    offset: 0x21000n,
    device: "08:01",
    inode: 12345n,
    name: "/lib/libc.so.6",
  });
});

test("parseMapsLine() keeps names with spaces, (deleted), escapes and brackets", () => {
  const names = [
    "/tmp/two words  and more",
    "/dev/shm/x (deleted)",
    "/tmp/line\\012feed",
    "/memfd:memmap:name (deleted)",
    "[anon:memmap:cache]",
    "[heap]",
    "anon_inode:[perf_event]",
    "/tmp/7f00-8f00 rw-p 0 0:0 0 x",
  ];
  for (const name of names) {
    const entry = parseMapsLine(`1000-2000 rw-s 00000000 00:01 7          ${name}`);
    assert.equal(entry?.name, name);
  }
});

test("parseMapsLine() reads lines without a name, with and without the spaces before it", () => {
  for (const tail of ["", " ", "                          "]) {
    assert.equal(parseMapsLine(`1000-2000 ---p 00000000 00:00 0${tail}`)?.name, "");
  }
});

test("parseMapsLine() keeps addresses, offsets and inodes that pass 2^53 and 2^63", () => {
  const vsyscall = "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0         [vsyscall]";
  const entry = parseMapsLine(vsyscall);
  assert.deepEqual([entry?.start, entry?.end], [0xffffffffff600000n, 0xffffffffff601000n]);
  const far = parseMapsLine("0-1000 r--s fffffffffffff000 103:1a 18446744073709551615 /a");
  assert.deepEqual(
    [far?.offset, far?.inode, far?.device],
    [0xfffffffffffff000n, 2n ** 64n - 1n, "103:1a"],
  );
});

test("parseMapsLine() refuses what is no such line", () => {
  const others = [
    "",
    "Size:                  4 kB",
    "1000-2000 rwxz 00000000 00:00 0",
    "1000 rw-p 00000000 00:00 0",
    "x000-2000 rw-p 00000000 00:00 0",
    " 1000-2000 rw-p 00000000 00:00 0",
    `${libc}\nsecond line`,
  ];
  for (const line of others) assert.equal(parseMapsLine(line), undefined, JSON.stringify(line));
});

test("parseMaps() reads the lines of smaps as well, and leaves out the rest", () => {
  const smaps = `${libc}\nSize:   4 kB\nVmFlags: rd mr\n1000-2000 rw-p 00000000 00:00 0 \n`;
  assert.deepEqual(
    parseMaps(smaps).map((entry) => entry.start),
    [0x7f8a3c021000n, 0x1000n],
  );
  assert.deepEqual(parseMaps(""), []);
});

test("parseMaps() reads each line of this process's own map, in order and without overlap", () => {
  const text = readFileSync("/proc/self/maps", "utf8");
  const entries = parseMaps(text);
  assert.equal(entries.length, text.trimEnd().split("\n").length);
  let end = 0n;
  for (const entry of entries) {
    assert.ok(entry.start >= end && entry.end > entry.start, entry.name);
    end = entry.end;
  }
});

test("entryAt() holds the first address of an area and not the one behind it", () => {
  const entries = parseMaps("1000-2000 r--p 0 00:00 0 a\n2000-3000 rw-p 0 00:00 0 b\n");
  const names = [0xfffn, 0x1000n, 0x1fffn, 0x2000n, 0x3000n].map(
    (address) => entryAt(entries, address)?.name,
  );
  assert.deepEqual(names, [undefined, "a", "a", "b", undefined]);
});
