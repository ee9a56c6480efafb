/* SPDX-License-Identifier: MIT
 *
 * Regions from several threads, as workers and thread pools use them: each thread makes, resizes
 * and closes its own regions, while others end the views and jobs over them.
 */
#include "check.h"

#include <pthread.h>
#include <sched.h>

#define THREADS 4
#define ROUNDS 4000

/* A claim on a region on its way to the thread that ends it. */
struct slot {
  _Atomic(struct mm_region *) region;
};

static struct slot slots[THREADS];
static atomic_int working;
static bool is_moved;

/* Ends the claims that the makers hand over: views that the engine lets go on its own threads. */
static void *end_claims(void *argument) {
  (void)argument;
  bool found;
  bool ended;
  do {
    /* Asked before the look: what comes after it is seen by the next one. */
    ended = atomic_load(&working) == 0;
    found = false;
    for (size_t i = 0; i < THREADS; i++) {
      struct mm_region *region = atomic_exchange(&slots[i].region, NULL);
      if (region == NULL) continue;
      found = true;
      if (atomic_load(&region->closed)) (void)mm_retire_bytes();
      mm_region_unuse(region);
    }
    if (!found) sched_yield();
  } while (found || !ended);
  return NULL;
}

/* Hands a claim over; where the last one still waits, it is ended here. */
static void hand_over(struct slot *slot, struct mm_region *region) {
  mm_region_use(region);
  struct mm_region *waiting = atomic_exchange(&slot->region, region);
  if (waiting != NULL) mm_region_unuse(waiting);
}

/* Resizes a mapping whose pages are marked, as core.ts does: the old one is closed. */
static struct mm_handle *resize(struct mm_handle *old, size_t length, size_t pages, bool detached) {
  struct mm_region *resized = NULL;
  CHECK(mm_region_resize(old->region, length, false, &resized) == 0);
  CHECK(are_marked(resized->base, pages));
  mm_region_close(old, detached);
  mm_region_collected(old);
  return hold(resized);
}

/* One life of a mapping: made, viewed, resized, closed in one of the ways of core.ts. */
static void live(struct slot *slot, size_t round) {
  size_t page = mm_sys_page_size();
  size_t pages = 1 + round % 9;
  bool shared = round % 3 == 0;
  bool detached = round % 4 == 0;
  struct mm_handle *handle = new_mapping(pages * page, shared);
  mark_pages(handle->region->base, pages);
  if (round % 2 == 0) {
    handle->region->viewed = true;
    hand_over(slot, handle->region);
  }
  if (is_moved && round % 5 == 0 && (!shared || round % 10 == 0)) {
    handle = resize(handle, (shared ? pages : pages + 3) * page, pages, detached);
  }
  CHECK(are_marked(handle->region->base, pages));
  if (round % 7 != 0) mm_region_close(handle, detached);
  if (round % 50 == 0) mm_retire_sweep(true);
  mm_region_collected(handle);
}

static void *make_regions(void *argument) {
  for (size_t round = 0; round < ROUNDS; round++) live(argument, round);
  atomic_fetch_sub(&working, 1);
  return NULL;
}

void test_threads(bool full) {
  pthread_t makers[THREADS];
  pthread_t enders[2];
  is_moved = full;
  mm_retire_sweep(true);
  atomic_store(&working, THREADS);
  for (size_t i = 0; i < THREADS; i++) {
    CHECK(pthread_create(&makers[i], NULL, make_regions, &slots[i]) == 0);
  }
  for (size_t i = 0; i < 2; i++) CHECK(pthread_create(&enders[i], NULL, end_claims, NULL) == 0);
  for (size_t i = 0; i < THREADS; i++) CHECK(pthread_join(makers[i], NULL) == 0);
  for (size_t i = 0; i < 2; i++) CHECK(pthread_join(enders[i], NULL) == 0);
  for (size_t i = 0; i < THREADS; i++) CHECK(atomic_load(&slots[i].region) == NULL);
  mm_retire_sweep(true);
  CHECK(mm_retire_bytes() == 0);
}
