// src/fault.ts: why a page could not be had, asked of the kernel for pages that really cannot.

import assert from "node:assert/strict";
import { renameSync, truncateSync, writeFileSync } from "node:fs";
import test from "node:test";
import { pageSize } from "memmap";
import { bitsOf, protectionBits } from "#dist/bits.js";
import { FaultError, SystemError } from "#dist/errors.js";
import { faultAt } from "#dist/fault.js";
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
  const region = native().map(0n, pageCount * pageSize, prot, flags, file.fd, offset - start);
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
