/* SPDX-License-Identifier: MIT
 *
 * The life of a region: create, resize, close, and the two counts that decide when its addresses
 * and its structure may go (memmap.h has the picture). Owns the munmap of every mapping but those
 * that close() handed to retire.c.
 *
 * The counts are atomic because some runtimes end a view on another thread than the one that made
 * it. Everything else in a region is written by its environment's thread alone.
 *
 * Divisions: counts, create and close, resize.
 */
#include "memmap.h"

#include <errno.h>
#include <stdlib.h>

#define REGION_MAGIC 0x6d6d7267u /* "mmrg" */

/* ---- counts -------------------------------------------------------------------------------- */

void mm_region_ref(struct mm_region *region) { atomic_fetch_add(&region->refs, 1); }

void mm_region_unref(struct mm_region *region) {
  if (atomic_fetch_sub(&region->refs, 1) != 1) return;
  region->magic = 0;
  free(region);
}

/* Adds a reason to keep the addresses. Each mm_region_use is ended by one mm_region_unuse. */
void mm_region_use(struct mm_region *region) {
  mm_region_ref(region);
  atomic_fetch_add(&region->users, 1);
}

/* Ends a reason to keep the addresses; the last one gives them back, at once or after the time of
 * grace. Any thread. */
void mm_region_unuse(struct mm_region *region) {
  if (atomic_fetch_sub(&region->users, 1) == 1 && !region->abandoned) {
    if (atomic_load(&region->grace)) mm_retire_later(region->base, region->length);
    else (void)mm_sys_munmap(region->base, region->length);
  }
  mm_region_unref(region);
}

/* Ends a view whose environment is torn down. The engine reports it as gone, but a buffer that was
 * transferred to another thread may still reach the memory: it is given back to the system, and
 * the addresses stay reserved for good. */
void mm_region_abandon(struct mm_region *region) {
  region->abandoned = true;
  (void)mm_retire_cover(region->base, region->length);
  mm_region_unuse(region);
}

/* Whether a range lies inside the region. The arithmetic cannot overflow. */
bool mm_region_holds(const struct mm_region *region, size_t offset, size_t length) {
  return offset <= region->length && length <= region->length - offset;
}

/* ---- create and close ---------------------------------------------------------------------- */

static struct mm_region *region_of(void *base, size_t length, bool shared) {
  struct mm_region *region = calloc(1, sizeof *region);
  if (region == NULL) return NULL;
  region->magic = REGION_MAGIC;
  atomic_init(&region->refs, 2); /* the JavaScript handle, and the open mapping as a user */
  atomic_init(&region->users, 1);
  atomic_init(&region->closed, false);
  atomic_init(&region->grace, false);
  region->base = base;
  region->length = length;
  region->fd = -1;
  region->shared = shared;
  return region;
}

bool mm_region_is(const struct mm_region *region) { return region->magic == REGION_MAGIC; }

/* Maps and wraps; *out is owned by the caller until mm_region_close and, for the structure, until
 * the JavaScript handle is collected. When addresses have run out, the ranges in grace are given
 * back and the kernel is asked once more. */
int mm_region_create(const struct mm_map_request *request, struct mm_region **out) {
  void *base;
  mm_retire_sweep(false);
  int result = mm_sys_mmap(request, &base);
  if (result == -ENOMEM && mm_retire_bytes() > 0) {
    mm_retire_sweep(true);
    result = mm_sys_mmap(request, &base);
  }
  if (result != 0) return result;
  int type = request->flags & MAP_TYPE;
  *out = region_of(base, request->length, type == MAP_SHARED || type == MAP_SHARED_VALIDATE);
  if (*out != NULL) return 0;
  (void)mm_sys_munmap(base, request->length);
  return -ENOMEM;
}

/* Gives up the open mapping, once. `detached` says that no JavaScript object can reach the memory
 * any more, though an operation of the runtime may. Without views the addresses go at once; with
 * views they are covered by empty memory until the last one has gone. */
void mm_region_close(struct mm_region *region, bool detached) {
  if (region->closed) return;
  region->closed = true;
  if (region->fd >= 0) (void)mm_sys_close(region->fd);
  region->fd = -1;
  if (region->viewed) {
    (void)mm_retire_cover(region->base, region->length);
    if (detached) atomic_store(&region->grace, true);
  }
  mm_region_unuse(region);
}

/* The JavaScript handle was collected. A mapping that nobody closed loses its handle's claim, and
 * goes when the last view over it has gone. */
void mm_region_collected(struct mm_region *region) {
  if (!region->closed) {
    region->closed = true;
    if (region->fd >= 0) (void)mm_sys_close(region->fd);
    region->fd = -1;
    mm_region_unuse(region);
  }
  mm_region_unref(region);
}

/* ---- resize -------------------------------------------------------------------------------- */

/* Moves `length` bytes of mappings from one place to another over whatever is there, and leaves the
 * old addresses mapped, so that nobody else can get them in between. Kernels before 5.7 (private
 * memory) or 5.13 (private files) cannot leave them: there the old place is covered right after.
 * A span that crosses from one kernel area to the next is refused with -EFAULT and is halved until
 * each piece lies in one area. Returns how many bytes were moved; fewer than asked: *error. */
static size_t move_span(uint8_t *from, uint8_t *to, size_t length, int *error) {
  void *out;
  int flags = MREMAP_MAYMOVE | MREMAP_FIXED;
  int result = mm_sys_mremap(from, length, length, flags | MREMAP_DONTUNMAP, to, &out);
  if (result == -EINVAL) {
    result = mm_sys_mremap(from, length, length, flags, to, &out);
    if (result == 0) (void)mm_retire_cover(from, length);
  }
  if (result == 0) return length;
  size_t page = mm_sys_page_size();
  if (result != -EFAULT || length <= page) {
    *error = result;
    return 0;
  }
  size_t half = length / 2 / page * page;
  if (half == 0) half = page;
  size_t moved = move_span(from, to, half, error);
  if (moved < half) return moved;
  return half + move_span(from + half, to + half, length - half, error);
}

/* Makes the mapping that ends at `end` longer in place; the addresses behind it are a reservation
 * of ours, which is given up for that. */
static int extend_in_place(uint8_t *end, size_t extra) {
  void *out;
  size_t page = mm_sys_page_size();
  int result = mm_sys_munmap(end, extra);
  if (result != 0) return result;
  return mm_sys_mremap(end - page, page, page + extra, 0, NULL, &out);
}

/* A private mapping of the new length that holds the pages of the old one. Its pages move, so that
 * private copies stay, and the old addresses stay mapped (empty) for the caller to close. On
 * failure everything is moved back. */
static int resize_private(struct mm_region *region, size_t length, void **out) {
  size_t kept = length < region->length ? length : region->length;
  int error = 0;
  struct mm_map_request reserve = {
      .hint = NULL,
      .length = length,
      .prot = PROT_NONE,
      .flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
      .fd = -1,
      .offset = 0,
  };
  int result = mm_sys_mmap(&reserve, out);
  if (result != 0) return result;
  uint8_t *target = *out;
  size_t moved = move_span(region->base, target, kept, &error);
  if (moved == kept && length > kept) error = extend_in_place(target + kept, length - kept);
  if (error == 0) return 0;
  int ignored = 0;
  if (moved > 0) (void)move_span(target, region->base, moved, &ignored);
  (void)mm_sys_munmap(target, kept);
  /* What lies behind was unmapped by extend_in_place if that was reached: never unmap it twice. */
  if (moved < kept && length > kept) (void)mm_sys_munmap(target + kept, length - kept);
  return error;
}

/* Makes a region of another length over the same memory. The old region is left as it is, for the
 * caller to close, and keeps its descriptor. On failure nothing has changed. A shared
 * mapping is doubled (mremap(2): an old size of 0 makes a new mapping of the same pages), so that
 * both places are valid until then. */
int mm_region_resize(struct mm_region *region, size_t length, struct mm_region **out) {
  void *base = NULL;
  int result;
  struct mm_region *resized = region_of(NULL, length, region->shared);
  if (resized == NULL) return -ENOMEM;
  mm_retire_sweep(false);
  if (region->shared) {
    result = mm_sys_mremap(region->base, 0, length, MREMAP_MAYMOVE, NULL, &base);
  } else {
    result = resize_private(region, length, &base);
  }
  if (result != 0) {
    free(resized);
    return result;
  }
  resized->base = base;
  *out = resized;
  return 0;
}
