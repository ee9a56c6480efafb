/**
 * Asks the running kernel which constants of the raw door it knows: by calls that do nothing, or
 * that undo themselves. Versions are not compared, since kernels are patched and configured.
 */
import { readdirSync } from "node:fs";
import { memmapError, SystemError, wrongType, wrongValue } from "../errors.js";
import { native, pageSize } from "../native.js";
import * as constants from "./constants.js";
import { add_seals, close, memfd_create } from "./descriptors.js";
import { mmap, mremap, munmap } from "./mappings.js";
import { madvise, mlock2, mprotect } from "./pages.js";

/** The name of a constant of the raw door. */
export type ConstantName = keyof typeof constants;

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

function acceptsMapFlag(name: ConstantName, value: number): boolean {
  const size = /^MAP_HUGE_\d/.test(name) ? 2 ** (value >>> constants.MAP_HUGE_SHIFT) : 0;
  if (size > 0) return hasHugePages(size);
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

/**
 * Whether the running kernel accepts a constant of this door.
 *
 * A flag that the kernel ignores without a word, as it does with most flags of mmap(2) without
 * `MAP_SHARED_VALIDATE`, counts as accepted, but for `MAP_UNINITIALIZED`.
 *
 * @param name The name of the constant: "MADV_COLLAPSE".
 * @returns false also for what this processor or system does not have.
 * @throws {TypeError} `ERR_INVALID_ARG_VALUE` for a name that is no constant of this door.
 * @throws {MemmapError} `ERR_MEMMAP_CANNOT_TELL` for `MAP_SYNC`, which is the file system's to say;
 *   `ERR_MEMMAP_UNSUPPORTED` where memmap does not run.
 *
 * @example
 * ```ts
 * import { accepts } from "memmap/raw";
 *
 * console.log(accepts("MADV_DONTNEED")); // true
 * ```
 */
export function accepts(name: ConstantName): boolean {
  if (typeof name !== "string") throw wrongType(`"name" must be a string`);
  if (!table.has(name)) {
    throw wrongValue(`"name" must be the name of a constant, not ${JSON.stringify(name)}`);
  }
  native();
  const value = table.get(name);
  return value !== undefined && acceptsValue(name, value);
}
