// What several unit tests share: errors by class and code, a mapping's state made by hand, and
// files of a known content.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pageSize } from "memmap";
import { bitsOf, protectionBits } from "#dist/bits.js";
import { type CoreInit, MappingCore } from "#dist/core.js";
import { type NativeRegion, native } from "#dist/native.js";
import { type Cleanup, tempDir } from "../helpers/temp.js";

/** A class of errors, of the language or of memmap. */
type ErrorClass = abstract new (...args: never) => Error;

/** Whether an error has a class, a code, and the words that its message must hold. */
export function hasCode(type: ErrorClass, code: string, words: RegExp = /./) {
  return (error: unknown): true => {
    assert.ok(error instanceof type, `expected a ${type.name}, got ${String(error)}`);
    assert.equal("code" in error ? error.code : undefined, code, error.message);
    assert.match(error.message, words);
    return true;
  };
}

/** A file of `length` bytes in a folder of its own; byte i is i modulo 251, a prime. */
export function patternFile(t: Cleanup, length: number, base?: string): string {
  const path = join(tempDir(t, base), "file");
  writeFileSync(path, pattern(length));
  return path;
}

/** Bytes that tell their place on every page: byte i is i modulo 251. */
export function pattern(length: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, (_, i) => i % 251);
}

/** A region of anonymous memory, straight from the addon. */
export function anonymousRegion(pageCount: number, sharing: "shared" | "private"): NativeRegion {
  const type = sharing === "shared" ? "MAP_SHARED" : "MAP_PRIVATE";
  const flags = bitsOf([type, "MAP_ANONYMOUS"]);
  const prot = protectionBits("read-write");
  const region = native().map(0n, pageCount * pageSize, prot, flags, -1, 0, pageSize, false);
  if (typeof region === "number") assert.fail(`mmap answered ${region}`);
  return region;
}

/** The state of a private anonymous mapping made by hand; closed after the test. */
export function makeCore(
  t: Cleanup,
  pageCount: number,
  overrides: Partial<CoreInit> = {},
): MappingCore {
  const state = new MappingCore({
    region: anonymousRegion(pageCount, overrides.sharing ?? "private"),
    start: 0,
    byteLength: pageCount * pageSize,
    offset: 0,
    protection: "read-write",
    sharing: "private",
    backing: "anonymous",
    granularity: pageSize,
    file: undefined,
    growable: true,
    faults: "collect",
    ...overrides,
  });
  t.after(() => state.close());
  return state;
}
