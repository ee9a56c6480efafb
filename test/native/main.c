/* SPDX-License-Identifier: MIT
 *
 * Runs the native side without a JavaScript engine, for sanitizers: regions, retired ranges,
 * checked copies, the fault guard, and all of it from several threads. scripts/sanitize.mjs builds
 * and runs it. The link wraps mm_sys_mremap and mm_guard_add, so that a test can let the kernel
 * refuse, and memory run out.
 */
#include "check.h"

#include <errno.h>
#include <unistd.h>

/* How many calls of mm_sys_mremap succeed before, and how many fail then; -1 and 0: none fails. */
static int before_failure = -1;
static int failures;

int __real_mm_sys_mremap(void *old, size_t old_length, size_t length, int flags, void *target,
                         void **out);
int __wrap_mm_sys_mremap(void *old, size_t old_length, size_t length, int flags, void *target,
                         void **out);

void fail_mremap(int from, int count) {
  before_failure = from;
  failures = count;
}

int __wrap_mm_sys_mremap(void *old, size_t old_length, size_t length, int flags, void *target,
                         void **out) {
  if (failures > 0) {
    if (before_failure == 0) {
      failures--;
      return -ENOMEM;
    }
    before_failure--;
  }
  return __real_mm_sys_mremap(old, old_length, length, flags, target, out);
}

/* Which call of mm_guard_add finds no memory; 0: none. */
static atomic_int guard_failure;

struct mm_slot *__real_mm_guard_add(const struct mm_range *range);
struct mm_slot *__wrap_mm_guard_add(const struct mm_range *range);

void fail_guard_add(int nth) { atomic_store(&guard_failure, nth); }

struct mm_slot *__wrap_mm_guard_add(const struct mm_range *range) {
  int nth = atomic_load(&guard_failure);
  if (nth > 0 && atomic_fetch_sub(&guard_failure, 1) == 1) return NULL;
  return __real_mm_guard_add(range);
}

/* With an argument nothing is moved, since valgrind does not know all that mremap(2) can do, and
 * nothing faults, since it counts each fault as a mistake. "accesses" is for emulators, which know
 * even less of memory: only what the processor and its instructions tell of a fault. */
int main(int count, char **arguments) {
  bool full = count == 1;
  (void)alarm(300); /* a notice that never comes would be waited for */
  if (count == 2 && strcmp(arguments[1], "accesses") == 0) {
    test_accesses();
    return 0;
  }
  if (full) test_chains(); /* first: it looks at what stood there before the guard */
  test_regions(full);
  test_areas(full);
  test_copies();
  if (full) test_faults();
  if (full) test_accesses();
  test_threads(full);
  if (full) test_crowds();
  if (full) test_notices();
  puts("native tests passed");
  return 0;
}
