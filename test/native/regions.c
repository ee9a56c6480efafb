/* SPDX-License-Identifier: MIT
 *
 * The life of regions on one thread: counts, the time of grace, resize and its failures.
 */
#include "check.h"

#include <errno.h>

/* A region that no view has shown goes at once; one that was viewed stays covered while a view, a
 * job or the time of grace holds it. */
static void test_end(void) {
  size_t page = mm_sys_page_size();
  struct mm_region *plain = new_region(page, false);
  uint8_t *base = plain->base;
  end_region(plain);
  CHECK(!is_mapped(base, page));

  struct mm_region *viewed = new_region(2 * page, false);
  base = viewed->base;
  memset(base, 1, 2 * page);
  viewed->viewed = true;
  mm_region_use(viewed);
  mm_region_close(viewed, false);
  mm_region_close(viewed, false);
  CHECK(base[0] == 0 && base[2 * page - 1] == 0);
  mm_region_collected(viewed);
  CHECK(is_mapped(base, 2 * page));
  mm_region_unuse(viewed);
  CHECK(!is_mapped(base, 2 * page));
}

/* A detached view leaves its addresses in grace: a sweep that is not forced keeps them. */
static void test_grace(void) {
  size_t page = mm_sys_page_size();
  mm_retire_sweep(true);
  CHECK(mm_retire_bytes() == 0);
  uint8_t *bases[3];
  for (size_t i = 0; i < 3; i++) {
    struct mm_region *region = new_region((i + 1) * page, i == 1);
    bases[i] = region->base;
    region->viewed = true;
    mm_region_use(region);
    mm_region_unuse(region);
    mm_region_close(region, true);
    mm_region_collected(region);
  }
  CHECK(mm_retire_bytes() == 6 * page);
  mm_retire_sweep(false);
  CHECK(mm_retire_bytes() == 6 * page);
  for (size_t i = 0; i < 3; i++) {
    CHECK(is_mapped(bases[i], (i + 1) * page));
    bases[i][0] = 1; /* whoever comes late writes into nothing */
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
  void *out;
  CHECK(mm_sys_mmap(&request, &out) == 0);
  uint8_t *base = out;
  mm_retire_later(base + page, page);
  mm_retire_later(base + 2 * page, page);
  mm_retire_later(base, page);
  CHECK(mm_retire_bytes() == 3 * page);
  mm_retire_sweep(true);
  CHECK(!is_mapped(base, page) && !is_mapped(base + 2 * page, page));
}

/* What nobody closed goes with its handle, its descriptor included. */
static void test_collected(void) {
  size_t page = mm_sys_page_size();
  struct mm_region *region = new_region(page, true);
  uint8_t *base = region->base;
  int fd = mm_sys_memory("test", 0, (off_t)page);
  CHECK(fd >= 0);
  region->fd = fd;
  mm_region_use(region); /* a view that is still held */
  region->viewed = true;
  mm_region_collected(region);
  CHECK(mm_sys_close(fd) == -EBADF);
  base[0] = 7;
  CHECK(base[0] == 7);
  mm_region_unuse(region);
  CHECK(!is_mapped(base, page));
}

/* The view of an environment that has ended gives its memory back and keeps its addresses. */
static void test_abandoned(void) {
  size_t page = mm_sys_page_size();
  struct mm_region *region = new_region(page, false);
  uint8_t *base = region->base;
  base[0] = 1;
  region->viewed = true;
  mm_region_use(region);
  mm_region_abandon(region);
  CHECK(base[0] == 0);
  mm_region_collected(region);
  CHECK(is_mapped(base, page));
  CHECK(mm_sys_munmap(base, page) == 0);
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
  struct mm_region *old = new_region(from * page, shared);
  struct mm_region *resized = NULL;
  mark_pages(old->base, from);
  if (split) split_areas(old, from);
  CHECK(mm_region_resize(old, to * page, &resized) == 0);
  CHECK(resized->length == to * page && resized->base != old->base);
  CHECK(are_marked(resized->base, kept));
  CHECK(is_mapped(resized->base, to * page));
  /* The old addresses are held until the old region is closed. */
  CHECK(is_mapped(old->base, from * page));
  if (split && !shared) {
    CHECK(mm_probe(resized->base, true) == -EINVAL);
    if (kept > 1) CHECK(mm_probe(resized->base + page, true) == 0);
  }
  uint8_t *base = old->base;
  end_region(old);
  CHECK(!is_mapped(base, page));
  base = resized->base;
  end_region(resized);
  CHECK(!is_mapped(base, to * page));
}

/* When the kernel refuses at any step, the old region is as it was and nothing is left behind. */
static void test_failing_resize(void) {
  size_t page = mm_sys_page_size();
  size_t pages = 20;
  bool failed = true;
  for (int step = 0; failed; step++) {
    CHECK(step < 1000);
    struct mm_region *region = new_region(pages * page, false);
    struct mm_region *resized = NULL;
    mark_pages(region->base, pages);
    split_areas(region, pages);
    size_t areas = area_count();
    fail_mremap(step, 1);
    int result = mm_region_resize(region, 2 * pages * page, &resized);
    fail_mremap(-1, 0);
    failed = result != 0;
    if (failed) {
      CHECK(result == -ENOMEM);
      CHECK(are_marked(region->base, pages));
      CHECK(mm_probe(region->base, true) == -EINVAL);
      CHECK(mm_probe(region->base + page, true) == 0);
      CHECK(area_count() <= areas);
    } else {
      CHECK(step > 0 && are_marked(resized->base, pages));
      end_region(resized);
    }
    end_region(region);
  }
}

static void test_holds(void) {
  size_t page = mm_sys_page_size();
  struct mm_region *region = new_region(2 * page, false);
  CHECK(mm_region_is(region));
  CHECK(mm_region_holds(region, 0, 2 * page));
  CHECK(mm_region_holds(region, 2 * page, 0));
  CHECK(!mm_region_holds(region, 0, 2 * page + 1));
  CHECK(!mm_region_holds(region, 2 * page + 1, 0));
  CHECK(!mm_region_holds(region, 1, SIZE_MAX));
  CHECK(!mm_region_holds(region, SIZE_MAX, 1));
  CHECK(!mm_region_holds(region, SIZE_MAX, SIZE_MAX));
  end_region(region);
}

void test_regions(bool moves) {
  static const size_t sizes[] = {1, 2, 3, 7, 64, 200};
  test_holds();
  test_end();
  test_grace();
  test_neighbours();
  test_collected();
  test_abandoned();
  if (!moves) return;
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    for (size_t j = 0; j < sizeof sizes / sizeof sizes[0]; j++) {
      test_resize(sizes[i], sizes[j], false, false);
      test_resize(sizes[i], sizes[j], false, true);
    }
    for (size_t j = 0; j <= i; j++) test_resize(sizes[i], sizes[j], true, false);
  }
  test_failing_resize();
}
