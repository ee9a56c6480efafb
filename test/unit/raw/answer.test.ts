// src/raw/answer.ts: what stands before the kernel refuses with an error of memmap, the kernel with
// one in Node's shape, and everything else is the value.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { constants as os } from "node:os";
import test from "node:test";
import { MemmapError, SystemError } from "#dist/errors.js";
import { refusals } from "#dist/native.js";
import { addressOf, errorOf, hex, numberOf } from "#dist/raw/answer.js";
import { hasCode } from "../support.js";

const call = { syscall: "mmap", what: "map 4096 bytes" };

test("hex() writes an address as the kernel's lists do, with what marks it", () => {
  assert.equal(hex(0n), "0x0");
  assert.equal(hex(0x7fff_0000_1000n), "0x7fff00001000");
  assert.equal(hex(2n ** 64n - 1n), "0xffffffffffffffff");
});

test("the refusals are those of native/area.h, and lie below every errno", () => {
  const header = readFileSync(new URL("../../../../native/area.h", import.meta.url), "utf8");
  const found = [...header.matchAll(/#define MM_(FOREIGN|VIEWED|SEALED) \((-\d+)\)/g)];
  const defined = found.map(([, name = "", value]) => [name.toLowerCase(), Number(value)]);
  assert.deepEqual(refusals, Object.fromEntries(defined));
  for (const value of Object.values(refusals)) assert.ok(value < -4095, String(value));
});

test("each refusal is its MemmapError, and no failed call", () => {
  const plans = [
    [refusals.foreign, "ERR_MEMMAP_UNSAFE_FIXED", /others mapped memory there/],
    [refusals.viewed, "ERR_MEMMAP_PINNED", /a view covers a part of it$/],
    [refusals.sealed, "ERR_MEMMAP_UNSUPPORTED", /sealed/],
  ] as const;
  for (const [answer, code, words] of plans) {
    const error = errorOf(answer, call);
    hasCode(MemmapError, code, words)(error);
    assert.match(error.message, /^Cannot map 4096 bytes: /);
    assert.ok(!(error instanceof SystemError), code);
    assert.throws(() => numberOf(answer, call), hasCode(MemmapError, code, words));
    assert.throws(() => addressOf(answer, call), hasCode(MemmapError, code, words));
  }
});

test("a negative errno is a SystemError in Node's shape", () => {
  for (const name of ["EINVAL", "ENOMEM", "EPERM", "EBADF", "ENOSYS"] as const) {
    const errno = -os.errno[name];
    const isExpected = (error: unknown): true => {
      hasCode(SystemError, name)(error);
      assert.ok(error instanceof SystemError);
      assert.deepEqual([error.errno, error.syscall, error.name], [errno, "mmap", "SystemError"]);
      assert.ok(error.message.startsWith(`${name}: Cannot map 4096 bytes: `), error.message);
      assert.ok(error.message.endsWith(", mmap"), error.message);
      assert.ok(!("path" in error));
      return true;
    };
    isExpected(errorOf(errno, call));
    assert.throws(() => numberOf(errno, call), isExpected);
    assert.throws(() => addressOf(errno, call), isExpected);
  }
});

test("addresses and numbers pass", () => {
  for (const address of [0n, 4096n, 2n ** 47n, 2n ** 64n - 1n]) {
    assert.equal(addressOf(address, call), address);
  }
  for (const number of [0, 1, 65_536, 2 ** 53 - 1]) assert.equal(numberOf(number, call), number);
});
