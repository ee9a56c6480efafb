/* SPDX-License-Identifier: MIT
 *
 * What the native tests share: a check that ends the program with its place, mappings as JavaScript
 * holds them, touches that may fault, and what the kernel says of this process.
 */
#ifndef MEMMAP_TEST_CHECK_H
#define MEMMAP_TEST_CHECK_H

#include "../../native/memmap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                \
  do {                                                                                  \
    if (!(condition)) {                                                                 \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                   \
      abort();                                                                          \
    }                                                                                   \
  } while (0)

/* The suites, each in a file of its own. `full`: mappings can be moved and may fault here. */
void test_chains(void);
void test_regions(bool full);
void test_areas(bool full);
void test_copies(void);
void test_faults(void);
void test_accesses(void);
void test_threads(bool full);
void test_crowds(void);
void test_notices(void);

/* The nth call of mm_guard_add from now on finds no memory; 0: none. */
void fail_guard_add(int nth);

/* From this call of mm_sys_mremap on (0: the next one) `count` calls fail with -ENOMEM. */
void fail_mremap(int from, int count);

/* A mapping as JavaScript holds one: an open handle over a new region of anonymous memory. */
static inline struct mm_handle *hold(struct mm_region *region) {
  struct mm_handle *handle = calloc(1, sizeof *handle);
  CHECK(handle != NULL);
  mm_region_ref(region);
  handle->region = region;
  return handle;
}

static inline struct mm_handle *map_request(const struct mm_map_request *request) {
  struct mm_region *region = NULL;
  CHECK(mm_region_create(request, &region) == 0);
  return hold(region);
}

static inline struct mm_handle *new_mapping(size_t length, bool shared) {
  struct mm_map_request request = {
      .length = length,
      .page = mm_sys_page_size(),
      .prot = PROT_READ | PROT_WRITE,
      .flags = MAP_ANONYMOUS | (shared ? MAP_SHARED : MAP_PRIVATE),
      .fd = -1,
  };
  return map_request(&request);
}

/* The same of a file. */
static inline struct mm_handle *map_file(int fd, size_t length, int prot, int flags) {
  struct mm_map_request request = {
      .length = length,
      .page = mm_sys_page_size(),
      .prot = prot,
      .flags = flags,
      .fd = fd,
  };
  return map_request(&request);
}

/* Ends a mapping: closes it, and collects its handle. */
static inline void end_mapping(struct mm_handle *handle) {
  mm_region_close(handle, false);
  mm_region_collected(handle);
}

/* Touches of memory that may not be there. The guard replaces it under them, as it must, which
 * ThreadSanitizer would take for a race: it looks at everything else. */
#define TOUCH __attribute__((noinline, no_sanitize("thread"), unused)) static

TOUCH uint8_t peek(const uint8_t *at) { return *(const volatile uint8_t *)at; }

TOUCH void poke(uint8_t *at, uint8_t value) { *(volatile uint8_t *)at = value; }

/* Whether the faults of a range that nobody had collected are exactly these; they are collected. */
static inline bool told(struct mm_slot *slot, unsigned count, const void *address, bool write,
                        unsigned reason) {
  struct mm_fault fault = {.count = 0};
  if (!mm_guard_take(slot, &fault)) return count == 0;
  return fault.count == count && fault.address == (uintptr_t)address && fault.write == write &&
         fault.reason == reason;
}

/* Each page begins with its number. */
static inline void mark_pages(uint8_t *base, size_t pages) {
  for (size_t i = 0; i < pages; i++) {
    size_t number = i + 1;
    memcpy(base + i * mm_sys_page_size(), &number, sizeof number);
  }
}

/* Whether each of `pages` pages begins with its number, from 1 on, asked without a touch. */
static inline bool are_marked(const uint8_t *base, size_t pages) {
  for (size_t i = 0; i < pages; i++) {
    size_t number = 0;
    const uint8_t *page = base + i * mm_sys_page_size();
    if (mm_copy(&number, page, sizeof number) != sizeof number || number != i + 1) return false;
  }
  return true;
}

/* Whether the kernel has something mapped at every page of a range. */
static inline bool is_mapped(void *base, size_t length) {
  size_t page = mm_sys_page_size();
  unsigned char *vector = malloc(length / page);
  CHECK(vector != NULL);
  bool mapped = mm_sys_mincore(base, length, vector) == 0;
  free(vector);
  return mapped;
}

/* How many areas this process has. */
static inline size_t area_count(void) {
  FILE *maps = fopen("/proc/self/maps", "re");
  size_t count = 0;
  int letter;
  CHECK(maps != NULL);
  while ((letter = getc(maps)) != EOF) count += letter == '\n';
  fclose(maps);
  return count;
}

#endif
