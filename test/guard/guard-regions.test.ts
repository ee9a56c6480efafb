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

test(
  "advice reaches pages that the guard has put aside until their protection is back",
  options,
  (t) => {
    const pidfd = raw.pidfd_open(process.pid, 0);
    t.after(() => raw.close(pidfd));
    const calls = [
      (addr: bigint) => raw.madvise(addr, pageSize, raw.MADV_DONTNEED),
      (addr: bigint) => raw.madvise(addr, pageSize, raw.MADV_COLD),
      (addr: bigint) =>
        raw.process_madvise(pidfd, [{ addr, length: pageSize }], raw.MADV_DONTNEED, 0),
    ];
    const left = calls.map((call) => {
      const address = raw.mmap(null, length, rw, raw.MAP_PRIVATE | raw.MAP_ANONYMOUS, -1, 0);
      t.after(() => raw.munmap(address, length));
      const bytes = raw.view(address, length).fill(1);
      raw.mprotect(address, length, raw.PROT_NONE);
      assert.deepEqual([bytes[0], bytes[pageSize]], [0, 0]);
      assert.throws(() => raw.check(address, length), FaultError);
      call(address);
      raw.mprotect(address, length, rw);
      return [bytes[0], bytes[pageSize]];
    });
    assert.deepEqual(left, [
      [0, 1],
      [1, 1],
      [0, 1],
    ]);
  },
);

test("a guard that was removed after a touch does not come back", options, (t) => {
  const address = raw.mmap(null, length, rw, raw.MAP_PRIVATE | raw.MAP_ANONYMOUS, -1, 0);
  t.after(() => raw.munmap(address, length));
  const bytes = raw.view(address, length).fill(1);
  raw.madvise(address, length, raw.MADV_GUARD_INSTALL);
  assert.equal(bytes[0], 0);
  assert.throws(() => raw.check(address, length), FaultError);
  raw.madvise(address, length, raw.MADV_GUARD_REMOVE);
  raw.mprotect(address, length, rw);
  bytes.fill(2);
  raw.check(address, length);
  assert.equal(bytes[0], 2);
});
