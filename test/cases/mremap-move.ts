// Mappings that move: to free and to used addresses, in parts, several at once, and leaving their
// old place mapped.

import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { areaAt, permissionsAt } from "../helpers/proc-self.js";
import {
  firstBytes,
  mapPages,
  numbered,
  openFile,
  pages,
  peek,
  poke,
  reserve,
  retry,
} from "../helpers/raw-pages.js";
import { needs } from "../helpers/temp.js";
import type { Case, CaseContext, Check } from "./case.js";

const { MREMAP_DONTUNMAP, MREMAP_FIXED, MREMAP_MAYMOVE, PROT_NONE, PROT_READ } = raw;

/* Moves whole pages to an address. */
function move(from: bigint, pageCount: number, to: bigint): bigint {
  const length = pageCount * pageSize;
  return raw.mremap(from, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, to);
}

/* The same, and leaves the old place mapped. */
function moveAndKeep(from: bigint, pageCount: number, to: bigint): bigint {
  const length = pageCount * pageSize;
  return raw.mremap(from, length, length, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to);
}

function fillNumbers(address: bigint, pageCount: number, first = 1): void {
  for (let i = 0; i < pageCount; i++) poke(address + pages(i), Uint8Array.of(first + i));
}

const single: readonly Case[] = [
  {
    id: "gvisor:mremap.cc:Fixed_SameSize",
    says: "pages move to an address that is free, or whose own pages go first",
    run: (check, t) => {
      for (const isFree of [true, false]) {
        retry(() => {
          const from = mapPages(t, 2);
          const to = mapPages(t, 2, { prot: PROT_READ });
          fillNumbers(from, 2);
          fillNumbers(to, 2, 50);
          if (isFree) raw.munmap(to, 2 * pageSize);
          check.equal(move(from, 2, to), to);
          check.deepEqual(firstBytes(to, 2), [1, 2]);
          check.equal(permissionsAt(to), "rw-p");
          check.equal(permissionsAt(from), "");
        });
      }
    },
  },
  {
    id: "ltp:mremap06",
    says: "a page of a file that was moved away and back shows the file's page, as do the others",
    run: (check, t) => {
      const fd = openFile(t, numbered(4));
      for (const other of [undefined, 0, 2]) {
        const place = reserve(t, 6);
        const address = mapPages(t, 4, { fd, at: place });
        const away = place + pages(5);
        if (other !== undefined) raw.mprotect(address + pages(other), pageSize, PROT_READ);
        check.equal(move(address + pages(1), 1, away), away);
        check.deepEqual(firstBytes(away, 1), [2]);
        check.equal(areaAt(away)?.offset, pages(1));
        check.equal(move(away, 1, address + pages(1)), address + pages(1));
        check.deepEqual(firstBytes(address, 4), [1, 2, 3, 4]);
        check.deepEqual([...raw.view(address + pages(1), 1)], [2]);
      }
    },
  },
  {
    id: "ksft-mm:mremap_test:move_within_range",
    says: "a move inside a large mapping leaves the bytes around both places as they were",
    run: (check, t) => {
      const mebibyte = 2 ** 20;
      const perMebibyte = mebibyte / pageSize;
      const address = mapPages(t, 22 * perMebibyte);
      const block = 2n * BigInt(mebibyte);
      const start = ((address + block - 1n) / block) * block;
      const at = (index: number) => start + BigInt(index * mebibyte);
      const bytes = raw.view(start, 20 * mebibyte);
      for (let i = 0; i < 20; i++) bytes.fill(i + 1, i * mebibyte, (i + 1) * mebibyte);
      check.equal(move(at(9), perMebibyte, at(14)), at(14));
      for (let i = 0; i < 20; i++) {
        if (i === 9) continue; // Its addresses are reserved, as the view covers them.
        const part = bytes.subarray(i * mebibyte, (i + 1) * mebibyte);
        const value = i === 14 ? 10 : i + 1;
        check.ok(
          part.every((byte) => byte === value),
          `mebibyte ${i}`,
        );
      }
      raw.check(start, 20 * mebibyte);
      check.equal(permissionsAt(at(9)), "---p");
    },
  },
];

/*
 * Areas with holes between them, told apart by their numbers:
 *
 *      page   0    1    2    3    4    5
 *             1    hole 3    4    hole 6       page 3 may be read only
 */
function makeAreas(t: CaseContext): bigint {
  const address = mapPages(t, 6);
  fillNumbers(address, 6);
  raw.mprotect(address + pages(3), pageSize, PROT_READ);
  for (const hole of [1, 4]) raw.munmap(address + pages(hole), pageSize);
  return address;
}

const holesAndAreas = ["rw-p", "", "rw-p", "r--p", "", "rw-p"];

function permissionsOf(address: bigint, pageCount: number): string[] {
  return Array.from({ length: pageCount }, (_, i) => permissionsAt(address + pages(i)));
}

function numbersOf(address: bigint): number[] {
  return [0, 2, 3, 5].flatMap((page) => peek(address + pages(page)));
}

/* To a free place, whose holes are holes again afterwards. */
function moveToFreePlace(check: Check, t: CaseContext): void {
  const from = makeAreas(t);
  const to = reserve(t, 6);
  raw.munmap(to, 6 * pageSize);
  check.equal(move(from, 6, to), to);
  check.deepEqual(permissionsOf(to, 6), holesAndAreas);
  check.deepEqual(numbersOf(to), [1, 3, 4, 6]);
  check.equal(permissionsOf(from, 6).join(""), "");
}

/* Directly behind itself, and from the middle of its first area. */
function moveNextToItself(check: Check, t: CaseContext): void {
  const place = reserve(t, 12);
  const from = mapPages(t, 6, { at: place });
  fillNumbers(from, 6);
  raw.mprotect(from + pages(3), pageSize, PROT_READ);
  const to = place + pages(6);
  check.equal(move(from + pages(1), 5, to), to);
  check.deepEqual(firstBytes(to, 5), [2, 3, 4, 5, 6]);
  check.deepEqual(firstBytes(from, 1), [1]);
  check.deepEqual(permissionsOf(to, 5), ["rw-p", "rw-p", "r--p", "rw-p", "rw-p"]);
}

/* Over pages in use: those that a source area covers are replaced, those under a hole stay. */
function moveOverPages(check: Check, t: CaseContext): void {
  const from = makeAreas(t);
  const to = mapPages(t, 6);
  fillNumbers(to, 6, 70);
  check.equal(move(from, 6, to), to);
  check.deepEqual(firstBytes(to, 6), [1, 71, 3, 4, 74, 6]);
  check.equal(permissionsAt(to + pages(3)), "r--p");
}

function moveAndKeepAreas(check: Check, t: CaseContext): void {
  const from = makeAreas(t);
  const to = reserve(t, 6);
  raw.munmap(to, 6 * pageSize);
  check.equal(moveAndKeep(from, 6, to), to);
  check.deepEqual(permissionsOf(to, 6), holesAndAreas);
  check.deepEqual(numbersOf(to), [1, 3, 4, 6]);
  check.deepEqual(permissionsOf(from, 6), holesAndAreas);
  check.deepEqual(numbersOf(from), [0, 0, 0, 0]);
}

const several: readonly Case[] = [
  {
    id: "ksft-mm:mremap_test:move_multiple_vmas",
    says: "several areas move together, with the holes between them",
    run: (check, t) => {
      if (needs({ kernel: "6.17" }).skip) {
        const from = makeAreas(t);
        check.refuses(() => move(from, 6, reserve(t, 6)), "EFAULT");
        return;
      }
      for (const way of [moveToFreePlace, moveNextToItself, moveOverPages, moveAndKeepAreas]) {
        retry(() => way(check, t));
      }
    },
  },
  {
    id: "ksft-mm:mremap_test:move_multi_invalid_vmas",
    says: "a move that one of several areas does not allow has moved those before it",
    skip: "needs userfaultfd, which the pager will bring",
    run: () => {},
  },
];

const kept: readonly Case[] = [
  {
    id: "ksft-mm:mremap_dontunmap:simple",
    says: "the pages move, and their old place stays mapped, with zeros",
    run: (check, t) => {
      const flags = MREMAP_MAYMOVE | MREMAP_DONTUNMAP;
      const old = mapPages(t, 5);
      raw.view(old, 5 * pageSize).fill(0x58);
      const moved = raw.mremap(old, 5 * pageSize, 5 * pageSize, flags);
      t.after(() => raw.munmap(moved, 5 * pageSize));
      check.ok(peek(moved, 5 * pageSize).every((byte) => byte === 0x58));
      check.equal(permissionsAt(old), "rw-p");
      check.ok(raw.view(old, 5 * pageSize).every((byte) => byte === 0));

      const used = mapPages(t, 5, { prot: PROT_NONE });
      check.equal(moveAndKeep(moved, 5, used), used);
      check.ok(peek(used, 5 * pageSize).every((byte) => byte === 0x58));
      check.ok(peek(moved, 5 * pageSize).every((byte) => byte === 0));

      const half = raw.mremap(used, 2 * pageSize, 2 * pageSize, flags);
      t.after(() => raw.munmap(half, 2 * pageSize));
      check.deepEqual(firstBytes(half, 2), [0x58, 0x58]);
      check.deepEqual(firstBytes(used, 5), [0, 0, 0x58, 0x58, 0x58]);
      raw.check(old, 5 * pageSize);
    },
  },
];

export const mremapMoveCases: readonly Case[] = [...single, ...several, ...kept];
