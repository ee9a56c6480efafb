/* SPDX-License-Identifier: MIT
 *
 * Moves pages so that their old addresses stay mapped, empty, for no moment anybody else's
 * (MREMAP_DONTUNMAP, Linux 5.7). Keeps no state; any thread.
 *
 * The kernel counts locked pages that move so at both places, for as long as the process lives:
 * RLIMIT_MEMLOCK would be used up by resizing alone. So their locks are taken off before the move
 * and put on again behind it:
 *
 *      | locked | not locked | locked, on fault |   from      munlock ---> mremap ---> mlock2
 *        \_______ what smaps tells, area by area ______/                     |
 *                                                                            to, or `from` again
 *
 * Between the two another thread finds them unlocked, which it cannot tell from pages in memory.
 */
#include "memmap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A locked part of a range. */
struct lock {
  size_t offset;
  size_t length;
  bool on_fault;
};

/* All of them; `list` is owned by the caller. */
struct locks {
  struct lock *list;
  size_t count;
};

static bool add_lock(struct locks *locks, struct lock lock) {
  if (locks->count % 16 == 0) {
    struct lock *more = realloc(locks->list, (locks->count + 16) * sizeof *more);
    if (more == NULL) return false;
    locks->list = more;
  }
  locks->list[locks->count++] = lock;
  return true;
}

/* Reads the flags of one area of smaps (Documentation/filesystems/proc.rst). Kernels that have no
 * letters for locks on fault write two question marks, as for every flag that they cannot name; in
 * doubt it is such a lock, by which no page comes in that was not there. */
static bool read_flags(const char *flags, struct lock *area) {
  area->on_fault = strstr(flags, " lf") != NULL || strstr(flags, " ??") != NULL;
  return strstr(flags, " lo") != NULL;
}

/* Finds what is locked in a range; false when that cannot be told. */
static bool find_locks(uintptr_t base, size_t length, struct locks *out) {
  FILE *smaps = fopen("/proc/self/smaps", "re");
  char *line = NULL;
  size_t room = 0;
  struct lock area = {0, 0, false};
  bool told = smaps != NULL;
  while (told && getline(&line, &room, smaps) > 0) {
    unsigned long long start, end;
    if (sscanf(line, "%llx-%llx ", &start, &end) == 2) {
      if (start >= base + length) break;
      uintptr_t from = start > base ? (uintptr_t)start : base;
      uintptr_t to = end < base + length ? (uintptr_t)end : base + length;
      area = (struct lock){from - base, to > from ? to - from : 0, false};
    } else if (area.length > 0 && strncmp(line, "VmFlags:", 8) == 0) {
      if (read_flags(line, &area)) told = add_lock(out, area);
    }
  }
  free(line);
  if (smaps != NULL) (void)fclose(smaps);
  return told && out->count > 0;
}

/* Puts locks on. A lock that brings pages in says when one cannot come, and is on all the same: the
 * range was locked so before, and not all of its pages were there. */
static int put_on(uint8_t *base, const struct locks *locks) {
  int result = 0;
  for (size_t i = 0; i < locks->count && result == 0; i++) {
    const struct lock *lock = &locks->list[i];
    uint8_t *at = base + lock->offset;
    result = mm_sys_mlock2(at, lock->length, MLOCK_ONFAULT);
    if (result == 0 && !lock->on_fault) (void)mm_sys_mlock(at, lock->length);
  }
  return result;
}

/* Takes locks off; false when they could not be put on again afterwards, since the limit was made
 * lower than what is locked, and then they are on still. */
static bool take_off(uint8_t *base, const struct locks *locks) {
  for (size_t i = 0; i < locks->count; i++) {
    const struct lock *lock = &locks->list[i];
    if (mm_sys_mlock2(base + lock->offset, lock->length, MLOCK_ONFAULT) != 0) return false;
  }
  for (size_t i = 0; i < locks->count; i++) {
    const struct lock *lock = &locks->list[i];
    if (mm_sys_munlock(base + lock->offset, lock->length) == 0) continue;
    (void)put_on(base, locks);
    return false;
  }
  return true;
}

/* Moves a range without its locks and puts them on at the new place; when that fails, pages and
 * locks go back. */
static int lift_unlocked(const struct mm_lift *lift, const struct locks *locks, void **out) {
  int result = mm_sys_mremap(lift->from, lift->length, lift->length, lift->flags, lift->to, out);
  if (result != 0) {
    (void)put_on(lift->from, locks);
    return result;
  }
  result = put_on(*out, locks);
  if (result == 0) return 0;
  void *back;
  int flags = MREMAP_MAYMOVE | MREMAP_FIXED;
  (void)mm_sys_mremap(*out, lift->length, lift->length, flags, lift->from, &back);
  (void)put_on(lift->from, locks);
  return result;
}

/* Whether the whole of a range is locked in one way. If not, it is several areas. */
static bool is_whole(const struct locks *locks, size_t length) {
  return locks->count == 1 && locks->list[0].length == length;
}

/* Moves the pages of a range as mremap(2) with MREMAP_MAYMOVE | MREMAP_DONTUNMAP, to `to` with
 * MREMAP_FIXED and else to where the kernel finds room; *out is the new place. On failure all is
 * as it was. Where it is not known what is locked, the kernel moves the locks, and counts twice. */
int mm_lift(const struct mm_lift *lift, void **out) {
  struct mm_lift plan = *lift;
  struct locks locks = {NULL, 0};
  plan.flags |= MREMAP_MAYMOVE | MREMAP_DONTUNMAP;
  bool locked = mm_sys_msync(plan.from, plan.length, MS_INVALIDATE) == -EBUSY;
  if (locked) locked = find_locks((uintptr_t)plan.from, plan.length, &locks);
  int result = -EFAULT;
  if (locked && (plan.flags & MREMAP_FIXED) == 0 && !is_whole(&locks, plan.length)) {
    /* As the kernel answers for several areas, which without their locks might become one. */
  } else if (locked && take_off(plan.from, &locks)) {
    result = lift_unlocked(&plan, &locks, out);
  } else {
    result = mm_sys_mremap(plan.from, plan.length, plan.length, plan.flags, plan.to, out);
  }
  free(locks.list);
  return result;
}
