/* SPDX-License-Identifier: MIT
 *
 * The raw door's memory: which addresses were obtained through it (area.c), and the calls of the
 * manual on them, under the safety contract (raw.c).
 *
 * Addresses of the raw door are plain numbers that any thread of the process may use, so their
 * registry is process-wide. An area is a run of pages of one mmap(2); it is cut where a call, or a
 * view, begins or ends inside it:
 *
 *      live               reserved           live            (hole)      live
 *     +------------------+------------------+---------------+           +---------+
 *     | mapped           | unmapped by its  | mapped        |  nobody's |         |
 *     |                  | user, under a    |               |  here     |         |
 *     |          [=== view ===================]             |           |         |
 *     +------------------+------------------+---------------+           +---------+
 *
 * To its user a reserved area is a hole: every call answers as for one. Nobody else can get its
 * addresses until the last view over it has gone.
 */
#ifndef MEMMAP_AREA_H
#define MEMMAP_AREA_H

#include "memmap.h"

#include <sys/uio.h>

/* What the raw door refuses before the kernel is asked: numbers that are no errno. */
#define MM_FOREIGN (-65536) /* memory that others mapped */
#define MM_VIEWED (-65537)  /* a view covers it */
#define MM_SEALED (-65538)  /* it is sealed: a repair could not be made there */

struct mm_area {
  struct mm_area *next; /* the next higher one; areas do not overlap */
  uintptr_t base;
  size_t length; /* whole pages; never 0 */
  size_t page;
  bool live; /* false: reserved */
  bool shared;
  bool anonymous;
  bool grows_down;
  bool sealed;
  void *owner; /* the environment with which it goes */
  struct mm_slot *slot;
};

/* area.c; the caller holds the lock, but for the last three. */
void mm_areas_lock(void);
void mm_areas_unlock(void);
struct mm_area *mm_area_from(uintptr_t address);
int mm_area_cut(uintptr_t address);
int mm_area_add(const struct mm_area *plan);
struct mm_area *mm_area_make(const struct mm_area *plan);
void mm_area_unmake(struct mm_area *area);
void mm_area_put(struct mm_area *made);
void mm_area_drop(struct mm_area *area);
bool mm_area_foreign(uintptr_t base, uintptr_t end);
uintptr_t mm_area_live_end(uintptr_t base, uintptr_t end);
bool mm_area_any_reserved(uintptr_t base, uintptr_t end);
bool mm_area_viewed(uintptr_t base, uintptr_t end);
int mm_area_release(uintptr_t base, uintptr_t end, bool live);
int mm_area_view(void *address, size_t length, struct mm_region **out);
void mm_area_view_ended(struct mm_region *view);
void mm_area_env_ending(struct mm_env *state);
bool mm_area_take_fault(uintptr_t base, uintptr_t end, struct mm_fault *out);

/* raw.c; the caller of take and hold has the lock */
int mm_raw_take(uintptr_t base, uintptr_t end, void *owner);
void mm_raw_hold(uintptr_t base, uintptr_t end);
int mm_raw_mmap(const struct mm_map_request *request, void **out);
int mm_raw_munmap(void *address, size_t length);
int mm_raw_mprotect(void *address, size_t length, int prot);
int mm_raw_madvise(void *address, size_t length, int advice);
int mm_raw_each(void *address, size_t length, int argument, int (*call)(void *, size_t, int));
int mm_raw_lock(void *address, size_t length, int argument, int (*call)(void *, size_t, int));
int mm_raw_mincore(void *address, size_t length, unsigned char *vector);
int mm_raw_mseal(void *address, size_t length, unsigned long flags);
int mm_raw_remap_file_pages(void *address, size_t length, const long last[3]);
bool mm_raw_harms(int advice);

/* The arguments of process_madvise(2). */
struct mm_advice {
  int pidfd;
  const struct iovec *ranges;
  size_t count;
  int advice;
  unsigned flags;
};
long mm_raw_process_madvise(const struct mm_advice *advice);
long mm_raw_process_madvise_any(const struct mm_advice *advice);

/* move.c */
struct mm_move {
  void *old;
  size_t old_length;
  size_t length;
  int flags;
  void *target;
  void *owner;
};
int mm_raw_mremap(const struct mm_move *move, void **out);

/* descriptors.c */
int mm_descriptor_made(int fd);
int mm_descriptor_close(int fd);
int mm_descriptor_truncate(int fd, off_t length);

extern const struct mm_export mm_raw_exports[]; /* calls.c */

#endif
