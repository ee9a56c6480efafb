// src/map.ts: which bytes a mapping gets, in both ways of asking, and that a failure at any step
// leaves no descriptor, no area and no file behind.

import assert from "node:assert/strict";
import { closeSync, existsSync, openSync, statSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { type MapFileOptions, mapAnonymous, mapFile, mapFileSync, pageSize } from "memmap";
import { SystemError } from "#dist/errors.js";
import { native } from "#dist/native.js";
import { areasNamed, descriptorsNamed } from "../helpers/proc-self.js";
import { tempDir } from "../helpers/temp.js";
import { hasCode, pattern, patternFile } from "./support.js";

const ways = [mapFile, mapFileSync] as const;

test("the bytes are those of the file, at every alignment of both ends", async (t) => {
  const size = 2 * pageSize + 10;
  const path = patternFile(t, size);
  const all = pattern(size);
  const edges = [0, 1, pageSize - 1, pageSize, pageSize + 1, 2 * pageSize, size - 1, size];
  for (const way of ways) {
    for (const offset of edges) {
      for (const end of edges.filter((edge) => edge >= offset)) {
        const mapping = await way(path, { offset, length: end - offset });
        assert.deepEqual(mapping.bytes, all.subarray(offset, end), `${offset} to ${end}`);
        assert.equal(mapping.offset, offset);
        mapping.close();
      }
      const rest = await way(path, { offset });
      assert.deepEqual(rest.bytes, all.subarray(offset));
      rest.close();
    }
  }
});

test("a range is refused at the first byte past the end, and the ways out are named", async (t) => {
  const path = patternFile(t, 100);
  const cases: readonly [MapFileOptions, RegExp][] = [
    [{ offset: 101 }, /at offset 101: the file is 100 bytes long/],
    [{ length: 101 }, /101 bytes at offset 0 .*leave out "length".*grow: true.*raw door/],
    [{ offset: 100, length: 1 }, /100 bytes long/],
    [{ offset: 101, grow: true }, /at offset 101/],
  ];
  for (const way of ways) {
    for (const [options, words] of cases) {
      const refused = hasCode(RangeError, "ERR_OUT_OF_RANGE", words);
      await assert.rejects(async () => way(path, options), refused);
    }
  }
  assert.equal(statSync(path).size, 100);
  assert.deepEqual([descriptorsNamed(path), areasNamed(path)], [[], []]);
});

test("grow allocates from any offset, keeps one descriptor, and close gives it back", async (t) => {
  for (const way of ways) {
    const path = patternFile(t, 100);
    const mapping = await way(path, { grow: true, offset: 50, length: 3 * pageSize });
    assert.equal(statSync(path).size, 50 + 3 * pageSize);
    assert.ok(statSync(path).blocks * 512 >= 3 * pageSize);
    assert.equal(descriptorsNamed(path).length, 1);
    const expected = new Uint8Array(3 * pageSize);
    expected.set(pattern(100).subarray(50));
    assert.deepEqual(mapping.bytes, expected);
    mapping.close();
    native().releaseRetired();
    assert.deepEqual([descriptorsNamed(path), areasNamed(path)], [[], []]);
  }
});

test("a failure behind the open gives back the descriptor and a file that was made", async (t) => {
  const folder = tempDir(t);
  const far = { create: true, grow: true, offset: 2 ** 52, length: 10 };
  for (const way of ways) {
    const path = join(folder, way.name);
    const refused = hasCode(SystemError, "EFBIG", /Cannot grow ".*" to 4503599627370506 bytes/);
    await assert.rejects(async () => way(path, far), refused);
    assert.equal(existsSync(path), false);
    const refusedRange = hasCode(RangeError, "ERR_OUT_OF_RANGE");
    await assert.rejects(async () => way(path, { create: true, length: 1 }), refusedRange);
    assert.equal(existsSync(path), false);
  }
  assert.deepEqual(descriptorsNamed(folder), []);
});

test("a file that somebody removed meanwhile does not hide the failure", async (t) => {
  const path = join(tempDir(t), "file");
  const promise = mapFile(path, { create: true, grow: true, offset: 2 ** 52, length: 10 });
  // The pool makes the file while this thread does nothing else.
  while (!existsSync(path));
  unlinkSync(path);
  await assert.rejects(promise, hasCode(SystemError, "EFBIG"));
  assert.deepEqual(descriptorsNamed(path), []);
});

test("what the kernel refuses to map is its error, with what, which and why", async (t) => {
  const folder = tempDir(t);
  for (const way of ways) {
    const refused = hasCode(
      SystemError,
      "ENODEV",
      /^ENODEV: Cannot map 10 bytes of ".*": .*, mmap$/,
    );
    await assert.rejects(async () => way(folder), hasCode(SystemError, "ENODEV"));
    await assert.rejects(async () => way(folder, { length: 10 }), refused);
  }
  const path = patternFile(t, 10);
  const fd = openSync(path, "r");
  t.after(() => closeSync(fd));
  const writing = hasCode(SystemError, "EACCES", /descriptor \d+: .*the way it was opened/);
  assert.throws(() => mapFileSync(fd, { protection: "read-write" }), writing);
  const growing = hasCode(SystemError, "EBADF", /not open for writing, fallocate$/);
  assert.throws(() => mapFileSync(fd, { grow: true, length: 20 }), growing);
  assert.throws(() => mapFileSync("/dev/zero"), hasCode(TypeError, "ERR_INVALID_ARG_VALUE"));
});

test("a private mapping can be written though its file was opened for reading", async (t) => {
  const path = patternFile(t, 10);
  const fd = openSync(path, "r");
  t.after(() => closeSync(fd));
  for (const way of ways) {
    const mapping = await way(fd, { protection: "read-write", sharing: "private" });
    mapping.bytes[0] = 200;
    assert.equal(mapping.path, undefined);
    mapping.close();
  }
  assert.equal(mapFileSync(path).bytes[0], 0);
});

test("populate and lock run in the pool, and the result is the same", async (t) => {
  const path = patternFile(t, 3 * pageSize);
  for (const options of [{ populate: true }, { lock: true }, { populate: true, lock: true }]) {
    const mapping = await mapFile(path, options);
    assert.deepEqual(mapping.bytes, pattern(3 * pageSize));
    assert.equal(mapping.residency().residentCount, 3);
    mapping.close();
  }
});

test("mapAnonymous() gives whole pages below exactly the bytes asked for, zero", () => {
  for (const sharing of ["private", "shared"] as const) {
    for (const byteLength of [0, 1, pageSize, pageSize + 1]) {
      using mapping = mapAnonymous(byteLength, { sharing });
      assert.deepEqual(mapping.bytes, new Uint8Array(byteLength));
      assert.equal(mapping.address % BigInt(pageSize), 0n);
      assert.deepEqual([mapping.offset, mapping.path], [0, undefined]);
    }
  }
});

test("an argument is refused before a file is opened or made", async (t) => {
  const path = join(tempDir(t), "file");
  for (const way of ways) {
    for (const options of [
      { create: true, sharing: "private" },
      { create: true, offset: -1 },
      { create: true, name: "" },
    ] as const) {
      await assert.rejects(async () => way(path, options), /./);
      assert.equal(existsSync(path), false);
    }
  }
});
