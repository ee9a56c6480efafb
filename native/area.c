/* SPDX-License-Identifier: MIT
 *
 * The registry of the raw door: areas, and the views over them (area.h has the picture). Owns both
 * lists and their one lock; the guard's locks are taken inside it, never the other way round. Every
 * area is registered with the fault guard for as long as it is in the list.
 *
 * A view is a region (region.c) without a slot: it has the life of a buffer, and no memory of its
 * own.
 */
#include "area.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct mm_area *areas;   /* ascending */
static struct mm_region *views; /* in no order; linked by next_shared */

/* Structures that no area has now. They come in chunks, which are never freed: a program that has
 * had many areas will have them again. */
static struct mm_area *free_areas;
#define AREAS_IN_CHUNK 64
static struct chunk {
  struct chunk *next;
  struct mm_area areas[AREAS_IN_CHUNK];
} *chunks;

void mm_areas_lock(void) { (void)pthread_mutex_lock(&lock); }

void mm_areas_unlock(void) { (void)pthread_mutex_unlock(&lock); }

static uintptr_t end_of(const struct mm_area *area) { return area->base + area->length; }

/* ---- the list ------------------------------------------------------------------------------ */

static void give_area(struct mm_area *area) {
  area->next = free_areas;
  free_areas = area;
}

/* The first area that ends behind an address; NULL when there is none. */
struct mm_area *mm_area_from(uintptr_t address) {
  struct mm_area *area = areas;
  while (area != NULL && end_of(area) <= address) area = area->next;
  return area;
}

/* A structure for an area; NULL when there is no memory for it. */
static struct mm_area *take_area(void) {
  if (free_areas == NULL) {
    struct chunk *chunk = calloc(1, sizeof *chunk);
    if (chunk == NULL) return NULL;
    chunk->next = chunks;
    chunks = chunk;
    for (size_t i = 0; i < AREAS_IN_CHUNK; i++) give_area(&chunk->areas[i]);
  }
  struct mm_area *area = free_areas;
  free_areas = area->next;
  return area;
}

static void insert(struct mm_area *area) {
  struct mm_area **at = &areas;
  while (*at != NULL && (*at)->base < area->base) at = &(*at)->next;
  area->next = *at;
  *at = area;
}

/* An area that the guard knows and the list does not; NULL when there is no memory for it. Ended by
 * mm_area_put or mm_area_unmake. */
struct mm_area *mm_area_make(const struct mm_area *plan) {
  struct mm_range range = {
      .base = (void *)plan->base,
      .length = plan->length,
      .page = plan->page,
      .shared = plan->shared,
      .anonymous = plan->anonymous,
      .raw = true,
      .owner = plan->owner,
  };
  struct mm_area *area = take_area();
  if (area == NULL) return NULL;
  *area = *plan;
  area->slot = mm_guard_add(&range);
  if (area->slot != NULL) return area;
  give_area(area);
  return NULL;
}

void mm_area_unmake(struct mm_area *area) {
  mm_guard_remove(area->slot);
  give_area(area);
}

/* Registers an area that was just mapped where none of ours is. -ENOMEM: it is the caller's to
 * unmap. */
int mm_area_add(const struct mm_area *plan) {
  struct mm_area *area = mm_area_make(plan);
  if (area == NULL) return -ENOMEM;
  insert(area);
  return 0;
}

static void take_out(const struct mm_area *area) {
  struct mm_area **at = &areas;
  while (*at != area) at = &(*at)->next;
  *at = area->next;
}

/* Forgets an area, whose memory is the caller's to see to. */
void mm_area_drop(struct mm_area *area) {
  take_out(area);
  mm_area_unmake(area);
}

/* Puts an area, whose slot is registered already, in the place of all that were in its range; it is
 * cut at both ends. */
void mm_area_put(struct mm_area *made) {
  struct mm_area *area = mm_area_from(made->base);
  while (area != NULL && area->base < end_of(made)) {
    struct mm_area *next = area->next;
    mm_area_drop(area);
    area = next;
  }
  insert(made);
}

/* Cuts the area that holds an address in its middle, so that one begins there. */
int mm_area_cut(uintptr_t address) {
  struct mm_area *area = mm_area_from(address);
  if (area == NULL || area->base >= address) return 0;
  size_t below = address - area->base;
  if (below % area->page != 0) return -EINVAL; /* as the kernel answers for a part of a huge page */
  struct mm_area *upper = take_area();
  struct mm_slot *slot = upper == NULL ? NULL : mm_guard_split(area->slot, below);
  if (slot == NULL) {
    if (upper != NULL) give_area(upper);
    return -ENOMEM;
  }
  *upper = *area;
  upper->base = address;
  upper->length = area->length - below;
  upper->slot = slot;
  upper->grows_down = false;
  area->length = below;
  area->next = upper;
  return 0;
}

/* ---- what a range holds -------------------------------------------------------------------- */

/* The kernel has made an area that grows down longer: what it has grown by is ours, too. A reserved
 * one has no such pages any more, and the kernel may count others' with it. */
static bool adopt_growth(struct mm_area *above, uintptr_t start) {
  if (above == NULL || !above->live || !above->grows_down || start >= above->base) return false;
  for (struct mm_area *area = areas; area != above; area = area->next) {
    if (start < end_of(area)) start = end_of(area);
  }
  struct mm_area grown = *above;
  grown.base = start;
  grown.length = above->base - start;
  if (mm_area_add(&grown) != 0) return false;
  above->grows_down = false;
  return true;
}

/* Whether somebody else has mapped a page between two areas of ours. */
static bool gap_is_foreign(uintptr_t base, uintptr_t end, struct mm_area *above) {
  uintptr_t start = 0, stop = 0;
  int result = mm_sys_next_area(base, &start, &stop);
  if (result == -ENOENT) return false;
  if (result != 0) return true; /* who cannot be told is taken for somebody else */
  if (start >= end) return false;
  if (above != NULL && above->base == end && stop > end && adopt_growth(above, start)) {
    return false;
  }
  return true;
}

/* Whether a range holds a page that others mapped. A range wholly inside areas of ours asks the
 * kernel nothing. */
bool mm_area_foreign(uintptr_t base, uintptr_t end) {
  struct mm_area *area = mm_area_from(base);
  while (base < end) {
    uintptr_t from = area == NULL || area->base >= end ? end : area->base;
    if (base < from && gap_is_foreign(base, from, area)) return true;
    if (area == NULL || from == end) return false;
    base = end_of(area);
    area = area->next;
  }
  return false;
}

/* Where the live pages end that lie without a gap from `base` on; at most `end`. */
uintptr_t mm_area_live_end(uintptr_t base, uintptr_t end) {
  struct mm_area *area = mm_area_from(base);
  uintptr_t at = base;
  while (at < end && area != NULL && area->live && area->base <= at) {
    at = end_of(area);
    area = area->next;
  }
  return at < end ? at : end;
}

bool mm_area_any_reserved(uintptr_t base, uintptr_t end) {
  struct mm_area *area = mm_area_from(base);
  for (; area != NULL && area->base < end; area = area->next) {
    if (!area->live) return true;
  }
  return false;
}

/* Whether a view covers a byte of a range. */
bool mm_area_viewed(uintptr_t base, uintptr_t end) {
  for (struct mm_region *view = views; view != NULL; view = view->next_shared) {
    uintptr_t start = (uintptr_t)view->base;
    if (start < end && base < start + view->length) return true;
  }
  return false;
}

/* ---- giving back --------------------------------------------------------------------------- */

/* Cuts the areas of a range where a view begins or ends, and at the ends of the range. */
static int cut_all(uintptr_t base, uintptr_t end) {
  int result = mm_area_cut(base);
  if (result == 0) result = mm_area_cut(end);
  for (struct mm_region *view = views; view != NULL && result == 0; view = view->next_shared) {
    uintptr_t edges[2] = {(uintptr_t)view->base, (uintptr_t)view->base + view->length};
    for (int i = 0; i < 2 && result == 0; i++) {
      struct mm_area *area = mm_area_from(edges[i]);
      if (area == NULL || area->base >= edges[i]) continue;
      size_t below = edges[i] - area->base;
      size_t whole = (i == 0 ? below : below + area->page - 1) / area->page * area->page;
      uintptr_t at = area->base + whole;
      if (at > base && at < end) result = mm_area_cut(at);
    }
  }
  return result;
}

/* Gives the addresses of an area back to the system; after a failure it is as before. */
static int unmap_area(struct mm_area *area) {
  int result = mm_guard_unmap(area->slot);
  if (result != 0) return result;
  take_out(area);
  give_area(area);
  return 0;
}

/* Unmaps what is ours in a range: pages under a view are given back and their addresses stay
 * reserved, all others go. With `live` false only what is reserved already. A failure leaves what
 * comes behind it. */
int mm_area_release(uintptr_t base, uintptr_t end, bool live) {
  int result = cut_all(base, end);
  struct mm_area *area = mm_area_from(base);
  while (result == 0 && area != NULL && area->base < end) {
    struct mm_area *next = area->next;
    if (mm_area_viewed(area->base, end_of(area))) {
      if (live && area->live) result = mm_guard_try_cover(area->slot);
      if (live && result == 0) area->live = false;
    } else if (live || !area->live) {
      result = unmap_area(area);
    }
    area = next;
  }
  return result;
}

/* ---- views --------------------------------------------------------------------------------- */

/* A view over live pages; *out has one use, of the caller. MM_FOREIGN when a byte of the range is
 * not mapped here, MM_SEALED when it is sealed. */
int mm_area_view(void *address, size_t length, struct mm_region **out) {
  uintptr_t base = (uintptr_t)address, end = base + length;
  if (base == 0 || end < base || mm_area_foreign(base, end) || mm_area_live_end(base, end) != end) {
    return MM_FOREIGN;
  }
  for (struct mm_area *area = mm_area_from(base); area != NULL && area->base < end;
       area = area->next) {
    if (area->sealed) return MM_SEALED;
  }
  struct mm_region *view = calloc(1, sizeof *view);
  if (view == NULL) return -ENOMEM;
  atomic_init(&view->opens, 1);
  atomic_init(&view->refs, 1);
  atomic_init(&view->users, 1);
  view->base = address;
  view->length = length;
  view->fd = -1;
  view->next_shared = views;
  views = view;
  *out = view;
  return 0;
}

/* The engine has let the last buffer of a view go: what was reserved for it alone is free. Any
 * thread. */
void mm_area_view_ended(struct mm_region *view) {
  mm_areas_lock();
  struct mm_region **at = &views;
  while (*at != view) at = &(*at)->next_shared;
  *at = view->next_shared;
  uintptr_t base = (uintptr_t)view->base, end = base + view->length;
  struct mm_area *first = mm_area_from(base), *last = mm_area_from(end - 1);
  if (first != NULL && first->base < base) base = first->base;
  if (last != NULL && last->base < end) end = end_of(last);
  (void)mm_area_release(base, end, false);
  mm_areas_unlock();
}

/* An environment ends: what it mapped goes, as far as the kernel lets it. */
void mm_area_env_ending(struct mm_env *state) {
  mm_areas_lock();
  struct mm_area *area = areas;
  while (area != NULL) {
    uintptr_t end = end_of(area);
    if (area->owner == state && area->live && !area->sealed) {
      (void)mm_area_release(area->base, end, true);
    }
    area = mm_area_from(end);
  }
  mm_areas_unlock();
}

/* Takes the faults of a range that nobody has collected; false when there are none. */
bool mm_area_take_fault(uintptr_t base, uintptr_t end, struct mm_fault *out) {
  bool taken = false;
  mm_areas_lock();
  struct mm_area *area = mm_area_from(base);
  for (; area != NULL && area->base < end && !taken; area = area->next) {
    taken = mm_guard_take(area->slot, out);
  }
  mm_areas_unlock();
  return taken;
}
