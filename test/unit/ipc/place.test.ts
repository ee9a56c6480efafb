// src/ipc/place.ts: where a structure can lie, and how its words follow the mapping.

import assert from "node:assert/strict";
import { truncateSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { FaultError, MemmapError, mapAnonymous, mapFileSync, pageSize } from "memmap";
import { Place } from "#dist/ipc/place.js";
import { tempDir } from "../../helpers/temp.js";
import { makePlace, makeShared, transferAway } from "../../ipc/lock-support.js";
import { hasCode } from "../support.js";

const kind = { label: "thing", byteLength: 16 };
const range = hasCode(RangeError, "ERR_OUT_OF_RANGE", /^Cannot place a thing: /);
const type = hasCode(TypeError, "ERR_INVALID_ARG_TYPE");

test("a structure lies at the beginning of the bytes, wherever these begin", (t) => {
  const { bytes, words } = makeShared(t);
  const place = new Place(bytes.subarray(64, 80), kind);
  assert.equal(place.words.length, 4);
  place.words[1] = 5;
  assert.equal(words[17], 5);
  assert.match(place.label, /^the thing at byte 64 of /);
});

test("too few bytes, and an address that is no multiple of 4, are out of range", (t) => {
  const { bytes } = makeShared(t);
  assert.throws(() => new Place(bytes.subarray(0, 15), kind), range);
  assert.throws(() => new Place(new Uint8Array(4), kind), range);
  for (const offset of [1, 2, 3])
    assert.throws(() => new Place(bytes.subarray(offset), kind), range);
});

test("bytes that nobody shares are of the wrong type", (t) => {
  const mapping = mapAnonymous(pageSize);
  t.after(() => mapping.close());
  assert.throws(() => new Place(mapping.bytes, kind), type);
  assert.throws(() => new Place(new Uint8Array(64), kind), type);
  assert.throws(() => Reflect.construct(Place, [{}, kind]), type);
});

test("a read-only mapping, a closed and a resized one are refused by their codes", (t) => {
  const { mapping, bytes } = makeShared(t);
  mapping.protect("read");
  const readOnly = hasCode(MemmapError, "ERR_MEMMAP_READ_ONLY");
  assert.throws(() => new Place(bytes, kind), readOnly);
  mapping.protect("read-write");
  const closed = hasCode(MemmapError, "ERR_MEMMAP_CLOSED");
  mapping.resize(2 * pageSize);
  assert.throws(() => new Place(bytes, kind), closed);
  const moved = mapping.bytes;
  new Place(moved, kind);
  mapping.close();
  assert.throws(() => new Place(moved, kind), closed);
});

test("words follow a resize, and end with the mapping", (t) => {
  const { place, mapping } = makePlace(t, 16);
  place.words[0] = 77;
  mapping.resize(3 * pageSize);
  assert.equal(place.words[0], 77);
  assert.equal(place.words.buffer, mapping.buffer);
  assert.equal(place.isClosed, false);
  mapping.close();
  assert.equal(place.isClosed, true);
  assert.throws(() => place.words, hasCode(MemmapError, "ERR_MEMMAP_CLOSED"));
});

test("a pin keeps the mapping as it is, until it is undone", (t) => {
  const { place, mapping } = makePlace(t, 16);
  place.pin();
  place.pin();
  place.unpin();
  assert.throws(() => mapping.close(), hasCode(MemmapError, "ERR_MEMMAP_PINNED"));
  assert.throws(() => mapping.resize(8192), hasCode(MemmapError, "ERR_MEMMAP_PINNED"));
  place.unpin();
  mapping.close();
});

test("a page that the file has lost is a fault, and not shared any more", (t) => {
  const path = join(tempDir(t), "file");
  const options = { create: true, length: pageSize, grow: true, faults: "collect" } as const;
  const mapping = mapFileSync(path, options);
  t.after(() => mapping.close());
  const place = new Place(mapping.bytes, kind);
  place.requireShared();
  truncateSync(path, 0);
  Atomics.store(place.words, 0, 1);
  const lost = hasCode(FaultError, "ERR_MEMMAP_FAULT");
  assert.throws(() => place.requireShared(), lost);
  assert.throws(() => new Place(mapping.bytes, kind), lost);
});

test("a buffer that was transferred has no words until a resize makes a new one", (t) => {
  const { place, mapping, bytes } = makePlace(t, 16);
  place.words[1] = 5;
  transferAway(mapping.buffer);
  const gone = hasCode(MemmapError, "ERR_MEMMAP_CLOSED", /thing: its buffer was transferred$/);
  assert.throws(() => place.words, gone);
  assert.throws(() => place.words, gone, "the second time as well");
  assert.throws(() => new Place(bytes, kind), gone);
  assert.equal(place.isClosed, false);
  mapping.resize(2 * pageSize);
  assert.equal(place.words[1], 5);
  mapping.close();
});

test("where the mapping is named once: a closed place says what it was", (t) => {
  const { place, mapping } = makePlace(t, 16);
  mapping.close();
  const message = "Cannot use the thing at byte 0 of the anonymous mapping: it is closed";
  assert.throws(() => place.words, { message });
});
