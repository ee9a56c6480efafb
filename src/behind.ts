/**
 * Finds the file that is mapped at an address of this process, so that a fault of memory without a
 * mapping object can ask it. The kernel names it in /proc/self/maps by device, inode and path; each
 * way to it is checked against these, since a path may lead elsewhere by now.
 */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { entryAt, type MapsEntry, parseMaps } from "./proc-maps.js";
import type { FileIdentity } from "./source.js";

/** A file, and where in it an address is. */
export interface FileBehind {
  readonly identity: FileIdentity;
  /** Bytes from the beginning of the file. */
  readonly position: number;
  /** Made by memfd_create(2), or of huge pages without a name: no storage but memory. */
  readonly isMemory: boolean;
}

/* "major:minor" in hexadecimal digits, as /proc writes a device number of the C library. */
function deviceText(device: bigint): string {
  const major = ((device >> 8n) & 0xfffn) | ((device >> 32n) & ~0xfffn);
  const minor = (device & 0xffn) | ((device >> 12n) & 0xffffff00n);
  return [major, minor].map((part) => part.toString(16).padStart(2, "0")).join(":");
}

function nameOf(entry: MapsEntry): string {
  return entry.name.replaceAll("\\012", "\n");
}

/* The kernel's own link needs a right (CAP_CHECKPOINT_RESTORE), the path may lead elsewhere, and a
   file in memory has none but the descriptors that stand open. */
function* waysTo(entry: MapsEntry): Generator<string> {
  const range = `${entry.start.toString(16)}-${entry.end.toString(16)}`;
  yield `/proc/self/map_files/${range}`;
  if (entry.name.startsWith("/")) yield nameOf(entry);
  for (const fd of readdirSync("/proc/self/fd")) yield `/proc/self/fd/${fd}`;
}

/* Some file systems show another device in maps than to stat(2): there the path must do. */
function leadsTo(entry: MapsEntry, path: string): FileIdentity | undefined {
  try {
    const { dev, ino, size } = statSync(path, { bigint: true });
    const isSame = deviceText(dev) === entry.device || !path.startsWith("/proc/self/fd/");
    if (ino !== entry.inode || !isSame) return undefined;
    return { path: undefined, absolute: path, dev, ino, size: Number(size) };
  } catch {
    return undefined;
  }
}

/** The file behind an address; undefined where there is none, or none that can be found. */
export function fileBehind(address: bigint): FileBehind | undefined {
  try {
    const entry = entryAt(parseMaps(readFileSync("/proc/self/maps", "latin1")), address);
    if (entry === undefined || entry.inode === 0n) return undefined;
    const position = Number(entry.offset + address - entry.start);
    const isMemory = /^\/(?:memfd:|anon_hugepage)/.test(entry.name);
    for (const path of waysTo(entry)) {
      const identity = leadsTo(entry, path);
      if (identity !== undefined) return { identity, position, isMemory };
    }
  } catch {
    // A runtime that may not read /proc cannot tell.
  }
  return undefined;
}
