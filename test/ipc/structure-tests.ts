// What holds of every structure in shared memory: where it can be placed, what it refuses to be
// placed over, and how its waits end.

import assert from "node:assert/strict";
import { truncateSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { FaultError, MemmapError, mapAnonymous, mapFileSync, pageSize } from "memmap";
import { formatOf, type Kind } from "#dist/ipc/format.js";
import { type Cleanup, tempDir } from "../helpers/temp.js";
import { hasCode } from "../unit/support.js";
import { makeShared, type Shared } from "./lock-support.js";

/** A structure, and a wait of it that does not end by itself. */
export interface Structure {
  readonly kind: Kind;
  readonly byteLength: number;
  /** The word that holds the format. */
  readonly format: number;
  make(bytes: Uint8Array): Made;
  /** Makes waits wait, and lets them go on, as another process does it. */
  block?(words: Int32Array): void;
  unblock(words: Int32Array): void;
  /** A wait has left its mark, and pins the mapping. */
  readonly pins?: boolean;
}

/** A structure that was made. */
export interface Made {
  /** Uses it without waiting. */
  use(): void;
  wait(options: { timeoutMs?: number; signal?: AbortSignal }): Promise<unknown>;
  waitSync(options: { timeoutMs?: number }): unknown;
}

const corrupt = hasCode(MemmapError, "ERR_MEMMAP_CORRUPT");
const version = hasCode(MemmapError, "ERR_MEMMAP_VERSION");
const closed = hasCode(MemmapError, "ERR_MEMMAP_CLOSED");
const timeout = hasCode(MemmapError, "ERR_MEMMAP_TIMEOUT", /not within \d+ ms$/);

/** Tests where a structure can lie. */
export function testPlaces(structure: Structure): void {
  const { kind, byteLength, format, make } = structure;

  test("it lies in a shared mapping that may be written, at a multiple of 4, whole", (t) => {
    const { bytes, mapping } = makeShared(t);
    const range = hasCode(RangeError, "ERR_OUT_OF_RANGE");
    const type = hasCode(TypeError, "ERR_INVALID_ARG_TYPE");
    assert.equal(byteLength % 4, 0);
    make(bytes.subarray(pageSize - byteLength));
    assert.throws(() => make(bytes.subarray(pageSize - byteLength + 4)), range);
    assert.throws(() => make(bytes.subarray(2)), range);
    assert.throws(() => make(new Uint8Array(byteLength)), type);
    const own = mapAnonymous(pageSize);
    t.after(() => own.close());
    assert.throws(() => make(own.bytes), type);
    mapping.protect("read");
    assert.throws(() => make(bytes), hasCode(MemmapError, "ERR_MEMMAP_READ_ONLY"));
    mapping.close();
    assert.throws(() => make(bytes), closed);
  });

  test("it says what it is, and is no other kind, version or byte order", (t) => {
    const { bytes, words } = makeShared(t);
    make(bytes);
    assert.equal(words[format], formatOf(kind));
    make(bytes);
    const kinds: Kind[] = ["mutex", "rwLock", "semaphore", "event", "barrier", "channel"];
    for (const other of kinds.filter((name) => name !== kind)) {
      words[format] = formatOf(other);
      assert.throws(() => make(bytes), corrupt, other);
    }
    words[format] = formatOf(kind) + 1;
    assert.throws(() => make(bytes), version);
    bytes.subarray(4 * format, 4 * format + 4).reverse();
    words[format] = formatOf(kind);
    bytes.subarray(4 * format, 4 * format + 4).reverse();
    assert.throws(() => make(bytes), version);
    words[format] = 12345;
    assert.throws(() => make(bytes), corrupt);
  });

  test("where the file has lost the page, everything is the fault of that", (t) => {
    const path = join(tempDir(t), "file");
    const options = { create: true, length: pageSize, grow: true, faults: "collect" } as const;
    const mapping = mapFileSync(path, options);
    t.after(() => mapping.close());
    const fault = hasCode(FaultError, "ERR_MEMMAP_FAULT");
    const made = make(mapping.bytes);
    truncateSync(path, 0);
    assert.throws(() => made.use(), fault);
    assert.throws(() => make(mapping.bytes), fault);
  });
}

/* A structure whose waits wait. */
function makeBlocked(t: Cleanup, structure: Structure): Shared & { readonly made: Made } {
  const shared = makeShared(t);
  const made = structure.make(shared.bytes);
  structure.block?.(shared.words);
  return { ...shared, made };
}

/** Tests how its waits end. */
export function testWaits(structure: Structure, title = "waits"): void {
  const start = (t: Cleanup) => makeBlocked(t, structure);
  testMoves(structure, title);

  test(`${title}: they end in time, and leave nothing`, async (t) => {
    const { made, mapping } = start(t);
    for (const timeoutMs of [0, 5, 40]) {
      assert.throws(() => made.waitSync({ timeoutMs }), timeout, `${timeoutMs}`);
      await assert.rejects(made.wait({ timeoutMs }), timeout, `${timeoutMs}`);
    }
    mapping.close();
  });

  test(`${title}: options of the wrong type are refused before anything happens`, async (t) => {
    const { made, words } = start(t);
    const before = [...words];
    for (const options of [null, 1, { timeoutMs: "1" }, { timeoutMs: -1 }, { timeoutMs: NaN }]) {
      const refused = { code: /^ERR_(?:INVALID_ARG_TYPE|OUT_OF_RANGE)$/ };
      assert.throws(() => Reflect.apply(made.waitSync, made, [options]), refused);
      await assert.rejects(async () => Reflect.apply(made.wait, made, [options]), refused);
    }
    const wrong = { signal: {} };
    await assert.rejects(async () => Reflect.apply(made.wait, made, [wrong]), TypeError);
    assert.deepEqual([...words], before);
  });

  test(`${title}: an abort ends one with its reason, before and while it waits`, async (t) => {
    const { made, words } = start(t);
    const before = [...words];
    const reason = new Error("enough");
    await assert.rejects(made.wait({ signal: AbortSignal.abort(reason) }), reason);
    assert.deepEqual([...words], before, "an aborted call does nothing");
    for (const delayMs of [0, 1, 60]) {
      const controller = new AbortController();
      const waiting = made.wait({ signal: controller.signal });
      setTimeout(() => controller.abort(reason), delayMs);
      await assert.rejects(waiting, reason);
    }
  });
}

/** Tests what becomes of one when its mapping moves or goes. */
function testMoves(structure: Structure, title: string): void {
  const start = (t: Cleanup) => makeBlocked(t, structure);

  test(`${title}: one ends when it can, also on another thread's word`, async (t) => {
    const { made, words } = start(t);
    const waiting = made.wait({});
    await new Promise((resolve) => setTimeout(resolve, 20));
    structure.unblock(words);
    await waiting;
  });

  if (structure.pins === true) {
    test(`${title}: one pins the mapping until it has ended`, async (t) => {
      const { made, mapping } = start(t);
      const pinned = hasCode(MemmapError, "ERR_MEMMAP_PINNED");
      const controller = new AbortController();
      const waiting = made.wait({ signal: controller.signal });
      await new Promise((resolve) => setTimeout(resolve, 20));
      assert.throws(() => mapping.close(), pinned);
      assert.throws(() => mapping.resize(2 * pageSize), pinned);
      controller.abort(new Error("enough"));
      await assert.rejects(waiting, /enough/);
      mapping.close();
    });
    return;
  }

  test(`${title}: one goes on after a resize, and ends when the mapping is closed`, async (t) => {
    const { made, mapping } = start(t);
    const waiting = made.wait({});
    await new Promise((resolve) => setTimeout(resolve, 20));
    mapping.resize(2 * pageSize);
    await new Promise((resolve) => setTimeout(resolve, 20));
    structure.unblock(new Int32Array(mapping.buffer));
    await waiting;
    const other = start(t);
    const ended = assert.rejects(other.made.wait({}), closed);
    await new Promise((resolve) => setTimeout(resolve, 20));
    other.mapping.close();
    await ended;
    assert.throws(() => other.made.use(), closed);
    assert.throws(() => other.made.waitSync({}), closed);
  });
}
