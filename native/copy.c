/* SPDX-License-Identifier: MIT
 *
 * Access to memory that may not be there: the kernel is asked to read, write or bring in pages, so
 * that a page behind the end of a truncated file is a number here and never a signal. Keeps no
 * state; every function may run on any thread.
 */
#include "memmap.h"

#include <errno.h>

/* The length of the pieces in which pages are brought in: long enough to cost no system calls worth
 * counting, short enough to find a bad page in it by halving. */
#define LOAD_PIECE ((size_t)64 << 20)

/* Copies as far as both ranges can be reached and returns how many bytes that was. The ranges must
 * not overlap. */
size_t mm_copy(void *target, const void *source, size_t length) {
  size_t done = 0;
  while (done < length) {
    ssize_t copied =
        mm_sys_copy((uint8_t *)target + done, (const uint8_t *)source + done, length - done);
    if (copied <= 0) break;
    done += (size_t)copied;
  }
  return done;
}

/* Whether the running kernel knows an advice: with a length of 0 it checks the advice and does
 * nothing. */
bool mm_advice_supported(int advice) {
  size_t page = mm_sys_page_size();
  bool populates = advice == MADV_POPULATE_READ || advice == MADV_POPULATE_WRITE;
  struct mm_guard *guard = mm_guard();
  if (populates && guard != NULL && !guard->populates) return false;
  return mm_sys_madvise((void *)page, 0, advice) == 0;
}

/* Touches each page through the kernel, where it cannot populate: returns the bytes before the
 * first page that cannot be read. */
static size_t load_by_copy(const uint8_t *address, size_t length) {
  size_t page = mm_sys_page_size();
  uint8_t byte;
  for (size_t at = 0; at < length; at += page) {
    if (mm_copy(&byte, address + at, 1) != 1) return at;
  }
  return length;
}

/* Finds the first page of a range that cannot be populated, by halving: each success also brings
 * its pages in. */
static size_t populate_until(uint8_t *address, size_t length, int advice) {
  size_t page = mm_sys_page_size();
  size_t good = 0;
  while (length - good > page) {
    size_t half = (length - good) / 2 / page * page;
    if (mm_sys_madvise(address + good, half, advice) == 0) good += half;
    else length = good + half;
  }
  return mm_sys_madvise(address + good, length - good, advice) == 0 ? length : good;
}

/* Brings whole pages in for reading (MADV_POPULATE_READ) or writing (MADV_POPULATE_WRITE) and
 * returns the bytes before the first page that cannot come. Kernels before 5.14 cannot populate:
 * there pages are read one by one, and pages to be written are not checked. */
size_t mm_load(uint8_t *address, size_t length, int advice) {
  if (!mm_advice_supported(advice)) {
    return advice == MADV_POPULATE_READ ? load_by_copy(address, length) : length;
  }
  for (size_t at = 0; at < length;) {
    size_t piece = length - at < LOAD_PIECE ? length - at : LOAD_PIECE;
    if (mm_sys_madvise(address + at, piece, advice) != 0) {
      size_t good = populate_until(address + at, piece, advice);
      if (good < piece) return at + good;
    }
    at += piece;
  }
  return length;
}

/* Asks why a page cannot be reached: 0 it can, -EINVAL its protection forbids it, -EFAULT or
 * -EHWPOISON there is nothing to give, -ENOMEM no memory; -ENOSYS where the kernel cannot say. */
int mm_probe(uint8_t *page, bool write) {
  int advice = write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;
  if (!mm_advice_supported(advice)) return -ENOSYS;
  return mm_sys_madvise(page, mm_sys_page_size(), advice);
}
