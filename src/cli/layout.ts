/**
 * Pure: what the rows of /proc/PID/maps are (program, heap, libraries, stack ...), and the free
 * ranges between them.
 */
import type { MapsEntry } from "../proc-maps.js";

/** A kind of rows, with the addresses they span. */
export interface Area {
  readonly start: bigint;
  readonly end: bigint;
  /** The bytes of the rows themselves, without what lies between them. */
  readonly byteLength: bigint;
  readonly rowCount: number;
}

/** The parts of a process. What a process lacks is undefined. */
export interface Layout {
  readonly text: Area | undefined;
  readonly data: Area | undefined;
  readonly heap: Area | undefined;
  readonly libraries: Area | undefined;
  /** Where the kernel puts mappings: below the stack, without a large gap. */
  readonly mappings: Area | undefined;
  /** What the runtime put elsewhere by addresses of its own choice. */
  readonly elsewhere: Area | undefined;
  readonly stack: Area | undefined;
  readonly vdso: Area | undefined;
  /** How many libraries there are. */
  readonly libraryCount: number;
}

/** A range of addresses that no row covers. */
export interface Gap {
  readonly start: bigint;
  readonly end: bigint;
  readonly below: MapsEntry | undefined;
  readonly above: MapsEntry | undefined;
}

const libraryName = /\.so(?:[.\d]*)?$/;

function areaOf(rows: readonly MapsEntry[]): Area | undefined {
  const [first] = rows;
  const last = rows.at(-1);
  if (first === undefined || last === undefined) return undefined;
  const byteLength = rows.reduce((sum, row) => sum + (row.end - row.start), 0n);
  return { start: first.start, end: last.end, byteLength, rowCount: rows.length };
}

/* Rows of one part of a process lie close together; this much apart they are no neighbours. */
const programGap = 2n ** 30n;
const mappingGap = 2n ** 40n;

/* Rows in order, as groups with no gap of `gapMax` or more inside. */
function clusters(rows: readonly MapsEntry[], gapMax: bigint): MapsEntry[][] {
  const groups: MapsEntry[][] = [];
  for (const row of rows) {
    const last = groups.at(-1)?.at(-1);
    if (last === undefined || row.start - last.end >= gapMax) groups.push([row]);
    else groups.at(-1)?.push(row);
  }
  return groups;
}

/** Sorts the rows of a process, whose program file is `program`, into its parts. */
export function layoutOf(rows: readonly MapsEntry[], program: string): Layout {
  const isProgram = (row: MapsEntry): boolean => row.name === program;
  const named = (name: string): Area | undefined => areaOf(rows.filter((row) => row.name === name));
  // A runtime may have more of its file mapped elsewhere; the program itself lies lowest.
  const own = clusters(rows.filter(isProgram), programGap)[0] ?? [];
  const others = rows.filter((row) => !own.includes(row) && !/^\[(?!anon)/.test(row.name));
  const mappings = clusters(others, mappingGap).at(-1) ?? [];
  const libraries = others.filter((row) => !isProgram(row) && libraryName.test(row.name));
  return {
    text: areaOf(own.filter((row) => row.permissions.includes("x"))),
    data: areaOf(own.filter((row) => row.permissions.includes("w"))),
    heap: named("[heap]"),
    libraries: areaOf(libraries),
    mappings: areaOf(mappings),
    elsewhere: areaOf(others.filter((row) => !mappings.includes(row))),
    stack: named("[stack]"),
    vdso: named("[vdso]"),
    libraryCount: new Set(libraries.map((row) => row.name)).size,
  };
}

/** The gap between rows that holds a range; undefined where a row covers a part of it. */
export function gapAround(
  rows: readonly MapsEntry[],
  range: { readonly start: bigint; readonly end: bigint },
): Gap | undefined {
  if (rowsWithin(rows, range).length > 0) return undefined;
  const below = rows.filter((row) => row.end <= range.start).at(-1);
  const above = rows.find((row) => row.start >= range.end);
  return { start: below?.end ?? 0n, end: above?.start ?? range.end, below, above };
}

/** The rows that cover a part of a range. */
export function rowsWithin(
  rows: readonly MapsEntry[],
  range: { readonly start: bigint; readonly end: bigint },
): readonly MapsEntry[] {
  return rows.filter((row) => row.start < range.end && row.end > range.start);
}
