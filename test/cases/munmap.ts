// The end of mappings, and how many a process may have.

import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { type Answer, answerOf } from "../guard/program.js";
import { runScript } from "../helpers/child.js";
import { areaAt, permissionsAt } from "../helpers/proc-self.js";
import {
  faultOf,
  firstBytes,
  mapPages,
  numbered,
  openFile,
  pages,
  retry,
} from "../helpers/raw-pages.js";
import type { Case } from "./case.js";

/* An engine may die for want of areas before it has told; then the child is tried again. */
async function answerAtLimit(): Promise<Answer> {
  const script = new URL("./area-limit.js", import.meta.url);
  for (let triesLeft = 3; triesLeft > 0; triesLeft--) {
    const result = await runScript(script, ["cut"]);
    if (result.code === 0) return answerOf(result);
  }
  return answerOf(await runScript(script, ["cut"]));
}

export const munmapCases: readonly Case[] = [
  {
    id: "gvisor:munmap.cc:ZeroLength",
    says: "a length of 0 is refused",
    run: (check, t) => {
      const address = mapPages(t, 1);
      check.refuses(() => raw.munmap(address, 0), "EINVAL");
      check.equal(permissionsAt(address), "rw-p");
    },
  },
  {
    id: "gvisor:munmap.cc:LastPageRoundUp",
    says: "a length that rounds up past the last address is refused, and unmaps nothing",
    run: (check, t) => {
      const address = mapPages(t, 1);
      const length = (1n << 64n) - pages(1) + 1n;
      check.refuses(() => raw.munmap(address, length), "EINVAL");
      check.equal(permissionsAt(address), "rw-p");
    },
  },
  {
    id: "posix:munmap/3-1",
    says: "an address inside a page is refused",
    run: (check, t) => {
      const address = mapPages(t, 2);
      check.refuses(() => raw.munmap(address + 1n, pageSize), "EINVAL");
      check.refuses(() => raw.munmap(address + pages(1) - 1n, 1), "EINVAL");
      check.equal(permissionsAt(address), "rw-p");
    },
  },
  {
    id: "posix:munmap/2-1",
    says: "a range without a mapping is no error",
    run: (check, t) => {
      retry(() => {
        const address = mapPages(t, 1);
        raw.munmap(address, pageSize);
        check.equal(areaAt(address), undefined);
        raw.munmap(address, pageSize);
        check.equal(areaAt(address), undefined);
      });
      const viewed = mapPages(t, 1);
      const bytes = raw.view(viewed, pageSize);
      raw.munmap(viewed, pageSize);
      raw.munmap(viewed, pageSize);
      check.equal(permissionsAt(viewed), "---p", `a view of ${bytes.length} bytes keeps them`);
    },
  },
  {
    id: "ltp:munmap01",
    says: "a store to a page that was unmapped is a fault; the page that is left can be written",
    run: (check, t) => {
      for (const first of [0, 1]) {
        const fd = openFile(t, numbered(3));
        const address = mapPages(t, 3, { fd });
        const bytes = raw.view(address, 3 * pageSize);
        raw.munmap(address + pages(first), (3 - first) * pageSize);
        const place = 2 * pageSize + 7;
        const fault = faultOf(address, 3 * pageSize, () => {
          bytes[place] = 9;
        });
        check.equal(fault.reason, "closed");
        check.equal(fault.address, address + BigInt(place));
        if (first === 0) continue;
        bytes[0] = 50;
        check.deepEqual(firstBytes(address, 1), [50]);
        raw.check(address, pageSize);
      }
    },
  },
  {
    id: "ltp:munmap04",
    says: "a page in the middle cannot go when areas are used up, a page at the edge can",
    run: async (check) => {
      const found = await answerAtLimit();
      check.deepEqual(found, { middle: "ENOMEM", kept: "", edge: "", again: "" });
    },
  },
];
