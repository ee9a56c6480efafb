/**
 * The door "memmap/raw": names only.
 */
export { accepts, type CallName, type ConstantName } from "./accepts.js";
export type { Address, Size } from "./arguments.js";
export * from "./constants.js";
export {
  add_seals,
  type CacheStat,
  cachestat,
  close,
  ftruncate,
  get_seals,
  memfd_create,
  memfd_secret,
  pidfd_open,
  shm_open,
  shm_unlink,
} from "./descriptors.js";
export { check, mmap, mremap, munmap, remap_file_pages, view } from "./mappings.js";
export {
  type IoVector,
  madvise,
  mincore,
  mlock,
  mlock2,
  mlockall,
  mprotect,
  mseal,
  msync,
  munlock,
  munlockall,
  process_madvise,
} from "./pages.js";
