// src/raw/accepts.ts: what is asked and refused, and that asking leaves nothing behind. Whether the
// answers are right for each constant is held against other calls in test/raw/accepts.test.ts.

import assert from "node:assert/strict";
import test from "node:test";
import { MemmapError } from "#dist/errors.js";
import { pageSize } from "#dist/native.js";
import { accepts, type ConstantName } from "#dist/raw/accepts.js";
import * as constants from "#dist/raw/constants.js";
import { callUntyped } from "../../helpers/bad-calls.js";
import { areasOf, descriptors, descriptorsNamed } from "../../helpers/proc-self.js";
import { hasCode } from "../support.js";
import { needsKernel } from "./support.js";

const wrongValue = hasCode(TypeError, "ERR_INVALID_ARG_VALUE", /^"name" must be/);
const wrongType = hasCode(TypeError, "ERR_INVALID_ARG_TYPE", /^"name" must be a string/);

function isName(name: string): name is ConstantName {
  return Object.hasOwn(constants, name);
}

const names: readonly ConstantName[] = Object.keys(constants).filter(isName);

test("accepts() is true for what every kernel has", () => {
  const known = ["PROT_READ", "MAP_PRIVATE", "MS_SYNC", "MADV_DONTNEED", "F_SEAL_WRITE"] as const;
  for (const name of known) assert.equal(accepts(name), true, name);
});

test("accepts() is false for what no kernel with pages does", () => {
  assert.equal(accepts("MAP_UNINITIALIZED"), false);
});

test("accepts() tells what came with Linux 6.13", needsKernel("6.13"), () => {
  assert.deepEqual([accepts("MADV_GUARD_INSTALL"), accepts("MADV_GUARD_REMOVE")], [true, true]);
});

test("accepts() is true for the calls that every kernel has", () => {
  for (const name of ["mmap", "munmap", "mprotect", "msync", "mlockall", "mincore"] as const) {
    assert.equal(accepts(name), true, name);
  }
});

test("accepts() leaves no descriptor of the calls that make one", () => {
  const before = descriptors().size;
  for (const name of ["memfd_create", "memfd_secret", "pidfd_open", "cachestat"] as const) {
    for (let i = 0; i < 20; i += 1) accepts(name);
  }
  assert.ok(descriptors().size < before + 20);
});

test("accepts() refuses a name that is no constant and no call of the door", () => {
  const unknown = ["", "MAP_NOTHING", "prot_read", "PROT_READ ", "RLIMIT_AS", "accepts", "view"];
  for (const name of [...unknown, "constructor", "__proto__", "toString"]) {
    assert.throws(() => callUntyped(accepts, undefined, [name]), wrongValue, name);
  }
  const told = hasCode(TypeError, "ERR_INVALID_ARG_VALUE", /not "MAP\\nA"$/);
  assert.throws(() => callUntyped(accepts, undefined, ["MAP\nA"]), told);
});

test("accepts() refuses what is no string, and converts nothing", () => {
  const trap = { toString: () => assert.fail("toString was called") };
  for (const name of [trap, undefined, null, 1, 1n, Symbol("PROT_READ"), Object("PROT_READ"), []]) {
    assert.throws(() => callUntyped(accepts, undefined, [name]), wrongType);
  }
});

test("accepts() cannot tell of MAP_SYNC, which each file system decides for each file", () => {
  const refused = hasCode(MemmapError, "ERR_MEMMAP_CANNOT_TELL", /file system decides/);
  assert.throws(() => accepts("MAP_SYNC"), refused);
});

/** The bytes of unnamed memory that can only be read, as the probes map it; areas may merge. */
function readOnlyBytes(): bigint {
  let sum = 0n;
  for (const { start, end, permissions, name } of areasOf()) {
    if (permissions === "r--p" && name === "") sum += end - start;
  }
  return sum;
}

test("accepts() answers for every other name, always alike, and leaves nothing behind", () => {
  const ask = () =>
    names.filter((name) => name !== "MAP_SYNC").map((name) => [name, accepts(name)] as const);
  const first = ask();
  for (const [name, answer] of first) assert.equal(typeof answer, "boolean", name);
  const bytesBefore = readOnlyBytes();
  for (let i = 0; i < 40; i += 1) assert.deepEqual(ask(), first);
  assert.deepEqual(descriptorsNamed("memmap:accepts"), []);
  const grown = readOnlyBytes() - bytesBefore;
  // A page that one name left would be here forty times.
  assert.ok(grown < 40n * BigInt(pageSize), `${grown} more bytes`);
});
