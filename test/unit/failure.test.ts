// src/failure.ts: the name of each errno, and the bound in the message, compared with what the
// system says of itself.

import assert from "node:assert/strict";
import { openSync, readFileSync } from "node:fs";
import { constants as systemConstants } from "node:os";
import test from "node:test";
import { MemmapError, SystemError } from "#dist/errors.js";
import { errnoName, fromFileSystem, systemError } from "#dist/failure.js";
import { native } from "#dist/native.js";
import { hasCode } from "./support.js";

const call = { syscall: "mmap", what: "Cannot map 4096 bytes" };

function errnoOf(name: string): number {
  const found = Object.entries(native().errnoNames).find(([, known]) => known === name);
  assert.ok(found !== undefined, `the addon knows ${name}`);
  return -Number(found[0]);
}

/** The soft limit as the kernel prints it: digits, or "unlimited". */
function softLimit(line: string): string {
  const limits = readFileSync("/proc/self/limits", "utf8");
  const value = new RegExp(`^${line} +(\\S+)`, "m").exec(limits)?.[1];
  assert.ok(value !== undefined, `/proc/self/limits has ${line}`);
  return value;
}

test("errnoName() agrees with the runtime's own table", () => {
  const known = Object.entries(systemConstants.errno).filter(([name]) => name !== "EWOULDBLOCK");
  assert.ok(known.length > 70, `${known.length} names to compare`);
  for (const [name, number] of known) {
    // One number, two names: the manual pages of the calls here spell it EOPNOTSUPP.
    const expected = name === "ENOTSUP" ? "EOPNOTSUPP" : name;
    assert.equal(errnoName(-number), expected);
  }
});

test("errnoName() knows every number that the kernel has, and one that drivers let out", () => {
  for (let number = 1; number <= 133; number += 1) {
    // 41 and 58 are other names of EAGAIN and EDEADLK, on other systems.
    if (number === 41 || number === 58) continue;
    assert.match(errnoName(-number), /^E(?!\d+$)[A-Z0-9]+$/, String(number));
  }
  assert.equal(errnoName(-524), "ENOTSUPP");
});

test("errnoName() keeps the digits of a number that no table knows", () => {
  assert.equal(errnoName(-4095), "E4095");
});

test("systemError() has code, errno, syscall, path, and a message of one line", () => {
  const error = systemError(errnoOf("ENODEV"), { ...call, path: "/proc/self/maps" });
  assert.ok(error instanceof SystemError);
  const { code, errno, syscall, path } = error;
  assert.deepEqual([code, errno, syscall, path], ["ENODEV", -19, "mmap", "/proc/self/maps"]);
  assert.match(error.message, /^ENODEV: Cannot map 4096 bytes: .*cannot be mapped, mmap$/);
  for (const name of Object.values(native().errnoNames)) {
    const { message } = systemError(errnoOf(name), call);
    assert.match(message, new RegExp(`^${name}: Cannot map 4096 bytes: [^\\n]+, mmap$`));
  }
});

test("a lack of memory names the limits that this process has now", () => {
  const limit = softLimit("Max address space");
  const expected = limit === "unlimited" ? limit : `${limit} bytes`;
  const count = readFileSync("/proc/sys/vm/max_map_count", "utf8").trim();
  const { message } = systemError(errnoOf("ENOMEM"), call);
  assert.ok(message.includes(`RLIMIT_AS is ${expected}`), message);
  assert.ok(message.includes(`vm.max_map_count is ${count}`), message);
});

test("a refused lock names RLIMIT_MEMLOCK, for mlock and for mmap with MAP_LOCKED", () => {
  const limit = softLimit("Max locked memory");
  const expected = `RLIMIT_MEMLOCK is ${limit === "unlimited" ? limit : `${limit} bytes`}`;
  for (const name of ["EPERM", "EAGAIN"]) {
    const { message } = systemError(errnoOf(name), { ...call, syscall: "mlock" });
    assert.ok(message.includes(expected), message);
  }
  assert.ok(systemError(errnoOf("EAGAIN"), call).message.includes(expected));
  assert.ok(!systemError(errnoOf("EPERM"), call).message.includes("RLIMIT_MEMLOCK"));
});

test("fromFileSystem() makes a SystemError of a failed call of node:fs, with its cause", () => {
  let thrown: unknown;
  try {
    openSync("/proc/self/no-such-file", "r");
  } catch (error) {
    thrown = error;
  }
  const made = fromFileSystem(thrown, { ...call, syscall: "open", path: "/p" });
  hasCode(SystemError, "ENOENT", /^ENOENT: Cannot map 4096 bytes: .*no such file.*, open$/)(made);
  assert.ok(made instanceof SystemError && made instanceof MemmapError);
  assert.deepEqual([made.errno, made.path, made.cause], [-2, "/p", thrown]);
});

test("fromFileSystem() passes on what is no failed call", () => {
  const coded = Object.assign(new TypeError("a"), { code: "ERR_INVALID_ARG_VALUE" });
  const numbered = Object.assign(new Error("a"), { code: 2 });
  for (const other of [new Error("a"), coded, numbered, "text", undefined, null]) {
    assert.equal(fromFileSystem(other, call), other);
  }
});
