/**
 * Finds bytes in bytes, at any distance: the runtimes' own search returns 32-bit positions, so long
 * ranges are searched in windows that overlap by what a match could straddle.
 */
import { Buffer } from "node:buffer";
import type { Extent } from "./pages.js";

const windowLength = 2 ** 30;

function window(bytes: Uint8Array, offset: number, end: number): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset + offset, end - offset);
}

/** The offset of the first match in the extent, or -1. An empty pattern matches at its start. */
export function findFirst(bytes: Uint8Array, pattern: Uint8Array, extent: Extent): number {
  const end = extent.offset + extent.length;
  if (pattern.length === 0) return extent.offset;
  for (let at = extent.offset; at + pattern.length <= end; at += windowLength) {
    const limit = Math.min(end, at + windowLength + pattern.length - 1);
    const found = window(bytes, at, limit).indexOf(pattern);
    if (found >= 0) return at + found;
  }
  return -1;
}

/** The offset of the last match inside the extent, or -1. An empty pattern matches at its end. */
export function findLast(bytes: Uint8Array, pattern: Uint8Array, extent: Extent): number {
  const end = extent.offset + extent.length;
  if (pattern.length === 0) return end;
  for (let limit = end; limit - pattern.length >= extent.offset; limit -= windowLength) {
    const at = Math.max(extent.offset, limit - windowLength - pattern.length + 1);
    const found = window(bytes, at, limit).lastIndexOf(pattern);
    if (found >= 0) return at + found;
  }
  return -1;
}
