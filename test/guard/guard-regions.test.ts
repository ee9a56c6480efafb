// Pages that a guard region of the kernel covers (MADV_GUARD_INSTALL): a touch is told as one of
// addresses that nobody mapped, and is a fault like any other all the same.

import assert from "node:assert/strict";
import test from "node:test";
import { FaultError, pageSize } from "memmap";
import * as raw from "memmap/raw";
import { needs } from "../helpers/temp.js";

const options = needs({ kernel: "6.13" });
const rw = raw.PROT_READ | raw.PROT_WRITE;
const length = 2 * pageSize;

const kinds = [
  ["private", raw.MAP_PRIVATE],
  ["shared", raw.MAP_SHARED],
] as const;

for (const [name, flags] of kinds) {
  for (const access of ["read", "write"] as const) {
    test(`a ${access} of guarded ${name} memory is a fault that is told`, options, (t) => {
      const address = raw.mmap(null, length, rw, flags | raw.MAP_ANONYMOUS, -1, 0);
      t.after(() => raw.munmap(address, length));
      const bytes = raw.view(address, length).fill(1);
      try {
        raw.madvise(address + BigInt(pageSize), pageSize, raw.MADV_GUARD_INSTALL);
      } catch {
        if (name === "shared") return t.skip("needs Linux 6.15");
        throw new Error("Linux 6.13 guards private memory");
      }
      if (access === "read") assert.equal(bytes[pageSize + 3], 0);
      else bytes[pageSize + 3] = 7;
      assert.equal(bytes[0], 1);
      assert.throws(
        () => raw.check(address, length),
        (error) => {
          assert.ok(error instanceof FaultError);
          const { access: told, byteOffset, reason, count } = error;
          assert.deepEqual(
            [told, byteOffset, reason, count],
            [access, pageSize + 3, "protected", 1],
          );
          return true;
        },
      );
    });
  }
}
