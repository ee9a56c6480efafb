// src/fault.ts: why a page could not be had, asked of the kernel for pages that really cannot.

import assert from "node:assert/strict";
import { renameSync, truncateSync, writeFileSync } from "node:fs";
import test from "node:test";
import { pageSize } from "memmap";
import { bitsOf, protectionBits } from "#dist/bits.js";
import { FaultError, SystemError } from "#dist/errors.js";
import { collectFault, faultAt, hasFault, requireOriginal, takeOrphan } from "#dist/fault.js";
import { native } from "#dist/native.js";
import { describeSync, openFileSync, readSource } from "#dist/source.js";
import type { Cleanup } from "../helpers/temp.js";
import { hasCode, makeCore, patternFile } from "./support.js";

/** The state of a shared mapping of a whole file, from its byte `offset` on. */
function fileCore(t: Cleanup, path: string, offset: number) {
  const plan = { writable: true, create: false, exclusive: false, mode: 0o666 };
  const file = openFileSync(readSource(path), plan);
  const facts = describeSync(file);
  const start = offset % pageSize;
  const pageCount = Math.ceil((facts.size - offset + start) / pageSize);
  const prot = protectionBits("read-write");
  const flags = bitsOf(["MAP_SHARED"]);
  const length = pageCount * pageSize;
  const region = native().map(0n, length, prot, flags, file.fd, offset - start, pageSize, false);
  file.close("mapped");
  if (typeof region === "number") assert.fail(`mmap answered ${region}`);
  const byteLength = facts.size - offset;
  const init = { region, start, byteLength, offset, file: facts, growable: false } as const;
  return makeCore(t, pageCount, { ...init, sharing: "shared", backing: "file" });
}

test("faultAt() calls a page without permission protected, for either access", (t) => {
  const state = makeCore(t, 3);
  native().protect(state.region, pageSize, pageSize, protectionBits("none"));
  state.protections.set({ pageIndex: 1, pageCount: 1, value: "none" });
  for (const access of ["read", "write"] as const) {
    const error = faultAt(state, { byteOffset: pageSize + 5, access });
    hasCode(FaultError, "ERR_MEMMAP_FAULT", /byte \d+ of .*its protection forbids it$/)(error);
    assert.ok(error instanceof FaultError);
    const { address, byteOffset, reason, count } = error;
    assert.deepEqual(
      { address, byteOffset, access: error.access, reason, count },
      {
        address: state.address + BigInt(pageSize + 5),
        byteOffset: pageSize + 5,
        access,
        reason: "protected",
        count: 1,
      },
    );
  }
});

test("faultAt() calls a write to a page that can only be read protected", (t) => {
  const state = makeCore(t, 1);
  native().protect(state.region, 0, pageSize, protectionBits("read"));
  state.protections.set({ pageIndex: 0, pageCount: 1, value: "read" });
  const error = faultAt(state, { byteOffset: 0, access: "write" });
  assert.ok(error instanceof FaultError);
  assert.equal(error.reason, "protected");
});

test("faultAt() of a page that can be had blames the other side of the copy", (t) => {
  const error = faultAt(makeCore(t, 1), { byteOffset: 0, access: "read" });
  hasCode(SystemError, "EFAULT", /^EFAULT: Cannot read byte 0 of the anonymous mapping/)(error);
  assert.ok(!(error instanceof FaultError));
});

test("faultAt() calls a byte behind the end of its file truncated, with the file's path", (t) => {
  const path = patternFile(t, 3 * pageSize);
  const state = fileCore(t, path, 100);
  truncateSync(path, pageSize);
  const error = faultAt(state, { byteOffset: pageSize, access: "read" });
  assert.ok(error instanceof FaultError);
  assert.deepEqual([error.reason, error.path, error.byteOffset], ["truncated", path, pageSize]);
});

test("faultAt() is not misled by another file that took the name", (t) => {
  const path = patternFile(t, 3 * pageSize);
  const state = fileCore(t, path, 0);
  renameSync(path, `${path}-moved`);
  writeFileSync(path, new Uint8Array(10 * pageSize));
  truncateSync(`${path}-moved`, 0);
  const error = faultAt(state, { byteOffset: 0, access: "read" });
  assert.ok(error instanceof FaultError);
  assert.ok(error.reason === "truncated", `the file was truncated, told is ${error.reason}`);
});

test("collectFault() gives the oldest fault with the count of all, and none twice", (t) => {
  const state = makeCore(t, 4, { start: 100, byteLength: 3 * pageSize });
  assert.equal(hasFault(state), false);
  assert.equal(collectFault(state), undefined);
  native().protect(state.region, 0, 4 * pageSize, protectionBits("read"));
  state.bytes[2 * pageSize] = 1;
  state.bytes[2 * pageSize + 1] = 1;
  assert.equal(hasFault(state), true);
  state.bytes[5] = 1;
  const fault = collectFault(state);
  assert.ok(fault instanceof FaultError);
  const { byteOffset, access, reason, count, address } = fault;
  assert.deepEqual([byteOffset, access, reason, count], [2 * pageSize, "write", "protected", 2]);
  assert.equal(address, state.address + BigInt(byteOffset));
  assert.equal(hasFault(state), false);
  assert.equal(collectFault(state), undefined);
  state.bytes[pageSize] = 1;
  assert.equal(collectFault(state)?.byteOffset, pageSize);
});

test("the reason of a page that the guard replaced is asked of the file when it is told", (t) => {
  const path = patternFile(t, 3 * pageSize);
  const state = fileCore(t, path, 100);
  truncateSync(path, pageSize);
  assert.equal(state.bytes[pageSize], 0);
  assert.deepEqual([collectFault(state)?.reason, collectFault(state)], ["truncated", undefined]);
  assert.equal(state.bytes[2 * pageSize], 0);
  // A file that has the byte now, and gives it, had been shorter.
  truncateSync(path, 3 * pageSize);
  assert.equal(collectFault(state)?.reason, "truncated");
});

test("requireOriginal() names the first replaced byte of its range, each time", (t) => {
  const state = makeCore(t, 4, { start: 100, byteLength: 3 * pageSize });
  const all = { offset: 0, length: 3 * pageSize };
  requireOriginal(state, all, "read");
  native().protect(state.region, pageSize, 2 * pageSize, protectionBits("none"));
  state.bytes[2 * pageSize];
  state.bytes[pageSize];
  const cases: readonly [offset: number, length: number, at: number | undefined][] = [
    [0, 3 * pageSize, pageSize - 100],
    [pageSize, 10, pageSize],
    [0, pageSize - 100, undefined],
    [0, pageSize - 99, pageSize - 100],
    [3 * pageSize - 101, 1, 3 * pageSize - 101],
    [3 * pageSize - 100, 1, undefined],
    [pageSize, 0, undefined],
  ];
  for (const [i, [offset, length, at]] of cases.entries()) {
    const call = () => requireOriginal(state, { offset, length }, "write");
    if (at === undefined) {
      call();
      continue;
    }
    assert.throws(call, (error) => {
      assert.ok(error instanceof FaultError);
      const { byteOffset, access, reason, count } = error;
      // The first one takes along what nobody had collected.
      assert.deepEqual([byteOffset, access, reason], [at, "write", "protected"]);
      assert.equal(count, i === 0 ? 2 : 1);
      return true;
    });
  }
});

test("a touch of a closed mapping is told as such, by the mapping it belonged to", (t) => {
  const state = makeCore(t, 2);
  let moved: ArrayBuffer;
  try {
    moved = structuredClone(state.bytes.buffer, { transfer: [state.bytes.buffer] });
  } catch {
    t.skip("this runtime does not let such a buffer go");
    return;
  }
  const { address } = state;
  state.close();
  const bytes = new Uint8Array(moved);
  assert.equal(bytes[pageSize + 3], 0);
  bytes[pageSize + 3] = 1;
  const fault = collectFault(state);
  assert.ok(fault instanceof FaultError);
  const { byteOffset, access, reason, count } = fault;
  assert.deepEqual([byteOffset, access, reason, count], [pageSize + 3, "read", "closed", 1]);
  assert.equal(fault.address, address + BigInt(pageSize + 3));
  assert.match(fault.message, /the mapping was closed$/);
});

test("takeOrphan() gives nothing while every mapping has its object", (t) => {
  const state = makeCore(t, 1, { protection: "none" });
  native().protect(state.region, 0, pageSize, protectionBits("none"));
  state.bytes[0];
  assert.equal(takeOrphan(false), undefined);
  assert.equal(hasFault(state), true);
});
