// Random arguments of the raw door's calls: what fits, what nearly fits, and what never does.
// Addresses are told as places (of ours, near ours, of others, of nobody), which random-child.ts
// finds in the process when the call is made.
//
// Left out are the exceptions that the documents name, and what would harm the machine instead of
// the process:
//   - exhausting memory: what is brought in, locked or collapsed at once is at most `filledMax`
//     bytes, and a mapping that fits an address space has at most `mappedMax`;
//   - mlockall with MCL_CURRENT, and what MCL_FUTURE would lock: V8 ends the process when it cannot
//     give back what is locked, so the latter is ended in the same moment;
//   - machine code: no view is ever jumped to;
//   - MADV_HWPOISON and MADV_SOFT_OFFLINE, which take memory away from the machine;
//   - /dev/mem and descriptors of the runtime's own, whose content belongs to somebody else;
//   - mseal beyond a few pages, which stay for as long as the process.

import fc from "fast-check";
import * as raw from "memmap/raw";

/** What one call may bring into memory. */
export const filledMax: number = 2 ** 20;

/** What one mapping may have: a few dozen of them leave the engine its addresses. */
export const mappedMax: number = 2 ** 38;

/** A value as given, or a place in the process; `pick` chooses among those that there are. */
export type Place =
  | { readonly of: "value"; readonly value: unknown }
  | {
      readonly of: "ours" | "heap" | "stack" | "libc" | "other" | "hole";
      readonly pick: number;
      readonly page: number;
      readonly byte: number;
    };

const pages = 4096;

/** Values that are no size, address, number or text that a call could take. */
const bad: fc.Arbitrary<unknown> = fc.constantFrom(
  ...[undefined, "4096", 1.5, Number.NaN, Number.POSITIVE_INFINITY, -1, -1n, 2n ** 64n],
  ...[2 ** 53, -(2 ** 53), {}, [], true, Symbol.iterator, () => 4096],
);

/** Mostly good, sometimes bad. */
function mostly<T>(good: fc.Arbitrary<T>): fc.Arbitrary<unknown> {
  return fc.oneof({ arbitrary: good, weight: 30 }, { arbitrary: bad, weight: 1 });
}

const exact: fc.Arbitrary<unknown> = fc.constantFrom(
  ...[null, 0n, 1n, 4096n, 65_536n, 2n ** 31n, 2n ** 47n - 4096n, 2n ** 47n, 2n ** 56n],
  ...[2n ** 63n, 2n ** 64n - 4096n, 2n ** 64n - 1n],
);

const found = fc.record({
  of: fc.constantFrom("ours", "ours", "ours", "ours", "heap", "stack", "libc", "other", "hole"),
  pick: fc.nat(1000),
  page: fc.oneof({ arbitrary: fc.integer({ min: -3, max: 12 }), weight: 4 }, fc.constant(0)),
  byte: fc.constantFrom(0, 0, 0, 0, 0, 0, 1, 4095),
} as const);

const ours = found.map((place) => ({ ...place, of: "ours" as const, byte: 0 }));

/** An address of any kind. */
export const address: fc.Arbitrary<Place> = fc.oneof(
  { arbitrary: found, weight: 8 },
  { arbitrary: exact.map((value) => ({ of: "value" as const, value })), weight: 1 },
  { arbitrary: mostly(exact).map((value) => ({ of: "value" as const, value })), weight: 1 },
);

/** An address that is likely to be good. */
export const likely: fc.Arbitrary<Place> = fc.oneof(
  { arbitrary: ours, weight: 3 },
  { arbitrary: address, weight: 1 },
);

/** The address of a mapping to be made. */
export const wanted: fc.Arbitrary<Place> = fc.oneof(
  { arbitrary: fc.constant({ of: "value" as const, value: null }), weight: 2 },
  { arbitrary: address, weight: 1 },
);

const small = fc.integer({ min: 0, max: 16 }).map((count) => count * pages);
const odd = fc.constantFrom(0, 1, 4095, 4097, 2 ** 21, 2 ** 21 + 1);
const huge = fc.constantFrom(2n ** 47n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 4096n, 2n ** 64n - 1n);

function eitherKind(sizes: fc.Arbitrary<number>): fc.Arbitrary<number | bigint> {
  return fc
    .tuple(sizes, fc.boolean())
    .map(([size, isBigint]) => (isBigint && Number.isSafeInteger(size) ? BigInt(size) : size));
}

/** A length that a call may bring into memory, or one that no process has. */
export const filled: fc.Arbitrary<unknown> = mostly(
  fc.oneof(
    { arbitrary: eitherKind(small), weight: 8 },
    { arbitrary: eitherKind(fc.constantFrom(0, 1, 4095, 4097, filledMax)), weight: 2 },
    { arbitrary: huge, weight: 1 },
  ),
);

/** A length of any kind, for calls that bring nothing in. */
export const length: fc.Arbitrary<unknown> = mostly(
  fc.oneof(
    { arbitrary: eitherKind(small), weight: 8 },
    { arbitrary: eitherKind(odd), weight: 2 },
    { arbitrary: eitherKind(fc.constantFrom(2 ** 30, mappedMax)), weight: 1 },
    { arbitrary: huge, weight: 1 },
  ),
);

/** A number as it stands, or any of 32 bits, or none. */
export function bits(...known: readonly (number | undefined)[]): fc.Arbitrary<unknown> {
  const some = known.filter((value) => value !== undefined);
  const together = fc.subarray(some).map((list) => list.reduce((all, one) => all | one, 0));
  return fc.oneof(
    { arbitrary: fc.constantFrom(...some), weight: 6 },
    { arbitrary: together, weight: 3 },
    { arbitrary: mostly(fc.integer()), weight: 1 },
  );
}

export const protection: fc.Arbitrary<unknown> = fc.oneof(
  { arbitrary: fc.constantFrom(0, 1, 3, 3, 3, 7), weight: 6 },
  { arbitrary: bits(2, 4, 5, raw.PROT_SEM, raw.PROT_GROWSDOWN, raw.PROT_GROWSUP), weight: 1 },
);

const modifiers: readonly number[] = [
  ...[raw.MAP_FIXED, raw.MAP_FIXED_NOREPLACE, raw.MAP_GROWSDOWN, raw.MAP_HUGETLB, raw.MAP_LOCKED],
  ...[raw.MAP_NONBLOCK, raw.MAP_NORESERVE, raw.MAP_POPULATE, raw.MAP_STACK, raw.MAP_SYNC],
  ...[raw.MAP_DENYWRITE, raw.MAP_EXECUTABLE, raw.MAP_UNINITIALIZED, raw.MAP_32BIT ?? 0],
  ...[21 << 26, 30 << 26, 12 << 26, raw.MAP_ABOVE4G ?? 0],
];

/** A sharing, mostly one, with any number of other flags. */
export const mapFlags: fc.Arbitrary<unknown> = fc.oneof(
  {
    arbitrary: fc
      .tuple(
        fc.constantFrom(1, 2, 2, 2, 3, 8, 0, 15),
        fc.constantFrom(raw.MAP_ANONYMOUS, raw.MAP_ANONYMOUS, 0),
        fc.constantFrom(0, 0, raw.MAP_FIXED, raw.MAP_FIXED_NOREPLACE),
        fc.subarray([...modifiers], { maxLength: 2 }),
      )
      .map(([sharing, kind, fixed, more]) =>
        more.reduce((all, one) => all | one, sharing | kind | fixed),
      ),
    weight: 12,
  },
  { arbitrary: mostly(fc.integer()), weight: 1 },
);

/** Which of the child's descriptors, or a number that is none. */
export const descriptor: fc.Arbitrary<unknown> = fc.oneof(
  { arbitrary: fc.nat(11).map((pick) => ({ pick })), weight: 8 },
  { arbitrary: fc.constantFrom(-1, -2, 2 ** 20, 2 ** 31 - 1, -(2 ** 31), -100), weight: 2 },
  { arbitrary: bad, weight: 1 },
);

export const offset: fc.Arbitrary<unknown> = mostly(
  fc.oneof(
    { arbitrary: eitherKind(small), weight: 6 },
    fc.constantFrom<number | bigint>(1, -4096, 2n ** 63n - 4096n, -(2n ** 63n), 2 ** 44, 2n ** 43n),
  ),
);

const poisons = [raw.MADV_HWPOISON, raw.MADV_SOFT_OFFLINE];

/** Every number that is an advice, and others. */
export const advice: fc.Arbitrary<unknown> = fc
  .oneof(
    { arbitrary: fc.integer({ min: 0, max: 30 }), weight: 8 },
    { arbitrary: fc.constantFrom(raw.MADV_GUARD_INSTALL, raw.MADV_GUARD_REMOVE), weight: 2 },
    { arbitrary: mostly(fc.integer({ min: -2, max: 300 })), weight: 1 },
  )
  .filter((value) => !poisons.some((poison) => value === poison));

export const text: fc.Arbitrary<unknown> = mostly(
  fc.oneof(
    fc.constantFrom("", "/", "..", "a\0b", "x".repeat(249), "x".repeat(300), "😀"),
    fc.string({ maxLength: 20 }),
  ),
);

/** A small number to choose with. */
export const choice: fc.Arbitrary<number> = fc.nat(10_000);
