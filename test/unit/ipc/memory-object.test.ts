// src/ipc/memory-object.ts: objects without a name, and who closes their descriptors.

import assert from "node:assert/strict";
import { existsSync, statSync } from "node:fs";
import test from "node:test";
import { SharedMemory } from "memmap/ipc";
import { F_SEAL_SEAL, F_SEAL_SHRINK, get_seals } from "memmap/raw";
import { makeName } from "#dist/ipc/memory-name.js";
import { findInherited, isObject, keep, makeAnonymous, reopen } from "#dist/ipc/memory-object.js";
import { native } from "#dist/native.js";
import { runSource } from "../../helpers/child.js";
import { runtimeName } from "../../helpers/runtime.js";

let names = 0;

const pathOf = (fd: number) => `/proc/self/fd/${fd}`;

test("makeAnonymous() makes an object of its length, sealed or open to be shortened", () => {
  for (const [sealed, seals] of [
    [true, F_SEAL_SEAL | F_SEAL_SHRINK],
    [false, F_SEAL_SEAL],
  ] as const) {
    const { fd, isWritable } = makeAnonymous(10, sealed);
    assert.deepEqual([isWritable, get_seals(fd), native().seek(fd, 0, 2)], [true, seals, 10]);
    native().closeDescriptor(fd);
  }
});

test("makeAnonymous() leaves no descriptor when a call of it fails", () => {
  const probe = makeAnonymous(0, true).fd;
  native().closeDescriptor(probe);
  native().failCall("ftruncate", 1, 12);
  assert.throws(() => makeAnonymous(10, true), { code: "ENOMEM", syscall: "ftruncate" });
  const again = makeAnonymous(0, true).fd;
  assert.equal(again, probe);
  native().closeDescriptor(again);
});

test("keep() takes the descriptor over, until its region is closed", () => {
  const { fd } = makeAnonymous(10, true);
  const region = keep(fd);
  const kept = native().descriptor(region);
  assert.ok(kept >= 0 && existsSync(pathOf(kept)));
  native().close(region, false);
  assert.ok(!existsSync(pathOf(kept)));
});

test("keep() lets go of the name of an object that it cannot keep", () => {
  const name = `memmap-test-keep-${process.pid}`;
  const made = makeName({ name, byteLength: 8, mode: 0o600, isPersistent: false });
  assert.ok(made && existsSync(`/dev/shm/${name}`));
  native().failCall("mmap", 1, 12);
  assert.throws(() => keep(made.fd, name), { code: "ENOMEM", syscall: "mmap" });
  assert.ok(!existsSync(`/dev/shm/${name}`));
  assert.ok(!existsSync(pathOf(made.fd)));
});

test("isObject() tells one object from others, and from none", () => {
  const { fd } = makeAnonymous(10, true);
  const { dev, ino } = statSync(pathOf(fd), { bigint: true });
  assert.equal(isObject(fd, { device: String(dev), inode: String(ino) }), true);
  assert.equal(isObject(fd, { device: String(dev), inode: String(ino + 1n) }), false);
  assert.equal(findInherited({ device: String(dev), inode: String(ino) }), pathOf(fd));
  native().closeDescriptor(fd);
  assert.equal(isObject(fd, { device: String(dev), inode: String(ino) }), false);
});

test("reopen() opens the same object again, and tells of one that has gone", () => {
  const { fd } = makeAnonymous(10, true);
  const again = reopen(pathOf(fd), "Cannot attach");
  assert.deepEqual([again.isWritable, native().seek(again.fd, 0, 2)], [true, 10]);
  native().closeDescriptor(again.fd);
  native().closeDescriptor(fd);
  assert.throws(() => reopen(pathOf(1_000_000), "Cannot attach"), { code: "ERR_MEMMAP_CLOSED" });
});

/* Runs a program that holds a name, and tells what it said and whether the name was left. */
async function holdAnd(code: string, exposeGc = false) {
  names += 1;
  const name = `memmap-test-hold-${process.pid}-${names}`;
  const source = `
    import { existsSync } from "node:fs";
    import { SharedMemory } from "memmap/ipc";
    const name = process.argv[2];
    const isThere = () => existsSync("/dev/shm/" + name);
    ${code}`;
  const result = await runSource(source, [name], { exposeGc, timeoutMs: 20_000 });
  const isLeft = existsSync(`/dev/shm/${name}`);
  if (isLeft) SharedMemory.unlink(name);
  return { ...result, isLeft };
}

const making = `
  globalThis.made = SharedMemory.create({ byteLength: 8, name });
  globalThis.opened = SharedMemory.open(name);
  console.log(isThere());`;

test("a program that ends by itself or exits leaves no name, whatever its exit code", async () => {
  for (const [code, exit] of [
    ["", 0],
    ["process.exit(0);", 0],
    ["process.exit(1);", 1],
    ["process.exitCode = 2;", 2],
  ] as const) {
    const result = await holdAnd(making + code);
    assert.deepEqual([result.stdout, result.stderr, result.code], ["true\n", "", exit], code);
    assert.equal(result.isLeft, false, code);
  }
});

const failing = runtimeName === "deno" ? { skip: "Deno has no exit event then" } : {};

test("a program that ends by an error that nobody caught leaves no name", failing, async () => {
  const result = await holdAnd(`${making} throw new Error("on purpose");`);
  assert.deepEqual([result.stdout, result.code], ["true\n", 1]);
  assert.match(result.stderr, /on purpose/);
  assert.equal(result.isLeft, false);
});

test("the end of a program leaves a persistent name, and one that another one holds", async () => {
  const lasting = await holdAnd(`
    globalThis.made = SharedMemory.create({ byteLength: 8, name, persistent: true });`);
  assert.deepEqual([lasting.stderr, lasting.isLeft], ["", true]);
  const name = `memmap-test-hold-${process.pid}-other`;
  using held = SharedMemory.create({ byteLength: 8, name });
  const other = await runSource(
    `import { SharedMemory } from "memmap/ipc";
    globalThis.opened = SharedMemory.open(process.argv[2]);
    console.log(opened.byteLength);`,
    [name],
  );
  assert.deepEqual([other.stdout, other.stderr], ["8\n", ""]);
  assert.ok(existsSync(`/dev/shm/${name}`));
  assert.equal(held.closed, false);
});

test("the name of an object that is forgotten goes, and its mapping stays", async () => {
  const { stdout, stderr, isLeft } = await holdAnd(
    `const collect = async (isDone) => {
      for (let tries = 0; tries < 200 && !isDone(); tries += 1) {
        if (typeof Bun === "undefined") globalThis.gc();
        else Bun.gc(true);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    };
    const forget = () => {
      let mapping;
      for (let i = 0; i < 20; i += 1) {
        const memory = SharedMemory.openOrCreate({ byteLength: 8, name });
        mapping = memory.map();
        mapping.bytes[0] = 7;
      }
      return mapping;
    };
    const mapping = forget();
    console.log(isThere());
    await collect(() => !isThere());
    console.log(isThere(), mapping.bytes[0]);
    process.kill(process.pid, "SIGKILL");`,
    true,
  );
  assert.deepEqual([stdout, stderr, isLeft], ["true\nfalse 7\n", "", false]);
});

test("the end of a program leaves a name that leads to another object by now", async () => {
  const { code, stderr, isLeft } = await holdAnd(`
    import { unlinkSync, writeFileSync } from "node:fs";
    ${making}
    unlinkSync("/dev/shm/" + name);
    writeFileSync("/dev/shm/" + name, "another");`);
  assert.deepEqual([code, stderr, isLeft], [0, "", true]);
});
