/* SPDX-License-Identifier: MIT
 *
 * What became of the pages that the guard replaced: it goes with a range that is split or moved,
 * and is undone when a page is to be as it was mapped. Owns no state of its own; a slot's lists are
 * under `repairing` (guard.h).
 */
#include "guard.h"
#include "memmap.h"

#include <errno.h>
#include <string.h>

/* Room for the states of some pages, or the list of those moved aside; NULL when there is none. */
static void *room_for(size_t length) {
  struct mm_map_request request = {
      .length = length,
      .prot = PROT_READ | PROT_WRITE,
      .flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
      .fd = -1,
  };
  void *room = NULL;
  return mm_sys_mmap(&request, &room) == 0 ? room : NULL;
}

/* A page of the original mapping for the part of a shared range that begins at `offset`. */
static uint8_t *anchor_at(const struct mm_slot *slot, size_t offset) {
  void *copy;
  size_t length = offset + slot->page;
  if (slot->anchor == NULL) return NULL;
  if (mm_sys_mremap(slot->anchor, 0, length, MREMAP_MAYMOVE, NULL, &copy) != 0) return NULL;
  (void)mm_sys_munmap(copy, offset);
  return (uint8_t *)copy + offset;
}

/* The lists of both parts of a range that is split, made anew, since each slot gives back its own
 * by its length. */
struct halves {
  uint8_t *states[2];
  struct mm_stash *stash[2];
  size_t stashed[2];
};

static void give_halves(const struct halves *halves, const size_t pages[2]) {
  for (int i = 0; i < 2; i++) {
    size_t bytes = pages[i] * sizeof(struct mm_stash);
    if (halves->states[i] != NULL) (void)mm_sys_munmap(halves->states[i], pages[i]);
    if (halves->stash[i] != NULL) (void)mm_sys_munmap(halves->stash[i], bytes);
  }
}

/* Fills the lists of both parts; false when there is no memory, and nothing was made. */
static bool make_halves(const struct mm_slot *slot, const size_t pages[2], struct halves *out) {
  bool made = true;
  *out = (struct halves){{NULL, NULL}, {NULL, NULL}, {0, 0}};
  for (int i = 0; i < 2; i++) {
    if (slot->states != NULL) made = (out->states[i] = room_for(pages[i])) != NULL && made;
    if (slot->stash == NULL) continue;
    out->stash[i] = room_for(pages[i] * sizeof(struct mm_stash));
    made = out->stash[i] != NULL && made;
  }
  if (!made) {
    give_halves(out, pages);
    return false;
  }
  if (slot->states != NULL) {
    memcpy(out->states[0], slot->states, pages[0]);
    memcpy(out->states[1], slot->states + pages[0], pages[1]);
  }
  for (size_t i = 0; i < slot->stashed; i++) {
    struct mm_stash entry = slot->stash[i];
    int half = entry.index < pages[0] ? 0 : 1;
    if (half == 1) entry.index -= pages[0];
    out->stash[half][out->stashed[half]++] = entry;
  }
  return true;
}

/* Gives both parts what became of their pages; under `repairing`. */
static bool split_pages(struct mm_slot *slot, struct mm_slot *upper, size_t first) {
  size_t all = slot->length / slot->page;
  size_t pages[2] = {first, all - first};
  struct halves halves;
  if (!make_halves(slot, pages, &halves)) return false;
  if (slot->states != NULL) (void)mm_sys_munmap(slot->states, all);
  if (slot->stash != NULL) (void)mm_sys_munmap(slot->stash, all * sizeof *slot->stash);
  struct mm_slot *parts[2] = {slot, upper};
  for (int i = 0; i < 2; i++) {
    parts[i]->states = halves.states[i];
    parts[i]->stash = halves.stash[i];
    parts[i]->stashed = halves.stashed[i];
  }
  upper->anchor = anchor_at(slot, first * slot->page);
  return true;
}

/* Makes two neighbours of a range, without a moment in which a page of it is not guarded. Returns
 * the upper one; NULL when there is no memory, and the range is whole. Faults that nobody has
 * collected go with the oldest of them. */
struct mm_slot *mm_guard_split(struct mm_slot *slot, size_t offset) {
  struct mm_guard *guard = mm_guard();
  sigset_t saved;
  struct mm_range range = {
      .base = (uint8_t *)slot->base + offset,
      .length = slot->length - offset,
      .page = slot->page,
      .shared = slot->shared,
      .anonymous = slot->anonymous,
      .raw = slot->raw,
      .owner = slot->owner,
  };
  struct mm_slot *upper = mm_guard_add(&range);
  if (upper == NULL) return NULL;
  mm_guard_lock(guard, &saved);
  bool split = split_pages(slot, upper, offset / slot->page);
  if (split) {
    slot->length = offset;
    upper->closed = slot->closed;
    if (slot->oldest.address >= upper->base) {
      upper->oldest = slot->oldest;
      atomic_store(&upper->count, atomic_exchange(&slot->count, 0));
    }
  }
  mm_guard_unlock(guard, &saved);
  if (split) return upper;
  mm_guard_remove(upper);
  return NULL;
}

/* What became of the pages of a range that was moved; its base was moved with them. What was moved
 * aside of pages that are no longer there goes. */
void mm_guard_carry(struct mm_slot *slot, struct mm_slot *from) {
  struct mm_guard *guard = mm_guard();
  sigset_t saved;
  size_t room = slot->length / slot->page;
  size_t pages = (from->length < slot->length ? from->length : slot->length) / slot->page;
  mm_guard_lock(guard, &saved);
  void *states = from->states != NULL ? room_for(room) : NULL;
  if (states != NULL) {
    memcpy(states, from->states, pages);
    slot->states = states;
    slot->anchor = from->anchor;
    from->anchor = NULL;
  }
  void *stash = states != NULL && from->stashed > 0 ? room_for(room * sizeof *slot->stash) : NULL;
  if (stash != NULL) {
    slot->stash = stash;
    for (size_t i = 0; i < from->stashed; i++) {
      if (from->stash[i].index < pages) slot->stash[slot->stashed++] = from->stash[i];
      else (void)mm_sys_munmap(from->stash[i].page, from->page);
    }
    from->stashed = 0;
  }
  mm_guard_unlock(guard, &saved);
}

/* Puts a private page back that was moved aside; under `repairing`. 1 when it was, 0 when there is
 * none, or a negative errno and everything is as before. */
static int put_back(struct mm_slot *slot, size_t index, int prot) {
  uint8_t *at = (uint8_t *)slot->base + index * slot->page;
  int flags = MREMAP_MAYMOVE | MREMAP_FIXED;
  void *out;
  for (size_t i = 0; i < slot->stashed; i++) {
    if (slot->stash[i].index != index) continue;
    int result = mm_sys_mprotect(slot->stash[i].page, slot->page, prot);
    if (result == 0) {
      result = mm_sys_mremap(slot->stash[i].page, slot->page, slot->page, flags, at, &out);
    }
    if (result != 0) return result;
    slot->stash[i] = slot->stash[--slot->stashed];
    return 1;
  }
  return 0;
}

/* Throws away what was moved aside of a range that is given up: whole pages go, of a part of one
 * the bytes become zero. */
void mm_guard_forget(struct mm_slot *slot, size_t offset, size_t length) {
  struct mm_guard *guard = mm_guard();
  sigset_t saved;
  mm_guard_lock(guard, &saved);
  for (size_t i = 0; i < slot->stashed;) {
    struct mm_stash *entry = &slot->stash[i];
    size_t start = entry->index * slot->page, end = start + slot->page;
    size_t from = start > offset ? start : offset;
    size_t to = end < offset + length ? end : offset + length;
    if (from == start && to == end) {
      (void)mm_sys_munmap(entry->page, slot->page);
      *entry = slot->stash[--slot->stashed];
      continue;
    }
    if (from < to && mm_sys_mprotect(entry->page, slot->page, PROT_READ | PROT_WRITE) == 0) {
      memset(entry->page + (from - start), 0, to - from);
    }
    i++;
  }
  mm_guard_unlock(guard, &saved);
}

/* Something new has been mapped over a whole range: none of its pages is a replaced one. */
void mm_guard_renew(struct mm_slot *slot) {
  struct mm_guard *guard = mm_guard();
  sigset_t saved;
  mm_guard_lock(guard, &saved);
  mm_guard_forget_pages(slot);
  mm_guard_unlock(guard, &saved);
}

/* Advises on the pages that were moved aside of a part of a range, as was advised on those in their
 * place: they come back. */
void mm_guard_advise(struct mm_slot *slot, size_t offset, size_t length, int advice) {
  struct mm_guard *guard = mm_guard();
  sigset_t saved;
  mm_guard_lock(guard, &saved);
  for (size_t i = 0; i < slot->stashed; i++) {
    size_t start = slot->stash[i].index * slot->page;
    if (start < offset || start + slot->page > offset + length) continue;
    (void)mm_sys_madvise(slot->stash[i].page, slot->page, advice);
  }
  mm_guard_unlock(guard, &saved);
}

/* A page of the original shared mapping, for as long as the range is open; NULL before a fault. */
uint8_t *mm_guard_anchor(struct mm_slot *slot) {
  struct mm_guard *guard = mm_guard();
  sigset_t saved;
  mm_guard_lock(guard, &saved);
  uint8_t *anchor = slot->anchor;
  mm_guard_unlock(guard, &saved);
  return anchor;
}

/* Makes a run of replaced pages again; under `repairing`. A shared mapping is doubled from its
 * anchor up to the end of the run, of which the run itself is moved into place. */
static int remap_run(struct mm_slot *slot, const struct mm_remap *job, size_t first, size_t count) {
  size_t start = first * slot->page, length = count * slot->page;
  uint8_t *at = (uint8_t *)slot->base + start;
  void *out;
  if (slot->shared) {
    if (slot->anchor == NULL) return -ENOTSUP;
    void *copy;
    int result = mm_sys_mremap(slot->anchor, 0, start + length, MREMAP_MAYMOVE, NULL, &copy);
    if (result != 0) return result;
    uint8_t *run = (uint8_t *)copy + start;
    result = mm_sys_mremap(run, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, at, &out);
    (void)mm_sys_munmap(copy, result == 0 ? start : start + length);
    if (result != 0) return result;
    return mm_sys_mprotect(at, length, job->prot);
  }
  struct mm_map_request request = {
      .hint = at,
      .length = length,
      .prot = job->prot,
      .flags = MAP_PRIVATE | MAP_FIXED | (job->fd < 0 ? MAP_ANONYMOUS : 0),
      .fd = job->fd,
      .offset = job->fd < 0 ? 0 : (off_t)(job->fd_offset + (int64_t)start),
  };
  return mm_sys_mmap(&request, &out);
}

/* Makes the replaced pages of a part of an open range follow the file again. On failure the pages
 * before the one that failed have been made. */
int mm_guard_remap(struct mm_slot *slot, const struct mm_remap *job) {
  struct mm_guard *guard = mm_guard();
  sigset_t saved;
  int result = 0;
  mm_guard_lock(guard, &saved);
  size_t end = (job->offset + job->length) / slot->page;
  for (size_t i = job->offset / slot->page; slot->stashed > 0 && i < end && result >= 0; i++) {
    result = put_back(slot, i, job->prot);
    if (result == 1) slot->states[i] = MM_PAGE_ORIGINAL;
  }
  if (result > 0) result = 0;
  size_t rest = job->fd == MM_NO_SOURCE ? end : job->offset / slot->page;
  for (size_t i = rest; slot->states != NULL && i < end && result == 0;) {
    size_t count = 0;
    while (i + count < end && MM_PAGE_STATE(slot->states[i + count]) != MM_PAGE_ORIGINAL) count++;
    if (count > 0) result = remap_run(slot, job, i, count);
    if (count > 0 && result == 0) {
      memset(slot->states + i, MM_PAGE_ORIGINAL, count);
      size_t fewer = count < slot->repairs ? count : slot->repairs;
      slot->repairs -= fewer;
      guard->repairs -= fewer;
    }
    i += count + 1;
  }
  mm_guard_unlock(guard, &saved);
  return result;
}

/* The first page of a range of a slot that was replaced, as bytes from the slot's base, and the
 * reason; SIZE_MAX when there is none. Without a system call where there never was one: the list of
 * states is made before the first page is replaced. */
size_t mm_guard_replaced(struct mm_slot *slot, size_t offset, size_t length, unsigned *reason) {
  struct mm_guard *guard = mm_guard();
  sigset_t saved;
  size_t found = SIZE_MAX;
  if (length == 0 || slot->states == NULL) return found;
  mm_guard_lock(guard, &saved);
  size_t last = (offset + length - 1) / slot->page;
  for (size_t i = offset / slot->page; slot->states != NULL && i <= last; i++) {
    if (MM_PAGE_STATE(slot->states[i]) == MM_PAGE_ORIGINAL) continue;
    *reason = MM_PAGE_REASON(slot->states[i]);
    found = i * slot->page;
    break;
  }
  mm_guard_unlock(guard, &saved);
  return found;
}
