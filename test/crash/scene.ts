// One scene for each cell: a file, a mapping of it between two neighbours with known bytes, and
// what can be done to them. A scene knows what must still be true of the neighbours and the file
// when the touching is over.

import { randomFillSync } from "node:crypto";
import { readFileSync, statSync, truncateSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Mapping, mapAnonymous, mapFileSync, type Protection, pageSize } from "memmap";
import type { Abuse } from "./matrix.js";
import { content } from "./way.js";

const filePages = 8;
/** Where a mapping begins in its file: inside a page, so that offsets are not page offsets. */
const fileOffset = 512;
const hugePage = 2 * 2 ** 20;

const largeLength = 4 * 2 ** 20;

/** The window that is touched: two whole pages inside the mapping. */
export const windowLength: number = 2 * pageSize;

/** What is around a mapping, and stays when the mapping is dropped. */
export interface Place {
  readonly abuse: Abuse;
  /** The address of the first byte of the mapping when it was made. */
  readonly address: bigint;
  /** Where the window begins, in bytes of the mapping. */
  readonly windowStart: number;
  readonly windowLength: number;
  /** The file behind it; undefined for anonymous memory. */
  readonly path: string | undefined;
  readonly neighbours: readonly Mapping[];
  /** Whether the kernel gave the places that put the neighbours side by side with the mapping. */
  readonly adjacent: boolean;
}

export interface Scene extends Place {
  readonly mapping: Mapping;
}

interface ScenePlan {
  readonly abuse: Abuse;
  readonly faults: "throw" | "collect";
  readonly folder: string;
  readonly index: number;
  /** Maps another length at first, for those that resize. */
  readonly small: boolean;
}

/* Asks the kernel for three places in a row, and gives them back before they are used. */
function threePlaces(byteLength: number): readonly bigint[] {
  const row = mapAnonymous(3 * byteLength);
  const first = row.address;
  row.close();
  return [first, first + BigInt(byteLength), first + BigInt(2 * byteLength)];
}

function mapTarget(plan: ScenePlan, at: bigint | undefined): Mapping {
  const { abuse, small, faults } = plan;
  if (abuse === "huge-pool") {
    return mapAnonymous(hugePage, { hugePages: hugePage, reserve: false, faults });
  }
  if (abuse === "close-meanwhile") return mapLarge(faults);
  const protection: Protection = abuse === "read-only" ? "read" : "read-write";
  const path = pathOf(plan);
  if (abuse === "disk-full") {
    writeFileSync(path, "");
    truncateSync(path, filePages * pageSize);
  } else {
    writeFileSync(path, Buffer.alloc(filePages * pageSize, content));
  }
  const pages = small ? filePages - 2 : filePages;
  const length = pages * pageSize - fileOffset;
  return mapFileSync(path, { offset: fileOffset, length, protection, faults, at });
}

/* Enough for an operation of the runtime to be still at it when the mapping goes. */
function mapLarge(faults: ScenePlan["faults"]): Mapping {
  const mapping = mapAnonymous(largeLength, { faults });
  /* What cannot be compressed takes a compressor many turns. */
  randomFillSync(mapping.bytes);
  return mapping;
}

function pathOf({ folder, index }: ScenePlan): string {
  return join(folder, `scene-${process.pid}-${index}.bin`);
}

/** Makes a scene; protections that belong to the abuse are in place already. */
export function makeScene(plan: ScenePlan): Scene {
  const { abuse } = plan;
  const isAnonymous = abuse === "huge-pool" || abuse === "close-meanwhile";
  const [low, middle, high] = threePlaces(filePages * pageSize);
  const below = mapAnonymous(filePages * pageSize, { at: low });
  const mapping = mapTarget(plan, middle);
  const above = mapAnonymous(filePages * pageSize, { at: high });
  const neighbours = [below, above];
  for (const neighbour of neighbours) neighbour.bytes.fill(0x6e);
  const start = isAnonymous ? 0 : fileOffset;
  const adjacent =
    below.address === low &&
    mapping.address === (middle ?? 0n) + BigInt(start) &&
    above.address === high;
  const isLarge = abuse === "close-meanwhile";
  const windowStart = isLarge ? 0 : 3 * pageSize - start;
  const length = isLarge ? largeLength : windowLength;
  if (abuse === "none") forbid(mapping, windowStart);
  const path = isAnonymous ? undefined : pathOf(plan);
  const { address } = mapping;
  const window = { windowStart, windowLength: length };
  return { abuse, address, mapping, ...window, path, neighbours, adjacent };
}

/** Forbids every touch of the window. */
export function forbid(mapping: Mapping, windowStart: number): void {
  mapping.protect("none", { offset: windowStart, length: windowLength });
}

/** A scene without its mapping. */
export function placeOf({ mapping: _, ...place }: Scene): Place {
  return place;
}

/** Gives a mapping another length. */
export function resize({ mapping, path }: Scene): void {
  mapping.resize(path === undefined ? 2 * largeLength : filePages * pageSize - fileOffset);
}

/** The window of a buffer over the whole mapping. */
export function windowOf(scene: Place, buffer: ArrayBufferLike): Uint8Array<ArrayBufferLike> {
  return new Uint8Array(buffer, scene.windowStart, scene.windowLength);
}

/** What is done to the file before it is touched. */
export function commit({ abuse, path }: Place): void {
  if (path === undefined) return;
  if (abuse === "truncate-part") truncateSync(path, pageSize + 100);
  if (abuse === "truncate-zero") truncateSync(path, 0);
  if (abuse === "delete") unlinkSync(path);
}

/** Closes a mapping; a pinned one refuses. */
export function closeOrRefuse(mapping: Mapping): void {
  try {
    mapping.close();
  } catch (error) {
    const isRefused = error instanceof Error && Reflect.get(error, "code") === "ERR_MEMMAP_PINNED";
    if (!isRefused) throw error;
  }
}

const lengthAfter: Readonly<Partial<Record<Abuse, number>>> = {
  "truncate-part": pageSize + 100,
  "truncate-zero": 0,
};

/** What is no longer as it must be, in words; empty when all is well. */
export function damage(scene: Place, mayWrite: boolean): string[] {
  const found: string[] = [];
  const whole = Buffer.alloc(filePages * pageSize, 0x6e);
  for (const [i, neighbour] of scene.neighbours.entries()) {
    if (!whole.equals(neighbour.bytes)) found.push(`the neighbour ${i} has changed`);
  }
  const { path, abuse } = scene;
  if (path === undefined || abuse === "delete") return found;
  const size = statSync(path).size;
  const wanted = lengthAfter[abuse] ?? filePages * pageSize;
  if (size !== wanted) found.push(`the file has ${size} bytes, not ${wanted}`);
  const kept = mayWrite ? pageSize : size;
  const file = readFileSync(path).subarray(0, kept);
  const expected = Buffer.alloc(file.length, abuse === "disk-full" ? 0 : content);
  if (!file.equals(expected)) found.push("the file has changed where nobody may write");
  return found;
}
