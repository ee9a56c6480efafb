/**
 * Why a page could not be had: asks the kernel, the guard and the file, and makes the
 * {@link FaultError}. Telling it to somebody is watch.ts.
 */
import { fileBehind } from "./behind.js";
import type { MappingCore } from "./core.js";
import { type FaultAccess, FaultError, type FaultReason } from "./errors.js";
import { errnoName, errnoOf, systemError } from "./failure.js";
import { type LoneFault, type NativeRegion, native, pageSize } from "./native.js";
import { type Extent, roundDown } from "./pages.js";
import { canRead, currentSize, type FileIdentity } from "./source.js";

/** A byte that could not be read or written. */
export interface FaultPlace {
  /** Bytes from the first byte of the mapping. */
  readonly byteOffset: number;
  readonly access: FaultAccess;
}

function reasonOf(core: MappingCore, place: FaultPlace): FaultReason | undefined {
  const page = roundDown(core.start + place.byteOffset, pageSize);
  const answer = native().probe(core.region, page, pageSize, place.access === "write");
  if (answer === 0) return undefined;
  const code = errnoName(answer);
  const protection = core.protections.at(Math.floor(page / core.granularity));
  if (code === "EINVAL" || protection === "none") return "protected";
  if (code === "ENOMEM") return "memory";
  if (code === "EHWPOISON") return "io";
  return reasonOfMissing(core, place);
}

/*
 * A page that the kernel does not have. A file that nobody can find any more was most likely made
 * shorter, not damaged; one that has the byte now and lets it be read had been shorter. A write
 * into it failed for the storage: the disk is full.
 */
function reasonOfMissing(core: MappingCore, { byteOffset, access }: FaultPlace): FaultReason {
  if (core.file === undefined) return "memory";
  return reasonInFile(core.file.identity, core.offset + byteOffset, access);
}

function reasonInFile(file: FileIdentity, position: number, access: FaultAccess): FaultReason {
  const size = currentSize(file) ?? 0;
  if (position >= size) return "truncated";
  return access === "read" && canRead(file, position) ? "truncated" : "io";
}

/* The same without a mapping object: the file is the one that the kernel names. One that it does
   not name, or that nobody can find, was most likely made shorter; huge pages, of which no second
   mapping can be kept, were most likely used up. */
function reasonOfLone({ source, anonymous, huge }: LonePlace, place: FaultPlace): FaultReason {
  if (anonymous) return "memory";
  const behind = source === 0n ? undefined : fileBehind(source);
  if (behind === undefined) return huge ? "memory" : "truncated";
  const { identity, position, isMemory } = behind;
  const reason = reasonInFile(identity, position + place.byteOffset, place.access);
  return reason === "io" && isMemory ? "memory" : reason;
}

interface LonePlace {
  /** Where the first page of the range is still mapped; 0 for nowhere. */
  readonly source: bigint;
  readonly anonymous: boolean;
  readonly huge: boolean;
}

/* How the guard numbers its reasons (native/guard.h). */
const guardReasons: readonly ("missing" | FaultReason)[] = [
  "missing",
  "missing",
  "protected",
  "closed",
  "io",
];

function reasonOfGuard(core: MappingCore, number: number, place: FaultPlace): FaultReason {
  const reason = guardReasons[number] ?? "missing";
  return reason === "missing" ? reasonOfMissing(core, place) : reason;
}

const clauses: Readonly<Record<FaultReason, string>> = {
  truncated: "the file ends before it",
  protected: "its protection forbids it",
  closed: "the mapping was closed",
  memory: "there is no memory for it",
  io: "the storage did not give it",
  source: "its source did not give it",
};

/**
 * The error of a byte that could not be served.
 *
 * When the page can be had at the second look, the other side of the copy was at fault: then the
 * error is a `SystemError` with `EFAULT`.
 */
export function faultAt(core: MappingCore, place: FaultPlace): Error {
  const what = `Cannot ${place.access} byte ${place.byteOffset} of ${core.label}`;
  const reason = reasonOf(core, place);
  if (reason === undefined) {
    return systemError(errnoOf("EFAULT"), { syscall: "process_vm_readv", what, path: core.path });
  }
  return makeFault(core, { ...place, reason, count: 1, region: core.region });
}

interface FaultFacts extends FaultPlace {
  readonly reason: FaultReason;
  readonly count: number;
  readonly region: NativeRegion;
}

function makeFault(core: MappingCore, facts: FaultFacts): FaultError {
  const { byteOffset, access, reason, count } = facts;
  const message = `Cannot ${access} byte ${byteOffset} of ${core.label}: ${clauses[reason]}`;
  const address = native().address(facts.region) + BigInt(core.start + byteOffset);
  return new FaultError(message, { address, byteOffset, access, reason, count, path: core.path });
}

/**
 * Takes from the guard what it has repaired since the last time; also before a region is closed.
 */
export function gather(core: MappingCore): void {
  for (const region of [...core.escaped, core.region]) {
    const taken = native().takeFault(region);
    if (taken === undefined) continue;
    const [count, offset, write, reason] = taken;
    const byteOffset = offset - core.start;
    const access = write ? "write" : "read";
    const older = core.uncollected;
    core.uncollected = makeFault(core, {
      byteOffset: older?.byteOffset ?? byteOffset,
      access: older?.access ?? access,
      reason: older?.reason ?? reasonOfGuard(core, reason, { byteOffset, access }),
      count: count + (older?.count ?? 0),
      region,
    });
  }
}

/** A fault of memory without a mapping object, as the native side tells it. */
export function loneFault(taken: LoneFault): FaultError {
  const [count, byteOffset, write, number, address, anonymous, raw, source, huge] = taken;
  const access = write ? "write" : "read";
  const found = guardReasons[number] ?? "missing";
  const lone = () => reasonOfLone({ source, anonymous, huge }, { byteOffset, access });
  const reason = found === "missing" ? lone() : found;
  const dropped = `byte ${byteOffset} of a mapping that was dropped`;
  const what = `Cannot ${access} ${raw ? `address 0x${address.toString(16)}` : dropped}`;
  const facts = { address, byteOffset, access, reason, count } as const;
  return new FaultError(`${what}: ${clauses[reason]}`, facts);
}

/** The faults of a range whose mapping object is gone while a buffer over it was still touched. */
export function takeOrphan(atTheEnd: boolean): FaultError | undefined {
  const taken = native().takeOrphan(atTheEnd);
  return taken && loneFault(taken);
}

/** Whether there are faults that nobody has collected. */
export function hasFault(core: MappingCore): boolean {
  gather(core);
  return core.uncollected !== undefined;
}

/**
 * The oldest fault that nobody has collected, with the count of all; they are collected by that.
 */
export function collectFault(core: MappingCore): FaultError | undefined {
  gather(core);
  const fault = core.uncollected;
  core.uncollected = undefined;
  return fault;
}

/**
 * Throws when the guard has replaced a page of an extent: its bytes are zeros, or a copy that the
 * file does not follow. What nobody had collected is collected by that.
 */
export function requireOriginal(core: MappingCore, extent: Extent, access: FaultAccess): void {
  if (extent.length === 0) return;
  const from = core.start + extent.offset;
  const found = native().replaced(core.region, from, extent.length);
  if (found < 0) return;
  const byteOffset = Math.max(extent.offset, Math.floor(found / 8) - core.start);
  const reason = reasonOfGuard(core, found % 8, { byteOffset, access });
  const count = Math.max(1, collectFault(core)?.count ?? 1);
  throw makeFault(core, { byteOffset, access, reason, count, region: core.region });
}
