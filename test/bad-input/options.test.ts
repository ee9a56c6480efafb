// Options that contradict each other, or the source: a mistake of the caller, found before the file
// is touched.

import assert from "node:assert/strict";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { type MapFileOptions, mapAnonymous, mapFile, mapFileSync, pageSize } from "memmap";
import { fails, outOfRange, rejects, wrongValue } from "../helpers/bad-calls.js";
import { descriptorsNamed } from "../helpers/proc-self.js";
import { type Cleanup, tempDir } from "../helpers/temp.js";

function makeFile(t: Cleanup): string {
  const path = join(tempDir(t), "data.bin");
  writeFileSync(path, "content");
  return path;
}

const contradictions: readonly (readonly [MapFileOptions, RegExp])[] = [
  [{ create: true, protection: "read" }, /"create".*"protection"/],
  [{ create: true, protection: "none" }, /"create".*"protection"/],
  [{ create: true, protection: "read-execute" }, /"create".*"protection"/],
  [{ create: true, sharing: "private" }, /"create".*"sharing"/],
  [{ grow: true, length: 9, protection: "read" }, /"grow".*"protection"/],
  [{ grow: true, length: 9, sharing: "private" }, /"grow".*"sharing"/],
  [{ exclusive: true }, /"exclusive".*"create"/],
  [{ synchronous: true, sharing: "private" }, /"synchronous".*"sharing"/],
  [{ droppable: true }, /"droppable"/],
  [{ droppable: true, sharing: "private" }, /"droppable"/],
  [{ stack: true, sharing: "shared" }, /"stack"/],
  [{ growsDown: true, sharing: "shared" }, /"growsDown"/],
];

test("options that contradict each other are refused, and the file is left alone", async (t) => {
  const path = makeFile(t);
  const missing = `${path}.new`;
  for (const [options, message] of contradictions) {
    for (const source of [path, missing]) {
      await fails(() => mapFileSync(source, options), { ...wrongValue, message });
      await rejects(() => mapFile(source, options), { ...wrongValue, message });
    }
  }
  assert.equal(existsSync(missing), false);
  assert.equal(readFileSync(path, "utf8"), "content");
  assert.equal(descriptorsNamed(path).length, 0);
});

test("options of anonymous memory that contradict each other are refused", async () => {
  for (const field of ["droppable", "stack", "growsDown"] as const) {
    const options = { [field]: true, sharing: "shared" } as const;
    const message = new RegExp(`"${field}"`);
    await fails(() => mapAnonymous(pageSize, options), { ...wrongValue, message });
  }
});

test("create with a descriptor is refused: it is open already", async (t) => {
  const path = makeFile(t);
  const { openSync, closeSync } = await import("node:fs");
  const fd = openSync(path, "r+");
  t.after(() => closeSync(fd));
  for (const source of [fd, { fd }]) {
    const expected = { ...wrongValue, message: /"create".*descriptor/ };
    await fails(() => mapFileSync(source, { create: true }), expected);
    await rejects(() => mapFile(source, { create: true }), expected);
  }
});

test("create without grow makes an empty file, and a range in it is past its end", async (t) => {
  const path = join(tempDir(t), "new.bin");
  await fails(() => mapFileSync(path, { create: true, length: 10 }), outOfRange);
  assert.equal(existsSync(path), false, "what was made for nothing is taken away");
  await rejects(() => mapFile(path, { create: true, length: 10 }), outOfRange);
  assert.equal(existsSync(path), false);
  using mapping = mapFileSync(path, { create: true });
  assert.deepEqual([mapping.byteLength, statSync(path).size], [0, 0]);
});

test("grow without a length maps what is there; past the end it needs one", async (t) => {
  const path = makeFile(t);
  using mapping = mapFileSync(path, { grow: true });
  assert.equal(mapping.byteLength, 7);
  await fails(() => mapFileSync(path, { grow: true, offset: 8 }), outOfRange);
  assert.equal(statSync(path).size, 7);
  using beyond = mapFileSync(path, { grow: true, offset: 8, length: 2 });
  assert.deepEqual([beyond.byteLength, statSync(path).size], [2, 10]);
});

test("options that are left out by undefined are as if they were not there", (t) => {
  const nothing = {
    protection: undefined,
    sharing: undefined,
    populate: undefined,
    lock: undefined,
    reserve: undefined,
    hugePages: undefined,
    at: undefined,
    stack: undefined,
    growsDown: undefined,
    low32: undefined,
    droppable: undefined,
    name: undefined,
  };
  using memory = mapAnonymous(10, nothing);
  assert.deepEqual([memory.protection, memory.sharing], ["read-write", "private"]);
  using file = mapFileSync(makeFile(t), {
    ...nothing,
    offset: undefined,
    length: undefined,
    create: undefined,
    exclusive: undefined,
    mode: undefined,
    grow: undefined,
    synchronous: undefined,
  });
  assert.deepEqual([file.protection, file.sharing, file.byteLength], ["read", "shared", 7]);
  memory.protect("read", { offset: undefined, length: undefined });
  assert.equal(memory.protection, "read");
});

/** Options that count how often each field is asked for. */
function counted(fields: Readonly<Record<string, unknown>>): {
  readonly options: object;
  readonly counts: Map<string, number>;
} {
  const counts = new Map<string, number>();
  const options = new Proxy(fields, {
    get(target, name): unknown {
      counts.set(String(name), (counts.get(String(name)) ?? 0) + 1);
      return Reflect.get(target, name);
    },
  });
  return { options, counts };
}

test("each option is read once, so that no getter can give two answers", async (t) => {
  const path = makeFile(t);
  using mapping = mapAnonymous(pageSize);
  const made: Disposable[] = [];
  for (const [call, fields] of [
    [(options: object) => made.push(mapAnonymous(1, options)), { sharing: "shared", name: "a" }],
    [(options: object) => made.push(mapFileSync(path, options)), { offset: 1, length: 2 }],
    [async (options: object) => made.push(await mapFile(path, options)), { create: true }],
    [(options: object) => mapping.flushSync(options), { wait: false, length: 1 }],
    [(options: object) => mapping.flush(options), { invalidate: true, offset: 1 }],
    [(options: object) => mapping.protect("read", options), { length: 1 }],
    [(options: object) => mapping.residency(options), { offset: 5 }],
  ] as const) {
    const { options, counts } = counted(fields);
    await call(options);
    assert.ok(counts.size >= 2, String(call));
    for (const [name, count] of counts) assert.equal(count, 1, `${name} in ${call}`);
  }
  for (const mapping of made) mapping[Symbol.dispose]();
});

test("what a getter throws comes through unchanged, and nothing was begun", async (t) => {
  const path = join(tempDir(t), "new.bin");
  const thrown = new Error("from the getter");
  const trap = {
    create: true,
    grow: true,
    get length(): number {
      throw thrown;
    },
  };
  assert.throws(() => mapFileSync(path, trap), thrown);
  await assert.rejects(mapFile(path, trap), thrown);
  assert.equal(existsSync(path), false);
  using mapping = mapAnonymous(pageSize);
  assert.throws(() => mapping.protect("none", trap), thrown);
  await assert.rejects(mapping.flush(trap), thrown);
  assert.equal(mapping.protection, "read-write");
});
