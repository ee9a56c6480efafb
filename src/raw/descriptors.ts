/**
 * The calls of the raw door that make descriptors of memory, or ask about them. A descriptor is the
 * caller's; {@link close} ends it on every runtime.
 */
import { wrongType } from "../errors.js";
import { native } from "../native.js";
import { numberOf } from "./answer.js";
import { asInt, asOffset, asSize, asText, type Size } from "./arguments.js";

/**
 * Makes a file that lives in memory, as memfd_create(2); it is empty.
 *
 * @param name What stands behind `/memfd:` in /proc; at most 249 bytes, without null bytes.
 * @param flags 0, or `MFD_CLOEXEC`, `MFD_ALLOW_SEALING`, `MFD_HUGETLB` with a size, `MFD_EXEC`,
 *   `MFD_NOEXEC_SEAL`.
 * @returns A descriptor for reading and writing.
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`; `ERR_INVALID_ARG_VALUE` for a name with a null byte.
 * @throws {SystemError} `EINVAL`, `EMFILE`, `ENFILE`, `ENOMEM`, `EPERM` as memfd_create(2) says.
 *
 * @example
 * ```ts
 * import { writeFileSync } from "node:fs";
 * import * as raw from "memmap/raw";
 *
 * const fd = raw.memfd_create("letters", raw.MFD_CLOEXEC | raw.MFD_ALLOW_SEALING);
 * writeFileSync(`/proc/self/fd/${fd}`, "abc"); // Deno writes to no descriptor of others
 * raw.ftruncate(fd, 4096);
 * raw.add_seals(fd, raw.F_SEAL_SHRINK | raw.F_SEAL_GROW | raw.F_SEAL_WRITE);
 * const address = raw.mmap(null, 4096, raw.PROT_READ, raw.MAP_PRIVATE, fd, 0);
 * raw.close(fd);
 * console.log(raw.view(address, 3)); // a b c, for good
 * ```
 */
export function memfd_create(name: string, flags: number): number {
  const text = asText(name, "name");
  const bits = asInt(flags, "flags");
  const call = { syscall: "memfd_create", what: `make a memory file ${JSON.stringify(name)}` };
  return numberOf(native().memfdCreate(text, bits), call);
}

/**
 * Makes a file in memory that not even the kernel maps, as memfd_secret(2).
 *
 * @param flags 0, or `O_CLOEXEC` (0o2000000). The manual page names `FD_CLOEXEC`, which Linux
 *   refuses.
 * @returns A descriptor that can be mapped shared, and neither read nor written.
 * @throws {SystemError} `EINVAL`, `EMFILE`, `ENFILE`, `ENOMEM`; `ENOSYS` before Linux 5.14, or
 *   where `secretmem.enable` is off.
 *
 * @example
 * ```ts ignore-run: some kernels are built without it, or have it switched off
 * import { ftruncate, MAP_SHARED, memfd_secret, mmap, PROT_READ, PROT_WRITE } from "memmap/raw";
 *
 * const fd = memfd_secret(0o2000000);
 * ftruncate(fd, 4096);
 * const address = mmap(null, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
 * console.log(address);
 * ```
 */
export function memfd_secret(flags: number): number {
  const bits = asInt(flags, "flags");
  const call = { syscall: "memfd_secret", what: "make a secret memory file" };
  return numberOf(native().memfdSecret(bits), call);
}

/**
 * Opens or makes a named object of shared memory, as shm_open(3); close-on-exec.
 *
 * @param name "/" and a name of at most 255 bytes without another "/".
 * @param oflag `O_RDONLY` or `O_RDWR` of `node:fs` constants, with `O_CREAT`, `O_EXCL`, `O_TRUNC`.
 * @param mode The permissions of a new one, less the umask.
 * @returns A descriptor. A new object has no bytes yet.
 * @throws {SystemError} `EACCES`, `EEXIST`, `EINVAL`, `EMFILE`, `ENAMETOOLONG`, `ENFILE`, `ENOENT`.
 *
 * @example
 * ```ts
 * import { constants } from "node:fs";
 * import { close, ftruncate, shm_open, shm_unlink } from "memmap/raw";
 *
 * const name = `/memmap-example-${process.pid}`;
 * const fd = shm_open(name, constants.O_CREAT | constants.O_EXCL | constants.O_RDWR, 0o600);
 * ftruncate(fd, 4096);
 * shm_unlink(name);
 * close(fd);
 * ```
 */
export function shm_open(name: string, oflag: number, mode: number): number {
  const text = asText(name, "name");
  const bits = asInt(oflag, "oflag");
  const permissions = asInt(mode, "mode");
  const call = { syscall: "shm_open", what: `open the shared memory ${JSON.stringify(name)}` };
  return numberOf(native().shmOpen(text, bits, permissions), call);
}

/**
 * Takes the name of an object of shared memory away, as shm_unlink(3); it lives as long as somebody
 * has it open or mapped.
 *
 * @param name As for {@link shm_open}.
 * @throws {SystemError} `EACCES`, `EINVAL`, `ENAMETOOLONG`, `ENOENT`.
 *
 * @example
 * ```ts
 * import { shm_unlink } from "memmap/raw";
 *
 * try {
 *   shm_unlink("/memmap-no-such-object");
 * } catch (error) {
 *   console.log(String(error)); // ENOENT
 * }
 * ```
 */
export function shm_unlink(name: string): void {
  const text = asText(name, "name");
  const call = { syscall: "shm_unlink", what: `unlink the shared memory ${JSON.stringify(name)}` };
  numberOf(native().shmUnlink(text), call);
}

/**
 * Adds seals to a memory file, for good, as fcntl(2) with `F_ADD_SEALS`.
 *
 * @param fd A descriptor of it, open for writing.
 * @param seals `F_SEAL_*` together.
 * @throws {SystemError} `EBUSY` for `F_SEAL_WRITE` while a shared writable mapping stands,
 *   `EINVAL`, `EPERM`.
 *
 * @example
 * ```ts
 * import { add_seals, close, F_SEAL_SEAL, MFD_ALLOW_SEALING, memfd_create } from "memmap/raw";
 *
 * const fd = memfd_create("sealed", MFD_ALLOW_SEALING);
 * add_seals(fd, F_SEAL_SEAL);
 * close(fd);
 * ```
 */
export function add_seals(fd: number, seals: number): void {
  const file = asInt(fd, "fd");
  const bits = asInt(seals, "seals");
  numberOf(native().addSeals(file, bits), { syscall: "fcntl", what: `seal descriptor ${file}` });
}

/**
 * The seals of a memory file, as fcntl(2) with `F_GET_SEALS`.
 *
 * @param fd A descriptor of it.
 * @returns `F_SEAL_*` together; `F_SEAL_SEAL` where no seals may be added.
 * @throws {SystemError} `EBADF`, `EINVAL` for a file that has no seals.
 *
 * @example
 * ```ts
 * import { close, F_SEAL_SEAL, get_seals, memfd_create } from "memmap/raw";
 *
 * const fd = memfd_create("plain", 0);
 * console.log(get_seals(fd) === F_SEAL_SEAL); // true
 * close(fd);
 * ```
 */
export function get_seals(fd: number): number {
  const file = asInt(fd, "fd");
  const call = { syscall: "fcntl", what: `read the seals of descriptor ${file}` };
  return numberOf(native().getSeals(file), call);
}

/**
 * Closes a descriptor of this door, as close(2): some runtimes do not close what they did not open.
 *
 * @param fd The descriptor, which must not be used afterwards.
 * @throws {SystemError} `EBADF`, also for a descriptor that was made elsewhere, which may be one of
 *   the runtime's own; `EIO`.
 *
 * @example
 * ```ts
 * import { close, memfd_create } from "memmap/raw";
 *
 * close(memfd_create("short-lived", 0));
 * ```
 */
export function close(fd: number): void {
  const file = asInt(fd, "fd");
  const call = { syscall: "close", what: `close descriptor ${file} of memmap/raw` };
  numberOf(native().rawClose(file), call);
}

/**
 * Gives a file of this door another length, as ftruncate(2): some runtimes know no descriptors but
 * those that they have opened themselves.
 *
 * What is cut off of a mapping is a reported fault at the next touch; what is added reads as zeros.
 *
 * @param fd A descriptor of {@link memfd_create}, {@link memfd_secret} or {@link shm_open} that may
 *   be written.
 * @param length Bytes.
 * @throws {SystemError} `EBADF`, also for a descriptor that was made elsewhere, which `node:fs`
 *   truncates; `EFBIG`; `EINVAL` for a negative length, for one opened for reading, and for secret
 *   memory that has a length already; `EPERM` where a seal forbids it.
 *
 * @example
 * ```ts
 * import { close, ftruncate, MFD_CLOEXEC, memfd_create } from "memmap/raw";
 *
 * const fd = memfd_create("four pages", MFD_CLOEXEC);
 * ftruncate(fd, 16_384);
 * close(fd);
 * ```
 */
export function ftruncate(fd: number, length: Size): void {
  const file = asInt(fd, "fd");
  const bytes = asOffset(length, "length");
  const what = `give descriptor ${file} of memmap/raw a length of ${bytes} bytes`;
  numberOf(native().rawTruncate(file, bytes), { syscall: "ftruncate", what });
}

/**
 * A descriptor of a process, as pidfd_open(2), for {@link process_madvise}.
 *
 * @param pid The process.
 * @param flags 0.
 * @returns A descriptor, close-on-exec.
 * @throws {SystemError} `EINVAL`, `EMFILE`, `ESRCH`; `ENOSYS` before Linux 5.3.
 *
 * @example
 * ```ts
 * import { close, pidfd_open } from "memmap/raw";
 *
 * close(pidfd_open(process.pid, 0));
 * ```
 */
export function pidfd_open(pid: number, flags: number): number {
  const id = asInt(pid, "pid");
  const bits = asInt(flags, "flags");
  return numberOf(native().pidfdOpen(id, bits), {
    syscall: "pidfd_open",
    what: `open process ${id}`,
  });
}

/** How many pages of a file the page cache holds: `struct cachestat`. */
export interface CacheStat {
  /** In the cache. */
  readonly nr_cache: number;
  /** Of these, not yet written to storage. */
  readonly nr_dirty: number;
  /** Being written now. */
  readonly nr_writeback: number;
  /** Were in the cache, and are no longer. */
  readonly nr_evicted: number;
  /** Of these, so lately that memory seems to be short. */
  readonly nr_recently_evicted: number;
}

/**
 * How much of a file is in the page cache, as cachestat(2), since Linux 6.5.
 *
 * @param fd The file.
 * @param range The bytes; `len` 0 means up to the end.
 * @param flags Must be 0.
 * @returns Counts of pages. Zeros for what has no page cache, and for overlayfs.
 * @throws {SystemError} `EBADF`, `EINVAL`, `EOPNOTSUPP` for hugetlbfs, `EPERM` for a file that this
 *   user neither owns nor may write; `ENOSYS` before Linux 6.5.
 *
 * @example
 * ```ts ignore-run: needs Linux 6.5
 * import { openSync } from "node:fs";
 * import { cachestat } from "memmap/raw";
 *
 * console.log(cachestat(openSync("data.bin", "r"), { off: 0, len: 0 }, 0).nr_cache);
 * ```
 */
export function cachestat(
  fd: number,
  range: { readonly off: Size; readonly len: Size },
  flags: number,
): CacheStat {
  const file = asInt(fd, "fd");
  if (typeof range !== "object" || range === null) throw wrongType(`"range" must be an object`);
  const { off, len } = range;
  const offset = asSize(off, "range.off");
  const length = asSize(len, "range.len");
  const bits = asInt(flags, "flags");
  const counts = new BigUint64Array(5);
  const answer = native().cacheStat(file, offset, length, bits, new Uint8Array(counts.buffer));
  numberOf(answer, { syscall: "cachestat", what: `ask about the cache of descriptor ${file}` });
  const [cache = 0, dirty = 0, writeback = 0, evicted = 0, recent = 0] = [...counts].map(Number);
  return {
    nr_cache: cache,
    nr_dirty: dirty,
    nr_writeback: writeback,
    nr_evicted: evicted,
    nr_recently_evicted: recent,
  };
}
