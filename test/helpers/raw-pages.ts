// Memory of the raw door for the time of one test: mappings, holes between them, what the kernel
// says is in them, and the faults that a touch leaves behind.

import assert from "node:assert/strict";
import { closeSync, openSync, readSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { FaultError, MemmapError, pageSize } from "memmap";
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
  readonly prot?: number;
  /** By default private and anonymous, or shared with a descriptor. */
  readonly flags?: number;
  readonly fd?: number;
  readonly offset?: number | bigint;
  /** Exactly there, over what this door mapped: `MAP_FIXED`. */
  readonly at?: bigint;
}

function unmapQuietly(address: bigint, length: number): void {
  try {
    raw.munmap(address, length);
  } catch (error) {
    // A hole of the test belongs to somebody else by now, or the memory is sealed.
    if (!(error instanceof MemmapError)) throw error;
  }
}

/** Maps pages, which go after the test. */
export function mapPages(t: Cleanup, pageCount: number, plan: MapPlan = {}): bigint {
  const { prot = rw, fd = -1, offset = 0, at = null } = plan;
  const flags = plan.flags ?? (fd === -1 ? anonymous : raw.MAP_SHARED);
  const place = at === null ? 0 : raw.MAP_FIXED;
  const length = pageCount * pageSize;
  const address = raw.mmap(at, length, prot, flags | place, fd, offset);
  undoAfter(t, () => unmapQuietly(address, length));
  return address;
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

/** A file with this content, open for reading and writing until the test ends. */
export function openFile(t: Cleanup, content: Uint8Array, base?: string): number {
  const path = join(tempDir(t, base), "data.bin");
  writeFileSync(path, content);
  return openUntilEnd(t, path, "r+");
}

/** Opens a file until the test ends. */
export function openUntilEnd(t: Cleanup, path: string, flags: string | number): number {
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
 * the addresses. Throws for a hole.
 */
export function peek(address: bigint, length = 1): number[] {
  const fd = openSync("/proc/self/mem", "r");
  try {
    const bytes = new Uint8Array(length);
    const count = readSync(fd, bytes, 0, length, Number(address));
    assert.equal(count, length, "memory that cannot be read");
    return [...bytes];
  } finally {
    closeSync(fd);
  }
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

/** The first byte of each page, by the kernel. */
export function firstBytes(address: bigint, pageCount: number): number[] {
  return Array.from({ length: pageCount }, (_, i) => peek(address + pages(i))[0] ?? -1);
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
