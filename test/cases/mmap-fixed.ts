// Mappings at addresses of the caller's choice, and the addresses that a processor has.

import { readFileSync } from "node:fs";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { areaAt, permissionsAt } from "../helpers/proc-self.js";
import {
  anonymous,
  firstBytes,
  mapPages,
  pages,
  peek,
  poke,
  reserve,
  retry,
  rw,
} from "../helpers/raw-pages.js";
import type { Case, CaseContext } from "./case.js";

const { MAP_FIXED_NOREPLACE } = raw;

/* Maps pages at an address where nothing stands. */
function mapInHole(address: bigint, pageCount: number, prot = rw): bigint {
  return raw.mmap(address, pageCount * pageSize, prot, anonymous | MAP_FIXED_NOREPLACE, -1, 0);
}

/* Five pages of which the first and the last are holes; the three between hold a mark. */
function makeWindow(t: CaseContext): bigint {
  const base = reserve(t, 5);
  mapPages(t, 3, { at: base + pages(1) });
  for (const page of [1, 2, 3]) poke(base + pages(page), Uint8Array.of(0xa0 + page));
  raw.munmap(base, pageSize);
  raw.munmap(base + pages(4), pageSize);
  return base;
}

function hasLargeAddresses(): boolean {
  return / la57( |$)/m.test(readFileSync("/proc/cpuinfo", "utf8"));
}

export const mmapFixedCases: readonly Case[] = [
  {
    id: "gvisor:mmap.cc:MapFixedNoReplaceEmpty",
    says: "a free range is mapped exactly where it was asked for",
    run: (check, t) => {
      retry(() => {
        const base = reserve(t, 3);
        raw.munmap(base + pages(1), pageSize);
        check.equal(mapInHole(base + pages(1), 1), base + pages(1));
        check.equal(permissionsAt(base + pages(1)), "rw-p");
        check.equal(permissionsAt(base), "---p");
      });
    },
  },
  {
    id: "gvisor:mmap.cc:MapFixedNoReplaceExisting",
    says: "a page that is in use is refused, with no other place instead, and keeps its bytes",
    run: (check, t) => {
      const base = mapPages(t, 3);
      poke(base + pages(1), Uint8Array.of(1, 2, 3));
      const before = areaAt(base + pages(1));
      check.refuses(() => mapInHole(base + pages(1), 1, raw.PROT_READ), "EEXIST");
      check.deepEqual(peek(base + pages(1), 3), [1, 2, 3]);
      check.deepEqual(areaAt(base + pages(1)), before);
    },
  },
  {
    id: "ksft-mm:map_fixed_noreplace#overlap",
    says: "a range that meets pages in use is refused: around, inside, at the end, at the start",
    run: (check, t) => {
      const base = makeWindow(t);
      const ranges = [
        [0, 5],
        [2, 1],
        [3, 2],
        [0, 2],
      ] as const;
      for (const [first, count] of ranges) {
        check.refuses(() => mapInHole(base + pages(first), count), "EEXIST");
      }
      check.deepEqual(firstBytes(base + pages(1), 3), [0xa1, 0xa2, 0xa3]);
    },
  },
  {
    id: "ksft-mm:map_fixed_noreplace#adjacent",
    says: "the pages directly before and behind pages in use are taken",
    run: (check, t) => {
      retry(() => {
        const base = makeWindow(t);
        check.equal(mapInHole(base, 1), base);
        check.equal(mapInHole(base + pages(4), 1), base + pages(4));
        check.deepEqual(firstBytes(base, 5), [0, 0xa1, 0xa2, 0xa3, 0]);
      });
    },
  },
  {
    id: "gvisor:mmap.cc:MapFixedNoReplaceAlignment",
    says: "an address inside a page is refused",
    run: (check, t) => {
      const base = reserve(t, 2);
      raw.munmap(base, pageSize);
      check.refuses(() => mapInHole(base + 1n, 1), "EINVAL");
    },
  },
  {
    id: "ksft-mm:virtual_address_range",
    says: "a hint above 2^47 is passed over where page tables have four levels",
    skip: process.arch !== "x64" && "needs x86-64",
    run: (check, t) => {
      const hint = 1n << 50n;
      const address = raw.mmap(hint, pageSize, rw, anonymous, -1, 0);
      t.after(() => raw.munmap(address, pageSize));
      check.equal(address < 1n << 47n, !hasLargeAddresses());
      check.deepEqual(peek(address), [0]);
    },
  },
];
