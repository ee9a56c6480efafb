// mremap(2) of a part of a mapping, wherever the part lies in it.

import assert from "node:assert/strict";
import test from "node:test";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { permissionsAt } from "../helpers/proc-self.js";
import { firstBytes, mapPages, numbered, pages, poke, reserve } from "../helpers/raw-pages.js";

for (const [where, first] of [
  ["start", 0],
  ["middle", 1],
  ["end", 2],
] as const) {
  for (const isViewed of [false, true]) {
    test(`a part at the ${where} moves alone, ${isViewed ? "with" : "without"} a view`, (t) => {
      const from = mapPages(t, 3);
      if (isViewed) raw.view(from, 3 * pageSize).set(numbered(3));
      else poke(from, numbered(3));
      const flags = raw.MREMAP_MAYMOVE | raw.MREMAP_FIXED;
      const to = reserve(t, 1);
      assert.equal(raw.mremap(from + pages(first), pageSize, pageSize, flags, to), to);
      assert.deepEqual(firstBytes(to, 1), [first + 1]);
      assert.equal(permissionsAt(from + pages(first)), isViewed ? "---p" : "");
      for (const other of [0, 1, 2].filter((page) => page !== first)) {
        assert.deepEqual(firstBytes(from + pages(other), 1), [other + 1]);
      }
    });
  }
}
