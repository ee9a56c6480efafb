// Memory read and written from outside the mapping: /proc/PID/mem and process_vm_readv(2), which
// answer with an error or a short count where a touch would be a fault.

import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { noCompiler } from "../helpers/compile.js";
import { mapPages, openUntilEnd, pages, retry, rw } from "../helpers/raw-pages.js";
import { makeArena, syscall } from "../helpers/syscalls.js";
import type { Case, CaseContext } from "./case.js";

const seekEnd = 2;

function openMemory(t: CaseContext): number {
  return openUntilEnd(t, "/proc/self/mem", "r+");
}

/* Unmaps the page at an address that is unmapped for the time of the body, again where somebody
   else got the hole meanwhile. */
function withHole(t: CaseContext, body: (hole: bigint) => void): void {
  retry(() => {
    const place = mapPages(t, 3);
    raw.munmap(place + pages(1), pageSize);
    body(place + pages(1));
  });
}

export const processVmCases: readonly Case[] = [
  {
    id: "gvisor:proc.cc:ProcPidMem:Read",
    says: "/proc/self/mem has addresses for offsets, and no end to seek from",
    skip: noCompiler,
    run: (check, t) => {
      const fd = openMemory(t);
      const address = mapPages(t, 1);
      const view = raw.view(address, pageSize);
      view.set([1, 2, 3, 4], 100);
      const target = makeArena(t).room(4);
      const at = address + 100n;
      check.equal(syscall(t, "pread64", fd, target.address, 4, at), 4);
      check.deepEqual([...target.bytes], [1, 2, 3, 4]);
      target.bytes.set([9, 8, 7, 6]);
      check.equal(syscall(t, "pwrite64", fd, target.address, 4, at), 4);
      check.deepEqual([...view.subarray(99, 105)], [0, 9, 8, 7, 6, 0]);
      // Seeking twice to the same place reads the same bytes twice.
      for (const _ of [1, 2]) {
        check.equal(BigInt(syscall(t, "lseek", fd, at, 0)), at);
        check.equal(syscall(t, "read", fd, target.address, 2), 2);
        check.deepEqual([...target.bytes.subarray(0, 2)], [9, 8]);
      }
      check.refuses(() => syscall(t, "lseek", fd, 0, seekEnd), "EINVAL");
    },
  },
  {
    id: "gvisor:proc.cc:ProcPidMem:Unmapped",
    says: "reading /proc/self/mem where nothing is mapped fails, and changes nothing here",
    skip: noCompiler,
    run: (check, t) => {
      const fd = openMemory(t);
      const target = makeArena(t).room(4);
      target.bytes.fill(5);
      withHole(t, (hole) => {
        check.refuses(() => syscall(t, "pread64", fd, target.address, 4, hole), "EIO");
        check.refuses(() => syscall(t, "pwrite64", fd, target.address, 4, hole), "EIO");
      });
      check.deepEqual([...target.bytes], [5, 5, 5, 5]);
    },
  },
  {
    id: "gvisor:proc.cc:ProcPidMem:PartialRead",
    says: "a read of /proc/self/mem across the end of a mapping is short",
    skip: noCompiler,
    run: (check, t) => {
      const fd = openMemory(t);
      const target = makeArena(t, 3).room(2 * pageSize);
      withHole(t, (hole) => {
        raw.view(hole - pages(1), pageSize).fill(3);
        target.bytes.fill(0);
        const length = 2 * pageSize - 10;
        const count = syscall(t, "pread64", fd, target.address, length, hole - pages(1) + 10n);
        check.equal(count, pageSize - 10);
      });
      check.equal(target.bytes.lastIndexOf(3), pageSize - 11);
    },
  },
  {
    id: "gvisor:process_vm:AccessInvalidMemory",
    says: "process_vm_readv and process_vm_writev on memory of no access fail without a signal",
    skip: noCompiler,
    run: (check, t) => {
      const arena = makeArena(t);
      const local = arena.words(arena.room(16).address, 16);
      const closed = mapPages(t, 1, { prot: raw.PROT_NONE });
      const remote = arena.words(closed, 16);
      for (const name of ["process_vm_readv", "process_vm_writev"] as const) {
        check.refuses(() => syscall(t, name, process.pid, local, 1, remote, 1, 0), "EFAULT");
      }
      // What may only be read takes no bytes, and what may be both takes them.
      raw.mprotect(closed, pageSize, raw.PROT_READ);
      const write = () => syscall(t, "process_vm_writev", process.pid, local, 1, remote, 1, 0);
      check.equal(syscall(t, "process_vm_readv", process.pid, local, 1, remote, 1, 0), 16);
      check.refuses(write, "EFAULT");
      raw.mprotect(closed, pageSize, rw);
      check.equal(write(), 16);
      raw.check(closed, pageSize);
    },
  },
  {
    id: "gvisor:process_vm:Args",
    says: "unknown flags, too many ranges and no such process are refused; no ranges are no bytes",
    skip: noCompiler,
    run: (check, t) => {
      const arena = makeArena(t);
      const range = arena.words(arena.room(16).address, 16);
      const list = mapPages(t, 8);
      const read = (pid: number, count: number, flags: number) =>
        syscall(t, "process_vm_readv", pid, range, 1, count === 1 ? range : list, count, flags);
      check.refuses(() => read(process.pid, 1, 10), "EINVAL");
      check.refuses(() => read(process.pid, 1025, 0), "EINVAL");
      check.equal(read(process.pid, 1024, 0), 0);
      check.refuses(() => read(-1, 1, 0), "ESRCH");
      check.equal(read(process.pid, 0, 0), 0);
      check.equal(syscall(t, "process_vm_readv", process.pid, 0, 0, 0, 0, 0), 0);
      check.equal(read(process.pid, 1, 0), 16);
    },
  },
];
