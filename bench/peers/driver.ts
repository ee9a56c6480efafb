// What the comparison wants of a library: to map, and whatever else of the life of a mapping it
// offers. Each library has one driver (drivers.ts), so that the cells are written once.

import type { Abuse, Cell, Stage } from "../../test/crash/matrix.js";

/** What is to be mapped; plain data, since a worker may map the same once more. */
export interface Wanted {
  /** The file; undefined for anonymous memory. */
  readonly path: string | undefined;
  /** In bytes, not a multiple of the page size. */
  readonly offset: number;
  readonly byteLength: number;
  readonly protection: "none" | "read" | "read-write";
  /** Of huge pages, which are not reserved. */
  readonly isHuge: boolean;
  /** Nobody will hold what map() returns and ask it. */
  readonly isLeftAlone: boolean;
}

/** A mapping of some library. What the library has no way to do is not there. */
export interface Memory {
  /** Exactly what was wanted. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly shared?: SharedArrayBuffer | undefined;
  /** Unmaps, or throws because of a pin. */
  close?(): void;
  /** Gives it another length; what it returns stands for it from now on. */
  resize?(byteLength: number): Memory;
  /** Forbids every touch of a range. */
  forbid?(offset: number, byteLength: number): void;
  pin?(): void;
  /** Plain data by which a worker has the same memory. */
  handle?(): unknown;
  /** Whether the library tells of an error at this memory that was not thrown at the touch. */
  isTold?(): boolean;
  /** Makes pages bad again that the library has repaired. */
  renew?(): void;
}

/** A library, loaded. */
export interface Library {
  map(wanted: Wanted): Memory;
  /** The memory behind a handle; without it, a worker maps the same once more. */
  attach?(handle: unknown): Memory;
  /** Whether it has told the process of an error since this was last asked. */
  isHeard?(): boolean;
}

export interface Driver {
  /** What the library has no way to do, and why. */
  readonly lacks: Readonly<Partial<Record<Stage | Abuse, string>>>;
  /** Protections are given when memory is mapped, and stay. */
  readonly isFixed: boolean;
  /** Loads the library; `folder` is where npm has installed it. */
  load(folder: string): Promise<Library>;
}

/** Why a library has no such cell; undefined when it has. */
export function lackOf({ lacks }: Driver, { stage, abuse }: Cell): string | undefined {
  return lacks[stage] ?? lacks[abuse];
}
