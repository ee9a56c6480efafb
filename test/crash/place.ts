// Where a cell takes place: the file behind the mapping, what is done to it, and what must still be
// true of it afterwards. Nothing here maps, so that other libraries can be put in the same place
// (bench/peers).

import {
  closeSync,
  openSync,
  readFileSync,
  statfsSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { threadId } from "node:worker_threads";
import type { Abuse } from "./matrix.js";
import { content, type Kit, pageSize } from "./way.js";

/** The length of the file, and of each neighbour. */
export const fileLength: number = 8 * pageSize;
/** Where a mapping begins in its file: inside a page, so that offsets are not page offsets. */
export const fileOffset = 512;
/** The length of a mapping before it is resized. */
export const smallLength: number = 6 * pageSize - fileOffset;
/** The length of a mapping of a file. */
export const mappedLength: number = fileLength - fileOffset;
/** The window that is touched, as a rule: two whole pages inside the mapping. */
export const windowLength: number = 2 * pageSize;

/** The length of a mapping of one huge page. */
export const hugePage: number = 2 * 2 ** 20;
/** Enough for an operation of the runtime to be still at it when the mapping goes. */
export const largeLength: number = 4 * 2 ** 20;
/** The byte of the neighbours. */
export const foreign = 0x6e;

/* More than the tmpfs of the full disk has. */
const freeBytesMax = 64 * 2 ** 20;

/** Whether an abuse is one of memory without a file. */
export function isAnonymous(abuse: Abuse): boolean {
  return abuse === "huge-pool" || abuse === "close-meanwhile";
}

/** The bytes of a mapping that are touched. */
export interface Window {
  readonly windowStart: number;
  readonly windowLength: number;
}

/** Which bytes of the mapping an abuse lets be touched. */
export function windowOfAbuse(abuse: Abuse): Window {
  if (abuse === "close-meanwhile") return { windowStart: 0, windowLength: largeLength };
  const start = isAnonymous(abuse) ? 0 : fileOffset;
  return { windowStart: 3 * pageSize - start, windowLength };
}

/** Makes the file behind a mapping; on a full disk it has no page of its own. */
export function makeFile(path: string, abuse: Abuse): void {
  if (abuse === "disk-full") {
    writeFileSync(path, "");
    truncateSync(path, fileLength);
  } else {
    writeFileSync(path, Buffer.alloc(fileLength, content));
  }
}

/** The byte that a file, or memory without one, is filled with before it is touched. */
export function contentOf(abuse: Abuse): number {
  return abuse === "disk-full" || abuse === "huge-pool" ? 0 : content;
}

/** Does to the file what is done before it is touched. */
export function commitTo(path: string | undefined, abuse: Abuse): void {
  if (path === undefined) return;
  if (abuse === "truncate-part") truncateSync(path, pageSize + 100);
  if (abuse === "truncate-zero") truncateSync(path, 0);
  if (abuse === "delete") unlinkSync(path);
}

const lengthAfter: Readonly<Partial<Record<Abuse, number>>> = {
  "truncate-part": pageSize + 100,
  "truncate-zero": 0,
};

/** What is no longer as it must be with the file, in words; empty when all is well. */
export function damageOf(path: string | undefined, abuse: Abuse, mayWrite: boolean): string[] {
  if (path === undefined || abuse === "delete") return [];
  const found: string[] = [];
  const size = statSync(path).size;
  const wanted = lengthAfter[abuse] ?? fileLength;
  if (size !== wanted) found.push(`the file has ${size} bytes, not ${wanted}`);
  const kept = mayWrite ? pageSize : size;
  const file = readFileSync(path).subarray(0, kept);
  const expected = Buffer.alloc(file.length, contentOf(abuse));
  if (!file.equals(expected)) found.push("the file has changed where nobody may write");
  return found;
}

/**
 * Takes every free page of a small file system. A large one is somebody's disk: this program was
 * started by hand, without the tmpfs that its parent mounts.
 */
export function fillUp(folder: string): void {
  const { bavail, bsize } = statfsSync(folder);
  if (bavail * bsize > freeBytesMax) throw new Error(`${folder} is no small file system`);
  const fd = openSync(join(folder, `filler-${process.pid}`), "w");
  try {
    for (;;) writeSync(fd, Buffer.alloc(65_536));
  } catch (error) {
    if (!(error instanceof Error) || Reflect.get(error, "code") !== "ENOSPC") throw error;
  } finally {
    closeSync(fd);
  }
}

/** Makes what the ways of this thread may use, with its files in a folder. */
export function makeKit(folder: string): Kit {
  const scratch = join(folder, `scratch-${process.pid}-${threadId}`);
  writeFileSync(scratch, Buffer.alloc(windowLength, 0x42));
  const kit = {
    heap: new Uint8Array(windowLength).fill(0x41),
    folder,
    fd: openSync(scratch, "r+"),
  };
  unlinkSync(scratch);
  return kit;
}
