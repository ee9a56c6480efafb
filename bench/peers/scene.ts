// One scene for each cell, made with the driver of a library: the file, the mapping between two
// others, and the view that is touched. The others show one file; whoever touches foreign memory
// reads its bytes or changes them.

import { randomFillSync } from "node:crypto";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Cell, mayWrite } from "../../test/crash/matrix.js";
import {
  commitTo,
  contentOf,
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
  windowOfAbuse,
} from "../../test/crash/place.js";
import type { View } from "../../test/crash/way.js";
import type { Library, Memory, Wanted } from "./driver.js";
import type { Before } from "./verdict.js";

/** The library of this process, and where its files are. */
export interface Setting {
  readonly library: Library;
  /** Protections are given when memory is mapped. */
  readonly isFixed: boolean;
  readonly folder: string;
  readonly work: string;
}

export interface Scene extends Window {
  readonly cell: Cell;
  readonly path: string | undefined;
  readonly wanted: Wanted;
  /** What the whole buffer held before it was touched. */
  readonly before: Before;
  /** The mapping; gone when the stage is to drop it. */
  memory: Memory | undefined;
  /** The mappings of the other file. */
  readonly others: Memory[];
  isClosed: boolean;
  /** Where the bytes begin in their buffer, which a detached one no longer tells. */
  skipped: number;
}

function otherPath({ work }: Setting): string {
  return join(work, "other.bin");
}

/** Makes the file of the others; once in each process. */
export function makeOther(setting: Setting): void {
  writeFileSync(otherPath(setting), Buffer.alloc(fileLength, foreign));
}

function mapOther(setting: Setting): Memory {
  return setting.library.map({
    path: otherPath(setting),
    offset: 0,
    byteLength: fileLength,
    protection: "read-write",
    isHuge: false,
    isLeftAlone: false,
  });
}

function lengthOf({ stage, abuse }: Cell): number {
  if (abuse === "huge-pool") return hugePage;
  if (abuse === "close-meanwhile") return largeLength;
  return stage === "resized" ? smallLength : mappedLength;
}

function wantedOf(cell: Cell, path: string | undefined, isFixed: boolean): Wanted {
  const { stage, abuse } = cell;
  const forbidden = abuse === "none" && isFixed ? "none" : "read-write";
  return {
    path,
    offset: path === undefined ? 0 : fileOffset,
    byteLength: lengthOf(cell),
    protection: abuse === "read-only" ? "read" : forbidden,
    isHuge: abuse === "huge-pool",
    isLeftAlone: stage === "dropped" || stage === "worker-exiting",
  };
}

let sceneCount = 0;

/** Makes a scene; protections that belong to the abuse are in place already. */
export function makeScene(cell: Cell, setting: Setting): Scene {
  const { abuse } = cell;
  const name = `cell-${process.pid}-${sceneCount++}.bin`;
  const path = isAnonymous(abuse) ? undefined : join(setting.folder, name);
  if (path !== undefined) makeFile(path, abuse);
  const wanted = wantedOf(cell, path, setting.isFixed);
  const window = windowOfAbuse(abuse);
  const below = mapOther(setting);
  const memory = setting.library.map(wanted);
  const others = [below, mapOther(setting)];
  if (abuse === "none" && cell.stage !== "resized") forbid(memory, window);
  const isRandom = abuse === "close-meanwhile";
  /* What cannot be compressed takes a compressor many turns. */
  const before = isRandom ? randomFillSync(memory.bytes).slice() : contentOf(abuse);
  const skipped = memory.bytes.byteOffset;
  return { cell, path, wanted, before, ...window, memory, others, isClosed: false, skipped };
}

function forbid(memory: Memory, { windowStart, windowLength }: Window): void {
  memory.forbid?.(windowStart, windowLength);
}

/** The mapping of a scene that has not dropped it. */
export function memoryOf({ memory }: Scene): Memory {
  if (memory === undefined) throw new Error("the mapping was dropped");
  return memory;
}

/** The view that is touched, of the mapping or of a buffer that has taken over its memory. */
export function viewOf(scene: Scene, buffer: ArrayBufferLike = memoryOf(scene).bytes.buffer): View {
  return new Uint8Array(buffer, scene.skipped + scene.windowStart, scene.windowLength);
}

/**
 * Gives the mapping its full length, or twice that when it has it already; only then is its window
 * forbidden, since the kernel moves no memory of two protections.
 */
export function resize(scene: Scene): void {
  const isLarge = scene.cell.abuse === "close-meanwhile";
  scene.memory = memoryOf(scene).resize?.(isLarge ? 2 * largeLength : mappedLength);
  scene.skipped = memoryOf(scene).bytes.byteOffset;
  if (scene.cell.abuse === "none") forbid(memoryOf(scene), scene);
}

/** Closes the mapping, which one with a pin refuses. */
export function close(scene: Scene): void {
  try {
    memoryOf(scene).close?.();
    scene.isClosed = true;
  } catch (error) {
    if (scene.cell.stage !== "pinned") throw error;
  }
}

/** Does what is done before the touch; where the mapping was closed, the program maps another. */
export function commit(scene: Scene, setting: Setting): void {
  commitTo(scene.path, scene.cell.abuse);
  if (scene.cell.abuse !== "close") return;
  close(scene);
  scene.others.push(mapOther(setting));
}

/** The file, while it has a name. */
export function fileOf({ cell, path }: Scene): string | undefined {
  return cell.abuse === "delete" ? undefined : path;
}

/** Whether bytes have changed that the touch may not reach. */
export function isDamaged({ cell, path }: Scene, setting: Setting): boolean {
  const whole = Buffer.alloc(fileLength, foreign);
  const isForeign = !whole.equals(readFileSync(otherPath(setting)));
  if (isForeign) makeOther(setting);
  return isForeign || damageOf(path, cell.abuse, mayWrite(cell)).length > 0;
}

/** Gives everything back. */
export function strike(scene: Scene): void {
  const { memory, others, path } = scene;
  if (!scene.isClosed && scene.cell.stage !== "pinned") memory?.close?.();
  for (const other of others) other.close?.();
  if (path !== undefined) rmSync(path, { force: true });
}
