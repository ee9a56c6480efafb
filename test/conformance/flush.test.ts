// msync(2): which bytes are on their way to storage, which ways there are to ask, and who else may
// hear of it. That the bytes are stored is shown by the page being clean afterwards.

import assert from "node:assert/strict";
import { readFileSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { mapAnonymous, mapFileSync, pageSize } from "memmap";
import { smapsBytesAt } from "../helpers/proc-self.js";
import { takePower } from "../helpers/root-powers.js";
import { type Cleanup, needs, tempDir } from "../helpers/temp.js";

function makeFile(t: Cleanup, pageCount: number): string {
  const path = join(tempDir(t, "/tmp"), "data.bin");
  writeFileSync(path, Buffer.alloc(pageCount * pageSize, 5));
  return path;
}

/** The bytes of a mapping that the kernel has not written to storage yet. */
function dirtyBytes(address: bigint): number {
  return smapsBytesAt(address, "Private_Dirty") + smapsBytesAt(address, "Shared_Dirty");
}

const ext4 = needs({ fileSystem: "ext4", at: "/tmp" });

test("flush writes what was changed: the pages are clean afterwards", ext4, async (t) => {
  await takePower(t, "sysctl"); // Another test makes the kernel write back early.
  using mapping = mapFileSync(makeFile(t, 8), { protection: "read-write" });
  mapping.flushSync();
  mapping.bytes.fill(1);
  assert.equal(dirtyBytes(mapping.address), 8 * pageSize);
  await mapping.flush();
  assert.equal(dirtyBytes(mapping.address), 0);
  mapping.bytes.fill(2);
  mapping.flushSync();
  assert.equal(dirtyBytes(mapping.address), 0);
});

test("flush of a range leaves pages far from it alone", ext4, async (t) => {
  await takePower(t, "sysctl");
  // The kernel may keep and write neighbouring pages as one, so the two are far from each other.
  const far = 24 * 2 ** 20;
  const path = makeFile(t, far / pageSize + 1);
  using mapping = mapFileSync(path, { protection: "read-write" });
  using end = mapFileSync(path, { protection: "read-write", offset: far });
  mapping.flushSync();
  end.bytes[0] = 1;
  mapping.bytes[pageSize + 5] = 1;
  mapping.flushSync({ offset: pageSize + 4, length: 3 });
  assert.equal(dirtyBytes(mapping.address), 0);
  assert.equal(dirtyBytes(end.address), pageSize);
  await mapping.flush({ offset: far });
  assert.equal(dirtyBytes(end.address), 0);
});

test("flush without waiting and with invalidate is taken, and keeps the content", async (t) => {
  const path = makeFile(t, 2);
  using mapping = mapFileSync(path, { protection: "read-write" });
  mapping.bytes.fill(7);
  mapping.flushSync({ wait: false });
  mapping.flushSync({ invalidate: true });
  mapping.flushSync({ wait: false, invalidate: true, length: 1 });
  await mapping.flush({ wait: false });
  await mapping.flush({ wait: true, invalidate: true });
  assert.ok(readFileSync(path).every((byte) => byte === 7));
  assert.ok(mapping.bytes.every((byte) => byte === 7));
});

test("flush with invalidate is refused for locked pages", async (t) => {
  using mapping = mapFileSync(makeFile(t, 2), { protection: "read-write" });
  mapping.lockSync();
  const expected = { name: "SystemError", code: "EBUSY", syscall: "msync" };
  assert.throws(() => mapping.flushSync({ invalidate: true }), expected);
  await assert.rejects(mapping.flush({ invalidate: true }), expected);
  mapping.unlock();
  mapping.flushSync({ invalidate: true });
});

test("flush of a private or anonymous mapping does nothing and keeps its writes", async (t) => {
  const path = makeFile(t, 2);
  const options = { sharing: "private", protection: "read-write" } as const;
  using own = mapFileSync(path, options);
  using memory = mapAnonymous(2 * pageSize);
  using shared = mapAnonymous(2 * pageSize, { sharing: "shared" });
  for (const mapping of [own, memory, shared]) {
    mapping.bytes.fill(9);
    mapping.flushSync();
    await mapping.flush();
    assert.ok(mapping.bytes.every((byte) => byte === 9));
  }
  assert.ok(readFileSync(path).every((byte) => byte === 5));
});

test("a write through a shared mapping moves the file's time of change", (t) => {
  const path = makeFile(t, 2);
  utimesSync(path, 1000, 1000);
  using mapping = mapFileSync(path, { protection: "read-write" });
  mapping.flushSync();
  assert.equal(statSync(path).mtimeMs, 1_000_000);
  mapping.bytes[0] = 1;
  mapping.flushSync();
  assert.ok(statSync(path).mtimeMs > 1_000_000);
});

test("a read-only shared mapping can be flushed", async (t) => {
  using mapping = mapFileSync(makeFile(t, 2));
  assert.equal(mapping.bytes[0], 5);
  mapping.flushSync();
  await mapping.flush({ offset: 1 });
});

test("a signal ends the waiting for a flush with its own reason", async (t) => {
  using mapping = mapFileSync(makeFile(t, 2), { protection: "read-write" });
  const reason = new Error("enough");
  for (const call of ["flush", "load", "lock"] as const) {
    await assert.rejects(mapping[call]({ signal: AbortSignal.abort(reason) }), reason);
    const controller = new AbortController();
    const waiting = mapping[call]({ signal: controller.signal });
    controller.abort(reason);
    await assert.rejects(waiting, reason);
  }
  mapping.unlock();
});

test("what waits for storage rejects when the mapping is closed meanwhile", async (t) => {
  const path = makeFile(t, 64);
  for (const call of ["flush", "load", "lock"] as const) {
    const mapping = mapFileSync(path, { protection: "read-write" });
    mapping.bytes.fill(3);
    const waiting = mapping[call]();
    mapping.close();
    await assert.rejects(waiting, { name: "MemmapError", code: "ERR_MEMMAP_CLOSED" });
  }
  assert.ok(readFileSync(path).every((byte) => byte === 3));
});
