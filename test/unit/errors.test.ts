// src/errors.ts: the shape of each error: class, name, code, fields, and what of it is
// enumerable.

import assert from "node:assert/strict";
import test from "node:test";
import { inspect } from "node:util";
import {
  argumentCodes,
  FaultError,
  type FaultErrorFields,
  illegalConstructor,
  MemmapError,
  memmapCodes,
  memmapError,
  outOfRange,
  SystemError,
  tooLarge,
  wrongType,
  wrongValue,
} from "#dist/errors.js";

const fields: FaultErrorFields = {
  address: 0x7f00_0000_1005n,
  byteOffset: 4101,
  access: "read",
  reason: "truncated",
  count: 1,
};

test("each error is an instance of what it extends", () => {
  const system = new SystemError("text", { code: "ENOENT", errno: -2, syscall: "open" });
  const fault = new FaultError("text", fields);
  for (const error of [system, fault]) {
    assert.ok(error instanceof Error && error instanceof MemmapError);
  }
  assert.ok(!(memmapError("ERR_MEMMAP_CLOSED", "text") instanceof SystemError));
  assert.ok(!(system instanceof FaultError));
});

test("each error has its name on the prototype, and a stack that begins with name and text", () => {
  const errors: readonly [Error, string][] = [
    [memmapError("ERR_MEMMAP_PINNED", "text"), "MemmapError"],
    [new SystemError("text", { code: "EIO", errno: -5, syscall: "msync" }), "SystemError"],
    [new FaultError("text", fields), "FaultError"],
  ];
  for (const [error, name] of errors) {
    assert.equal(error.name, name);
    assert.ok(!Object.hasOwn(error, "name"), `${name}: name is not repeated on each error`);
    assert.equal(String(error), `${name}: text`);
    assert.match(error.stack ?? "", /errors\.test/);
    assert.match(inspect(error), new RegExp(name));
  }
});

test("a SystemError has the fields of Node's own, and no path where there is none", () => {
  const cause = new Error("below");
  const made = { code: "EACCES", errno: -13, syscall: "open", path: "/a", cause };
  const error = new SystemError("text", made);
  const { code, errno, syscall, path } = error;
  assert.deepEqual(
    { code, errno, syscall, path },
    { code: "EACCES", errno: -13, syscall: "open", path: "/a" },
  );
  assert.equal(error.cause, cause);
  const bare = new SystemError("text", { code: "EIO", errno: -5, syscall: "msync" });
  assert.equal("path" in bare, false);
  assert.equal("cause" in bare, false);
});

test("a FaultError tells where, how and why", () => {
  const error = new FaultError("text", { ...fields, path: "/a" });
  const { address, byteOffset, access, reason, count, path, code } = error;
  assert.deepEqual({ address, byteOffset, access, reason, count, path }, { ...fields, path: "/a" });
  assert.equal(code, "ERR_MEMMAP_FAULT");
  assert.equal("path" in new FaultError("text", fields), false);
});

test("a caller's mistake is an error of the language with Node's code", () => {
  const made: readonly [Error, ErrorConstructor, string][] = [
    [outOfRange("text"), RangeError, "ERR_OUT_OF_RANGE"],
    [tooLarge("text"), RangeError, "ERR_BUFFER_TOO_LARGE"],
    [wrongType("text"), TypeError, "ERR_INVALID_ARG_TYPE"],
    [wrongValue("text"), TypeError, "ERR_INVALID_ARG_VALUE"],
    [illegalConstructor("text"), TypeError, "ERR_ILLEGAL_CONSTRUCTOR"],
  ];
  for (const [error, type, code] of made) {
    assert.ok(error instanceof type && !(error instanceof MemmapError));
    assert.equal("code" in error && error.code, code);
    assert.equal(error.message, "text");
  }
  assert.deepEqual(made.map(([, , code]) => code).sort(), [...argumentCodes].sort());
});

test("the lists of codes hold no code twice, and memmap's own are marked as such", () => {
  const all = [...argumentCodes, ...memmapCodes];
  assert.equal(new Set(all).size, all.length);
  for (const code of memmapCodes) assert.match(code, /^ERR_MEMMAP_[A-Z_]+$/);
});

test("errors go through JSON with their code and fields, addresses in hex", () => {
  const error = new SystemError("text", { code: "EIO", errno: -5, syscall: "msync", path: "/a" });
  const expected = { code: "EIO", errno: -5, syscall: "msync", path: "/a" };
  assert.deepEqual(JSON.parse(JSON.stringify(error)), expected);
  const fault = new FaultError("text", { ...fields, path: "/a" });
  assert.deepEqual(JSON.parse(JSON.stringify(fault)), {
    ...fields,
    name: "FaultError",
    message: "text",
    code: "ERR_MEMMAP_FAULT",
    address: "0x7f0000001005",
    path: "/a",
  });
  assert.equal("path" in JSON.parse(JSON.stringify(new FaultError("text", fields))), false);
});
