// What the soak counts (scripts/soak.mjs), and what of it Bun is the cause of: the notes that
// workers leave tell the two apart, so that nothing has to be tolerated.

import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { pageSize } from "memmap";
import { native } from "#dist/native.js";

export const runtime = globalThis.Deno ? "deno" : globalThis.Bun ? "bun" : "node";

/** How many buffers the workers may let go: an hour's worth. */
const NOTES_MAX = 2 ** 20;

/** What workers note, in memory that outlives them: it explains what Bun leaves behind. */
export class Notes {
  constructor(memory = new SharedArrayBuffer(8 + 8 * NOTES_MAX)) {
    this.memory = memory;
    [this.opening, this.lost] = [0, 1];
    this.counts = new Int32Array(memory, 0, 2);
    this.places = new BigUint64Array(memory, 8);
  }

  /** Something begins that may have one file open; of a terminated worker it never ends. */
  begin() {
    Atomics.add(this.counts, this.opening, 1);
  }

  end() {
    Atomics.sub(this.counts, this.opening, 1);
  }

  /** The buffer of a mapping is about to be moved out of reach, or dropped without close(). */
  letGo({ address, byteLength }) {
    const index = Atomics.add(this.counts, this.lost, 1);
    const pages = Math.max(1, Math.ceil(byteLength / pageSize));
    // An address of a page has room for a number of pages below it.
    if (index < NOTES_MAX) this.places[index] = address + BigInt(pages);
  }

  /** How many files terminated workers may have had open. */
  openings() {
    return Atomics.load(this.counts, this.opening);
  }

  /** Where the buffers were that workers let go. */
  lostExtents() {
    const noted = Math.min(NOTES_MAX, Atomics.load(this.counts, this.lost));
    const size = BigInt(pageSize);
    const places = [...new Set(this.places.subarray(0, noted))];
    return places.map((place) => {
      const start = place - (place % size);
      return [start, start + (place % size) * size];
    });
  }
}

/** How many descriptors lead to a name; runtimes open others freely. */
function descriptorsTo(name) {
  const leadsThere = (descriptor) => {
    try {
      return name.test(readlinkSync(`/proc/self/fd/${descriptor}`));
    } catch {
      return false;
    }
  };
  return readdirSync("/proc/self/fd").filter(leadsThere).length;
}

/** Extents in order, those that touch or overlap made one. */
function merge(extents) {
  const merged = [];
  for (const [start, end] of extents.toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    const last = merged.at(-1);
    if (last === undefined || start > last[1]) merged.push([start, end]);
    else if (end > last[1]) last[1] = end;
  }
  return merged;
}

/** The one of some merged extents that holds all of another; undefined when there is none. */
function holderOf([start, end], merged) {
  let [low, high] = [0, merged.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (merged[middle][0] <= start) low = middle + 1;
    else high = middle;
  }
  const before = merged[low - 1];
  return before !== undefined && end <= before[1] ? before : undefined;
}

/** The areas of the process as the kernel tells them. */
function areas() {
  const rows = readFileSync("/proc/self/maps", "utf8").trimEnd().split("\n");
  return rows.map((row) => {
    const [, start, end] = /^([0-9a-f]+)-([0-9a-f]+) /.exec(row);
    return [BigInt(`0x${start}`), BigInt(`0x${end}`)];
  });
}

/**
 * What the process holds, less what Bun makes it hold: there, addresses may be kept for a buffer
 * that a worker let go, and a worker's open files stay open. Elsewhere nothing may be left.
 */
export function counts(notes) {
  const status = readFileSync("/proc/self/status", "utf8");
  const field = (name) => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)?.[1]);
  const kept = native().keptRanges();
  const mergedKept = merge(kept);
  const keptBytes = Number(mergedKept.reduce((sum, [start, end]) => sum + end - start, 0n));
  const lost = runtime === "bun" ? merge(notes.lostExtents()) : [];
  const openings = runtime === "bun" ? notes.openings() : 0;
  const files = descriptorsTo(/memmap-soak/);
  return {
    descriptors: Math.max(0, files - openings) + descriptorsTo(/memfd:memmap(?!:guard)/),
    keptRanges: kept.filter((range) => holderOf(range, lost) === undefined).length,
    threads: field("Threads"),
    areas: areas().filter((area) => holderOf(area, mergedKept) === undefined).length,
    virtualMebibytes: Math.round(field("VmSize") / 1024 - keptBytes / 2 ** 20),
    residentMebibytes: Math.round(field("VmRSS") / 1024),
    explained: { files: Math.min(files, openings), openings, kept: kept.length },
  };
}
