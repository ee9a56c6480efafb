// src/ipc/memory-name.ts: names of shared memory, and the rule by which they end. Locks belong to
// open files, not to processes: a second open file stands for another process here.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, statSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import test from "node:test";
import { SharedMemory } from "memmap/ipc";
import { asName, drop, letGo, makeName, openName, pathOf } from "#dist/ipc/memory-name.js";
import { constant, native } from "#dist/native.js";
import { limitedOutput } from "../../helpers/ordinary-user.js";
import { needs } from "../../helpers/temp.js";

let names = 0;

/** A plan for an object with a name that nobody else has. */
function plan(isPersistent = false) {
  names += 1;
  const name = `memmap-test-name-${process.pid}-${names}`;
  return { name, byteLength: 8, mode: 0o600, isPersistent };
}

const close = (fd: number) => native().closeDescriptor(fd);

test("asName() takes 1 to 255 bytes, with or without the first slash", () => {
  assert.deepEqual(
    ["/a", "a", "ü", "a.b", " "].map((name) => asName(name, "n")),
    ["a", "a", "ü", "a.b", " "],
  );
  assert.equal(asName("x".repeat(255), "n").length, 255);
  for (const name of ["", "/", "//a", "a/", "a/b", ".", "..", "/..", "\0", "ü".repeat(128)]) {
    assert.throws(() => asName(name, "n"), { code: "ERR_INVALID_ARG_VALUE" }, JSON.stringify(name));
  }
  for (const name of [undefined, null, 1, {}, Symbol.iterator]) {
    assert.throws(() => asName(name, "n"), { code: "ERR_INVALID_ARG_TYPE" });
  }
});

test("an object is whole, with its mode and length, from the moment it has a name", () => {
  const wanted = plan();
  const made = makeName({ ...wanted, mode: 0o604 });
  assert.ok(made?.isWritable);
  const status = statSync(pathOf(wanted.name));
  assert.deepEqual([status.size, status.mode & 0o777], [8, 0o604]);
  assert.equal(makeName(wanted), undefined, "it is held");
  letGo(made.fd, wanted.name);
  close(made.fd);
  assert.ok(!existsSync(pathOf(wanted.name)));
});

test("letGo() keeps a name that others hold, that is persistent, or leads elsewhere by now", () => {
  const wanted = plan();
  const made = makeName(wanted);
  const opened = openName(wanted.name);
  assert.ok(made && opened);
  letGo(made.fd, wanted.name);
  assert.ok(existsSync(pathOf(wanted.name)), "the other holds it");
  close(made.fd);
  unlinkSync(pathOf(wanted.name));
  writeFileSync(pathOf(wanted.name), "another");
  letGo(opened.fd, wanted.name);
  close(opened.fd);
  assert.ok(existsSync(pathOf(wanted.name)), "it is another object");
  unlinkSync(pathOf(wanted.name));
  const lasting = plan(true);
  const persistent = makeName(lasting);
  assert.ok(persistent);
  letGo(persistent.fd, lasting.name);
  close(persistent.fd);
  assert.ok(existsSync(pathOf(lasting.name)));
  unlinkSync(pathOf(lasting.name));
});

test("openName() takes a name that nobody holds away, and does not follow links", () => {
  const wanted = plan();
  const made = makeName(wanted);
  assert.ok(made);
  close(made.fd); // As a kill does it: without letting go.
  assert.ok(existsSync(pathOf(wanted.name)));
  assert.equal(openName(wanted.name), undefined);
  assert.ok(!existsSync(pathOf(wanted.name)));
  symlinkSync("/dev/zero", pathOf(wanted.name));
  assert.throws(() => openName(wanted.name), { code: "ELOOP" });
  unlinkSync(pathOf(wanted.name));
  assert.equal(openName(wanted.name), undefined);
});

test("drop() removes the name of an object whose holders left it to this one", () => {
  const wanted = plan();
  const made = makeName(wanted);
  const opened = openName(wanted.name);
  assert.ok(made && opened);
  letGo(made.fd, wanted.name);
  close(made.fd);
  assert.ok(existsSync(pathOf(wanted.name)), "the second one was left with it");
  drop(opened.fd, wanted.name);
  assert.ok(!existsSync(pathOf(wanted.name)));
  assert.ok(!existsSync(`/proc/self/fd/${opened.fd}`));
});

/* Lets somebody else act just after a shared lock was had, as another process may. */
function afterShared(nth: number, act: () => void): Disposable {
  const addon = native();
  const real = addon.lockDescriptor;
  const shared = constant("LOCK_SH") | constant("LOCK_NB");
  let count = 0;
  const hooked = (fd: number, operation: number) => {
    const result = real(fd, operation);
    count += operation === shared ? 1 : 0;
    if (operation === shared && count === nth) act();
    return result;
  };
  assert.ok(Reflect.set(addon, "lockDescriptor", hooked));
  return { [Symbol.dispose]: () => void Reflect.set(addon, "lockDescriptor", real) };
}

test("who was looked at while it closed leaves no name: the one who looked removes it", () => {
  const wanted = plan();
  const made = makeName(wanted);
  assert.ok(made);
  let acted = 0;
  const leave = () => {
    acted += 1;
    letGo(made.fd, wanted.name);
    close(made.fd);
    assert.ok(existsSync(pathOf(wanted.name)), "the other one stands in the way");
  };
  using _ = afterShared(2, leave); // The first lock is on the object that is being made.
  assert.equal(makeName(wanted), undefined);
  assert.equal(acted, 1);
  assert.ok(!existsSync(pathOf(wanted.name)));
});

test("a handle of another object leaves no name that its holder closes meanwhile", () => {
  const { name } = plan();
  const memory = SharedMemory.create({ byteLength: 8, name });
  const handle = { ...memory.handle, inode: "1" };
  using _ = afterShared(1, () => {
    memory.close();
    assert.ok(existsSync(pathOf(name)), "the other one stands in the way");
  });
  assert.throws(() => SharedMemory.attach(handle), { code: "ERR_MEMMAP_CLOSED" });
  assert.equal(memory.closed, true);
  assert.ok(!existsSync(pathOf(name)));
});

test("an object that somebody keeps locked alone is EAGAIN after a while, not for ever", () => {
  const wanted = plan();
  const made = makeName(wanted);
  assert.ok(made);
  assert.equal(native().lockDescriptor(made.fd, constant("LOCK_EX")), 0);
  const before = readdirSync("/proc/self/fd").length;
  const locked = { code: "EAGAIN", syscall: "flock", message: /others keep locked/ };
  assert.throws(() => openName(wanted.name), locked);
  assert.ok(readdirSync("/proc/self/fd").length <= before);
  drop(made.fd, wanted.name);
  assert.ok(!existsSync(pathOf(wanted.name)));
});

test("a FIFO in place of an object is refused, and not waited for", needs("root"), async () => {
  const { name } = plan();
  execFileSync("mkfifo", ["-m", "444", pathOf(name)]);
  try {
    const wrong = { code: "ERR_INVALID_ARG_VALUE", message: /no shared memory/ };
    assert.throws(() => openName(name), wrong);
    const output = await limitedOutput(`
      import { SharedMemory } from "memmap/ipc";
      dropRights();
      console.log(failure(() => SharedMemory.open(${JSON.stringify(name)})));`);
    assert.match(output, /ERR_INVALID_ARG_VALUE/);
  } finally {
    unlinkSync(pathOf(name));
  }
});
