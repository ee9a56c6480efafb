// Memory of the raw door for the time of one test: mappings, holes between them, files with known
// content, what the kernel says is in memory, and the faults that a touch leaves behind. The other
// helpers on raw memory stand on these.

import assert from "node:assert/strict";
import { closeSync, openSync, readSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { FaultError, MemmapError, pageSize, SystemError } from "memmap";
import * as raw from "memmap/raw";
import { type Cleanup, tempDir, undoAfter } from "./temp.js";

/** Readable and writable. */
export const rw: number = raw.PROT_READ | raw.PROT_WRITE;

/** Memory of this process alone. */
export const anonymous: number = raw.MAP_PRIVATE | raw.MAP_ANONYMOUS;

/** The bytes of some pages, as a distance between addresses. */
export function pages(count: number): bigint {
  return BigInt(count) * BigInt(pageSize);
}

/** What to map; by default private anonymous memory, readable and writable. */
export interface MapPlan {
  readonly prot?: number | undefined;
  /** By default private and anonymous, or shared with a descriptor. */
  readonly flags?: number | undefined;
  readonly fd?: number | undefined;
  readonly offset?: number | bigint | undefined;
  /** Where: a hint to `mapBytes()`, exactly there to `mapPages()`. */
  readonly at?: bigint | undefined;
}

function unmapQuietly(address: bigint, length: number): void {
  try {
    raw.munmap(address, length);
  } catch (error) {
    // A hole of the test belongs to somebody else by now, or the memory is sealed.
    if (!(error instanceof MemmapError)) throw error;
  }
}

/** Maps bytes, which go after the test; `at` is a hint, but with `MAP_FIXED` in the flags. */
export function mapBytes(t: Cleanup, length: number, plan: MapPlan = {}): bigint {
  const { prot = rw, fd = -1, offset = 0, at = null } = plan;
  const flags = plan.flags ?? (fd === -1 ? anonymous : raw.MAP_SHARED);
  const address = raw.mmap(at, length, prot, flags, fd, offset);
  undoAfter(t, () => unmapQuietly(address, length));
  return address;
}

/** Maps pages, which go after the test; `at` is exactly there, over what this door mapped. */
export function mapPages(t: Cleanup, pageCount: number, plan: MapPlan = {}): bigint {
  const { fd = -1, at } = plan;
  const flags = plan.flags ?? (fd === -1 ? anonymous : raw.MAP_SHARED);
  const place = at === undefined ? 0 : raw.MAP_FIXED;
  return mapBytes(t, pageCount * pageSize, { ...plan, flags: flags | place });
}

/** Addresses in which a test may map at places of its own choice: pages that nobody may touch. */
export function reserve(t: Cleanup, pageCount: number): bigint {
  return mapPages(t, pageCount, { prot: raw.PROT_NONE, flags: anonymous | raw.MAP_NORESERVE });
}

/** Runs what works in a hole again when it fails, since another thread may have got the hole. */
export function retry(body: () => void): void {
  for (let triesLeft = 3; triesLeft > 0; triesLeft--) {
    try {
      body();
      return;
    } catch {
      // Only the last failure counts.
    }
  }
  body();
}

/** The path of a new file with this content, below `base`. */
export function makeFile(t: Cleanup, content: Uint8Array, base?: string): string {
  const path = join(tempDir(t, base), "data.bin");
  writeFileSync(path, content);
  return path;
}

/** A file with this content, open for reading and writing until the test ends. */
export function openFile(t: Cleanup, content: Uint8Array, base?: string): number {
  return openUntilEnd(t, makeFile(t, content, base));
}

/** A path to what a descriptor of the raw door stands for, which Deno's `node:fs` does not know. */
export function pathOf(fd: number): string {
  return `/proc/self/fd/${fd}`;
}

/** A memory file with this content, until the test ends. */
export function memoryFile(t: Cleanup, content: Uint8Array, flags = 0): number {
  const fd = raw.memfd_create("memmap-test", raw.MFD_CLOEXEC | flags);
  undoAfter(t, () => raw.close(fd));
  writeFileSync(pathOf(fd), content);
  return fd;
}

/** Opens a file until the test ends. */
export function openUntilEnd(t: Cleanup, path: string, flags: string | number = "r+"): number {
  const fd = openSync(path, flags);
  undoAfter(t, () => closeSync(fd));
  return fd;
}

/** Pages, each filled with its own number, from the first one on. */
export function numbered(pageCount: number, first = 1): Uint8Array {
  const content = new Uint8Array(pageCount * pageSize);
  for (let i = 0; i < pageCount; i++) content.fill(first + i, i * pageSize, (i + 1) * pageSize);
  return content;
}

/**
 * The bytes at an address as the kernel reads them, whatever the protection; no view is left over
 * the addresses. Undefined for what it cannot read: a hole, a guard.
 */
export function tryPeek(address: bigint, length = 1): Buffer | undefined {
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

/** The same, of memory that can be read: a hole is a failure. */
export function peek(address: bigint, length = 1): number[] {
  const bytes = tryPeek(address, length);
  assert.ok(bytes !== undefined, "memory that cannot be read");
  return [...bytes];
}

/** Lets the kernel store bytes at an address, whatever the protection of a private page. */
export function poke(address: bigint, bytes: Uint8Array): void {
  const fd = openSync("/proc/self/mem", "r+");
  try {
    assert.equal(writeSync(fd, bytes, 0, bytes.length, Number(address)), bytes.length);
  } finally {
    closeSync(fd);
  }
}

/** The first byte of each page, as the kernel reads it. */
export function firstBytes(address: bigint, pageCount: number): (number | undefined)[] {
  return Array.from({ length: pageCount }, (_, i) => tryPeek(address + pages(i))?.[0]);
}

/**
 * Makes huge pages now; again when the kernel says that something was in the way, or that it has no
 * such piece of memory in this moment.
 */
export function collapse(address: bigint, length: number): void {
  for (let triesLeft = 10; ; triesLeft--) {
    try {
      raw.madvise(address, length, raw.MADV_COLLAPSE);
      return;
    } catch (error) {
      const isBusy = error instanceof SystemError && /^(?:EAGAIN|EBUSY|ENOMEM)$/.test(error.code);
      if (!isBusy || triesLeft === 0) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
    }
  }
}

/** The fault that touching a range of a mapping leaves; a touch without one is a failure. */
export function faultOf(address: bigint, length: number, touch: () => void): FaultError {
  raw.check(address, length);
  touch();
  try {
    raw.check(address, length);
  } catch (error) {
    if (error instanceof FaultError) return error;
    throw error;
  }
  assert.fail("the touch was no fault");
}
