// The claims of madvise(2) and process_madvise(2) that no other test shows: docs/semantics.md has
// the list.

import assert from "node:assert/strict";
import { readFileSync, statSync } from "node:fs";
import test from "node:test";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { cannotFork } from "../helpers/fork.js";
import { limitedOutput } from "../helpers/ordinary-user.js";
import { flagsAt, pageTable, smapsBytesAt } from "../helpers/proc-self.js";
import { fillHugePages, whyNot } from "../helpers/root-powers.js";
import { type Cleanup, needs, undoAfter } from "../helpers/temp.js";
import { Forked } from "./forked.js";
import {
  anonymous,
  firstBytes,
  makeFile,
  map,
  numbered,
  onExt4,
  openUntilEnd,
  pages,
  peek,
  refuses,
  retry,
} from "./memory.js";

const shared = raw.MAP_SHARED | raw.MAP_ANONYMOUS;

/* Numbered pages of memory that is private, or of a kind. */
function filled(t: Cleanup, pageCount: number, flags = anonymous): bigint {
  const address = map(t, pageCount * pageSize, { flags });
  raw.view(address, pageCount * pageSize).set(numbered(pageCount));
  return address;
}

test("madvise takes aligned addresses, rounds lengths up, and refuses unknown advice", (t) => {
  const address = filled(t, 3);
  refuses(() => raw.madvise(address + 1n, pageSize, raw.MADV_DONTNEED), "EINVAL");
  refuses(() => raw.madvise(address, pageSize, 9999), "EINVAL");
  raw.madvise(address, pageSize + 1, raw.MADV_DONTNEED);
  assert.deepEqual(firstBytes(address, 3), [0, 0, 3]);
});

test("a length of 0 advises on nothing, and tells whether the kernel knows the advice", (t) => {
  const address = filled(t, 1);
  raw.madvise(address, 0, raw.MADV_DONTNEED);
  refuses(() => raw.madvise(address, 0, 9999), "EINVAL");
  assert.deepEqual(firstBytes(address, 1), [1]);
});

test("madvise over a hole advises on all that is mapped, and is ENOMEM then", (t) => {
  retry(() => {
    const address = map(t, 3 * pageSize, { flags: shared });
    for (const page of [0, 2]) raw.view(address + pages(page), 1)[0] = 7;
    raw.munmap(address + pages(1), pageSize);
    refuses(() => raw.madvise(address, 3 * pageSize, raw.MADV_REMOVE), "ENOMEM");
    assert.deepEqual(firstBytes(address, 3), [0, undefined, 0]);
  });
});

test("advice that marks an area stands in its flags until its opposite", (t) => {
  const pairs: [number, number, string][] = [
    [raw.MADV_RANDOM, raw.MADV_NORMAL, "rr"],
    [raw.MADV_SEQUENTIAL, raw.MADV_NORMAL, "sr"],
    [raw.MADV_DONTFORK, raw.MADV_DOFORK, "dc"],
    [raw.MADV_WIPEONFORK, raw.MADV_KEEPONFORK, "wf"],
    [raw.MADV_DONTDUMP, raw.MADV_DODUMP, "dd"],
  ];
  if (raw.accepts("MADV_MERGEABLE")) pairs.push([raw.MADV_MERGEABLE, raw.MADV_UNMERGEABLE, "mg"]);
  if (raw.accepts("MADV_HUGEPAGE")) pairs.push([raw.MADV_HUGEPAGE, raw.MADV_NOHUGEPAGE, "hg"]);
  const address = filled(t, 2);
  for (const [advice, opposite, flag] of pairs) {
    raw.madvise(address, 2 * pageSize, advice);
    assert.ok(flagsAt(address).includes(flag), flag);
    raw.madvise(address, 2 * pageSize, opposite);
    assert.ok(!flagsAt(address).includes(flag), `still ${flag}`);
  }
  assert.deepEqual(firstBytes(address, 2), [1, 2]);
});

test("raw DONTNEED shows the file again, or zeros, and gives pages back at once", (t) => {
  const fd = openUntilEnd(t, makeFile(t, numbered(1)));
  const own = map(t, pageSize, { fd, flags: raw.MAP_PRIVATE });
  const all = map(t, pageSize, { fd });
  const memory = filled(t, 1);
  const object = filled(t, 1, shared);
  for (const address of [own, all]) raw.view(address, 2)[1] = 50;
  for (const address of [own, all, memory, object]) {
    assert.equal(pageTable(address, 1).present, 1);
    raw.madvise(address, pageSize, raw.MADV_DONTNEED);
    assert.equal(pageTable(address, 1).present, 0);
  }
  const found = [own, all, memory, object].map((address) => peek(address, 2)?.[1]);
  assert.deepEqual(found, [50, 50, 0, 1]); // The shared store is in the file that the other shows.
});

test("locked pages refuse DONTNEED, REMOVE, COLD and PAGEOUT, not DONTNEED_LOCKED", (t) => {
  const address = filled(t, 2, shared);
  raw.mlock(address, 2 * pageSize);
  const advice = [raw.MADV_DONTNEED, raw.MADV_REMOVE, raw.MADV_COLD, raw.MADV_PAGEOUT];
  for (const each of advice) refuses(() => raw.madvise(address, pageSize, each), "EINVAL");
  assert.deepEqual(firstBytes(address, 2), [1, 2]);
  const own = filled(t, 1);
  raw.mlock(own, pageSize);
  if (!raw.accepts("MADV_DONTNEED_LOCKED")) return;
  raw.madvise(own, pageSize, raw.MADV_DONTNEED_LOCKED);
  assert.deepEqual(firstBytes(own, 1), [0]);
});

test("REMOVE makes a hole in the file, and needs a shared mapping that may write", onExt4, (t) => {
  const path = makeFile(t, numbered(4));
  const before = statSync(path).blocks;
  const fd = openUntilEnd(t, path);
  const address = map(t, 4 * pageSize, { fd });
  raw.msync(address, 4 * pageSize, raw.MS_SYNC);
  raw.madvise(address + pages(1), 2 * pageSize, raw.MADV_REMOVE);
  assert.deepEqual(firstBytes(address, 4), [1, 0, 0, 4]);
  assert.equal(readFileSync(path)[pageSize], 0);
  assert.ok(statSync(path).blocks < before || before === 0);
  const reading = map(t, pageSize, { fd: openUntilEnd(t, path, "r"), prot: raw.PROT_READ });
  refuses(() => raw.madvise(reading, pageSize, raw.MADV_REMOVE), "EACCES");
  const own = map(t, pageSize, { fd, flags: raw.MAP_PRIVATE });
  refuses(() => raw.madvise(own, pageSize, raw.MADV_REMOVE), "EACCES");
  refuses(() => raw.madvise(filled(t, 1), pageSize, raw.MADV_REMOVE), "EINVAL");
});

test("FREE keeps pages until memory is short, and a store keeps its page", (t) => {
  const count = 256; // The kernel marks them in batches.
  const address = filled(t, count);
  raw.madvise(address, count * pageSize, raw.MADV_FREE);
  assert.ok(smapsBytesAt(address, "LazyFree") >= (count * pageSize) / 2);
  raw.view(address, 1)[0] = 50;
  assert.equal(peek(address)?.[0], 50);
  const fd = openUntilEnd(t, makeFile(t, numbered(1)));
  const own = map(t, pageSize, { fd, flags: raw.MAP_PRIVATE });
  for (const each of [filled(t, 1, shared), own]) {
    refuses(() => raw.madvise(each, pageSize, raw.MADV_FREE), "EINVAL");
  }
});

test("COLD makes pages unreferenced, and loses nothing", (t) => {
  const place = map(t, 5 * pageSize, { prot: raw.PROT_NONE }); // What smaps counts is fenced.
  const flags = anonymous | raw.MAP_FIXED;
  const address = map(t, 3 * pageSize, { at: place + pages(1), flags });
  raw.view(address, 3 * pageSize).set(numbered(3));
  assert.equal(smapsBytesAt(address, "Referenced"), 3 * pageSize);
  raw.madvise(address, 3 * pageSize, raw.MADV_COLD);
  assert.equal(smapsBytesAt(address, "Referenced"), 0);
  assert.deepEqual(firstBytes(address, 3), [1, 2, 3]);
});

test("PAGEOUT writes dirty file pages and drops them from the page cache", onExt4, (t) => {
  const path = makeFile(t, numbered(4));
  const address = map(t, 4 * pageSize, { fd: openUntilEnd(t, path) });
  raw.view(address, 1)[0] = 50;
  retry(() => {
    raw.msync(address, 4 * pageSize, raw.MS_SYNC);
    raw.madvise(address, 4 * pageSize, raw.MADV_PAGEOUT);
    assert.ok(raw.mincore(address, 4 * pageSize).every((byte) => (byte & 1) === 0));
  });
  assert.deepEqual(firstBytes(address, 4), [50, 2, 3, 4]);
});

test("POPULATE tells what cannot be had: EFAULT behind the end, EINVAL without permission", (t) => {
  if (!raw.accepts("MADV_POPULATE_READ")) return t.skip("needs MADV_POPULATE_READ");
  const fd = openUntilEnd(t, makeFile(t, numbered(2)));
  const address = map(t, 3 * pageSize, { fd });
  refuses(() => raw.madvise(address, 3 * pageSize, raw.MADV_POPULATE_READ), "EFAULT");
  refuses(() => raw.madvise(address, 3 * pageSize, raw.MADV_POPULATE_WRITE), "EFAULT");
  assert.equal(pageTable(address, 3).present, 2);
  const none = map(t, pageSize, { prot: raw.PROT_NONE });
  refuses(() => raw.madvise(none, pageSize, raw.MADV_POPULATE_READ), "EINVAL");
  const reading = map(t, pageSize, { prot: raw.PROT_READ });
  refuses(() => raw.madvise(reading, pageSize, raw.MADV_POPULATE_WRITE), "EINVAL");
});

test("advice for failing memory is EPERM for ordinary users, or not built in", async () => {
  const stdout = await limitedOutput(`
    dropRights();
    const address = raw.mmap(null, pageSize, 3, raw.MAP_PRIVATE | raw.MAP_ANONYMOUS, -1, 0);
    const ask = (advice) => failure(() => raw.madvise(address, pageSize, advice)).split(" | ")[1];
    console.log(ask(raw.MADV_HWPOISON), ask(raw.MADV_SOFT_OFFLINE));`);
  const expected = raw.accepts("MADV_HWPOISON") ? "EPERM EPERM" : "EINVAL EINVAL";
  assert.equal(stdout.trim(), expected);
});

test("WILLNEED of memory without a file is taken where there can be swap", (t) => {
  const address = filled(t, 2);
  raw.madvise(address, 2 * pageSize, raw.MADV_WILLNEED);
  assert.deepEqual(firstBytes(address, 2), [1, 2]);
});

test("DONTNEED of huge pages takes whole ones", { skip: whyNot("huge-pages") }, async (t) => {
  const problem = await fillHugePages(t, 2);
  if (problem) return t.skip(problem);
  const huge = 2 * 2 ** 20;
  const address = map(t, 2 * huge, { flags: anonymous | raw.MAP_HUGETLB | raw.MAP_HUGE_2MB });
  raw.view(address, 2 * huge).fill(7);
  refuses(() => raw.madvise(address + pages(1), huge, raw.MADV_DONTNEED), "EINVAL");
  raw.madvise(address, huge + pageSize, raw.MADV_DONTNEED);
  assert.deepEqual([peek(address)?.[0], peek(address + BigInt(huge))?.[0]], [0, 7]);
});

test("a guard page has no content, and is zeros when the guard is taken away", (t) => {
  if (!raw.accepts("MADV_GUARD_INSTALL")) return t.skip("needs MADV_GUARD_INSTALL");
  const address = filled(t, 3);
  raw.madvise(address + pages(1), pageSize, raw.MADV_GUARD_INSTALL);
  assert.deepEqual(firstBytes(address, 3), [1, undefined, 3]);
  raw.madvise(address, 3 * pageSize, raw.MADV_GUARD_REMOVE);
  assert.deepEqual(firstBytes(address, 3), [1, 0, 3]);
});

// ==== process_madvise ============================================================================

const forks = { skip: cannotFork || needs("root").skip };

test("process_madvise advises on another process, and says how many bytes", forks, (t) => {
  const address = filled(t, 4, shared);
  const child = new Forked(t);
  const pidfd = raw.pidfd_open(child.pid, 0);
  undoAfter(t, () => raw.close(pidfd));
  const ranges = [
    { addr: address, length: pageSize },
    { addr: address + pages(2), length: 2 * pageSize },
  ];
  const ask = (advice: number, flags = 0) => raw.process_madvise(pidfd, ranges, advice, flags);
  for (const advice of [raw.MADV_COLD, raw.MADV_PAGEOUT, raw.MADV_WILLNEED]) {
    assert.equal(ask(advice), 3 * pageSize);
  }
  refuses(() => ask(raw.MADV_DONTNEED), "EINVAL");
  refuses(() => ask(raw.MADV_COLD, 1), "EINVAL");
  assert.deepEqual(
    [0, 1, 2, 3].map((page) => child.look(address + pages(page))),
    [[1], [2], [3], [4]],
  );
});

test(
  "process_madvise stops at the first range that fails, and says how far it came",
  forks,
  (t) => {
    retry(() => {
      const address = map(t, 3 * pageSize, { flags: shared });
      raw.munmap(address + pages(1), pageSize);
      const child = new Forked(t);
      const pidfd = raw.pidfd_open(child.pid, 0);
      const ranges = [0, 1, 2].map((page) => ({ addr: address + pages(page), length: pageSize }));
      const ask = (from: number) =>
        raw.process_madvise(pidfd, ranges.slice(from), raw.MADV_COLD, 0);
      assert.equal(ask(0), pageSize);
      refuses(() => ask(1), "ENOMEM");
      child.end();
      refuses(() => ask(0), "ESRCH");
      raw.close(pidfd);
    });
  },
);

test("process_madvise refuses what is no process, and more ranges than the system takes", (t) => {
  const address = filled(t, 1);
  const pidfd = raw.pidfd_open(process.pid, 0);
  undoAfter(t, () => raw.close(pidfd));
  const range = { addr: address, length: pageSize };
  refuses(() => raw.process_madvise(-1, [range], raw.MADV_COLD, 0), "EBADF");
  const many = new Array(1025).fill(range);
  refuses(() => raw.process_madvise(pidfd, many, raw.MADV_COLD, 0), "EINVAL");
  assert.equal(raw.process_madvise(pidfd, many.slice(1), raw.MADV_COLD, 0), 1024 * pageSize);
});
