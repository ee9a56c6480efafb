/**
 * The step of the tour on the address space: a picture of it, the gap that a mapping took, and what
 * closing gives back, at once or when the engine has let go.
 */
import { readlinkSync } from "node:fs";
import { basename } from "node:path";
import { type Mapping, mapFileSync, pageSize } from "../index.js";
import { viewMax } from "../limits.js";
import type { MapsEntry } from "../proc-maps.js";
import { type Area, type Gap, gapAround, layoutOf, rowsWithin } from "./layout.js";
import { mapsRow, mapsRows, presentPages } from "./self.js";
import { formatSize, plural, shorten } from "./text.js";
import type { TourFile } from "./tour-file.js";
import { at, type Report } from "./tour-report.js";

const nameMax = 24;

/* The most pages that are counted one by one. */
const countedMax = 2 ** 18;

interface Range {
  readonly start: bigint;
  readonly end: bigint;
}

/* The whole pages of a mapping, one for an empty one. */
function rangeOf({ address, byteLength }: Mapping): Range {
  const page = BigInt(pageSize);
  const start = address - (address % page);
  const pages = (address - start + BigInt(byteLength) + page - 1n) / page;
  return { start, end: start + (pages > 1n ? pages : 1n) * page };
}

function sizeOf(bytes: bigint): string {
  return formatSize(Number(bytes));
}

function spanOf(area: Area): string {
  return `${plural(area.rowCount, "row")}, ${sizeOf(area.byteLength)}`;
}

function nameOf(row: MapsEntry | undefined): string {
  if (row === undefined) return "the end";
  if (row.name === "") return `unnamed ${row.permissions}`;
  return row.name.startsWith("[") ? row.name : shorten(basename(row.name), nameMax);
}

function nameOfProgram(): string {
  return readlinkSync("/proc/self/exe");
}

/* One line of the picture; the picture goes from the highest address to the lowest. */
interface Line {
  readonly place: bigint;
  readonly text: string;
}

function pictureLine(name: string, area: Area | undefined, note: string): Line[] {
  if (area === undefined) return [];
  const text = `${at(area.start)}-${at(area.end)}  ${name.padEnd(14)} ${spanOf(area)}${note}`;
  return [{ place: area.start, text }];
}

function drawPicture(rows: readonly MapsEntry[], mine: Range, report: Report): void {
  const program = nameOfProgram();
  const layout = layoutOf(rows, program);
  const own: Area = { ...mine, byteLength: mine.end - mine.start, rowCount: 1 };
  const name = basename(program);
  const inner = [
    ...pictureLine("  libraries", layout.libraries, `, ${layout.libraryCount} files`),
    ...pictureLine("  new mapping", own, "  <--"),
  ];
  const outer = [
    ...pictureLine("vdso", layout.vdso, ", code lent by the kernel"),
    ...pictureLine("stack", layout.stack, ""),
    ...pictureLine("heap", layout.heap, ", [heap]"),
    ...pictureLine("program data", layout.data, `, ${name}`),
    ...pictureLine("program text", layout.text, `, ${name}`),
  ];
  // The area of mappings stands above what lies in it.
  const { elsewhere } = layout;
  const note = elsewhere === undefined ? "" : ` (elsewhere ${spanOf(elsewhere)})`;
  const area = pictureLine("mapping area", layout.mappings, note).map(({ text }) => ({
    place: layout.mappings?.end ?? 0n,
    text,
  }));
  const lines = [...outer, ...area, ...inner];
  lines.sort((a, b) => (a.place === b.place ? 0 : a.place < b.place ? 1 : -1));
  for (const { text } of lines) report.line(text);
  if (layout.heap === undefined) {
    report.line("(no [heap]: this runtime's allocator takes all its memory by mmap)");
  }
}

function describeGap(gap: Gap | undefined): string {
  if (gap === undefined) return "none: a row lay there a moment before";
  const names = `between ${nameOf(gap.below)} and ${nameOf(gap.above)}`;
  return `${sizeOf(gap.end - gap.start)} from ${at(gap.start)}, ${names}`;
}

function describeRest(gap: Gap | undefined, mine: Range): string {
  const taken = `${sizeOf(mine.end - mine.start)} of it, from ${at(mine.start)}`;
  if (gap === undefined) return taken;
  const [below, above] = [mine.start - gap.start, gap.end - mine.end];
  if (below === 0n && above === 0n) return `${taken}: all of it`;
  if (above === 0n) return `${taken}: its upper end`;
  return below === 0n ? `${taken}: its lower end` : `${taken}: from its middle`;
}

/** The address space, and what a mapping takes of it. `viewed` is closed here. */
export function showLayout(file: TourFile, viewed: Mapping, report: Report): void {
  report.step(
    "The address space: a mapping takes a gap and gives it back",
    "/proc/self/maps, munmap",
  );
  report.tell(
    "The file is mapped once more, unseen. The process then, from its highest address " +
      "to its lowest:",
  );
  const before = mapsRows();
  const mapping = mapFileSync(file.path, { length: Math.min(file.size, viewMax) });
  const mine = rangeOf(mapping);
  const during = mapsRows();
  mapping.close();
  const after = mapsRows();
  const left = rowsWithin(after, mine);
  const gap = gapAround(before, mine);
  drawPicture(during, mine, report);
  report.show("free gap before mapping", describeGap(gap));
  report.show("the mapping took", describeRest(gap, mine));
  report.show("rows there after closing", left.length === 0 ? "none" : left.map(nameOf).join(", "));
  report.conclude(
    gap !== undefined && rowsWithin(during, mine).length > 0 && left.length === 0,
    "The mapping lay in that gap, and closing it made the addresses free again.",
    gap === undefined ? "the gap was not free." : "something lies there.",
  );
  showReserved(viewed, report);
}

/* A view may still be held by someone, so its addresses are not free at once. */
function showReserved(viewed: Mapping, report: Report): void {
  const { start, end } = rangeOf(viewed);
  viewed.close();
  const row = mapsRow(start);
  const label = "the same for step 1's mapping";
  if (row === undefined) {
    report.show(label, "no row: its addresses are free");
    return;
  }
  // The row may be one with its neighbours, so its pages are counted by themselves.
  const count = Math.min(Number((end - start) / BigInt(pageSize)), countedMax);
  const present = presentPages(start, count);
  const file = row.inode === 0n ? "no file" : row.name;
  const pages = `${present ?? "unknown"} of ${plural(count, "page")} in memory`;
  report.show(label, `a row ${row.permissions}, ${file}, ${pages}`);
  report.conclude(
    row.inode === 0n && present === 0,
    "Its bytes were looked at, so its addresses stay reserved, with no memory, until the engine " +
      "has let go: nothing else can come to lie where an old pointer may point.",
    "its addresses are still in use.",
  );
}
