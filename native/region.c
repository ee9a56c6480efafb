/* SPDX-License-Identifier: MIT
 *
 * The life of a region: create, resize, close, and the two counts that decide when its addresses
 * and its structure may go (memmap.h has the picture). Owns the munmap of every mapping but those
 * that close() handed to retire.c.
 *
 * The counts are atomic because some runtimes end a view on another thread than the one that made
 * it. Everything else in a region is written by its environment's thread alone.
 *
 * Divisions: counts, create and close, shared with workers, resize.
 */
#include "area.h"
#include "memmap.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* The regions that were shared and are open: how a worker finds one by its number. Process-wide,
 * since that is who shares; `sharing` guards it, the numbers, and every region's last close. */
static pthread_mutex_t sharing = PTHREAD_MUTEX_INITIALIZER;
static struct mm_region *shared;
static uint32_t last_id;

/* How often growing is tried again when another thread was quicker to take the addresses. */
#define RESIZE_TRIES 8

/* ---- counts -------------------------------------------------------------------------------- */

void mm_region_ref(struct mm_region *region) { atomic_fetch_add(&region->refs, 1); }

void mm_region_unref(struct mm_region *region) {
  if (atomic_fetch_sub(&region->refs, 1) != 1) return;
  free(region);
}

/* Adds a reason to keep the addresses. Each mm_region_use is ended by one mm_region_unuse. */
void mm_region_use(struct mm_region *region) {
  mm_region_ref(region);
  atomic_fetch_add(&region->users, 1);
}

/* The same, unless the addresses have been given back already. */
bool mm_region_try_use(struct mm_region *region) {
  unsigned users = atomic_load(&region->users);
  while (users > 0) {
    if (atomic_compare_exchange_weak(&region->users, &users, users + 1)) {
      mm_region_ref(region);
      return true;
    }
  }
  return false;
}

/* Ends a reason to keep the addresses; the last one gives them back, at once or after the time of
 * grace. Any thread. */
void mm_region_unuse(struct mm_region *region) {
  if (atomic_fetch_sub(&region->users, 1) == 1) {
    if (region->slot == NULL) {
      mm_area_view_ended(region);
    } else if (region->abandoned) {
      mm_retire_never(region->slot);
    } else if (atomic_load(&region->grace)) {
      mm_retire_later(region->slot);
    } else {
      mm_guard_remove(region->slot);
      (void)mm_sys_munmap(region->base, region->length);
    }
  }
  mm_region_unref(region);
}

/* Ends a view whose environment is torn down. The engine reports it as gone, but a buffer that was
 * transferred to another thread may still reach the memory: unless others hold it open, it is given
 * back to the system, and the addresses stay reserved for good. */
void mm_region_abandon(struct mm_region *region) {
  region->abandoned = true;
  if (atomic_load(&region->opens) == 0) (void)mm_guard_cover(region->slot);
  mm_region_unuse(region);
}

/* Whether a range lies inside the region. The arithmetic cannot overflow. */
bool mm_region_holds(const struct mm_region *region, size_t offset, size_t length) {
  return offset <= region->length && length <= region->length - offset;
}

/* ---- create and close ---------------------------------------------------------------------- */

/* A region over a range that was just mapped, registered with the guard; NULL when there is no
 * memory for that, and the range is the caller's still. */
static struct mm_region *region_of(void *base, const struct mm_map_request *request) {
  int type = request->flags & MAP_TYPE;
  struct mm_region *region = calloc(1, sizeof *region);
  if (region == NULL) return NULL;
  atomic_init(&region->opens, 1);
  atomic_init(&region->refs, 1); /* one for each user; a handle that is not closed is one */
  atomic_init(&region->users, 1);
  atomic_init(&region->closed, false);
  atomic_init(&region->grace, false);
  region->base = base;
  region->length = request->length;
  region->page = request->page;
  region->fd = -1;
  region->shared = type == MAP_SHARED || type == MAP_SHARED_VALIDATE;
  struct mm_range range = {
      .base = base,
      .length = request->length,
      .page = request->page,
      .shared = region->shared,
      .anonymous = (request->flags & MAP_ANONYMOUS) != 0,
      .owner = request->owner,
  };
  region->slot = mm_guard_add(&range);
  if (region->slot != NULL) return region;
  free(region);
  return NULL;
}

static void let_go(struct mm_region *region, bool cover, bool detached);

/* Maps and wraps; *out is owned by the caller until mm_region_close and, for the structure, until
 * the JavaScript handle is collected. When addresses have run out and the ranges in grace could
 * make room, they are given back and the kernel is asked once more. */
int mm_region_create(const struct mm_map_request *request, struct mm_region **out) {
  void *base;
  int result = mm_guard_install();
  if (result != 0) return result;
  mm_retire_sweep(false);
  result = mm_sys_mmap(request, &base);
  if (result == -ENOMEM && mm_retire_bytes() >= request->length) {
    mm_retire_sweep(true);
    result = mm_sys_mmap(request, &base);
  }
  if (result != 0) return mm_spare_give(result);
  *out = region_of(base, request);
  if (*out == NULL) {
    (void)mm_sys_munmap(base, request->length);
    return -ENOMEM;
  }
  if (request->keep) (*out)->fd = mm_sys_duplicate(request->fd);
  if (request->keep && (*out)->fd < 0) {
    result = (*out)->fd;
    let_go(*out, false, false);
    return result;
  }
  mm_spare_keep();
  return 0;
}

/* Takes a region out of the table of shared ones; under `sharing`. */
static void take_from_table(struct mm_region *region) {
  for (struct mm_region **at = &shared; *at != NULL; at = &(*at)->next_shared) {
    if (*at != region) continue;
    *at = region->next_shared;
    return;
  }
}

/* Ends one handle's hold on its region. The last one to do so closes it: without views the
 * addresses go at once; with views they are covered until the last one has gone. `detached` says
 * that no JavaScript object can reach the memory any more, though an operation of the runtime may.
 * */
static void let_go(struct mm_region *region, bool cover, bool detached) {
  pthread_mutex_lock(&sharing);
  bool last = atomic_fetch_sub(&region->opens, 1) == 1;
  if (last) {
    if (region->id != 0) take_from_table(region);
    atomic_store(&region->closed, true);
    if (region->fd >= 0) (void)mm_sys_close(region->fd);
    region->fd = -1;
  }
  pthread_mutex_unlock(&sharing);
  if (detached) atomic_store(&region->grace, true);
  if (last && ((cover && region->viewed) || region->abandoned)) (void)mm_guard_cover(region->slot);
  mm_region_unuse(region);
}

/* Marks a handle as closed and takes it out of its environment's list; false when it was closed. */
static bool close_handle(struct mm_handle *handle) {
  if (handle->closed) return false;
  handle->closed = true;
  if (handle->env != NULL) {
    *handle->link = handle->next;
    if (handle->next != NULL) handle->next->link = handle->link;
  }
  return true;
}

/* Gives up a region that no handle was made for. */
void mm_region_drop(struct mm_region *region) { let_go(region, false, false); }

/* Closes a handle, once. */
void mm_region_close(struct mm_handle *handle, bool detached) {
  if (close_handle(handle)) let_go(handle->region, true, detached);
}

/* The environment ends: its mappings are closed, also on runtimes that do not collect its handles
 * then. What its views still hold goes with them. */
void mm_region_env_ending(struct mm_env *state) {
  while (state->open != NULL) {
    struct mm_region *region = state->open->region;
    if (close_handle(state->open)) let_go(region, false, false);
  }
}

/* A handle was collected. A mapping that nobody closed loses its handle's claim, and goes when the
 * last view over it has gone; until then its faults have no mapping to go to. */
void mm_region_collected(struct mm_handle *handle) {
  struct mm_region *region = handle->region;
  bool open = close_handle(handle);
  if (mm_region_try_use(region)) {
    if (atomic_load(&region->opens) == (open ? 1u : 0u)) mm_guard_orphan(region->slot);
    mm_region_unuse(region);
  }
  if (open) let_go(region, false, false);
  handle->magic = 0;
  free(handle);
  mm_region_unref(region);
}

/* ---- shared with workers ------------------------------------------------------------------- */

/* Puts a region into the table, where other environments of the process find it by its number. */
uint32_t mm_region_share(struct mm_region *region) {
  pthread_mutex_lock(&sharing);
  if (region->id == 0) {
    region->id = ++last_id;
    region->next_shared = shared;
    shared = region;
  }
  pthread_mutex_unlock(&sharing);
  return region->id;
}

/* A second mapping of the same pages, with a life of its own. */
static int double_region(struct mm_region *region, void *owner, struct mm_region **out) {
  void *base;
  uint8_t *anchor = mm_guard_anchor(region->slot);
  uint8_t *origin = anchor != NULL ? anchor : region->base;
  struct mm_map_request request = {
      .owner = owner, .length = region->length, .page = region->page, .flags = MAP_SHARED};
  int result = mm_sys_mremap(origin, 0, region->length, MREMAP_MAYMOVE, NULL, &base);
  if (result != 0) return result;
  *out = region_of(base, &request);
  if (*out == NULL) {
    (void)mm_sys_munmap(base, region->length);
    return -ENOMEM;
  }
  if (region->fd >= 0) (*out)->fd = mm_sys_duplicate(region->fd);
  return 0;
}

/* Attaches to a shared region: a shared mapping is doubled, a private one is held together with the
 * others, since its pages exist once. -ENOENT when its last holder has closed it. */
int mm_region_attach(uint32_t id, void *owner, struct mm_region **out) {
  int result = -ENOENT;
  mm_retire_sweep(false);
  pthread_mutex_lock(&sharing);
  struct mm_region *region = shared;
  while (region != NULL && region->id != id) region = region->next_shared;
  if (region != NULL && region->shared) {
    result = double_region(region, owner, out);
  } else if (region != NULL) {
    atomic_fetch_add(&region->opens, 1);
    mm_region_use(region);
    *out = region;
    result = 0;
  }
  pthread_mutex_unlock(&sharing);
  return result;
}

/* ---- resize -------------------------------------------------------------------------------- */

/* Keeps addresses from other users; best effort, for kernels that cannot keep them in the move. */
static void hold_place(uint8_t *base, size_t length) {
  struct mm_map_request request = {
      .hint = base,
      .length = length,
      .prot = PROT_NONE,
      .flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
      .fd = -1,
      .offset = 0,
  };
  void *same;
  (void)mm_sys_mmap(&request, &same);
}

/* Moves one kernel area, or a part of one, to a fixed place over whatever is there. With `keep` the
 * old addresses stay mapped, so that nobody else can get them in between; kernels before 5.7
 * (private memory) or 5.13 (private files) cannot do that, and there the old place is held right
 * after. Moving several areas in one call is left alone: where the kernel allows it at all
 * (6.17), a failure in the middle leaves some of them moved. */
static int move_area(uint8_t *from, uint8_t *to, size_t length, bool keep) {
  void *out;
  struct mm_lift lift = {.from = from, .length = length, .flags = MREMAP_FIXED, .to = to};
  int result = keep ? mm_lift(&lift, &out) : -EINVAL;
  if (result != -EINVAL) return result;
  result = mm_sys_mremap(from, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, to, &out);
  if (result == 0 && keep) hold_place(from, length);
  return result;
}

/* The kernel areas of a range: `ends` are the offsets where each ends. Owned by the caller. */
struct areas {
  size_t *ends;
  size_t count;
};

/* Reads the areas of a range from /proc/self/maps; -ENOMEM or -ENOENT when that cannot be. */
static int read_areas(const uint8_t *base, size_t length, struct areas *out) {
  FILE *maps = fopen("/proc/self/maps", "re");
  char line[512];
  size_t room = 0;
  *out = (struct areas){NULL, 0};
  if (maps == NULL) return -ENOENT;
  while (fgets(line, sizeof line, maps) != NULL) {
    unsigned long long start, end;
    if (sscanf(line, "%llx-%llx ", &start, &end) != 2) continue;
    if (end <= (uintptr_t)base || start >= (uintptr_t)base + length) continue;
    if (out->count == room) {
      room = room == 0 ? 16 : room * 2;
      size_t *more = realloc(out->ends, room * sizeof *more);
      if (more == NULL) break;
      out->ends = more;
    }
    size_t last = (size_t)(end - (uintptr_t)base);
    out->ends[out->count++] = last < length ? last : length;
  }
  (void)fclose(maps);
  if (out->count > 0 && out->ends[out->count - 1] == length) return 0;
  free(out->ends);
  return -ENOMEM;
}

/* Moves a range area by area and returns how many bytes were moved; fewer than asked: *error. */
static size_t move_areas(uint8_t *from, uint8_t *to, const struct areas *areas, int *error) {
  size_t moved = 0;
  for (size_t i = 0; i < areas->count; i++) {
    *error = move_area(from + moved, to + moved, areas->ends[i] - moved, true);
    if (*error != 0) return moved;
    moved = areas->ends[i];
  }
  return moved;
}

/* Moves pages back to where they came from, the first `moved` bytes of the areas. The empty areas
 * there are made one first: the kernel may have refused for the number of areas, and each piece
 * that comes back needs one. What it refuses still is copied. */
static void move_back(uint8_t *from, uint8_t *to, size_t moved, const struct areas *areas) {
  size_t back = 0;
  if (moved == 0) return;
  hold_place(to, moved);
  for (size_t i = 0; i < areas->count && back < moved; i++) {
    size_t length = areas->ends[i] - back;
    if (move_area(from + back, to + back, length, false) != 0) {
      (void)mm_sys_mprotect(to + back, length, PROT_READ | PROT_WRITE);
      (void)mm_copy(to + back, from + back, length);
    }
    back = areas->ends[i];
  }
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

/* Huge pages can neither grow nor move to any place. Anonymous ones are mapped anew, readable and
 * writable, whose protection is the caller's to set: shared ones from their memory object, private
 * ones with their content copied. */
static int resize_huge(struct mm_region *region, size_t length, void **out) {
  int shift = __builtin_ctzll(region->page);
  int kind = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | (shift << MAP_HUGE_SHIFT);
  struct mm_map_request request = {
      .length = length,
      .prot = PROT_READ | PROT_WRITE,
      .flags = region->shared ? MAP_SHARED : kind,
      .fd = region->shared ? region->fd : -1,
  };
  int result = mm_sys_mmap(&request, out);
  if (result != 0 || region->shared) return result;
  size_t kept = length < region->length ? length : region->length;
  (void)mm_sys_mprotect(region->base, kept, PROT_READ | PROT_WRITE);
  if (mm_copy(*out, region->base, kept) == kept) return 0;
  (void)mm_sys_munmap(*out, length);
  return -ENOMEM;
}

/* Resizes a private range of several areas: a reservation of the new length takes them one by one.
 * On failure everything is moved back. *raced: another thread took the addresses behind the new
 * place in the moment between giving up the reservation and growing into it. */
static int resize_areas(struct mm_region *region, size_t length, void **out, bool *raced) {
  size_t kept = length < region->length ? length : region->length;
  struct areas areas;
  struct mm_map_request reserve = {
      .length = length,
      .prot = PROT_NONE,
      .flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
      .fd = -1,
  };
  *raced = false;
  int error = read_areas(region->base, kept, &areas);
  if (error != 0) return error;
  error = mm_sys_mmap(&reserve, out);
  if (error == 0) {
    uint8_t *target = *out;
    size_t moved = move_areas(region->base, target, &areas, &error);
    bool extended = moved == kept && length > kept;
    if (extended) {
      error = extend_in_place(target + kept, length - kept);
      *raced = error == -ENOMEM;
    }
    if (error != 0) {
      move_back(target, region->base, moved, &areas);
      /* What lies behind `kept` was unmapped by extend_in_place: never unmap it twice. */
      (void)mm_sys_munmap(target, extended ? kept : length);
    }
  }
  free(areas.ends);
  return error;
}

/* A private mapping of the new length that holds the pages of the old one. Its pages move, so that
 * private copies stay, and the old addresses stay mapped (empty) for the caller to close. On
 * failure everything is as it was. One area, the usual case, moves to a place that the kernel
 * chooses, and grows there. */
static int resize_private(struct mm_region *region, size_t length, void **out) {
  size_t kept = length < region->length ? length : region->length;
  struct mm_lift lift = {.from = region->base, .length = kept};
  void *moved;
  int result = mm_lift(&lift, &moved);
  if (result == 0) {
    *out = moved;
    if (length > kept) result = mm_sys_mremap(moved, kept, length, MREMAP_MAYMOVE, NULL, out);
    if (result != 0) (void)move_area(moved, region->base, kept, false);
    return result;
  }
  if (result != -EFAULT && result != -EINVAL) return result;
  bool raced = true;
  result = -ENOMEM;
  for (int tries = 0; raced && tries < RESIZE_TRIES; tries++) {
    result = resize_areas(region, length, out, &raced);
  }
  return result;
}

/* Memory for the structures ran out after the pages were moved: private ones go back. */
static int undo_resize(struct mm_region *region, uint8_t *base, size_t length) {
  size_t kept = length < region->length ? length : region->length;
  struct areas areas;
  if (!region->shared && read_areas(base, kept, &areas) == 0) {
    move_back(base, region->base, kept, &areas);
    free(areas.ends);
  }
  (void)mm_sys_munmap(base, length);
  return -ENOMEM;
}

/* The new place of a region's memory, by whichever way its kind allows. */
static int resize_any(struct mm_region *region, size_t length, bool anew, void **out) {
  if (anew) return resize_huge(region, length, out);
  if (region->shared) {
    uint8_t *anchor = mm_guard_anchor(region->slot);
    uint8_t *origin = anchor != NULL ? anchor : region->base;
    return mm_sys_mremap(origin, 0, length, MREMAP_MAYMOVE, NULL, out);
  }
  return resize_private(region, length, out);
}

/* Makes a region of another length over the same memory. The old region is left as it is, for the
 * caller to close, and keeps its descriptor. On failure nothing has changed. A shared mapping is
 * doubled (mremap(2): an old size of 0 makes a new mapping of the same pages), so that both places
 * are valid until then; its pages all follow the file again. `anew`: see resize_huge. */
int mm_region_resize(struct mm_region *region, size_t length, bool anew, struct mm_region **out) {
  void *base = NULL;
  mm_retire_sweep(false);
  int result = resize_any(region, length, anew, &base);
  if (result == -ENOMEM && mm_retire_bytes() >= length) {
    mm_retire_sweep(true);
    result = resize_any(region, length, anew, &base);
  }
  if (result != 0) return mm_spare_give(result);
  struct mm_map_request request = {
      .owner = region->slot->owner,
      .length = length,
      .page = region->page,
      .flags = (region->shared ? MAP_SHARED : MAP_PRIVATE) |
               (region->slot->anonymous ? MAP_ANONYMOUS : 0),
  };
  *out = region_of(base, &request);
  if (*out == NULL) return undo_resize(region, base, length);
  if (!region->shared) mm_guard_carry((*out)->slot, region->slot);
  return 0;
}
