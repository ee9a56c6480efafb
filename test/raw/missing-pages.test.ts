// Why a page of the raw door could not be had: the file is asked that the kernel names behind the
// address, also when it has no path any more. A disk is full on a small tmpfs of the test.

import assert from "node:assert/strict";
import {
  chmodSync,
  closeSync,
  openSync,
  readFileSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import test from "node:test";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { runSource } from "../helpers/child.js";
import { limitedOutput } from "../helpers/ordinary-user.js";
import { mapRaw } from "../helpers/raw-memory.js";
import { mountPlain } from "../helpers/root-powers.js";
import { type Cleanup, needs, tempDir, undoAfter } from "../helpers/temp.js";
import { faultOf } from "./memory.js";

const root = needs("root");
const pageCount = 8;
const length = pageCount * pageSize;

/** A file of holes on a disk on which nothing has room any more; returns its path. */
function makeFull(t: Cleanup): string {
  const folder = mountPlain(t, "tmpfs", `size=${4 * pageSize},mode=777`);
  const path = join(folder, "holes");
  chmodSync(dirname(folder), 0o755);
  writeFileSync(path, "x");
  truncateSync(path, length);
  try {
    writeFileSync(join(folder, "filler"), Buffer.alloc(16 * pageSize));
  } catch {
    // It has taken all that there was.
  }
  return path;
}

function open(t: Cleanup, path: string): number {
  const fd = openSync(path, "r+");
  undoAfter(t, () => closeSync(fd));
  return fd;
}

/** The reason of the fault of a store at a byte of a mapping. */
function reasonOfStore(address: bigint, byte: number): string {
  const bytes = raw.view(address, byte + 1);
  return faultOf(address, length, () => {
    bytes[byte] = 1;
  }).reason;
}

test("a store that finds the disk full is a fault of reason io", root, (t) => {
  const fd = open(t, makeFull(t));
  const address = mapRaw(t, { length, flags: raw.MAP_SHARED, fd });
  assert.equal(reasonOfStore(address, 3 * pageSize), "io");
  assert.equal(reasonOfStore(address, length - 1), "io");
});

test("so it is in a part of a mapping, and of a file without a path", root, (t) => {
  const path = makeFull(t);
  const fd = open(t, path);
  const prot = raw.PROT_READ | raw.PROT_WRITE;
  const address = raw.mmap(null, 4 * pageSize, prot, raw.MAP_SHARED, fd, 4 * pageSize);
  const at = (page: number) => address + BigInt(page * pageSize);
  undoAfter(t, () => raw.munmap(at(1), 3 * pageSize));
  assert.equal(reasonOfStore(at(3), 0), "io");
  raw.munmap(address, pageSize);
  unlinkSync(path);
  assert.equal(reasonOfStore(at(1), 0), "io");
  truncateSync(`/proc/self/fd/${fd}`, 6 * pageSize);
  assert.equal(reasonOfStore(at(2), 0), "truncated");
});

test("an ordinary user is told the same of a file that has its path", root, async (t) => {
  const path = makeFull(t);
  chmodSync(path, 0o666);
  const output = await limitedOutput(
    `
    const fd = fs.openSync(process.argv[2], "r+");
    dropRights();
    const length = 8 * pageSize;
    const address = raw.mmap(null, length, raw.PROT_READ | raw.PROT_WRITE, raw.MAP_SHARED, fd, 0);
    fs.closeSync(fd);
    raw.view(address, length)[5 * pageSize] = 1;
    try { raw.check(address, length); } catch (error) { console.log(error.reason); }`,
    [path],
  );
  assert.equal(output.trim(), "io");
});

test("a fault that nobody collects has the same reason", root, async (t) => {
  const code = `
    import { openSync } from "node:fs";
    import { pageSize } from "memmap";
    import * as raw from "memmap/raw";
    process.on("uncaughtException", (error) => { console.log(error.code, error.reason); });
    const fd = openSync(process.argv[2], "r+");
    const length = 8 * pageSize;
    const address = raw.mmap(null, length, raw.PROT_READ | raw.PROT_WRITE, raw.MAP_SHARED, fd, 0);
    raw.view(address, length)[5 * pageSize] = 1;
    setTimeout(() => {}, 200);`;
  const { stdout, stderr } = await runSource(code, [makeFull(t)]);
  assert.equal(stdout.trim(), "ERR_MEMMAP_FAULT io", stderr);
});

test("a file that was made shorter is truncated, by its path and without one", (t) => {
  for (const isGone of [false, true]) {
    const path = join(tempDir(t), "data");
    writeFileSync(path, Buffer.alloc(length, 1));
    const fd = open(t, path);
    const plan = { length: 4 * pageSize, flags: raw.MAP_SHARED, fd, offset: 4 * pageSize };
    const address = mapRaw(t, plan);
    truncateSync(path, 6 * pageSize);
    if (isGone) unlinkSync(path);
    assert.equal(reasonOfStore(address, 2 * pageSize), "truncated");
  }
});

test("a fault that nobody has collected stays with its page when a mapping is cut", (t) => {
  const fd = raw.memfd_create("cut", raw.MFD_CLOEXEC);
  undoAfter(t, () => raw.close(fd));
  raw.ftruncate(fd, 2 * pageSize);
  const prot = raw.PROT_READ | raw.PROT_WRITE;
  const address = raw.mmap(null, 4 * pageSize, prot, raw.MAP_SHARED, fd, 0);
  const rest = address + BigInt(pageSize);
  undoAfter(t, () => raw.munmap(rest, 3 * pageSize));
  raw.view(address + BigInt(3 * pageSize), 1)[0] = 1;
  raw.munmap(address, pageSize);
  raw.check(rest, 0);
  assert.throws(() => raw.check(rest, 3 * pageSize), { reason: "truncated", access: "write" });
  raw.check(0n, 2n ** 64n - 1n);
});

/** Huge pages that nobody has taken. */
function freeHugePages(): number {
  const text = readFileSync("/proc/meminfo", "utf8");
  return Number(/^HugePages_Free: +(\d+)$/m.exec(text)?.[1] ?? 0);
}

test("a memory file of huge pages whose pool is empty is a fault of reason memory", (t) => {
  if (!raw.accepts("MFD_HUGETLB")) return t.skip("needs pools of huge pages");
  const fd = raw.memfd_create("huge", raw.MFD_CLOEXEC | raw.MFD_HUGETLB);
  undoAfter(t, () => raw.close(fd));
  const huge = 2 ** 21;
  raw.ftruncate(fd, huge);
  const address = mapRaw(t, { length: huge, flags: raw.MAP_SHARED | raw.MAP_NORESERVE, fd });
  if (freeHugePages() > 0) return t.skip("needs an empty pool of huge pages");
  const bytes = raw.view(address, huge);
  const fault = faultOf(address, huge, () => {
    bytes[5] = 1;
  });
  assert.equal(fault.reason, "memory");
});
