// src/raw/pages.ts: each call once for what the kernel then says of the pages, and once for each
// kind of mistake in its arguments, which change nothing.

import assert from "node:assert/strict";
import test from "node:test";
import { MemmapError, SystemError } from "#dist/errors.js";
import { pageSize } from "#dist/native.js";
import * as constants from "#dist/raw/constants.js";
import { close, pidfd_open } from "#dist/raw/descriptors.js";
import { view } from "#dist/raw/mappings.js";
import * as calls from "#dist/raw/pages.js";
import { callUntyped } from "../../helpers/bad-calls.js";
import { runSource } from "../../helpers/child.js";
import { areasOf, flagsAt, pageTable, permissionsAt } from "../../helpers/proc-self.js";
import { mapRaw, memoryFile, readWrite } from "../../helpers/raw-memory.js";
import { needs, undoAfter } from "../../helpers/temp.js";
import { hasCode } from "../support.js";
import { type Argument, needsKernel, refusesMistakes } from "./support.js";

const { MADV_COLD, MADV_DONTNEED, MAP_SHARED, MLOCK_ONFAULT, MS_SYNC, PROT_NONE, PROT_READ } =
  constants;
const page = BigInt(pageSize);
const unsafe = hasCode(MemmapError, "ERR_MEMMAP_UNSAFE_FIXED", / \d+ bytes at 0x[0-9a-f]+: /);

/** The arguments that most calls have, and the last one of some. */
function range(address: bigint, ...last: readonly Argument[]): readonly Argument[] {
  return [["addr", "address", address], ["length", "size", pageSize], ...last];
}

/** The first byte of the runtime's own program, which this door has not mapped. */
function ofOthers(): bigint {
  return areasOf()[0]?.start ?? assert.fail("nothing is mapped");
}

test("msync() takes a shared mapping, and tells flags that the kernel refuses", (t) => {
  const address = mapRaw(t, { flags: MAP_SHARED, fd: memoryFile(t, pageSize) });
  assert.equal(calls.msync(address, pageSize, MS_SYNC), undefined);
  const both = MS_SYNC | constants.MS_ASYNC;
  const refused = hasCode(SystemError, "EINVAL", /^EINVAL: Cannot flush \d+ bytes .*, msync$/);
  assert.throws(() => calls.msync(address, pageSize, both), refused);
  assert.throws(() => calls.msync(address + 1n, pageSize, MS_SYNC), refused);
  refusesMistakes(calls.msync, range(address, ["flags", "int", MS_SYNC]));
});

test("mprotect() changes what may be done with pages", (t) => {
  const address = mapRaw(t, { length: 2 * pageSize });
  assert.equal(calls.mprotect(address, pageSize, PROT_READ), undefined);
  const found = () => [permissionsAt(address), permissionsAt(address + page)];
  assert.deepEqual(found(), ["r--p", "rw-p"]);
  refusesMistakes(calls.mprotect, range(address, ["prot", "int", readWrite]));
  assert.throws(() => calls.mprotect(address + 1n, 1, readWrite), { code: "EINVAL" });
  const others = ofOthers();
  const before = permissionsAt(others);
  assert.throws(() => calls.mprotect(others, pageSize, PROT_NONE), unsafe);
  assert.equal(permissionsAt(others), before);
  assert.deepEqual(found(), ["r--p", "rw-p"]);
});

test("madvise() advises: MADV_DONTNEED throws pages away", (t) => {
  const address = mapRaw(t);
  const bytes = view(address, pageSize).fill(7);
  refusesMistakes(calls.madvise, range(address, ["advice", "int", MADV_DONTNEED]));
  assert.throws(() => calls.madvise(address, pageSize, 9999), hasCode(SystemError, "EINVAL"));
  assert.throws(() => calls.madvise(ofOthers(), pageSize, MADV_DONTNEED), unsafe);
  assert.deepEqual([pageTable(address, 1).present, bytes[0]], [1, 7]);
  assert.equal(calls.madvise(address, pageSize, MADV_DONTNEED), undefined);
  assert.equal(pageTable(address, 1).present, 0);
  assert.equal(bytes[0], 0);
});

test("mlock() and mlock2() keep pages in memory until munlock()", (t) => {
  const address = mapRaw(t);
  const isLocked = () => flagsAt(address).includes("lo");
  refusesMistakes(calls.mlock, range(address));
  refusesMistakes(calls.mlock2, range(address, ["flags", "int", 0]));
  assert.throws(() => calls.mlock2(address, pageSize, 8), hasCode(SystemError, "EINVAL", /lock/));
  assert.deepEqual([isLocked(), pageTable(address, 1).present], [false, 0]);
  calls.mlock2(address, pageSize, MLOCK_ONFAULT);
  assert.deepEqual([isLocked(), pageTable(address, 1).present], [true, 0]);
  calls.mlock(address, pageSize);
  assert.deepEqual([isLocked(), pageTable(address, 1).present], [true, 1]);
  refusesMistakes(calls.munlock, range(address));
  assert.equal(isLocked(), true);
  assert.equal(calls.munlock(address, pageSize), undefined);
  assert.equal(isLocked(), false);
});

test("munlockall() ends what mlock() has locked", (t) => {
  const address = mapRaw(t);
  calls.mlock(address, pageSize);
  assert.ok(flagsAt(address).includes("lo"));
  assert.equal(calls.munlockall(), undefined);
  assert.ok(!flagsAt(address).includes("lo"));
});

test("mlockall() refuses mistakes, and flags that the kernel refuses", () => {
  refusesMistakes(calls.mlockall, [["flags", "int", 0]]);
  const refused = hasCode(SystemError, "EINVAL", /Cannot lock all memory .*, mlockall$/);
  for (const flags of [0, constants.MCL_ONFAULT, 8]) {
    assert.throws(() => calls.mlockall(flags), refused, String(flags));
  }
});

test("mlockall() locks all memory of the process", needs("root"), async () => {
  const { code, stdout, stderr } = await runSource(`
    import { readFileSync } from "node:fs";
    import * as raw from "memmap/raw";
    const locked = () => Number(/^VmLck:\\s+(\\d+)/m.exec(readFileSync("/proc/self/status"))[1]);
    const counts = [locked()];
    raw.mlockall(raw.MCL_CURRENT | raw.MCL_ONFAULT);
    counts.push(locked());
    raw.munlockall();
    counts.push(locked());
    console.log(counts.map((count) => count > 1000).join());`);
  assert.deepEqual([code, stdout.trim(), stderr], [0, "false,true,false", ""]);
});

test("mincore() has a byte for each page, also for the part of one", (t) => {
  const address = mapRaw(t, { length: 3 * pageSize });
  view(address + page, 1)[0] = 1;
  const found = calls.mincore(address, 2 * pageSize + 1);
  assert.ok(found instanceof Uint8Array);
  assert.deepEqual(
    [...found].map((value) => value & 1),
    [0, 1, 0],
  );
  assert.equal(calls.mincore(address, 0).length, 0);
  refusesMistakes(calls.mincore, range(address));
  const refused = hasCode(SystemError, "EINVAL", /Cannot ask about 1 bytes/);
  assert.throws(() => calls.mincore(address + 1n, 1), refused);
  assert.throws(() => calls.mincore(null, pageSize), hasCode(SystemError, "ENOMEM"));
});

test("mseal() refuses mistakes, the memory of others, and what a view covers", (t) => {
  const address = mapRaw(t);
  const bytes = view(address, 1);
  refusesMistakes(calls.mseal, range(address, ["flags", "int", 0]));
  assert.throws(() => calls.mseal(address, pageSize, 0), hasCode(MemmapError, "ERR_MEMMAP_PINNED"));
  assert.throws(() => calls.mseal(ofOthers(), pageSize, 0), unsafe);
  calls.mprotect(address, pageSize, PROT_READ); // not sealed
  assert.equal(bytes[0], 0);
});

test("mseal() seals, until the process ends", needsKernel("6.10"), async () => {
  const { code, stdout, stderr } = await runSource(`
    import { readFileSync } from "node:fs";
    import * as raw from "memmap/raw";
    const size = ${pageSize};
    const kind = raw.MAP_PRIVATE | raw.MAP_ANONYMOUS;
    const address = raw.mmap(null, size, raw.PROT_READ, kind, -1, 0);
    console.log(raw.mseal(address, size, 0));
    for (const call of [
      () => raw.munmap(address, size),
      () => raw.mprotect(address, size, raw.PROT_NONE),
      () => raw.view(address, 1),
    ]) {
      try { console.log(call()); } catch (error) { console.log(error.code); }
    }
    const maps = readFileSync("/proc/self/maps", "utf8").split("\\n");
    const holds = (line) => {
      const [start, end] = line.split(" ")[0].split("-").map((text) => BigInt("0x" + text));
      return start <= address && address < end;
    };
    console.log(maps.filter(Boolean).find(holds).split(" ")[1]);`);
  const codes = ["undefined", "EPERM", "EPERM", "ERR_MEMMAP_UNSUPPORTED", "r--p"];
  assert.deepEqual([code, stdout.trim().split("\n"), stderr], [0, codes, ""]);
});

test("process_madvise() advises on ranges of a process, and tells how many bytes", (t) => {
  const pidfd = pidfd_open(process.pid, 0);
  undoAfter(t, () => close(pidfd));
  const addr = mapRaw(t, { length: 3 * pageSize });
  const ranges = [
    { addr, length: pageSize },
    { addr: addr + 2n * page, length: page },
  ];
  assert.equal(calls.process_madvise(pidfd, ranges, MADV_COLD, 0), 2 * pageSize);
  assert.equal(calls.process_madvise(pidfd, [], MADV_COLD, 0), 0);
  const others = [{ addr: ofOthers(), length: pageSize }];
  const refused = hasCode(MemmapError, "ERR_MEMMAP_UNSAFE_FIXED", /Cannot advise on 1 ranges/);
  assert.throws(() => calls.process_madvise(pidfd, others, MADV_DONTNEED, 0), refused);
  assert.throws(() => calls.process_madvise(-1, ranges, MADV_COLD, 0), { code: "EBADF" });
});

test("process_madvise() refuses mistakes, and ranges that are none", () => {
  refusesMistakes(
    calls.process_madvise,
    [
      ["pidfd", "int", -1],
      ["ranges[1].addr", "address", null],
      ["ranges[1].length", "size", 0],
      ["advice", "int", MADV_COLD],
      ["flags", "int", 0],
    ],
    ([pidfd, addr, length, advice, flags]) => {
      return [
        pidfd,
        [
          { addr: null, length: 0 },
          { addr, length },
        ],
        advice,
        flags,
      ];
    },
  );
  const refuses = (ranges: unknown, words: RegExp) => {
    const call = () => callUntyped(calls.process_madvise, undefined, [-1, ranges, MADV_COLD, 0]);
    assert.throws(call, hasCode(TypeError, "ERR_INVALID_ARG_TYPE", words));
  };
  for (const ranges of [undefined, null, {}, "", { length: 1 }, new BigUint64Array(2)]) {
    refuses(ranges, /^"ranges" must be an array/);
  }
  for (const one of [undefined, null, 1n, "a"]) refuses([one], /^"ranges\[0\]" must be an object/);
});
