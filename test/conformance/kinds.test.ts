// The four kinds of mapping: who sees a write, whether it reaches the file, and what stands in the
// memory at first. Asked through fs, a second process and /proc, never through the mapping alone.

import assert from "node:assert/strict";
import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { mapAnonymous, mapFileSync, pageSize } from "memmap";
import { runSource } from "../helpers/child.js";
import { areaAt, descriptorsNamed, pageTable, permissionsAt } from "../helpers/proc-self.js";
import { type Cleanup, needs, tempDir } from "../helpers/temp.js";

const text = "The quick brown fox";

/** A file of three pages, the first bytes of which are the text. */
function makeFile(t: Cleanup, base?: string): string {
  const path = join(tempDir(t, base), "data.bin");
  const content = Buffer.alloc(3 * pageSize, 7);
  content.write(text);
  writeFileSync(path, content);
  return path;
}

/** What another process sees at the beginning of a file: by mapping it, and by reading it. */
async function seenElsewhere(path: string): Promise<{ mapped: string; read: string }> {
  const code = `
    import { readFileSync } from "node:fs";
    import { mapFileSync } from "memmap";
    const path = process.argv[2];
    const mapped = Buffer.from(mapFileSync(path, { length: ${text.length} }).bytes).toString();
    const read = readFileSync(path).toString("utf8", 0, ${text.length});
    console.log(JSON.stringify({ mapped, read }));`;
  const { stdout, stderr } = await runSource(code, [path]);
  assert.equal(stderr, "");
  return JSON.parse(stdout);
}

async function checkShared(t: Cleanup, base: string): Promise<void> {
  const path = makeFile(t, base);
  using mapping = mapFileSync(path, { protection: "read-write" });
  using other = mapFileSync(path);
  assert.equal(Buffer.from(mapping.bytes.subarray(0, text.length)).toString(), text);
  assert.equal(permissionsAt(mapping.address), "rw-s");
  mapping.bytes.set(Buffer.from("SHARED"));
  assert.equal(readFileSync(path).toString("utf8", 0, 9), "SHAREDick");
  assert.equal(Buffer.from(other.bytes.subarray(0, 9)).toString(), "SHAREDick");
  const expected = `SHARED${text.slice(6)}`;
  assert.deepEqual(await seenElsewhere(path), { mapped: expected, read: expected });
}

async function checkPrivate(t: Cleanup, base: string): Promise<void> {
  const path = makeFile(t, base);
  const before = readFileSync(path);
  using mapping = mapFileSync(path, { protection: "read-write", sharing: "private" });
  using other = mapFileSync(path);
  assert.equal(Buffer.from(mapping.bytes.subarray(0, text.length)).toString(), text);
  assert.equal(permissionsAt(mapping.address), "rw-p");
  mapping.bytes.set(Buffer.from("PRIVATE"));
  mapping.flushSync();
  assert.equal(Buffer.from(mapping.read(0, 7)).toString(), "PRIVATE");
  assert.equal(Buffer.from(other.bytes.subarray(0, text.length)).toString(), text);
  assert.deepEqual(await seenElsewhere(path), { mapped: text, read: text });
  mapping.close();
  assert.deepEqual(readFileSync(path), before);
}

const ext4 = needs({ fileSystem: "ext4", at: "/tmp" });
const tmpfs = needs({ fileSystem: "tmpfs", at: "/dev/shm" });

test("a shared file mapping on ext4 is the file: others see a write at once", ext4, async (t) => {
  await checkShared(t, "/tmp");
});

test("a shared file mapping on tmpfs is the file: others see a write at once", tmpfs, async (t) => {
  await checkShared(t, "/dev/shm");
});

test("a private file mapping on ext4 keeps its writes to itself", ext4, async (t) => {
  await checkPrivate(t, "/tmp");
});

test("a private file mapping on tmpfs keeps its writes to itself", tmpfs, async (t) => {
  await checkPrivate(t, "/dev/shm");
});

test("a page that is written through a private file mapping becomes anonymous memory", (t) => {
  const path = makeFile(t);
  using mapping = mapFileSync(path, { protection: "read-write", sharing: "private" });
  assert.equal(mapping.bytes[pageSize], 7);
  assert.equal(pageTable(mapping.address, 3).anonymous, 0);
  mapping.bytes[pageSize] = 8;
  assert.equal(pageTable(mapping.address, 3).anonymous, 1);
});

test("private anonymous memory is zeros, has no file, and belongs to this mapping alone", () => {
  using mapping = mapAnonymous(3 * pageSize);
  using other = mapAnonymous(3 * pageSize);
  assert.ok(mapping.bytes.every((byte) => byte === 0));
  mapping.bytes.fill(1);
  assert.ok(other.bytes.every((byte) => byte === 0));
  const area = areaAt(mapping.address);
  assert.deepEqual([area?.permissions, area?.inode, area?.offset], ["rw-p", 0n, 0n]);
});

test("shared anonymous memory is zeros, and whoever opens it sees the writes", async () => {
  using mapping = mapAnonymous(3 * pageSize, { sharing: "shared", name: "kinds-shared" });
  assert.ok(mapping.bytes.every((byte) => byte === 0));
  assert.equal(permissionsAt(mapping.address), "rw-s");
  mapping.bytes.set(Buffer.from(text));
  const [fd] = descriptorsNamed("memmap:kinds-shared");
  assert.ok(fd !== undefined);
  const path = `/proc/${process.pid}/fd/${fd}`;
  assert.deepEqual(await seenElsewhere(path), { mapped: text, read: text });
  const code = `
    import { mapFileSync } from "memmap";
    const mapping = mapFileSync(process.argv[2], { protection: "read-write" });
    mapping.bytes.set(Buffer.from("child"));`;
  const { stderr } = await runSource(code, [path]);
  assert.equal(stderr, "");
  assert.equal(Buffer.from(mapping.read(0, 9)).toString(), "childuick");
});

test("two shared anonymous mappings are two objects: neither sees the other's writes", () => {
  using one = mapAnonymous(pageSize, { sharing: "shared" });
  using two = mapAnonymous(pageSize, { sharing: "shared" });
  one.bytes.fill(1);
  assert.ok(two.bytes.every((byte) => byte === 0));
  assert.notEqual(areaAt(one.address)?.inode, areaAt(two.address)?.inode);
});

test("a write(2) to the file shows in a shared mapping at once", (t) => {
  const path = makeFile(t);
  using mapping = mapFileSync(path);
  const fd = openSync(path, "r+");
  t.after(() => closeSync(fd));
  assert.equal(mapping.bytes[pageSize], 7);
  writeSync(fd, Buffer.from([99]), 0, 1, pageSize);
  assert.equal(mapping.bytes[pageSize], 99);
});

test("a private page follows the file until its first store, on this kernel", (t) => {
  const path = makeFile(t);
  using mapping = mapFileSync(path, { protection: "read-write", sharing: "private" });
  const fd = openSync(path, "r+");
  t.after(() => closeSync(fd));
  assert.equal(mapping.bytes[0], text.charCodeAt(0));
  writeSync(fd, Buffer.from([99]), 0, 1, 0);
  assert.equal(mapping.bytes[0], 99);
  mapping.bytes[1] = 1;
  writeSync(fd, Buffer.from([100]), 0, 1, 0);
  assert.equal(mapping.bytes[0], 99);
});

test("a shared write reaches the file without a flush, also when the mapping is closed", (t) => {
  const path = makeFile(t);
  const mapping = mapFileSync(path, { protection: "read-write" });
  mapping.bytes[2 * pageSize] = 42;
  mapping.close();
  assert.equal(readFileSync(path)[2 * pageSize], 42);
});

test("by default files are shared and readable, memory is private and writable", (t) => {
  using file = mapFileSync(makeFile(t));
  using memory = mapAnonymous(1);
  assert.deepEqual([file.sharing, file.protection, file.backing], ["shared", "read", "file"]);
  assert.equal(permissionsAt(file.address), "r--s");
  const kind = [memory.sharing, memory.protection, memory.backing];
  assert.deepEqual(kind, ["private", "read-write", "anonymous"]);
  assert.equal(permissionsAt(memory.address), "rw-p");
});
