// Advice on pages: what each does to content, files and children of fork, and what is refused.

import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { cannotFork, forkedAnswer, unreadable } from "../helpers/fork.js";
import { flagsAt, pageTable, smapsBytesAt } from "../helpers/proc-self.js";
import { needs } from "../helpers/temp.js";
import type { Case, CaseContext, Check } from "./case.js";
import * as memory from "./memory.js";

const { bytes, pages } = memory;
const hugeBytes = 2 ** 21;

/* Four pages with a hole in the place of one, which another thread may take. */
function withHole(t: CaseContext, holeIndex: number, body: (address: bigint) => void): void {
  memory.retry(() => {
    const address = memory.map(t, 4);
    raw.munmap(address + pages(holeIndex), pageSize);
    body(address);
  });
}

function removeIsRefused(check: Check, t: CaseContext): void {
  const remove = (address: bigint) => () => raw.madvise(address, pageSize, raw.MADV_REMOVE);
  const path = memory.makeFile(t, memory.numbered(2));
  const readOnly = memory.open(t, path, "r");
  const locked = memory.map(t, 1, { fd: memory.memoryFile(t, memory.numbered(1)) });
  raw.mlock(locked, pageSize);
  check.refuses(remove(locked), "EINVAL");
  check.refuses(remove(memory.map(t, 1, { fd: readOnly, prot: raw.PROT_READ })), "EACCES");
  check.refuses(remove(memory.map(t, 1, { fd: readOnly, flags: raw.MAP_PRIVATE })), "EACCES");
  check.refuses(remove(memory.map(t, 1)), "EINVAL");

  const shared = memory.mapFilled(t, 1, { flags: raw.MAP_SHARED | raw.MAP_ANONYMOUS });
  remove(shared)();
  check.equal(memory.peek(shared), 0, "shared anonymous memory was not freed");
  const fd = memory.memoryFile(t, memory.numbered(2));
  remove(memory.map(t, 2, { fd, prot: raw.PROT_READ }))();
  const other = memory.map(t, 2, { fd });
  check.deepEqual(memory.peekPages(other, 2), [0, 2], "the file has no hole");
}

function adviceReachesMappedPart(check: Check, t: CaseContext): void {
  withHole(t, 3, (address) => {
    raw.madvise(address, bytes(3), raw.MADV_RANDOM);
    check.ok(flagsAt(address).includes("rr"));
    check.refuses(() => raw.madvise(address, bytes(4), raw.MADV_NORMAL), "ENOMEM");
    check.ok(!flagsAt(address).includes("rr"), "the mapped part was left as it was");
    check.refuses(() => raw.madvise(address, bytes(4), raw.MADV_WILLNEED), "ENOMEM");
  });
}

function onlyPrivateAnonymous(check: Check, t: CaseContext, advice: number): void {
  const fd = memory.memoryFile(t, memory.numbered(1));
  for (const plan of [
    { fd },
    { flags: raw.MAP_SHARED | raw.MAP_ANONYMOUS },
    { fd, flags: raw.MAP_PRIVATE },
  ]) {
    const address = memory.map(t, 1, plan);
    check.refuses(() => raw.madvise(address, pageSize, advice), "EINVAL");
  }
  raw.madvise(memory.map(t, 1), pageSize, advice);
}

/** Parts of blocks of the size of a huge page: blocks, first byte, length. */
const parts: readonly (readonly [blocks: number, offset: number, length: number])[] = [
  [1, 0, pageSize],
  [1, 0, hugeBytes / 2],
  [1, hugeBytes / 2, hugeBytes / 2],
  [1, hugeBytes / 4, hugeBytes / 2],
  [2, hugeBytes / 2, hugeBytes],
  [2, 0, hugeBytes + pageSize],
  [3, hugeBytes / 2, 2 * hugeBytes],
];

function dropPartOfHugePages(check: Check, t: CaseContext): void {
  for (const [blocks, offset, length] of parts) {
    const size = blocks * hugeBytes;
    const address = memory.mapAligned(t, size, hugeBytes);
    const all = raw.view(address, size);
    raw.madvise(address, size, raw.MADV_HUGEPAGE);
    all.fill(1);
    memory.collapse(address, size);
    check.equal(smapsBytesAt(address, "AnonHugePages"), size);
    raw.madvise(address + BigInt(offset), length, raw.MADV_DONTNEED);
    const expected = new Uint8Array(size).fill(1).fill(0, offset, offset + length);
    check.equal(Buffer.compare(all, expected), 0, `${length} bytes at ${offset} of ${size}`);
  }
}

async function childLacksMiddlePage(check: Check, t: CaseContext): Promise<void> {
  const answer = await forkedAnswer(
    t,
    `const address = filled(3);
    raw.madvise(address + pages(1), pageSize, raw.MADV_DONTFORK);
    const [first, last] = [address, address + pages(2)];
    const child = inFork(peek(first), peek(address + pages(1)), peek(last),
      poke(first, 71), poke(last, 73), peek(first), peek(last));
    answer([child, [0, 1, 2].map((i) => raw.view(address + pages(i), 1)[0])]);`,
  );
  check.deepEqual(answer, [
    [1, unreadable, 3, 71, 73, 71, 73],
    [1, 2, 3],
  ]);
}

const wiped = `const address = filled(2);
  raw.madvise(address, bytes(2), raw.MADV_WIPEONFORK);
  const [first, second] = [address, address + pages(1)];
  const family = inFork(peek(first), peek(second), forkAgain(), peek(first), peek(second));
  answer([family, raw.view(first, 1)[0], raw.view(second, 1)[0]]);`;

const notWiped = `const untouched = filled(1);
  raw.madvise(untouched, 0, raw.MADV_WIPEONFORK);
  const undone = filled(1);
  raw.madvise(undone, pageSize, raw.MADV_WIPEONFORK);
  raw.madvise(undone, pageSize, raw.MADV_KEEPONFORK);
  const wiped = filled(1);
  raw.madvise(wiped, pageSize, raw.MADV_WIPEONFORK);
  answer(inFork(peek(untouched), peek(undone), peek(wiped)));`;

const dropped = `const address = filled(2);
  const child = inFork(peek(address), advise(address, pageSize, raw.MADV_DONTNEED),
    peek(address), peek(address + pages(1)));
  answer([child, raw.view(address, 1)[0]]);`;

const refusedCases: readonly Case[] = [
  {
    id: "ltp:madvise02#1",
    says: "an address inside a page is refused",
    run(check, t) {
      const address = memory.map(t, 2);
      check.refuses(() => raw.madvise(address + 1n, pageSize, raw.MADV_NORMAL), "EINVAL");
    },
  },
  {
    id: "ltp:madvise02#2",
    says: "a number that is no advice is refused",
    run(check, t) {
      check.refuses(() => raw.madvise(memory.map(t, 1), pageSize, 1212), "EINVAL");
    },
  },
  {
    id: "ltp:madvise02#REMOVE",
    says: "a hole is made in shared memory that is not locked, by a descriptor that may write",
    run: removeIsRefused,
  },
  {
    id: "ltp:madvise02#hole",
    says: "a range that ends in a hole is an error, and its mapped pages are advised",
    run: adviceReachesMappedPart,
  },
  {
    id: "ltp:madvise02#FREE",
    says: "only private anonymous pages can be freed lazily",
    run: (check, t) => onlyPrivateAnonymous(check, t, raw.MADV_FREE),
  },
  {
    id: "ltp:madvise02#WIPEONFORK",
    says: "only private anonymous pages can be wiped on fork",
    run: (check, t) => onlyPrivateAnonymous(check, t, raw.MADV_WIPEONFORK),
  },
];

const contentCases: readonly Case[] = [
  {
    id: "gvisor:madvise.cc:ZerosPrivateAnonPage",
    says: "a private anonymous page that is not needed is zeros at the next touch",
    run(check, t) {
      const address = memory.mapFilled(t, 1);
      const view = raw.view(address, pageSize);
      check.equal(view[pageSize - 1], 1);
      raw.madvise(address, pageSize, raw.MADV_DONTNEED);
      check.equal(pageTable(address, 1).present, 0);
      check.ok(view.every((byte) => byte === 0));
    },
  },
  {
    id: "gvisor:madvise.cc:ZerosCOWAnonPageInCallerOnly",
    says: "a child that does not need an inherited page loses it alone",
    skip: cannotFork,
    async run(check, t) {
      check.deepEqual(await forkedAnswer(t, dropped), [[1, 0, 0, 2], 1]);
    },
  },
  {
    id: "gvisor:madvise.cc:HugePageSubrange",
    says: "a part of huge pages is dropped to the byte, whatever it covers of them",
    skip: !raw.accepts("MADV_COLLAPSE") && "needs transparent huge pages and Linux 6.1",
    run: dropPartOfHugePages,
  },
];

const forkCases: readonly Case[] = [
  {
    id: "gvisor:madvise.cc:DontforkAnonPrivate",
    says: "a child lacks the page that is not for it, and its writes beside it are its own",
    skip: cannotFork,
    run: childLacksMiddlePage,
  },
  {
    id: "ltp:madvise10#1",
    says: "memory that is wiped on fork is zeros for the child and its child, not for the parent",
    skip: cannotFork,
    async run(check, t) {
      check.deepEqual(await forkedAnswer(t, wiped), [[0, 0, 0, 0, 0], 1, 2]);
    },
  },
  {
    id: "ltp:madvise10#2",
    says: "nothing is wiped by a length of 0, nor after the advice was undone",
    skip: cannotFork,
    async run(check, t) {
      check.deepEqual(await forkedAnswer(t, notWiped), [1, 1, 0]);
    },
  },
];

const noPopulate = needs({ kernel: "5.14" }).skip;

const populateCases: readonly Case[] = [
  {
    id: "ksft-mm:madv_populate:prot_read",
    says: "memory that can only be read is populated by reading, and not by writing",
    skip: noPopulate,
    run(check, t) {
      const count = hugeBytes / pageSize;
      const address = memory.map(t, count, { prot: raw.PROT_READ });
      const populate = (advice: number) => raw.madvise(address, hugeBytes, advice);
      check.refuses(() => populate(raw.MADV_POPULATE_WRITE), "EINVAL");
      check.equal(pageTable(address, count).present, 0);
      populate(raw.MADV_POPULATE_READ);
      check.equal(pageTable(address, count).present, count);
    },
  },
  {
    id: "ksft-mm:madv_populate:prot_write",
    says: "memory that can only be written is populated by writing, and not by reading",
    skip: noPopulate,
    run(check, t) {
      const count = hugeBytes / pageSize;
      const address = memory.map(t, count, { prot: raw.PROT_WRITE });
      const populate = (advice: number) => raw.madvise(address, hugeBytes, advice);
      check.refuses(() => populate(raw.MADV_POPULATE_READ), "EINVAL");
      check.equal(pageTable(address, count).present, 0);
      populate(raw.MADV_POPULATE_WRITE);
      const { present, anonymous } = pageTable(address, count);
      check.deepEqual([present, anonymous], [count, count]);
    },
  },
  {
    id: "ksft-mm:madv_populate:holes",
    says: "a range with a hole at its start, in the middle or at its end is not populated",
    skip: noPopulate,
    run(check, t) {
      for (const advice of [raw.MADV_POPULATE_READ, raw.MADV_POPULATE_WRITE]) {
        for (const holeIndex of [0, 2, 3]) {
          withHole(t, holeIndex, (address) => {
            check.refuses(() => raw.madvise(address, bytes(4), advice), "ENOMEM");
          });
        }
      }
    },
  },
];

export const madviseCases: readonly Case[] = [
  ...refusedCases,
  ...contentCases,
  ...forkCases,
  ...populateCases,
];
