// Files under mappings: the last page, files that change their length, private copies.

import { existsSync, fstatSync, ftruncateSync, readSync } from "node:fs";
import { tmpdir } from "node:os";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { runSource } from "../helpers/child.js";
import { areaAt, pageTable } from "../helpers/proc-self.js";
import {
  faultOf,
  mapPages,
  numbered,
  openFile,
  pages,
  peek,
  reserve,
  rw,
} from "../helpers/raw-pages.js";
import type { Case, CaseContext } from "./case.js";

const { PROT_READ, PROT_WRITE, MAP_PRIVATE, MAP_SHARED } = raw;

const half = pageSize / 2;

function openHalf(t: CaseContext, base?: string): number {
  return openFile(t, numbered(1).subarray(0, half), base);
}

/* The whole file, as read(2) sees it. */
function contentOf(fd: number): Uint8Array {
  const content = new Uint8Array(fstatSync(fd).size);
  readSync(fd, content, 0, content.length, 0);
  return content;
}

function isFilled(bytes: Uint8Array, value: number): boolean {
  return bytes.every((byte) => byte === value);
}

const lastPage: readonly Case[] = [
  {
    id: "ltp:mmap01",
    says: "the last page reads zeros behind the end of the file, and stores there stay out of it",
    run: (check, t) => {
      const fd = openFile(t, numbered(1).subarray(0, 12));
      const address = mapPages(t, 1, { fd });
      const bytes = raw.view(address, pageSize);
      check.ok(isFilled(bytes.subarray(12), 0));
      bytes.fill(7, 12);
      raw.msync(address, pageSize, raw.MS_SYNC);
      check.deepEqual([...contentOf(fd)], Array(12).fill(1));
      raw.check(address, pageSize);
    },
  },
  {
    id: "posix:mmap/11-4",
    says: "a byte behind the end of the file is gone from the file, if not from the cached page",
    run: (check, t) => {
      for (const base of [tmpdir(), "/dev/shm"].filter((folder) => existsSync(folder))) {
        const fd = openHalf(t, base);
        const first = mapPages(t, 1, { fd });
        raw.view(first, pageSize)[half] = 0x42;
        raw.munmap(first, pageSize);
        const again = raw.view(mapPages(t, 1, { fd }), pageSize);
        // POSIX wants 0. Linux shows the cached page, until it is written or dropped.
        check.ok([0, 0x42].includes(again[half] ?? -1), `${again[half]}`);
        check.ok(isFilled(again.subarray(half + 1), 0));
        check.equal(fstatSync(fd).size, half);
        check.ok(isFilled(contentOf(fd), 1));
      }
    },
  },
  {
    id: "gvisor:mmap.cc:WriteSharedTruncateUp",
    says: "what is stored in the part that a longer file has gained is in the file",
    run: (check, t) => {
      const fd = openHalf(t);
      const address = mapPages(t, 1, { fd });
      const bytes = raw.view(address, pageSize).fill(3, 0, half);
      ftruncateSync(fd, pageSize);
      bytes.fill(4, half);
      raw.munmap(address, pageSize);
      const content = contentOf(fd);
      check.equal(content.length, pageSize);
      check.ok(isFilled(content.subarray(0, half), 3));
      check.ok(isFilled(content.subarray(half), 4));
    },
  },
  {
    id: "gvisor:mmap.cc:NoSigBusOnPageContainingEOF",
    says: "the bytes behind the end of the file in its last page can be touched",
    run: (check, t) => {
      for (const flags of [MAP_SHARED, MAP_PRIVATE]) {
        for (const prot of [PROT_READ, PROT_WRITE, rw]) {
          const fd = openHalf(t);
          const address = mapPages(t, 1, { prot, flags, fd });
          const bytes = raw.view(address, pageSize);
          check.deepEqual([...bytes.subarray(half - 1, half + 1)], [1, 0]);
          if (prot !== PROT_READ) bytes[half] = 6;
          check.equal(bytes[half], prot === PROT_READ ? 0 : 6);
          raw.check(address, pageSize);
          check.equal(areaAt(address)?.inode, BigInt(fstatSync(fd).ino), "a page was replaced");
          check.equal(fstatSync(fd).size, half);
        }
      }
    },
  },
];

const lengths: readonly Case[] = [
  {
    id: "gvisor:mmap.cc:ReadSharedTruncateDownThenUp",
    says: "a file that was emptied and made as long again is zeros, also where it is mapped",
    run: (check, t) => {
      const fd = openFile(t, numbered(1));
      const address = mapPages(t, 1, { prot: PROT_READ, fd });
      const bytes = raw.view(address, pageSize);
      check.ok(isFilled(bytes, 1));
      ftruncateSync(fd, 0);
      ftruncateSync(fd, pageSize);
      check.ok(isFilled(bytes, 0));
      check.ok(isFilled(contentOf(fd), 0));
      raw.check(address, pageSize);
    },
  },
  {
    id: "gvisor:mmap.cc:ReadSharedTruncateSIGBUS",
    says: "a load from a file that was emptied is a fault",
    run: (check, t) => {
      const fd = openFile(t, numbered(1));
      const address = mapPages(t, 1, { prot: PROT_READ, fd });
      const bytes = raw.view(address, pageSize);
      check.equal(bytes[5], 1);
      ftruncateSync(fd, 0);
      let seen: number | undefined;
      const fault = faultOf(address, pageSize, () => {
        seen = bytes[5];
      });
      check.equal(fault.reason, "truncated");
      check.equal(fault.access, "read");
      check.equal(fault.address, address + 5n);
      check.equal(seen, 0);
    },
  },
  {
    id: "gvisor:mmap.cc:ReadSharedTruncatePartialPage",
    says: "a file cut in the middle of a page keeps what stands before, and reads zeros behind",
    run: (check, t) => {
      for (const prot of [PROT_READ, rw]) {
        const fd = openFile(t, numbered(1));
        const address = mapPages(t, 1, { prot, fd });
        const bytes = raw.view(address, pageSize);
        if (prot === rw) bytes.fill(8);
        const value = bytes[0] ?? 0;
        ftruncateSync(fd, half);
        check.ok(isFilled(bytes.subarray(0, half), value));
        check.ok(isFilled(bytes.subarray(half), 0));
        check.ok(isFilled(contentOf(fd), value));
        raw.check(address, pageSize);
      }
    },
  },
  {
    id: "gvisor:mmap.cc:MapOffsetBeyondEnd",
    says: "pages far behind the end of the file are mapped, and a store there is a fault",
    run: (check, t) => {
      const fd = openHalf(t);
      const address = mapPages(t, 1, { flags: MAP_PRIVATE, fd, offset: 10 * pageSize });
      check.equal(areaAt(address)?.offset, pages(10));
      const fault = faultOf(address, pageSize, () => {
        raw.view(address, pageSize)[0] = 1;
      });
      check.equal(fault.reason, "truncated");
      check.equal(fault.access, "write");
      check.equal(fstatSync(fd).size, half);
    },
  },
  {
    id: "ltp:mmap19",
    says: "two files that change their addresses are each seen at the new one",
    run: (check, t) => {
      const place = reserve(t, 2);
      const [first, second] = [openFile(t, numbered(1, 1)), openFile(t, numbered(1, 2))];
      const both = raw.view(place, 2 * pageSize);
      for (const [low, high] of [
        [first, second],
        [second, first],
      ] as const) {
        const plan = { prot: PROT_READ, flags: MAP_PRIVATE };
        mapPages(t, 1, { ...plan, fd: low, at: place });
        mapPages(t, 1, { ...plan, fd: high, at: place + pages(1) });
        const expected = low === first ? [1, 2] : [2, 1];
        check.deepEqual([both[0], both[pageSize]], expected);
        check.ok(isFilled(both.subarray(0, pageSize), expected[0] ?? 0));
        raw.munmap(place, 2 * pageSize);
      }
    },
  },
];

/* Stores into a file through a shared mapping of its own. */
const otherProcess = `
  import { openSync, closeSync } from "node:fs";
  import * as raw from "memmap/raw";
  const fd = openSync(process.argv[2], "r+");
  const prot = raw.PROT_READ | raw.PROT_WRITE;
  raw.view(raw.mmap(null, 4096, prot, raw.MAP_SHARED, fd, 0), 4096).fill(99);
  closeSync(fd);`;

const privately: readonly Case[] = [
  {
    id: "gvisor:mmap.cc:WritePrivate",
    says: "private stores leave the file as it was",
    run: (check, t) => {
      const fd = openFile(t, numbered(1));
      const address = mapPages(t, 1, { flags: MAP_PRIVATE, fd });
      raw.view(address, pageSize).fill(5);
      check.deepEqual(peek(address), [5]);
      raw.msync(address, pageSize, raw.MS_SYNC);
      raw.munmap(address, pageSize);
      check.ok(isFilled(contentOf(fd), 1));
    },
  },
  {
    id: "ksft-mm:map_populate",
    says: "a writable private mapping that was populated has its copy: others' stores do not show",
    run: async (check, t) => {
      const fd = openFile(t, numbered(1));
      const flags = MAP_PRIVATE | raw.MAP_POPULATE;
      const own = mapPages(t, 1, { flags, fd });
      check.deepEqual(pageTable(own, 1), { present: 1, anonymous: 1 });
      const follows = mapPages(t, 1, { flags: MAP_SHARED, fd });
      const name = areaAt(follows)?.name ?? "";
      const { code, stderr } = await runSource(otherProcess, [name]);
      check.equal(code, 0, stderr);
      check.equal(raw.view(follows, 1)[0], 99);
      check.equal(raw.view(own, 1)[0], 1);
    },
  },
];

export const mmapSharedCases: readonly Case[] = [...lastPage, ...lengths, ...privately];
