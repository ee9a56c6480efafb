// What other processes get of a mapping: each cell of the table "Process rules" in
// docs/semantics.md. The other process is a child of fork, which looks at its memory by system
// calls, or one that maps the same file; the kernel's own account is asked beside them.

import assert from "node:assert/strict";
import { closeSync, openSync, readFileSync, readlinkSync, readSync } from "node:fs";
import test from "node:test";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { runSource } from "../helpers/child.js";
import { cannotFork } from "../helpers/fork.js";
import {
  type Area,
  areaAt,
  areasOf,
  descriptorsNamed,
  pageTable,
  statusBytes,
} from "../helpers/proc-self.js";
import type { Cleanup } from "../helpers/temp.js";
import { Forked } from "./forked.js";
import { makeFile, map, memoryFile, numbered, pages, peek } from "./memory.js";

const forks = { skip: cannotFork };

interface Scene {
  readonly address: bigint;
  /** Of file mappings. */
  readonly path: string;
}

/* Two pages of a file, numbered from 1, mapped and closed. */
function ofFile(t: Cleanup, flags: number): Scene {
  const path = makeFile(t, numbered(2));
  const fd = openSync(path, "r+");
  const address = map(t, 2 * pageSize, { fd, flags });
  closeSync(fd);
  return { address, path };
}

/* Two pages of memory with the same content. */
function ofMemory(t: Cleanup, flags: number): Scene {
  const address = map(t, 2 * pageSize, { flags: flags | raw.MAP_ANONYMOUS });
  raw.view(address, 2 * pageSize).set(numbered(2));
  return { address, path: "" };
}

function store(address: bigint, byte: number): void {
  raw.view(address, 1)[0] = byte;
}

/* What another process finds at the beginning of a file, by mapping it. */
async function seenElsewhere(path: string): Promise<string> {
  const code = `
    import { openSync } from "node:fs";
    import * as raw from "memmap/raw";
    const fd = openSync(process.argv[2], "r");
    const address = raw.mmap(null, ${pageSize}, raw.PROT_READ, raw.MAP_SHARED, fd, 0);
    console.log(raw.view(address, 1)[0]);`;
  const { stdout, stderr } = await runSource(code, [path]);
  assert.equal(stderr, "");
  return stdout.trim();
}

/* Whether one address space alone has the page, by its page tables. */
function isExclusive(address: bigint): boolean {
  const entry = new BigUint64Array(1);
  const fd = openSync("/proc/self/pagemap", "r");
  const position = Number(address / BigInt(pageSize)) * 8;
  readSync(fd, new Uint8Array(entry.buffer), 0, 8, position);
  closeSync(fd);
  return ((entry[0] ?? 0n) >> 56n) % 2n === 1n;
}

/* The area of this process at an address that another process has as well. */
function inheritedArea(pid: number, address: bigint): Area | undefined {
  const own = areaAt(address);
  return areasOf(pid).find(({ start, end }) => start === own?.start && end === own.end);
}

// ==== Visible to others ==========================================================================

test("a shared file mapping: another process that maps the file sees a write", async (t) => {
  const { address, path } = ofFile(t, raw.MAP_SHARED);
  store(address, 50);
  assert.equal(await seenElsewhere(path), "50");
});

test("a private file mapping: another process that maps the file sees no write", async (t) => {
  const { address, path } = ofFile(t, raw.MAP_PRIVATE);
  store(address, 50);
  assert.equal(await seenElsewhere(path), "1");
});

test("shared anonymous memory: parent and child of fork see each other's writes", forks, (t) => {
  const { address } = ofMemory(t, raw.MAP_SHARED);
  const child = new Forked(t);
  store(address, 50);
  assert.deepEqual(child.look(address), [50]);
  assert.ok(child.store(address + pages(1), 60));
  assert.equal(raw.view(address + pages(1), 1)[0], 60);
});

test("private anonymous memory: parent and child of fork see no write of the other", forks, (t) => {
  const { address } = ofMemory(t, raw.MAP_PRIVATE);
  const child = new Forked(t);
  store(address, 50);
  assert.deepEqual(child.look(address), [1]);
  assert.ok(child.store(address + pages(1), 60));
  assert.equal(raw.view(address + pages(1), 1)[0], 2);
});

// ==== Copied on write ============================================================================

test("a shared file mapping is not copied on write: its pages stay those of the file", (t) => {
  const { address } = ofFile(t, raw.MAP_SHARED);
  store(address, 50);
  assert.deepEqual(pageTable(address, 1), { present: 1, anonymous: 0 });
});

test("a private file mapping is copied on write, page by page", (t) => {
  const { address } = ofFile(t, raw.MAP_PRIVATE);
  assert.equal(raw.view(address, 2 * pageSize)[pageSize], 2);
  store(address, 50);
  assert.deepEqual(pageTable(address, 1), { present: 1, anonymous: 1 });
  assert.deepEqual(pageTable(address + pages(1), 1), { present: 1, anonymous: 0 });
});

test("shared anonymous memory is not copied on write, also after fork", forks, (t) => {
  const { address } = ofMemory(t, raw.MAP_SHARED);
  const child = new Forked(t);
  assert.deepEqual(child.look(address), [1]);
  store(address, 50);
  assert.ok(child.store(address, 51));
  assert.deepEqual(pageTable(address, 1), { present: 1, anonymous: 0 });
  assert.equal(isExclusive(address), false);
});

test("private anonymous memory is copied on the first write after fork", forks, (t) => {
  const { address } = ofMemory(t, raw.MAP_PRIVATE);
  assert.equal(isExclusive(address), true);
  new Forked(t);
  assert.equal(isExclusive(address), false);
  store(address, 50);
  assert.equal(isExclusive(address), true);
  assert.equal(isExclusive(address + pages(1)), false);
});

// ==== Reaches the file ===========================================================================

test("a shared file mapping: a write is in the file at once, and after munmap", (t) => {
  const { address, path } = ofFile(t, raw.MAP_SHARED);
  store(address, 50);
  assert.equal(readFileSync(path)[0], 50);
  raw.munmap(address, 2 * pageSize);
  assert.equal(readFileSync(path)[0], 50);
});

test("a private file mapping: a write is never in the file, with msync or without", (t) => {
  const { address, path } = ofFile(t, raw.MAP_PRIVATE);
  store(address, 50);
  raw.msync(address, 2 * pageSize, raw.MS_SYNC);
  assert.equal(peek(address)?.[0], 50);
  raw.munmap(address, 2 * pageSize);
  assert.deepEqual(readFileSync(path), Buffer.from(numbered(2)));
});

test("shared anonymous memory has an object without a name, and msync does nothing", (t) => {
  const { address } = ofMemory(t, raw.MAP_SHARED);
  raw.msync(address, 2 * pageSize, raw.MS_SYNC);
  assert.equal(areaAt(address)?.name, "/dev/zero (deleted)");
});

test("private anonymous memory has no object at all, and msync does nothing", (t) => {
  const { address } = ofMemory(t, raw.MAP_PRIVATE);
  raw.msync(address, 2 * pageSize, raw.MS_SYNC);
  assert.equal(areaAt(address)?.inode, 0n);
  assert.equal(peek(address)?.[0], 1);
});

// ==== After fork =================================================================================

function checkInherited(t: Cleanup, { address }: Scene, permissions: string): void {
  const child = new Forked(t);
  assert.deepEqual(child.look(address + pages(1)), [2]);
  assert.equal(inheritedArea(child.pid, address)?.permissions, permissions);
}

test("a child of fork inherits a shared file mapping, and both write the file", forks, (t) => {
  const scene = ofFile(t, raw.MAP_SHARED);
  const { address, path } = scene;
  checkInherited(t, scene, "rw-s");
  store(address, 50);
  assert.equal(readFileSync(path)[0], 50);
});

test("a child of fork stores through the shared file mapping that it inherited", forks, (t) => {
  const { address, path } = ofFile(t, raw.MAP_SHARED);
  const child = new Forked(t);
  assert.ok(child.store(address, 60));
  assert.equal(readFileSync(path)[0], 60);
  assert.equal(peek(address)?.[0], 60);
});

test("a child of fork inherits a private file mapping with the copies made so far", forks, (t) => {
  const { address, path } = ofFile(t, raw.MAP_PRIVATE);
  store(address, 50);
  const child = new Forked(t);
  assert.deepEqual(child.look(address), [50]);
  assert.equal(inheritedArea(child.pid, address)?.permissions, "rw-p");
  store(address, 51);
  assert.ok(child.store(address, 52));
  assert.deepEqual([peek(address)?.[0], child.look(address)], [51, [52]]);
  assert.equal(readFileSync(path)[0], 1);
});

test("a child of fork inherits shared anonymous memory", forks, (t) => {
  checkInherited(t, ofMemory(t, raw.MAP_SHARED), "rw-s");
});

test("a child of fork inherits private anonymous memory", forks, (t) => {
  checkInherited(t, ofMemory(t, raw.MAP_PRIVATE), "rw-p");
});

test("a child of fork keeps its mapping when the parent unmaps its own", forks, (t) => {
  const { address } = ofMemory(t, raw.MAP_SHARED);
  const child = new Forked(t);
  raw.munmap(address, 2 * pageSize);
  assert.deepEqual(child.look(address + pages(1)), [2]);
});

test("memory under MADV_DONTFORK is not in a child of fork, until MADV_DOFORK", forks, (t) => {
  const { address } = ofMemory(t, raw.MAP_PRIVATE);
  raw.madvise(address, pageSize, raw.MADV_DONTFORK);
  const child = new Forked(t);
  assert.deepEqual([child.look(address), child.look(address + pages(1))], [undefined, [2]]);
  assert.equal(child.store(address, 5), false);
  child.end();
  raw.madvise(address, pageSize, raw.MADV_DOFORK);
  assert.deepEqual(new Forked(t).look(address), [1]);
});

test("a shared file mapping under MADV_DONTFORK is not in a child of fork", forks, (t) => {
  const { address, path } = ofFile(t, raw.MAP_SHARED);
  raw.madvise(address, 2 * pageSize, raw.MADV_DONTFORK);
  const child = new Forked(t);
  assert.equal(child.look(address), undefined);
  assert.ok(!areasOf(child.pid).some(({ name }) => name === path));
  assert.equal(peek(address)?.[0], 1);
});

test("memory under MADV_WIPEONFORK is zeros in a child of fork, until KEEPONFORK", forks, (t) => {
  const { address } = ofMemory(t, raw.MAP_PRIVATE);
  raw.madvise(address, pageSize, raw.MADV_WIPEONFORK);
  const child = new Forked(t);
  assert.deepEqual([child.look(address), child.look(address + pages(1))], [[0], [2]]);
  assert.equal(peek(address)?.[0], 1);
  child.end();
  raw.madvise(address, pageSize, raw.MADV_KEEPONFORK);
  assert.deepEqual(new Forked(t).look(address), [1]);
});

test("MADV_WIPEONFORK takes private anonymous memory alone", (t) => {
  const others = [
    ofFile(t, raw.MAP_SHARED),
    ofFile(t, raw.MAP_PRIVATE),
    ofMemory(t, raw.MAP_SHARED),
  ];
  for (const { address } of others) {
    assert.throws(() => raw.madvise(address, pageSize, raw.MADV_WIPEONFORK), { code: "EINVAL" });
  }
});

test("droppable memory is zeros in a child of fork", forks, (t) => {
  if (!raw.accepts("MAP_DROPPABLE")) return t.skip("needs MAP_DROPPABLE");
  const address = map(t, pageSize, { flags: raw.MAP_DROPPABLE | raw.MAP_ANONYMOUS });
  store(address, 50);
  assert.deepEqual(new Forked(t).look(address), [0]);
  assert.equal(peek(address)?.[0], 50);
});

test("locks are not inherited by a child of fork", forks, (t) => {
  const { address } = ofMemory(t, raw.MAP_PRIVATE);
  raw.mlock(address, 2 * pageSize);
  const child = new Forked(t);
  assert.ok(statusBytes("VmLck") >= 2 * pageSize);
  assert.equal(statusBytes("VmLck", child.pid), 0);
  assert.deepEqual(child.look(address), [1]);
});

// ==== After exec, and at the end =================================================================

function checkGoneByExec(t: Cleanup, { address }: Scene): void {
  const child = new Forked(t);
  assert.ok(inheritedArea(child.pid, address) !== undefined);
  child.becomeOther();
  assert.notEqual(readlinkSync(`/proc/${child.pid}/exe`), readlinkSync("/proc/self/exe"));
  assert.equal(inheritedArea(child.pid, address), undefined);
  assert.equal(peek(address + pages(1))?.[0], 2);
}

test("a shared file mapping is gone after exec", forks, (t) => {
  const scene = ofFile(t, raw.MAP_SHARED);
  checkGoneByExec(t, scene);
  assert.equal(readFileSync(scene.path)[pageSize], 2);
});

test("a private file mapping is gone after exec", forks, (t) => {
  checkGoneByExec(t, ofFile(t, raw.MAP_PRIVATE));
});

test("shared anonymous memory is gone after exec", forks, (t) => {
  checkGoneByExec(t, ofMemory(t, raw.MAP_SHARED));
});

test("private anonymous memory is gone after exec", forks, (t) => {
  checkGoneByExec(t, ofMemory(t, raw.MAP_PRIVATE));
});

/* A memory file that a child of fork alone has mapped for writing, which forbids this seal. */
function heldByChild(t: Cleanup): { child: Forked; seal: () => void } {
  const fd = memoryFile(t, 1, raw.MFD_ALLOW_SEALING);
  const address = map(t, pageSize, { fd });
  const child = new Forked(t);
  raw.munmap(address, pageSize);
  const seal = () => raw.add_seals(fd, raw.F_SEAL_WRITE);
  assert.throws(seal, { code: "EBUSY" });
  return { child, seal };
}

test("a mapping ends with its process: nothing holds its file any more", forks, (t) => {
  const { child, seal } = heldByChild(t);
  child.end();
  seal();
});

test("a mapping ends with exec: nothing holds its file any more", forks, (t) => {
  const { child, seal } = heldByChild(t);
  child.becomeOther();
  seal();
});

test("closing the descriptor of a raw mapping does not unmap it, shared or private", (t) => {
  for (const flags of [raw.MAP_SHARED, raw.MAP_PRIVATE]) {
    const { address, path } = ofFile(t, flags);
    assert.deepEqual(descriptorsNamed(path), []);
    assert.equal(peek(address)?.[0], 1);
    assert.equal(areaAt(address)?.name, path);
  }
});
