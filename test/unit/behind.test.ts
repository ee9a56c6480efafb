// src/behind.ts: the file behind an address, by whichever way leads to it, and never another one.

import assert from "node:assert/strict";
import { closeSync, openSync, renameSync, statSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { fileBehind } from "#dist/behind.js";
import { mapRaw, memoryFile } from "../helpers/raw-memory.js";
import { type Cleanup, tempDir, undoAfter } from "../helpers/temp.js";

const length = 4 * pageSize;

function makeFile(t: Cleanup, name: string): string {
  const path = join(tempDir(t), name);
  writeFileSync(path, Buffer.alloc(length, 1));
  return path;
}

/** A mapping of the file from its second page on. */
function mapFile(t: Cleanup, path: string): bigint {
  const fd = openSync(path, "r+");
  undoAfter(t, () => closeSync(fd));
  return mapRaw(t, { length: 3 * pageSize, flags: raw.MAP_SHARED, fd, offset: pageSize });
}

test("fileBehind() tells the file and the byte in it, whatever its name holds", (t) => {
  for (const name of ["plain", "two words", "line\nfeed", "ünïcode"]) {
    const path = makeFile(t, name);
    const behind = fileBehind(mapFile(t, path) + BigInt(pageSize) + 7n);
    const { ino, dev } = statSync(path, { bigint: true });
    assert.equal(behind?.position, 2 * pageSize + 7, name);
    assert.equal(behind.isMemory, false);
    const { identity } = behind;
    assert.deepEqual([identity.ino, identity.dev, identity.size], [ino, dev, length]);
  }
});

test("fileBehind() finds a file without a path by its descriptor", (t) => {
  const path = makeFile(t, "gone");
  const address = mapFile(t, path);
  const { ino } = statSync(path, { bigint: true });
  unlinkSync(path);
  assert.equal(fileBehind(address)?.identity.ino, ino);
  const memory = mapRaw(t, { length, flags: raw.MAP_SHARED, fd: memoryFile(t, length) });
  const behind = fileBehind(memory);
  assert.deepEqual([behind?.isMemory, behind?.identity.size], [true, length]);
});

test("fileBehind() is not led to another file that has taken the path", (t) => {
  const path = makeFile(t, "replaced");
  const address = mapFile(t, path);
  const { ino } = statSync(path, { bigint: true });
  renameSync(makeFile(t, "other"), path);
  assert.equal(fileBehind(address)?.identity.ino, ino);
});

test("fileBehind() finds nothing behind memory without a file, and behind nothing", (t) => {
  assert.equal(fileBehind(mapRaw(t)), undefined);
  assert.equal(fileBehind(0n), undefined);
  assert.equal(fileBehind(2n ** 64n - 1n), undefined);
});
