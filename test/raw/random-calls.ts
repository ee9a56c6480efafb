// The calls of the raw door, each with the random arguments that it is made with, and the touches
// of views between them.

import { ftruncateSync } from "node:fs";
import fc from "fast-check";
import * as raw from "memmap/raw";
import { callMethod, callUntyped } from "../helpers/bad-calls.js";
import {
  address,
  advice,
  bits,
  choice,
  descriptor,
  filled,
  filledMax,
  length,
  likely,
  mapFlags,
  offset,
  type Place,
  protection,
  text,
  wanted,
} from "./random-arguments.js";
import type { World } from "./random-world.js";

/** One call: its name, and what it is made with. */
export interface RandomCall {
  readonly name: string;
  readonly arguments: readonly unknown[];
}

interface Kind {
  readonly weight: number;
  readonly arguments: fc.Arbitrary<readonly unknown[]>;
  /** What the call returned; {@link skipped} where it was not made. */
  make(world: World, given: readonly unknown[]): unknown;
}

/** Stands for a call that was not made, since it would harm what later calls need. */
export const skipped: unique symbol = Symbol("skipped");

/** Pages are sealed at most so often, since they stay. */
const sealsMax = 6;
let seals = 0;

function isPlace(value: unknown): value is Place {
  return typeof value === "object" && value !== null && "of" in value;
}

/** The arguments as the call gets them: places as addresses, picks as descriptors. */
function resolved(world: World, given: readonly unknown[]): unknown[] {
  return given.map((value) => {
    if (isPlace(value)) return world.resolve(value);
    if (typeof value === "object" && value !== null && "pick" in value) {
      return world.descriptor(Number(value.pick));
    }
    return value;
  });
}

function size(value: unknown): bigint {
  return typeof value === "bigint" || Number.isSafeInteger(value) ? BigInt(Number(value)) : 0n;
}

/** A call of the door that needs nothing else done. */
function plain(
  name: keyof typeof raw,
  weight: number,
  ...given: readonly fc.Arbitrary<unknown>[]
): [string, Kind] {
  const kind: Kind = {
    weight,
    arguments: fc.tuple(...given),
    make: (world, list) => callMethod(raw, name, resolved(world, list)),
  };
  return [name, kind];
}

const pagesMade = 16 * 4096;
const fillers = raw.MAP_POPULATE | raw.MAP_LOCKED;

function mmap(world: World, given: readonly unknown[]): void {
  const [addr, bytes, prot, flags, fd, at] = resolved(world, given);
  const fills = typeof flags === "number" && size(bytes) > BigInt(filledMax);
  const bounded = fills ? flags & ~fillers : flags;
  const made = callUntyped(raw.mmap, undefined, [addr, bytes, prot, bounded, fd, at]);
  if (typeof made === "bigint") world.remember(made, size(bytes));
}

function mremap(world: World, given: readonly unknown[]): void {
  const [from, old, bytes, flags, to] = resolved(world, given);
  const made = callUntyped(raw.mremap, undefined, [from, old, bytes, flags, to]);
  if (typeof made === "bigint") world.remember(made, size(bytes));
}

function view(world: World, given: readonly unknown[]): void {
  const made = callUntyped(raw.view, undefined, resolved(world, given));
  if (made instanceof Uint8Array) world.keepView(made);
}

/** Reads or writes a byte of a view that was taken at some time. */
function touch(world: World, [pick, place, writes]: readonly unknown[]): unknown {
  const view = world.views[Number(pick) % Math.max(world.views.length, 1)];
  if (view === undefined || view.length === 0) return skipped;
  const index = (Number(place) * 997) % view.length;
  if (writes === true) view[index] = 0x5a;
  return Atomics.load(view, index);
}

function seal(world: World, given: readonly unknown[]): unknown {
  if (seals >= sealsMax) return skipped;
  callUntyped(raw.mseal, undefined, resolved(world, given));
  if (size(given[1]) > 0n) seals += 1;
  return undefined;
}

/**
 * Without what locks the engine's own memory; what is mapped later is unlocked again before
 * anything is.
 */
function mlockall(_: World, [flags]: readonly unknown[]): void {
  try {
    const given = typeof flags === "number" ? flags & ~raw.MCL_CURRENT : flags;
    callUntyped(raw.mlockall, undefined, [given]);
  } finally {
    raw.munlockall();
  }
}

function processMadvise(world: World, [where, bytes, how, flags, other]: readonly unknown[]): void {
  const range = { addr: resolved(world, [where])[0], length: bytes };
  const more = { addr: resolved(world, [other])[0], length: 4096 };
  const given = [world.pidfd, [range, more], how, flags];
  callUntyped(raw.process_madvise, undefined, given);
}

/** A descriptor that is made is closed again, now and then past the door: its record is stale. */
function makeMemory(_: World, [name, flags]: readonly unknown[]): void {
  const fd = callUntyped(raw.memfd_create, undefined, [name, flags]);
  if (typeof fd === "number") raw.close(fd);
}

/** Any number but those that later calls are made with: most of them are the runtime's own. */
function close(world: World, given: readonly unknown[]): unknown {
  const [fd, makes] = resolved(world, given);
  if (makes === true) return raw.close(raw.memfd_create("close", raw.MFD_CLOEXEC));
  return world.mayHold(fd) ? skipped : callUntyped(raw.close, undefined, [fd]);
}

/** Mostly one of the door's own; a length that the machine has memory for. */
function truncate(world: World, [pick, other, isOwn, bytes]: readonly unknown[]): void {
  const fd = isOwn === true ? world.memory(Number(pick)) : resolved(world, [other])[0];
  callUntyped(raw.ftruncate, undefined, [fd, bytes]);
}

function openShared(_: World, [name, flags, mode, prefix]: readonly unknown[]): void {
  const full = typeof name === "string" ? `${String(prefix)}${name}` : name;
  const fd = callUntyped(raw.shm_open, undefined, [full, flags, mode]);
  if (typeof fd === "number") raw.close(fd);
  raw.shm_unlink(String(full));
}

function makeSecret(_: World, [flags]: readonly unknown[]): void {
  const fd = callUntyped(raw.memfd_secret, undefined, [flags]);
  if (typeof fd === "number") raw.close(fd);
}

/** Names that nobody else has: they begin with that of the process. */
function unlinkShared(_: World, [name, prefix, makes]: readonly unknown[]): void {
  const full = typeof name === "string" ? `${String(prefix)}${name}` : name;
  if (makes === true) {
    const fd = callUntyped(raw.shm_open, undefined, [full, 0o102, 0o600]);
    if (typeof fd === "number") raw.close(fd);
  }
  callUntyped(raw.shm_unlink, undefined, [full]);
}

function openProcess(_: World, given: readonly unknown[]): void {
  const fd = callUntyped(raw.pidfd_open, undefined, given);
  if (typeof fd === "number") raw.close(fd);
}

/** Seldom is a range one shared mapping: then and now one is made for the call. */
function remapFilePages(world: World, [makes, where, ...rest]: readonly unknown[]): void {
  let addr = resolved(world, [where])[0];
  if (makes === true) {
    addr = raw.mmap(null, pagesMade, 3, raw.MAP_SHARED | raw.MAP_ANONYMOUS, -1, 0);
    if (typeof addr === "bigint") world.remember(addr, BigInt(pagesMade));
  }
  callUntyped(raw.remap_file_pages, undefined, [addr, ...rest]);
}

function special(
  name: string,
  weight: number,
  plan: { readonly given: readonly fc.Arbitrary<unknown>[]; readonly make: Kind["make"] },
): [string, Kind] {
  return [name, { weight, arguments: fc.tuple(...plan.given), make: plan.make }];
}

const syncs = bits(raw.MS_SYNC, raw.MS_ASYNC, raw.MS_INVALIDATE);
const moves = bits(
  ...[0, raw.MREMAP_MAYMOVE, raw.MREMAP_MAYMOVE | raw.MREMAP_FIXED],
  ...[raw.MREMAP_FIXED, raw.MREMAP_MAYMOVE | raw.MREMAP_DONTUNMAP, raw.MREMAP_DONTUNMAP],
);
const memoryFlags = bits(
  ...[raw.MFD_CLOEXEC, raw.MFD_ALLOW_SEALING, raw.MFD_EXEC, raw.MFD_NOEXEC_SEAL, raw.MFD_HUGETLB],
);
const sealBits = bits(
  raw.F_SEAL_SHRINK,
  raw.F_SEAL_GROW,
  raw.F_SEAL_WRITE,
  raw.F_SEAL_FUTURE_WRITE,
);
const lockAllBits = bits(0, raw.MCL_FUTURE, raw.MCL_ONFAULT, 8);
/* O_RDONLY, O_WRONLY, O_RDWR, O_CREAT, O_EXCL, O_TRUNC: the same numbers on x86-64 and arm64. */
const openBits = bits(0, 1, 2, 0o102, 0o302, 0o1002);
/* O_CLOEXEC, the only flag of memfd_secret. */
const closeOnExec = 0o2000000;
const prefix = fc.constant(`/memmap-random-${process.pid}-`);
const mincoreLength = length.filter((bytes) => size(bytes) <= 2 ** 30 || size(bytes) >= 2n ** 47n);

const kinds: ReadonlyMap<string, Kind> = new Map([
  special("mmap", 20, {
    given: [wanted, length, protection, mapFlags, descriptor, offset],
    make: mmap,
  }),
  special("mremap", 10, { given: [likely, filled, filled, moves, likely], make: mremap }),
  special("view", 12, { given: [likely, length], make: view }),
  special("touch", 25, { given: [choice, choice, fc.boolean()], make: touch }),
  special("mseal", 1, { given: [likely, fc.constantFrom(0, 1, 4096), bits(0)], make: seal }),
  special("mlockall", 1, { given: [lockAllBits], make: mlockall }),
  special("process_madvise", 4, {
    given: [likely, filled, advice, bits(0), address],
    make: processMadvise,
  }),
  special("memfd_create", 2, { given: [text, memoryFlags], make: makeMemory }),
  special("shm_open", 2, { given: [text, openBits, bits(0o600, 0o777), prefix], make: openShared }),
  special("shm_unlink", 1, { given: [text, prefix, fc.boolean()], make: unlinkShared }),
  special("memfd_secret", 1, { given: [bits(0, closeOnExec)], make: makeSecret }),
  special("resize", 2, {
    given: [choice],
    make: (world, [pick]) => ftruncateSync(world.file, (Number(pick) % 33) * 4096 + 1),
  }),
  special("ftruncate", 1, {
    given: [choice, descriptor, fc.boolean(), fc.oneof(filled, offset)],
    make: truncate,
  }),
  special("add_seals", 1, {
    given: [choice, sealBits],
    make: (world, [pick, seals]) =>
      callUntyped(raw.add_seals, undefined, [world.memory(Number(pick)), seals]),
  }),
  plain("munmap", 8, likely, length),
  plain("mprotect", 8, likely, length, protection),
  plain("msync", 4, likely, length, syncs),
  plain("madvise", 12, likely, filled, advice),
  plain("mlock", 3, address, filled),
  plain("mlock2", 2, address, filled, bits(0, raw.MLOCK_ONFAULT)),
  plain("munlock", 3, address, length),
  plain("munlockall", 1),
  plain("mincore", 4, address, mincoreLength),
  special("remap_file_pages", 3, {
    given: [fc.boolean(), likely, length, bits(0, 1), offset, bits(0, raw.MAP_NONBLOCK)],
    make: remapFilePages,
  }),
  plain("check", 6, address, length),
  plain("get_seals", 1, descriptor),
  plain("cachestat", 1, descriptor, fc.record({ off: offset, len: length }), bits(0)),
  special("close", 2, {
    given: [fc.oneof(choice, fc.integer({ min: 0, max: 40 }), descriptor), fc.boolean()],
    make: close,
  }),
  special("pidfd_open", 1, {
    given: [fc.constantFrom<unknown>(process.pid, -1, 0, 2 ** 31 - 1, "1", 1.5), bits(0)],
    make: openProcess,
  }),
  plain("accepts", 1, fc.oneof(text, fc.constantFrom(...Object.keys(raw)))),
]);

/** Any call with any arguments. */
export const anyCall: fc.Arbitrary<RandomCall> = fc.oneof(
  ...[...kinds].map(([name, kind]) => ({
    weight: kind.weight,
    arbitrary: kind.arguments.map((list) => ({ name, arguments: list })),
  })),
);

/** Makes a call. */
export function makeCall(world: World, call: RandomCall): unknown {
  return kinds.get(call.name)?.make(world, call.arguments);
}

/** The names of all calls that are made. */
export const callNames: readonly string[] = [...kinds.keys()];
