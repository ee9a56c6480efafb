// What the tests of this folder stand on, beyond the helpers on raw memory: conditions of file
// systems, memory files with numbered pages, and what is mapped at all.

import assert from "node:assert/strict";
import { tmpdir } from "node:os";
import { areasOf } from "../helpers/proc-self.js";
import { memoryFile as makeMemoryFile, numbered } from "../helpers/raw-pages.js";
import { type Cleanup, needs } from "../helpers/temp.js";

export {
  anonymous,
  collapse,
  faultOf,
  firstBytes,
  type MapPlan,
  makeFile,
  mapBytes as map,
  numbered,
  openUntilEnd,
  pages,
  pathOf,
  retry,
  rw,
  tryPeek as peek,
} from "../helpers/raw-pages.js";

/** Where a test finds a file system of a kind, and the condition for it. */
export const onExt4: { skip: string | false } = needs({ fileSystem: "ext4", at: tmpdir() });
export const onTmpfs: { skip: string | false } = needs({ fileSystem: "tmpfs", at: "/dev/shm" });

/** A memory file of some pages, each filled with its number, until the test ends. */
export function memoryFile(t: Cleanup, pageCount: number, flags = 0): number {
  return makeMemoryFile(t, numbered(pageCount), flags);
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
