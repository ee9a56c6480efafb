/**
 * The steps of the tour that write, all on the temporary copy: copy-on-write, sharing with another
 * process, and closing.
 */
import { mapFileSync } from "../index.js";
import { rowUse } from "./self.js";
import { formatCount, plural } from "./text.js";
import type { TemporaryCopy } from "./tour-file.js";
import type { Peer } from "./tour-peer.js";
import { change, hex, type Report } from "./tour-report.js";

/* Another value than the one that stands there, and not the common ones. */
function otherByte(byte: number | undefined): number {
  return (byte ?? 0) ^ 0x5a;
}

/** A private write: seen by nobody else. */
export function showCopyOnWrite(copy: TemporaryCopy, report: Report): void {
  report.step("Copy-on-write: a private write stays private", "mmap(..., MAP_PRIVATE, fd, 0)");
  report.tell(
    "The copy is mapped twice, private and shared. Byte 0 is written in the private mapping.",
  );
  using mine = mapFileSync(copy.path, { sharing: "private", protection: "read-write" });
  using other = mapFileSync(copy.path);
  const old = mine.bytes[0];
  const written = otherByte(old);
  const seenBefore = other.bytes[0];
  const before = rowUse(mine.address);
  mine.bytes[0] = written;
  const after = rowUse(mine.address);
  const inFile = copy.readByte(0);
  report.show("byte 0, private mapping", change(hex(old), hex(mine.bytes[0])));
  report.show(
    "byte 0, the other mapping",
    `${change(hex(seenBefore), hex(other.bytes[0]))}, the file by read(2) ${hex(inFile)}`,
  );
  report.show(
    "memory of no file (Anonymous)",
    `${change(before?.anonymous ?? "?", after?.anonymous ?? "?", "kB")} of the private mapping`,
  );
  const grown = (after?.anonymous ?? 0) - (before?.anonymous ?? 0);
  const hidden = mine.bytes[0] === written && other.bytes[0] === old && inFile === old;
  report.conclude(
    hidden && grown > 0,
    `Only the writer sees the write, and ${grown} kB of its mapping no longer belong to the file.`,
    hidden ? "no page became anonymous." : "the write was seen elsewhere.",
  );
}

/** A shared write: seen by another process, and brought to storage by a flush. */
export async function showSharing(copy: TemporaryCopy, peer: Peer, report: Report): Promise<void> {
  report.step(
    "A shared write: others see it, and it reaches the file",
    "MAP_SHARED, msync(MS_SYNC)",
  );
  using mapping = mapFileSync(copy.path, { protection: "read-write" });
  const first = await peer.first();
  report.tell(
    `Process ${first.pid} has mapped the copy as well. Byte 0 is written here, it looks again, ` +
      "then comes the flush.",
  );
  const old = mapping.bytes[0];
  const written = otherByte(old);
  const before = rowUse(mapping.address)?.dirty;
  mapping.bytes[0] = written;
  const dirty = rowUse(mapping.address)?.dirty;
  const second = await peer.second();
  const begin = performance.now();
  mapping.flushSync();
  const elapsed = performance.now() - begin;
  const clean = rowUse(mapping.address)?.dirty;
  report.show("byte 0 here", change(hex(old), hex(mapping.bytes[0])));
  report.show(
    "byte 0 in the other process",
    `${change(hex(first.byte), hex(second.byte))}, by its read(2) ${hex(second.file)}`,
  );
  report.show(
    "changed and not stored (dirty)",
    `${change(before ?? "?", dirty ?? "?", "kB")} -> ${clean ?? "?"} kB after a flush of ` +
      `${elapsed.toFixed(2)} ms`,
  );
  const seen = second.byte === written && second.file === written;
  report.conclude(
    seen && (dirty ?? 0) > (before ?? 0) && clean === 0,
    "The other process saw the write at once; after the flush nothing waits to be stored.",
    seen
      ? `it was seen, but ${clean ?? "?"} kB stay dirty, as on file systems that are memory.`
      : "the other process did not see it.",
  );
}

/** What closing does to the views, and to a write that was not flushed. */
export function showClosing(copy: TemporaryCopy, report: Report): void {
  report.step("Closing: views end, writes stay", "munmap(address, length)");
  report.tell(
    "The last byte of the copy is written through a shared mapping, which is closed unflushed.",
  );
  const mapping = mapFileSync(copy.path, { protection: "read-write" });
  const view = mapping.bytes;
  const last = view.length - 1;
  const before = view.length;
  const written = otherByte(view[last]);
  const old = view[last];
  view[last] = written;
  mapping.close();
  const inFile = copy.readByte(last);
  report.show("length of the view", change(plural(before, "byte"), plural(view.length, "byte")));
  report.show(`byte ${formatCount(last)} of the view`, change(hex(written), hex(view[last])));
  report.show(`byte ${formatCount(last)} of the file`, change(hex(old), hex(inFile)));
  report.conclude(
    view.length === 0 && inFile === written,
    "The view is empty and harmless; the file has the byte, though nobody flushed it.",
    view.length === 0 ? "the byte is not in the file." : "the view still has bytes.",
  );
}
