// Mappings that become shorter and longer in their place, and what mremap(2) refuses.

import { ftruncateSync, readSync } from "node:fs";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { areaAt, areasOf, permissionsAt } from "../helpers/proc-self.js";
import {
  faultOf,
  firstBytes,
  mapPages,
  openFile,
  pages,
  poke,
  reserve,
  retry,
  rw,
} from "../helpers/raw-pages.js";
import { needs } from "../helpers/temp.js";
import type { Case, CaseContext } from "./case.js";

const { MREMAP_FIXED, MREMAP_MAYMOVE, PROT_READ } = raw;
const moveThere = MREMAP_MAYMOVE | MREMAP_FIXED;

/* Some pages of memory, each with its number, and a hole before and behind them. */
function makeIsland(t: CaseContext, pageCount: number): bigint {
  const place = reserve(t, pageCount + 3);
  const address = mapPages(t, pageCount, { at: place + pages(1) });
  fillNumbers(address, pageCount);
  raw.munmap(place, pageSize);
  raw.munmap(address + pages(pageCount), 2 * pageSize);
  return address;
}

function fillNumbers(address: bigint, pageCount: number, first = 1): void {
  for (let i = 0; i < pageCount; i++) poke(address + pages(i), Uint8Array.of(first + i));
}

const shorter: readonly Case[] = [
  {
    id: "gvisor:mremap.cc:InPlace_ShrinkingWholeVMA",
    says: "a shorter mapping stays where it is and ends earlier, also as a part of a longer one",
    run: (check, t) => {
      retry(() => {
        const whole = makeIsland(t, 2);
        check.equal(raw.mremap(whole, 2 * pageSize, pageSize, 0), whole);
        check.deepEqual([permissionsAt(whole), permissionsAt(whole + pages(1))], ["rw-p", ""]);
        const part = makeIsland(t, 3);
        check.equal(raw.mremap(part, 2 * pageSize, pageSize, 0), part);
        check.equal(permissionsAt(part + pages(1)), "");
        check.deepEqual([firstBytes(part, 1), firstBytes(part + pages(2), 1)], [[1], [3]]);
      });
    },
  },
  {
    id: "gvisor:mremap.cc:InPlace_ShrinkingAcrossVMAs",
    says: "a range over two areas can be made shorter in its place",
    run: (check, t) => {
      retry(() => {
        const address = makeIsland(t, 3);
        raw.mprotect(address, pageSize, PROT_READ);
        check.equal(raw.mremap(address, 3 * pageSize, 2 * pageSize, 0), address);
        const permissions = [0, 1, 2].map((page) => permissionsAt(address + pages(page)));
        check.deepEqual(permissions, ["r--p", "rw-p", ""]);
        check.deepEqual(firstBytes(address, 2), [1, 2]);
      });
    },
  },
];

const longer: readonly Case[] = [
  {
    id: "gvisor:mremap.cc:InPlace_ExpansionSuccess",
    says: "a mapping becomes longer in its place when the next page is free",
    run: (check, t) => {
      retry(() => {
        const address = makeIsland(t, 1);
        check.equal(raw.mremap(address, pageSize, 2 * pageSize, 0), address);
        check.equal(areaAt(address)?.end, address + pages(2));
        check.deepEqual(firstBytes(address, 2), [1, 0]);
        raw.view(address, 2 * pageSize)[pageSize] = 8;
        check.deepEqual(firstBytes(address, 2), [1, 8]);
      });
    },
  },
  {
    id: "gvisor:mremap.cc:InPlace_ExpansionFailure",
    says: "a mapping cannot become longer into a page that is in use; nothing has changed",
    run: (check, t) => {
      retry(() => {
        const place = reserve(t, 4);
        mapPages(t, 1, { at: place });
        mapPages(t, 1, { at: place + pages(2), prot: PROT_READ });
        raw.munmap(place + pages(1), pageSize);
        fillNumbers(place, 1);
        const before = areasOf().filter(({ start }) => start >= place && start < place + pages(4));
        check.refuses(() => raw.mremap(place, pageSize, 3 * pageSize, 0), "ENOMEM");
        const after = areasOf().filter(({ start }) => start >= place && start < place + pages(4));
        check.deepEqual(after, before);
        check.deepEqual(firstBytes(place, 1), [1]);
      });
    },
  },
  {
    id: "ksft-mm:mremap_test:expand_merge",
    says: "a mapping that grows into the hole before its neighbour, or at its end, is one area",
    run: (check, t) => {
      for (const hole of [1, 2]) {
        retry(() => {
          const address = makeIsland(t, 3);
          raw.munmap(address + pages(hole), pageSize);
          check.equal(permissionsAt(address + pages(hole)), "");
          const count = hole * pageSize;
          check.equal(raw.mremap(address, count, count + pageSize, 0), address);
          const area = areaAt(address);
          check.deepEqual([area?.start, area?.end], [address, address + pages(3)]);
          const expected = [1, 2, 3].map((value) => (value === hole + 1 ? 0 : value));
          check.deepEqual(firstBytes(address, 3), expected);
        });
      }
    },
  },
  {
    id: "ltp:mremap01",
    says: "a file mapping that is made twice as long shows what the file has gained",
    run: (check, t) => {
      const fd = openFile(t, new Uint8Array(0));
      const [length, twice] = [1000 * pageSize, 2000 * pageSize];
      ftruncateSync(fd, length);
      const old = raw.mmap(null, length, rw, raw.MAP_SHARED, fd, 0);
      ftruncateSync(fd, twice);
      const address = raw.mremap(old, length, twice, MREMAP_MAYMOVE);
      t.after(() => raw.munmap(address, twice));
      raw.view(address, twice).fill(0x61);
      raw.msync(address, twice, raw.MS_SYNC);
      const content = new Uint8Array(twice);
      check.equal(readSync(fd, content, 0, twice, 0), twice);
      check.ok(content.every((byte) => byte === 0x61));
      raw.check(address, twice);
    },
  },
  {
    id: "gvisor:mremap.cc:SharedAnon",
    says: "shared memory that shrank and grew keeps its pages, and a page more is a fault",
    run: (check, t) => {
      const shared = raw.MAP_SHARED | raw.MAP_ANONYMOUS;
      const old = mapPages(t, 2, { flags: shared });
      raw
        .view(old, 2 * pageSize)
        .fill(0x61, 0, pageSize)
        .fill(0x62, pageSize);
      check.equal(raw.mremap(old, 2 * pageSize, pageSize, 0), old);
      const place = reserve(t, 3);
      const there = raw.mremap(old, pageSize, 3 * pageSize, moveThere, place);
      check.equal(there, place);
      check.equal(areaAt(place)?.end, place + pages(3));
      const bytes = raw.view(place, 3 * pageSize);
      check.deepEqual([bytes[0], bytes[pageSize]], [0x61, 0x62]);
      const fault = faultOf(place, 3 * pageSize, () => {
        check.equal(bytes[2 * pageSize], 0);
      });
      check.equal(fault.reason, "memory");
      check.equal(fault.address, place + pages(2));
    },
  },
];

/* What the kernel left of a refused move over two areas, and of the pages at its target. */
function afterRefusedMove(check: Parameters<Case["run"]>[0], t: CaseContext): void {
  const source = makeIsland(t, 3);
  raw.mprotect(source, pageSize, PROT_READ);
  const target = mapPages(t, 2);
  fillNumbers(target, 2, 7);
  const move = () => raw.mremap(source, 3 * pageSize, 2 * pageSize, moveThere, target);
  check.refuses(move, "EFAULT");
  check.deepEqual(firstBytes(source, 2), [1, 2]);
  const isUnchanged = !needs({ kernel: "6.17" }).skip;
  if (isUnchanged) {
    check.deepEqual(firstBytes(source + pages(2), 1), [3]);
    check.deepEqual(firstBytes(target, 2), [7, 8]);
  } else {
    // The kernel has thrown the target away; its addresses are still kept from others.
    check.equal(permissionsAt(source + pages(2)), "");
  }
}

const refusals: readonly Case[] = [
  {
    id: "gvisor:mremap.cc:Fixed_ShrinkingAcrossVMAs",
    says: "two areas cannot be moved and made shorter at once; since Linux 6.17 nothing is lost",
    run: (check, t) => retry(() => afterRefusedMove(check, t)),
  },
  {
    id: "gvisor:mremap.cc:InPlace_Copy",
    says: "a second mapping of shared pages must be allowed to lie elsewhere",
    run: (check, t) => {
      const address = mapPages(t, 1, { flags: raw.MAP_SHARED | raw.MAP_ANONYMOUS });
      check.refuses(() => raw.mremap(address, 0, pageSize, 0), "ENOMEM");
      const second = raw.mremap(address, 0, pageSize, MREMAP_MAYMOVE);
      t.after(() => raw.munmap(second, pageSize));
      raw.view(address, 1)[0] = 4;
      check.deepEqual(firstBytes(second, 1), [4]);
    },
  },
  {
    id: "ltp:mremap03",
    says: "an old address that is not mapped is a bad address",
    run: (check, t) => {
      retry(() => {
        const place = reserve(t, 3);
        raw.munmap(place + pages(1), pageSize);
        const move = () => raw.mremap(place + pages(1), pageSize, 2 * pageSize, MREMAP_MAYMOVE);
        check.refuses(move, "EFAULT");
      });
    },
  },
  {
    id: "ltp:mremap05#2",
    says: "a new address inside a page is refused",
    run: (check, t) => {
      const address = makeIsland(t, 1);
      const place = reserve(t, 2);
      const move = () => raw.mremap(address, pageSize, pageSize, moveThere, place + 1n);
      check.refuses(move, "EINVAL");
      check.deepEqual(firstBytes(address, 1), [1]);
    },
  },
];

export const mremapCases: readonly Case[] = [...shorter, ...longer, ...refusals];
