/**
 * Asks the running kernel which constants and calls of the raw door it knows: by calls that do
 * nothing, or that undo themselves. Versions are not compared, since kernels are patched and
 * configured.
 */
import { readdirSync } from "node:fs";
import { memmapError, SystemError, wrongType, wrongValue } from "../errors.js";
import { native, pageSize } from "../native.js";
import * as constants from "./constants.js";
import {
  add_seals,
  cachestat,
  close,
  memfd_create,
  memfd_secret,
  pidfd_open,
} from "./descriptors.js";
import { mmap, mremap, munmap, remap_file_pages } from "./mappings.js";
import { madvise, mlock2, mprotect, mseal, process_madvise } from "./pages.js";

/** The name of a constant of the raw door. */
export type ConstantName = keyof typeof constants;

/** The name of a system call of the raw door. */
export type CallName =
  | ("cachestat" | "madvise" | "memfd_create" | "memfd_secret" | "mincore" | "mlock" | "mlock2")
  | ("mlockall" | "mmap" | "mprotect" | "mremap" | "mseal" | "msync" | "munlock" | "munlockall")
  | ("munmap" | "pidfd_open" | "process_madvise" | "remap_file_pages");

const table: ReadonlyMap<string, number | undefined> = new Map(Object.entries(constants));
const anonymous = constants.MAP_PRIVATE | constants.MAP_ANONYMOUS;

/* Whether a call does not fail with one of these errnos; others say that it was understood. */
function isKnown(call: () => void, unknown: readonly string[] = ["EINVAL", "ENOSYS"]): boolean {
  try {
    call();
    return true;
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    return !unknown.includes(error.code);
  }
}

function withPage(use: (page: bigint) => void): void {
  const page = mmap(null, pageSize, constants.PROT_READ, anonymous, -1, 0);
  try {
    use(page);
  } finally {
    munmap(page, pageSize);
  }
}

function withMemory(flags: number, use: (fd: number) => void): void {
  const fd = memfd_create("memmap:accepts", constants.MFD_CLOEXEC | flags);
  try {
    use(fd);
  } finally {
    close(fd);
  }
}

/* Kernels that do not know the flag take the address for a hint. */
function knowsNoReplace(): boolean {
  let isKnownFlag = true;
  withPage((page) => {
    const flags = anonymous | constants.MAP_FIXED_NOREPLACE;
    isKnownFlag = isKnown(() => {
      munmap(mmap(page, pageSize, constants.PROT_READ, flags, -1, 0), pageSize);
      throw memmapError("ERR_MEMMAP_CANNOT_TELL", "the flag was taken for a hint");
    }, []);
  });
  return isKnownFlag;
}

function hasHugePages(byteLength: number): boolean {
  try {
    return readdirSync("/sys/kernel/mm/hugepages").includes(`hugepages-${byteLength / 1024}kB`);
  } catch {
    return false;
  }
}

/* Sizes of huge pages have pools of their own; how they are written is no size. */
function acceptsHugeSize(name: ConstantName, value: number): boolean {
  const isSize = /^M(?:AP|FD)_HUGE_\d/.test(name);
  return !isSize || hasHugePages(2 ** (value >>> constants.MAP_HUGE_SHIFT));
}

function acceptsMapFlag(name: ConstantName, value: number): boolean {
  const map = (flags: number) => () => {
    munmap(mmap(null, pageSize, constants.PROT_READ, flags, -1, 0), pageSize);
  };
  switch (name) {
    case "MAP_FIXED_NOREPLACE":
      return knowsNoReplace();
    case "MAP_DROPPABLE":
      return isKnown(map(constants.MAP_DROPPABLE | constants.MAP_ANONYMOUS));
    case "MAP_SHARED_VALIDATE":
      return isKnown(() =>
        withMemory(0, (fd) => {
          munmap(mmap(null, pageSize, constants.PROT_READ, value, fd, 0), pageSize);
        }),
      );
    case "MAP_HUGETLB":
      return hasHugePages(2 ** 21) || readPools().length > 0;
    case "MAP_SYNC":
      throw memmapError(
        "ERR_MEMMAP_CANNOT_TELL",
        "Cannot tell whether MAP_SYNC is accepted: each file system decides for each file",
      );
    case "MAP_UNINITIALIZED":
      return false; // Ignored by every kernel that runs on a memory management unit.
    default:
      return true; // Flags of the first kernels, or such that others ignore without a word.
  }
}

function readPools(): string[] {
  try {
    return readdirSync("/sys/kernel/mm/hugepages");
  } catch {
    return [];
  }
}

function acceptsMemoryFlag(value: number): boolean {
  if (value === constants.MFD_HUGETLB && readPools().length === 0) return false;
  return isKnown(() => withMemory(value, () => {}));
}

function acceptsValue(name: ConstantName, value: number): boolean {
  const family = name.slice(0, name.indexOf("_"));
  if (/^M(?:AP|FD)_HUGE_/.test(name)) return acceptsHugeSize(name, value);
  switch (family) {
    case "MAP":
      return acceptsMapFlag(name, value);
    case "MADV":
      return isKnown(() => withPage((page) => madvise(page, 0, value)));
    case "MFD":
      return acceptsMemoryFlag(value);
    case "F":
      return isKnown(() => withMemory(constants.MFD_ALLOW_SEALING, (fd) => add_seals(fd, value)));
    case "PROT":
      if (name.startsWith("PROT_GROWS")) return true;
      return isKnown(() => withPage((page) => mprotect(page, pageSize, value)));
    case "MREMAP":
      if (name !== "MREMAP_DONTUNMAP") return true;
      return isKnown(() => {
        withPage((page) => {
          const flags = constants.MREMAP_MAYMOVE | constants.MREMAP_DONTUNMAP;
          munmap(mremap(page, pageSize, pageSize, flags), pageSize);
        });
      });
    case "MLOCK":
    case "MCL": // MCL_ONFAULT came with MLOCK_ONFAULT, the other two were always there.
      if (!name.endsWith("_ONFAULT")) return true;
      return isKnown(() => withPage((page) => mlock2(page, 0, constants.MLOCK_ONFAULT)));
    default:
      return true;
  }
}

/* What a kernel without the call answers, or a sandbox that forbids it. Each probe is refused for
   what it asks where the call is known, and changes nothing. */
const missing = ["ENOSYS", "EPERM"];

const probes: ReadonlyMap<string, () => boolean> = new Map([
  ["cachestat", () => isKnown(() => void cachestat(-1, { off: 0, len: 0 }, 0), missing)],
  ["memfd_create", () => isKnown(() => void memfd_create("", -1), missing)],
  ["memfd_secret", () => isKnown(() => void memfd_secret(1), missing)],
  ["mlock2", () => isKnown(() => mlock2(0n, 0, -1), missing)],
  ["mseal", () => isKnown(() => mseal(0n, 0, 0), missing)],
  ["pidfd_open", () => isKnown(() => void pidfd_open(-1, 0), missing)],
  ["process_madvise", () => isKnown(() => void process_madvise(-1, [], 0, 0), missing)],
  ["remap_file_pages", () => isKnown(() => remap_file_pages(0n, 0, 0, 0, 0), missing)],
  // What every Linux has.
  ...["madvise", "mincore", "mlock", "mlockall", "mmap", "mprotect", "mremap", "msync"].map(always),
  ...["munlock", "munlockall", "munmap"].map(always),
]);

function always(name: string): [string, () => boolean] {
  return [name, () => true];
}

/**
 * Whether the running kernel accepts a constant, or has a call, of this door.
 *
 * A flag that the kernel ignores without a word, as it does with most flags of mmap(2) without
 * `MAP_SHARED_VALIDATE`, counts as accepted, but for `MAP_UNINITIALIZED`.
 *
 * A call counts as there when it is not answered with `ENOSYS`, nor with `EPERM` as sandboxes do;
 * whether this user may make it on what he has in mind only that call can tell.
 *
 * @param name The name of the constant, "MADV_COLLAPSE", or of the system call, "mseal".
 * @returns false also for what this processor or system does not have, or has switched off.
 * @throws {TypeError} `ERR_INVALID_ARG_VALUE` for a name that is neither a constant nor a system
 *   call of this door.
 * @throws {MemmapError} `ERR_MEMMAP_CANNOT_TELL` for `MAP_SYNC`, which is the file system's to say;
 *   `ERR_MEMMAP_UNSUPPORTED` where memmap does not run.
 *
 * @example
 * ```ts
 * import { accepts } from "memmap/raw";
 *
 * console.log(accepts("MADV_DONTNEED")); // true
 * console.log(accepts("mseal")); // true since Linux 6.10, on machines of 64 bits
 * ```
 */
export function accepts(name: ConstantName | CallName): boolean {
  if (typeof name !== "string") throw wrongType(`"name" must be a string`);
  const probe = probes.get(name);
  if (probe === undefined && !isConstant(name)) {
    const given = JSON.stringify(name);
    throw wrongValue(`"name" must be the name of a constant or a system call, not ${given}`);
  }
  native();
  if (probe !== undefined) return probe();
  const value = table.get(name);
  return value !== undefined && isConstant(name) && acceptsValue(name, value);
}

function isConstant(name: string): name is ConstantName {
  return table.has(name);
}
