/**
 * Pure: finds bytes in bytes, at any distance. The runtimes' own search returns 32-bit positions,
 * so long ranges are searched in windows that overlap by what a match could straddle.
 */
import type { Extent } from "./pages.js";

/** Bytes that can be searched by the runtime. */
interface Searchable {
  indexOf(pattern: Uint8Array): number;
  lastIndexOf(pattern: Uint8Array): number;
}

/** Gives the bytes from `offset` to `end`, in parts of about `length` bytes. */
export interface Windows {
  readonly length: number;
  at(offset: number, end: number): Searchable;
}

/** The offset of the first match in the extent, or -1. An empty pattern matches at its start. */
export function findFirst(windows: Windows, pattern: Uint8Array, extent: Extent): number {
  const end = extent.offset + extent.length;
  if (pattern.length === 0) return extent.offset;
  for (let at = extent.offset; at + pattern.length <= end; at += windows.length) {
    const limit = Math.min(end, at + windows.length + pattern.length - 1);
    const found = windows.at(at, limit).indexOf(pattern);
    if (found >= 0) return at + found;
  }
  return -1;
}

/** The offset of the last match in the extent, or -1. An empty pattern matches at its end. */
export function findLast(windows: Windows, pattern: Uint8Array, extent: Extent): number {
  const end = extent.offset + extent.length;
  if (pattern.length === 0) return end;
  for (let limit = end; limit - pattern.length >= extent.offset; limit -= windows.length) {
    const at = Math.max(extent.offset, limit - windows.length - pattern.length + 1);
    const found = windows.at(at, limit).lastIndexOf(pattern);
    if (found >= 0) return at + found;
  }
  return -1;
}
