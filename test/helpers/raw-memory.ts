// Mappings of the raw door for the time of a test.

import { truncateSync } from "node:fs";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { type Cleanup, undoAfter } from "./temp.js";

/** What is mapped; what is left out is a page of private anonymous memory to read and write. */
export interface RawPlan {
  readonly addr?: bigint | undefined;
  readonly length?: number | undefined;
  readonly prot?: number | undefined;
  readonly flags?: number | undefined;
  readonly fd?: number | undefined;
  readonly offset?: number | undefined;
}

export const readWrite: number = raw.PROT_READ | raw.PROT_WRITE;
export const privateMemory: number = raw.MAP_PRIVATE | raw.MAP_ANONYMOUS;

/** Maps, and unmaps after the test what is left of it. */
export function mapRaw(t: Cleanup, plan: RawPlan = {}): bigint {
  const { addr, length = pageSize, prot = readWrite, flags = privateMemory, offset = 0 } = plan;
  const address = raw.mmap(addr ?? null, length, prot, flags, plan.fd ?? -1, offset);
  undoAfter(t, () => raw.munmap(address, length));
  return address;
}

/** An address in the middle of a hole of the address space, with room on both sides. */
export function freeAddress(byteLength: number): bigint {
  const spare = 2 ** 26;
  const length = byteLength + 2 * spare;
  const flags = privateMemory | raw.MAP_NORESERVE;
  const base = raw.mmap(null, length, raw.PROT_NONE, flags, -1, 0);
  raw.munmap(base, length);
  return base + BigInt(spare);
}

/** A file in memory of a length, open until the test ends. */
export function memoryFile(
  t: Cleanup,
  byteLength: number,
  flags: number = raw.MFD_CLOEXEC,
): number {
  const fd = raw.memfd_create("memmap test", flags);
  undoAfter(t, () => raw.close(fd));
  // By its name: Deno's functions on descriptors know only those that Deno has opened.
  truncateSync(`/proc/self/fd/${fd}`, byteLength);
  return fd;
}
