// src/index.ts: the door "memmap" has exactly these names, and they are those of the files behind
// it.

import assert from "node:assert/strict";
import test from "node:test";
import * as memmap from "memmap";
import * as attach from "#dist/attach.js";
import * as errors from "#dist/errors.js";
import * as index from "#dist/index.js";
import * as map from "#dist/map.js";
import * as mapping from "#dist/mapping.js";
import * as native from "#dist/native.js";

test("the door holds exactly these names", () => {
  assert.deepEqual(Object.keys(memmap).sort(), [
    "FaultError",
    "Mapping",
    "MemmapError",
    "SystemError",
    "attachMapping",
    "mapAnonymous",
    "mapFile",
    "mapFileSync",
    "pageSize",
  ]);
});

test("each name of the door is the one of the file that owns it, by either way in", () => {
  const { FaultError, MemmapError, SystemError } = errors;
  const { mapAnonymous, mapFile, mapFileSync } = map;
  const { attachMapping } = attach;
  const thrown = { FaultError, MemmapError, SystemError };
  const owned = { ...thrown, attachMapping, mapAnonymous, mapFile, mapFileSync };
  const all = { ...owned, Mapping: mapping.Mapping, pageSize: native.pageSize };
  assert.deepEqual({ ...memmap }, all);
  assert.deepEqual({ ...index }, all);
});

test("Mapping has the members of the contract, and no others", () => {
  const members = new Set<string>();
  for (
    let type: object = mapping.Mapping.prototype;
    type !== Object.prototype;
    type = Object.getPrototypeOf(type)
  ) {
    for (const name of Object.getOwnPropertyNames(type)) members.add(name);
  }
  const properties =
    "address backing buffer byteLength bytes closed offset path protection sharedBuffer sharing";
  const memory = "close indexOf lastIndexOf pin read readInto resize share write";
  const pages = "advise discard evict protect residency";
  const storage = "flush flushSync load loadSync lock lockSync unlock";
  const faults = "check onfault remap";
  const all = `constructor ${properties} ${memory} ${pages} ${storage} ${faults}`;
  const expected = all.split(" ").sort();
  assert.deepEqual([...members].sort(), expected);
});
