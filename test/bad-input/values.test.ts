// Values that are no argument: wrong types, and numbers that are negative, broken, infinite or too
// large. Each is refused with Node's class and code before anything happens, and none is converted.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { inspect } from "node:util";
import { mapAnonymous, mapFile, mapFileSync, pageSize } from "memmap";
import {
  badNumbers,
  callMethod,
  callUntyped,
  type Expected,
  fails,
  notBooleans,
  notBytes,
  notNumbers,
  notObjects,
  outOfRange,
  rejects,
  wrongType,
  wrongValue,
} from "../helpers/bad-calls.js";
import { type Cleanup, tempDir } from "../helpers/temp.js";

function makeFile(t: Cleanup): string {
  const path = join(tempDir(t), "data.bin");
  writeFileSync(path, Buffer.alloc(2 * pageSize, 5));
  return path;
}

/** The three ways to make a mapping, with one field of their options. */
async function failsEverywhere(path: string, options: unknown, expected: Expected): Promise<void> {
  const what = inspect(options);
  await fails(() => callUntyped(mapFileSync, undefined, [path, options]), expected, what);
  await rejects(() => callUntyped(mapFile, undefined, [path, options]), expected, what);
}

test("a length of anonymous memory that is no number of bytes is refused", async () => {
  for (const value of [undefined, ...notNumbers]) {
    await fails(() => callUntyped(mapAnonymous, undefined, [value]), wrongType);
  }
  for (const value of badNumbers) await fails(() => mapAnonymous(value), outOfRange, `${value}`);
});

test("offset, length and mode that are no numbers are refused", async (t) => {
  const path = makeFile(t);
  for (const field of ["offset", "length", "mode"]) {
    for (const value of notNumbers) {
      await failsEverywhere(path, { [field]: value }, wrongType);
    }
    for (const value of badNumbers) {
      const message = new RegExp(`"${field}"`);
      await failsEverywhere(path, { [field]: value }, { ...outOfRange, message });
    }
  }
  await failsEverywhere(path, { create: true, mode: 0o10000 }, outOfRange);
});

test("a sum of offset and length that no number holds is refused", async (t) => {
  const path = makeFile(t);
  const max = Number.MAX_SAFE_INTEGER;
  for (const [offset, length] of [
    [max, 1],
    [1, max],
    [max, max],
    [max - 1, 2],
  ] as const) {
    const code = /^(ERR_OUT_OF_RANGE|ERR_BUFFER_TOO_LARGE)$/;
    const expected = { name: "RangeError", code };
    await failsEverywhere(path, { offset, length }, expected);
    await failsEverywhere(path, { offset, length, grow: true }, expected);
  }
});

test("lengths that no address space holds are an error of the documented kind", async (t) => {
  const path = makeFile(t);
  const code = /^(ERR_BUFFER_TOO_LARGE|ERR_OUT_OF_RANGE|ENOMEM|EFBIG|ENOSPC|EOVERFLOW|EINVAL)$/;
  using mapping = mapAnonymous(10);
  for (const length of [2 ** 47, 2 ** 50, 2 ** 52, Number.MAX_SAFE_INTEGER]) {
    for (const call of [
      () => mapAnonymous(length),
      () => mapAnonymous(length, { reserve: false }),
      () => mapAnonymous(length, { sharing: "shared" }),
      () => mapFileSync(path, { length, grow: true }),
      () => mapFileSync("/dev/zero", { length, sharing: "private" }),
      () => mapping.resize(length),
    ]) {
      assert.throws(call, (error) => {
        assert.ok(error instanceof Error && "code" in error);
        assert.match(String(error.code), code, `${call} ${length}: ${error.message}`);
        const name = String(error.code).startsWith("ERR_") ? "RangeError" : "SystemError";
        assert.equal(error.name, name);
        return true;
      });
    }
  }
  assert.equal(mapping.bytes.length, 10);
});

test("a source that names no file is refused", async () => {
  const noSource = [undefined, null, {}, true, [], Symbol("x"), 1n, () => 1, new Date(), new Map()];
  for (const source of noSource) {
    await fails(() => callUntyped(mapFileSync, undefined, [source]), wrongType);
    await rejects(() => callUntyped(mapFile, undefined, [source]), wrongType);
  }
  for (const fd of ["1", null, undefined, 1n, {}]) {
    await fails(() => callUntyped(mapFileSync, undefined, [{ fd }]), wrongType);
  }
  for (const fd of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31, 2 ** 53]) {
    await fails(() => mapFileSync(fd), outOfRange, String(fd));
    await fails(() => mapFileSync({ fd }), outOfRange, String(fd));
    await rejects(() => mapFile(fd), outOfRange, String(fd));
  }
  await fails(() => mapFileSync("a\0b"), wrongValue);
  await fails(() => mapFileSync(Buffer.from("a\0b")), wrongValue);
  await rejects(() => mapFile("a\0b"), wrongValue);
});

test("a URL that names no file is refused", async () => {
  for (const address of [
    "https://example.com/data.bin",
    "data:text/plain,a",
    "file://host/data.bin",
    "file:///a%2Fb",
    "file:///a%00b",
  ]) {
    await fails(() => mapFileSync(new URL(address)), wrongValue, address);
    await rejects(() => mapFile(new URL(address)), wrongValue, address);
  }
});

test("options that are no object are refused everywhere", async (t) => {
  const path = makeFile(t);
  using mapping = mapAnonymous(pageSize);
  for (const value of notObjects) {
    await failsEverywhere(path, value, wrongType);
    await fails(() => callUntyped(mapAnonymous, undefined, [1, value]), wrongType);
    for (const name of ["evict", "discard", "unlock", "residency"]) {
      await fails(() => callMethod(mapping, name, [value]), wrongType, name);
    }
    for (const name of ["flush", "load", "lock"]) {
      await rejects(() => callMethod(mapping, name, [value]), wrongType, name);
      await fails(() => callMethod(mapping, `${name}Sync`, [value]), wrongType, name);
    }
    await fails(() => callMethod(mapping, "protect", ["read", value]), wrongType);
    await fails(() => callMethod(mapping, "advise", ["random", value]), wrongType);
    await fails(() => callMethod(mapping, "indexOf", ["a", value]), wrongType);
    await fails(() => callMethod(mapping, "lastIndexOf", ["a", value]), wrongType);
  }
  assert.equal(mapping.protection, "read-write");
});

test("switches that are no booleans are refused", async (t) => {
  const path = makeFile(t);
  const switches = ["populate", "lock", "reserve", "stack", "growsDown", "low32", "droppable"];
  const ofFiles = ["create", "exclusive", "grow", "synchronous"];
  using mapping = mapAnonymous(pageSize);
  for (const value of notBooleans) {
    for (const field of [...switches, ...ofFiles]) {
      await failsEverywhere(path, { [field]: value }, wrongType);
    }
    for (const field of switches) {
      const options = { [field]: value };
      await fails(() => callUntyped(mapAnonymous, undefined, [1, options]), wrongType, field);
    }
    for (const field of ["wait", "invalidate"]) {
      await fails(() => callMethod(mapping, "flushSync", [{ [field]: value }]), wrongType);
      await rejects(() => callMethod(mapping, "flush", [{ [field]: value }]), wrongType);
    }
  }
});

test("words that are none of the list are refused, and the message has the list", async (t) => {
  const path = makeFile(t);
  using mapping = mapAnonymous(pageSize);
  for (const value of ["", "READ", "write", "rw", "read write", "execute"]) {
    const expected = { ...wrongValue, message: /read-write/ };
    await failsEverywhere(path, { protection: value }, expected);
    await fails(() => callMethod(mapping, "protect", [value]), expected, value);
  }
  for (const value of ["", "Shared", "both"]) {
    await failsEverywhere(path, { sharing: value }, { ...wrongValue, message: /private/ });
  }
  for (const value of [null, 1, true, {}, ["read"]]) {
    await failsEverywhere(path, { protection: value }, wrongType);
    await failsEverywhere(path, { sharing: value }, wrongType);
    await fails(() => callMethod(mapping, "protect", [value]), wrongType);
    await fails(() => callMethod(mapping, "advise", [value]), wrongType);
  }
  for (const value of ["dont-need", "free", "remove", "guard-install"]) {
    await fails(() => callMethod(mapping, "advise", [value]), {
      ...wrongValue,
      message: /discard/,
    });
  }
  for (const value of ["", "willneed", "MADV_RANDOM", "hw-poison"]) {
    await fails(() => callMethod(mapping, "advise", [value]), { ...wrongValue, message: /random/ });
  }
  await fails(() => callMethod(mapping, "protect", []), wrongType);
  await fails(() => callMethod(mapping, "advise", []), wrongType);
});

test("an address, a page size, a name and a signal of the wrong kind are refused", async (t) => {
  const path = makeFile(t);
  for (const value of [0, 4096, "0", null, true, {}]) {
    await failsEverywhere(path, { at: value }, wrongType);
  }
  for (const value of [-1n, 2n ** 64n, 2n ** 100n]) {
    await failsEverywhere(path, { at: value }, outOfRange);
  }
  for (const value of [null, true, 1n, {}]) {
    await failsEverywhere(path, { hugePages: value }, wrongType);
  }
  await failsEverywhere(path, { hugePages: "large" }, wrongValue);
  for (const value of [0, 1, 4095, 4097, 2 ** 21 + 1, 3 * 2 ** 20, ...badNumbers]) {
    await failsEverywhere(path, { hugePages: value }, outOfRange);
  }
  for (const value of [1, null, true, {}]) {
    await failsEverywhere(path, { name: value }, wrongType);
  }
  for (const value of ["", "a".repeat(65), "a\nb", "a\0", "[stack]", "ä", "a$b", "`", "\\"]) {
    await failsEverywhere(path, { name: value }, wrongValue);
  }
  using mapping = mapAnonymous(1);
  for (const signal of [null, {}, "stop", { aborted: true }]) {
    for (const name of ["flush", "load", "lock"]) {
      await rejects(() => callMethod(mapping, name, [{ signal }]), wrongType, name);
    }
  }
});

test("bytes that are no Uint8Array are refused", async () => {
  using mapping = mapAnonymous(pageSize);
  for (const value of notBytes) {
    await fails(() => callMethod(mapping, "write", [0, value]), wrongType);
    await fails(() => callMethod(mapping, "readInto", [value, 0]), wrongType);
  }
  for (const value of [undefined, null, true, {}, [], 1n, new Uint16Array(1)]) {
    await fails(() => callMethod(mapping, "indexOf", [value]), wrongType);
    await fails(() => callMethod(mapping, "lastIndexOf", [value]), wrongType);
  }
  for (const value of [-1, 256, 0.5, Number.NaN]) {
    await fails(() => mapping.indexOf(value), outOfRange);
    await fails(() => mapping.lastIndexOf(value), outOfRange);
  }
  assert.ok(mapping.bytes.every((byte) => byte === 0));
});
