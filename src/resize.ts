/**
 * Gives a mapping another length: a new region over the same memory takes the place of the old one,
 * whose addresses are kept from reuse until the engine has let go of them.
 */
import { protectionBits } from "./bits.js";
import type { MappingCore } from "./core.js";
import { memmapError, outOfRange, tooLarge } from "./errors.js";
import { isWritable } from "./flags.js";
import { viewMax } from "./limits.js";
import { type NativeRegion, native, pageSize } from "./native.js";
import { remapPages } from "./remap.js";
import { currentSize } from "./source.js";

/* The bytes that a longer mapping may show: what the file has, unless it may be made longer. */
function requireRoom(core: MappingCore, byteLength: number): void {
  if (byteLength > viewMax) {
    throw tooLarge(
      `Cannot resize ${core.label} to ${byteLength} bytes: this runtime views at most ${viewMax}`,
    );
  }
  if (byteLength <= core.byteLength || core.growable || core.file === undefined) return;
  if (core.file.kind !== "file") {
    throw outOfRange(
      `Cannot resize ${core.label} to ${byteLength} bytes: the length of a device is not known`,
    );
  }
  const size = currentSize(core.file.identity) ?? core.file.identity.size;
  if (core.offset + byteLength <= size) return;
  throw outOfRange(
    `Cannot resize ${core.label} to ${byteLength} bytes at offset ${core.offset}: ` +
      `the file is ${size} bytes long; map it with { grow: true } to go past its end`,
  );
}

/* What lies behind the old end must be there, for real, before anybody sees it; anonymous memory
   behind a new end is given back. */
function provide(core: MappingCore, region: NativeRegion, byteLength: number): number {
  const from = core.byteLength;
  const fd = native().descriptor(core.region);
  if (core.backing === "file") {
    if (fd < 0 || byteLength < from) return 0;
    return native().allocate(fd, core.offset + from, byteLength - from);
  }
  /* What others hold stays theirs. */
  if (byteLength < from && core.isShared) return 0;
  if (byteLength < from) clearTail(core, region, byteLength);
  if (fd < 0) return 0;
  const pages = core.pageCount(byteLength) * core.granularity;
  return native().resizeMemory(fd, pages, core.pageCount(from) * core.granularity);
}

/* Anonymous memory that comes back after a shrink is zero again, also inside its last page, which
   is made writable for that if it is not. */
function clearTail(core: MappingCore, region: NativeRegion, byteLength: number): void {
  const { granularity, protections } = core;
  const end = core.start + byteLength;
  const pageIndex = core.pageCount(byteLength) - 1;
  const page = pageIndex * granularity;
  if (end === page + granularity) return;
  const protection = protections.at(pageIndex) ?? "none";
  const guarded = !isWritable(protection);
  if (guarded) native().protect(region, page, granularity, protectionBits("read-write"));
  native().write(region, end, new Uint8Array(page + granularity - end));
  native().forget(region, end, page + granularity - end);
  if (guarded) native().protect(region, page, granularity, protectionBits(protection));
}

/* A doubled mapping has the protection of its first area everywhere, a new one can be read and
   written: each page gets its own. */
function protectAgain(core: MappingCore, region: NativeRegion, pageCount: number): number {
  for (const run of core.protections.runs()) {
    const first = run.pageIndex * core.granularity;
    const last = run.pageIndex + run.pageCount >= core.protections.pageCount;
    const end = last ? pageCount : Math.min(run.pageIndex + run.pageCount, pageCount);
    const length = end * core.granularity - first;
    if (length <= 0) continue;
    const result = native().protect(region, first, length, protectionBits(run.value));
    if (result < 0) return result;
  }
  return 0;
}

/* New pages of a private mapping continue its last one: that must be what was mapped, and not what
   the guard put in its place. */
function restoreLastPage(core: MappingCore, byteLength: number): void {
  if (core.sharing === "shared" || byteLength <= core.byteLength) return;
  const last = core.pageCount(core.byteLength) - 1;
  remapPages(core, { offset: last * core.granularity, length: core.granularity });
}

/** Resizes an open, unpinned mapping; on failure nothing has changed. */
export function resizeMapping(core: MappingCore, byteLength: number): void {
  if (byteLength === core.byteLength) return;
  requireRoom(core, byteLength);
  const holders = native().holders(core.region);
  if (holders > 1) {
    throw memmapError(
      "ERR_MEMMAP_PINNED",
      `Cannot resize ${core.label}: ${holders} threads hold its private pages`,
    );
  }
  const what = `resize to ${byteLength} bytes`;
  const pageCount = core.pageCount(byteLength);
  restoreLastPage(core, byteLength);
  const isHuge = core.granularity > pageSize;
  const isAnew = isHuge && core.backing === "anonymous";
  const region = native().resize(core.region, pageCount * core.granularity, isAnew);
  if (typeof region === "number") {
    core.check(region, "mremap", what);
    return;
  }
  /* A private mapping has moved by now, with its protections; nothing below fails for it. */
  const isFresh = core.sharing === "shared" || isAnew;
  const guarded = isFresh ? protectAgain(core, region, pageCount) : 0;
  const provided = guarded < 0 ? guarded : provide(core, region, byteLength);
  if (provided < 0) {
    native().close(region, false);
    const growing = core.backing === "file" ? "fallocate" : "ftruncate";
    core.check(provided, guarded < 0 ? "mprotect" : growing, what);
  }
  core.replaceRegion(region, byteLength);
}
