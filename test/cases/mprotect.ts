// Protections that change: what is refused, what a touch against them does, how maps shows them.

import { readSync } from "node:fs";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { areasOf, permissionsAt } from "../helpers/proc-self.js";
import {
  anonymous,
  faultOf,
  mapPages,
  numbered,
  openFile,
  openUntilEnd,
  pages,
  peek,
  poke,
  reserve,
  retry,
  rw,
} from "../helpers/raw-pages.js";
import type { Case } from "./case.js";

const { PROT_NONE, PROT_READ, MAP_SHARED } = raw;

function max(one: bigint, other: bigint): bigint {
  return [one, other].reduce((a, b) => (a > b ? a : b));
}

/* The rows of /proc/self/maps that touch a range, cut at its ends: pages and permissions. */
function rowsOf(address: bigint, pageCount: number): string[] {
  const end = address + pages(pageCount);
  return areasOf()
    .filter((area) => area.start < end && area.end > address)
    .map(({ start, end: areaEnd, permissions }) => {
      const outside = max(address - start, 0n) + max(areaEnd - end, 0n);
      return `${(areaEnd - start - outside) / pages(1)} ${permissions}`;
    });
}

const refusals: readonly Case[] = [
  {
    id: "ltp:mprotect01#1",
    says: "a range that is not mapped is refused",
    run: (check, t) => {
      retry(() => {
        const place = reserve(t, 4);
        raw.munmap(place + pages(1), 2 * pageSize);
        const protect = () => raw.mprotect(place + pages(1), pageSize + 1, PROT_READ);
        check.refuses(protect, "ENOMEM");
        check.equal(permissionsAt(place + pages(1)), "");
      });
    },
  },
  {
    id: "ltp:mprotect01#3",
    says: "a shared mapping of a file that was opened for reading cannot be made writable",
    run: (check, t) => {
      const writable = openFile(t, numbered(1));
      const fd = openUntilEnd(t, `/proc/self/fd/${writable}`, "r");
      const address = mapPages(t, 1, { prot: PROT_READ, flags: MAP_SHARED, fd });
      check.refuses(() => raw.mprotect(address, pageSize, raw.PROT_WRITE), "EACCES");
      check.equal(permissionsAt(address), "r--s");
    },
  },
  {
    id: "gvisor:mmap.cc:MprotectHugeLength",
    says: "a length of all addresses is refused",
    run: (check, t) => {
      const address = mapPages(t, 1);
      const length = (1n << 64n) - 1n;
      check.refuses(() => raw.mprotect(address, length, PROT_READ), "ENOMEM");
      check.equal(permissionsAt(address), "rw-p");
    },
  },
];

const touches: readonly Case[] = [
  {
    id: "gvisor:mmap.cc:ProtectProtWrite",
    says: "a page without any permission takes stores once it is writable",
    run: (check, t) => {
      const address = mapPages(t, 1, { prot: PROT_NONE });
      raw.mprotect(address, pageSize, rw);
      raw.view(address, pageSize).fill(0x33);
      check.deepEqual(peek(address, 2), [0x33, 0x33]);
      raw.check(address, pageSize);
    },
  },
  {
    id: "gvisor:mmap.cc:MprotectReadOnlyDeath",
    says: "a store after the page was made read-only is a fault, and the value before is kept",
    run: (check, t) => {
      const address = mapPages(t, 1);
      const bytes = raw.view(address, pageSize);
      bytes[0] = 0x11;
      raw.mprotect(address, pageSize, PROT_READ);
      const fault = faultOf(address, pageSize, () => {
        bytes[0] = 0x22;
      });
      check.equal(fault.reason, "protected");
      check.equal(fault.access, "write");
      // The store went to a copy, which ends when the page is protected anew.
      raw.mprotect(address, pageSize, PROT_READ);
      check.equal(bytes[0], 0x11);
      check.deepEqual(peek(address), [0x11]);
      check.equal(permissionsAt(address), "r--p");
    },
  },
  {
    id: "ltp:mprotect02",
    says: "a store to a read-only file mapping is a fault; made writable, it reaches the file",
    run: (check, t) => {
      const fd = openFile(t, numbered(1));
      const address = mapPages(t, 1, { prot: PROT_READ, fd });
      const bytes = raw.view(address, pageSize);
      const read = () => {
        const byte = new Uint8Array(1);
        readSync(fd, byte, 0, 1, 0);
        return byte[0];
      };
      const fault = faultOf(address, pageSize, () => {
        bytes[0] = 0x22;
      });
      check.equal(fault.reason, "protected");
      check.equal(read(), 1);
      raw.mprotect(address, pageSize, raw.PROT_WRITE);
      bytes[0] = 0x44;
      raw.check(address, pageSize);
      check.equal(read(), 0x44);
    },
  },
  {
    id: "gvisor:mmap.cc:MprotectProtNone",
    says: "a load from a page without permission is told as forbidden, and not as unmapped",
    run: (check, t) => {
      const address = mapPages(t, 2);
      const bytes = raw.view(address, 2 * pageSize).fill(1);
      raw.mprotect(address, pageSize, PROT_NONE);
      raw.munmap(address + pages(1), pageSize);
      let seen: number | undefined;
      const forbidden = faultOf(address, pageSize, () => {
        seen = bytes[3];
      });
      check.equal(forbidden.reason, "protected");
      check.equal(forbidden.access, "read");
      check.equal(forbidden.address, address + 3n);
      check.equal(seen, 0);
      const unmapped = faultOf(address + pages(1), pageSize, () => {
        seen = bytes[pageSize];
      });
      check.equal(unmapped.reason, "closed");
    },
  },
  {
    id: "ksft-mm:mkdirty:ptrace_write",
    says: "the kernel stores into a read-only page by force, a plain store is a fault all the same",
    run: (check, t) => {
      const address = mapPages(t, 1, { prot: PROT_READ });
      const bytes = raw.view(address, pageSize);
      check.equal(bytes[0], 0);
      try {
        poke(address, Uint8Array.of(0x77));
      } catch (error) {
        t.skip(`needs a kernel that writes to /proc/self/mem by force: ${String(error)}`);
        return;
      }
      check.equal(bytes[0], 0x77);
      const fault = faultOf(address, pageSize, () => {
        bytes[0] = 0x55;
      });
      check.equal(fault.reason, "protected");
      check.equal(fault.access, "write");
    },
  },
];

const rows: readonly Case[] = [
  {
    id: "gvisor:proc.cc:ProcSelfMaps:Mprotect",
    says: "pages of another protection are rows of their own, and one row again with the same",
    run: (check, t) => {
      const place = reserve(t, 7);
      // Without a promise of swap space, which may keep what was writable from being joined.
      const flags = anonymous | raw.MAP_NORESERVE;
      const inner = mapPages(t, 5, { prot: PROT_NONE, flags, at: place + pages(1) });
      const middle = inner + pages(2);
      check.deepEqual(rowsOf(inner, 5), ["5 ---p"]);
      raw.mprotect(inner + pages(1), 3 * pageSize, PROT_READ);
      check.deepEqual(rowsOf(inner, 5), ["1 ---p", "3 r--p", "1 ---p"]);
      raw.mprotect(middle, pageSize, rw);
      check.deepEqual(rowsOf(inner, 5), ["1 ---p", "1 r--p", "1 rw-p", "1 r--p", "1 ---p"]);
      raw.mprotect(middle, pageSize, PROT_READ);
      const three = rowsOf(inner, 5);
      raw.mprotect(inner + pages(1), 3 * pageSize, PROT_NONE);
      const one = rowsOf(inner, 5);
      check.deepEqual([three, one], [["1 ---p", "3 r--p", "1 ---p"], ["5 ---p"]]);
    },
  },
];

export const mprotectCases: readonly Case[] = [...refusals, ...touches, ...rows];
