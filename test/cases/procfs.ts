// What /proc says of mappings: rows of maps and smaps, links of map_files, queries by ioctl.

import { readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { mapAnonymous, pageSize } from "memmap";
import * as raw from "memmap/raw";
import { noCompiler } from "../helpers/compile.js";
import { areasNamed, flagsAt, permissionsAt, smapsBytesAt } from "../helpers/proc-self.js";
import { coveringOrNext, makeQuery, noQuery } from "../helpers/procmap-query.js";
import { mapPages, numbered, openUntilEnd, pages, reserve, rw } from "../helpers/raw-pages.js";
import { makeArena, syscall } from "../helpers/syscalls.js";
import { needs, tempDir } from "../helpers/temp.js";
import type { Case, CaseContext, Check } from "./case.js";
import { checkRace, hex } from "./procfs-race.js";

const { MAP_ANONYMOUS, MAP_POPULATE, MAP_SHARED, PROT_EXEC, PROT_NONE, PROT_READ } = raw;

/* The row of maps that begins at an address, as the kernel writes it. */
function rowAt(address: bigint): string {
  const lines = readFileSync("/proc/self/maps", "utf8").split("\n");
  return lines.find((line) => line.startsWith(`${hex(address)}-`)) ?? "";
}

/* A file of some pages; its path, and a descriptor for as long as the test runs. */
function makeFile(t: CaseContext, flags: string): { path: string; fd: number } {
  const path = join(tempDir(t), "data.bin");
  writeFileSync(path, numbered(2));
  return { path, fd: openUntilEnd(t, path, flags) };
}

function whyNoNames(): string | false {
  using mapping = mapAnonymous(pageSize, { name: "memmap case" });
  const isNamed = areasNamed("[anon:memmap case]").some(({ start }) => start === mapping.address);
  return !isNamed && "needs a kernel that names anonymous areas";
}

/** Why no area can be named here; false where one can. */
export const noAreaNames: string | false = whyNoNames();

function checkQueries(check: Check, t: CaseContext): void {
  const maps = openUntilEnd(t, "/proc/self/maps", "r");
  const query = makeQuery(t, maps, makeArena(t));
  const { path, fd } = makeFile(t, "r+");
  const place = reserve(t, 8);
  const file = mapPages(t, 2, { fd, at: place + pages(1) });
  const plain = mapPages(t, 1, { prot: PROT_READ, at: place + pages(5) });
  raw.munmap(place + pages(3), pageSize);
  const inside = query(file + 5000n);
  check.equal(inside.start, file);
  check.equal(inside.end, file + pages(2));
  check.equal(inside.flags & 15, 1 | 2 | 8, "readable, writable, shared");
  check.equal(inside.name, path);
  const next = query(plain - pages(1) + 1n, coveringOrNext);
  check.equal(next.start, plain - pages(1), "the area that covers the address");
  const alone = query(plain);
  check.equal(alone.end, plain + pages(1));
  check.equal(alone.flags & 15, 1, "readable, private");
  check.equal(alone.name, "");
  check.refuses(() => query(place + pages(3)), "ENOENT");
  check.equal(query(place + pages(3), coveringOrNext).start, place + pages(4), "the next area");
  check.refuses(() => query(2n ** 64n - BigInt(pageSize), coveringOrNext), "ENOENT");
  check.refuses(() => query(plain, 1 << 20), "EINVAL");
  const library = areasNamed("/libc.").find(({ offset }) => offset === 0n);
  if (library !== undefined) {
    const { buildId } = query(library.start);
    check.ok(
      buildId.length >= 16 && readFileSync(library.name).includes(Buffer.from(buildId)),
      "build id",
    );
  }
}

export const procfsCases: readonly Case[] = [
  {
    id: "gvisor:proc.cc:ProcSelfMaps:Map1",
    says: "anonymous memory is one row of maps: its range and permissions, no file",
    run: (check, t) => {
      const address = mapPages(t, 1, { prot: PROT_EXEC, at: reserve(t, 4) + pages(1) });
      const row = (at: bigint, permissions: string) =>
        `${hex(at)}-${hex(at + pages(1))} ${permissions} 00000000 00:00 0`;
      check.equal(rowAt(address).trimEnd(), row(address, "--xp"));
      // Two neighbours of unlike permissions are two rows.
      mapPages(t, 1, { prot: PROT_READ, at: address + pages(1) });
      check.equal(rowAt(address).trimEnd(), row(address, "--xp"));
      check.equal(rowAt(address + pages(1)).trimEnd(), row(address + pages(1), "r--p"));
    },
  },
  {
    id: "gvisor:proc.cc:ProcSelfMaps:AnonNameFile",
    says: "the mapping of a file takes no name, and its row stays as it was",
    skip: noCompiler || noAreaNames,
    run: (check, t) => {
      const arena = makeArena(t);
      const setName = (address: bigint) =>
        syscall(t, "prctl", 0x53564d41, 0, address, pageSize, arena.text("name"));
      const address = mapPages(t, 1, { fd: makeFile(t, "r+").fd });
      const before = rowAt(address);
      check.ok(before.includes("/data.bin"));
      check.refuses(() => setName(address), "EBADF");
      check.equal(rowAt(address), before);
    },
  },
  {
    id: "gvisor:smaps.cc:SharedAnon",
    says: "shared anonymous memory that nobody else maps counts as private, and not as anonymous",
    run: (check, t) => {
      const address = mapPages(t, 2, { flags: MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE });
      const bytes = (field: string) => smapsBytesAt(address, field);
      check.equal(bytes("Size"), 2 * pageSize);
      check.equal(bytes("Rss"), 2 * pageSize);
      check.equal(bytes("Pss"), 2 * pageSize);
      check.equal(bytes("Shared_Clean") + bytes("Shared_Dirty"), 0);
      check.equal(bytes("Private_Clean") + bytes("Private_Dirty"), 2 * pageSize);
      check.equal(bytes("Anonymous"), 0);
      const flags = flagsAt(address).filter((flag) => flag !== "sd");
      check.deepEqual(flags, ["rd", "wr", "sh", "mr", "mw", "me", "ms"]);
    },
  },
  {
    id: "gvisor:smaps.cc:SharedReadOnlyFile",
    says: "a shared mapping of a file open for reading is s in maps, but not sh or mw in smaps",
    run: (check, t) => {
      const { fd } = makeFile(t, "r");
      const address = mapPages(t, 2, { fd, prot: PROT_READ, flags: MAP_SHARED | MAP_POPULATE });
      check.equal(permissionsAt(address), "r--s");
      const flags = flagsAt(address);
      check.ok(flags.includes("rd") && flags.includes("mr"), flags.join(" "));
      check.ok(!flags.includes("sh") && !flags.includes("mw"), flags.join(" "));
      check.equal(smapsBytesAt(address, "Rss"), 2 * pageSize);
      check.refuses(() => raw.mprotect(address, pageSize, rw), "EACCES");
    },
  },
  {
    id: "gvisor:smaps.cc:Fields",
    says: "every area in smaps has all of its counters, its page sizes and its flags",
    run: (check, t) => {
      mapPages(t, 1, { prot: PROT_NONE });
      mapPages(t, 1, { fd: makeFile(t, "r+").fd });
      const text = readFileSync("/proc/self/smaps", "utf8");
      const entries = text.split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
      check.ok(entries.length > 10, `${entries.length} areas`);
      const counters =
        "Size KernelPageSize MMUPageSize Rss Pss Shared_Clean Shared_Dirty Private_Clean " +
        "Private_Dirty Referenced Anonymous AnonHugePages Shared_Hugetlb Private_Hugetlb Swap " +
        "SwapPss Locked";
      for (const entry of entries) {
        for (const name of counters.split(" ")) {
          if (!new RegExp(`^${name}: +\\d+ kB$`, "m").test(entry)) check.ok(false, entry);
        }
        check.match(entry, /^VmFlags:( [a-z?]{2})+ ?$/m);
      }
    },
  },
  {
    id: "ksft:proc:proc-maps-race",
    says: "who reads the maps of a process that changes them sees old rows or new ones, never torn",
    run: checkRace,
  },
  {
    id: "ksft:proc:map_files",
    says: "a link in map_files is found by the exact digits of its range, and by no others",
    skip: needs("root").skip,
    run: (check, t) => {
      const { path, fd } = makeFile(t, "r+");
      const start = mapPages(t, 1, { fd });
      const [from, to] = [start, start + pages(1)].map((address) => address.toString(16));
      const link = (name: string) => readlinkSync(`/proc/self/map_files/${name}`);
      check.equal(link(`${from}-${to}`), path);
      const others = [
        `0${from}-${to}`,
        `${from}-0${to}`,
        ` ${from}-${to}`,
        `${from}-${to} `,
        `${from} -${to}`,
        `${from}- ${to}`,
        `0x${from}-${to}`,
        `${from}-${to}0`,
        `${"f".repeat(17)}-${to}`,
        `1${from?.padStart(16, "0")}-${to}`,
        `${from}-`,
        `${from}-${(start + pages(2)).toString(16)}`,
      ];
      for (const name of others) check.refuses(() => link(name), "ENOENT");
    },
  },
  {
    id: "ksft-mm:procmap_query",
    says: "PROCMAP_QUERY finds the area at an address or the next one, with name and build id",
    skip: noQuery,
    run: checkQueries,
  },
];
