// Which pages are in memory, and how the question is refused.

import { ftruncateSync } from "node:fs";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { mapPages, openFile, pages, reserve, retry } from "../helpers/raw-pages.js";
import { needs } from "../helpers/temp.js";
import type { Case } from "./case.js";

export const mincoreCases: readonly Case[] = [
  {
    id: "gvisor:mincore.cc:UnalignedAddressFails",
    says: "an address inside a page is refused",
    run: (check, t) => {
      const address = mapPages(t, 2);
      check.refuses(() => raw.mincore(address + 1n, pageSize), "EINVAL");
      check.refuses(() => raw.mincore(address + pages(1) - 1n, 1), "EINVAL");
    },
  },
  {
    id: "gvisor:mincore.cc:ZeroLengthSucceeds",
    says: "a length of 0 at address 0 has no pages",
    run: (check) => {
      check.equal(raw.mincore(0n, 0).length, 0);
      check.equal(raw.mincore(null, 0n).length, 0);
    },
  },
  {
    id: "ltp:mincore01#3",
    says: "a range whose second half is not mapped is refused",
    run: (check, t) => {
      retry(() => {
        const place = reserve(t, 4);
        raw.munmap(place + pages(2), pageSize);
        check.refuses(() => raw.mincore(place + pages(1), 2 * pageSize), "ENOMEM");
        check.equal(raw.mincore(place, 2 * pageSize).length, 2);
      });
    },
  },
  {
    id: "ksft:mincore:check_tmpfs_mmap",
    says: "a page of a file in memory that was touched is there, and none of its neighbours",
    skip: needs({ fileSystem: "tmpfs", at: "/dev/shm" }).skip,
    run: (check, t) => {
      const fd = openFile(t, new Uint8Array(0), "/dev/shm");
      ftruncateSync(fd, 64 * pageSize);
      const address = mapPages(t, 64, { fd });
      check.equal(raw.mincore(address, 64 * pageSize).indexOf(1), -1);
      raw.view(address, 64 * pageSize)[32 * pageSize] = 1;
      const found = raw.mincore(address, 64 * pageSize).map((state) => state & 1);
      check.deepEqual([found.indexOf(1), found.lastIndexOf(1)], [32, 32]);
    },
  },
];
