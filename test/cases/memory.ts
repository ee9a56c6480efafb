// Memory of the raw door for one case, beyond the helpers on raw memory: filled pages, aligned
// addresses, and descriptors as all runtimes take them.

import { readFileSync, type Stats, statSync } from "node:fs";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import {
  anonymous,
  firstBytes,
  type MapPlan,
  mapPages,
  openUntilEnd,
  pages,
  pathOf,
  rw,
} from "../helpers/raw-pages.js";
import type { Cleanup } from "../helpers/temp.js";

export {
  anonymous,
  collapse,
  type MapPlan as Plan,
  makeFile,
  mapPages as map,
  memoryFile,
  numbered,
  openUntilEnd as open,
  pages,
  retry,
  rw,
} from "../helpers/raw-pages.js";

/** The bytes of some pages, as a length. */
export function bytes(count: number): number {
  return count * pageSize;
}

/** Fills each page with its own number, from 1 on. */
export function fill(address: bigint, pageCount: number): void {
  for (let i = 0; i < pageCount; i++) {
    raw.view(address + pages(i), pageSize).fill(i + 1);
  }
}

/** Pages of which each is filled with its own number, from 1 on. */
export function mapFilled(t: Cleanup, pageCount: number, plan: MapPlan = {}): bigint {
  const address = mapPages(t, pageCount, plan);
  fill(address, pageCount);
  return address;
}

/** The first byte of each page, as the kernel reads it; -1 where it cannot: a guard, a hole. */
export function peekPages(address: bigint, pageCount: number): number[] {
  return firstBytes(address, pageCount).map((byte) => byte ?? -1);
}

/** A byte as the kernel reads it; -1 where it cannot. */
export function peek(address: bigint): number {
  return peekPages(address, 1)[0] ?? -1;
}

/** Whether every large piece of anonymous memory gets huge pages at its first touch. */
export function isAlwaysHuge(): boolean {
  const setting = readFileSync("/sys/kernel/mm/transparent_hugepage/enabled", "utf8");
  return setting.includes("[always]");
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
  return openUntilEnd(t, pathOf(fd), flags);
}

/** What the kernel says of the object of any descriptor. */
export function statOf(fd: number): Stats {
  return statSync(pathOf(fd));
}
