/**
 * The calls of the raw door that make, move and end mappings, and the views over them. The native
 * side keeps the registry of what was mapped here; nothing is kept in JavaScript.
 */
import { tooLarge, wrongType } from "../errors.js";
import { errnoName } from "../failure.js";
import { loneFault } from "../fault.js";
import { viewMax } from "../limits.js";
import { native } from "../native.js";
import { listen } from "../watch.js";
import { addressOf, errorOf, hex, numberOf } from "./answer.js";
import { type Address, asAddress, asInt, asOffset, asSize, type Size } from "./arguments.js";
import { MREMAP_DONTUNMAP, MREMAP_FIXED } from "./constants.js";

/**
 * Maps a file, a device or memory, as mmap(2).
 *
 * Everything that the kernel can refuse, the kernel refuses: a length of 0, an offset that is not
 * whole pages, unknown flags. With `MAP_FIXED` what this door mapped may be replaced, and nothing
 * else. The mapping is whole pages and stays until {@link munmap}, or until the environment (main
 * thread or worker) that made it ends.
 *
 * @param addr A hint, or with `MAP_FIXED` and `MAP_FIXED_NOREPLACE` the address; null lets the
 *   kernel choose.
 * @param length Bytes, more than 0; the kernel rounds up to whole pages.
 * @param prot `PROT_NONE`, or `PROT_READ`, `PROT_WRITE`, `PROT_EXEC` together.
 * @param flags `MAP_SHARED`, `MAP_PRIVATE`, `MAP_SHARED_VALIDATE` or `MAP_DROPPABLE`, and others.
 * @param fd The file; -1 with `MAP_ANONYMOUS`.
 * @param offset Bytes into the file, whole pages.
 * @returns The address, 0n included where the system allows it.
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE` for an argument of another type.
 * @throws {RangeError} `ERR_OUT_OF_RANGE` for a number that fits no C type of the manual.
 * @throws {MemmapError} `ERR_MEMMAP_UNSAFE_FIXED` with `MAP_FIXED` over memory that others mapped;
 *   `ERR_MEMMAP_UNSUPPORTED` where memmap does not run.
 * @throws {SystemError} What mmap(2) lists under ERRORS: `EACCES`, `EAGAIN`, `EBADF`, `EEXIST`,
 *   `EINVAL`, `ENODEV`, `ENOMEM`, `EOVERFLOW`, `EPERM`, `ETXTBSY` ...
 *
 * @example
 * ```ts
 * import { closeSync, openSync } from "node:fs";
 * import { MAP_PRIVATE, mmap, munmap, PROT_READ, view } from "memmap/raw";
 *
 * const fd = openSync("message.txt", "r");
 * const address = mmap(null, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
 * closeSync(fd); // the mapping stays
 * console.log(Buffer.from(view(address, 5)).toString()); // Hello
 * munmap(address, 4096);
 * ```
 */
export function mmap(
  addr: Address,
  length: Size,
  prot: number,
  flags: number,
  fd: number,
  offset: Size,
): bigint {
  const at = asAddress(addr, "addr");
  const size = asSize(length, "length");
  const bits = [asInt(prot, "prot"), asInt(flags, "flags"), asInt(fd, "fd")] as const;
  const answer = native().rawMap(at, size, ...bits, asOffset(offset, "offset"));
  const where = at === 0n ? "" : ` at ${hex(at)}`;
  return addressOf(answer, { syscall: "mmap", what: `map ${size} bytes${where}` });
}

/**
 * Ends the mapping of the pages of a range, as munmap(2).
 *
 * Holes in it are no error. Pages that a {@link view} covers are given back, and their addresses
 * stay reserved until the engine has let the view go: a touch is a reported fault then, and never
 * another mapping.
 *
 * @param addr The first byte, at the beginning of a page.
 * @param length Bytes, more than 0; the kernel rounds up to whole pages.
 * @throws {MemmapError} `ERR_MEMMAP_UNSAFE_FIXED` for a range in which others mapped memory;
 *   nothing is unmapped then.
 * @throws {SystemError} `EINVAL` as munmap(2) says; `ENOMEM` when the process would have too many
 *   areas; `EPERM` for sealed memory.
 *
 * @example
 * ```ts
 * import { MAP_ANONYMOUS, MAP_PRIVATE, mmap, munmap, PROT_READ } from "memmap/raw";
 *
 * const address = mmap(null, 3 * 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
 * munmap(address + 4096n, 4096); // the page in the middle
 * munmap(address, 3 * 4096); // the two others
 * ```
 */
export function munmap(addr: Address, length: Size): void {
  const at = asAddress(addr, "addr");
  const size = asSize(length, "length");
  native().assertGuard();
  const what = `unmap ${size} bytes at ${hex(at)}`;
  numberOf(native().rawUnmap(at, size), { syscall: "munmap", what });
}

/**
 * Makes a mapping longer or shorter, or moves it, as mremap(2).
 *
 * Views do not move with the pages: they are over addresses. What moves out from under a view
 * leaves its old addresses reserved.
 *
 * @param oldAddr The first byte, at the beginning of a page.
 * @param oldLength Bytes; 0 makes a second mapping of the same shared pages.
 * @param newLength Bytes, more than 0.
 * @param flags 0, or `MREMAP_MAYMOVE`, with `MREMAP_FIXED` and `MREMAP_DONTUNMAP`.
 * @param newAddr The new place with `MREMAP_FIXED`; a hint with `MREMAP_DONTUNMAP`; else unused.
 * @returns The address, which may be another than before.
 * @throws {MemmapError} `ERR_MEMMAP_UNSAFE_FIXED` when others mapped the old or the new range;
 *   `ERR_MEMMAP_PINNED` where the kernel cannot keep the old addresses (before 5.7, files before
 *   5.13, huge pages) and a view covers them.
 * @throws {SystemError} `EAGAIN`, `EFAULT`, `EINVAL`, `ENOMEM` as mremap(2) says.
 *
 * @example
 * ```ts
 * import * as raw from "memmap/raw";
 *
 * const { PROT_READ, PROT_WRITE, MAP_PRIVATE, MAP_ANONYMOUS } = raw;
 * const kind = MAP_PRIVATE | MAP_ANONYMOUS;
 * const address = raw.mmap(null, 4096, PROT_READ | PROT_WRITE, kind, -1, 0);
 * raw.view(address, 1)[0] = 7;
 * const moved = raw.mremap(address, 4096, 1 << 20, raw.MREMAP_MAYMOVE);
 * console.log(raw.view(moved, 1)[0]); // 7
 * raw.munmap(moved, 1 << 20);
 * ```
 */
export function mremap(
  oldAddr: Address,
  oldLength: Size,
  newLength: Size,
  flags: number,
  newAddr?: Address,
): bigint {
  const from = asAddress(oldAddr, "oldAddr");
  const oldSize = asSize(oldLength, "oldLength");
  const size = asSize(newLength, "newLength");
  const bits = asInt(flags, "flags");
  if (newAddr === undefined && (bits & MREMAP_FIXED) !== 0) {
    throw wrongType(`"newAddr" must be given with MREMAP_FIXED`);
  }
  const usesTarget = (bits & (MREMAP_FIXED | MREMAP_DONTUNMAP)) !== 0;
  const given = newAddr === undefined ? 0n : asAddress(newAddr, "newAddr");
  const to = usesTarget ? given : 0n;
  const answer = native().rawRemap(from, oldSize, size, bits, to);
  const what = `remap ${oldSize} bytes at ${hex(from)} to ${size} bytes`;
  return addressOf(answer, { syscall: "mremap", what });
}

/**
 * Shows another part of the file in a range of a shared mapping, as remap_file_pages(2).
 *
 * The call is obsolete: since Linux 4.0 the kernel emulates it by one more mapping.
 *
 * @param addr An address in a shared file mapping of this door.
 * @param size Bytes.
 * @param prot Must be 0.
 * @param pgoff Which page of the file comes first, in pages.
 * @param flags 0, or `MAP_NONBLOCK`, which is ignored.
 * @throws {MemmapError} `ERR_MEMMAP_UNSAFE_FIXED` when others mapped the range.
 * @throws {SystemError} `EINVAL` as remap_file_pages(2) says.
 *
 * @example
 * ```ts
 * import { openSync } from "node:fs";
 * import { MAP_SHARED, mmap, munmap, PROT_READ, remap_file_pages, view } from "memmap/raw";
 *
 * const address = mmap(null, 8192, PROT_READ, MAP_SHARED, openSync("data.bin", "r+"), 0);
 * remap_file_pages(address, 4096, 0, 255, 0); // the last page of the file
 * console.log(view(address, 8192)[5]); // 5
 * munmap(address, 8192);
 * ```
 */
export function remap_file_pages(
  addr: Address,
  size: Size,
  prot: number,
  pgoff: Size,
  flags: number,
): void {
  const at = asAddress(addr, "addr");
  const bytes = asSize(size, "size");
  const protection = asInt(prot, "prot");
  const page = asSize(pgoff, "pgoff");
  const bits = asInt(flags, "flags");
  native().assertGuard();
  const what = `show page ${page} of the file in ${bytes} bytes at ${hex(at)}`;
  const answer = native().rawRemapFilePages(at, bytes, protection, page, bits);
  numberOf(answer, { syscall: "remap_file_pages", what });
}

/**
 * The bytes at an address range that was mapped through this door, without a copy.
 *
 * The view is over addresses: it shows whatever this door maps there later. A page that cannot be
 * had reads as zeros, and a write that the protection forbids goes to a private copy; both are
 * reported, to {@link check} or else as an uncaught `FaultError`, whose `byteOffset` counts from
 * the beginning of its mapping.
 *
 * @param addr The first byte, at any alignment; not 0n.
 * @param length Bytes; 0 gives an empty array.
 * @throws {MemmapError} `ERR_MEMMAP_UNSAFE_FIXED` when a byte is not mapped by this door;
 *   `ERR_MEMMAP_UNSUPPORTED` for sealed memory, where a fault could not be repaired.
 * @throws {RangeError} `ERR_BUFFER_TOO_LARGE` for more bytes than the runtime can view at once.
 *
 * @example
 * ```ts
 * import { MAP_ANONYMOUS, MAP_PRIVATE, mmap, PROT_READ, PROT_WRITE, view } from "memmap/raw";
 *
 * const prot = PROT_READ | PROT_WRITE;
 * const address = mmap(null, 4096, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
 * view(address + 10n, 3).fill(1);
 * console.log(view(address, 4096)[12]); // 1
 * ```
 */
export function view(addr: Address, length: Size): Uint8Array<ArrayBuffer> {
  const at = asAddress(addr, "addr");
  const size = asSize(length, "length");
  if (size === 0n) return new Uint8Array(0);
  const what = `view ${size} bytes at ${hex(at)}`;
  listen();
  native().assertGuard();
  const buffer = native().rawView(at, size);
  if (typeof buffer === "number") {
    const isFull = buffer >= -4096 && errnoName(buffer) === "ENOMEM";
    if (!isFull) throw errorOf(buffer, { syscall: "mmap", what });
  } else if (buffer.byteLength <= viewMax) {
    return new Uint8Array(buffer);
  }
  throw tooLarge(`Cannot ${what}: the runtime cannot hold them; view a part`);
}

/**
 * Throws the oldest fault of a range that was not collected yet; then those of its mapping are.
 *
 * @param addr The first byte.
 * @param length Bytes.
 * @throws {FaultError} `ERR_MEMMAP_FAULT`: `count` says for how many faults it stands.
 *
 * @example
 * ```ts
 * import { check, MAP_ANONYMOUS, MAP_PRIVATE, mmap, PROT_NONE, view } from "memmap/raw";
 *
 * const address = mmap(null, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
 * console.log(view(address, 1)[0]); // 0
 * try {
 *   check(address, 4096);
 * } catch (error) {
 *   console.log(String(error)); // its protection forbids it
 * }
 * ```
 */
export function check(addr: Address, length: Size): void {
  const at = asAddress(addr, "addr");
  const size = asSize(length, "length");
  const taken = native().rawFault(at, size);
  if (taken !== undefined) throw loneFault(taken);
}
