/* SPDX-License-Identifier: MIT
 *
 * Regions from several threads, as workers and thread pools use them: each thread makes, resizes
 * and closes its own regions, while others end the views and jobs over them.
 */
#include "check.h"

#include <errno.h>
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

/* Resizes a region whose pages are marked. Other threads may take the addresses behind it at any
 * moment: where that leads to a failure, nothing has changed. */
static struct mm_region *resize(struct mm_region *region, size_t length, size_t pages) {
  struct mm_region *resized = NULL;
  int result;
  for (int tries = 0; (result = mm_region_resize(region, length, &resized)) != 0; tries++) {
    CHECK(result == -ENOMEM && tries < 10);
    CHECK(are_marked(region->base, pages));
  }
  CHECK(are_marked(resized->base, pages));
  return resized;
}

/* One life of a region: made, viewed, resized, closed in one of the ways of core.ts. */
static void live(struct slot *slot, size_t round) {
  size_t page = mm_sys_page_size();
  size_t pages = 1 + round % 9;
  bool shared = round % 3 == 0;
  struct mm_region *region = new_region(pages * page, shared);
  mark_pages(region->base, pages);
  if (round % 2 == 0) {
    region->viewed = true;
    hand_over(slot, region);
  }
  if (is_moved && round % 5 == 0 && (!shared || round % 10 == 0)) {
    size_t length = (shared ? pages : pages + 3) * page;
    struct mm_region *resized = resize(region, length, pages);
    mm_region_close(region, round % 4 == 0);
    mm_region_collected(region);
    region = resized;
  }
  CHECK(are_marked(region->base, pages));
  if (round % 7 != 0) mm_region_close(region, round % 4 == 0);
  if (round % 50 == 0) mm_retire_sweep(true);
  mm_region_collected(region);
}

static void *make_regions(void *argument) {
  for (size_t round = 0; round < ROUNDS; round++) live(argument, round);
  atomic_fetch_sub(&working, 1);
  return NULL;
}

void test_threads(bool moves) {
  pthread_t makers[THREADS];
  pthread_t enders[2];
  is_moved = moves;
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
