/* SPDX-License-Identifier: MIT
 *
 * Several threads that fault at once, on the same pages, while others collect the faults, make the
 * pages again, and map and close beside them.
 */
#include "check.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#define CROWD 6
#define PAGES 64
#define ROUNDS 20

/* What a crowd works on. Bytes of one page belong to one thread each, by their place in it. */
static struct crowd {
  struct mm_handle *handle;
  uint8_t *base;
  size_t page;
  pthread_barrier_t barrier;
  atomic_uint taken; /* faults that were collected */
  atomic_int working;
} crowd;

static void begin(struct mm_handle *handle) {
  crowd.handle = handle;
  crowd.base = handle->region->base;
  crowd.page = mm_sys_page_size();
  atomic_store(&crowd.taken, 0);
  atomic_store(&crowd.working, CROWD);
  CHECK(pthread_barrier_init(&crowd.barrier, NULL, CROWD) == 0);
}

static void run_all(void *(*part)(void *)) {
  static size_t numbers[CROWD];
  pthread_t threads[CROWD];
  for (size_t i = 0; i < CROWD; i++) {
    numbers[i] = i;
    CHECK(pthread_create(&threads[i], NULL, part, &numbers[i]) == 0);
  }
  for (size_t i = 0; i < CROWD; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  CHECK(pthread_barrier_destroy(&crowd.barrier) == 0);
}

static unsigned take_all(void) {
  struct mm_fault fault;
  return mm_guard_take(crowd.handle->region->slot, &fault) ? fault.count : 0;
}

static struct mm_handle *map_memory(int *fd, int prot) {
  size_t page = mm_sys_page_size();
  *fd = mm_sys_memory("test", MFD_CLOEXEC, (off_t)(PAGES * page));
  CHECK(*fd >= 0);
  return map_file(*fd, PAGES * page, prot, MAP_SHARED);
}

/* All read a page at the same moment, then all write a byte of their own into it. */
static void *read_and_write(void *argument) {
  const size_t *number = argument;
  for (size_t i = 0; i < PAGES; i++) {
    uint8_t *at = crowd.base + i * crowd.page;
    (void)pthread_barrier_wait(&crowd.barrier);
    CHECK(peek(at + 1000 + *number) == 0);
    (void)pthread_barrier_wait(&crowd.barrier);
    poke(at + *number, (uint8_t)(*number + 1));
    CHECK(peek(at + *number) == *number + 1);
  }
  return NULL;
}

/* Each page is one fault for reading and one for writing, however many touch it, and no write is
 * lost in between. */
static void test_missing_together(void) {
  int fd;
  begin(map_memory(&fd, PROT_READ | PROT_WRITE));
  CHECK(ftruncate(fd, 0) == 0);
  run_all(read_and_write);
  CHECK(take_all() == 2 * PAGES);
  for (size_t i = 0; i < PAGES * CROWD; i++) {
    CHECK(peek(crowd.base + i / CROWD * crowd.page + i % CROWD) == i % CROWD + 1);
  }
  end_mapping(crowd.handle);
  CHECK(mm_sys_close(fd) == 0);
}

static void *write_all(void *argument) {
  const size_t *number = argument;
  for (size_t i = 0; i < PAGES; i++) {
    (void)pthread_barrier_wait(&crowd.barrier);
    poke(crowd.base + i * crowd.page + *number, (uint8_t)(*number + 1));
  }
  return NULL;
}

/* Forbidden writes of all to one page end in one copy, with the old content and all of theirs. */
static void test_protected_together(void) {
  int fd;
  struct mm_handle *handle = map_memory(&fd, PROT_READ | PROT_WRITE);
  begin(handle);
  for (size_t i = 0; i < PAGES; i++) crowd.base[i * crowd.page + 100] = (uint8_t)(i + 1);
  CHECK(mm_sys_mprotect(crowd.base, PAGES * crowd.page, PROT_READ) == 0);
  run_all(write_all);
  CHECK(take_all() == PAGES);
  for (size_t i = 0; i < PAGES; i++) {
    const uint8_t *at = crowd.base + i * crowd.page;
    uint8_t first = 0xee;
    CHECK(at[100] == i + 1);
    for (size_t number = 0; number < CROWD; number++) CHECK(at[number] == number + 1);
    CHECK(pread(fd, &first, 1, (off_t)(i * crowd.page)) == 1 && first == 0);
  }
  end_mapping(handle);
  CHECK(mm_sys_close(fd) == 0);
}

/* One collects and looks all the time, one makes the pages again and takes them away; the others
 * touch. Nothing crashes, and each fault is counted for one collector. */
static void *work_in_disorder(void *argument) {
  const size_t *number = argument;
  struct mm_slot *slot = crowd.handle->region->slot;
  for (size_t round = 0; round < ROUNDS * PAGES; round++) {
    size_t at = (round * 7 + *number * 13) % PAGES * crowd.page;
    unsigned reason;
    struct mm_remap job = {.offset = at, .length = crowd.page, .fd = -1};
    if (*number == 0) {
      atomic_fetch_add(&crowd.taken, take_all());
      (void)mm_guard_replaced(slot, 0, PAGES * crowd.page, &reason);
    } else if (*number == 1) {
      job.prot = round % 2 == 0 ? PROT_NONE : PROT_READ;
      CHECK(mm_guard_remap(slot, &job) == 0);
      CHECK(mm_sys_mprotect(crowd.base + at, crowd.page, job.prot) == 0);
    } else if (round % 2 == 0) {
      (void)peek(crowd.base + at + *number);
    } else {
      poke(crowd.base + at + *number, 1);
    }
  }
  return NULL;
}

static void test_disorder(void) {
  int fd;
  begin(map_memory(&fd, PROT_NONE));
  run_all(work_in_disorder);
  CHECK(atomic_load(&crowd.taken) + take_all() >= PAGES);
  CHECK(take_all() == 0);
  uint8_t byte = 0xee;
  for (size_t i = 0; i < PAGES * crowd.page; i += 501) {
    CHECK(pread(fd, &byte, 1, (off_t)i) == 1 && byte == 0); /* no forbidden write came through */
  }
  end_mapping(crowd.handle);
  CHECK(mm_sys_close(fd) == 0);
}

/* Threads whose buffers outlive the mapping: they read and write while it is closed, and see their
 * own memory or zeros. The others map and close beside them, over and over. */
static void *outlive(void *argument) {
  const size_t *number = argument;
  if (*number == 0) {
    sched_yield();
    mm_region_close(crowd.handle, false);
  }
  for (size_t round = 0; round < ROUNDS; round++) {
    if (*number % 2 == 0) {
      for (size_t i = 0; i < PAGES; i++) {
        uint8_t *at = crowd.base + i * crowd.page + *number;
        uint8_t found = peek(at);
        CHECK(found == 0 || found == 5);
        poke(at, 5);
      }
    } else {
      struct mm_handle *other = new_mapping((1 + round % 5) * crowd.page, false);
      memset(other->region->base, 9, crowd.page);
      end_mapping(other);
    }
  }
  return NULL;
}

static void test_close_under(void) {
  for (size_t i = 0; i < ROUNDS; i++) {
    struct mm_handle *handle = new_mapping(PAGES * mm_sys_page_size(), i % 2 == 0);
    struct mm_region *region = handle->region;
    struct mm_fault fault = {.count = 0};
    region->viewed = true;
    mm_region_use(region);
    begin(handle);
    memset(crowd.base, 5, PAGES * crowd.page);
    run_all(outlive);
    CHECK(mm_guard_take(region->slot, &fault));
    CHECK(fault.count >= PAGES / 2 && fault.reason == MM_FAULT_CLOSED);
    mm_region_unuse(region);
    mm_region_collected(handle);
  }
}

void test_crowds(void) {
  test_missing_together();
  test_protected_together();
  test_disorder();
  test_close_under();
}
