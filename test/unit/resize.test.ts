// src/resize.ts: what a longer or shorter region holds, and that a refused resize changes
// nothing.

import assert from "node:assert/strict";
import { statSync, truncateSync } from "node:fs";
import test from "node:test";
import { mapAnonymous, mapFileSync, pageSize } from "memmap";
import { byteMax } from "#dist/limits.js";
import { resizeMapping } from "#dist/resize.js";
import { limitedOutput } from "../helpers/ordinary-user.js";
import { descriptorsNamed, permissionsAt } from "../helpers/proc-self.js";
import { hasCode, makeCore, pattern, patternFile } from "./support.js";

for (const sharing of ["private", "shared"] as const) {
  test(`${sharing} memory that comes back after a shrink is zero, under any protection`, (t) => {
    for (const protection of ["read-write", "read", "none"] as const) {
      const mapping = mapAnonymous(3 * pageSize, { sharing });
      t.after(() => mapping.close());
      mapping.bytes.fill(1);
      mapping.protect(protection);
      mapping.resize(100);
      mapping.resize(3 * pageSize);
      assert.equal(mapping.protection, protection);
      const kernel = permissionsAt(mapping.address + BigInt(pageSize));
      mapping.protect("read");
      const expected = new Uint8Array(3 * pageSize).fill(1, 0, 100);
      assert.deepEqual(mapping.read(0, mapping.byteLength), expected, protection);
      assert.equal(kernel[1], protection === "read-write" ? "w" : "-");
    }
  });

  test(`${sharing} memory keeps a protection of its own for each page, through any resize`, (t) => {
    const mapping = mapAnonymous(6 * pageSize, { sharing });
    t.after(() => mapping.close());
    mapping.bytes.set(pattern(6 * pageSize));
    mapping.protect("read", { offset: pageSize, length: pageSize });
    mapping.protect("none", { offset: 3 * pageSize, length: pageSize });
    mapping.protect("read", { offset: 5 * pageSize, length: pageSize });
    const letters = (): string[] =>
      Array.from({ length: Math.ceil(mapping.byteLength / pageSize) }, (_, page) =>
        permissionsAt(mapping.address + BigInt(page * pageSize)).slice(0, 2),
      );
    mapping.resize(8 * pageSize);
    assert.deepEqual(letters(), ["rw", "r-", "rw", "--", "rw", "r-", "r-", "r-"]);
    mapping.resize(4 * pageSize);
    assert.deepEqual(letters(), ["rw", "r-", "rw", "--"]);
    mapping.resize(5 * pageSize);
    assert.deepEqual(letters(), ["rw", "r-", "rw", "--", "--"]);
    mapping.protect("read");
    const expected = pattern(6 * pageSize)
      .fill(0, 4 * pageSize)
      .subarray(0, 5 * pageSize);
    assert.deepEqual(mapping.read(0, 5 * pageSize), expected);
  });
}

test("the memory object behind shared memory never becomes shorter", (t) => {
  const mapping = mapAnonymous(10 * pageSize, { sharing: "shared", name: "resize-test" });
  t.after(() => mapping.close());
  const size = (): number => {
    const [fd] = descriptorsNamed("memmap:resize-test");
    return statSync(`/proc/self/fd/${fd}`).size / pageSize;
  };
  for (const pages of [1, 5, 0, 10]) {
    mapping.resize(pages * pageSize);
    assert.equal(size(), 10);
  }
  mapping.resize(11 * pageSize);
  assert.equal(size(), 11);
});

test("a resize to the same length changes nothing, not even the view", (t) => {
  const state = makeCore(t, 1);
  const { bytes, region } = state;
  resizeMapping(state, state.byteLength);
  assert.equal(state.bytes, bytes);
  assert.equal(state.region, region);
});

test("a resized private file mapping keeps its own pages and shows the file behind", (t) => {
  const path = patternFile(t, 3 * pageSize);
  const mapping = mapFileSync(path, {
    protection: "read-write",
    sharing: "private",
    offset: 10,
    length: pageSize,
  });
  t.after(() => mapping.close());
  mapping.bytes[0] = 255;
  mapping.resize(3 * pageSize - 10);
  const expected = pattern(3 * pageSize).subarray(10);
  expected[0] = 255;
  assert.deepEqual(mapping.read(0, mapping.byteLength), expected);
  mapping.resize(5);
  assert.deepEqual([...mapping.bytes], [...expected.subarray(0, 5)]);
});

test("resizing past the end of a file is refused without grow, and changes nothing", (t) => {
  const path = patternFile(t, pageSize);
  for (const sharing of ["shared", "private"] as const) {
    const mapping = mapFileSync(path, { sharing, length: 10 });
    t.after(() => mapping.close());
    const { bytes, address } = mapping;
    const refused = hasCode(RangeError, "ERR_OUT_OF_RANGE", /4096 bytes long.*grow: true/);
    assert.throws(() => mapping.resize(pageSize + 1), refused);
    assert.deepEqual([mapping.bytes, mapping.address], [bytes, address]);
    mapping.resize(pageSize);
    assert.equal(mapping.bytes.length, pageSize);
  }
  truncateSync(path, 2 * pageSize);
  const mapping = mapFileSync(path, { length: 1 });
  t.after(() => mapping.close());
  truncateSync(path, 3 * pageSize);
  mapping.resize(3 * pageSize);
  assert.equal(mapping.byteLength, 3 * pageSize, "what the file has now counts");
});

test("a device keeps its length, since nobody knows where it ends", () => {
  using mapping = mapFileSync("/dev/zero", { length: pageSize });
  const refused = hasCode(RangeError, "ERR_OUT_OF_RANGE", /the length of a device is not known/);
  assert.throws(() => mapping.resize(2 * pageSize), refused);
  mapping.resize(1);
  assert.equal(mapping.byteLength, 1);
});

test("a length that no view can have is refused by that bound", (t) => {
  const refused = hasCode(RangeError, "ERR_BUFFER_TOO_LARGE", /this runtime views at most \d+/);
  assert.throws(() => resizeMapping(makeCore(t, 1), byteMax + 1), refused);
  assert.throws(() => resizeMapping(makeCore(t, 1), Number.MAX_SAFE_INTEGER), refused);
});

const crowded = `
  const status = fs.readFileSync("/proc/self/status", "utf8");
  const virtualKib = Number(/^VmSize:\\s+(\\d+)/m.exec(status)[1]);
  const outcomes = [];
  for (const sharing of ["private", "shared"]) {
    const mapping = mapAnonymous(64 * pageSize, { sharing });
    for (let page = 0; page < 64; page++) mapping.bytes[page * pageSize] = page + 1;
    // Several areas, so that the content is moved in several parts before it fails.
    for (let page = 0; page < 64; page += 7) {
      mapping.protect("read", { offset: page * pageSize, length: pageSize });
    }
    const { bytes, address } = mapping;
    limit("as", virtualKib * 1024 + 2 ** 28);
    outcomes.push(failure(() => mapping.resize(2 ** 30)).split(":")[0]);
    limit("as", "unlimited");
    const same = mapping.bytes === bytes && mapping.address === address;
    const kept = bytes.every((byte, i) => byte === (i % pageSize === 0 ? i / pageSize + 1 : 0));
    mapping.protect("read-write");
    mapping.resize(65 * pageSize);
    const works = mapping.bytes[63 * pageSize] === 64;
    outcomes.push(same, kept, works);
    mapping.close();
  }
  console.log(JSON.stringify(outcomes));
`;

test("a resize for which there are no addresses leaves everything as it was", async () => {
  const outcomes: unknown = JSON.parse(await limitedOutput(crowded));
  const refused = "SystemError | ENOMEM | mremap | ENOMEM";
  assert.deepEqual(outcomes, [refused, true, true, true, refused, true, true, true]);
});
