// src/ipc/memory-name.ts: names of shared memory, and the rule by which they end.

import assert from "node:assert/strict";
import { existsSync, statSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import test from "node:test";
import { asName, letGo, makeName, openName, pathOf } from "#dist/ipc/memory-name.js";
import { native } from "#dist/native.js";

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
