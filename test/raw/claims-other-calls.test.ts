// The claims of mseal(2) and cachestat(2) that no other test shows: docs/semantics.md has the list.

import assert from "node:assert/strict";
import test from "node:test";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { limitedOutput } from "../helpers/ordinary-user.js";
import { fillHugePages, whyNot } from "../helpers/root-powers.js";
import { needs, undoAfter } from "../helpers/temp.js";
import {
  makeFile,
  map,
  memoryFile,
  numbered,
  onExt4,
  openUntilEnd,
  refuses,
  retry,
} from "./memory.js";

// ==== mseal ======================================================================================

const sealing = needs({ kernel: "6.10" });

/* What a program answers that begins with sealed pages; sealing is for good, so it ends there. */
async function sealed(code: string): Promise<string> {
  const stdout = await limitedOutput(`
    const page = BigInt(pageSize);
    const anonymous = raw.MAP_PRIVATE | raw.MAP_ANONYMOUS;
    const rw = raw.PROT_READ | raw.PROT_WRITE;
    const map = (count, prot = rw) => raw.mmap(null, count * pageSize, prot, anonymous, -1, 0);
    const code = (call) => failure(call).split(" | ")[1] ?? "done";
    const two = map(2);
    raw.mseal(two, 2 * pageSize, 0);
    ${code}`);
  return stdout.trim();
}

test(
  "sealed memory is neither unmapped, protected, moved, resized nor replaced",
  sealing,
  async () => {
    const answer = await sealed(`
    const size = 2 * pageSize;
    const { MREMAP_MAYMOVE, MREMAP_FIXED } = raw;
    const target = map(2);
    const calls = [
      () => raw.munmap(two, size),
      () => raw.munmap(two + page, pageSize),
      () => raw.mprotect(two, size, raw.PROT_READ),
      () => raw.mremap(two, size, 4 * pageSize, MREMAP_MAYMOVE),
      () => raw.mremap(two, size, pageSize, 0),
      () => raw.mremap(target, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, two),
      () => raw.mmap(two, size, rw, anonymous | raw.MAP_FIXED, -1, 0),
    ];
    console.log(calls.map(code).join(), /rw-p/.test(fs.readFileSync("/proc/self/maps", "utf8")));`);
    assert.equal(answer, `${new Array(7).fill("EPERM").join()} true`);
  },
);

test("sealed memory loses content only where it may be written", sealing, async () => {
  const answer = await sealed(`
    const reading = map(1, raw.PROT_READ);
    raw.mseal(reading, pageSize, 0);
    const calls = [
      () => raw.madvise(two, pageSize, raw.MADV_DONTNEED),
      () => raw.madvise(reading, pageSize, raw.MADV_DONTNEED),
      () => raw.madvise(reading, pageSize, raw.MADV_WILLNEED),
      () => raw.mlock(reading, pageSize),
    ];
    console.log(calls.map(code).join());`);
  assert.equal(answer, "done,EPERM,done,done");
});

test(
  "mseal takes whole pages that are all mapped, no flags, and sealed ones again",
  sealing,
  async () => {
    const answer = await sealed(`
    const three = map(3);
    raw.munmap(three + page, pageSize);
    const calls = [
      () => raw.mseal(two, 2 * pageSize, 0),
      () => raw.mseal(three, pageSize, 1),
      () => raw.mseal(three + 1n, pageSize, 0),
      () => raw.mseal(three, 3 * pageSize, 0),
      () => raw.munmap(three, pageSize),
    ];
    console.log(calls.map(code).join());`);
    assert.equal(answer, "done,EINVAL,EINVAL,ENOMEM,done");
  },
);

test("sealed memory gets no view, and memory under a view no seal", sealing, async () => {
  const answer = await sealed(`
    const viewed = map(1);
    const bytes = raw.view(viewed, pageSize);
    const calls = [() => raw.view(two, 1), () => raw.mseal(viewed, pageSize, 0)];
    console.log(calls.map(code).join(), bytes.length > 0);`);
  assert.equal(answer, "ERR_MEMMAP_UNSUPPORTED,ERR_MEMMAP_PINNED true");
});

// ==== cachestat ==================================================================================

function stat(fd: number, off = 0, len = 0): raw.CacheStat {
  return raw.cachestat(fd, { off, len }, 0);
}

const whole = { off: 0, len: 0 };
const counting = needs({ kernel: "6.5" });

test(
  "cachestat counts the pages of a range, and up to the end for a length of 0",
  counting,
  (t) => {
    const fd = memoryFile(t, 8);
    assert.equal(stat(fd).nr_cache, 8);
    assert.equal(stat(fd, 2 * pageSize).nr_cache, 6);
    assert.equal(stat(fd, 2 * pageSize, 3 * pageSize).nr_cache, 3);
    assert.equal(stat(fd, 2 * pageSize + 1, pageSize).nr_cache, 2);
    assert.equal(stat(fd, 100 * pageSize).nr_cache, 0);
  },
);

test("cachestat tells what was in the cache and went", {
  skip: onExt4.skip || counting.skip,
}, (t) => {
  const fd = openUntilEnd(t, makeFile(t, numbered(8)));
  const address = map(t, 8 * pageSize, { fd });
  retry(() => {
    raw.madvise(address, 8 * pageSize, raw.MADV_POPULATE_READ); // It pages out what is mapped.
    raw.msync(address, 8 * pageSize, raw.MS_SYNC);
    raw.madvise(address, 8 * pageSize, raw.MADV_PAGEOUT);
    const { nr_cache, nr_evicted } = stat(fd);
    assert.deepEqual([nr_cache, nr_evicted], [0, 8]);
  });
});

test("cachestat refuses flags, and descriptors that are none", counting, (t) => {
  const fd = memoryFile(t, 1);
  refuses(() => raw.cachestat(fd, whole, 1), "EINVAL");
  refuses(() => raw.cachestat(-1, whole, 0), "EBADF");
});

test("cachestat of huge pages is EOPNOTSUPP", {
  skip: whyNot("huge-pages") || counting.skip,
}, async (t) => {
  const problem = await fillHugePages(t, 1);
  if (problem) return t.skip(problem);
  const fd = raw.memfd_create("huge", raw.MFD_CLOEXEC | raw.MFD_HUGETLB);
  undoAfter(t, () => raw.close(fd));
  refuses(() => stat(fd), "EOPNOTSUPP");
});

test(
  "cachestat is EPERM for a file that a user neither owns nor may write",
  needs({ kernel: "6.14" }),
  async (t) => {
    if (process.getuid?.() !== 0) return t.skip("needs root");
    const path = makeFile(t, numbered(1));
    const stdout = await limitedOutput(`
    const fd = fs.openSync(${JSON.stringify(path)}, "r");
    dropRights();
    const answer = failure(() => raw.cachestat(fd, { off: 0, len: 0 }, 0));
    console.log(answer.split(" | ")[1] ?? "told");`);
    assert.equal(stdout, "EPERM\n");
  },
);
