// Advice on the pages of a process, by its descriptor. The other process is the test itself: a
// child gives the advice, and the test sees in its own smaps what came of it.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { runSource } from "../helpers/child.js";
import { smapsBytesAt } from "../helpers/proc-self.js";
import { addSwap, whyNot } from "../helpers/root-powers.js";
import { needs } from "../helpers/temp.js";
import type { Case, CaseContext, Check } from "./case.js";
import * as memory from "./memory.js";

const { bytes, pages } = memory;
const hugeBytes = 2 ** 21;

const noOthers = needs("root").skip || needs({ kernel: "5.10" }).skip;
const noCollapse = !raw.accepts("MADV_COLLAPSE") && "needs transparent huge pages and Linux 6.1";

const adviser = `
  import * as raw from "memmap/raw";
  const [pid, addr, length, advice] = process.argv.slice(2);
  const pidfd = raw.pidfd_open(Number(pid), 0);
  const ranges = [{ addr: BigInt(addr), length: Number(length) }];
  const advise = (triesLeft) => {
    try {
      return raw.process_madvise(pidfd, ranges, Number(advice), 0);
    } catch (error) {
      // Something was in the way, or there is no piece of memory for a huge page in this moment.
      if (triesLeft === 0 || !["EAGAIN", "EBUSY", "ENOMEM"].includes(error.code)) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
      return advise(triesLeft - 1);
    }
  };
  console.log(advise(10));`;

interface Range {
  readonly address: bigint;
  readonly length: number;
}

/** What another process gets that advises on a range of this one: the bytes, as text. */
async function advisedByChild({ address, length }: Range, advice: number): Promise<string> {
  const args = [process.pid, address, length, advice].map(String);
  const { stdout, stderr } = await runSource(adviser, args);
  return stdout.trim() || stderr;
}

function dropOwnPages(check: Check, t: CaseContext): void {
  const address = memory.mapFilled(t, 10);
  const pidfd = raw.pidfd_open(process.pid, 0);
  t.after(() => raw.close(pidfd));
  const ranges = [0, 3, 5, 8].map((i) => ({ addr: address + pages(i), length: pageSize }));
  check.equal(raw.process_madvise(pidfd, ranges, raw.MADV_DONTNEED, 0), bytes(4));
  check.deepEqual(memory.peekPages(address, 10), [0, 2, 3, 0, 5, 0, 7, 8, 0, 10]);
}

async function adviseOnTheDead(check: Check, t: CaseContext): Promise<void> {
  const child = spawn("sleep", ["60"], { stdio: "ignore" });
  const end = once(child, "exit");
  const pid = child.pid ?? -1;
  const pidfd = raw.pidfd_open(pid, 0);
  t.after(() => raw.close(pidfd));
  child.kill("SIGKILL");
  await end;
  const ranges = [{ addr: memory.map(t, 1), length: pageSize }];
  for (const advice of [raw.MADV_COLD, raw.MADV_PAGEOUT, raw.MADV_WILLNEED, raw.MADV_DONTNEED]) {
    check.refuses(() => raw.process_madvise(pidfd, ranges, advice, 0), "ESRCH");
  }
}

async function pageOutByChild(check: Check, t: CaseContext): Promise<void> {
  await addSwap(t, 32);
  const length = 2 ** 20;
  const count = length / pageSize;
  const own = memory.map(t, count);
  raw.view(own, length).fill(0x5a);
  check.equal(smapsBytesAt(own, "Swap"), 0);
  check.equal(await advisedByChild({ address: own, length }, raw.MADV_PAGEOUT), String(length));
  // A page that was just being looked at by the kernel may stay.
  const swapped = smapsBytesAt(own, "Swap");
  check.ok(swapped > length / 2, `${swapped} bytes of ${length} are swapped out`);
  check.ok(raw.view(own, length).every((byte) => byte === 0x5a));
}

export const processMadviseCases: readonly Case[] = [
  {
    id: "ksft-mm:process_madv:basic",
    says: "pages of the own process are thrown away in one call, and their bytes counted",
    skip: needs({ kernel: "6.13" }).skip,
    run: dropOwnPages,
  },
  {
    id: "ksft-mm:process_madv:remote_collapse",
    says: "memory of another process becomes a huge page",
    skip: noOthers || noCollapse,
    async run(check, t) {
      const address = memory.mapAligned(t, hugeBytes, hugeBytes);
      raw.view(address, hugeBytes).fill(1);
      if (!memory.isAlwaysHuge()) check.equal(smapsBytesAt(address, "AnonHugePages"), 0);
      const range = { address, length: hugeBytes };
      check.equal(await advisedByChild(range, raw.MADV_COLLAPSE), String(hugeBytes));
      check.equal(smapsBytesAt(address, "AnonHugePages"), hugeBytes);
      check.ok(raw.view(address, hugeBytes).every((byte) => byte === 1));
    },
  },
  {
    id: "ksft-mm:process_madv:exited_process_pidfd",
    says: "a process that has ended is not found, whatever the advice",
    skip: needs({ kernel: "5.10" }).skip,
    run: adviseOnTheDead,
  },
  {
    id: "ksft-mm:process_madv:invalid_vlen",
    says: "more than 1024 ranges are refused",
    skip: needs({ kernel: "5.10" }).skip,
    run(check, t) {
      const pidfd = raw.pidfd_open(process.pid, 0);
      t.after(() => raw.close(pidfd));
      const ranges = Array.from({ length: 1025 }, () => ({ addr: 0n, length: 0 }));
      const advise = (count: number) =>
        raw.process_madvise(pidfd, ranges.slice(0, count), raw.MADV_COLD, 0);
      check.equal(advise(1024), 0);
      check.refuses(() => advise(1025), "EINVAL");
    },
  },
  {
    id: "glibc:tst-process_madvise#cold",
    says: "pages of another process are made the first to go",
    skip: noOthers,
    async run(check, t) {
      const range = { address: memory.mapFilled(t, 2), length: bytes(2) };
      check.equal(await advisedByChild(range, raw.MADV_COLD), String(bytes(2)));
      check.deepEqual(memory.peekPages(range.address, 2), [1, 2]);
    },
  },
  {
    id: "ltp:process_madvise01",
    says: "pages of another process go to swap, and come back with their content",
    skip: noOthers || whyNot("swap"),
    run: pageOutByChild,
  },
];
