/**
 * The numbers of the raw door, read from the system's headers by the addon. Each says since which
 * Linux the kernel knows it; {@link accepts} asks the running one.
 *
 * What this processor or system does not have is undefined; off Linux, where nothing runs yet, the
 * others are NaN.
 */
import { findConstant } from "../native.js";

function number(name: string): number {
  return findConstant(name) ?? Number.NaN;
}

/** Pages may not be accessed. Since Linux 2.0. */
export const PROT_NONE: number = number("PROT_NONE");
/** Pages may be read. Since Linux 2.0. */
export const PROT_READ: number = number("PROT_READ");
/** Pages may be written. Since Linux 2.0. */
export const PROT_WRITE: number = number("PROT_WRITE");
/** Pages may be executed. Since Linux 2.0. */
export const PROT_EXEC: number = number("PROT_EXEC");
/** mprotect: down to the start of a mapping that grows down. Since Linux 2.6.0. */
export const PROT_GROWSDOWN: number = number("PROT_GROWSDOWN");
/** mprotect: up to the end of a mapping that grows up, where there are such. Since Linux 2.6.0. */
export const PROT_GROWSUP: number = number("PROT_GROWSUP");
/** For atomic operations, on which it has no effect on any processor. Since Linux 2.5.7. */
export const PROT_SEM: number = number("PROT_SEM");
/** PowerPC: accesses are strongly ordered. Since Linux 2.6.26. */
export const PROT_SAO: number | undefined = findConstant("PROT_SAO");
/** arm64: branch targets are checked. Since Linux 5.8. */
export const PROT_BTI: number | undefined = findConstant("PROT_BTI");
/** arm64: memory tags are checked. Since Linux 5.10. */
export const PROT_MTE: number | undefined = findConstant("PROT_MTE");
/** Others see the writes, and they reach the file. Since Linux 2.0. */
export const MAP_SHARED: number = number("MAP_SHARED");
/** Writes stay with this process. Since Linux 2.0. */
export const MAP_PRIVATE: number = number("MAP_PRIVATE");
/** As MAP_SHARED, and unknown flags are refused. Since Linux 4.15. */
export const MAP_SHARED_VALIDATE: number = number("MAP_SHARED_VALIDATE");
/** Anonymous memory that the kernel may take back, as zeros, when it has none. Since Linux 6.11. */
export const MAP_DROPPABLE: number = number("MAP_DROPPABLE");
/** The bits of which SHARED, PRIVATE, SHARED_VALIDATE and DROPPABLE are values. Since Linux 2.0. */
export const MAP_TYPE: number = number("MAP_TYPE");
/** Exactly at `addr`, replacing what stands there. Since Linux 2.0. */
export const MAP_FIXED: number = number("MAP_FIXED");
/** Exactly at `addr`, or EEXIST. Since Linux 4.17. */
export const MAP_FIXED_NOREPLACE: number = number("MAP_FIXED_NOREPLACE");
/** No file; zeros. Since Linux 2.0. */
export const MAP_ANONYMOUS: number = number("MAP_ANONYMOUS");
/** Another name of MAP_ANONYMOUS. Since Linux 2.0. */
export const MAP_ANON: number = number("MAP_ANON");
/** Of no effect: 0. Since Linux 2.0. */
export const MAP_FILE: number = number("MAP_FILE");
/** x86-64: below 2^31. Since Linux 2.4.20. */
export const MAP_32BIT: number | undefined = findConstant("MAP_32BIT");
/** x86-64: above 2^32. Since Linux 6.6. */
export const MAP_ABOVE4G: number | undefined = findConstant("MAP_ABOVE4G");
/** For stacks: a touch of the page below makes the mapping longer. Since Linux 2.0. */
export const MAP_GROWSDOWN: number = number("MAP_GROWSDOWN");
/** Ignored. Since Linux 2.0. */
export const MAP_DENYWRITE: number = number("MAP_DENYWRITE");
/** Ignored. Since Linux 2.0. */
export const MAP_EXECUTABLE: number = number("MAP_EXECUTABLE");
/** Locked as by mlock, but what cannot be brought in is not reported. Since Linux 2.5.37. */
export const MAP_LOCKED: number = number("MAP_LOCKED");
/** No swap space is promised. Since Linux 2.0. */
export const MAP_NORESERVE: number = number("MAP_NORESERVE");
/** Page tables are filled, files read ahead; private ones since 2.6.23. Since Linux 2.5.46. */
export const MAP_POPULATE: number = number("MAP_POPULATE");
/** With MAP_POPULATE: populates nothing, since 2.6.23. Since Linux 2.5.46. */
export const MAP_NONBLOCK: number = number("MAP_NONBLOCK");
/** For stacks; without huge pages since 6.7. Since Linux 2.6.27. */
export const MAP_STACK: number = number("MAP_STACK");
/** From the pool of huge pages. Since Linux 2.6.32. */
export const MAP_HUGETLB: number = number("MAP_HUGETLB");
/**
 * With MAP_SHARED_VALIDATE, on persistent memory: file data stays there in a crash.
 * Since Linux 4.15.
 */
export const MAP_SYNC: number = number("MAP_SYNC");
/**
 * Uncleared memory on systems without a memory management unit; else ignored.
 * Since Linux 2.6.33.
 */
export const MAP_UNINITIALIZED: number = number("MAP_UNINITIALIZED");
/** Where the size of a huge page stands in the flags, as its power of 2. Since Linux 3.8. */
export const MAP_HUGE_SHIFT: number = number("MAP_HUGE_SHIFT");
/** How many bits it has there. Since Linux 3.8. */
export const MAP_HUGE_MASK: number = number("MAP_HUGE_MASK");
/** With MAP_HUGETLB: pages of 16 KiB. Since Linux 3.8. */
export const MAP_HUGE_16KB: number = number("MAP_HUGE_16KB");
/** With MAP_HUGETLB: pages of 64 KiB. Since Linux 3.8. */
export const MAP_HUGE_64KB: number = number("MAP_HUGE_64KB");
/** With MAP_HUGETLB: pages of 512 KiB. Since Linux 3.8. */
export const MAP_HUGE_512KB: number = number("MAP_HUGE_512KB");
/** With MAP_HUGETLB: pages of 1 MiB. Since Linux 3.8. */
export const MAP_HUGE_1MB: number = number("MAP_HUGE_1MB");
/** With MAP_HUGETLB: pages of 2 MiB. Since Linux 3.8. */
export const MAP_HUGE_2MB: number = number("MAP_HUGE_2MB");
/** With MAP_HUGETLB: pages of 8 MiB. Since Linux 3.8. */
export const MAP_HUGE_8MB: number = number("MAP_HUGE_8MB");
/** With MAP_HUGETLB: pages of 16 MiB. Since Linux 3.8. */
export const MAP_HUGE_16MB: number = number("MAP_HUGE_16MB");
/** With MAP_HUGETLB: pages of 32 MiB. Since Linux 3.8. */
export const MAP_HUGE_32MB: number = number("MAP_HUGE_32MB");
/** With MAP_HUGETLB: pages of 256 MiB. Since Linux 3.8. */
export const MAP_HUGE_256MB: number = number("MAP_HUGE_256MB");
/** With MAP_HUGETLB: pages of 512 MiB. Since Linux 3.8. */
export const MAP_HUGE_512MB: number = number("MAP_HUGE_512MB");
/** With MAP_HUGETLB: pages of 1 GiB. Since Linux 3.8. */
export const MAP_HUGE_1GB: number = number("MAP_HUGE_1GB");
/** With MAP_HUGETLB: pages of 2 GiB. Since Linux 3.8. */
export const MAP_HUGE_2GB: number = number("MAP_HUGE_2GB");
/** With MAP_HUGETLB: pages of 16 GiB. Since Linux 3.8. */
export const MAP_HUGE_16GB: number = number("MAP_HUGE_16GB");
/** Nothing is waited for; the kernel writes dirty pages anyway. Since Linux 2.0. */
export const MS_ASYNC: number = number("MS_ASYNC");
/** Of no effect but EBUSY for locked pages: mappings and files are one cache. Since Linux 2.0. */
export const MS_INVALIDATE: number = number("MS_INVALIDATE");
/** Writes dirty pages and waits for it. Since Linux 2.0. */
export const MS_SYNC: number = number("MS_SYNC");
/** No special treatment. Since Linux 2.4. */
export const MADV_NORMAL: number = number("MADV_NORMAL");
/** Reading ahead does not pay. Since Linux 2.4. */
export const MADV_RANDOM: number = number("MADV_RANDOM");
/** Reading far ahead pays. Since Linux 2.4. */
export const MADV_SEQUENTIAL: number = number("MADV_SEQUENTIAL");
/** Reads ahead now. Since Linux 2.4. */
export const MADV_WILLNEED: number = number("MADV_WILLNEED");
/** Throws pages away: zeros, or the file, come at the next touch. Since Linux 2.4. */
export const MADV_DONTNEED: number = number("MADV_DONTNEED");
/** Private anonymous pages may be thrown away until they are written again. Since Linux 4.5. */
export const MADV_FREE: number = number("MADV_FREE");
/** Frees the pages and the storage behind them: a hole in the file. Since Linux 2.6.16. */
export const MADV_REMOVE: number = number("MADV_REMOVE");
/** A child of fork does not get them. Since Linux 2.6.16. */
export const MADV_DONTFORK: number = number("MADV_DONTFORK");
/** Undoes DONTFORK. Since Linux 2.6.16. */
export const MADV_DOFORK: number = number("MADV_DOFORK");
/** Equal pages may be kept once. Since Linux 2.6.32. */
export const MADV_MERGEABLE: number = number("MADV_MERGEABLE");
/** Undoes MERGEABLE. Since Linux 2.6.32. */
export const MADV_UNMERGEABLE: number = number("MADV_UNMERGEABLE");
/** Transparent huge pages are wanted. Since Linux 2.6.38. */
export const MADV_HUGEPAGE: number = number("MADV_HUGEPAGE");
/** Transparent huge pages are not wanted. Since Linux 2.6.38. */
export const MADV_NOHUGEPAGE: number = number("MADV_NOHUGEPAGE");
/** Left out of core dumps. Since Linux 3.4. */
export const MADV_DONTDUMP: number = number("MADV_DONTDUMP");
/** Undoes DONTDUMP. Since Linux 3.4. */
export const MADV_DODUMP: number = number("MADV_DODUMP");
/** A child of fork gets zeros; private anonymous memory only. Since Linux 4.14. */
export const MADV_WIPEONFORK: number = number("MADV_WIPEONFORK");
/** Undoes WIPEONFORK. Since Linux 4.14. */
export const MADV_KEEPONFORK: number = number("MADV_KEEPONFORK");
/** The first to go when memory is short. Since Linux 5.4. */
export const MADV_COLD: number = number("MADV_COLD");
/** Go now, to the file or to swap. Since Linux 5.4. */
export const MADV_PAGEOUT: number = number("MADV_PAGEOUT");
/** Fills page tables as by reading; tells what cannot be had. Since Linux 5.14. */
export const MADV_POPULATE_READ: number = number("MADV_POPULATE_READ");
/** Fills page tables as by writing; tells what cannot be had. Since Linux 5.14. */
export const MADV_POPULATE_WRITE: number = number("MADV_POPULATE_WRITE");
/** DONTNEED also where pages are locked. Since Linux 5.18. */
export const MADV_DONTNEED_LOCKED: number = number("MADV_DONTNEED_LOCKED");
/** Makes a transparent huge page now. Since Linux 6.1. */
export const MADV_COLLAPSE: number = number("MADV_COLLAPSE");
/** A touch is SIGSEGV, without an area of its own. Since Linux 6.13. */
export const MADV_GUARD_INSTALL: number = number("MADV_GUARD_INSTALL");
/** Undoes GUARD_INSTALL. Since Linux 6.13. */
export const MADV_GUARD_REMOVE: number = number("MADV_GUARD_REMOVE");
/** Makes a page fail, for tests; needs CAP_SYS_ADMIN. Since Linux 2.6.32. */
export const MADV_HWPOISON: number = number("MADV_HWPOISON");
/** Takes a page out of use; needs CAP_SYS_ADMIN. Since Linux 2.6.33. */
export const MADV_SOFT_OFFLINE: number = number("MADV_SOFT_OFFLINE");
/** mlockall: what is mapped now. Since Linux 2.0. */
export const MCL_CURRENT: number = number("MCL_CURRENT");
/** mlockall: what will be mapped. The engine's own memory as well. Since Linux 2.0. */
export const MCL_FUTURE: number = number("MCL_FUTURE");
/** mlockall: each page when it is first touched. Since Linux 4.4. */
export const MCL_ONFAULT: number = number("MCL_ONFAULT");
/** mlock2: each page when it is first touched. Since Linux 4.4. */
export const MLOCK_ONFAULT: number = number("MLOCK_ONFAULT");
/** The mapping may come to lie elsewhere. Since Linux 2.0. */
export const MREMAP_MAYMOVE: number = number("MREMAP_MAYMOVE");
/** Exactly at the new address, replacing what stands there. Since Linux 2.3.31. */
export const MREMAP_FIXED: number = number("MREMAP_FIXED");
/** The old addresses stay mapped, without their pages; shared ones since 5.13. Since Linux 5.7. */
export const MREMAP_DONTUNMAP: number = number("MREMAP_DONTUNMAP");
/** Closed on exec. Since Linux 3.17. */
export const MFD_CLOEXEC: number = number("MFD_CLOEXEC");
/** Seals may be added. Since Linux 3.17. */
export const MFD_ALLOW_SEALING: number = number("MFD_ALLOW_SEALING");
/** From the pool of huge pages; of its default size without MFD_HUGE_*. Since Linux 4.14. */
export const MFD_HUGETLB: number = number("MFD_HUGETLB");
/** Not executable for good; may be sealed. Since Linux 6.3. */
export const MFD_NOEXEC_SEAL: number = number("MFD_NOEXEC_SEAL");
/** Executable. Since Linux 6.3. */
export const MFD_EXEC: number = number("MFD_EXEC");
/** Where the size of a huge page stands in these flags, as its power of 2. Since Linux 4.14. */
export const MFD_HUGE_SHIFT: number = number("MFD_HUGE_SHIFT");
/** How many bits it has there. Since Linux 4.14. */
export const MFD_HUGE_MASK: number = number("MFD_HUGE_MASK");
/** With MFD_HUGETLB: pages of 64 KiB. Since Linux 4.14. */
export const MFD_HUGE_64KB: number = number("MFD_HUGE_64KB");
/** With MFD_HUGETLB: pages of 512 KiB. Since Linux 4.14. */
export const MFD_HUGE_512KB: number = number("MFD_HUGE_512KB");
/** With MFD_HUGETLB: pages of 1 MiB. Since Linux 4.14. */
export const MFD_HUGE_1MB: number = number("MFD_HUGE_1MB");
/** With MFD_HUGETLB: pages of 2 MiB. Since Linux 4.14. */
export const MFD_HUGE_2MB: number = number("MFD_HUGE_2MB");
/** With MFD_HUGETLB: pages of 8 MiB. Since Linux 4.14. */
export const MFD_HUGE_8MB: number = number("MFD_HUGE_8MB");
/** With MFD_HUGETLB: pages of 16 MiB. Since Linux 4.14. */
export const MFD_HUGE_16MB: number = number("MFD_HUGE_16MB");
/** With MFD_HUGETLB: pages of 32 MiB. Since Linux 4.14. */
export const MFD_HUGE_32MB: number = number("MFD_HUGE_32MB");
/** With MFD_HUGETLB: pages of 256 MiB. Since Linux 4.14. */
export const MFD_HUGE_256MB: number = number("MFD_HUGE_256MB");
/** With MFD_HUGETLB: pages of 512 MiB. Since Linux 4.14. */
export const MFD_HUGE_512MB: number = number("MFD_HUGE_512MB");
/** With MFD_HUGETLB: pages of 1 GiB. Since Linux 4.14. */
export const MFD_HUGE_1GB: number = number("MFD_HUGE_1GB");
/** With MFD_HUGETLB: pages of 2 GiB. Since Linux 4.14. */
export const MFD_HUGE_2GB: number = number("MFD_HUGE_2GB");
/** With MFD_HUGETLB: pages of 16 GiB. Since Linux 4.14. */
export const MFD_HUGE_16GB: number = number("MFD_HUGE_16GB");
/** No more seals. Since Linux 3.17. */
export const F_SEAL_SEAL: number = number("F_SEAL_SEAL");
/** Not to be made shorter. Since Linux 3.17. */
export const F_SEAL_SHRINK: number = number("F_SEAL_SHRINK");
/** Not to be made longer. Since Linux 3.17. */
export const F_SEAL_GROW: number = number("F_SEAL_GROW");
/** Not to be written, by anybody. Since Linux 3.17. */
export const F_SEAL_WRITE: number = number("F_SEAL_WRITE");
/** Not to be written but through mappings that stand already. Since Linux 5.1. */
export const F_SEAL_FUTURE_WRITE: number = number("F_SEAL_FUTURE_WRITE");
/** Its execute permission stays as it is. Since Linux 6.3. */
export const F_SEAL_EXEC: number = number("F_SEAL_EXEC");
