/* SPDX-License-Identifier: MIT
 *
 * mremap(2) for the raw door. Nothing moves out from under a view without its old addresses staying
 * ours, and nothing moves over memory that others mapped.
 */
#include "area.h"

#include <errno.h>
#include <stdlib.h>

/* A move in whole pages. */
struct plan {
  const struct mm_move *move;
  uintptr_t from, from_end; /* the old range */
  uintptr_t to, to_end;     /* the new one, when it is fixed */
  size_t old_length, length;
  bool fixed, keeps; /* MREMAP_FIXED, MREMAP_DONTUNMAP */
};

static uintptr_t end_of(const struct mm_area *area) { return area->base + area->length; }

/* Rounds up; SIZE_MAX is never whole pages, and means that it cannot be. */
static size_t whole(size_t length) {
  size_t page = mm_sys_page_size();
  return length > SIZE_MAX - page ? SIZE_MAX : (length + page - 1) / page * page;
}

/* Reads a move. False for one that every kernel refuses as mremap(2) lists it, with EINVAL. */
static bool plan_of(const struct mm_move *move, struct plan *out) {
  size_t page = mm_sys_page_size();
  int known = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;
  *out = (struct plan){
      .move = move,
      .from = (uintptr_t)move->old,
      .old_length = whole(move->old_length),
      .length = whole(move->length),
      .fixed = (move->flags & MREMAP_FIXED) != 0,
      .keeps = (move->flags & MREMAP_DONTUNMAP) != 0,
  };
  bool moves = (move->flags & MREMAP_MAYMOVE) != 0;
  if ((move->flags & ~known) != 0 || ((out->fixed || out->keeps) && !moves)) return false;
  if (out->from % page != 0 || move->length == 0 || out->length == SIZE_MAX) return false;
  if (out->old_length == SIZE_MAX || out->from + out->old_length < out->from) return false;
  if (out->keeps && out->old_length != out->length) return false;
  out->from_end = out->from + out->old_length;
  if (!out->fixed) return true;
  out->to = (uintptr_t)move->target;
  out->to_end = out->to + out->length;
  if (out->to % page != 0 || out->to_end < out->to) return false;
  return out->to_end <= out->from || out->from_end <= out->to;
}

/* ---- bookkeeping --------------------------------------------------------------------------- */

/* Registers what has come to lie at a place; it is like the area that it came from. */
static int put_there(const struct mm_area *like, uintptr_t base, size_t length) {
  struct mm_area plan = *like;
  plan.base = base;
  plan.length = length;
  plan.live = true;
  plan.sealed = false;
  plan.grows_down = false;
  struct mm_area *made = mm_area_make(&plan);
  int result = made == NULL ? -ENOMEM : mm_area_cut(base);
  if (result == 0) result = mm_area_cut(base + length);
  if (result == 0) {
    mm_area_put(made);
    return 0;
  }
  if (made != NULL) mm_area_unmake(made);
  return result;
}

/* What has moved is registered at its new place, run by run: a range of several areas with holes
 * keeps them (Linux 6.17). The old place is no longer ours but where its pages were kept. */
static int settle(const struct plan *plan, uintptr_t to) {
  int result = 0;
  size_t reach = plan->old_length < plan->length ? plan->old_length : plan->length;
  for (uintptr_t at = plan->from; result == 0 && at < plan->from_end;) {
    struct mm_area *area = mm_area_from(at);
    if (area == NULL || area->base >= plan->from_end) break;
    if (area->base > at) at = area->base;
    uintptr_t stop = end_of(area) < plan->from_end ? end_of(area) : plan->from_end;
    if (area->live && at - plan->from < reach) {
      size_t length = stop - at;
      /* The last run takes all that was added, or as much as was kept. */
      size_t rest = plan->length - (at - plan->from);
      if (stop == plan->from_end || length > rest) length = rest;
      result = put_there(area, to + (at - plan->from), length);
    }
    at = stop; /* an area may reach past the range */
  }
  return result;
}

/* The kernel has taken the pages of the old range away. */
static int forget_old(const struct plan *plan) {
  int result = mm_area_cut(plan->from);
  if (result == 0) result = mm_area_cut(plan->from_end);
  struct mm_area *area = mm_area_from(plan->from);
  while (result == 0 && area != NULL && area->base < plan->from_end) {
    struct mm_area *next = area->next;
    if (area->live) mm_area_drop(area);
    area = next;
  }
  return result;
}

/* After a refusal, areas of a range of several may have moved all the same (Linux 6.17): what the
 * kernel no longer has at the old place is registered at the new one. */
static void settle_missing(const struct plan *plan) {
  uintptr_t base = plan->from;
  while (base < plan->from_end) {
    uintptr_t start = 0, stop = 0;
    if (mm_sys_next_area(base, &start, &stop) != 0) start = stop = plan->from_end;
    uintptr_t end = start < plan->from_end ? start : plan->from_end;
    struct mm_area *area = base < end ? mm_area_from(base) : NULL;
    while (area != NULL && area->base < end) {
      if (mm_area_cut(base) != 0 || mm_area_cut(end) != 0) return;
      struct mm_area *next = area->next;
      if (area->base < base) next = mm_area_from(base);
      else if (area->live) {
        if (plan->fixed) (void)put_there(area, plan->to + (area->base - plan->from), area->length);
        next = mm_area_from(end_of(area));
        mm_area_drop(area);
      }
      area = next;
    }
    base = stop > end ? stop : end;
  }
}

/* ---- the ways ------------------------------------------------------------------------------ */

static int call(const struct plan *plan, int flags, void **out) {
  const struct mm_move *move = plan->move;
  return mm_sys_mremap(move->old, move->old_length, move->length, flags, move->target, out);
}

/* Under a view the pages are lifted off first, which leaves the old addresses mapped in the same
 * moment (Linux 5.7), then grown, then put into place. */
static int lift(const struct plan *plan, void **out) {
  void *lifted;
  int result = mm_sys_mremap(plan->move->old, plan->old_length, plan->old_length,
                             MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL, &lifted);
  if (result != 0) return result;
  size_t length = plan->old_length;
  *out = lifted;
  if (plan->length != length) {
    result = mm_sys_mremap(lifted, length, plan->length, MREMAP_MAYMOVE, NULL, out);
    if (result == 0) {
      lifted = *out;
      length = plan->length;
    }
  }
  int flags = MREMAP_MAYMOVE | MREMAP_FIXED;
  if (result == 0 && plan->fixed) {
    result = mm_sys_mremap(lifted, length, length, flags, (void *)plan->to, out);
  }
  if (result == 0) return 0;
  void *back;
  (void)mm_sys_mremap(lifted, length, plan->old_length, flags, plan->move->old, &back);
  return result;
}

/* Moves pages, to a place of ours or one that the kernel chooses. */
static int move_pages(const struct plan *plan, void **out) {
  bool viewed = mm_area_viewed(plan->from, plan->from_end);
  int result = viewed ? lift(plan, out) : call(plan, plan->move->flags, out);
  if (result == -EINVAL && viewed) return MM_VIEWED;
  if (result != 0) {
    if (!viewed) settle_missing(plan);
    if (plan->fixed) mm_raw_hold(plan->to, plan->to_end);
    return result;
  }
  uintptr_t to = (uintptr_t)*out;
  result = settle(plan, to);
  if (result != 0 || plan->keeps) return result;
  if (viewed) return mm_area_release(plan->from, plan->from_end, true);
  return forget_old(plan);
}

/* In its place: what is cut off is unmapped as by munmap(2), what is added is free until then. */
static int resize_in_place(const struct plan *plan, void **out) {
  *out = plan->move->old;
  struct mm_area *last = mm_area_from(plan->from_end - 1);
  if (last == NULL) return -EFAULT;
  if (plan->length == plan->old_length) return call(plan, plan->move->flags, out);
  if (plan->length < plan->old_length) {
    void *same; /* a page tells whether the kernel would do it at all */
    size_t page = mm_area_from(plan->from)->page;
    int result = mm_sys_mremap(plan->move->old, page, page, 0, NULL, &same);
    if (result != 0) return result;
    return mm_area_release(plan->from + plan->length, plan->from_end, true);
  }
  /* The kernel would not grow into addresses that are reserved here: to the user they are free. */
  uintptr_t to_end = plan->from + plan->length;
  if (mm_area_live_end(plan->from, plan->from_end) != plan->from_end) return -EFAULT;
  if (mm_area_any_reserved(plan->from_end, to_end)) return -ENOMEM;
  int result = call(plan, 0, out);
  if (result != 0) return result;
  struct mm_area grown = *last;
  grown.base = plan->from_end;
  grown.length = to_end - plan->from_end;
  grown.grows_down = false;
  return mm_area_add(&grown);
}

/* A second mapping of the same pages: an old length of 0. */
static int copy_pages(const struct plan *plan, void **out) {
  struct mm_area *area = mm_area_from(plan->from);
  int result = call(plan, plan->move->flags, out);
  if (result != 0) return result;
  return put_there(area, (uintptr_t)*out, plan->length);
}

static int move_any(const struct plan *plan, void **out) {
  size_t page = mm_sys_page_size();
  uintptr_t look = plan->old_length == 0 ? plan->from + page : plan->from_end;
  if (mm_area_foreign(plan->from, look)) return MM_FOREIGN;
  if (mm_area_live_end(plan->from, plan->from + page) != plan->from + page) return -EFAULT;
  bool stays = !plan->fixed && !plan->keeps && plan->old_length > 0;
  if (stays) {
    int result = resize_in_place(plan, out);
    bool moves = (plan->move->flags & MREMAP_MAYMOVE) != 0;
    if (result != -ENOMEM || !moves || plan->length <= plan->old_length) return result;
  }
  if (plan->fixed) {
    if (mm_area_foreign(plan->to, plan->to_end)) return MM_FOREIGN;
    int result = mm_raw_take(plan->to, plan->to_end, plan->move->owner);
    if (result != 0) return result;
  }
  int result = plan->old_length == 0 ? copy_pages(plan, out) : move_pages(plan, out);
  /* What was taken for the new place and not used: under a hole, or after a refusal. */
  if (plan->fixed) (void)mm_area_release(plan->to, plan->to_end, false);
  return result;
}

/* mremap(2). A range of several areas is the kernel's to accept (6.17) or to refuse. */
int mm_raw_mremap(const struct mm_move *move, void **out) {
  struct plan plan;
  if (!plan_of(move, &plan)) return -EINVAL;
  int result = mm_guard_install();
  if (result != 0) return result;
  mm_areas_lock();
  result = move_any(&plan, out);
  mm_areas_unlock();
  if (result == 0) mm_spare_keep();
  return mm_spare_give(result);
}
