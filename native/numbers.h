/* SPDX-License-Identifier: MIT
 *
 * Numbers of the kernel's interface, for headers that are older than the kernel: they never change.
 * constants.c tells JavaScript of all of them.
 */
#ifndef MEMMAP_NUMBERS_H
#define MEMMAP_NUMBERS_H

#include <fcntl.h>
#include <linux/memfd.h>
#include <linux/mman.h>
#include <sys/mman.h>

#ifndef PROT_GROWSDOWN
#define PROT_GROWSDOWN 0x01000000
#endif
#ifndef PROT_GROWSUP
#define PROT_GROWSUP 0x02000000
#endif
#ifndef PROT_SEM
#define PROT_SEM 0x8
#endif
#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08
#endif
#if defined(__x86_64__) && !defined(MAP_ABOVE4G)
#define MAP_ABOVE4G 0x80
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MAP_UNINITIALIZED
#define MAP_UNINITIALIZED 0x4000000
#endif
#ifndef MAP_SYNC
#define MAP_SYNC 0x080000
#endif
#ifndef MAP_SHARED_VALIDATE
#define MAP_SHARED_VALIDATE 0x03
#endif
#ifndef MAP_HUGE_SHIFT
#define MAP_HUGE_SHIFT 26
#endif
#ifndef MAP_HUGE_MASK
#define MAP_HUGE_MASK 0x3f
#endif
#ifndef MADV_FREE
#define MADV_FREE 8
#endif
#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif
#ifndef MADV_KEEPONFORK
#define MADV_KEEPONFORK 19
#endif
#ifndef MADV_COLD
#define MADV_COLD 20
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif
#ifndef MADV_GUARD_REMOVE
#define MADV_GUARD_REMOVE 103
#endif
#ifndef MADV_HWPOISON
#define MADV_HWPOISON 100
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif
#ifndef MCL_ONFAULT
#define MCL_ONFAULT 4
#endif
#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT 1
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef MFD_HUGETLB
#define MFD_HUGETLB 4U
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U
#endif
#ifndef MFD_EXEC
#define MFD_EXEC 0x10U
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x10
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x20
#endif
#ifndef MAP_HUGE_16KB
#define MAP_HUGE_16KB (14U << MAP_HUGE_SHIFT)
#endif
#ifndef MAP_HUGE_64KB
#define MAP_HUGE_64KB (16U << MAP_HUGE_SHIFT)
#endif
#ifndef MAP_HUGE_512KB
#define MAP_HUGE_512KB (19U << MAP_HUGE_SHIFT)
#endif
#ifndef MAP_HUGE_1MB
#define MAP_HUGE_1MB (20U << MAP_HUGE_SHIFT)
#endif
#ifndef MAP_HUGE_2MB
#define MAP_HUGE_2MB (21U << MAP_HUGE_SHIFT)
#endif
#ifndef MAP_HUGE_8MB
#define MAP_HUGE_8MB (23U << MAP_HUGE_SHIFT)
#endif
#ifndef MAP_HUGE_16MB
#define MAP_HUGE_16MB (24U << MAP_HUGE_SHIFT)
#endif
#ifndef MAP_HUGE_32MB
#define MAP_HUGE_32MB (25U << MAP_HUGE_SHIFT)
#endif
#ifndef MAP_HUGE_256MB
#define MAP_HUGE_256MB (28U << MAP_HUGE_SHIFT)
#endif
#ifndef MAP_HUGE_512MB
#define MAP_HUGE_512MB (29U << MAP_HUGE_SHIFT)
#endif
#ifndef MAP_HUGE_1GB
#define MAP_HUGE_1GB (30U << MAP_HUGE_SHIFT)
#endif
#ifndef MAP_HUGE_2GB
#define MAP_HUGE_2GB (31U << MAP_HUGE_SHIFT)
#endif
#ifndef MAP_HUGE_16GB
#define MAP_HUGE_16GB (34U << MAP_HUGE_SHIFT)
#endif
#ifndef MFD_HUGE_SHIFT /* they came together */
#define MFD_HUGE_SHIFT MAP_HUGE_SHIFT
#define MFD_HUGE_MASK MAP_HUGE_MASK
#define MFD_HUGE_64KB MAP_HUGE_64KB
#define MFD_HUGE_512KB MAP_HUGE_512KB
#define MFD_HUGE_1MB MAP_HUGE_1MB
#define MFD_HUGE_2MB MAP_HUGE_2MB
#define MFD_HUGE_8MB MAP_HUGE_8MB
#define MFD_HUGE_16MB MAP_HUGE_16MB
#define MFD_HUGE_32MB MAP_HUGE_32MB
#define MFD_HUGE_256MB MAP_HUGE_256MB
#define MFD_HUGE_512MB MAP_HUGE_512MB
#define MFD_HUGE_1GB MAP_HUGE_1GB
#define MFD_HUGE_2GB MAP_HUGE_2GB
#define MFD_HUGE_16GB MAP_HUGE_16GB
#endif

#endif
