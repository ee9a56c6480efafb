// Memory of the raw door for one case: pages with a content, a hole behind them, and what the
// kernel says is in them, by system calls that no fault can come of.

import {
  closeSync,
  openSync,
  readFileSync,
  readSync,
  type Stats,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { MemmapError, pageSize, SystemError } from "memmap";
import * as raw from "memmap/raw";
import { type Cleanup, tempDir } from "../helpers/temp.js";

/** Readable and writable. */
export const rw: number = raw.PROT_READ | raw.PROT_WRITE;

/** Memory of this process alone. */
export const anonymous: number = raw.MAP_PRIVATE | raw.MAP_ANONYMOUS;

/** The bytes of some pages, as a distance between addresses. */
export function pages(count: number): bigint {
  return BigInt(count) * BigInt(pageSize);
}

/** The bytes of some pages, as a length. */
export function bytes(count: number): number {
  return count * pageSize;
}

/** What to map; by default private anonymous memory, readable and writable. */
export interface Plan {
  readonly prot?: number;
  /** By default private and anonymous, or shared with a descriptor. */
  readonly flags?: number;
  readonly fd?: number;
  readonly offset?: number;
  /** Exactly there, over what this door mapped. */
  readonly at?: bigint;
}

/** Maps pages, which go after the test. */
export function map(t: Cleanup, pageCount: number, plan: Plan = {}): bigint {
  const { prot = rw, fd = -1, offset = 0, at = null } = plan;
  const kind = plan.flags ?? (fd === -1 ? anonymous : raw.MAP_SHARED);
  const flags = kind | (at === null ? 0 : raw.MAP_FIXED);
  const address = raw.mmap(at, bytes(pageCount), prot, flags, fd, offset);
  t.after(() => unmap(address, bytes(pageCount)));
  return address;
}

function unmap(address: bigint, length: number): void {
  try {
    raw.munmap(address, length);
  } catch (error) {
    // A hole of the case belongs to somebody else by now.
    if (!(error instanceof MemmapError)) throw error;
  }
}

/** Fills each page with its own number, from 1 on. */
export function fill(address: bigint, pageCount: number): void {
  for (let i = 0; i < pageCount; i++) {
    raw.view(address + pages(i), pageSize).fill(i + 1);
  }
}

/** Pages of which each is filled with its own number, from 1 on. */
export function mapFilled(t: Cleanup, pageCount: number, plan: Plan = {}): bigint {
  const address = map(t, pageCount, plan);
  fill(address, pageCount);
  return address;
}

/** The content of pages that are filled with their numbers. */
export function numbered(pageCount: number): Uint8Array {
  const content = new Uint8Array(bytes(pageCount));
  for (let i = 0; i < pageCount; i++) content.fill(i + 1, bytes(i), bytes(i + 1));
  return content;
}

/** A memory file of this length until the test ends. */
export function memoryFile(t: Cleanup, content: Uint8Array, flags = 0): number {
  const fd = raw.memfd_create("case", raw.MFD_CLOEXEC | flags);
  t.after(() => raw.close(fd));
  writeFileSync(`/proc/self/fd/${fd}`, content);
  return fd;
}

/** A file with this content, below a folder of its own. */
export function makeFile(t: Cleanup, content: Uint8Array, base?: string): string {
  const path = join(tempDir(t, base), "data.bin");
  writeFileSync(path, content);
  return path;
}

/** Opens a file until the test ends. */
export function open(t: Cleanup, path: string, flags: string | number): number {
  const fd = openSync(path, flags);
  t.after(() => closeSync(fd));
  return fd;
}

/**
 * Does something with pages that end, or begin, at a hole; again when it fails, since another
 * thread may have got the hole.
 */
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

/** A byte as the kernel reads it, whatever the protection; -1 where it cannot: a guard, a hole. */
export function peek(address: bigint): number {
  const fd = openSync("/proc/self/mem", "r");
  try {
    const byte = new Uint8Array(1);
    return readSync(fd, byte, 0, 1, Number(address)) === 1 ? (byte[0] ?? -1) : -1;
  } catch {
    return -1;
  } finally {
    closeSync(fd);
  }
}

/** The first byte of each page, as the kernel reads it. */
export function peekPages(address: bigint, pageCount: number): number[] {
  return Array.from({ length: pageCount }, (_, i) => peek(address + pages(i)));
}

/** Whether every large piece of anonymous memory gets huge pages at its first touch. */
export function isAlwaysHuge(): boolean {
  const setting = readFileSync("/sys/kernel/mm/transparent_hugepage/enabled", "utf8");
  return setting.includes("[always]");
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

/** Addresses of which the first is a multiple of an alignment; they go after the test. */
export function mapAligned(t: Cleanup, length: number, alignment: number): bigint {
  const base = raw.mmap(null, length + alignment, rw, anonymous, -1, 0);
  t.after(() => raw.munmap(base, length + alignment));
  const unit = BigInt(alignment);
  return ((base + unit - 1n) / unit) * unit;
}

/**
 * The object of a descriptor of the raw door, opened again by node:fs until the test ends: some
 * runtimes work on no descriptor that they did not open.
 */
export function reopen(t: Cleanup, fd: number, flags: string): number {
  return open(t, `/proc/self/fd/${fd}`, flags);
}

/** What the kernel says of the object of any descriptor. */
export function statOf(fd: number): Stats {
  return statSync(`/proc/self/fd/${fd}`);
}
