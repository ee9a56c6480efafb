/* SPDX-License-Identifier: MIT
 *
 * The fault guard on one thread: what a touch sees, what is counted, and how pages are made again.
 */
#include "check.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

/* A memory object of some pages, each filled with its number from 1 on. */
static int new_file(size_t pages) {
  size_t page = mm_sys_page_size();
  int fd = mm_sys_memory("test", MFD_CLOEXEC, (off_t)(pages * page));
  CHECK(fd >= 0);
  for (size_t i = 0; i < pages * page; i += 512) {
    uint8_t piece[512];
    memset(piece, (int)(i / page + 1), sizeof piece);
    CHECK(pwrite(fd, piece, sizeof piece, (off_t)i) == sizeof piece);
  }
  return fd;
}

static uint8_t byte_of(int fd, size_t offset) {
  uint8_t byte = 0xee;
  CHECK(pread(fd, &byte, 1, (off_t)offset) == 1);
  return byte;
}

static size_t size_of(int fd) {
  struct stat status;
  CHECK(fstat(fd, &status) == 0);
  return (size_t)status.st_size;
}

/* The first replaced byte of a range, SIZE_MAX for none; its reason must be this. */
static size_t replaced(struct mm_slot *slot, size_t offset, size_t length, unsigned reason) {
  unsigned found = 0;
  size_t at = mm_guard_replaced(slot, offset, length, &found);
  CHECK(at == SIZE_MAX || found == reason);
  return at;
}

static int remap(struct mm_slot *slot, size_t offset, size_t length, int prot) {
  struct mm_remap job = {.offset = offset, .length = length, .prot = prot, .fd = -1};
  return mm_guard_remap(slot, &job);
}

/* Pages behind the end of a file read as zeros and take writes for themselves; each is one fault
 * for reading and one for writing, and the oldest leaves its place. */
static void test_missing(void) {
  size_t page = mm_sys_page_size();
  int fd = new_file(4);
  struct mm_handle *handle = map_file(fd, 4 * page, PROT_READ | PROT_WRITE, MAP_SHARED);
  struct mm_slot *slot = handle->region->slot;
  uint8_t *base = handle->region->base;
  CHECK(ftruncate(fd, (off_t)page) == 0);
  CHECK(told(slot, 0, NULL, false, 0));
  CHECK(peek(base + 2 * page + 5) == 0 && peek(base + 2 * page) == 0);
  CHECK(told(slot, 1, base + 2 * page + 5, false, MM_FAULT_MISSING));
  CHECK(told(slot, 0, NULL, false, 0));
  poke(base + 2 * page + 7, 40);
  poke(base + 3 * page + 8, 41);
  poke(base + 3 * page + 9, 42);
  CHECK(peek(base + 2 * page + 7) == 40 && peek(base + 3 * page + 9) == 42);
  CHECK(told(slot, 2, base + 2 * page + 7, true, MM_FAULT_MISSING));
  CHECK(peek(base) == 1 && peek(base + page - 1) == 1);
  poke(base + 3, 43);
  CHECK(byte_of(fd, 3) == 43 && size_of(fd) == page);
  CHECK(replaced(slot, 0, 4 * page, MM_FAULT_MISSING) == 2 * page);
  CHECK(replaced(slot, 0, 2 * page, 0) == SIZE_MAX);
  CHECK(replaced(slot, 2 * page, 0, 0) == SIZE_MAX);
  CHECK(replaced(slot, 3 * page + 7, 1, MM_FAULT_MISSING) == 3 * page);
  CHECK(told(slot, 0, NULL, false, 0));
  end_mapping(handle);
  CHECK(mm_sys_close(fd) == 0);
}

/* A file that has grown back is followed again, page by page as asked, without its descriptor. */
static void test_remap_shared(void) {
  size_t page = mm_sys_page_size();
  int fd = new_file(6);
  struct mm_handle *handle = map_file(fd, 6 * page, PROT_READ | PROT_WRITE, MAP_SHARED);
  struct mm_slot *slot = handle->region->slot;
  uint8_t *base = handle->region->base;
  CHECK(ftruncate(fd, 0) == 0);
  for (size_t i = 0; i < 5; i++) poke(base + i * page, (uint8_t)(100 + i));
  CHECK(told(slot, 5, base, true, MM_FAULT_MISSING));
  CHECK(ftruncate(fd, (off_t)(6 * page)) == 0);
  CHECK(pwrite(fd, "A", 1, (off_t)(2 * page)) == 1 && pwrite(fd, "B", 1, (off_t)(3 * page)) == 1);
  CHECK(peek(base + 2 * page) == 102);
  /* What the kernel refuses, at either step, leaves the pages replaced and nothing behind. */
  size_t areas = area_count();
  for (int step = 0; step < 2; step++) {
    fail_mremap(step, 1);
    CHECK(remap(slot, 2 * page, 2 * page, PROT_READ) == -ENOMEM);
    fail_mremap(-1, 0);
    CHECK(area_count() == areas);
    CHECK(peek(base + 2 * page) == 102 && peek(base + 3 * page) == 103);
    CHECK(replaced(slot, 2 * page, page, MM_FAULT_MISSING) == 2 * page);
  }
  CHECK(remap(slot, 2 * page, 2 * page, PROT_READ | PROT_WRITE) == 0);
  CHECK(peek(base + page) == 101 && peek(base + 4 * page) == 104);
  CHECK(peek(base + 2 * page) == 'A' && peek(base + 3 * page) == 'B');
  poke(base + 3 * page, 'C');
  CHECK(byte_of(fd, 3 * page) == 'C');
  CHECK(replaced(slot, 2 * page, 2 * page, 0) == SIZE_MAX);
  CHECK(remap(slot, 0, 6 * page, PROT_READ | PROT_WRITE) == 0);
  CHECK(replaced(slot, 0, 6 * page, 0) == SIZE_MAX && peek(base) == 0);
  CHECK(told(slot, 0, NULL, false, 0));
  end_mapping(handle);
  CHECK(mm_sys_close(fd) == 0);
}

/* A forbidden write goes into a copy of the page, which keeps the rest of its content. */
static void test_protected(void) {
  size_t page = mm_sys_page_size();
  int fd = new_file(3);
  static const int types[] = {MAP_SHARED, MAP_PRIVATE};
  for (size_t i = 0; i < 2; i++) {
    struct mm_handle *handle = map_file(fd, 3 * page, PROT_READ, types[i]);
    struct mm_slot *slot = handle->region->slot;
    uint8_t *base = handle->region->base;
    poke(base + page + 3, 77);
    poke(base + page + 4, 78);
    CHECK(told(slot, 1, base + page + 3, true, MM_FAULT_PROTECTED));
    CHECK(peek(base + page + 3) == 77 && peek(base + page + 5) == 2);
    CHECK(byte_of(fd, page + 3) == 2);
    CHECK(mm_sys_mprotect(base, page, PROT_NONE) == 0);
    CHECK(peek(base + 9) == 0);
    CHECK(told(slot, 1, base + 9, false, MM_FAULT_PROTECTED));
    poke(base + 9, 79);
    CHECK(peek(base + 9) == 79 && peek(base + 10) == 0);
    CHECK(told(slot, 1, base + 9, true, MM_FAULT_PROTECTED));
    CHECK(replaced(slot, 0, 3 * page, MM_FAULT_PROTECTED) == 0);
    CHECK(replaced(slot, 2 * page, page, 0) == SIZE_MAX);
    struct mm_remap job = {.length = 3 * page, .prot = PROT_READ, .fd = i == 0 ? -1 : fd};
    CHECK(mm_guard_remap(slot, &job) == 0);
    CHECK(peek(base + 9) == 1 && peek(base + page + 3) == 2 && peek(base + 2 * page) == 3);
    CHECK(told(slot, 0, NULL, false, 0));
    poke(base, 1);
    CHECK(told(slot, 1, base, true, MM_FAULT_PROTECTED));
    end_mapping(handle);
  }
  CHECK(mm_sys_close(fd) == 0);
}

/* A private mapping of a file is made again from where its slot begins in the file, and what was
 * changed on a page that was only forbidden comes back. */
static void test_remap_private(void) {
  size_t page = mm_sys_page_size();
  int fd = new_file(4);
  struct mm_map_request request = {
      .length = 2 * page,
      .page = page,
      .prot = PROT_READ | PROT_WRITE,
      .flags = MAP_PRIVATE,
      .fd = fd,
      .offset = (off_t)(2 * page),
  };
  struct mm_handle *handle = map_request(&request);
  struct mm_slot *slot = handle->region->slot;
  uint8_t *base = handle->region->base;
  struct mm_remap job = {
      .length = 2 * page, .prot = PROT_READ, .fd = fd, .fd_offset = (int64_t)(2 * page)};
  poke(base + 1, 200);
  CHECK(mm_sys_mprotect(base, page, PROT_NONE) == 0);
  poke(base, 99);
  CHECK(ftruncate(fd, (off_t)(3 * page)) == 0);
  CHECK(peek(base + page) == 0);
  CHECK(ftruncate(fd, (off_t)(4 * page)) == 0 && pwrite(fd, "A", 1, (off_t)(3 * page)) == 1);
  /* A descriptor that cannot be mapped is the kernel's answer, and the page stays replaced. */
  job.fd = 1 << 20;
  CHECK(mm_guard_remap(slot, &job) == -EBADF);
  CHECK(replaced(slot, page, page, MM_FAULT_MISSING) == page && peek(base + page) == 0);
  job.fd = fd;
  CHECK(mm_guard_remap(slot, &job) == 0);
  CHECK(peek(base) == 3 && peek(base + 1) == 200 && peek(base + page) == 'A');
  CHECK(replaced(slot, 0, 2 * page, 0) == SIZE_MAX);
  CHECK(mm_probe(base, true) == -EINVAL);
  end_mapping(handle);
  CHECK(mm_sys_close(fd) == 0);
}

/* What stood in a private page is kept aside while it is forbidden: it exists nowhere else. */
static void test_stash(void) {
  size_t page = mm_sys_page_size();
  struct mm_handle *handle = new_mapping(4 * page, false);
  struct mm_slot *slot = handle->region->slot;
  uint8_t *base = handle->region->base;
  mark_pages(base, 4);
  size_t areas = area_count();
  for (int round = 0; round < 3; round++) {
    CHECK(mm_sys_mprotect(base, 4 * page, PROT_NONE) == 0);
    for (size_t i = 0; i < 4; i += 1 + (size_t)round) {
      if (i % 2 == 0) CHECK(peek(base + i * page) == 0);
      poke(base + i * page, 0xee);
    }
    fail_mremap(0, 1);
    CHECK(remap(slot, 0, 4 * page, PROT_READ | PROT_WRITE) == -ENOMEM);
    fail_mremap(-1, 0);
    CHECK(replaced(slot, 0, 4 * page, MM_FAULT_PROTECTED) == 0 && peek(base) == 0xee);
    CHECK(remap(slot, 0, 4 * page, PROT_READ | PROT_WRITE) == 0);
    CHECK(mm_sys_mprotect(base, 4 * page, PROT_READ | PROT_WRITE) == 0);
    CHECK(are_marked(base, 4));
  }
  CHECK(area_count() <= areas + 4); /* the kernel may not make one area of pages that moved */
  end_mapping(handle);
  CHECK(area_count() <= areas);
}

/* After a cover every page is closed: one fault each, whatever became of it before. */
static void test_cover(void) {
  size_t page = mm_sys_page_size();
  struct mm_handle *handle = new_mapping(3 * page, true);
  struct mm_region *region = handle->region;
  struct mm_slot *slot = region->slot;
  uint8_t *base = region->base;
  mark_pages(base, 3);
  CHECK(mm_sys_mprotect(base, page, PROT_READ) == 0);
  poke(base + 1, 5);
  region->viewed = true;
  mm_region_use(region);
  mm_region_close(handle, false);
  CHECK(slot->closed && slot->anchor == NULL && slot->states == NULL);
  CHECK(told(slot, 1, base + 1, true, MM_FAULT_PROTECTED)); /* what was before is not lost */
  CHECK(peek(base + 2 * page + 1) == 0);
  poke(base + 2 * page + 2, 1);
  CHECK(peek(base + 2 * page + 2) == 1);
  poke(base, 1);
  CHECK(told(slot, 2, base + 2 * page + 1, false, MM_FAULT_CLOSED));
  CHECK(replaced(slot, 0, 3 * page, MM_FAULT_CLOSED) == 0);
  CHECK(replaced(slot, page, page, 0) == SIZE_MAX);
  mm_region_unuse(region);
  CHECK(!is_mapped(base, 3 * page));
  mm_region_collected(handle);
}

/* One reservation of `count` pages, as that many ranges that are covered. */
static uint8_t *reserve_slots(struct mm_slot **slots, size_t count) {
  size_t page = mm_sys_page_size();
  struct mm_map_request request = {
      .length = count * page,
      .prot = PROT_NONE,
      .flags = MAP_PRIVATE | MAP_ANONYMOUS,
      .fd = -1,
  };
  void *out;
  CHECK(mm_sys_mmap(&request, &out) == 0);
  uint8_t *base = out;
  for (size_t i = 0; i < count; i++) {
    struct mm_range range = {.base = base + i * page, .length = page, .page = page};
    slots[i] = mm_guard_add(&range);
    CHECK(slots[i] != NULL);
    mm_guard_cover(slots[i]);
  }
  return base;
}

/* Forgets what earlier tests have left behind. */
static void take_all_orphans(void) {
  struct mm_fault fault;
  while (mm_guard_take_orphan(&fault, NULL)) {
  }
}

/* Neighbours become one range, in either order, with the faults of the first; others do not. */
static void test_join(void) {
  size_t page = mm_sys_page_size();
  struct mm_slot *slots[4];
  uint8_t *base = reserve_slots(slots, 4);
  CHECK(!mm_guard_join(slots[0], slots[2]) && !mm_guard_join(slots[3], slots[1]));
  slots[3]->page = 2 * page;
  CHECK(!mm_guard_join(slots[2], slots[3]));
  slots[3]->page = page;
  poke(base + page, 9);
  CHECK(peek(base + page) == 9);
  CHECK(peek(base + 2 * page + 1) == 0);
  CHECK(mm_guard_join(slots[1], slots[2]));
  CHECK(slots[1]->base == (uintptr_t)base + page && slots[1]->length == 2 * page);
  CHECK(slots[2]->length == 0);
  CHECK(mm_guard_join(slots[1], slots[0]));
  CHECK(slots[1]->base == (uintptr_t)base && slots[1]->length == 3 * page);
  CHECK(told(slots[1], 1, base + page, true, MM_FAULT_CLOSED));
  CHECK(peek(base + 2 * page + 3) == 0 && peek(base + 5) == 0); /* the first is served already */
  CHECK(told(slots[1], 1, base + 5, false, MM_FAULT_CLOSED));
  CHECK(replaced(slots[1], 0, 3 * page, MM_FAULT_CLOSED) == 0);
  CHECK(peek(base + 3 * page) == 0);
  CHECK(told(slots[3], 1, base + 3 * page, false, MM_FAULT_CLOSED));
  mm_guard_remove(slots[1]);
  mm_guard_remove(slots[3]);
  CHECK(mm_sys_munmap(base, 4 * page) == 0);
}

/* More ranges than one chunk holds, and ranges that go: the right one is found for each address. */
static void test_many(void) {
  enum { COUNT = 3 * MM_SLOTS_IN_CHUNK };
  static struct mm_slot *slots[COUNT];
  size_t page = mm_sys_page_size();
  uint8_t *base = reserve_slots(slots, COUNT);
  for (size_t i = 0; i < COUNT; i += 2) mm_guard_remove(slots[i]);
  for (size_t i = 0; i < COUNT; i += 2) {
    struct mm_range range = {.base = base + i * page, .length = page, .page = page};
    slots[i] = mm_guard_add(&range);
    CHECK(slots[i] != NULL && !slots[i]->closed);
  }
  for (size_t i = 0; i < COUNT; i += 37) {
    CHECK(peek(base + i * page + i) == 0);
    unsigned reason = i % 2 == 0 ? MM_FAULT_PROTECTED : MM_FAULT_CLOSED;
    CHECK(told(slots[i], 1, base + i * page + i, false, reason));
  }
  for (size_t i = 0; i < COUNT; i++) mm_guard_remove(slots[i]);
  CHECK(mm_sys_munmap(base, COUNT * page) == 0);
}

/* A private range that is moved keeps what became of its pages, as far as it still has them; so
 * does one that a failure moves back. */
static void test_carry(size_t to) {
  size_t page = mm_sys_page_size();
  struct mm_handle *handle = new_mapping(4 * page, false);
  uint8_t *base = handle->region->base;
  struct mm_region *resized = NULL;
  mark_pages(base, 4);
  CHECK(mm_sys_mprotect(base + page, 2 * page, PROT_NONE) == 0);
  poke(base + 2 * page, 8);
  CHECK(told(handle->region->slot, 1, base + 2 * page, true, MM_FAULT_PROTECTED));
  fail_mremap(0, 1000);
  CHECK(mm_region_resize(handle->region, to * page, false, &resized) == -ENOMEM);
  fail_mremap(-1, 0);
  CHECK(replaced(handle->region->slot, 0, 4 * page, MM_FAULT_PROTECTED) == 2 * page);
  CHECK(mm_region_resize(handle->region, to * page, false, &resized) == 0);
  end_mapping(handle);
  base = resized->base;
  size_t expected = to > 2 ? 2 * page : SIZE_MAX;
  CHECK(replaced(resized->slot, 0, to * page, MM_FAULT_PROTECTED) == expected);
  if (to > 2) CHECK(peek(base + 2 * page) == 8);
  if (to > 1) CHECK(peek(base + page) == 0);
  CHECK(told(resized->slot, to > 1 ? 1 : 0, base + page, false, MM_FAULT_PROTECTED));
  if (to > 4) CHECK(replaced(resized->slot, 3 * page, (to - 3) * page, 0) == SIZE_MAX);
  CHECK(remap(resized->slot, 0, to * page, PROT_READ | PROT_WRITE) == 0);
  CHECK(are_marked(base, to < 4 ? to : 4));
  end_mapping(hold(resized));
}

/* A shared range is doubled from the page that was kept: all of it follows the memory again, even
 * when its own first page was replaced. */
static void test_anchor(void) {
  size_t page = mm_sys_page_size();
  struct mm_handle *handle = new_mapping(3 * page, true);
  struct mm_region *region = handle->region, *resized = NULL, *attached = NULL;
  mark_pages(region->base, 3);
  CHECK(mm_sys_mprotect(region->base, 2 * page, PROT_READ) == 0);
  poke(region->base, 88);
  CHECK(region->slot->anchor != NULL);
  CHECK(mm_region_attach(mm_region_share(region), NULL, &attached) == 0);
  CHECK(mm_region_resize(region, 3 * page, false, &resized) == 0);
  CHECK(are_marked(resized->base, 3) && are_marked(attached->base, 3));
  CHECK(replaced(resized->slot, 0, 3 * page, 0) == SIZE_MAX);
  CHECK(peek(region->base) == 88);
  CHECK(remap(region->slot, 0, 3 * page, PROT_READ | PROT_WRITE) == 0);
  poke(region->base + 8, 89);
  CHECK(peek(resized->base + 8) == 89 && peek(attached->base + 8) == 89);
  end_mapping(handle);
  end_mapping(hold(resized));
  end_mapping(hold(attached));
}

/* The faults of ranges that went before anybody asked are kept together, for anybody. */
static void test_left(void) {
  size_t page = mm_sys_page_size();
  struct mm_fault fault;
  uint8_t *first = NULL;
  take_all_orphans();
  for (int i = 0; i < 3; i++) {
    struct mm_handle *handle = new_mapping(2 * page, false);
    uint8_t *base = handle->region->base;
    if (i == 0) first = base;
    if (i == 2) mm_guard_quiet(handle->region->slot); /* who asks alone has not asked */
    CHECK(mm_sys_mprotect(base, page, PROT_READ) == 0);
    poke(base + 3, 1);
    end_mapping(handle);
    CHECK(!is_mapped(base, page));
  }
  CHECK(mm_guard_take_orphan(&fault, NULL));
  CHECK(fault.base == (uintptr_t)first && fault.address == (uintptr_t)first + 3);
  CHECK(fault.count == 2 && fault.write && fault.reason == MM_FAULT_PROTECTED);
  CHECK(!mm_guard_take_orphan(&fault, NULL));
}

/* The faults of a mapping that was dropped while it is still touched are anybody's. */
static void test_orphan(void) {
  size_t page = mm_sys_page_size();
  struct mm_handle *handle = new_mapping(2 * page, false);
  struct mm_region *region = handle->region;
  struct mm_fault fault;
  uint8_t *base = region->base;
  take_all_orphans();
  mm_region_use(region);
  CHECK(mm_sys_mprotect(base, 2 * page, PROT_NONE) == 0);
  poke(base + 5, 1);
  CHECK(!mm_guard_take_orphan(&fault, NULL));
  mm_region_collected(handle);
  poke(base + page, 1);
  CHECK(mm_guard_take_orphan(&fault, NULL));
  CHECK(fault.base == (uintptr_t)base && fault.address == (uintptr_t)base + 5);
  CHECK(fault.count == 2 && fault.write && fault.reason == MM_FAULT_PROTECTED);
  CHECK(!mm_guard_take_orphan(&fault, NULL));
  mm_region_unuse(region);
  CHECK(!is_mapped(base, 2 * page));
}

/* A range of large pages is repaired by whole pages of it. */
static void test_large_pages(void) {
  size_t page = mm_sys_page_size();
  struct mm_map_request request = {
      .length = 8 * page,
      .page = 4 * page,
      .prot = PROT_NONE,
      .flags = MAP_ANONYMOUS | MAP_PRIVATE,
      .fd = -1,
  };
  struct mm_handle *handle = map_request(&request);
  struct mm_slot *slot = handle->region->slot;
  uint8_t *base = handle->region->base;
  CHECK(peek(base + 6 * page) == 0 && peek(base + 4 * page) == 0 && peek(base + 8 * page - 1) == 0);
  CHECK(told(slot, 1, base + 6 * page, false, MM_FAULT_PROTECTED));
  CHECK(replaced(slot, 0, 8 * page, MM_FAULT_PROTECTED) == 4 * page);
  CHECK(mm_sys_copy(&(uint8_t){0}, base, 1) == -EFAULT);
  end_mapping(handle);
}

void test_faults(void) {
  test_missing();
  test_remap_shared();
  test_protected();
  test_remap_private();
  test_stash();
  test_cover();
  test_join();
  test_many();
  for (size_t to = 1; to < 7; to++) {
    if (to != 4) test_carry(to);
  }
  test_anchor();
  test_left();
  test_orphan();
  test_large_pages();
}
