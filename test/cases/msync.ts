// Flushes: which combinations succeed, and which are refused.

import { fstatSync, readSync } from "node:fs";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { flagsAt, permissionsAt } from "../helpers/proc-self.js";
import { anonymous, mapPages, numbered, openFile, rw } from "../helpers/raw-pages.js";
import { needs } from "../helpers/temp.js";
import type { Case, CaseContext } from "./case.js";

const { MS_ASYNC, MS_INVALIDATE, MS_SYNC, PROT_READ } = raw;

/* Anonymous memory and a file, private and shared, with and without permission to write. */
function allKinds(t: CaseContext): bigint[] {
  const fd = openFile(t, numbered(1));
  const plans = [
    { flags: anonymous },
    { flags: raw.MAP_SHARED | raw.MAP_ANONYMOUS },
    { flags: raw.MAP_PRIVATE, fd },
    { flags: raw.MAP_SHARED, fd },
  ];
  return plans.flatMap((plan) => [PROT_READ, rw].map((prot) => mapPages(t, 1, { ...plan, prot })));
}

export const msyncCases: readonly Case[] = [
  {
    id: "gvisor:msync.cc:NormallySucceeds",
    says: "every kind of memory can be flushed, waiting or not, and with flags of 0",
    run: (check, t) => {
      const addresses = allKinds(t);
      check.equal(new Set(addresses.map(permissionsAt)).size, 4);
      for (const address of addresses) {
        for (const flags of [MS_SYNC, MS_ASYNC, 0]) raw.msync(address, pageSize, flags);
      }
    },
  },
  {
    id: "ltp:msync03#3",
    says: "flags that nobody knows are refused",
    run: (check, t) => {
      const address = mapPages(t, 1);
      check.refuses(() => raw.msync(address, pageSize, -1), "EINVAL");
      check.refuses(() => raw.msync(address, pageSize, 1 << 10), "EINVAL");
      check.refuses(() => raw.msync(address, pageSize, MS_SYNC | MS_ASYNC), "EINVAL");
    },
  },
  {
    id: "gvisor:msync.cc:UnalignedAddressFails",
    says: "an address inside a page is refused",
    run: (check, t) => {
      for (const address of allKinds(t)) {
        for (const flags of [MS_SYNC, MS_ASYNC, MS_INVALIDATE]) {
          check.refuses(() => raw.msync(address + 1n, pageSize - 1, flags), "EINVAL");
        }
      }
    },
  },
  {
    id: "gvisor:msync.cc:UnalignedLengthSucceeds",
    says: "a length that is not whole pages is rounded up",
    run: (check, t) => {
      for (const address of allKinds(t)) {
        for (const flags of [MS_SYNC, MS_ASYNC, MS_INVALIDATE]) {
          raw.msync(address, pageSize - 1, flags);
        }
      }
      const fd = openFile(t, numbered(2));
      const address = mapPages(t, 2, { fd });
      raw.view(address, 2 * pageSize).fill(9);
      raw.msync(address, pageSize + 1, MS_SYNC);
      const byte = new Uint8Array(1);
      readSync(fd, byte, 0, 1, 2 * pageSize - 1);
      check.equal(byte[0], 9);
      if (!needs({ kernel: "6.5" }).skip) {
        check.equal(raw.cachestat(fd, { off: 0, len: 0 }, 0).nr_dirty, 0);
      }
      check.equal(fstatSync(fd).size, 2 * pageSize);
    },
  },
  {
    id: "ltp:msync03#1",
    says: "locked pages cannot be invalidated, alone or with a flush",
    run: (check, t) => {
      for (const address of allKinds(t)) {
        raw.mlock(address, pageSize);
        check.ok(flagsAt(address).includes("lo"));
        for (const flags of [MS_INVALIDATE, MS_INVALIDATE | MS_SYNC, MS_INVALIDATE | MS_ASYNC]) {
          check.refuses(() => raw.msync(address, pageSize, flags), "EBUSY");
        }
        raw.munlock(address, pageSize);
        raw.msync(address, pageSize, MS_INVALIDATE);
      }
    },
  },
];
