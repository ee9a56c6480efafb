// src/handle.ts: what a handle holds, that it goes through JSON, and that nothing in one is trusted
// when it comes back.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync, statSync } from "node:fs";
import test from "node:test";
import { type Mapping, mapAnonymous, mapFileSync, pageSize } from "memmap";
import { MemmapError } from "#dist/errors.js";
import { readHandle, startTimeOf } from "#dist/handle.js";
import { runSource } from "../helpers/child.js";
import { areaAt, descriptors } from "../helpers/proc-self.js";
import { hasCode, patternFile } from "./support.js";

const wrongType = hasCode(TypeError, "ERR_INVALID_ARG_TYPE", /"handle/);
const wrongValue = hasCode(TypeError, "ERR_INVALID_ARG_VALUE", /"handle/);
const outOfRange = hasCode(RangeError, "ERR_OUT_OF_RANGE", /"handle/);

/** A handle as it comes out of the other side. */
function sent(mapping: Mapping): Record<string, unknown> {
  return JSON.parse(JSON.stringify(mapping.share()));
}

test("startTimeOf() is the 22nd field of the process, and undefined where there is none", () => {
  const fields = readFileSync("/proc/self/stat", "latin1")
    .replace(/^.*\) /s, "")
    .split(" ");
  assert.equal(startTimeOf(process.pid), fields[19]);
  assert.match(fields[19] ?? "", /^\d+$/);
  const { pid } = spawnSync(process.execPath, ["--version"]);
  assert.equal(startTimeOf(pid), undefined);
});

test("startTimeOf() is not misled by the name of a process", async () => {
  const { stdout } = await runSource(`
    import { readFileSync, writeFileSync } from "node:fs";
    import { startTimeOf } from "#dist/handle.js";
    const before = startTimeOf(process.pid);
    writeFileSync("/proc/self/comm", "a) 1 2 3 (b");
    if (!readFileSync("/proc/self/stat", "latin1").includes("(a) 1 2 3 (b) ")) process.exit(1);
    console.log(startTimeOf(process.pid) === before);
  `);
  assert.equal(stdout.trim(), "true");
});

test("share() names process, file and place, and changes nothing of the mapping", (t) => {
  const path = patternFile(t, 3 * pageSize);
  using mapping = mapFileSync(path, { offset: pageSize + 7, length: 100 });
  const handle = mapping.share();
  const { dev, ino } = statSync(path, { bigint: true });
  const { pid, startTime, device, inode, path: named } = handle;
  assert.deepEqual(
    { pid, startTime, device, inode, named },
    {
      pid: process.pid,
      startTime: startTimeOf(process.pid),
      device: String(dev),
      inode: String(ino),
      named: path,
    },
  );
  const { offset, start, byteLength, protection, sharing, backing, growable, fd } = handle;
  assert.deepEqual([offset, start, byteLength], [pageSize + 7, 7, 100]);
  assert.deepEqual([protection, sharing, backing], ["read", "shared", "file"]);
  assert.deepEqual([growable, fd, handle.pageSize], [false, -1, pageSize]);
  const area = areaAt(mapping.address);
  assert.equal(handle.range, `${area?.start.toString(16)}-${area?.end.toString(16)}`);
  assert.deepEqual(mapping.share(), handle, "the second handle is the same");
});

test("the handle of shared memory names its descriptor and the object behind it", () => {
  using mapping = mapAnonymous(10, { sharing: "shared", name: "handle-test" });
  const { fd, device, inode, path, growable, backing } = mapping.share();
  assert.match(descriptors().get(fd) ?? "", /memmap:handle-test/);
  const status = statSync(`/proc/self/fd/${fd}`, { bigint: true });
  assert.deepEqual([device, inode], [String(status.dev), String(status.ino)]);
  assert.deepEqual([path, growable, backing], [null, true, "anonymous"]);
});

test("the handle of a mapping with several protections has the one it was mapped with", () => {
  using mapping = mapAnonymous(2 * pageSize);
  mapping.protect("none", { length: 1 });
  assert.equal(mapping.share().protection, "read-write");
  mapping.protect("read");
  assert.equal(mapping.share().protection, "read");
});

test("a handle is plain data: what readHandle() gives is what share() made", (t) => {
  using file = mapFileSync(patternFile(t, 10), { protection: "read-write", grow: true });
  using shared = mapAnonymous(10, { sharing: "shared" });
  using memory = mapAnonymous(0);
  for (const mapping of [file, shared, memory]) {
    const handle = mapping.share();
    assert.deepEqual(readHandle(sent(mapping)), handle);
    assert.deepEqual(readHandle(structuredClone(handle)), handle);
  }
});

test("readHandle() refuses what is no handle", () => {
  for (const value of [null, undefined, 1, "text", {}, [], { memmap: "1" }, true]) {
    assert.throws(() => readHandle(value), TypeError, String(value));
  }
});

test("readHandle() refuses another form by its number, before it looks at the rest", () => {
  using mapping = mapAnonymous(1);
  const other = hasCode(MemmapError, "ERR_MEMMAP_VERSION", /its form is 7,.* knows form 1$/);
  assert.throws(() => readHandle({ ...sent(mapping), memmap: 7 }), other);
  assert.throws(() => readHandle({ memmap: 7 }), other);
});

test("readHandle() refuses each field that is missing or of another type", () => {
  using mapping = mapAnonymous(1, { sharing: "shared" });
  const handle = sent(mapping);
  const names = Object.keys(handle).filter((name) => name !== "memmap");
  assert.equal(names.length, 20);
  for (const name of names) {
    for (const value of [undefined, {}, Symbol("x"), [1]]) {
      const call = () => readHandle({ ...handle, [name]: value });
      assert.throws(call, TypeError, `${name}: ${String(value)}`);
    }
  }
  assert.throws(() => readHandle({ ...handle, pid: "1" }), wrongType);
  assert.throws(() => readHandle({ ...handle, startTime: 1 }), wrongValue);
  assert.throws(() => readHandle({ ...handle, mayWrite: 1 }), wrongValue);
  assert.throws(() => readHandle({ ...handle, protection: "write" }), wrongValue);
  assert.throws(() => readHandle({ ...handle, sharing: "both" }), wrongValue);
  assert.throws(() => readHandle({ ...handle, backing: "pool" }), wrongValue);
  assert.throws(() => readHandle({ ...handle, faults: "ignore" }), wrongValue);
});

test("readHandle() refuses numbers outside their bounds", () => {
  using mapping = mapAnonymous(1, { sharing: "shared" });
  const handle = sent(mapping);
  for (const [name, least] of [
    ["pid", 1],
    ["id", 0],
    ["fd", -1],
    ["fileSize", 0],
    ["ownerUid", 0],
    ["offset", 0],
    ["start", 0],
    ["byteLength", 0],
    ["pageSize", 1],
  ] as const) {
    assert.equal(readHandle({ ...handle, [name]: least })[name], least);
    for (const value of [least - 1, 0.5, Number.NaN, 2 ** 53]) {
      assert.throws(() => readHandle({ ...handle, [name]: value }), outOfRange, name);
    }
  }
});

test("readHandle() reads each field once and takes no others", () => {
  using mapping = mapAnonymous(1);
  const reads = new Map<string | symbol, number>();
  const handle = new Proxy(sent(mapping), {
    get(target, name, receiver) {
      reads.set(name, (reads.get(name) ?? 0) + 1);
      return Reflect.get(target, name, receiver);
    },
  });
  readHandle(handle);
  assert.equal(reads.size, 21);
  for (const [name, count] of reads) assert.equal(count, 1, String(name));
  assert.equal("extra" in readHandle({ ...sent(mapping), extra: 1 }), false);
});
