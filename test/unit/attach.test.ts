// src/attach.ts: what a handle leads to, in this process and in another one, and what is refused
// where it leads nowhere or to something else.

import assert from "node:assert/strict";
import { renameSync, truncateSync, unlinkSync, writeFileSync } from "node:fs";
import test from "node:test";
import { attachMapping, type MappingHandle, mapAnonymous, mapFileSync, pageSize } from "memmap";
import { FaultError, MemmapError, SystemError } from "#dist/errors.js";
import { native } from "#dist/native.js";
import { runSource } from "../helpers/child.js";
import { areasNamed, descriptorsNamed, holdings, permissionsAt } from "../helpers/proc-self.js";
import { hasCode, pattern, patternFile } from "./support.js";

const wrongValue = hasCode(TypeError, "ERR_INVALID_ARG_VALUE");
const closed = hasCode(MemmapError, "ERR_MEMMAP_CLOSED", /^Cannot attach to/);
const unsupported = hasCode(MemmapError, "ERR_MEMMAP_UNSUPPORTED", /belongs to process \d+ alone/);

/** A handle that names no shared region of this process: as another process sees it. */
function fromElsewhere(handle: MappingHandle): MappingHandle {
  return { ...handle, id: 0 };
}

test("attachMapping() in the same process gives the same bytes, without a copy", (t) => {
  const path = patternFile(t, 3 * pageSize);
  const writable = { protection: "read-write", offset: 5 } as const;
  for (const mapping of [
    mapFileSync(path, writable),
    mapFileSync(path, { ...writable, sharing: "private" }),
    mapFileSync(path, { ...writable, grow: true }),
    mapAnonymous(pageSize + 5),
    mapAnonymous(pageSize + 5, { sharing: "shared" }),
  ]) {
    const attached = attachMapping(JSON.parse(JSON.stringify(mapping.share())));
    mapping.bytes[pageSize] = 200;
    assert.equal(attached.bytes[pageSize], 200);
    attached.bytes[1] = 201;
    assert.equal(mapping.bytes[1], 201);
    const { byteLength, offset, protection, sharing, backing } = attached;
    assert.deepEqual(
      [byteLength, offset, attached.path, protection, sharing, backing],
      [
        mapping.byteLength,
        mapping.offset,
        mapping.path,
        "read-write",
        mapping.sharing,
        mapping.backing,
      ],
    );
    mapping.close();
    assert.deepEqual([attached.bytes[pageSize], attached.bytes[1]], [200, 201]);
    attached.close();
  }
  native().releaseRetired();
  assert.deepEqual([descriptorsNamed(path), areasNamed(path)], [[], []]);
});

test("what is attached has the protection of the handle, and a life of its own", () => {
  using mapping = mapAnonymous(2 * pageSize, { sharing: "shared" });
  mapping.bytes[0] = 1;
  mapping.protect("read");
  const attached = attachMapping(mapping.share());
  assert.equal(attached.protection, "read");
  assert.equal(permissionsAt(attached.address), "r--s");
  mapping.protect("read-write");
  assert.equal(permissionsAt(attached.address), "r--s");
  assert.notEqual(attached.address, mapping.address);
  attached.resize(4 * pageSize);
  assert.deepEqual([attached.byteLength, mapping.byteLength], [4 * pageSize, 2 * pageSize]);
  attached.close();
  assert.equal(mapping.bytes[0], 1);
});

test("what is attached tells its faults as the mapping that was shared does", () => {
  using mapping = mapAnonymous(pageSize, { sharing: "shared", faults: "collect" });
  mapping.protect("none");
  using attached = attachMapping(mapping.share());
  using opened = attachMapping(fromElsewhere(mapping.share()));
  for (const other of [attached, opened]) {
    assert.equal(other.bytes[5], 0);
    assert.throws(() => other.check(), hasCode(FaultError, "ERR_MEMMAP_FAULT", /byte 5/));
  }
  mapping.check();
});

test("private pages exist once: whoever is attached sees what the others write", () => {
  const mapping = mapAnonymous(pageSize);
  const attached = [mapping.share(), mapping.share()].map((handle) => attachMapping(handle));
  for (const other of attached) assert.equal(other.address, mapping.address);
  mapping.bytes[0] = 7;
  mapping.close();
  const [one, two] = attached;
  assert.ok(one !== undefined && two !== undefined);
  one.bytes[1] = 8;
  one.close();
  assert.deepEqual([...two.bytes.subarray(0, 2)], [7, 8]);
  const handle = two.share();
  two.close();
  assert.throws(() => attachMapping(handle), closed);
});

test("shrinking shared memory that others hold leaves them their bytes", () => {
  using mapping = mapAnonymous(4 * pageSize, { sharing: "shared" });
  mapping.bytes.fill(3);
  using attached = attachMapping(mapping.share());
  mapping.resize(10);
  assert.ok(attached.bytes.every((byte) => byte === 3));
  attached.resize(100);
  mapping.resize(4 * pageSize);
  assert.ok(mapping.bytes.every((byte) => byte === 3));
});

test("attaching a thousand times and letting go leaves nothing behind", () => {
  using mapping = mapAnonymous(pageSize, { sharing: "shared" });
  using memory = mapAnonymous(pageSize);
  const round = () => {
    for (const shared of [mapping, memory]) attachMapping(shared.share()).close();
  };
  for (let i = 0; i < 10; i++) round();
  const before = holdings();
  for (let i = 0; i < 1000; i++) round();
  const after = holdings();
  assert.equal(after.descriptors, before.descriptors);
  assert.ok(after.areas <= before.areas + 50, `${before.areas} to ${after.areas} areas`);
});

test("a handle that asks for more than was shared is refused", (t) => {
  for (const mapping of [
    mapFileSync(patternFile(t, 10)),
    mapAnonymous(10),
    mapAnonymous(10, { sharing: "shared" }),
  ]) {
    const handle = mapping.share();
    const before = holdings();
    for (const change of [
      { byteLength: pageSize + 1 },
      { start: pageSize },
      { byteLength: 2 ** 50 },
    ]) {
      assert.throws(() => attachMapping({ ...handle, ...change }), wrongValue);
    }
    assert.equal(holdings().descriptors, before.descriptors);
    // Nobody holds on to its pages: a resize of private ones would be refused.
    mapping.resize(5);
    mapping.close();
  }
});

test("a handle that asks for more rights than the file gives is the kernel's EACCES", (t) => {
  using mapping = mapFileSync(patternFile(t, 10));
  const handle = { ...mapping.share(), protection: "read-write" } as const;
  const refused = hasCode(SystemError, "EACCES", /mprotect$/);
  assert.throws(() => attachMapping(handle), refused);
  assert.throws(() => attachMapping(handle), refused);
});

test("a file is found again by its path, after the sharer has closed it", (t) => {
  const path = patternFile(t, pageSize);
  const mapping = mapFileSync(path, { offset: 3, length: 100 });
  const handle = mapping.share();
  mapping.close();
  using attached = attachMapping(handle);
  assert.deepEqual(attached.bytes, pattern(pageSize).subarray(3, 103));
  assert.deepEqual([attached.path, attached.protection], [path, "read"]);
});

test("another file at the path is never taken for the one that was shared", (t) => {
  const path = patternFile(t, pageSize);
  const mapping = mapFileSync(path);
  const handle = mapping.share();
  mapping.close();
  renameSync(path, `${path}-moved`);
  assert.throws(() => attachMapping(handle), closed);
  writeFileSync(path, pattern(pageSize));
  assert.throws(() => attachMapping(handle), closed);
  unlinkSync(path);
  renameSync(`${path}-moved`, path);
  attachMapping(handle).close();
  assert.deepEqual(descriptorsNamed(path), []);
});

test("a file that was shortened meanwhile is refused with its length", (t) => {
  const path = patternFile(t, 2 * pageSize);
  const mapping = mapFileSync(path);
  const handle = mapping.share();
  mapping.close();
  truncateSync(path, 10);
  assert.throws(
    () => attachMapping(handle),
    hasCode(RangeError, "ERR_OUT_OF_RANGE", /10 bytes long/),
  );
});

test("shared memory is found by the sharer's descriptor, and by none after it was closed", () => {
  const mapping = mapAnonymous(10, { sharing: "shared" });
  const handle = mapping.share();
  mapping.bytes[3] = 9;
  const attached = attachMapping(fromElsewhere(handle));
  assert.equal(attached.bytes[3], 9);
  assert.equal(attached.backing, "anonymous");
  assert.throws(() => attachMapping({ ...fromElsewhere(handle), inode: "1" }), closed);
  mapping.close();
  assert.throws(() => attachMapping(fromElsewhere(handle)), closed);
  attached.close();
});

test("a process with another start time is another process", () => {
  using mapping = mapAnonymous(10, { sharing: "shared" });
  using memory = mapAnonymous(10);
  const died = hasCode(MemmapError, "ERR_MEMMAP_PEER_DIED", /process \d+ has ended/);
  assert.throws(() => attachMapping({ ...mapping.share(), startTime: "1" }), died);
  assert.throws(() => attachMapping({ ...memory.share(), startTime: "1" }), unsupported);
});

/** Attaches in a child to handles that this process made. */
async function attachedThere(handles: readonly MappingHandle[]): Promise<unknown> {
  const code = `
    import { attachMapping } from "memmap";
    const outcomes = JSON.parse(process.argv[2]).map((handle) => {
      try {
        const mapping = attachMapping(handle);
        const first = mapping.bytes[0];
        if (mapping.protection === "read-write") mapping.bytes[1] = 77;
        return [mapping.byteLength, first];
      } catch (error) {
        return error.code;
      }
    });
    console.log(JSON.stringify(outcomes));`;
  const { stdout, stderr } = await runSource(code, [JSON.stringify(handles)]);
  assert.notEqual(stdout, "", stderr);
  return JSON.parse(stdout);
}

test("another process attaches to shared memory and files, never to private ones", async (t) => {
  const path = patternFile(t, 100);
  using file = mapFileSync(path, { protection: "read-write", offset: 2 });
  using read = mapFileSync(path, { length: 50 });
  using shared = mapAnonymous(10, { sharing: "shared" });
  using copied = mapFileSync(path, { sharing: "private" });
  using memory = mapAnonymous(10);
  const gone = mapAnonymous(10, { sharing: "shared" });
  const handles = [file, read, shared, copied, memory, gone].map((mapping) => mapping.share());
  shared.bytes[0] = 42;
  gone.close();
  const refused = "ERR_MEMMAP_UNSUPPORTED";
  assert.deepEqual(await attachedThere(handles), [
    [98, 2],
    [50, 0],
    [10, 42],
    refused,
    refused,
    "ERR_MEMMAP_CLOSED",
  ]);
  assert.deepEqual([shared.bytes[1], file.bytes[1], read.bytes[1]], [77, 77, 1]);
});
