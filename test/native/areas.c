/* SPDX-License-Identifier: MIT
 *
 * The raw door without an engine: its areas and the views over them, the calls on addresses with
 * each of their system calls failing in turn, and all of it from several threads at once. After
 * each step the registry must be what the kernel has, and a touch through a view must end nothing.
 */
#include "../../native/area.h"
#include "check.h"

#include <errno.h>
#include <pthread.h>

#define RW (PROT_READ | PROT_WRITE)
#define KIND (MAP_PRIVATE | MAP_ANONYMOUS)
#define MOVING (MREMAP_MAYMOVE | MREMAP_FIXED)

/* Stands for the environment that maps. */
static int owner, other_owner;

static int map_at(void *hint, size_t length, int flags, void **out) {
  struct mm_map_request request = {
      .owner = &owner, .hint = hint, .length = length, .prot = RW, .flags = flags, .fd = -1};
  return mm_raw_mmap(&request, out);
}

static uint8_t *map_pages(size_t pages) {
  void *out = NULL;
  CHECK(map_at(NULL, pages * mm_sys_page_size(), KIND, &out) == 0);
  return out;
}

static struct mm_region *view_of(void *address, size_t length) {
  struct mm_region *view = NULL;
  mm_areas_lock();
  CHECK(mm_area_view(address, length, &view) == 0);
  mm_areas_unlock();
  return view;
}

static int move(void *old, size_t old_length, size_t length, int flags, void **target) {
  struct mm_move plan = {.owner = &owner,
                         .old = old,
                         .old_length = old_length,
                         .length = length,
                         .flags = flags,
                         .target = *target};
  return mm_raw_mremap(&plan, target);
}

/* Gives back what is ours of some pages, page by page: a hole may be somebody else's by now. */
static void unmap_each(uint8_t *base, size_t pages) {
  size_t page = mm_sys_page_size();
  for (size_t i = 0; i < pages; i++) {
    int result = mm_raw_munmap(base + i * page, page);
    CHECK(result == 0 || result == MM_FOREIGN);
  }
}

/* Every area is mapped from its beginning to its end, none overlaps the next, and all are in the
 * guard's registry with their own bounds. */
static void check_registry(void) {
  uintptr_t last = 0;
  mm_areas_lock();
  for (struct mm_area *area = mm_area_from(0); area != NULL; area = area->next) {
    CHECK(area->length > 0 && area->base >= last);
    CHECK(area->slot->base == area->base && area->slot->length == area->length);
    CHECK(is_mapped((void *)area->base, area->length));
    last = area->base + area->length;
  }
  mm_areas_unlock();
}

static size_t count_areas(void) {
  size_t count = 0;
  mm_areas_lock();
  for (struct mm_area *area = mm_area_from(0); area != NULL; area = area->next) count++;
  mm_areas_unlock();
  return count;
}

/* ---- areas and views ----------------------------------------------------------------------- */

static void test_parts(bool full) {
  size_t page = mm_sys_page_size();
  uint8_t *base = map_pages(5);
  mark_pages(base, 5);
  struct mm_region *view = view_of(base + 2 * page + 7, 10);
  CHECK(mm_raw_munmap(base, page) == 0);
  CHECK(!is_mapped(base, page) && are_marked(base + page, 0));
  CHECK(mm_raw_munmap(base, 5 * page) == 0); /* with a hole, and around the view */
  CHECK(!is_mapped(base + page, page) && !is_mapped(base + 3 * page, page));
  CHECK(is_mapped(base + 2 * page, page));
  check_registry();
  if (full) {
    poke(base + 2 * page, 1);
    struct mm_fault fault;
    uintptr_t at = (uintptr_t)base;
    CHECK(mm_area_take_fault(at, at + 5 * page, &fault));
    CHECK(fault.count == 1 && fault.reason == MM_FAULT_CLOSED);
  }
  /* To its user the reserved page is a hole. */
  unsigned char vector[5];
  CHECK(mm_raw_mincore(base + 2 * page, page, vector) == -ENOMEM);
  CHECK(mm_raw_mprotect(base + 2 * page, page, PROT_READ) == -ENOMEM);
  CHECK(mm_raw_madvise(base + 2 * page, page, MADV_DONTNEED) == -ENOMEM);
  void *out;
  CHECK(map_at(base + 2 * page, page, KIND | MAP_FIXED_NOREPLACE, &out) == 0);
  mm_region_unuse(view);
  unmap_each(base, 5);
  CHECK(count_areas() == 0);
}

/* Views that overlap keep their pages until the last of them has gone. */
static void test_views(void) {
  size_t page = mm_sys_page_size();
  uint8_t *base = map_pages(4);
  struct mm_region *low = view_of(base, 2 * page + 1);
  struct mm_region *high = view_of(base + page, 2 * page);
  CHECK(mm_raw_munmap(base, 4 * page) == 0);
  CHECK(is_mapped(base, 3 * page) && !is_mapped(base + 3 * page, page));
  mm_region_unuse(low);
  CHECK(!is_mapped(base, page) && is_mapped(base + page, 2 * page));
  check_registry();
  mm_retire_view(high); /* its environment has ended */
  CHECK(mm_retire_bytes() == 2 * page && is_mapped(base + page, 2 * page));
  mm_retire_sweep(true);
  CHECK(!is_mapped(base + page, page) && count_areas() == 0);

  struct mm_region *none = NULL;
  mm_areas_lock();
  CHECK(mm_area_view(base, page, &none) == MM_FOREIGN);
  CHECK(mm_area_view(base, SIZE_MAX, &none) == MM_FOREIGN);
  CHECK(mm_area_view(NULL, page, &none) == MM_FOREIGN && none == NULL);
  mm_areas_unlock();
}

/* What others mapped stays as it is, whatever is asked of it. */
static void test_foreign(bool full) {
  size_t page = mm_sys_page_size();
  uint8_t *ours = map_pages(2);
  void *out = NULL;
  struct mm_map_request request = {.length = 2 * page, .prot = RW, .flags = KIND, .fd = -1};
  CHECK(mm_sys_mmap(&request, &out) == 0);
  uint8_t *theirs = out;
  mark_pages(theirs, 2);
  CHECK(map_at(theirs, page, KIND | MAP_FIXED, &out) == MM_FOREIGN);
  CHECK(mm_raw_munmap(theirs, page) == MM_FOREIGN);
  CHECK(mm_raw_mprotect(theirs, page, PROT_NONE) == MM_FOREIGN);
  CHECK(mm_raw_madvise(theirs, page, MADV_DONTNEED) == MM_FOREIGN);
  CHECK(mm_raw_lock(theirs, page, 0, mm_sys_madvise) == MM_FOREIGN);
  CHECK(mm_raw_mseal(theirs, page, 0) == MM_FOREIGN);
  out = ours;
  CHECK(move(theirs, page, page, MOVING, &out) == MM_FOREIGN);
  out = theirs;
  if (full) CHECK(move(ours, page, page, MOVING, &out) == MM_FOREIGN);
  if (full) { /* valgrind does not know the flag, and has its stack elsewhere */
    CHECK(map_at(theirs, page, KIND | MAP_FIXED_NOREPLACE, &out) == -EEXIST);
    uint8_t local = 0;
    uint8_t *deep = &local - (uintptr_t)&local % page - 64 * page;
    CHECK(map_at(deep, page, KIND | MAP_FIXED, &out) == MM_FOREIGN);
    CHECK(map_at(deep, page, KIND | MAP_FIXED_NOREPLACE, &out) == -EEXIST);
  }
  CHECK(are_marked(theirs, 2));
  CHECK(mm_sys_munmap(theirs, 2 * page) == 0 && mm_raw_munmap(ours, 2 * page) == 0);
  CHECK(count_areas() == 0);
}

/* An environment takes what it mapped with it, and nothing else. */
static void test_environment_end(void) {
  size_t page = mm_sys_page_size();
  struct mm_env state = {.open = NULL};
  struct mm_map_request request = {
      .owner = &state, .length = 3 * page, .prot = RW, .flags = KIND, .fd = -1};
  void *out;
  CHECK(mm_raw_mmap(&request, &out) == 0);
  uint8_t *mine = out;
  request.owner = &other_owner;
  CHECK(mm_raw_mmap(&request, &out) == 0);
  uint8_t *theirs = out;
  struct mm_region *view = view_of(mine + page, 1);
  mm_area_env_ending(&state);
  CHECK(!is_mapped(mine, page) && is_mapped(mine + page, page));
  CHECK(!is_mapped(mine + 2 * page, page) && is_mapped(theirs, 3 * page));
  mm_region_unuse(view);
  CHECK(!is_mapped(mine + page, page));
  CHECK(mm_raw_munmap(theirs, 3 * page) == 0 && count_areas() == 0);
}

/* ---- moving -------------------------------------------------------------------------------- */

static void test_move(bool viewed, bool fixed) {
  size_t page = mm_sys_page_size();
  uint8_t *base = map_pages(3);
  mark_pages(base, 3);
  struct mm_region *view = viewed ? view_of(base + page, page) : NULL;
  void *to = fixed ? map_pages(8) : NULL;
  int flags = fixed ? MOVING : MREMAP_MAYMOVE;
  if (!fixed) { /* so that it cannot grow where it is */
    void *out;
    (void)map_at(base + 3 * page, page, KIND | MAP_FIXED_NOREPLACE, &out);
  }
  CHECK(move(base, 3 * page, 8 * page, flags, &to) == 0);
  CHECK(to != base && are_marked(to, 3));
  check_registry();
  CHECK(is_mapped(base + page, page) == viewed && !is_mapped(base, page));
  if (viewed) {
    CHECK(peek(base + page) == 0);
    mm_region_unuse(view);
  }
  CHECK(!is_mapped(base + page, page));
  CHECK(mm_raw_munmap(to, 8 * page) == 0);
  unmap_each(base, 4);
  CHECK(count_areas() == 0);
}

/* Several areas with a hole between them: where the kernel moves such (6.17), the hole stays. */
static void test_move_with_hole(void) {
  size_t page = mm_sys_page_size();
  uint8_t *base = map_pages(4), *target = map_pages(4);
  mark_pages(base, 4);
  mark_pages(target, 4);
  CHECK(mm_raw_munmap(base + page, page) == 0);
  void *to = target;
  int result = move(base, 4 * page, 4 * page, MOVING, &to);
  CHECK(result == 0 || result == -EFAULT);
  check_registry();
  size_t number = 0;
  CHECK(mm_copy(&number, target + page, sizeof number) == sizeof number && number == 2);
  if (result == 0) CHECK(!is_mapped(base, page) && !is_mapped(base + 3 * page, page));
  unmap_each(base, 4);
  unmap_each(target, 4);
  CHECK(count_areas() == 0);
}

/* Lengths are whole huge pages where those are moved. Nothing is touched, so none is needed. */
static void test_move_huge(void) {
  size_t page = mm_sys_page_size(), huge = (size_t)1 << 21;
  void *out;
  int flags = KIND | MAP_HUGETLB | (21 << MAP_HUGE_SHIFT) | MAP_NORESERVE;
  if (map_at(NULL, 2 * huge, flags, &out) != 0) return;
  uint8_t *base = out;
  void *room;
  CHECK(map_at(NULL, 4 * huge, KIND | MAP_NORESERVE, &room) == 0);
  uintptr_t start = (uintptr_t)room;
  uint8_t *target = (uint8_t *)room + ((huge - start % huge) % huge);
  void *to = target;
  CHECK(move(base, page, page, MOVING, &to) == 0);
  check_registry();
  CHECK(!is_mapped(base, page) && is_mapped(base + huge, page));
  to = NULL;
  CHECK(move(base + huge, 1, 7 * page, MREMAP_MAYMOVE, &to) == 0 && to == base + huge);
  check_registry();
  CHECK(mm_raw_munmap(room, 4 * huge) == 0 && mm_raw_munmap(base + huge, huge) == 0);
  CHECK(count_areas() == 0);
}

/* What the guard had moved aside goes with its page. */
static void test_move_repaired(void) {
  size_t page = mm_sys_page_size();
  uint8_t *base = map_pages(1);
  struct mm_fault fault;
  mark_pages(base, 1);
  CHECK(mm_raw_mprotect(base, page, PROT_NONE) == 0);
  CHECK(peek(base) == 0);
  CHECK(mm_area_take_fault((uintptr_t)base, (uintptr_t)base + page, &fault));
  void *to = map_pages(1);
  CHECK(move(base, page, page, MOVING, &to) == 0);
  CHECK(mm_raw_mprotect(to, page, RW) == 0 && are_marked(to, 1));
  CHECK(mm_raw_munmap(to, page) == 0 && count_areas() == 0);
}

/* ---- failures ------------------------------------------------------------------------------ */

typedef int (*act_call)(uint8_t *base, uint8_t *target, void **made);

static int act_replace(uint8_t *base, uint8_t *target, void **made) {
  (void)target;
  int result = map_at(base + mm_sys_page_size(), 2 * mm_sys_page_size(), KIND | MAP_FIXED, made);
  *made = NULL;
  return result;
}

static int act_unmap(uint8_t *base, uint8_t *target, void **made) {
  (void)target;
  (void)made;
  return mm_raw_munmap(base, 3 * mm_sys_page_size());
}

static int act_move(uint8_t *base, uint8_t *target, void **made) {
  size_t page = mm_sys_page_size();
  (void)target;
  return move(base, 4 * page, 64 * page, MREMAP_MAYMOVE, made);
}

static int act_move_over(uint8_t *base, uint8_t *target, void **made) {
  size_t page = mm_sys_page_size();
  *made = target;
  int result = move(base, 4 * page, 4 * page, MOVING, made);
  *made = NULL;
  return result;
}

static int act_shrink(uint8_t *base, uint8_t *target, void **made) {
  size_t page = mm_sys_page_size();
  (void)target;
  int result = move(base, 4 * page, page, 0, made);
  *made = NULL;
  return result;
}

/* Makes the nth call of a name fail: a system call, or the guard's for room for a range. */
static void arm(const char *name, int nth) {
  if (strcmp(name, "guard") == 0) fail_guard_add(nth);
  else CHECK(mm_sys_fail(name, nth, ENOMEM));
}

/* Whether the call failed by that. */
static bool fails(act_call act, bool viewed, const char *name, int nth) {
  size_t page = mm_sys_page_size();
  uint8_t *base = map_pages(4), *target = map_pages(4);
  struct mm_region *views[2] = {NULL, NULL};
  if (viewed) {
    views[0] = view_of(base, 4 * page);
    views[1] = view_of(target + page, page);
  }
  void *made = NULL;
  arm(name, nth);
  int result = act(base, target, &made);
  arm(name, 0);
  CHECK(result == 0 || result == -ENOMEM);
  check_registry();
  for (size_t i = 0; viewed && i < 4; i++) poke(base + i * page, 1);
  if (viewed) poke(target + page, 1);
  check_registry();
  if (result == 0 && made != NULL) CHECK(mm_raw_munmap(made, 64 * page) == 0);
  unmap_each(base, 4);
  unmap_each(target, 4);
  if (viewed) mm_region_unuse(views[0]);
  if (viewed) mm_region_unuse(views[1]);
  CHECK(count_areas() == 0);
  return result != 0;
}

static void test_failures(void) {
  static const act_call acts[] = {act_replace, act_unmap, act_move, act_move_over, act_shrink};
  static const char *const names[] = {"mmap", "munmap", "mremap", "mprotect", "guard"};
  size_t failed = 0;
  for (size_t i = 0; i < sizeof acts / sizeof acts[0]; i++) {
    for (size_t j = 0; j < sizeof names / sizeof names[0]; j++) {
      for (int nth = 1; nth < 9; nth++) {
        failed += fails(acts[i], false, names[j], nth) ? 1 : 0;
        failed += fails(acts[i], true, names[j], nth) ? 1 : 0;
      }
    }
  }
  CHECK(failed > 20);
}

/* ---- threads ------------------------------------------------------------------------------- */

#define PLAYERS 4
#define TURNS 3000

static uint8_t *arenas[2];

/* One of the calls on a part of an arena that all threads share. */
static void play_once(unsigned *seed, struct mm_region **view) {
  size_t page = mm_sys_page_size();
  unsigned number = (*seed = *seed * 1103515245u + 12345u) >> 8;
  uint8_t *from = arenas[number & 1] + ((number >> 1) & 7) * page;
  size_t length = (1 + ((number >> 4) & 3)) * page;
  void *out = arenas[(number >> 6) & 1] + 12 * page;
  struct mm_fault fault;
  switch ((number >> 8) % 8) {
    case 0: (void)map_at(from, length, KIND | MAP_FIXED, &out); break;
    case 1: (void)mm_raw_munmap(from, length); break;
    case 2: (void)mm_raw_mprotect(from, length, number & 1024 ? PROT_NONE : RW); break;
    case 3: (void)move(from, length, length, MOVING, &out); break;
    case 4: (void)mm_raw_madvise(from, length, MADV_DONTNEED); break;
    case 5:
      if (*view != NULL) mm_region_unuse(*view);
      *view = NULL;
      mm_areas_lock();
      (void)mm_area_view(from, length, view);
      mm_areas_unlock();
      break;
    case 6:
      if (*view != NULL) poke((*view)->base, 1);
      break;
    default: (void)mm_area_take_fault((uintptr_t)from, (uintptr_t)from + length, &fault); break;
  }
}

static void *play(void *argument) {
  unsigned seed = *(unsigned *)argument;
  struct mm_region *view = NULL;
  for (size_t i = 0; i < TURNS; i++) play_once(&seed, &view);
  if (view != NULL) mm_region_unuse(view);
  return NULL;
}

static void test_players(void) {
  pthread_t threads[PLAYERS];
  unsigned seeds[PLAYERS];
  for (size_t i = 0; i < 2; i++) arenas[i] = map_pages(16);
  for (unsigned i = 0; i < PLAYERS; i++) {
    seeds[i] = 77u * (i + 1);
    CHECK(pthread_create(&threads[i], NULL, play, &seeds[i]) == 0);
  }
  for (size_t i = 0; i < PLAYERS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  check_registry();
  for (size_t i = 0; i < 2; i++) unmap_each(arenas[i], 16);
  CHECK(count_areas() == 0);
}

void test_areas(bool full) {
  test_parts(full);
  test_views();
  test_foreign(full);
  test_environment_end();
  if (!full) return;
  for (int i = 0; i < 4; i++) test_move((i & 1) != 0, (i & 2) != 0);
  test_move_with_hole();
  test_move_huge();
  test_move_repaired();
  test_failures();
  test_players();
}
