/**
 * The steps of the tour on the user's own file: the mapping and its row, and demand paging.
 */
import { type Mapping, mapFileSync, pageSize, type Residency } from "../index.js";
import { viewMax } from "../limits.js";
import { attempt, codeOf } from "./exit.js";
import { FaultMeter, type Faults, formatRow, mapsRow, rowUse } from "./self.js";
import { columnsMax, enumerate, formatCount, formatSize, plural, shorten } from "./text.js";
import type { TourFile } from "./tour-file.js";
import { change, type Report } from "./tour-report.js";

const shownBytes = 16;

const warmUps = 3;

/** Maps the file as far as this runtime can view it, and shows the row. */
export function showMapping(file: TourFile, report: Report): Mapping {
  report.step(
    "A mapping: the file gets addresses",
    "mmap(NULL, length, PROT_READ, MAP_SHARED, fd, 0)",
  );
  report.tell(
    "The kernel notes one row in its table of this process. No byte of the file is read for that.",
  );
  const length = Math.min(file.size, viewMax);
  const begin = performance.now();
  const mapping = attempt(`cannot map ${file.name}`, () => mapFileSync(file.path, { length }));
  const elapsed = performance.now() - begin;
  if (length < file.size) {
    report.tell(
      `This runtime can view at most ${formatSize(viewMax)} at once, so the first ` +
        `${plural(length, "byte")} are mapped; any other range can be.`,
    );
  }
  const row = mapsRow(mapping.address);
  const text = row === undefined ? "no row holds the address" : formatRow(row);
  report.line(fitRow(text, columnsMax - 3));
  report.show("time to open and map", `${elapsed.toFixed(2)} ms for ${plural(length, "byte")}`);
  const use = rowUse(mapping.address);
  report.conclude(
    row !== undefined && use?.resident === 0,
    "It stands in the table, and none of its pages is in this process's page table (Rss 0 kB).",
    `Rss of the row is ${use?.resident ?? "not told"} kB right after mapping.`,
  );
  return mapping;
}

/* What is too long of a row is left out at the front of its path. */
function fitRow(text: string, width: number): string {
  const path = text.indexOf("/");
  if (path < 0 || text.length <= width) return text;
  return text.slice(0, path) + shorten(text.slice(path), width - path);
}

/* The first, the middle and the last page, as far as they are different ones. */
function placesOf(mapping: Mapping): number[] {
  const { byteLength } = mapping;
  if (byteLength === 0) return [];
  const middle = Math.floor(byteLength / 2 / pageSize) * pageSize;
  return [...new Set([0, middle, byteLength - 1])].filter(
    (place, i, all) =>
      all.findIndex((other) => Math.floor(other / pageSize) === Math.floor(place / pageSize)) === i,
  );
}

/** Reads one byte at each place; the sum keeps an engine from leaving the reading out. */
function touch(bytes: Uint8Array, places: readonly number[]): number {
  let sum = 0;
  for (const place of places) sum += bytes[place] ?? 0;
  return sum;
}

function residencyOf(mapping: Mapping): Residency | "unknown" {
  try {
    return mapping.residency();
  } catch (error) {
    if (codeOf(error) === "ERR_MEMMAP_CANNOT_TELL") return "unknown";
    throw error;
  }
}

function formatFaults({ thread, process }: Faults): string {
  const counts = [thread, process].map(({ minor, major }) => `${minor} minor, ${major} major`);
  return `${counts[0]} (the whole process: ${counts[1]})`;
}

/** Touches pages of the file and shows what that changed. */
export function showPaging(mapping: Mapping, file: TourFile, report: Report): void {
  const places = placesOf(mapping);
  report.step("Demand paging: a page comes when it is touched", "byte = address[offset]");
  report.tell(
    places.length === 0
      ? "An empty file has no byte to touch: its row is one page long, behind the end of the file."
      : `A byte is read at ${places.length === 1 ? "offset" : "the offsets"} ` +
          `${enumerate(places.map(formatCount))}. Where the page is not there the processor ` +
          "stops, the kernel brings it (a page fault), and the program goes on without noticing.",
  );
  if (places.length === 0) return;
  using meter = new FaultMeter();
  const { bytes } = mapping;
  const cachedBefore = residencyOf(mapping);
  const before = rowUse(mapping.address);
  // The engine's own work for code that runs for the first time is done on other memory before.
  let target: Uint8Array = new Uint8Array(1);
  const work = (): number => touch(target, places);
  for (let i = 0; i < warmUps; i += 1) meter.count(work);
  target = bytes;
  const faults = meter.count(work);
  const again = meter.count(work);
  const after = rowUse(mapping.address);
  const cachedAfter = residencyOf(mapping);

  report.show("page faults of this thread", formatFaults(faults));
  report.show("page faults, touched again", formatFaults(again));
  report.show(
    "resident in this process (Rss)",
    change(before?.resident ?? "?", after?.resident ?? "?", "kB"),
  );
  report.show("in the page cache (mincore)", cacheChange(cachedBefore, cachedAfter));
  report.show(
    `first ${plural(Math.min(shownBytes, bytes.length), "byte")}`,
    comparison(bytes, file),
  );
  const pages = ((after?.resident ?? 0) - (before?.resident ?? 0)) / (pageSize / 1024);
  const count = faults.thread.minor + faults.thread.major;
  report.conclude(
    count > 0 && pages > 0,
    `${plural(places.length, "byte")} read, ${plural(count, "fault")}, ` +
      `${plural(pages, "page")} mapped${around(pages, places.length)}.`,
    `${plural(count, "fault")} and ${plural(pages, "page")} were counted.`,
  );
}

function around(pages: number, touched: number): string {
  return pages > touched ? ": a fault also maps neighbours that are in memory anyway" : "";
}

function cacheChange(before: Residency | "unknown", after: Residency | "unknown"): string {
  if (before === "unknown" || after === "unknown") {
    return "not told to a user who neither owns the file nor may write it";
  }
  const counts = change(formatCount(before.residentCount), formatCount(after.residentCount));
  return `${counts} of ${plural(after.pageCount, "page")}, whoever brought them`;
}

function comparison(bytes: Uint8Array, file: TourFile): string {
  const mapped = Buffer.from(bytes.subarray(0, shownBytes));
  const printable = mapped.toString("latin1").replace(/[^ -~]/g, ".");
  const same = mapped.equals(file.head(mapped.length));
  return `"${printable}" through memory; read(2) gives ${same ? "the same" : "OTHER bytes"}`;
}
