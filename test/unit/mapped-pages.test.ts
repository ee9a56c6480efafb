// src/mapped-pages.ts: which pages each method acts on, and what it refuses.

import assert from "node:assert/strict";
import test from "node:test";
import { Mapping, MemmapError, mapAnonymous, mapFileSync, pageSize, SystemError } from "memmap";
import { advices } from "#dist/flags.js";
import { permissionsAt } from "../helpers/proc-self.js";
import { hasCode, patternFile } from "./support.js";

test("protect() acts on each page its range touches, and the kernel has the same", () => {
  const cases: readonly [offset: number, length: number, letters: string][] = [
    [0, 1, "rwww"],
    [pageSize - 1, 2, "rrww"],
    [pageSize, pageSize, "wrww"],
    [pageSize + 1, pageSize, "wrrw"],
    [3 * pageSize + 5, 0, "wwww"],
    [0, 3 * pageSize + 10, "rrrr"],
  ];
  for (const [offset, length, letters] of cases) {
    using mapping = mapAnonymous(3 * pageSize + 10);
    mapping.protect("read", { offset, length });
    const kernel = [0, 1, 2, 3].map((page) =>
      permissionsAt(mapping.address + BigInt(page * pageSize))[1] === "w" ? "w" : "r",
    );
    assert.equal(kernel.join(""), letters, `${offset}+${length}`);
    const all = new Set(letters);
    const expected = all.size > 1 ? "mixed" : all.has("r") ? "read" : "read-write";
    assert.equal(mapping.protection, expected);
  }
});

test("protect() that the kernel refuses leaves the protection as it was", (t) => {
  const mapping = mapFileSync(patternFile(t, pageSize));
  t.after(() => mapping.close());
  const refused = hasCode(SystemError, "EACCES", /^EACCES: Cannot protect "read-write"/);
  assert.throws(() => mapping.protect("read-write"), refused);
  assert.equal(mapping.protection, "read");
});

test("discard() acts on the whole pages inside its range and tells their bytes", () => {
  for (const sharing of ["private", "shared"] as const) {
    for (const [offset, length, dropped] of [
      [0, 0, 0],
      [0, pageSize - 1, 0],
      [1, pageSize, 0],
      [1, 2 * pageSize - 1, 1],
      [0, 2 * pageSize + 5, 2],
      [0, 3 * pageSize, 3],
    ] as const) {
      using mapping = mapAnonymous(3 * pageSize, { sharing });
      mapping.bytes.fill(1);
      assert.equal(mapping.discard({ offset, length }), dropped * pageSize);
      const first = Math.ceil(offset / pageSize) * pageSize;
      const model = new Uint8Array(3 * pageSize).fill(1);
      model.fill(0, first, first + dropped * pageSize);
      assert.deepEqual(mapping.bytes, model, `${sharing} ${offset}+${length}`);
    }
  }
});

test("discard() of shared memory needs to write the pages it throws away, and no others", () => {
  using mapping = mapAnonymous(3 * pageSize, { sharing: "shared" });
  mapping.bytes.fill(1);
  mapping.protect("read", { length: 1 });
  assert.throws(() => mapping.discard(), hasCode(MemmapError, "ERR_MEMMAP_READ_ONLY"));
  assert.equal(mapping.bytes[pageSize], 1);
  assert.equal(mapping.discard({ offset: 100 }), 2 * pageSize);
  assert.deepEqual([mapping.bytes[pageSize - 1], mapping.bytes[pageSize]], [1, 0]);
});

test("an empty range is checked like any other and does nothing", () => {
  using mapping = mapAnonymous(pageSize);
  using empty = mapAnonymous(0);
  const end = { offset: pageSize };
  for (const [of, range] of [
    [mapping, end],
    [empty, {}],
  ] as const) {
    of.protect("none", range);
    of.advise("dont-fork", range);
    of.evict(range);
    of.unlock(range);
    assert.equal(of.discard(range), 0);
    assert.equal(of.residency(range).pageCount, 0);
    assert.equal(of.protection, "read-write");
  }
  const outOfRange = hasCode(RangeError, "ERR_OUT_OF_RANGE");
  assert.throws(() => empty.protect("none", { offset: 1 }), outOfRange);
  assert.throws(() => mapping.evict({ offset: pageSize, length: 1 }), outOfRange);
});

test("advise() refuses what loses data and says what to call instead", () => {
  using mapping = mapAnonymous(pageSize);
  const call: (advice: never) => void = (advice) => mapping.advise(advice);
  for (const [advice, type, code, words] of [
    ["dont-need", TypeError, "ERR_INVALID_ARG_VALUE", /discard\(\)/],
    ["free", TypeError, "ERR_INVALID_ARG_VALUE", /discard\(\)/],
    ["MADV_RANDOM", TypeError, "ERR_INVALID_ARG_VALUE", /one of normal, random/],
    [4, TypeError, "ERR_INVALID_ARG_TYPE", /string/],
    [undefined, TypeError, "ERR_INVALID_ARG_TYPE", /string/],
  ] as const) {
    assert.throws(() => Reflect.apply(call, undefined, [advice]), hasCode(type, code, words));
  }
});

test("protect() refuses what is no protection", () => {
  using mapping = mapAnonymous(pageSize);
  const call: (protection: never) => void = (protection) => mapping.protect(protection);
  for (const [protection, code] of [
    ["write", "ERR_INVALID_ARG_VALUE"],
    ["mixed", "ERR_INVALID_ARG_VALUE"],
    [3, "ERR_INVALID_ARG_TYPE"],
    [undefined, "ERR_INVALID_ARG_TYPE"],
  ] as const) {
    assert.throws(() => Reflect.apply(call, undefined, [protection]), hasCode(TypeError, code));
  }
});

test("Mapping.supportedAdvice() is a part of all advice, and a set of its own each time", () => {
  const supported = Mapping.supportedAdvice();
  for (const advice of supported) assert.ok(advices.includes(advice));
  for (const old of ["normal", "random", "sequential", "will-need"] as const) {
    assert.ok(supported.has(old));
  }
  assert.notEqual(Mapping.supportedAdvice(), supported);
});

test("residency() counts the pages of an unaligned range from the first one it touches", () => {
  using mapping = mapAnonymous(4 * pageSize);
  mapping.bytes[2 * pageSize] = 1;
  const { pageCount, pageSize: size } = mapping.residency({
    offset: pageSize + 1,
    length: pageSize,
  });
  assert.deepEqual([pageCount, size], [2, pageSize]);
  assert.equal(mapping.residency({ offset: pageSize - 1, length: 2 }).pageCount, 2);
});
