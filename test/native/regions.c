/* SPDX-License-Identifier: MIT
 *
 * The life of regions on one thread: counts, the time of grace, environments that end, sharing,
 * resize and its failures.
 */
#include "check.h"

#include <errno.h>

/* A mapping that no view has shown goes at once; one that was viewed stays covered while a view, a
 * job or the time of grace holds it. */
static void test_end(bool full) {
  size_t page = mm_sys_page_size();
  struct mm_handle *plain = new_mapping(page, false);
  uint8_t *base = plain->region->base;
  end_mapping(plain);
  CHECK(!is_mapped(base, page));

  struct mm_handle *viewed = new_mapping(2 * page, false);
  struct mm_region *region = viewed->region;
  base = region->base;
  memset(base, 1, 2 * page);
  region->viewed = true;
  mm_region_use(region);
  mm_region_close(viewed, false);
  mm_region_close(viewed, false);
  CHECK(mm_sys_copy(&(uint8_t){0}, base, 1) == -EFAULT);
  if (full) {
    CHECK(peek(base) == 0 && peek(base + 2 * page - 1) == 0);
    CHECK(told(region->slot, 2, base, false, MM_FAULT_CLOSED));
  }
  mm_region_collected(viewed);
  CHECK(is_mapped(base, 2 * page));
  mm_region_unuse(region);
  CHECK(!is_mapped(base, 2 * page));
}

/* A detached view leaves its addresses in grace: a sweep that is not forced keeps them. */
static void test_grace(bool full) {
  size_t page = mm_sys_page_size();
  mm_retire_sweep(true);
  CHECK(mm_retire_bytes() == 0);
  uint8_t *bases[3];
  for (size_t i = 0; i < 3; i++) {
    struct mm_handle *handle = new_mapping((i + 1) * page, i == 1);
    bases[i] = handle->region->base;
    handle->region->viewed = true;
    mm_region_use(handle->region);
    mm_region_unuse(handle->region);
    mm_region_close(handle, true);
    mm_region_collected(handle);
  }
  CHECK(mm_retire_bytes() == 6 * page);
  mm_retire_sweep(false);
  CHECK(mm_retire_bytes() == 6 * page);
  for (size_t i = 0; i < 3; i++) {
    CHECK(is_mapped(bases[i], (i + 1) * page));
    if (full) poke(bases[i], 1); /* whoever comes late writes into nothing */
  }
  mm_retire_sweep(true);
  CHECK(mm_retire_bytes() == 0);
  for (size_t i = 0; i < 3; i++) CHECK(!is_mapped(bases[i], (i + 1) * page));
}

/* Neighbours of one second are one entry, whichever of them comes first. */
static void test_neighbours(void) {
  size_t page = mm_sys_page_size();
  struct mm_map_request request = {
      .length = 3 * page,
      .prot = PROT_NONE,
      .flags = MAP_PRIVATE | MAP_ANONYMOUS,
      .fd = -1,
  };
  static const size_t order[] = {1, 2, 0};
  void *out;
  mm_retire_sweep(true);
  CHECK(mm_sys_mmap(&request, &out) == 0);
  uint8_t *base = out;
  for (size_t i = 0; i < 3; i++) {
    struct mm_range range = {.base = base + order[i] * page, .length = page, .page = page};
    struct mm_slot *slot = mm_guard_add(&range);
    CHECK(slot != NULL);
    mm_guard_cover(slot);
    mm_retire_later(slot);
  }
  CHECK(mm_retire_bytes() == 3 * page);
  mm_retire_sweep(true);
  CHECK(!is_mapped(base, page) && !is_mapped(base + 2 * page, page));
}

/* What nobody closed goes with its handle, its descriptor included. */
static void test_collected(void) {
  size_t page = mm_sys_page_size();
  struct mm_handle *handle = new_mapping(page, true);
  struct mm_region *region = handle->region;
  uint8_t *base = region->base;
  int fd = mm_sys_memory("test", 0, (off_t)page);
  CHECK(fd >= 0);
  region->fd = fd;
  mm_region_use(region); /* a view that is still held */
  region->viewed = true;
  mm_region_collected(handle);
  CHECK(mm_sys_close(fd) == -EBADF);
  base[0] = 7;
  CHECK(base[0] == 7);
  CHECK(region->slot->orphan);
  mm_region_unuse(region);
  CHECK(!is_mapped(base, page));
}

/* The view of an environment that has ended keeps its addresses for good, and gives the memory back
 * once nobody holds the mapping. */
static void test_abandoned(void) {
  size_t page = mm_sys_page_size();
  for (int order = 0; order < 2; order++) {
    struct mm_handle *handle = new_mapping(page, false);
    struct mm_region *region = handle->region;
    uint8_t *base = region->base;
    base[0] = 1;
    region->viewed = true;
    mm_region_use(region);
    if (order == 0) mm_region_close(handle, false);
    mm_region_abandon(region);
    if (order == 1) {
      CHECK(base[0] == 1); /* another holder has it open */
      mm_region_close(handle, false);
    }
    CHECK(mm_sys_copy(&(uint8_t){0}, base, 1) == -EFAULT);
    struct mm_slot *slot = region->slot;
    mm_region_collected(handle);
    CHECK(is_mapped(base, page));
    const struct mm_kept *kept = mm_retire_kept();
    CHECK(kept != NULL && kept->base == (uintptr_t)base && kept->length == page);
    mm_guard_remove(slot);
    CHECK(mm_sys_munmap(base, page) == 0);
  }
}

/* An environment that ends closes what is open in it, in whatever order it was opened. */
static void test_environment(void) {
  enum { COUNT = 5 };
  size_t page = mm_sys_page_size();
  struct mm_env state = {.open = NULL};
  struct mm_handle *handles[COUNT];
  uint8_t *bases[COUNT];
  for (size_t i = 0; i < COUNT; i++) {
    handles[i] = new_mapping(page, i % 2 == 0);
    bases[i] = handles[i]->region->base;
    handles[i]->env = &state;
    handles[i]->next = state.open;
    handles[i]->link = &state.open;
    if (state.open != NULL) state.open->link = &handles[i]->next;
    state.open = handles[i];
  }
  mm_region_close(handles[2], false);
  mm_region_close(handles[4], false);
  mm_region_close(handles[0], false);
  CHECK(is_mapped(bases[1], page) && is_mapped(bases[3], page));
  mm_region_env_ending(&state);
  CHECK(state.open == NULL);
  for (size_t i = 0; i < COUNT; i++) {
    CHECK(!is_mapped(bases[i], page));
    mm_region_collected(handles[i]);
  }
}

/* A shared region is found by its number until its last holder has closed it: private pages are
 * held together, a shared mapping is doubled. */
static void test_attach(bool shared) {
  size_t page = mm_sys_page_size();
  struct mm_handle *first = new_mapping(2 * page, shared);
  struct mm_region *region = first->region, *attached = NULL;
  first->region->base[5] = 9;
  uint32_t id = mm_region_share(region);
  CHECK(id != 0 && mm_region_share(region) == id);
  CHECK(mm_region_attach(id + 1, NULL, &attached) == -ENOENT);
  CHECK(mm_region_attach(0, NULL, &attached) == -ENOENT);
  CHECK(mm_region_attach(id, NULL, &attached) == 0);
  CHECK((attached == region) == !shared);
  CHECK(atomic_load(&region->opens) == (shared ? 1u : 2u));
  struct mm_handle *second = hold(attached);
  uint8_t *base = attached->base;
  mm_region_close(first, false);
  CHECK((mm_region_attach(id, NULL, &attached) == 0) == !shared);
  if (!shared) end_mapping(hold(attached));
  CHECK(base[5] == 9);
  mm_region_collected(first);
  end_mapping(second);
  CHECK(!is_mapped(base, 2 * page));
  CHECK(mm_region_attach(id, NULL, &attached) == -ENOENT);
}

/* Gives every third page of a region another protection, so that it has several areas. */
static void split_areas(struct mm_region *region, size_t pages) {
  size_t page = mm_sys_page_size();
  for (size_t i = 0; i < pages; i += 3) {
    CHECK(mm_sys_mprotect(region->base + i * page, page, PROT_READ) == 0);
  }
}

/* Resizes to `to` pages and back down, for a region in one area and in many. */
static void test_resize(size_t from, size_t to, bool shared, bool split) {
  size_t page = mm_sys_page_size();
  size_t kept = from < to ? from : to;
  struct mm_handle *old = new_mapping(from * page, shared);
  struct mm_region *resized = NULL;
  uint8_t *base = old->region->base;
  mark_pages(base, from);
  if (split) split_areas(old->region, from);
  CHECK(mm_region_resize(old->region, to * page, false, &resized) == 0);
  CHECK(resized->length == to * page && resized->base != base);
  CHECK(are_marked(resized->base, kept));
  CHECK(is_mapped(resized->base, to * page));
  /* The old addresses are held until the old region is closed. */
  CHECK(is_mapped(base, from * page));
  if (split && !shared) {
    CHECK(mm_probe(resized->base, true) == -EINVAL);
    if (kept > 1) CHECK(mm_probe(resized->base + page, true) == 0);
  }
  end_mapping(old);
  CHECK(!is_mapped(base, page));
  base = resized->base;
  end_mapping(hold(resized));
  CHECK(!is_mapped(base, to * page));
}

/* When the kernel refuses at any step, `count` times, the old region has its content, and nothing
 * is left behind; its protections are as they were when the way back is open. */
static void test_failing_resize(int count) {
  size_t page = mm_sys_page_size();
  size_t pages = 20;
  bool failed = true;
  for (int step = 0; failed; step++) {
    CHECK(step < 1000);
    struct mm_handle *handle = new_mapping(pages * page, false);
    struct mm_region *region = handle->region;
    struct mm_region *resized = NULL;
    mark_pages(region->base, pages);
    split_areas(region, pages);
    size_t areas = area_count();
    fail_mremap(step, count);
    int result = mm_region_resize(region, 2 * pages * page, false, &resized);
    fail_mremap(-1, 0);
    failed = result != 0;
    if (failed) {
      CHECK(result == -ENOMEM);
      CHECK(are_marked(region->base, pages));
      CHECK(area_count() <= areas);
      if (count == 1) {
        CHECK(mm_probe(region->base, true) == -EINVAL);
        CHECK(mm_probe(region->base + page, true) == 0);
      }
    } else {
      CHECK(step > 0 && are_marked(resized->base, pages));
      end_mapping(hold(resized));
    }
    end_mapping(handle);
  }
}

static void test_holds(void) {
  size_t page = mm_sys_page_size();
  struct mm_handle *handle = new_mapping(2 * page, false);
  const struct mm_region *region = handle->region;
  CHECK(mm_region_holds(region, 0, 2 * page));
  CHECK(mm_region_holds(region, 2 * page, 0));
  CHECK(!mm_region_holds(region, 0, 2 * page + 1));
  CHECK(!mm_region_holds(region, 2 * page + 1, 0));
  CHECK(!mm_region_holds(region, 1, SIZE_MAX));
  CHECK(!mm_region_holds(region, SIZE_MAX, 1));
  CHECK(!mm_region_holds(region, SIZE_MAX, SIZE_MAX));
  end_mapping(handle);
}

void test_regions(bool full) {
  static const size_t sizes[] = {1, 2, 3, 7, 64, 200};
  test_holds();
  test_end(full);
  test_grace(full);
  test_neighbours();
  test_collected();
  test_abandoned();
  test_environment();
  test_attach(false);
  if (!full) return;
  test_attach(true);
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    for (size_t j = 0; j < sizeof sizes / sizeof sizes[0]; j++) {
      test_resize(sizes[i], sizes[j], false, false);
      test_resize(sizes[i], sizes[j], false, true);
    }
    for (size_t j = 0; j <= i; j++) test_resize(sizes[i], sizes[j], true, false);
  }
  test_failing_resize(1);
  test_failing_resize(1000);
}
