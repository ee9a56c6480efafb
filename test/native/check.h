/* SPDX-License-Identifier: MIT
 *
 * What the native tests share: a check that ends the program with its place, bytes that tell their
 * page, and the areas of this process as the kernel counts them.
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

/* The suites, each in a file of its own. `moves`: whether mappings can be moved here. */
void test_regions(bool moves);
void test_copies(void);
void test_threads(bool moves);

/* From this call of mm_sys_mremap on (0: the next one) `count` calls fail with -ENOMEM. */
void fail_mremap(int from, int count);

/* A region of private or shared anonymous memory. */
static inline struct mm_region *new_region(size_t length, bool shared) {
  struct mm_region *region = NULL;
  struct mm_map_request request = {
      .hint = NULL,
      .length = length,
      .prot = PROT_READ | PROT_WRITE,
      .flags = MAP_ANONYMOUS | (shared ? MAP_SHARED : MAP_PRIVATE),
      .fd = -1,
      .offset = 0,
  };
  CHECK(mm_region_create(&request, &region) == 0);
  return region;
}

/* Ends both claims of a region: the open mapping, and the JavaScript handle. */
static inline void end_region(struct mm_region *region) {
  mm_region_close(region, false);
  mm_region_collected(region);
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
