// What mmap(2) takes and refuses: descriptors, offsets, hints, protections, zero memory.

import { constants, ftruncateSync, readSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { areaAt, pageTable, permissionsAt } from "../helpers/proc-self.js";
import {
  anonymous,
  mapPages,
  numbered,
  openFile,
  openUntilEnd,
  pages,
  peek,
  rw,
} from "../helpers/raw-pages.js";
import { tempDir } from "../helpers/temp.js";
import type { Case } from "./case.js";

const { PROT_READ, PROT_WRITE, MAP_PRIVATE, MAP_SHARED } = raw;

/* O_PATH of fcntl.h, which no runtime names. */
const openPath = 0o10000000;

const kinds = [MAP_SHARED, MAP_PRIVATE];
const accesses = [PROT_READ, PROT_WRITE, rw];

function pathOf(t: Parameters<Case["run"]>[1], content: Uint8Array): string {
  const path = join(tempDir(t), "data.bin");
  writeFileSync(path, content);
  return path;
}

const descriptors: readonly Case[] = [
  {
    id: "gvisor:mmap.cc:MmapFileWithOpath",
    says: "a descriptor that stands for a place alone is no descriptor of a file",
    run: (check, t) => {
      const fd = openUntilEnd(t, pathOf(t, numbered(1)), openPath);
      check.refuses(() => mapPages(t, 1, { prot: PROT_READ, flags: MAP_PRIVATE, fd }), "EBADF");
    },
  },
  {
    id: "gvisor:mmap.cc:PrivateAndShared",
    says: "both kinds of sharing at once are SHARED_VALIDATE: no anonymous memory, a shared file",
    run: (check, t) => {
      const flags = MAP_SHARED | MAP_PRIVATE;
      check.equal(flags, raw.MAP_SHARED_VALIDATE);
      check.refuses(() => mapPages(t, 1, { flags: flags | raw.MAP_ANONYMOUS }), "EINVAL");
      const fd = openFile(t, numbered(1));
      const address = mapPages(t, 1, { flags, fd });
      check.equal(permissionsAt(address), "rw-s");
      raw.view(address, 1)[0] = 77;
      const byte = new Uint8Array(1);
      readSync(fd, byte, 0, 1, 0);
      check.equal(byte[0], 77);
    },
  },
  {
    id: "gvisor:mmap.cc:WriteOnlyFd",
    says: "a file opened for writing alone cannot be mapped in any way",
    run: (check, t) => {
      const fd = openUntilEnd(t, pathOf(t, numbered(1)), constants.O_WRONLY);
      for (const flags of kinds) {
        for (const prot of accesses) {
          check.refuses(() => mapPages(t, 1, { prot, flags, fd }), "EACCES");
        }
      }
    },
  },
  {
    id: "gvisor:mmap.cc:WriteSharedOnReadOnlyFd",
    says: "a file opened for reading cannot be mapped for shared writing",
    run: (check, t) => {
      const fd = openUntilEnd(t, pathOf(t, numbered(1)), "r");
      check.refuses(() => mapPages(t, 1, { flags: MAP_SHARED, fd }), "EACCES");
    },
  },
  {
    id: "gvisor:mmap.cc:WritePrivateOnReadOnlyFd",
    says: "a file opened for reading takes private writes, which never reach it",
    run: (check, t) => {
      const fd = openUntilEnd(t, pathOf(t, numbered(1)), "r");
      const address = mapPages(t, 1, { flags: MAP_PRIVATE, fd });
      const bytes = raw.view(address, pageSize);
      check.equal(bytes[0], 1);
      bytes.fill(9);
      check.deepEqual(peek(address, 2), [9, 9]);
      raw.munmap(address, pageSize);
      const content = new Uint8Array(pageSize);
      readSync(fd, content, 0, pageSize, 0);
      check.ok(content.every((byte) => byte === 1));
    },
  },
];

const offsets: readonly Case[] = [
  {
    id: "posix:mmap/11-1",
    says: "an offset that is not whole pages is refused, and so is one below zero",
    run: (check, t) => {
      const fd = openFile(t, numbered(2));
      const map = (offset: number | bigint) => () => mapPages(t, 1, { fd, offset });
      for (const offset of [1, pageSize / 2, pageSize - 1, pageSize + 1, -1, -pageSize - 1]) {
        check.refuses(map(offset), "EINVAL");
      }
      check.refuses(map(-pageSize), "EOVERFLOW", "EINVAL");
      check.refuses(map(0.5), "ERR_OUT_OF_RANGE");
      check.refuses(map(1n << 63n), "ERR_OUT_OF_RANGE");
    },
  },
  {
    id: "gvisor:mmap.cc:MapOffset",
    says: "a mapping begins with the byte of the file at its offset",
    run: (check, t) => {
      const fd = openFile(t, new Uint8Array(0));
      writeSync(fd, numbered(1, 42), 0, pageSize, pageSize);
      const plan = { prot: PROT_READ, flags: MAP_PRIVATE, fd, offset: pageSize };
      const address = mapPages(t, 1, plan);
      check.deepEqual([...raw.view(address, 3)], [42, 42, 42]);
      check.equal(areaAt(address)?.offset, pages(1));
    },
  },
  {
    id: "gvisor:mmap.cc:MapSecondToLastPositivePage",
    says: "the last page but one that an offset can name is mapped, far behind the end of the file",
    run: (check, t) => {
      const fd = openFile(t, numbered(1));
      const offset = (1n << 63n) - 2n * pages(1);
      const address = mapPages(t, 1, { prot: PROT_READ, flags: MAP_SHARED, fd, offset });
      check.equal(areaAt(address)?.offset, offset);
    },
  },
  {
    id: "cpython:LargeMmapTests:test_around_4GB",
    says: "bytes on both sides of 2 GiB and of 4 GiB of a file are the right ones",
    run: (check, t) => {
      const fd = openFile(t, new Uint8Array(0));
      const marker = new TextEncoder().encode("at the border");
      const borders = [2 ** 31, 2 ** 32];
      ftruncateSync(fd, 2 ** 32 + pageSize);
      for (const border of borders) writeSync(fd, marker, 0, marker.length, border - 6);
      const length = 2 ** 32 + pageSize;
      const address = mapPages(t, length / pageSize, { prot: PROT_READ, flags: MAP_SHARED, fd });
      for (const border of borders) {
        const around = raw.view(address + BigInt(border) - 8n, marker.length + 4);
        check.deepEqual([...around], [0, 0, ...marker, 0, 0]);
      }
      check.equal(raw.view(address + pages(3), 1)[0], 0);
    },
  },
];

const memory: readonly Case[] = [
  {
    id: "gvisor:mmap.cc:NonFixedAlignment",
    says: "a hint inside a page is taken for its page, or passed over",
    run: (check, t) => {
      const place = mapPages(t, 2, { prot: raw.PROT_NONE });
      const address = raw.mmap(place + 1n, pageSize, raw.PROT_NONE, anonymous, -1, 0);
      t.after(() => raw.munmap(address, pageSize));
      check.equal(address % pages(1), 0n);
      check.ok(address < place || address >= place + pages(2), "it lies over another mapping");
    },
  },
  {
    id: "gvisor:mmap.cc:ProtWriteOnly",
    says: "a page asked for writing alone can be read as well, before and after the first store",
    run: (check, t) => {
      const address = mapPages(t, 1, { prot: PROT_WRITE });
      const bytes = raw.view(address, pageSize);
      check.equal(permissionsAt(address), "-w-p");
      check.equal(bytes[0], 0);
      bytes[0] = 5;
      check.equal(bytes[0], 5);
      raw.check(address, pageSize);
      check.deepEqual(peek(address), [5]);
      check.equal(permissionsAt(address), "-w-p", "a page was replaced");
    },
  },
  {
    id: "gvisor:mmap.cc:MapDevZeroUnaligned",
    says: "a page and a half of /dev/zero are two whole pages of zeros that can be written",
    run: (check, t) => {
      const fd = openUntilEnd(t, "/dev/zero", "r+");
      for (const flags of kinds) {
        const address = raw.mmap(null, pageSize * 1.5, rw, flags, fd, 0);
        t.after(() => raw.munmap(address, 2 * pageSize));
        const bytes = raw.view(address, 2 * pageSize);
        check.ok(bytes.every((byte) => byte === 0));
        bytes.fill(3);
        check.deepEqual(peek(address + pages(2) - 1n), [3]);
        raw.check(address, 2 * pageSize);
      }
    },
  },
  {
    id: "gvisor:mmap.cc:SettingProtNoneDoesntFreeMemory",
    says: "what a page holds outlasts a time without any permission",
    run: (check, t) => {
      const address = mapPages(t, 1);
      const bytes = raw.view(address, pageSize).fill(0x5a);
      raw.mprotect(address, pageSize, raw.PROT_NONE);
      check.equal(permissionsAt(address), "---p");
      raw.mprotect(address, pageSize, rw);
      check.ok(bytes.every((byte) => byte === 0x5a));
      check.equal(pageTable(address, 1).present, 1);
    },
  },
];

export const mmapCases: readonly Case[] = [...descriptors, ...offsets, ...memory];
