// The kinds of mappings that the property test of mappings begins with: all four, on the ordinary
// file system and on tmpfs, at every alignment.

import { writeFileSync } from "node:fs";
import fc from "fast-check";
import { type Mapping, mapAnonymous, mapFileSync, pageSize } from "memmap";
import type { Kind } from "./mapping-model.js";

/** The longest mapping: a few pages are enough to have all cases, and small enough to have many. */
export const byteMax = 6 * pageSize;

/** Places near the edges of pages come as often as all others together. */
export const place = fc.oneof(
  fc.tuple(fc.nat(6), fc.integer({ min: -2, max: 2 })).map(([page, delta]) => {
    return Math.min(byteMax, Math.max(0, page * pageSize + delta));
  }),
  fc.nat(byteMax),
);

/** What an arbitrary gives. */
export type Value<T> = T extends fc.Arbitrary<infer V> ? V : never;

/** The numbers that a run begins with. */
export const start = fc.record({
  size: place,
  a: place,
  b: place,
  writable: fc.nat(3).map((n) => n > 0),
  pattern: fc.uint8Array({ minLength: 1, maxLength: 40 }),
});

export type Start = Value<typeof start>;

export interface Variant {
  readonly name: string;
  readonly backing: "anonymous" | "file";
  readonly sharing: "shared" | "private";
  readonly grow: boolean;
  /** The folder of the file. */
  readonly base?: string;
}

export const variants: readonly Variant[] = [
  { name: "private anonymous memory", backing: "anonymous", sharing: "private", grow: false },
  { name: "shared anonymous memory", backing: "anonymous", sharing: "shared", grow: false },
  ...([undefined, "/dev/shm"] as const).flatMap((base) => {
    const where = base === undefined ? "a file" : "a file on tmpfs";
    const folder = base === undefined ? {} : { base };
    return [
      { name: `${where}, private`, backing: "file", sharing: "private", grow: false, ...folder },
      { name: `${where}, shared`, backing: "file", sharing: "shared", grow: false, ...folder },
      {
        name: `${where}, shared, with grow`,
        backing: "file",
        sharing: "shared",
        grow: true,
        ...folder,
      },
    ] as const;
  }),
];

/** What one run begins with, from random numbers that mean something else for each kind. */
export function kindOf(
  { backing, sharing, grow }: Variant,
  { size, a, b, writable, pattern }: Start,
): Kind {
  const protection = writable || grow ? "read-write" : "read";
  const common = { backing, sharing, grow, protection } as const;
  if (backing === "anonymous") {
    return { ...common, offset: 0, byteLength: a, file: new Uint8Array(0) };
  }
  const file = new Uint8Array(size).map((_, i) => pattern[i % pattern.length] ?? 0);
  const [offset, end] = [Math.min(a, b, size), Math.min(Math.max(a, b), size)];
  return { ...common, offset, byteLength: end - offset, file };
}

export function mapKind(kind: Kind, path: string): Mapping {
  const { protection, sharing, offset, byteLength, grow } = kind;
  const faults = "collect";
  if (kind.backing === "anonymous")
    return mapAnonymous(byteLength, { protection, sharing, faults });
  writeFileSync(path, kind.file);
  const common = { protection, sharing, faults, offset, length: byteLength } as const;
  return mapFileSync(path, grow ? { ...common, grow } : common);
}
