// What the tests of this folder stand on: mappings of the raw door that go after the test, files
// with known content, and looks at memory through the kernel, which raise no fault.

import assert from "node:assert/strict";
import { closeSync, openSync, readSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MemmapError, pageSize } from "memmap";
import * as raw from "memmap/raw";
import { areasOf } from "../helpers/proc-self.js";
import { privateMemory, readWrite } from "../helpers/raw-memory.js";
import { type Cleanup, needs, tempDir, undoAfter } from "../helpers/temp.js";

export { faultOf, retry } from "../helpers/raw-pages.js";

/** Readable and writable. */
export const rw: number = readWrite;

/** Memory without a file, of this process alone. */
export const anonymous: number = privateMemory;

/** Where a test finds a file system of a kind, and the condition for it. */
export const onExt4: { skip: string | false } = needs({ fileSystem: "ext4", at: tmpdir() });
export const onTmpfs: { skip: string | false } = needs({ fileSystem: "tmpfs", at: "/dev/shm" });

/** The bytes of some pages, as a distance between addresses. */
export function pages(count: number): bigint {
  return BigInt(count * pageSize);
}

/** What to map, other than readable and writable memory, or a shared mapping of a descriptor. */
export interface MapPlan {
  readonly prot?: number;
  readonly flags?: number;
  readonly fd?: number;
  readonly offset?: number;
  readonly at?: bigint;
}

/** Maps bytes, which go after the test. */
export function map(t: Cleanup, length: number, plan: MapPlan = {}): bigint {
  const { prot = rw, fd = -1, offset = 0, at = null } = plan;
  const flags = plan.flags ?? (fd < 0 ? anonymous : raw.MAP_SHARED);
  const address = raw.mmap(at, length, prot, flags, fd, offset);
  undoAfter(t, () => unmap(address, length));
  return address;
}

/** Unmaps what is still there; a hole that a test has made may be somebody else's by now. */
function unmap(address: bigint, length: number): void {
  try {
    raw.munmap(address, length);
  } catch (error) {
    if (!(error instanceof MemmapError)) throw error;
  }
}

/** The path of a new file with this content, below `base`. */
export function makeFile(t: Cleanup, content: Uint8Array, base?: string): string {
  const path = join(tempDir(t, base), "data.bin");
  writeFileSync(path, content);
  return path;
}

/** Opens a file until the test ends. */
export function openUntilEnd(t: Cleanup, path: string, flags = "r+"): number {
  const fd = openSync(path, flags);
  undoAfter(t, () => closeSync(fd));
  return fd;
}

/** A path to what a descriptor of the raw door stands for, which Deno's `node:fs` does not know. */
export function pathOf(fd: number): string {
  return `/proc/self/fd/${fd}`;
}

/** A memory file of some pages, each filled with its number, until the test ends. */
export function memoryFile(t: Cleanup, pageCount: number, flags = 0): number {
  const fd = raw.memfd_create("memmap-test", raw.MFD_CLOEXEC | flags);
  undoAfter(t, () => raw.close(fd));
  writeFileSync(pathOf(fd), numbered(pageCount));
  return fd;
}

/** Pages, each filled with its number, from 1 on. */
export function numbered(pageCount: number): Buffer {
  const content = Buffer.alloc(pageCount * pageSize);
  for (let i = 0; i < pageCount; i++) content.fill(i + 1, i * pageSize, (i + 1) * pageSize);
  return content;
}

/** The bytes at an address as the kernel reads them; undefined for what it cannot read. */
export function peek(address: bigint, length = 1): Buffer | undefined {
  const bytes = Buffer.alloc(length);
  const fd = openSync("/proc/self/mem", "r");
  try {
    return readSync(fd, bytes, 0, length, Number(address)) === length ? bytes : undefined;
  } catch {
    return undefined;
  } finally {
    closeSync(fd);
  }
}

/** The first byte of each page, as the kernel reads it. */
export function firstBytes(address: bigint, pageCount: number): (number | undefined)[] {
  return Array.from({ length: pageCount }, (_, i) => peek(address + pages(i))?.[0]);
}

/** How many bytes between two addresses are mapped, by anybody. */
export function mappedBytes(address: bigint, length: number): bigint {
  const end = address + BigInt(length);
  let sum = 0n;
  for (const area of areasOf()) {
    const from = area.start > address ? area.start : address;
    const to = area.end < end ? area.end : end;
    if (from < to) sum += to - from;
  }
  return sum;
}

/** The call fails with this code. */
export function refuses(call: () => unknown, code: string): void {
  assert.throws(call, { code });
}
