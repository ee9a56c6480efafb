// Guard regions: pages on which a touch is a fault, by MADV_GUARD_INSTALL. The kernel is asked
// which pages those are by reading /proc/self/mem, which fails there; few cases touch them.

import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { cannotFork, forkedAnswer, unreadable } from "../helpers/fork.js";
import { PAGE_IS_GUARD, scanPages } from "../helpers/page-scan.js";
import { pageTable } from "../helpers/proc-self.js";
import { needs } from "../helpers/temp.js";
import type { Case, CaseContext, Check } from "./case.js";
import * as memory from "./memory.js";

const { bytes, pages, peek, peekPages } = memory;

/* Guards of anonymous memory, of files, and what else came to know of them. */
const noGuards = needs({ kernel: "6.13" }).skip;
const noFileGuards = needs({ kernel: "6.15" }).skip;
const noScan = needs({ kernel: "6.16" }).skip || cannotFork;

const pageCount = 10;
const evenPages: readonly number[] = [0, 2, 4, 6, 8];

function install(address: bigint, count = 1): void {
  raw.madvise(address, bytes(count), raw.MADV_GUARD_INSTALL);
}

function remove(address: bigint, count = 1): void {
  raw.madvise(address, bytes(count), raw.MADV_GUARD_REMOVE);
}

function installEach(address: bigint, indices: readonly number[]): void {
  for (const i of indices) install(address + pages(i));
}

/** The first bytes of ten pages that are filled with their numbers, where some are not readable. */
function numbersBut(guarded: readonly number[], other = -1): number[] {
  return Array.from({ length: pageCount }, (_, i) => (guarded.includes(i) ? other : i + 1));
}

function touchGuards(check: Check, t: CaseContext): void {
  for (const guarded of [[0], [9], [0, 1, 2]]) {
    for (const isPresent of [true, false]) {
      const address = isPresent ? memory.mapFilled(t, pageCount) : memory.map(t, pageCount);
      const view = raw.view(address, bytes(pageCount));
      const others = numbersBut(guarded).map((byte) => (isPresent || byte < 0 ? byte : 0));
      installEach(address, guarded);
      check.deepEqual(peekPages(address, pageCount), others);
      for (const i of guarded) {
        const page = address + pages(i);
        check.equal(view[i * pageSize], 0);
        check.refuses(() => raw.check(page, pageSize), "ERR_MEMMAP_FAULT");
        install(page); // The guard of the library has given a page in the place of that one.
        check.equal(peek(page), -1);
        view[i * pageSize] = 77;
        check.refuses(() => raw.check(page, pageSize), "ERR_MEMMAP_FAULT");
        install(page);
      }
      remove(address, pageCount);
      for (let i = 0; i < pageCount; i++) {
        check.equal(view[i * pageSize], Math.max(others[i] ?? 0, 0), `page ${i}`);
      }
      view.fill(99);
      raw.check(address, bytes(pageCount));
      remove(address, pageCount);
      check.ok(view.every((byte) => byte === 99));
    }
  }
}

function adviseOnSelf(check: Check, t: CaseContext): void {
  const areas = [1, 2, 3].map(() => memory.mapFilled(t, pageCount));
  const lengths = [1, 2, 3, 1, 1, 4];
  const ranges = lengths.map((count, i) => {
    const area = areas[i >> 1] ?? 0n;
    return { addr: area + pages(i % 2 === 0 ? 0 : 5), length: bytes(count) };
  });
  const pidfd = raw.pidfd_open(process.pid, 0);
  t.after(() => raw.close(pidfd));
  const content = () => areas.map((area) => peekPages(area, pageCount));
  const advise = (advice: number) => raw.process_madvise(pidfd, ranges, advice, 0);
  check.equal(advise(raw.MADV_GUARD_INSTALL), bytes(12));
  const guarded = [
    [0, 5, 6],
    [0, 1, 2, 5],
    [0, 5, 6, 7, 8],
  ];
  check.deepEqual(
    content(),
    guarded.map((indices) => numbersBut(indices)),
  );
  check.equal(advise(raw.MADV_GUARD_REMOVE), bytes(12));
  check.deepEqual(
    content(),
    guarded.map((indices) => numbersBut(indices, 0)),
  );
}

function changeProtection(check: Check, t: CaseContext): void {
  const address = memory.mapFilled(t, pageCount);
  const expected = numbersBut(evenPages);
  installEach(address, evenPages);
  for (const prot of [raw.PROT_READ, raw.PROT_NONE, memory.rw]) {
    raw.mprotect(address, bytes(pageCount), prot);
    check.deepEqual(peekPages(address, pageCount), expected);
    installEach(address, evenPages);
    check.deepEqual(peekPages(address, pageCount), expected);
  }
  // Areas that are cut, and merged again, between guarded pages.
  raw.mprotect(address + pages(3), bytes(3), raw.PROT_READ);
  check.deepEqual(peekPages(address, pageCount), expected);
  raw.mprotect(address + pages(3), bytes(3), memory.rw);
  check.deepEqual(peekPages(address, pageCount), expected);
  remove(address, pageCount);
  check.deepEqual(peekPages(address, pageCount), numbersBut(evenPages, 0));
}

function dropAround(check: Check, t: CaseContext): void {
  const zeros = numbersBut(evenPages).map((byte) => Math.min(byte, 0));
  const address = memory.mapFilled(t, pageCount);
  const advise = (at: bigint, advice: number) => raw.madvise(at, bytes(pageCount), advice);
  installEach(address, evenPages);
  for (const advice of [raw.MADV_COLD, raw.MADV_PAGEOUT]) {
    advise(address, advice);
    check.deepEqual(peekPages(address, pageCount), numbersBut(evenPages));
  }
  advise(address, raw.MADV_DONTNEED);
  check.deepEqual(peekPages(address, pageCount), zeros);
  advise(address, raw.MADV_FREE);
  check.deepEqual(peekPages(address, pageCount), zeros);
  if (noFileGuards !== false) return;

  const fd = memory.memoryFile(t, memory.numbered(pageCount));
  const file = memory.map(t, pageCount, { fd });
  installEach(file, evenPages);
  advise(file, raw.MADV_DONTNEED);
  check.equal(pageTable(file, pageCount).present, 0);
  check.deepEqual(peekPages(file, pageCount), numbersBut(evenPages));
}

function lockAndGuard(check: Check, t: CaseContext): void {
  const address = memory.mapFilled(t, pageCount);
  raw.mlock(address, bytes(pageCount));
  check.refuses(() => install(address, pageCount), "EINVAL");
  check.deepEqual(peekPages(address, pageCount), numbersBut([]));
  raw.munlock(address, bytes(pageCount));
  install(address, 5);
  raw.mlock(address + pages(5), bytes(5));
  check.refuses(() => install(address + pages(5), 5), "EINVAL");
  check.deepEqual(peekPages(address, pageCount), numbersBut([0, 1, 2, 3, 4]));
  remove(address, pageCount);
  check.deepEqual(peekPages(address, pageCount), numbersBut([0, 1, 2, 3, 4], 0));
}

function moveGuards(check: Check, t: CaseContext): void {
  const from = memory.mapFilled(t, 5);
  installEach(from, [0, 4]);
  const to = memory.map(t, 5, { prot: raw.PROT_NONE });
  const flags = raw.MREMAP_MAYMOVE | raw.MREMAP_FIXED;
  check.equal(raw.mremap(from, bytes(5), bytes(5), flags, to), to);
  check.deepEqual(peekPages(to, 5), [-1, 2, 3, 4, -1]);

  const moved = raw.mremap(to, bytes(5), bytes(400), raw.MREMAP_MAYMOVE);
  t.after(() => raw.munmap(moved, bytes(400)));
  check.deepEqual(peekPages(moved, 7), [-1, 2, 3, 4, -1, 0, 0]);

  memory.retry(() => {
    const address = memory.map(t, pageCount);
    raw.munmap(address + pages(5), bytes(5));
    installEach(address, [0, 2, 3, 4]);
    check.equal(raw.mremap(address, bytes(5), bytes(8), 0), address, "grown in place");
    check.deepEqual(peekPages(address, 8), [-1, 0, -1, -1, -1, 0, 0, 0]);
    check.equal(raw.mremap(address, bytes(8), bytes(3), 0), address, "shrunk");
    check.equal(raw.mremap(address, bytes(3), bytes(8), 0), address, "grown again");
    check.deepEqual(peekPages(address, 8), [-1, 0, -1, 0, 0, 0, 0, 0]);
  });
}

const forkedGuards = `const address = filled(3);
  raw.madvise(address, bytes(2), raw.MADV_GUARD_INSTALL);
  const steps = [peek(address), peek(address + pages(1)), peek(address + pages(2))];
  const removal = advise(address, pageSize, raw.MADV_GUARD_REMOVE);
  answer([inFork(...steps, removal, ...steps, poke(address, 7)), inFork(...steps)]);`;

const wipedGuards = `const address = filled(2);
  raw.madvise(address, bytes(2), raw.MADV_WIPEONFORK);
  raw.madvise(address, pageSize, raw.MADV_GUARD_INSTALL);
  const child = inFork(peek(address), peek(address + pages(1)), poke(address, 7));
  const kept = filled(1);
  raw.madvise(kept, pageSize, raw.MADV_GUARD_INSTALL);
  answer([child, inFork(peek(kept))]);`;

function guardBothSharings(check: Check, t: CaseContext): void {
  const fd = memory.memoryFile(t, memory.numbered(pageCount));
  const shared = memory.map(t, pageCount, { fd });
  const own = memory.map(t, pageCount, { fd, flags: raw.MAP_PRIVATE });
  const oddPages = evenPages.map((i) => i + 1);
  installEach(shared, evenPages);
  installEach(own, oddPages);
  check.deepEqual(peekPages(shared, pageCount), numbersBut(evenPages));
  check.deepEqual(peekPages(own, pageCount), numbersBut(oddPages));
  remove(shared, pageCount);
  check.deepEqual(peekPages(shared, pageCount), numbersBut([]));
  check.deepEqual(peekPages(own, pageCount), numbersBut(oddPages));

  raw.view(own, 1)[0] = 77;
  check.deepEqual([peek(own), peek(shared)], [77, 1]);
  install(own);
  check.equal(peek(own), -1);
  remove(own);
  check.equal(peek(own), 1, "not the page of the file");
}

function readAround(check: Check, t: CaseContext): void {
  const fd = memory.open(t, memory.makeFile(t, memory.numbered(pageCount)), "r+");
  for (const advice of [raw.MADV_NORMAL, raw.MADV_SEQUENTIAL]) {
    const address = memory.map(t, pageCount, { fd });
    raw.madvise(address, bytes(pageCount), advice);
    check.deepEqual(peekPages(address, pageCount), numbersBut([]));
    raw.madvise(address, bytes(pageCount), raw.MADV_PAGEOUT);
    installEach(address, evenPages);
    const view = raw.view(address, bytes(pageCount));
    for (let i = 1; i < pageCount; i += 2) check.equal(view[i * pageSize], i + 1);
    raw.check(address, bytes(pageCount));
    check.deepEqual(peekPages(address, pageCount), numbersBut(evenPages));
  }
}

function punchUnderGuards(check: Check, t: CaseContext): void {
  const content = memory.numbered(pageCount);
  const onDisk = memory.open(t, memory.makeFile(t, content), "r+");
  for (const fd of [memory.memoryFile(t, content), onDisk]) {
    const address = memory.mapFilled(t, pageCount, { fd });
    const middle = [3, 4, 5];
    install(address + pages(3), 3);
    raw.madvise(address + pages(3), bytes(3), raw.MADV_REMOVE);
    check.deepEqual(peekPages(address, pageCount), numbersBut(middle));
    remove(address, pageCount);
    check.deepEqual(peekPages(address, pageCount), numbersBut(middle, 0));
  }
}

const memoryCases: readonly Case[] = [
  {
    id: "ksft-mm:guard-regions:basic",
    says: "a load and a store are faults on guarded pages alone, and only until the guard goes",
    skip: noGuards,
    run: touchGuards,
  },
  {
    id: "ksft-mm:guard-regions:process_madvise",
    says: "one call guards six ranges of three areas, and counts their bytes",
    skip: noFileGuards,
    run: adviseOnSelf,
  },
  {
    id: "ksft-mm:guard-regions:mprotect",
    says: "another protection neither takes guards away nor forbids them",
    skip: noGuards,
    run: changeProtection,
  },
  {
    id: "ksft-mm:guard-regions:dontneed",
    says: "guards stay where the pages around them are thrown away",
    skip: noGuards,
    run: dropAround,
  },
  {
    id: "ksft-mm:guard-regions:mlock",
    says: "locked pages get no guards, but lose them",
    skip: noGuards,
    run: lockAndGuard,
  },
  {
    id: "ksft-mm:guard-regions:mremap_move",
    says: "guards move with their pages, and go for good with what is cut off",
    skip: noGuards,
    run: moveGuards,
  },
  {
    id: "ksft-mm:guard-regions:fork",
    says: "a child inherits guards, and takes away its own alone",
    skip: noGuards || cannotFork,
    async run(check, t) {
      const parent = [unreadable, unreadable, 3];
      const child = [...parent, 0, 0, unreadable, 3, 7];
      check.deepEqual(await forkedAnswer(t, forkedGuards), [child, parent]);
    },
  },
  {
    id: "ksft-mm:guard-regions:fork_wipeonfork",
    says: "memory that is wiped on fork has no guards in the child",
    skip: noGuards || cannotFork,
    async run(check, t) {
      check.deepEqual(await forkedAnswer(t, wipedGuards), [[0, 0, 7], [unreadable]]);
    },
  },
];

const fileCases: readonly Case[] = [
  {
    id: "ksft-mm:guard-regions:uffd",
    says: "a guarded page is a fault as ever under userfaultfd, which hears nothing of it",
    skip: "needs userfaultfd, which the pager will bring",
    run: () => {},
  },
  {
    id: "ksft-mm:guard-regions:map_private",
    says: "guards belong to one mapping of a file, and a private copy under one is lost",
    skip: noFileGuards,
    run: guardBothSharings,
  },
  {
    id: "ksft-mm:guard-regions:fault_around",
    says: "pages that the kernel maps around a fault do not take the place of guards",
    skip: noFileGuards,
    run: readAround,
  },
  {
    id: "ksft-mm:guard-regions:hole_punch",
    says: "guards stay over a hole that is made in the file, whose zeros show when they go",
    skip: noFileGuards,
    run: punchUnderGuards,
  },
  {
    id: "ksft-mm:guard-regions:pagemap_scan",
    says: "a scan of the page table finds each guarded page, and goes to the end",
    skip: noScan,
    run(check, t) {
      const start = memory.map(t, pageCount);
      const end = start + pages(pageCount);
      installEach(start, evenPages);
      const { walkEnd, regions } = scanPages(t, { start, end, category: PAGE_IS_GUARD });
      check.equal(walkEnd, end);
      check.deepEqual(
        regions,
        evenPages.map((i) => [start + pages(i), start + pages(i + 1)]),
      );
    },
  },
];

export const guardRegionCases: readonly Case[] = [...memoryCases, ...fileCases];
