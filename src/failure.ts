/**
 * Turns what the kernel answered into a {@link SystemError}: the name of the errno, and the bound
 * that forbade the call, read from the system at that moment.
 */
import { readFileSync } from "node:fs";
import { SystemError } from "./errors.js";
import { constant, native } from "./native.js";

/** A call that failed, as its message tells it. */
export interface FailedCall {
  /** The name of the call in the manual. */
  readonly syscall: string;
  /** What could not be done to what: "Cannot map 4096 bytes of \"data.bin\"". */
  readonly what: string;
  /** The file, where there is one. */
  readonly path?: string | undefined;
  /** The page size that was asked for from the huge-page pool; 0 or left out for none. */
  readonly hugePageSize?: number | undefined;
}

/** The name of a negative errno; a number that no table knows keeps its digits. */
export function errnoName(errno: number): string {
  return native().errnoNames[String(-errno)] ?? `E${-errno}`;
}

/** The negative errno of a name; a name that no table knows is EPERM. */
export function errnoOf(code: string): number {
  const found = Object.entries(native().errnoNames).find(([, name]) => name === code);
  return -Number(found?.[0] ?? 1);
}

function formatLimit(name: string): string {
  const value = native().limit(constant(name));
  return `${name} is ${value < 0 ? "unlimited" : `${value} bytes`}`;
}

function maxMapCount(): string {
  try {
    return `vm.max_map_count is ${readFileSync("/proc/sys/vm/max_map_count", "utf8").trim()}`;
  } catch {
    return "vm.max_map_count cannot be read";
  }
}

/* Calls for which a hole is ENOMEM. */
const rangeCalls = [
  ...["madvise", "mincore", "mlock2", "mprotect", "mseal", "msync", "munlock"],
  "process_madvise",
];

function noMemory(syscall: string): string {
  const hole = rangeCalls.includes(syscall) ? "a part of the range is not mapped, or " : "";
  return `${hole}no memory or addresses left (${formatLimit("RLIMIT_AS")}, ${maxMapCount()})`;
}

/* What an errno means for one call and for no other. */
const ownReasons: Readonly<Record<string, string>> = {
  "fcntl EBUSY": "a shared mapping that may be written stands",
  "close EBADF": "it is not open, or was not made by this door",
  "ftruncate EBADF": "it is not open, or was not made by this door",
  "mremap EFAULT": "a part of the old range is not mapped, or it is several areas",
  "mmap EOVERFLOW": "the offset and the length pass the end of any file",
};

/* What the manual pages say under ERRORS, in a clause each; a call's own reading stands first. */
function reasonOf(code: string, { syscall, hugePageSize = 0 }: FailedCall): string {
  if (hugePageSize > 0 && code === "ENOMEM") {
    return `the pool has not enough free pages of ${hugePageSize} bytes (vm.nr_hugepages)`;
  }
  const locking = syscall === "mlock" || (syscall === "mmap" && code === "EAGAIN");
  if (locking && ["ENOMEM", "EAGAIN", "EPERM"].includes(code)) {
    const bound = `the memory that may be locked is used up (${formatLimit("RLIMIT_MEMLOCK")})`;
    return syscall === "mlock" ? `${bound}, or a page of it is not mapped or cannot come` : bound;
  }
  switch (code) {
    case "EACCES":
      return "the file, or the way it was opened, does not allow that";
    case "EPERM":
      return "not permitted by the system, a seal or the mount";
    case "EIO":
      if (syscall !== "mmap") return "the storage failed";
      return "this kind of file or file system cannot be mapped";
    case "ENODEV":
      return "this kind of file or file system cannot be mapped";
    case "ENOMEM":
      return noMemory(syscall);
    case "ENOENT":
      return "no such file or directory";
    case "ESRCH":
      return "no such process";
    case "ENXIO":
      return "there is no device or reader behind it";
    case "ELOOP":
      return "too many symbolic links";
    case "ENAMETOOLONG":
      return "the name is too long";
    case "ETXTBSY":
      return "it is a program that is running";
    case "EEXIST":
      return "it exists already";
    case "EISDIR":
      return "it is a directory";
    case "ENOTDIR":
      return "a part of the path is no directory";
    case "EBADF":
      if (syscall === "fallocate") return "the file descriptor is not open for writing";
      return "the file descriptor is not open";
    case "ENOSPC":
      return "no space left on the device";
    case "EBUSY":
      return "pages of it are locked";
    case "EINVAL":
      if (syscall === "madvise") return "pages of it are locked, or this memory does not take that";
      return "the kernel refuses these arguments, or all of them together";
    case "EMFILE":
      return "too many open files in this process";
    case "EROFS":
      return "the file system is mounted read-only";
    case "EFBIG":
      return "the file would become too large";
    case "EOPNOTSUPP":
      return "the file system does not support it";
    default:
      return "the system refused";
  }
}

function clauseOf(code: string, call: FailedCall): string {
  return ownReasons[`${call.syscall} ${code}`] ?? reasonOf(code, call);
}

/** The error of a call that answered a negative errno. */
export function systemError(errno: number, call: FailedCall): SystemError {
  const code = errnoName(errno);
  const message = `${code}: ${call.what}: ${clauseOf(code, call)}, ${call.syscall}`;
  return new SystemError(message, { code, errno, syscall: call.syscall, path: call.path });
}

/**
 * An error of `node:fs` as ours; anything that is no failed system call comes back unchanged.
 *
 * Runtimes differ in the fields they give, so the number is looked up by name where it is missing.
 */
export function fromFileSystem(error: unknown, call: FailedCall): unknown {
  if (!(error instanceof Error) || !("code" in error)) return error;
  const { code } = error;
  const known = Object.entries(native().errnoNames).find(([, name]) => name === code);
  if (typeof code !== "string" || known === undefined) return error;
  const syscall = "syscall" in error && typeof error.syscall === "string" ? error.syscall : "open";
  const message = `${code}: ${call.what}: ${clauseOf(code, { ...call, syscall })}, ${syscall}`;
  const errno = -Number(known[0]);
  return new SystemError(message, { code, errno, syscall, path: call.path, cause: error });
}
