// src/raw/constants.ts: each number is the addon's and the one of the system's headers, families do
// not overlap where they are combined, and each name says since which Linux it is known.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import test from "node:test";
import { native } from "#dist/native.js";
import * as constants from "#dist/raw/constants.js";
import { noCompiler } from "../../helpers/compile.js";

const all: ReadonlyMap<string, number | undefined> = new Map(Object.entries(constants));
const source = readFileSync(new URL("../../../../src/raw/constants.ts", import.meta.url), "utf8");

/** The numbers of a family; which of them this processor lacks is left out. */
function valuesOf(prefix: string, except: RegExp = /^$/): number[] {
  const found: number[] = [];
  for (const [name, value] of all) {
    const isMember = name.startsWith(prefix) && !except.test(name);
    if (isMember && value !== undefined) found.push(value);
  }
  assert.ok(found.length > 0, prefix);
  return found;
}

/** Each number is one bit, and no two are the same one. */
function assertBits(values: readonly number[]): void {
  let seen = 0;
  for (const value of values) {
    assert.ok(value !== 0 && (value & (value - 1)) === 0, `${value} is no bit`);
    assert.equal(seen & value, 0, `${value} stands twice`);
    seen |= value;
  }
}

test("each constant is the addon's of the same name", () => {
  const table = native().constants;
  for (const [name, value] of all) assert.equal(value, table[name], name);
  const undefinedNames = [...all].filter(([, value]) => value === undefined).map(([name]) => name);
  const ofProcessors = /^(?:PROT_BTI|PROT_MTE|PROT_SAO|MAP_32BIT|MAP_ABOVE4G)$/;
  for (const name of undefinedNames) assert.match(name, ofProcessors);
});

test("the addon has none that are left out here, but for those that no raw call takes", () => {
  const left = Object.keys(native().constants).filter((name) => !all.has(name));
  for (const name of left) assert.match(name, /^(?:LOCK|O|RLIMIT|SEEK)_/);
});

test("flags that are combined are bits of their own", () => {
  const kinds = /^MAP_(?:SHARED|PRIVATE|SHARED_VALIDATE|DROPPABLE|TYPE|FILE|ANON|HUGE_.*)$/;
  const flags = valuesOf("MAP_", kinds);
  assertBits(flags);
  for (const flag of flags) assert.equal(flag & constants.MAP_TYPE, 0, String(flag));
  assertBits(valuesOf("PROT_", /^PROT_NONE$/));
  for (const prefix of ["MS_", "MCL_", "MREMAP_", "F_SEAL_"]) assertBits(valuesOf(prefix));
  const ofFiles = valuesOf("MFD_", /^MFD_HUGE_/);
  assertBits(ofFiles);
  for (const flag of ofFiles) assert.ok(flag < 1 << constants.MFD_HUGE_SHIFT, String(flag));
  assert.equal(constants.MAP_ANON, constants.MAP_ANONYMOUS);
  assert.equal(constants.MAP_FILE | constants.PROT_NONE | constants.MADV_NORMAL, 0);
});

test("the types of mappings are values of their bits, and no two alike", () => {
  const { MAP_SHARED, MAP_PRIVATE, MAP_SHARED_VALIDATE, MAP_DROPPABLE, MAP_TYPE } = constants;
  const types = [MAP_SHARED, MAP_PRIVATE, MAP_SHARED_VALIDATE, MAP_DROPPABLE];
  assert.equal(new Set(types).size, types.length);
  for (const type of types) assert.equal(type & MAP_TYPE, type);
});

test("no two advices are the same number", () => {
  const values = valuesOf("MADV_");
  assert.equal(new Set(values).size, values.length);
});

for (const [family, shift, mask, sizes] of [
  ["MAP_HUGE_", constants.MAP_HUGE_SHIFT, constants.MAP_HUGE_MASK, 13],
  ["MFD_HUGE_", constants.MFD_HUGE_SHIFT, constants.MFD_HUGE_MASK, 12],
] as const) {
  test(`a size of ${family} is its power of 2, above all flags`, () => {
    const units: Readonly<Record<string, number>> = { KB: 2 ** 10, MB: 2 ** 20, GB: 2 ** 30 };
    let count = 0;
    for (const [name, value = 0] of all) {
      const size = /^_(\d+)([KMG]B)$/.exec(name.startsWith(family) ? name.slice(8) : "");
      if (size === null) continue;
      count += 1;
      const exponent = Math.log2(Number(size[1]) * (units[size[2] ?? ""] ?? 0));
      assert.equal((value >>> shift) & mask, exponent, name);
      assert.equal(value, (exponent << shift) | 0, name);
    }
    assert.equal(count, sizes);
  });
}

test("each number is the one of the C headers", { skip: noCompiler }, () => {
  const headers = ["sys/mman.h", "linux/mman.h", "linux/memfd.h", "fcntl.h"];
  const names = [...all.keys()];
  // What a header does not know stays out of it: it may be older than the constant.
  const lines = names.map((name) => `#ifdef ${name}\nmemmap_value "${name}" = (${name});\n#endif`);
  const includes = headers.map((header) => `#include <${header}>`);
  const input = `#define _GNU_SOURCE\n${[...includes, ...lines].join("\n")}\n`;
  // The preprocessor puts the number where the name stands, and nothing has to be run.
  const options = { input, encoding: "utf8" } as const;
  const compiler = process.env["CC"] ?? "cc";
  const { stdout, status, stderr } = spawnSync(compiler, ["-E", "-P", "-xc", "-"], options);
  assert.equal(status, 0, stderr);
  let count = 0;
  for (const [, name = "", text = ""] of stdout.matchAll(/memmap_value "(\w+)" = (.*);/g)) {
    const value = evaluate(text);
    if (value === undefined) continue;
    count += 1;
    assert.equal(all.get(name), value | 0, name);
  }
  assert.ok(count > 70, `the headers have only ${count}`);
});

/** A number in C, or one shifted by another; undefined for what is neither, as a cast. */
function evaluate(text: string): number | undefined {
  const plain = text.replaceAll(/[()]/g, "").replaceAll(/\b(0x[0-9a-f]+|\d+)[UL]+\b/gi, "$1");
  const [, base, shift = "0"] = /^\s*(\w+)\s*(?:<<\s*(\w+))?\s*$/.exec(plain) ?? [];
  if (base === undefined || Number.isNaN(Number(base))) return undefined;
  // A leading zero is octal in C.
  const value = /^0[0-7]+$/.test(base) ? Number.parseInt(base, 8) : Number(base);
  return value << Number(shift);
}

test("each constant has a comment that says since which Linux it is known", () => {
  const pattern =
    /\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\nexport const (\w+): ([^=]+) =\s+(\w+)\("(\w+)"\)/g;
  const documented: string[] = [];
  for (const [, comment = "", name = "", type, reader, read] of source.matchAll(pattern)) {
    documented.push(name);
    assert.match(comment, /\S.*[.:;]\s[\s*]*Since\s+Linux \d+\.\d+(?:\.\d+)*\.\s*$/s, name);
    assert.equal(read, name, "read by another name");
    // Only what every processor has is always a number.
    assert.equal(type, reader === "number" ? "number" : "number | undefined", name);
  }
  assert.deepEqual(documented.sort(), [...all.keys()].sort());
});
