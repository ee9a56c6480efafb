// Pages of the pool of huge pages: what they refuse, where they round, and how the pool counts
// them. Each case has the pool for itself, so that its counters can be compared.

import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { join } from "node:path";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { areaAt, areasNamed } from "../helpers/proc-self.js";
import { fillHugePages, mountPlain, whyNot } from "../helpers/root-powers.js";
import type { Case, CaseContext, Check } from "./case.js";
import * as memory from "./memory.js";

const huge = 2 ** 21;
const poolCount = 8;
const skip = whyNot("huge-pages");

function at(address: bigint, pageIndex: number): bigint {
  return address + BigInt(pageIndex * huge);
}

/** A counter of the pool of huge pages of the default size. */
function pool(name: "Free" | "Rsvd"): number {
  const text = fs.readFileSync("/proc/meminfo", "utf8");
  return Number(new RegExp(`^HugePages_${name}:\\s+(\\d+)$`, "m").exec(text)?.[1]);
}

/** A file on a hugetlbfs of its own. */
interface HugeFile {
  readonly fd: number;
  readonly path: string;
}

/** Runs a case with a full pool and a new file of huge pages. */
function withFile(
  body: (check: Check, t: CaseContext, file: HugeFile) => void,
): (check: Check, t: CaseContext) => Promise<void> {
  return async (check, t) => {
    const reason = await fillHugePages(t, poolCount);
    if (reason !== false) return t.skip(reason);
    const path = join(mountPlain(t, "hugetlbfs"), "file");
    fs.writeFileSync(path, "");
    body(check, t, { path, fd: memory.open(t, path, "r+") });
  };
}

/** Maps huge pages of a file, which go after the test. */
function map(t: CaseContext, file: HugeFile, plan: { count: number; flags?: number }): bigint {
  const { count, flags = raw.MAP_SHARED } = plan;
  const address = raw.mmap(null, count * huge, memory.rw, flags, file.fd, 0);
  t.after(() => raw.munmap(address, count * huge));
  return address;
}

/** Touches the first bytes of huge pages for writing: 1, 2, 3 ... */
function number(address: bigint, count: number): void {
  for (let i = 0; i < count; i++) raw.view(at(address, i), 1)[0] = i + 1;
}

function peeks(address: bigint, count: number): number[] {
  return Array.from({ length: count }, (_, i) => memory.peek(at(address, i)));
}

/** Gives a file its pages, or takes them away: fallocate(1), which no runtime has. */
function fallocate(check: Check, ...args: readonly string[]): void {
  const { status, stderr } = spawnSync("fallocate", args, { encoding: "utf8" });
  check.equal(status, 0, stderr);
}

function mapOne(check: Check, t: CaseContext, file: HugeFile): void {
  const before = pool("Free");
  const address = map(t, file, { count: 1 });
  check.equal(pool("Free"), before);
  check.equal(pool("Rsvd"), 1);
  number(address, 1);
  check.equal(pool("Free"), before - 1);
  check.equal(pool("Rsvd"), 0);
  raw.munmap(address, huge);
  fs.truncateSync(file.path, 0);
  check.equal(pool("Free"), before);
}

function mapUnaligned(check: Check, t: CaseContext, { fd, path }: HugeFile): void {
  const place = memory.mapAligned(t, 4 * huge, huge);
  const mapAt = (address: bigint | null, length: number, offset: number) => {
    const flags = raw.MAP_SHARED | (address === null ? 0 : raw.MAP_FIXED);
    return raw.mmap(address, length, memory.rw, flags, fd, offset);
  };
  check.refuses(() => mapAt(place + BigInt(pageSize), huge, 0), "EINVAL");
  check.refuses(() => mapAt(place + BigInt(huge / 2), huge, 0), "EINVAL");
  check.refuses(() => mapAt(null, huge, pageSize), "EINVAL");
  for (const length of [1, huge - 1, huge]) {
    check.equal(mapAt(place, length, 0), place);
    check.equal(areaAt(place)?.end, at(place, 1), `${length} bytes`);
  }
  check.equal(mapAt(place, huge + 1, 0), place);
  check.equal(areaAt(place)?.end, at(place, 2));
  check.equal(areasNamed(path).length, 1, "something else of the file is mapped");
}

function unmapPart(check: Check, t: CaseContext): void {
  const fd = raw.memfd_create("case", raw.MFD_HUGETLB);
  t.after(() => raw.close(fd));
  const address = raw.mmap(null, huge, memory.rw, raw.MAP_PRIVATE, fd, 0);
  t.after(() => raw.munmap(address, huge));
  for (const length of [pageSize, huge / 2]) {
    check.refuses(() => raw.munmap(address, length), "EINVAL");
    check.refuses(() => raw.munmap(address + BigInt(length), length), "EINVAL");
  }
  const area = areaAt(address);
  check.deepEqual([area?.start, area?.end], [address, at(address, 1)]);
}

function mapOverEnd(check: Check, t: CaseContext, { fd }: HugeFile): void {
  const end = 1n << (process.arch === "arm64" ? 48n : 47n);
  const last = end - BigInt(huge);
  const mapAt = (flags: number) =>
    raw.mmap(last, 2 * huge, memory.rw, raw.MAP_SHARED | flags, fd, 0);
  check.refuses(() => mapAt(raw.MAP_FIXED), "ENOMEM");
  check.refuses(() => mapAt(raw.MAP_FIXED_NOREPLACE), "ENOMEM");
  const address = mapAt(0);
  t.after(() => raw.munmap(address, 2 * huge));
  check.ok(address + BigInt(2 * huge) <= end, "mapped over the end");
  number(address, 2);
  check.deepEqual(peeks(address, 2), [1, 2]);
}

function touchCutFile(check: Check, t: CaseContext, file: HugeFile): void {
  const [free, reserved] = [pool("Free"), pool("Rsvd")];
  const address = raw.mmap(null, 2 * huge, memory.rw, raw.MAP_SHARED, file.fd, 0);
  t.after(() => raw.munmap(address, 2 * huge));
  const view = raw.view(address, 2 * huge);
  check.equal(pool("Rsvd"), reserved + 2);
  view[0] = 7;
  check.deepEqual([pool("Free"), pool("Rsvd")], [free - 1, reserved + 1]);
  fs.truncateSync(file.path, 0);
  check.equal(view[0], 0);
  check.refuses(() => raw.check(address, huge), "ERR_MEMMAP_FAULT");
  raw.munmap(address, 2 * huge);
  check.deepEqual([pool("Free"), pool("Rsvd")], [free, reserved]);
}

function allocateUnaligned(check: Check, t: CaseContext, file: HugeFile): void {
  const free = pool("Free");
  const odd = (offset: number, length: number) => [
    ...["-o", String(offset), "-l", String(length)],
    file.path,
  ];
  // One byte of a huge page is enough to get it.
  fallocate(check, ...odd(pageSize, huge));
  check.equal(pool("Free"), free - 2);
  fallocate(check, ...odd(huge + 1, 2 * huge));
  check.equal(pool("Free"), free - 4);
  const address = map(t, file, { count: 4 });
  number(address, 4);
  // A hole takes the huge pages that are wholly in it, and clears the rest.
  fallocate(check, "-p", ...odd(huge / 2, 2 * huge));
  check.equal(pool("Free"), free - 3);
  check.deepEqual(peeks(address, 4), [1, 0, 0, 4]);
  fallocate(check, "-p", ...odd(3 * huge + pageSize, huge / 2));
  check.equal(memory.peek(at(address, 3)), 4);
}

function dropOddRanges(check: Check, t: CaseContext, { fd }: HugeFile): void {
  const drop = (address: bigint, length: number) => () =>
    raw.madvise(address, length, raw.MADV_DONTNEED);
  const flags = raw.MAP_PRIVATE | raw.MAP_FIXED;
  memory.retry(() => {
    const place = memory.mapAligned(t, 4 * huge, huge);
    const address = raw.mmap(at(place, 1), 2 * huge, memory.rw, flags, fd, 0);
    raw.munmap(place, huge);
    raw.munmap(at(place, 3), huge);
    const free = pool("Free");
    number(address, 2);
    check.deepEqual([peeks(address, 2), pool("Free")], [[1, 2], free - 2]);
    check.refuses(drop(address + BigInt(pageSize), huge), "EINVAL");
    check.deepEqual([peeks(address, 2), pool("Free")], [[1, 2], free - 2]);
    drop(address, 2 * huge - pageSize)();
    check.deepEqual(peeks(address, 2), [0, 2], "not rounded down");
    number(address, 2);
    check.refuses(drop(address - BigInt(pageSize), huge + pageSize), "ENOMEM");
    check.deepEqual(peeks(address, 2), [0, 2]);
    number(address, 2);
    check.refuses(drop(at(address, 1), huge + pageSize), "ENOMEM");
    check.deepEqual(peeks(address, 2), [1, 0]);
    raw.munmap(address, 2 * huge);
  });
}

function dropPrivate(check: Check, t: CaseContext, file: HugeFile): void {
  fallocate(check, "-l", String(2 * huge), file.path);
  const free = pool("Free");
  const address = map(t, file, { count: 2, flags: raw.MAP_PRIVATE });
  const view = raw.view(address, 2 * huge);
  check.deepEqual([view[0], view[huge], pool("Free")], [0, 0, free]);
  number(address, 2);
  check.equal(pool("Free"), free - 2);
  raw.madvise(address, 2 * huge, raw.MADV_DONTNEED);
  check.deepEqual([view[0], view[huge], pool("Free")], [0, 0, free]);
}

function removeBoth(check: Check, t: CaseContext, file: HugeFile): void {
  const all = pool("Free");
  const own = map(t, file, { count: 2, flags: raw.MAP_PRIVATE });
  const shared = map(t, file, { count: 2 });
  for (const punch of [
    () => raw.madvise(shared, 2 * huge, raw.MADV_REMOVE),
    () => fallocate(check, "-p", "-o", "0", "-l", String(2 * huge), file.path),
  ]) {
    number(shared, 2);
    check.equal(pool("Free"), all - 2);
    raw.view(own, 1)[0] = 7;
    raw.view(at(own, 1), 1)[0] = 8;
    check.deepEqual(
      [peeks(shared, 2), peeks(own, 2)],
      [
        [1, 2],
        [7, 8],
      ],
    );
    check.equal(pool("Free"), all - 4);
    punch();
    check.equal(pool("Free"), all);
    check.deepEqual(
      [peeks(shared, 2), peeks(own, 2)],
      [
        [0, 0],
        [0, 0],
      ],
    );
    punch();
  }
}

export const hugePageCases: readonly Case[] = [
  {
    id: "ltp:hugemmap01",
    says: "a file of huge pages can be mapped, and takes a page of the pool when it is touched",
    skip,
    run: withFile(mapOne),
  },
  {
    id: "ltp:hugemmap18",
    says: "addresses and offsets inside a huge page are refused, and lengths rounded up",
    skip,
    run: withFile(mapUnaligned),
  },
  {
    id: "ltp:memfd_create03#pagesize",
    says: "a part of a huge page cannot be unmapped",
    skip,
    run: withFile(unmapPart),
  },
  {
    id: "ltp:hugemmap37",
    says: "no mapping reaches over the end of the addresses of a program",
    skip,
    run: withFile(mapOverEnd),
  },
  {
    id: "ltp:hugemmap38",
    says: "a page that was cut off is a fault, and what was reserved for it is given back",
    skip,
    run: withFile(touchCutFile),
  },
  {
    id: "ltp:hugefallocate01",
    says: "pages are given to a file, and taken from it, as whole huge pages",
    skip,
    run: withFile(allocateUnaligned),
  },
  {
    id: "ksft-mm:hugetlb-madvise:args",
    says: "whole huge pages are thrown away: inside a page is refused, a part at the end is left",
    skip,
    run: withFile(dropOddRanges),
  },
  {
    id: "ksft-mm:hugetlb-madvise:private",
    says: "private copies alone take pages of the pool, and give them back",
    skip,
    run: withFile(dropPrivate),
  },
  {
    id: "ksft-mm:hugetlb-madvise:remove",
    says: "a hole in the file frees its huge pages, and private copies of them as well",
    skip,
    run: withFile(removeBoth),
  },
];
