// src/flags.ts: each word of the options has names in the system's headers, and no advice of the
// list loses data.

import assert from "node:assert/strict";
import test from "node:test";
import {
  adviceConstant,
  advices,
  isWritable,
  protectionConstants,
  protections,
  sharings,
} from "#dist/flags.js";
import { native } from "#dist/native.js";

test("every protection and every advice names constants that the addon has", () => {
  const names = [...protections.flatMap(protectionConstants), ...advices.map(adviceConstant)];
  const { constants } = native();
  assert.deepEqual(
    names.filter((name) => constants[name] === undefined),
    [],
  );
});

test("the words of an advice are the manual's name in kebab-case", () => {
  for (const advice of advices) {
    assert.match(advice, /^[a-z]+(?:-[a-z]+)*$/);
    const constant = advice.replaceAll("-", "_").toUpperCase();
    // The manual writes these in one word.
    const oneWord = /^(?:WILL_NEED|PAGE_OUT|.*HUGE_PAGE|.*(?:DONT|DO|ON)_(?:FORK|DUMP))$/;
    const joined = oneWord.test(constant)
      ? constant.replace(/^NO_/, "NO").replace(/_(?=NEED|OUT|PAGE|FORK|DUMP|ON)/g, "")
      : constant;
    const expected = joined.replace("WIPEON", "WIPEON").replace("KEEPON", "KEEPON");
    assert.equal(adviceConstant(advice), `MADV_${expected}`);
  }
});

test("no advice of the list loses data", () => {
  const losing = ["DONTNEED", "REMOVE", "FREE", "DONTNEED_LOCKED", "GUARD_INSTALL", "HWPOISON"];
  const names = advices.map(adviceConstant);
  assert.deepEqual(
    losing.filter((name) => names.includes(`MADV_${name}`)),
    [],
  );
  assert.equal(new Set(names).size, names.length, "each constant has one word");
});

test("isWritable() is true for what holds PROT_WRITE, and not for a mixture", () => {
  for (const protection of protections) {
    const writable = protectionConstants(protection).includes("PROT_WRITE");
    assert.equal(isWritable(protection), writable, protection);
  }
  assert.equal(isWritable("mixed"), false);
});

test("there are two sharings", () => {
  assert.deepEqual(sharings, ["shared", "private"]);
});
