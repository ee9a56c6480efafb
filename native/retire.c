/* SPDX-License-Identifier: MIT
 *
 * Address ranges whose mapping was closed but whose addresses must not be used again yet.
 *
 * After close() the engine may still reach the old addresses: a buffer that was transferred away,
 * or an operation of the runtime (a deflate, a randomFill) that took the raw pointer before. So a
 * closed range is first covered with memory that nobody may touch (guard.c): whoever comes late
 * meets the guard, never another mapping. It is unmapped
 *   - when the garbage collector has taken the last buffer over it, at once; or
 *   - when close() detached the buffer, after a time of grace, since detaching does not wait for an
 *     operation that is under way. So does a view of the raw door whose environment ends, where the
 *     engine does not say when such operations have ended.
 * A covered range costs addresses and no memory, and the kernel merges neighbours into one.
 *
 * Where the engine does not tell when it has let go, a range is never unmapped (mm_region_abandon).
 * Those are listed, so that tests can tell them from a leak.
 *
 * The list of ranges in grace is process-wide: a worker may end long before its ranges are free, so
 * no environment can own it. One mutex guards it; the guard's locks are taken inside it, never the
 * other way round.
 */
#include "memmap.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

/* Longer than any single operation of a runtime on a buffer is expected to last. */
#define GRACE_SECONDS 600

struct retired {
  struct retired *next;
  struct mm_slot *slot;   /* a covered range; or NULL, and */
  struct mm_region *view; /* a view of the raw door, whose last use is ours */
  time_t since;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct retired *oldest, *newest; /* guarded by lock; ordered by `since` */
static const struct mm_kept *kept; /* guarded by lock; what it points to never changes */

static time_t now_seconds(void) {
  struct timespec now = {0, 0};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return now.tv_sec;
}

/* Puts something at the end of the list; under the lock. Without memory for the entry its addresses
 * stay reserved for good. */
static void append(struct retired plan) {
  struct retired *entry = malloc(sizeof *entry);
  if (entry == NULL) return;
  *entry = plan;
  if (newest != NULL) newest->next = entry;
  else oldest = entry;
  newest = entry;
}

/* Takes over a covered range and unmaps it after the time of grace. Neighbours of the same second
 * become one entry, so that a loop of a hundred thousand short mappings keeps a short list. Any
 * thread. */
void mm_retire_later(struct mm_slot *slot) {
  time_t now = now_seconds();
  mm_guard_retire(slot);
  pthread_mutex_lock(&lock);
  bool joins = newest != NULL && newest->slot != NULL && newest->since == now;
  if (!joins || !mm_guard_join(newest->slot, slot)) {
    append((struct retired){.slot = slot, .since = now});
  }
  pthread_mutex_unlock(&lock);
}

/* Takes over the last use of a view of the raw door and ends it after the time of grace. Any
 * thread. */
void mm_retire_view(struct mm_region *view) {
  pthread_mutex_lock(&lock);
  append((struct retired){.view = view, .since = now_seconds()});
  pthread_mutex_unlock(&lock);
}

/* Takes over a covered range that stays reserved for good. Any thread. */
void mm_retire_never(const struct mm_slot *slot) {
  struct mm_kept *entry = malloc(sizeof *entry);
  if (entry == NULL) return;
  pthread_mutex_lock(&lock);
  *entry = (struct mm_kept){.next = kept, .base = slot->base, .length = slot->length};
  kept = entry;
  pthread_mutex_unlock(&lock);
}

/* The ranges that stay reserved for good, NULL when there are none. The list grows at its front and
 * nothing in it is ever freed, so that the caller may walk it without the lock. */
const struct mm_kept *mm_retire_kept(void) {
  pthread_mutex_lock(&lock);
  const struct mm_kept *first = kept;
  pthread_mutex_unlock(&lock);
  return first;
}

/* Takes the oldest entry out whose grace is over, and gives its range back; NULL when there is
 * none. */
static struct retired *take_oldest(bool all) {
  time_t now = now_seconds();
  pthread_mutex_lock(&lock);
  struct retired *entry = oldest;
  if (entry != NULL && !all && now - entry->since <= GRACE_SECONDS) entry = NULL;
  if (entry != NULL) {
    oldest = entry->next;
    if (oldest == NULL) newest = NULL;
  }
  if (entry != NULL && entry->slot != NULL) {
    void *base = (void *)entry->slot->base;
    size_t length = entry->slot->length;
    mm_guard_remove(entry->slot);
    (void)mm_sys_munmap(base, length);
  }
  pthread_mutex_unlock(&lock);
  return entry;
}

/* Unmaps the ranges whose grace is over, or all of them when the process has run out of addresses
 * or mappings. Called before every new mapping; a few comparisons when there is nothing to do. The
 * caller holds no lock of the raw door, whose views end here. */
void mm_retire_sweep(bool all) {
  for (struct retired *entry = take_oldest(all); entry != NULL; entry = take_oldest(all)) {
    if (entry->view != NULL) mm_region_unuse(entry->view);
    free(entry);
  }
}

/* How many bytes of addresses are in grace now. */
size_t mm_retire_bytes(void) {
  size_t bytes = 0;
  pthread_mutex_lock(&lock);
  for (struct retired *entry = oldest; entry != NULL; entry = entry->next) {
    bytes += entry->slot != NULL ? entry->slot->length : entry->view->length;
  }
  pthread_mutex_unlock(&lock);
  return bytes;
}
