// Mappings of the raw door for the time of a test.

import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { anonymous, mapBytes } from "./raw-pages.js";
import { type Cleanup, undoAfter } from "./temp.js";

export { anonymous as privateMemory, rw as readWrite } from "./raw-pages.js";

/** What is mapped; what is left out is a page of private anonymous memory to read and write. */
export interface RawPlan {
  readonly addr?: bigint | undefined;
  readonly length?: number | undefined;
  readonly prot?: number | undefined;
  readonly flags?: number | undefined;
  readonly fd?: number | undefined;
  readonly offset?: number | undefined;
}

/** Maps, and unmaps after the test what is left of it. */
export function mapRaw(t: Cleanup, plan: RawPlan = {}): bigint {
  const { addr, length = pageSize, flags = anonymous } = plan;
  return mapBytes(t, length, { ...plan, flags, at: addr });
}

/** An address in the middle of a hole of the address space, with room on both sides. */
export function freeAddress(byteLength: number): bigint {
  const spare = 2 ** 26;
  const length = byteLength + 2 * spare;
  const flags = anonymous | raw.MAP_NORESERVE;
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
  raw.ftruncate(fd, byteLength);
  return fd;
}
