/**
 * What the kernel tells about this process under /proc/self: its table of mappings, the memory that
 * each row uses, and the page-fault counters.
 */
import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { pageSize } from "../index.js";
import { entryAt, type MapsEntry, parseMaps, parseMapsLine } from "../proc-maps.js";

/** The rows of /proc/self/maps, by address. */
export function mapsRows(): MapsEntry[] {
  return parseMaps(readFileSync("/proc/self/maps", "utf8"));
}

/** The row of /proc/self/maps that holds an address. */
export function mapsRow(address: bigint): MapsEntry | undefined {
  return entryAt(mapsRows(), address);
}

/** A row as the kernel prints it. */
export function formatRow(row: MapsEntry): string {
  const offset = row.offset.toString(16).padStart(8, "0");
  const range = `${row.start.toString(16)}-${row.end.toString(16)}`;
  return `${range} ${row.permissions} ${offset} ${row.device} ${row.inode} ${row.name}`.trimEnd();
}

/** The memory behind one row, in the kernel's kB of 1024 bytes. */
export interface RowUse {
  /** Pages of it that are in memory and in this process's page table (Rss). */
  readonly resident: number;
  /** Pages that belong to no file (Anonymous). */
  readonly anonymous: number;
  /** Changed pages that storage does not have yet (Shared_Dirty + Private_Dirty). */
  readonly dirty: number;
  /** Changed pages that only this process has (Private_Dirty). */
  readonly privateDirty: number;
}

/** What /proc/self/smaps tells about the row that holds an address; undefined for no such row. */
export function rowUse(address: bigint): RowUse | undefined {
  const lines = readFileSync("/proc/self/smaps", "utf8").split("\n");
  const first = lines.findIndex((line) => {
    const row = parseMapsLine(line);
    return row !== undefined && row.start <= address && address < row.end;
  });
  if (first < 0) return undefined;
  const fields = new Map<string, number>();
  for (const line of lines.slice(first + 1)) {
    const field = /^(\w+): +(\d+) kB$/.exec(line);
    if (field !== null) fields.set(field[1] ?? "", Number(field[2]));
    else if (parseMapsLine(line) !== undefined) break;
  }
  const kB = (name: string): number => fields.get(name) ?? Number.NaN;
  return {
    resident: kB("Rss"),
    anonymous: kB("Anonymous"),
    dirty: kB("Shared_Dirty") + kB("Private_Dirty"),
    privateDirty: kB("Private_Dirty"),
  };
}

/** How many pages of a range are in this process's page table; undefined where that is not told. */
export function presentPages(start: bigint, pageCount: number): number | undefined {
  const entryBytes = 8;
  const entries = new BigUint64Array(pageCount);
  try {
    const fd = openSync("/proc/self/pagemap", "r");
    try {
      const bytes = new Uint8Array(entries.buffer);
      const position = (start / BigInt(pageSize)) * BigInt(entryBytes);
      const count = readSync(fd, bytes, 0, bytes.length, position);
      if (count < bytes.length) return undefined;
    } finally {
      closeSync(fd);
    }
  } catch {
    return undefined;
  }
  return entries.reduce((sum, entry) => sum + Number(entry >> 63n), 0);
}

/** Page faults during a piece of work. */
export interface Faults {
  /** Of this thread, which did the work. */
  readonly thread: FaultCount;
  /** Of the process, whose other threads go on meanwhile. */
  readonly process: FaultCount;
}

/** Page faults without and with waiting for storage. */
export interface FaultCount {
  readonly minor: number;
  readonly major: number;
}

/* The name in the second field may hold anything, so counting begins behind its last bracket. */
function parseFaults(stat: string): FaultCount {
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return { minor: Number(fields[7]), major: Number(fields[9]) };
}

/** One of the counters: a file of /proc, read into memory that is there before. */
class FaultCounter {
  readonly #fd: number;
  readonly #before: Buffer = Buffer.alloc(2048, 1);
  readonly #after: Buffer = Buffer.alloc(2048, 1);

  constructor(path: string) {
    this.#fd = openSync(path, "r");
  }

  begin(): void {
    readSync(this.#fd, this.#before, 0, this.#before.length, 0);
  }

  end(): void {
    readSync(this.#fd, this.#after, 0, this.#after.length, 0);
  }

  get count(): FaultCount {
    const before = parseFaults(this.#before.toString("latin1"));
    const after = parseFaults(this.#after.toString("latin1"));
    return { minor: after.minor - before.minor, major: after.major - before.major };
  }

  close(): void {
    closeSync(this.#fd);
  }
}

/** Counts page faults during a piece of work; the counting itself adds as little as it can. */
export class FaultMeter {
  readonly #process = new FaultCounter("/proc/self/stat");
  readonly #thread = new FaultCounter("/proc/thread-self/stat");

  constructor() {
    for (let i = 0; i < 3; i += 1) this.count(() => undefined);
  }

  count(work: () => void): Faults {
    this.#process.begin();
    this.#thread.begin();
    work();
    this.#thread.end();
    this.#process.end();
    return { thread: this.#thread.count, process: this.#process.count };
  }

  [Symbol.dispose](): void {
    this.#process.close();
    this.#thread.close();
  }
}
