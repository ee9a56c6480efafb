// One scene for each cell: a file, a mapping of it between two neighbours with known bytes, and
// what can be done to them. A scene knows what must still be true of the neighbours and the file
// when the touching is over.

import { randomFillSync } from "node:crypto";
import { join } from "node:path";
import { type Mapping, mapAnonymous, mapFileSync, type Protection } from "memmap";
import type { Abuse } from "./matrix.js";
import {
  commitTo,
  damageOf,
  fileLength,
  fileOffset,
  foreign,
  hugePage,
  isAnonymous,
  largeLength,
  makeFile,
  mappedLength,
  smallLength,
  type Window,
  windowLength,
  windowOfAbuse,
} from "./place.js";

/** What is around a mapping, and stays when the mapping is dropped. */
export interface Place extends Window {
  readonly abuse: Abuse;
  /** The address of the first byte of the mapping when it was made. */
  readonly address: bigint;
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
  makeFile(path, abuse);
  const length = small ? smallLength : mappedLength;
  return mapFileSync(path, { offset: fileOffset, length, protection, faults, at });
}

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
  const [low, middle, high] = threePlaces(fileLength);
  const below = mapAnonymous(fileLength, { at: low });
  const mapping = mapTarget(plan, middle);
  const above = mapAnonymous(fileLength, { at: high });
  const neighbours = [below, above];
  for (const neighbour of neighbours) neighbour.bytes.fill(foreign);
  const isFile = !isAnonymous(abuse);
  const start = isFile ? fileOffset : 0;
  const adjacent =
    below.address === low &&
    mapping.address === (middle ?? 0n) + BigInt(start) &&
    above.address === high;
  const window = windowOfAbuse(abuse);
  if (abuse === "none") forbid(mapping, window.windowStart);
  const path = isFile ? pathOf(plan) : undefined;
  const { address } = mapping;
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
  mapping.resize(path === undefined ? 2 * largeLength : mappedLength);
}

/** The window of a buffer over the whole mapping. */
export function windowOf(scene: Place, buffer: ArrayBufferLike): Uint8Array<ArrayBufferLike> {
  return new Uint8Array(buffer, scene.windowStart, scene.windowLength);
}

/** What is done to the file before it is touched. */
export function commit({ abuse, path }: Place): void {
  commitTo(path, abuse);
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

/** What is no longer as it must be, in words; empty when all is well. */
export function damage({ neighbours, path, abuse }: Place, mayWrite: boolean): string[] {
  const whole = Buffer.alloc(fileLength, foreign);
  const changed = neighbours.flatMap(({ bytes }, i) =>
    whole.equals(bytes) ? [] : [`the neighbour ${i} has changed`],
  );
  return [...changed, ...damageOf(path, abuse, mayWrite)];
}
