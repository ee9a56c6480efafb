/* SPDX-License-Identifier: MIT
 *
 * Checked copies and loads over pages that are not there, at every distance from the edge, and the
 * calls on memory objects and files.
 */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* A shared mapping of a new memory object of `length` bytes, of which `left` remain. */
static uint8_t *truncated(size_t length, size_t left, int *fd) {
  *fd = mm_sys_memory("test", MFD_CLOEXEC, (off_t)length);
  CHECK(*fd >= 0);
  struct mm_map_request request = {
      .length = length,
      .prot = PROT_READ | PROT_WRITE,
      .flags = MAP_SHARED,
      .fd = *fd,
  };
  void *out = NULL;
  CHECK(mm_sys_mmap(&request, &out) == 0);
  CHECK(ftruncate(*fd, (off_t)left) == 0);
  return out;
}

static void test_copy(void) {
  size_t page = mm_sys_page_size();
  int fd;
  uint8_t *memory = truncated(4 * page, 2 * page, &fd);
  uint8_t *buffer = malloc(4 * page);
  CHECK(buffer != NULL);
  memset(memory, 5, 2 * page);
  for (size_t offset = 0; offset < 2 * page; offset += 509) {
    for (size_t length = 1; offset + length <= 4 * page; length += 1021) {
      size_t there = 2 * page - offset;
      memset(buffer, 0, 4 * page);
      size_t copied = mm_copy(buffer, memory + offset, length);
      CHECK(copied == (length < there ? length : there));
      CHECK(buffer[copied - 1] == 5);
    }
  }
  CHECK(mm_copy(buffer, memory, 0) == 0);
  CHECK(mm_copy(buffer, memory + 2 * page, 1) == 0);
  /* The other way round: what cannot be written. */
  CHECK(mm_copy(memory + page, buffer, 2 * page) == page);
  CHECK(mm_sys_mprotect(memory, page, PROT_NONE) == 0);
  CHECK(mm_copy(buffer, memory, 1) == 0);
  CHECK(mm_copy(memory, buffer, 1) == 0);
  CHECK(mm_sys_copy(buffer, memory, 1) == -EFAULT);
  CHECK(mm_sys_munmap(memory, 4 * page) == 0);
  CHECK(mm_copy(buffer, memory, page) == 0);
  free(buffer);
  CHECK(mm_sys_close(fd) == 0);
}

/* mm_load() names the first bad page, in the first piece and behind it. */
static void test_load(void) {
  size_t page = mm_sys_page_size();
  size_t pages = ((size_t)130 << 20) / page;
  static const size_t lefts[] = {0, 1, 2, 3, 100, 16383, 16384, 16385, 33000};
  int fd;
  uint8_t *memory = truncated(pages * page, pages * page, &fd);
  for (size_t i = 0; i < sizeof lefts / sizeof lefts[0]; i++) {
    CHECK(ftruncate(fd, (off_t)(lefts[i] * page)) == 0);
    size_t expected = lefts[i] < pages ? lefts[i] : pages;
    CHECK(mm_load(memory, pages * page, MADV_POPULATE_READ) == expected * page);
    CHECK(ftruncate(fd, (off_t)(pages * page)) == 0);
  }
  CHECK(ftruncate(fd, (off_t)page + 1) == 0);
  CHECK(mm_load(memory, 3 * page, MADV_POPULATE_READ) == 2 * page);
  CHECK(mm_load(memory, 0, MADV_POPULATE_READ) == 0);
  CHECK(mm_probe(memory, true) == 0);
  CHECK(mm_probe(memory + 2 * page, false) == -EFAULT);
  CHECK(mm_sys_mprotect(memory, page, PROT_READ) == 0);
  CHECK(mm_load(memory, 2 * page, MADV_POPULATE_READ) == 2 * page);
  CHECK(mm_load(memory, 2 * page, MADV_POPULATE_WRITE) == 0);
  CHECK(mm_probe(memory, true) == -EINVAL && mm_probe(memory, false) == 0);
  CHECK(!mm_advice_supported(0x7fffff) && mm_advice_supported(MADV_NORMAL));
  CHECK(mm_load(memory, 2 * page, 0x7fffff) == 2 * page);
  CHECK(mm_sys_munmap(memory, pages * page) == 0);
  CHECK(mm_sys_close(fd) == 0);
}

static off_t size_of(int fd) {
  struct stat status;
  CHECK(fstat(fd, &status) == 0);
  return status.st_size;
}

/* A memory object grows and gives memory back, and is never shorter than somebody mapped it. */
static void test_memory(void) {
  off_t page = (off_t)mm_sys_page_size();
  int fd = mm_sys_memory("test", MFD_CLOEXEC, 10 * page);
  CHECK(fd >= 0);
  CHECK(pwrite(fd, "x", 1, 9 * page) == 1);
  CHECK(mm_sys_resize_memory(fd, page, 10 * page) == 0 && size_of(fd) == 10 * page);
  char byte = 'y';
  CHECK(pread(fd, &byte, 1, 9 * page) == 1 && byte == 0);
  CHECK(mm_sys_resize_memory(fd, 5 * page, page) == 0 && size_of(fd) == 10 * page);
  CHECK(mm_sys_resize_memory(fd, 11 * page, 5 * page) == 0 && size_of(fd) == 11 * page);
  CHECK(mm_sys_allocate(fd, 11 * page, page) == 0 && size_of(fd) == 12 * page);
  CHECK(mm_sys_allocate(fd, INT64_MAX, 1) == -EFBIG && size_of(fd) == 12 * page);
  int copy = mm_sys_duplicate(fd);
  CHECK(copy >= 0 && (fcntl(copy, F_GETFD) & FD_CLOEXEC) != 0);
  CHECK(mm_sys_huge_page_size(fd) == 0);
  CHECK(mm_sys_may_write(fd) == 1);
  CHECK(mm_sys_close(copy) == 0 && mm_sys_close(copy) == -EBADF);
  CHECK(mm_sys_close(fd) == 0);
  CHECK(mm_sys_memory("test", 0x4000, 1) == -EINVAL);
  CHECK(mm_sys_memory("test", MFD_CLOEXEC, -1) == -EINVAL);
}

void test_copies(void) {
  test_copy();
  test_load();
  test_memory();
}
