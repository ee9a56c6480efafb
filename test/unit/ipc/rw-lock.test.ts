// src/ipc/rw-lock.ts: how readers and writers wait for each other, in one process.

import assert from "node:assert/strict";
import test from "node:test";
import { MemmapError, pageSize, SystemError } from "memmap";
import { type LockGuard, notify, RwLock } from "memmap/ipc";
import { abandoned } from "#dist/ipc/lock-word.js";
import { thisThread } from "#dist/ipc/owner.js";
import type { Cleanup } from "../../helpers/temp.js";
import { dead, makeShared, stranger, transferAway, until } from "../../ipc/lock-support.js";
import { type Structure, testPlaces, testWaits } from "../../ipc/structure-tests.js";
import { hasCode } from "../support.js";

/** The words of the lock, by its picture. */
const at = {
  word: 0,
  start: 1,
  entry: 4,
  room: 5,
  drain: 6,
  inside: 7,
  ids: 8,
  starts: 128,
} as const;

const isHeldByStranger = {
  block: (words: Int32Array) => {
    words[at.word] = stranger.id;
  },
  unblock: (words: Int32Array) => {
    Atomics.store(words, at.word, 0);
    notify(words, at.word);
    Atomics.add(words, at.entry, 1);
    notify(words, at.entry);
  },
};

const isReadByStranger = {
  block: (words: Int32Array) => {
    words[at.ids + 119] = stranger.id;
  },
  unblock: (words: Int32Array) => {
    Atomics.store(words, at.ids + 119, 0);
    Atomics.add(words, at.drain, 1);
    notify(words, at.drain);
  },
};

const base = { kind: "rwLock", byteLength: RwLock.byteLength, format: 3 } as const;

function make(way: "read" | "write"): Structure["make"] {
  return (bytes) => {
    const lock = new RwLock(bytes);
    const isRead = way === "read";
    return {
      use: () => (isRead ? lock.tryRead() : lock.tryWrite())?.release(),
      wait: async (options) =>
        (await (isRead ? lock.read(options) : lock.write(options))).release(),
      waitSync: (options) => (isRead ? lock.readSync(options) : lock.writeSync(options)).release(),
    };
  };
}

const reads: Structure = { ...base, make: make("read"), ...isHeldByStranger };
const writes: Structure = { ...base, make: make("write"), ...isHeldByStranger };
testPlaces(reads);
testWaits(reads, "reads behind a writer");
testWaits(writes, "writes behind a writer");
testWaits(
  { ...base, make: make("write"), ...isReadByStranger, pins: true },
  "writes behind readers",
);

function makeLock(t: Cleanup) {
  const shared = makeShared(t);
  return { ...shared, lock: new RwLock(shared.bytes) };
}

/** A promise, and whether it is settled. */
function watch<T>(promise: Promise<T>): { readonly promise: Promise<T>; isSettled: boolean } {
  const watched = { promise, isSettled: false };
  const settle = () => {
    watched.isSettled = true;
  };
  promise.then(settle, settle);
  return watched;
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

test("readers are there together, each in a slot of its own; a writer is alone", (t) => {
  const { lock, words, mapping } = makeLock(t);
  const { id, startTime } = thisThread();
  const slots = () => words.slice(at.ids, at.starts).filter((word) => word !== 0);
  const first = lock.readSync();
  const second = lock.tryRead();
  assert.ok(second);
  assert.deepEqual([...slots()], [id, id]);
  assert.deepEqual(
    [...words.slice(at.starts).filter((word) => word !== 0)],
    [startTime, startTime],
  );
  assert.equal(lock.tryWrite(), undefined);
  assert.throws(() => mapping.close(), hasCode(MemmapError, "ERR_MEMMAP_PINNED"));
  first.release();
  first.release();
  assert.equal(slots().length, 1);
  second.release();
  const guard = lock.tryWrite();
  assert.deepEqual([words[at.word], words[at.start]], [id, startTime]);
  assert.equal(lock.tryRead(), undefined);
  assert.equal(lock.tryWrite(), undefined);
  guard?.release();
  assert.deepEqual(
    [...words.slice(4)].filter((word) => word !== 0),
    [],
  );
  mapping.close();
});

test("only a writer can recover; for a reader it is read-only", (t) => {
  const { lock } = makeLock(t);
  {
    using guard = lock.readSync();
    assert.throws(() => guard.recover(), hasCode(MemmapError, "ERR_MEMMAP_READ_ONLY"));
  }
  using guard = lock.writeSync();
  guard.recover();
});

test("a writer that waits keeps new readers out, and comes when the last has left", async (t) => {
  const { lock } = makeLock(t);
  const readers = [lock.readSync(), lock.readSync()];
  const writer = watch(lock.write());
  await pause(30);
  assert.equal(lock.tryRead(), undefined);
  const late = watch(lock.read());
  readers[0]?.release();
  await pause(30);
  assert.deepEqual([writer.isSettled, late.isSettled], [false, false]);
  readers[1]?.release();
  const guard = await writer.promise;
  await pause(30);
  assert.equal(late.isSettled, false);
  guard.release();
  (await late.promise).release();
});

test("a writer that gives up lets the readers in again", async (t) => {
  const { lock, words } = makeLock(t);
  using _reader = lock.readSync();
  const controller = new AbortController();
  const writer = assert.rejects(lock.write({ signal: controller.signal }), /enough/);
  await pause(10);
  const late = lock.read();
  await pause(30);
  controller.abort(new Error("enough"));
  await writer;
  (await late).release();
  assert.equal((words[at.word] ?? 0) & 0x7fff_ffff, 0);
});

test("what this very thread holds it cannot wait for", (t) => {
  const { lock, words } = makeLock(t);
  const deadlock = hasCode(SystemError, "EDEADLK");
  {
    using _guard = lock.writeSync();
    assert.throws(() => lock.readSync(), deadlock);
    assert.throws(() => lock.writeSync(), deadlock);
  }
  const reader = lock.readSync();
  assert.throws(() => lock.writeSync(), deadlock);
  lock.readSync().release();
  words[at.word] = stranger.id;
  assert.throws(() => lock.readSync(), deadlock, "the writer waits for this thread");
  words.set([dead.id, dead.startTime], at.word);
  words[at.inside] = 1;
  const other = lock.readSync();
  assert.equal(other.ownerDied, true, "a dead writer is not waited for");
  other.release();
  reader.release();
});

test("more than 120 readers: the others wait, and come when one leaves", async (t) => {
  const { lock } = makeLock(t);
  const guards: LockGuard[] = [];
  for (let i = 0; i < 120; i += 1) guards.push(lock.readSync());
  assert.equal(lock.tryRead(), undefined);
  assert.throws(() => lock.readSync({ timeoutMs: 1 }), { code: "ERR_MEMMAP_TIMEOUT" });
  const waits = Array.from({ length: 10 }, () => lock.read());
  await pause(20);
  for (const guard of guards) guard.release();
  for (const guard of await Promise.all(waits)) guard.release();
  lock.tryWrite()?.release();
});

test("readers that died are forgotten, by writers and by readers without a slot", async (t) => {
  const { lock, words, bytes } = makeLock(t);
  words.fill(dead.id, at.ids, at.starts);
  words.fill(dead.startTime, at.starts, at.starts + 120);
  assert.equal(lock.tryRead(), undefined);
  (await lock.read()).release();
  words[at.ids + 5] = dead.id;
  words[at.starts + 5] = dead.startTime;
  words[at.ids + 77] = dead.id;
  words[at.starts + 77] = dead.startTime;
  assert.equal(lock.tryWrite(), undefined);
  const guard = await lock.write();
  assert.equal(guard.ownerDied, false, "readers leave nothing to repair");
  guard.release();
  assert.ok(bytes.subarray(4 * at.ids).every((byte) => byte === 0));
});

test("a writer that died: readers are told, and the next writer recovers", async (t) => {
  const { lock, words } = makeLock(t);
  words.set([dead.id, dead.startTime]);
  words[at.inside] = 1;
  const first = await lock.read();
  const second = lock.readSync();
  assert.deepEqual([first.ownerDied, second.ownerDied], [true, true]);
  assert.throws(() => first.recover(), hasCode(MemmapError, "ERR_MEMMAP_READ_ONLY"));
  const writer = lock.write();
  first.release();
  second.release();
  const guard = await writer;
  assert.equal(guard.ownerDied, true);
  guard.recover();
  guard.release();
  assert.equal(words[at.word], 0);
  using reader = lock.readSync();
  assert.equal(reader.ownerDied, false);
});

test("a writer that died: one that gives up leaves it as it was", async (t) => {
  const { lock, words } = makeLock(t);
  words.set([dead.id, dead.startTime]);
  words[at.inside] = 1;
  const reader = await lock.read();
  await assert.rejects(lock.write({ timeoutMs: 20 }), { code: "ERR_MEMMAP_TIMEOUT" });
  const other = await lock.read();
  assert.deepEqual([other.ownerDied, words[at.word]], [true, 1 << 30]);
  other.release();
  reader.release();
  const writer = lock.tryWrite();
  assert.equal(writer?.ownerDied, true);
  writer?.release();
});

test("a writer that died: released without recover(), the lock is of no use", async (t) => {
  const { lock, words } = makeLock(t);
  words.set([dead.id, dead.startTime]);
  words[at.inside] = 1;
  const writer = lock.writeSync();
  assert.equal(writer.ownerDied, true);
  const gone = hasCode(MemmapError, "ERR_MEMMAP_OWNER_DIED");
  const waits = [lock.read(), lock.write()].map((wait) => assert.rejects(wait, gone));
  await until(() => (words[at.word] ?? 0) < 0 && words[at.entry] === 1);
  writer.release();
  await Promise.all(waits);
  assert.equal((words[at.word] ?? 0) & 0x7fff_ffff, abandoned);
  for (const call of ["readSync", "writeSync", "tryRead", "tryWrite"] as const) {
    assert.throws(() => lock[call](), gone, call);
  }
  assert.ok(
    words.slice(at.ids).every((word) => word === 0),
    "nobody has kept a slot",
  );
});

test("a writer that died while it waited: nobody is told, the lock is as it was", async (t) => {
  const { lock, words } = makeLock(t);
  for (const before of [0, 1 << 30]) {
    for (const way of ["read", "write"] as const) {
      words.set([dead.id | before, dead.startTime]);
      const guard = await lock[way]({ timeoutMs: 5000 });
      assert.equal(guard.ownerDied, before !== 0, way);
      if (way === "write") guard.recover();
      guard.release();
    }
  }
  assert.deepEqual([words[at.word], words[at.inside]], [0, 0]);
});

test("a release over garbage is an error, once", (t) => {
  const { lock, words } = makeLock(t);
  const corrupt = hasCode(MemmapError, "ERR_MEMMAP_CORRUPT");
  for (const take of [() => lock.readSync(), () => lock.writeSync()]) {
    const guard = take();
    words.fill(0x5a5a_5a5a, 0, 2);
    words.fill(0x5a5a_5a5a, at.ids);
    assert.throws(() => guard.release(), corrupt);
    guard.release();
    words.fill(0, 0, 2);
    words.fill(0, at.ids);
  }
});

test("a release over a transferred buffer is an error, and pins no more", async (t) => {
  for (const way of ["readSync", "writeSync"] as const) {
    const { lock, mapping } = makeLock(t);
    const guard = lock[way]();
    transferAway(mapping.buffer);
    const gone = hasCode(MemmapError, "ERR_MEMMAP_CLOSED", /its buffer was transferred/);
    assert.throws(() => lock.tryRead(), gone);
    assert.throws(() => guard.release(), gone);
    mapping.close();
  }
  const { lock, mapping } = makeLock(t);
  const reader = lock.readSync();
  const writer = lock.write();
  await pause(10);
  transferAway(mapping.buffer);
  await assert.rejects(writer, hasCode(MemmapError, "ERR_MEMMAP_CLOSED"));
  assert.throws(() => mapping.close(), hasCode(MemmapError, "ERR_MEMMAP_PINNED", /: 1 pins/));
  assert.throws(() => reader.release(), hasCode(MemmapError, "ERR_MEMMAP_CLOSED"));
});

test("garbage in its words is an error, owners that died, or a wait that ends", async (t) => {
  const { lock, words } = makeLock(t);
  const head = [...words.slice(2, 4)];
  const seen = new Set<string>();
  for (let seed = 1; seed < 40; seed += 1) {
    for (let i = 0; i < words.length && i < 256; i += 1) {
      words[i] = Math.imul(seed * 256 + i, 0x9e37_79b1) ^ (seed << 26);
    }
    /* Every third time whoever judges the dead still can. */
    words.set(seed % 3 === 0 ? head : head.slice(1), seed % 3 === 0 ? 2 : 3);
    const calls = [
      () => lock.readSync({ timeoutMs: 0 }),
      () => lock.write({ timeoutMs: 0 }),
      () => lock.read({ timeoutMs: 1 }),
      () => lock.writeSync({ timeoutMs: 1 }),
    ];
    for (const call of calls) {
      try {
        (await call()).release();
        seen.add("taken");
      } catch (error) {
        assert.ok(error instanceof MemmapError, String(error));
        seen.add(error.code);
      }
    }
  }
  assert.ok(seen.has("taken") && seen.has("ERR_MEMMAP_TIMEOUT"), [...seen].join());
  assert.ok(pageSize > 1024);
});
