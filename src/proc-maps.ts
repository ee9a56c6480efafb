/**
 * Pure: parses the lines of /proc/PID/maps (proc_pid_maps(5)).
 *
 *     7f8a3c021000-7f8a3c176000 r-xp 00021000 08:01 12345    /lib/x86_64-linux-gnu/libc.so.6
 *     start        end          perm offset   dev   inode    name, which may hold spaces
 */

/** One area of an address space. */
export interface MapsEntry {
  /** The first address. */
  readonly start: bigint;
  /** The first address behind it. */
  readonly end: bigint;
  /** Four letters: read, write, execute, and `s` for shared or `p` for private. */
  readonly permissions: string;
  /** Where in the file it begins, in bytes. */
  readonly offset: bigint;
  /** The device of the file, "major:minor" in hex. */
  readonly device: string;
  /** The inode of the file; 0 for none. */
  readonly inode: bigint;
  /** A path, a name in brackets, or "". Line feeds in paths stand as `\012`. */
  readonly name: string;
}

const line =
  /^([0-9a-f]+)-([0-9a-f]+) ([r-][w-][x-][sp]) ([0-9a-f]+) ([0-9a-f]+:[0-9a-f]+) (\d+)(?: +(.*))?$/;

/** Parses one line, without its line feed; undefined for what is no such line. */
export function parseMapsLine(text: string): MapsEntry | undefined {
  const match = line.exec(text);
  if (match === null) return undefined;
  const [, start, end, permissions, offset, device, inode, name] = match;
  return {
    start: BigInt(`0x${start}`),
    end: BigInt(`0x${end}`),
    permissions: permissions ?? "",
    offset: BigInt(`0x${offset}`),
    device: device ?? "",
    inode: BigInt(inode ?? "0"),
    name: name ?? "",
  };
}

/** Parses the whole file; lines that are none of its form are left out. */
export function parseMaps(text: string): MapsEntry[] {
  const entries: MapsEntry[] = [];
  for (const part of text.split("\n")) {
    const entry = parseMapsLine(part);
    if (entry !== undefined) entries.push(entry);
  }
  return entries;
}

/** The entry that holds an address. */
export function entryAt(entries: readonly MapsEntry[], address: bigint): MapsEntry | undefined {
  return entries.find((entry) => entry.start <= address && address < entry.end);
}
