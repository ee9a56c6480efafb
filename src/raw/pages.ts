/**
 * The calls of the raw door on pages that stand: protection, storage, advice, locks, residency. A
 * call that changes what memory holds is made on what this door mapped, and refused on the rest.
 */
import { tooLarge, wrongType } from "../errors.js";
import { native, pageSize } from "../native.js";
import { hex, numberOf } from "./answer.js";
import { type Address, asAddress, asInt, asSize, type Size } from "./arguments.js";

/* What most calls here have in common: a range, one more argument, and no value. */
interface RangeCall {
  readonly addr: Address;
  readonly length: Size;
  readonly last?: readonly [name: string, value: number];
  readonly syscall: string;
  readonly what: string;
}

type NativeCall = (addr: bigint, length: bigint, last: number) => number;

function onRange(plan: RangeCall, call: NativeCall): void {
  const at = asAddress(plan.addr, "addr");
  const size = asSize(plan.length, "length");
  const last = plan.last === undefined ? 0 : asInt(plan.last[1], plan.last[0]);
  native().assertGuard();
  const what = `${plan.what} ${size} bytes at ${hex(at)}`;
  numberOf(call(at, size, last), { syscall: plan.syscall, what });
}

/**
 * Writes dirty pages of shared file mappings to the file, as msync(2).
 *
 * @param addr The first byte, at the beginning of a page.
 * @param length Bytes.
 * @param flags `MS_SYNC` or `MS_ASYNC`, with `MS_INVALIDATE`.
 * @throws {SystemError} `EBUSY` for `MS_INVALIDATE` on locked pages, `EINVAL`, `EIO`, `ENOMEM` for
 *   a range with holes.
 *
 * @example
 * ```ts
 * import { openSync } from "node:fs";
 * import { MAP_SHARED, MS_SYNC, mmap, msync, PROT_READ, PROT_WRITE, view } from "memmap/raw";
 *
 * const prot = PROT_READ | PROT_WRITE;
 * const address = mmap(null, 4096, prot, MAP_SHARED, openSync("data.bin", "r+"), 0);
 * view(address, 1)[0] = 42;
 * msync(address, 4096, MS_SYNC); // on the disk from here on
 * ```
 */
export function msync(addr: Address, length: Size, flags: number): void {
  const plan = { addr, length, last: ["flags", flags], syscall: "msync", what: "flush" } as const;
  onRange(plan, (at, size, bits) => native().rawSync(at, size, bits));
}

/**
 * Changes what may be done with pages, as mprotect(2).
 *
 * Pages in the range that the guard had replaced after a fault are as they were mapped again, but
 * for missing pages of private files.
 *
 * @param addr The first byte, at the beginning of a page.
 * @param length Bytes.
 * @param prot `PROT_NONE`, or `PROT_READ`, `PROT_WRITE`, `PROT_EXEC` together.
 * @throws {MemmapError} `ERR_MEMMAP_UNSAFE_FIXED` for a range in which others mapped memory.
 * @throws {SystemError} `EACCES`, `EINVAL`; `ENOMEM` for a range with holes (what stands before the
 *   hole is changed), `EPERM` for sealed memory.
 *
 * @example
 * ```ts
 * import { MAP_ANONYMOUS, MAP_PRIVATE, mmap, mprotect, PROT_NONE, PROT_READ } from "memmap/raw";
 *
 * const address = mmap(null, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
 * mprotect(address + 4096n, 4096, PROT_NONE);
 * ```
 */
export function mprotect(addr: Address, length: Size, prot: number): void {
  const plan = {
    addr,
    length,
    last: ["prot", prot],
    syscall: "mprotect",
    what: "protect",
  } as const;
  onRange(plan, (at, size, bits) => native().rawProtect(at, size, bits));
}

/**
 * Tells the kernel how pages will be used, or what to do with them, as madvise(2).
 *
 * Pages that the guard had replaced after a fault (`MADV_GUARD_INSTALL` makes such) stay so until
 * {@link mprotect}; what was advised on them holds from there on.
 *
 * @param addr The first byte, at the beginning of a page.
 * @param length Bytes; 0 asks whether the kernel knows the advice.
 * @param advice One of `MADV_*`.
 * @throws {MemmapError} `ERR_MEMMAP_UNSAFE_FIXED` for advice that may change content (all but
 *   `NORMAL`, `RANDOM`, `SEQUENTIAL`, `WILLNEED`, `COLD`, `PAGEOUT`, `POPULATE_READ`) on a range in
 *   which others mapped memory.
 * @throws {SystemError} `EACCES`, `EAGAIN`, `EBADF`, `EFAULT`, `EHWPOISON`, `EINVAL`, `EIO`;
 *   `ENOMEM` for a range with holes, whose mapped pages are advised all the same; `EPERM`.
 *
 * @example
 * ```ts
 * import { MADV_DONTNEED, MAP_ANONYMOUS, MAP_PRIVATE, madvise, mmap, view } from "memmap/raw";
 *
 * const address = mmap(null, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
 * const bytes = view(address, 4096).fill(7);
 * madvise(address, 4096, MADV_DONTNEED);
 * console.log(bytes[0]); // 0
 * ```
 */
export function madvise(addr: Address, length: Size, advice: number): void {
  const last = ["advice", advice] as const;
  const plan = { addr, length, last, syscall: "madvise", what: "advise on" };
  onRange(plan, (at, size, number) => native().rawAdvise(at, size, number));
}

/**
 * Keeps pages in memory, as mlock(2). All that is locked ends with munlock or munmap.
 *
 * @param addr The first byte; the kernel rounds down to the page.
 * @param length Bytes.
 * @throws {MemmapError} `ERR_MEMMAP_UNSAFE_FIXED` for a range in which others mapped memory:
 *   engines end the process when they cannot give a page back, and a locked one they cannot.
 * @throws {SystemError} `EAGAIN`, `ENOMEM` (RLIMIT_MEMLOCK, a hole, or a page that cannot be
 *   brought in), `EPERM`.
 *
 * @example
 * ```ts
 * import { MAP_ANONYMOUS, MAP_PRIVATE, mlock, mmap, munlock, PROT_READ } from "memmap/raw";
 *
 * const address = mmap(null, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
 * mlock(address, 4096);
 * munlock(address, 4096);
 * ```
 */
export function mlock(addr: Address, length: Size): void {
  onRange({ addr, length, syscall: "mlock", what: "lock" }, (at, size) =>
    native().rawLock(at, size),
  );
}

/**
 * The same with flags, as mlock2(2).
 *
 * @param addr The first byte; the kernel rounds down to the page.
 * @param length Bytes.
 * @param flags 0, or `MLOCK_ONFAULT`: each page when it is first touched.
 * @throws {MemmapError} As {@link mlock}.
 * @throws {SystemError} As {@link mlock}; `EINVAL` for other flags.
 *
 * @example
 * ```ts
 * import { MAP_ANONYMOUS, MAP_PRIVATE, MLOCK_ONFAULT, mlock2, mmap } from "memmap/raw";
 *
 * const address = mmap(null, 1 << 20, 1, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
 * mlock2(address, 1 << 20, MLOCK_ONFAULT);
 * ```
 */
export function mlock2(addr: Address, length: Size, flags: number): void {
  const plan = { addr, length, last: ["flags", flags], syscall: "mlock2", what: "lock" } as const;
  onRange(plan, (at, size, bits) => native().rawLock2(at, size, bits));
}

/**
 * Ends the locking of pages, as munlock(2); those that are not locked are no error.
 *
 * @param addr The first byte; the kernel rounds down to the page.
 * @param length Bytes.
 * @throws {SystemError} `ENOMEM` for a range with holes, `EINVAL`.
 *
 * @example
 * ```ts
 * import { MAP_ANONYMOUS, MAP_PRIVATE, mmap, munlock, PROT_READ } from "memmap/raw";
 *
 * munlock(mmap(null, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 4096);
 * ```
 */
export function munlock(addr: Address, length: Size): void {
  onRange({ addr, length, syscall: "munlock", what: "unlock" }, (at, size) =>
    native().rawUnlock(at, size),
  );
}

/**
 * Keeps all memory of the process, as mlockall(2): the engine's, too.
 *
 * An exception from the safety of this library: V8 ends the process when it gives back pages that
 * `MCL_CURRENT` has locked, as it does when it makes room for compiled code; so call
 * {@link munlockall} soon. With `MCL_FUTURE` every engine ends with its next allocation that cannot
 * be locked.
 *
 * @param flags `MCL_CURRENT`, `MCL_FUTURE` or both, with `MCL_ONFAULT`.
 * @throws {SystemError} `EINVAL`, `ENOMEM`, `EPERM` as mlockall(2) says.
 *
 * @example
 * ```ts ignore-run: locks all memory of the engine, which takes root or a high RLIMIT_MEMLOCK
 * import { MCL_CURRENT, MCL_ONFAULT, mlockall, munlockall } from "memmap/raw";
 *
 * mlockall(MCL_CURRENT | MCL_ONFAULT);
 * munlockall();
 * ```
 */
export function mlockall(flags: number): void {
  const bits = asInt(flags, "flags");
  const call = { syscall: "mlockall", what: "lock all memory of the process" };
  numberOf(native().rawLockAll(bits), call);
}

/**
 * Ends all locking of memory in the process, as munlockall(2).
 *
 * @throws {SystemError} What the system answers.
 *
 * @example
 * ```ts
 * import { munlockall } from "memmap/raw";
 *
 * munlockall();
 * ```
 */
export function munlockall(): void {
  const call = { syscall: "munlockall", what: "unlock all memory of the process" };
  numberOf(native().rawUnlockAll(), call);
}

/* Bytes that one call of the kernel is asked about. */
const pieceBytes = 2 ** 32;

/**
 * Which pages are in memory, as mincore(2).
 *
 * Of a file that this user neither owns nor may write the kernel says that all are.
 *
 * @param addr The first byte, at the beginning of a page.
 * @param length Bytes.
 * @returns A byte for each page; its lowest bit is 1 for a page in memory.
 * @throws {SystemError} `EINVAL`; `ENOMEM` for a range with holes.
 * @throws {RangeError} `ERR_BUFFER_TOO_LARGE` for more pages than one array can hold.
 *
 * @example
 * ```ts
 * import { MAP_ANONYMOUS, MAP_PRIVATE, mincore, mmap, PROT_READ } from "memmap/raw";
 *
 * const address = mmap(null, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
 * console.log(mincore(address, 8192).length); // 2
 * ```
 */
export function mincore(addr: Address, length: Size): Uint8Array<ArrayBuffer> {
  const at = asAddress(addr, "addr");
  const size = asSize(length, "length");
  const call = { syscall: "mincore", what: `ask about ${size} bytes at ${hex(at)}` };
  const page = BigInt(pageSize);
  const isAligned = at % page === 0n;
  if (!isAligned) numberOf(native().rawResidency(at, new Uint8Array(1)), call);
  numberOf(native().rawMapped(at, size), call);
  const pageCount = (size + page - 1n) / page;
  if (pageCount >= 2n ** 32n) throw tooLarge(`Cannot ${call.what}: ask about a part`);
  const vector = new Uint8Array(Number(pageCount));
  const step = pieceBytes / pageSize;
  for (let done = 0; done < vector.length; done += step) {
    const piece = vector.subarray(done, done + step);
    numberOf(native().rawResidency(at + BigInt(done) * page, piece), call);
  }
  return vector;
}

/**
 * Seals mappings, as mseal(2): they can be neither unmapped nor changed until the process ends.
 *
 * @param addr The first byte, at the beginning of a page.
 * @param length Bytes.
 * @param flags Must be 0.
 * @throws {MemmapError} `ERR_MEMMAP_PINNED` when a view covers a part of it: a fault there could
 *   not be repaired any more; `ERR_MEMMAP_UNSAFE_FIXED` for memory that others mapped.
 * @throws {SystemError} `EINVAL`, `ENOMEM`, `EPERM`; `ENOSYS` before Linux 6.10.
 *
 * @example
 * ```ts
 * import { accepts, MAP_ANONYMOUS, MAP_PRIVATE, mmap, mseal, PROT_READ } from "memmap/raw";
 *
 * const address = mmap(null, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
 * if (accepts("MAP_DROPPABLE")) mseal(address, 4096, 0); // a kernel since 6.11
 * ```
 */
export function mseal(addr: Address, length: Size, flags: number): void {
  const plan = { addr, length, last: ["flags", flags], syscall: "mseal", what: "seal" } as const;
  onRange(plan, (at, size, bits) => native().rawSeal(at, size, bits));
}

/** A range of another process, or of this one: `struct iovec`. */
export interface IoVector {
  /** The first byte, at the beginning of a page. */
  readonly addr: Address;
  /** Bytes. */
  readonly length: Size;
}

/**
 * Advises on ranges of a process, as process_madvise(2).
 *
 * @param pidfd The process, from {@link pidfd_open}.
 * @param ranges At most 1024.
 * @param advice `MADV_COLD`, `MADV_PAGEOUT`, `MADV_WILLNEED` or `MADV_COLLAPSE`; on the own process
 *   any (Linux 6.13).
 * @param flags Must be 0.
 * @returns The bytes that were advised on, fewer than asked where a range failed.
 * @throws {MemmapError} `ERR_MEMMAP_UNSAFE_FIXED` for advice on the own process that
 *   {@link madvise} would refuse.
 * @throws {SystemError} `EBADF`, `EFAULT`, `EINVAL`, `ENOMEM`, `EPERM`, `ESRCH`.
 *
 * @example
 * ```ts
 * import * as raw from "memmap/raw";
 *
 * const kind = raw.MAP_PRIVATE | raw.MAP_ANONYMOUS;
 * const addr = raw.mmap(null, 8192, raw.PROT_READ, kind, -1, 0);
 * const pidfd = raw.pidfd_open(process.pid, 0);
 * console.log(raw.process_madvise(pidfd, [{ addr, length: 8192 }], raw.MADV_COLD, 0)); // 8192
 * raw.close(pidfd);
 * ```
 */
export function process_madvise(
  pidfd: number,
  ranges: readonly IoVector[],
  advice: number,
  flags: number,
): number {
  const fd = asInt(pidfd, "pidfd");
  if (!Array.isArray(ranges)) throw wrongType(`"ranges" must be an array of ranges`);
  /* The kernel takes 1024 and refuses one more: the others need not be read. */
  const words = new BigUint64Array(Math.min(ranges.length, 1025) * 2);
  for (let i = 0; i < words.length / 2; i += 1) {
    const range: unknown = ranges[i];
    if (typeof range !== "object" || range === null) {
      throw wrongType(`"ranges[${i}]" must be an object`);
    }
    words[i * 2] = asAddress(Reflect.get(range, "addr"), `ranges[${i}].addr`);
    words[i * 2 + 1] = asSize(Reflect.get(range, "length"), `ranges[${i}].length`);
  }
  const number = asInt(advice, "advice");
  const bits = asInt(flags, "flags");
  native().assertGuard();
  const call = { syscall: "process_madvise", what: `advise on ${words.length / 2} ranges` };
  return numberOf(native().processMadvise(fd, new Uint8Array(words.buffer), number, bits), call);
}
