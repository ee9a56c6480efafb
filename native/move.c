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
  size_t page; /* of the area at the old range */
  bool fixed, keeps; /* MREMAP_FIXED, MREMAP_DONTUNMAP */
};

static uintptr_t end_of(const struct mm_area *area) { return area->base + area->length; }

/* Rounds up; SIZE_MAX is never whole pages, and means that it cannot be. */
static size_t whole(size_t length, size_t page) {
  return length > SIZE_MAX - page ? SIZE_MAX : (length + page - 1) / page * page;
}

/* Reads a move. False for one that every kernel refuses as mremap(2) lists it, with EINVAL. Huge
 * pages count as the kernel counts them: a part of one is all of it. */
static bool plan_of(const struct mm_move *move, struct plan *out) {
  const struct mm_area *area = mm_area_from((uintptr_t)move->old);
  size_t small = mm_sys_page_size();
  size_t page = area != NULL && area->base <= (uintptr_t)move->old ? area->page : small;
  int known = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;
  *out = (struct plan){
      .move = move,
      .from = (uintptr_t)move->old,
      .old_length = whole(move->old_length, page),
      .length = whole(move->length, page),
      .page = page,
      .fixed = (move->flags & MREMAP_FIXED) != 0,
      .keeps = (move->flags & MREMAP_DONTUNMAP) != 0,
  };
  bool moves = (move->flags & MREMAP_MAYMOVE) != 0;
  if ((move->flags & ~known) != 0 || ((out->fixed || out->keeps) && !moves)) return false;
  if (out->from % small != 0 || move->length == 0 || out->length == SIZE_MAX) return false;
  if (out->old_length == SIZE_MAX || out->from > UINTPTR_MAX - small) return false;
  if (out->old_length > UINTPTR_MAX - out->from) return false;
  if (out->keeps && out->old_length != out->length) return false;
  out->from_end = out->from + out->old_length;
  if (!out->fixed) return true;
  out->to = (uintptr_t)move->target;
  out->to_end = out->to + out->length;
  if (out->to % small != 0 || out->to_end < out->to) return false;
  return out->to_end <= out->from || out->from_end <= out->to;
}

/* ---- bookkeeping --------------------------------------------------------------------------- */

/* An area of a length at a place, like another one. */
static struct mm_area like_at(const struct mm_area *like, uintptr_t base, size_t length) {
  struct mm_area plan = *like;
  plan.base = base;
  plan.length = length;
  plan.live = true;
  plan.sealed = false;
  plan.grows_down = false;
  return plan;
}

/* Registers what has come to lie at a place. What became of the pages of the area that it came from
 * goes with it, unless that is NULL. When there is no memory for that, it is unmapped, but for a
 * place that was ours before. */
static int put_there(const struct plan *plan, struct mm_area there, const struct mm_area *from) {
  struct mm_area *made = mm_area_make(&there);
  int result = made == NULL ? -ENOMEM : mm_area_cut(there.base);
  if (result == 0) result = mm_area_cut(there.base + there.length);
  if (result == 0) {
    if (from != NULL) mm_guard_carry(made->slot, from->slot);
    mm_area_put(made);
    return 0;
  }
  if (made != NULL) mm_area_unmake(made);
  if (!plan->fixed) (void)mm_sys_munmap((void *)there.base, there.length);
  return result;
}

/* What has moved is registered at its new place, run by run: a range of several areas with holes
 * keeps them (Linux 6.17). The old place is no longer ours but where its pages were kept. */
static int settle(const struct plan *plan, uintptr_t to) {
  int result = 0;
  size_t reach = plan->old_length < plan->length ? plan->old_length : plan->length;
  for (uintptr_t at = plan->from; at < plan->from_end;) {
    struct mm_area *area = mm_area_from(at);
    if (area == NULL || area->base >= plan->from_end) break;
    if (area->base > at) at = area->base;
    uintptr_t stop = end_of(area) < plan->from_end ? end_of(area) : plan->from_end;
    if (area->live && at - plan->from < reach) {
      size_t length = stop - at;
      /* The last run takes all that was added, or as much as was kept. */
      size_t rest = plan->length - (at - plan->from);
      if (stop == plan->from_end || length > rest) length = rest;
      struct mm_area there = like_at(area, to + (at - plan->from), length);
      int failed = put_there(plan, there, area);
      if (failed != 0) result = failed;
    }
    at = stop; /* an area may reach past the range */
  }
  return result;
}

/* The kernel has taken the pages of the old range away, whose ends are ends of areas. */
static void forget_old(const struct plan *plan) {
  struct mm_area *area = mm_area_from(plan->from);
  while (area != NULL && area->base < plan->from_end) {
    struct mm_area *next = area->next;
    mm_area_drop(area);
    area = next;
  }
}

/* Forgets the areas of a part of the old range that the kernel no longer has there, and registers
 * those that have moved at their new place. */
static void settle_part(const struct plan *plan, uintptr_t base, uintptr_t end) {
  if (mm_area_cut(base) != 0 || mm_area_cut(end) != 0) return;
  struct mm_area *area = mm_area_from(base);
  while (area != NULL && area->base < end) {
    struct mm_area *next = area->next;
    size_t offset = area->base - plan->from;
    if (area->live && plan->fixed && offset < plan->length) {
      struct mm_area there = like_at(area, plan->to + offset, area->length);
      (void)put_there(plan, there, area);
      next = mm_area_from(end_of(area));
    }
    mm_area_drop(area);
    area = next;
  }
}

/* After a refusal, areas of a range of several may have moved all the same (Linux 6.17): what the
 * kernel no longer has at the old place is at the new one. */
static void settle_missing(const struct plan *plan) {
  uintptr_t base = plan->from;
  while (base < plan->from_end) {
    uintptr_t start = 0, stop = 0;
    int result = mm_sys_next_area(base, &start, &stop);
    if (result == -ENOENT) start = stop = plan->from_end;
    else if (result != 0) return; /* it cannot be told: most likely all is where it was */
    uintptr_t end = start < plan->from_end ? start : plan->from_end;
    if (base < end) settle_part(plan, base, end);
    base = stop > end ? stop : end;
  }
}

/* ---- the ways ------------------------------------------------------------------------------ */

/* The lengths are passed on rounded: kernels since 6.17 decide by those that they are given whether
 * pages move, and round them up to huge pages afterwards. */
static int call(const struct plan *plan, int flags, void **out) {
  const struct mm_move *move = plan->move;
  uintptr_t target = (uintptr_t)move->target;
  bool hint = !plan->fixed && target != 0;
  void *to = hint && mm_sys_in_stack(target, target + plan->length) ? NULL : move->target;
  if (plan->keeps && plan->old_length > 0) {
    struct mm_lift lift = {
        .from = move->old, .length = plan->length, .flags = flags & MREMAP_FIXED, .to = to};
    return mm_lift(&lift, out);
  }
  return mm_sys_mremap(move->old, plan->old_length, plan->length, flags, to, out);
}

/* Under a view the pages are lifted off first, which leaves the old addresses mapped in the same
 * moment (Linux 5.7), then grown, then put into place. */
static int lift(const struct plan *plan, void **out) {
  struct mm_lift first = {.from = plan->move->old, .length = plan->old_length};
  void *lifted;
  int result = mm_lift(&first, &lifted);
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

/* Registers what was added in its place. */
static int add_growth(const struct plan *plan) {
  const struct mm_area *last = mm_area_from(plan->from_end - 1);
  struct mm_area grown = like_at(last, plan->from_end, plan->length - plan->old_length);
  int result = mm_area_add(&grown);
  if (result != 0) (void)mm_sys_munmap((void *)grown.base, grown.length);
  return result;
}

/* Moves pages, to a place of ours or one that the kernel chooses. Both ends of the old range, and
 * of a fixed new one, are ends of areas. */
static int move_pages(const struct plan *plan, void **out) {
  bool viewed = mm_area_viewed(plan->from, plan->from_end);
  int result = viewed ? lift(plan, out) : call(plan, plan->move->flags, out);
  if (result == -EINVAL && viewed) return MM_VIEWED;
  if (result != 0) {
    if (!viewed) settle_missing(plan);
    if (plan->fixed) mm_raw_hold(plan->to, plan->to_end);
    return result;
  }
  if ((uintptr_t)*out == plan->from) return add_growth(plan); /* there was room after all */
  result = settle(plan, (uintptr_t)*out);
  if (plan->keeps) return result;
  if (!viewed) forget_old(plan);
  /* The pages have moved, whatever comes now: what cannot be covered stays as empty pages. */
  else (void)mm_area_release(plan->from, plan->from_end, true);
  return result;
}

/* What is added in its place is free until then, and not for the stack to grow into. */
static int grow_in_place(const struct plan *plan, void **out) {
  uintptr_t to_end = plan->from + plan->length;
  if (mm_area_live_end(plan->from, plan->from_end) != plan->from_end) return -EFAULT;
  /* The kernel would not grow into addresses that are reserved here: to the user they are free. */
  if (mm_area_any_reserved(plan->from_end, to_end)) return -ENOMEM;
  if (to_end > plan->from && mm_sys_in_stack(plan->from_end, to_end)) return -ENOMEM;
  int result = call(plan, 0, out);
  return result == 0 ? add_growth(plan) : result;
}

/* In its place: what is cut off is unmapped as by munmap(2). */
static int resize_in_place(const struct plan *plan, void **out) {
  *out = plan->move->old;
  if (mm_area_from(plan->from_end - 1) == NULL) return -EFAULT;
  if (plan->length == plan->old_length) return call(plan, 0, out);
  if (plan->length > plan->old_length) return grow_in_place(plan, out);
  void *same; /* a page tells whether the kernel would do it at all */
  int result = mm_sys_mremap(plan->move->old, plan->page, plan->page, 0, NULL, &same);
  if (result != 0) return result;
  return mm_area_release(plan->from + plan->length, plan->from_end, true);
}

/* A second mapping of the same pages: an old length of 0. */
static int copy_pages(const struct plan *plan, void **out) {
  struct mm_area *area = mm_area_from(plan->from);
  int result = call(plan, plan->move->flags, out);
  if (result != 0) {
    if (plan->fixed) mm_raw_hold(plan->to, plan->to_end);
    return result;
  }
  return put_there(plan, like_at(area, (uintptr_t)*out, plan->length), NULL);
}

/* Whether all areas of the old range have pages of one size, as the plan counts with. */
static bool is_even(const struct plan *plan) {
  struct mm_area *area = mm_area_from(plan->from);
  for (; area != NULL && area->base < plan->from_end; area = area->next) {
    if (area->page != plan->page) return false;
  }
  return true;
}

/* Whether the kernel moves several areas in one call, with the holes between them (6.17). */
static bool moves_several(void) {
  size_t page = mm_sys_page_size();
  struct mm_map_request request = {
      .length = 4 * page,
      .prot = PROT_NONE,
      .flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
      .fd = -1,
  };
  void *base, *same;
  if (mm_sys_mmap(&request, &base) != 0) return false;
  uint8_t *from = base, *to = from + 2 * page;
  int result = mm_sys_mprotect(from, page, PROT_READ);
  if (result == 0) {
    result = mm_sys_mremap(from, 2 * page, 2 * page, MREMAP_MAYMOVE | MREMAP_FIXED, to, &same);
  }
  (void)mm_sys_munmap(result == 0 ? to : from, result == 0 ? 2 * page : 4 * page);
  return result == 0;
}

/* Moves a range with holes run by run: a hole is left out, since another thread may have mapped it
 * by the time of the call. What a failure finds moved stays so, as in the kernel. */
static int move_runs(const struct plan *plan, void **out) {
  if (!plan->fixed || plan->old_length != plan->length || !moves_several()) return -EFAULT;
  int result = 0;
  for (uintptr_t at = plan->from; result == 0 && at < plan->from_end;) {
    uintptr_t end = mm_area_live_end(at, plan->from_end);
    const struct mm_area *area = mm_area_from(at);
    if (end == at) {
      if (area == NULL || area->base >= plan->from_end) break;
      at = area->live ? area->base : end_of(area);
      continue;
    }
    struct mm_move move = *plan->move;
    struct plan run = *plan;
    run.move = &move;
    run.from = at;
    run.from_end = end;
    run.to = plan->to + (at - plan->from);
    run.to_end = run.to + (end - at);
    run.old_length = run.length = end - at;
    move.old = (void *)run.from;
    move.target = (void *)run.to;
    result = mm_area_cut(at);
    if (result == 0) result = mm_area_cut(end);
    if (result == 0) result = mm_area_cut(run.to);
    if (result == 0) result = mm_area_cut(run.to_end);
    void *moved;
    if (result == 0) result = move_pages(&run, &moved);
    at = end;
  }
  *out = (void *)plan->to;
  return result;
}

/* Moves to a fixed place, of which all that is nobody's is taken first. */
static int move_there(const struct plan *plan, void **out) {
  if (mm_area_foreign(plan->to, plan->to_end)) return MM_FOREIGN;
  int result = mm_raw_take(plan->to, plan->to_end, plan->move->owner);
  if (result == 0) result = mm_area_cut(plan->to);
  if (result == 0) result = mm_area_cut(plan->to_end);
  if (result == 0 && plan->old_length == 0) return copy_pages(plan, out);
  if (result != 0) return result;
  bool holes = mm_area_live_end(plan->from, plan->from_end) != plan->from_end;
  if (holes) return move_runs(plan, out);
  result = mm_area_cut(plan->from);
  if (result == 0) result = mm_area_cut(plan->from_end);
  return result == 0 ? move_pages(plan, out) : result;
}

/* Moves to where the kernel finds room. */
static int move_anywhere(const struct plan *plan, void **out) {
  if (plan->old_length == 0) return copy_pages(plan, out);
  if (mm_area_live_end(plan->from, plan->from_end) != plan->from_end) return -EFAULT;
  int result = mm_area_cut(plan->from);
  if (result == 0) result = mm_area_cut(plan->from_end);
  return result == 0 ? move_pages(plan, out) : result;
}

static int move_any(const struct plan *plan, void **out) {
  size_t page = mm_sys_page_size();
  uintptr_t look = plan->old_length == 0 ? plan->from + page : plan->from_end;
  if (mm_area_foreign(plan->from, look)) return MM_FOREIGN;
  if (mm_area_live_end(plan->from, plan->from + page) != plan->from + page) return -EFAULT;
  if (!is_even(plan)) return -EFAULT;
  if (plan->fixed) {
    int result = move_there(plan, out);
    /* What was taken and not used: under a hole, or after a refusal. */
    (void)mm_area_release(plan->to, plan->to_end, false);
    return result;
  }
  if (!plan->keeps && plan->old_length > 0) {
    int result = resize_in_place(plan, out);
    bool moves = (plan->move->flags & MREMAP_MAYMOVE) != 0;
    if (result != -ENOMEM || !moves || plan->length <= plan->old_length) return result;
    uintptr_t end = plan->from + plan->length; /* the kernel would let it grow so far */
    if (end > plan->from && mm_sys_in_stack(plan->from_end, end)) return result;
  }
  return move_anywhere(plan, out);
}

/* mremap(2). A range of several areas is the kernel's to accept (6.17) or to refuse. */
int mm_raw_mremap(const struct mm_move *move, void **out) {
  struct plan plan;
  int result = mm_guard_install();
  if (result != 0) return result;
  mm_areas_lock();
  result = plan_of(move, &plan) ? move_any(&plan, out) : -EINVAL;
  mm_areas_unlock();
  if (result == 0) mm_spare_keep();
  return mm_spare_give(result);
}
