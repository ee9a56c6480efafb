// mlock(2) and munlock(2), by the counters of the process and the flags of the area; and what the
// limit of an ordinary user does.

import assert from "node:assert/strict";
import test from "node:test";
import { mapAnonymous, pageSize } from "memmap";
import { limitedOutput } from "../helpers/ordinary-user.js";
import { flagsAt, pageTable, statusBytes } from "../helpers/proc-self.js";

const byteLength = 16 * pageSize;

test("lock brings the pages in and keeps them: VmLck counts them until unlock", async () => {
  using mapping = mapAnonymous(byteLength);
  const before = statusBytes("VmLck");
  await mapping.lock();
  assert.equal(statusBytes("VmLck") - before, byteLength);
  assert.equal(pageTable(mapping.address, 16).present, 16);
  mapping.unlock();
  assert.equal(statusBytes("VmLck"), before);
  mapping.unlock();
});

test("lock and unlock act on the pages that their range touches", () => {
  using mapping = mapAnonymous(byteLength);
  const before = statusBytes("VmLck");
  mapping.lockSync({ offset: pageSize - 1, length: 2 });
  assert.equal(statusBytes("VmLck") - before, 2 * pageSize);
  mapping.unlock({ offset: pageSize, length: 1 });
  assert.equal(statusBytes("VmLck") - before, pageSize);
  assert.ok(flagsAt(mapping.address).includes("lo"));
});

test("locks do not add up: one unlock ends several locks", () => {
  using mapping = mapAnonymous(byteLength);
  const before = statusBytes("VmLck");
  mapping.lockSync();
  mapping.lockSync();
  assert.equal(statusBytes("VmLck") - before, byteLength);
  mapping.unlock();
  assert.equal(statusBytes("VmLck"), before);
});

test("close ends the lock", () => {
  const before = statusBytes("VmLck");
  const mapping = mapAnonymous(byteLength);
  mapping.lockSync();
  mapping.close();
  assert.equal(statusBytes("VmLck"), before);
});

test("locked pages are not given back: evict and discard are refused, content stays", () => {
  using mapping = mapAnonymous(byteLength);
  mapping.bytes.fill(7);
  mapping.lockSync();
  const expected = { name: "SystemError", code: "EINVAL", syscall: "madvise" };
  assert.throws(() => mapping.evict(), expected);
  assert.throws(() => mapping.discard(), expected);
  assert.ok(mapping.bytes.every((byte) => byte === 7));
  mapping.unlock();
  assert.equal(mapping.discard(), byteLength);
});

test("an ordinary user locks up to RLIMIT_MEMLOCK, which the error names", async () => {
  const output = await limitedOutput(`
    limit("memlock", 65536);
    dropRights();
    const mapping = mapAnonymous(131072);
    mapping.lockSync({ length: 65536 });
    console.log(failure(() => mapping.lockSync()));
    console.log(await mapping.lock().then(() => "locked", (error) => error.code));
    mapping.unlock();
    console.log(failure(() => mapAnonymous(131072, { lock: true })));
    limit("memlock", 0);
    console.log(failure(() => mapping.lockSync({ length: 1 })));
    mapping.close();`);
  const [first, second, third, fourth] = output.split("\n");
  assert.match(first ?? "", /^SystemError \| ENOMEM \| mlock \| .*RLIMIT_MEMLOCK is 65536 bytes/);
  assert.equal(second, "ENOMEM");
  assert.match(third ?? "", /^SystemError \| EAGAIN \| mmap \| .*RLIMIT_MEMLOCK is 65536 bytes/);
  assert.match(fourth ?? "", /^SystemError \| EPERM \| mlock \| .*RLIMIT_MEMLOCK is 0 bytes/);
});
