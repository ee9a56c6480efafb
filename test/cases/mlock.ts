// Locked memory: which pages a lock brings in and counts, what inherits it, and what an ordinary
// user may lock. A page is asked by msync(MS_INVALIDATE), which refuses locked ones, or in smaps.

import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { runSource } from "../helpers/child.js";
import { cannotFork, forkedAnswer } from "../helpers/fork.js";
import { limitedOutput } from "../helpers/ordinary-user.js";
import { flagsAt, smapsBytesAt, statusBytes } from "../helpers/proc-self.js";
import { needs } from "../helpers/temp.js";
import type { Case, CaseContext, Check } from "./case.js";
import * as memory from "./memory.js";

const { bytes, pages } = memory;

/* What takes CAP_IPC_LOCK: RLIMIT_MEMLOCK, 64 KiB and more, is enough for all others. */
const noRights = needs("root").skip;

function sync(address: bigint, pageCount = 1): void {
  raw.msync(address, bytes(pageCount), raw.MS_INVALIDATE);
}

function isLocked(address: bigint): boolean {
  return flagsAt(address).includes("lo");
}

function lockAndUnlock(check: Check, t: CaseContext): void {
  const address = memory.map(t, 1);
  raw.munlock(address, pageSize);
  sync(address);
  raw.mlock(address, pageSize);
  check.refuses(() => sync(address), "EBUSY");
  check.equal(smapsBytesAt(address, "Locked"), pageSize);
  raw.munlock(address, pageSize);
  sync(address);
  check.ok(!isLocked(address));
}

function lockWithoutAccess(check: Check, t: CaseContext): void {
  const address = memory.map(t, 1, { prot: raw.PROT_NONE });
  check.refuses(() => raw.mlock(address, pageSize), "ENOMEM");
  check.refuses(() => sync(address), "EBUSY");
  check.ok(isLocked(address));
}

interface Lock {
  /** The pages that are there before the lock. */
  readonly populated: readonly number[];
  readonly firstPage: number;
  readonly length: number;
  readonly onFault: boolean;
  /** The pages that the lock covers, one byte of them being enough. */
  readonly lockedCount: number;
}

const all: readonly number[] = [0, 1, 2, 3, 4, 5, 6, 7];

const locks: readonly Lock[] = [
  { populated: [], firstPage: 0, length: bytes(8), onFault: false, lockedCount: 8 },
  { populated: [], firstPage: 0, length: bytes(8), onFault: true, lockedCount: 8 },
  { populated: [1, 3], firstPage: 0, length: bytes(8), onFault: true, lockedCount: 8 },
  { populated: all, firstPage: 0, length: bytes(8), onFault: true, lockedCount: 8 },
  { populated: [], firstPage: 1, length: bytes(3) - 1, onFault: false, lockedCount: 3 },
  { populated: [1], firstPage: 1, length: bytes(3) + 1, onFault: false, lockedCount: 4 },
  { populated: [0, 2], firstPage: 2, length: bytes(2) + 1, onFault: true, lockedCount: 3 },
  { populated: [7], firstPage: 6, length: bytes(2) - 1, onFault: true, lockedCount: 2 },
];

function lockRanges(check: Check, t: CaseContext): void {
  for (const { populated, firstPage, length, onFault, lockedCount } of locks) {
    const address = memory.map(t, 8, { flags: raw.MAP_SHARED | raw.MAP_ANONYMOUS });
    for (const i of populated) raw.view(address + pages(i), 1)[0] = 1;
    const before = statusBytes("VmLck");
    raw.mlock2(address + pages(firstPage), length, onFault ? raw.MLOCK_ONFAULT : 0);
    check.equal(statusBytes("VmLck") - before, bytes(lockedCount));
    const isCovered = (i: number) => i >= firstPage && i < firstPage + lockedCount;
    const expected = all.filter((i) => populated.includes(i) || (!onFault && isCovered(i)));
    const residency = raw.mincore(address, bytes(8));
    check.deepEqual(
      all.filter((i) => ((residency[i] ?? 0) & 1) === 1),
      expected,
    );
    raw.munlock(address, bytes(8));
    check.equal(statusBytes("VmLck"), before);
  }
}

function lockTwice(check: Check, t: CaseContext): void {
  const address = memory.map(t, 1);
  const before = statusBytes("VmLck");
  raw.mlock2(address, pageSize, raw.MLOCK_ONFAULT);
  check.equal(statusBytes("VmLck") - before, pageSize);
  raw.mlock(address, pageSize);
  check.equal(statusBytes("VmLck") - before, pageSize);
}

function lockOnTouch(check: Check, t: CaseContext): void {
  const address = memory.map(t, 2, { flags: raw.MAP_SHARED | raw.MAP_ANONYMOUS });
  raw.mlock2(address, bytes(2), raw.MLOCK_ONFAULT);
  raw.view(address, 1)[0] = 1;
  check.ok(isLocked(address));
  check.equal(smapsBytesAt(address, "Size"), bytes(2));
  check.equal(smapsBytesAt(address, "Rss"), pageSize);
  raw.munlock(address, bytes(2));
  check.ok(!isLocked(address));
}

/* Maps droppable memory in a process of which all future memory is locked. */
const droppableLater = `
  import { pageSize } from "memmap";
  import * as raw from "memmap/raw";
  import { readFileSync } from "node:fs";
  raw.mlockall(raw.MCL_FUTURE | raw.MCL_ONFAULT);
  const flags = [raw.MAP_DROPPABLE, raw.MAP_PRIVATE].map((kind) => {
    const address = raw.mmap(null, pageSize, raw.PROT_READ, kind | raw.MAP_ANONYMOUS, -1, 0);
    const from = new RegExp("^" + address.toString(16).padStart(8, "0") + "-", "m");
    const smaps = readFileSync("/proc/self/smaps", "utf8");
    return /VmFlags: (.*)/.exec(smaps.slice(smaps.search(from)))[1].split(" ").includes("lo");
  });
  raw.munlockall();
  console.log(flags.join());`;

async function lockDroppable(check: Check, t: CaseContext): Promise<void> {
  const address = memory.map(t, 1, { flags: raw.MAP_DROPPABLE | raw.MAP_ANONYMOUS });
  raw.mlock2(address, pageSize, 0);
  check.ok(!isLocked(address));
  const { stdout, stderr } = await runSource(droppableLater);
  check.equal(stdout, "false,true\n", stderr);
}

const forkedLock = `const address = filled(1);
  raw.mlock(address, pageSize);
  const [child] = inFork(sync(address, pageSize, raw.MS_INVALIDATE));
  try {
    raw.msync(address, pageSize, raw.MS_INVALIDATE);
    answer([child, "not locked"]);
  } catch (error) {
    answer([child, error.code]);
  }`;

/** What a call answers an ordinary user who may lock so many pages. */
function asOrdinaryUser(pageCount: number, call: string): Promise<string> {
  const code = `
    const flags = raw.MAP_PRIVATE | raw.MAP_ANONYMOUS;
    const address = raw.mmap(null, 2 * pageSize, raw.PROT_READ, flags, -1, 0);
    const map = (length, more) => raw.mmap(null, length, raw.PROT_READ, flags | more, -1, 0);
    limit("memlock", ${pageCount} * pageSize);
    dropRights();
    const lines = fs.readFileSync("/proc/self/status", "utf8").split("\\n");
    assert.ok(lines.includes("VmLck:\\t       0 kB"), "something is locked");
    console.log(failure(() => { ${call}; }));`;
  return limitedOutput(code);
}

const userCases: readonly Case[] = [
  {
    id: "gvisor:mlock.cc:MlockTest:RlimitMemlockZero",
    says: "who may lock nothing is not permitted to lock",
    async run(check) {
      const lock = "raw.mlock(address, pageSize)";
      check.match(await asOrdinaryUser(0, lock), /^SystemError \| EPERM \| mlock \|/);
      const lock2 = "raw.mlock2(address, pageSize, raw.MLOCK_ONFAULT)";
      check.match(await asOrdinaryUser(0, lock2), /^SystemError \| EPERM \| mlock2 \|/);
    },
  },
  {
    id: "gvisor:mlock.cc:MlockTest:RlimitMemlockInsufficient",
    says: "no more can be locked than the limit allows",
    async run(check) {
      const first = "raw.mlock(address, pageSize)";
      check.equal(await asOrdinaryUser(1, first), "no error\n");
      const both = "raw.mlock(address, 2 * pageSize)";
      check.match(await asOrdinaryUser(1, both), /^SystemError \| ENOMEM \| mlock \|/);
    },
  },
  {
    id: "gvisor:mlock.cc:MapLockedTest:RlimitMemlockZero",
    says: "who may lock nothing is not permitted to map locked memory",
    async run(check) {
      const map = "map(pageSize, raw.MAP_LOCKED)";
      check.match(await asOrdinaryUser(0, map), /^SystemError \| EPERM \| mmap \|/);
      check.equal(await asOrdinaryUser(0, "map(pageSize, 0)"), "no error\n");
    },
  },
  {
    id: "gvisor:mlock.cc:MapLockedTest:RlimitMemlockInsufficient",
    says: "mapping more locked memory than the limit allows may succeed later: EAGAIN",
    async run(check) {
      const map = "map(2 * pageSize, raw.MAP_LOCKED)";
      check.match(await asOrdinaryUser(1, map), /^SystemError \| EAGAIN \| mmap \|/);
      check.equal(await asOrdinaryUser(1, "map(pageSize, raw.MAP_LOCKED)"), "no error\n");
    },
  },
];

/* Whether mappings made before, while and after all future memory is locked are locked. */
const lockedFuture = `
  import { pageSize } from "memmap";
  import * as raw from "memmap/raw";
  const isLocked = (address) => {
    try {
      raw.msync(address, pageSize, raw.MS_INVALIDATE);
      return false;
    } catch (error) {
      if (error.code !== "EBUSY") throw error;
      return true;
    }
  };
  const map = () => raw.mmap(null, pageSize, 3, raw.MAP_PRIVATE | raw.MAP_ANONYMOUS, -1, 0);
  const before = map();
  raw.mlockall(raw.MCL_FUTURE);
  const between = map();
  const wasLocked = [before, between].map(isLocked);
  raw.munlockall();
  const after = map();
  console.log([...wasLocked, isLocked(between), isLocked(after)].join());`;

/* What is locked while all memory is, and afterwards. Engines reserve gigabytes that they do not
 * use: MCL_ONFAULT keeps them from coming in. */
const lockedAll = `
  import * as raw from "memmap/raw";
  import { readFileSync } from "node:fs";
  const status = () => readFileSync("/proc/self/status", "utf8");
  const locked = () => Number(/VmLck:\\s+(\\d+)/.exec(status())[1]);
  raw.mlockall(raw.MCL_CURRENT | raw.MCL_FUTURE | raw.MCL_ONFAULT);
  const all = locked();
  raw.munlockall();
  console.log([all > 0, locked()].join());`;

const processCases: readonly Case[] = [
  {
    id: "gvisor:mlock.cc:MlockallTest:Future",
    says: "memory that is mapped while the future is locked is locked, until all is unlocked",
    skip: noRights,
    async run(check) {
      const { stdout, stderr } = await runSource(lockedFuture);
      check.equal(stdout, "false,true,false,false\n", stderr);
    },
  },
  {
    id: "ltp:munlockall01",
    says: "a process that locked all its memory has nothing locked after unlocking all",
    skip: noRights,
    async run(check) {
      const { stdout, stderr } = await runSource(lockedAll);
      check.equal(stdout, "true,0\n", stderr);
    },
  },
];

const pageCases: readonly Case[] = [
  {
    id: "gvisor:mlock.cc:MlockTest:Basic",
    says: "a page is locked until it is unlocked, and one that is not locked can be unlocked",
    run: lockAndUnlock,
  },
  {
    id: "gvisor:mlock.cc:MlockTest:ProtNone",
    says: "a page that may not be touched cannot come in, and counts as locked all the same",
    run: lockWithoutAccess,
  },
  {
    id: "gvisor:mlock.cc:MlockTest:Fork",
    says: "a child does not inherit locks",
    skip: cannotFork,
    async run(check, t) {
      check.deepEqual(await forkedAnswer(t, forkedLock), [0, "EBUSY"]);
    },
  },
  {
    id: "ltp:mlock201",
    says: "whole pages are locked; all come in at once, or each at its first touch",
    run: lockRanges,
  },
  {
    id: "ltp:mlock203",
    says: "a page that is locked twice counts once",
    run: lockTwice,
  },
  {
    id: "ksft-mm:mlock2:onfault",
    says: "of memory that is locked on touch only the touched page is there",
    run: lockOnTouch,
  },
  {
    id: "ksft-mm:mlock2:droppable",
    says: "droppable memory can be locked without an error, and is never marked as locked",
    skip: needs({ kernel: "6.11" }).skip || noRights,
    run: lockDroppable,
  },
];

export const mlockCases: readonly Case[] = [...pageCases, ...userCases, ...processCases];
