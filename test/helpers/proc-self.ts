// What the kernel says about this process: its areas, its descriptors, its counters. Parsed here
// and not by the library, so that a test never asks what it tests.

import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, readSync } from "node:fs";
import { pageSize } from "memmap";

/** One row of /proc/PID/maps. */
export interface Area {
  readonly start: bigint;
  readonly end: bigint;
  /** As the kernel writes it: "rw-s". */
  readonly permissions: string;
  readonly offset: bigint;
  readonly inode: bigint;
  readonly name: string;
}

/** How much a process holds. */
export interface Holdings {
  /** Descriptors of files and memory objects; runtimes open sockets of their own at any time. */
  readonly descriptors: number;
  readonly areas: number;
  /** The bytes of its whole address space. */
  readonly virtualBytes: number;
}

/** The areas of an address space, by address. */
export function areasOf(pid: number | "self" = "self"): Area[] {
  const text = readFileSync(`/proc/${pid}/maps`, "utf8");
  return text.split("\n").filter(Boolean).map(parseArea);
}

function parseArea(line: string): Area {
  const [range = "", permissions = "", offset = "", , inode = "", ...name] = line.split(/ +/);
  const [start = "", end = ""] = range.split("-");
  return {
    start: BigInt(`0x${start}`),
    end: BigInt(`0x${end}`),
    permissions,
    offset: BigInt(`0x${offset}`),
    inode: BigInt(inode),
    name: name.join(" "),
  };
}

/** The area that holds an address; undefined where nothing is mapped. */
export function areaAt(address: bigint): Area | undefined {
  return areasOf().find((area) => area.start <= address && address < area.end);
}

/** The permissions of the area at an address, as the kernel writes them; "" for none. */
export function permissionsAt(address: bigint): string {
  return areaAt(address)?.permissions ?? "";
}

/** The areas that show a file or object with this text in their name. */
export function areasNamed(text: string): Area[] {
  return areasOf().filter((area) => area.name.includes(text));
}

/** A field of /proc/self/smaps for the area at an address: kibibytes, or the text of VmFlags. */
export function smapsAt(address: bigint, field: string): string {
  let inside = false;
  for (const line of readFileSync("/proc/self/smaps", "utf8").split("\n")) {
    const header = /^([0-9a-f]+)-([0-9a-f]+) /.exec(line);
    if (header !== null) {
      inside = BigInt(`0x${header[1]}`) <= address && address < BigInt(`0x${header[2]}`);
    } else if (inside && line.startsWith(`${field}:`)) {
      return line.slice(field.length + 1).trim();
    }
  }
  throw new Error(`no ${field} for an area at 0x${address.toString(16)}`);
}

/** A number of kibibytes in /proc/self/smaps for the area at an address, in bytes. */
export function smapsBytesAt(address: bigint, field: string): number {
  return Number.parseInt(smapsAt(address, field), 10) * 1024;
}

/** The two-letter flags of the area at an address: "rd", "sh", "gd" ... */
export function flagsAt(address: bigint): string[] {
  return smapsAt(address, "VmFlags").split(" ");
}

/** What the page tables of this process say of a range of pages. */
export interface PageTable {
  /** Pages that are mapped now. */
  readonly present: number;
  /** Those of them that belong to no file and no shared object. */
  readonly anonymous: number;
}

/**
 * The page tables behind a number of pages: exact, where the counters of an area may count those of
 * neighbours that the kernel has merged with it.
 */
export function pageTable(address: bigint, pageCount: number): PageTable {
  const entries = new BigUint64Array(pageCount);
  const fd = openSync("/proc/self/pagemap", "r");
  const position = Number(address / BigInt(pageSize)) * 8;
  readSync(fd, new Uint8Array(entries.buffer), 0, entries.byteLength, position);
  closeSync(fd);
  const present = [...entries].filter((entry) => entry >> 63n === 1n);
  const anonymous = present.filter((entry) => ((entry >> 61n) & 1n) === 0n);
  return { present: present.length, anonymous: anonymous.length };
}

/** A number of kibibytes in /proc/PID/status, in bytes. */
export function statusBytes(field: string, pid: number | "self" = "self"): number {
  const text = readFileSync(`/proc/${pid}/status`, "utf8");
  const found = new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(text);
  if (found === null) throw new Error(`no ${field} in /proc/${pid}/status`);
  return Number(found[1]) * 1024;
}

/** The descriptors of this process and what each one is, where that can be read. */
export function descriptors(): Map<number, string> {
  const found = new Map<number, string>();
  for (const name of readdirSync("/proc/self/fd")) {
    try {
      found.set(Number(name), readlinkSync(`/proc/self/fd/${name}`));
    } catch {
      // The one that listed the folder is closed by now.
    }
  }
  return found;
}

/** The descriptors whose file has this text in its name. */
export function descriptorsNamed(text: string): number[] {
  return [...descriptors()].filter(([, name]) => name.includes(text)).map(([fd]) => fd);
}

/** What this process holds now. */
export function holdings(): Holdings {
  return {
    descriptors: descriptorsNamed("/").length,
    areas: areasOf().length,
    virtualBytes: statusBytes("VmSize"),
  };
}
