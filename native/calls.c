/* SPDX-License-Identifier: MIT
 *
 * What the raw door calls: arguments in the manual's order, addresses and sizes as bigints of 64
 * bits, the answer a value or a negative number (an errno, or one of area.h). Keeps no state.
 */
#include "area.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434 /* Linux 5.3 */
#endif
#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447 /* Linux 5.14 */
#endif
#ifndef SYS_cachestat
#define SYS_cachestat 451 /* Linux 6.5 */
#endif

static napi_value number_or_errno(napi_env env, long result) {
  return mm_number(env, result < 0 ? -errno : (double)result);
}

/* ---- mappings ------------------------------------------------------------------------------ */

/* rawMap(addr, length, prot, flags, fd, offset): the address, or a negative number. */
static napi_value raw_map(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  struct mm_map_request request = {
      .owner = mm_env_of(env),
      .hint = mm_arg_address(&args, 0),
      .length = mm_arg_u64(&args, 1),
      .prot = mm_arg_int(&args, 2),
      .flags = mm_arg_int(&args, 3),
      .fd = mm_arg_int(&args, 4),
      .offset = mm_arg_i64(&args, 5),
  };
  void *base;
  if (args.failed) return NULL;
  int result = mm_raw_mmap(&request, &base);
  return result == 0 ? mm_address(env, base) : mm_number(env, result);
}

/* rawRemap(oldAddr, oldLength, newLength, flags, newAddr): likewise. */
static napi_value raw_remap(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  struct mm_move move = {
      .owner = mm_env_of(env),
      .old = mm_arg_address(&args, 0),
      .old_length = mm_arg_u64(&args, 1),
      .length = mm_arg_u64(&args, 2),
      .flags = mm_arg_int(&args, 3),
      .target = mm_arg_address(&args, 4),
  };
  void *base;
  if (args.failed) return NULL;
  int result = mm_raw_mremap(&move, &base);
  return result == 0 ? mm_address(env, base) : mm_number(env, result);
}

typedef int (*range_call)(void *address, size_t length, int argument);

/* The shape that most calls share: (addr, length, argument) to 0 or a negative number. */
static napi_value run(napi_env env, napi_callback_info info, range_call call) {
  struct mm_args args = mm_args_read(env, info);
  void *address = mm_arg_address(&args, 0);
  size_t length = mm_arg_u64(&args, 1);
  int argument = args.count > 2 ? mm_arg_int(&args, 2) : 0;
  return args.failed ? NULL : mm_number(env, call(address, length, argument));
}

static int unmap_call(void *address, size_t length, int argument) {
  (void)argument;
  return mm_raw_munmap(address, length);
}

static int lock_pages(void *address, size_t length, int argument) {
  (void)argument;
  return mm_sys_mlock(address, length);
}

static int lock2_pages(void *address, size_t length, int flags) {
  return mm_sys_mlock2(address, length, (unsigned)flags);
}

static int unlock_pages(void *address, size_t length, int argument) {
  (void)argument;
  return mm_sys_munlock(address, length);
}

static int sync_call(void *address, size_t length, int flags) {
  return mm_raw_each(address, length, flags, mm_sys_msync);
}

typedef int (*way_of_call)(void *address, size_t length, int argument, range_call call);

/* The locking calls take an address inside a page for the page. */
struct locking {
  way_of_call way;
  range_call call;
};

static int from_page(const struct locking *plan, void *address, size_t length, int argument) {
  size_t inside = (uintptr_t)address % mm_sys_page_size();
  if (length > SIZE_MAX - inside) return plan->call(address, length, argument);
  return plan->way((uint8_t *)address - inside, length + inside, argument, plan->call);
}

static int lock_call(void *address, size_t length, int argument) {
  static const struct locking plan = {mm_raw_lock, lock_pages};
  return from_page(&plan, address, length, argument);
}

static int lock2_call(void *address, size_t length, int flags) {
  static const struct locking plan = {mm_raw_lock, lock2_pages};
  return from_page(&plan, address, length, flags);
}

static int unlock_call(void *address, size_t length, int argument) {
  static const struct locking plan = {mm_raw_each, unlock_pages};
  return from_page(&plan, address, length, argument);
}

static int seal_call(void *address, size_t length, int flags) {
  return mm_raw_mseal(address, length, (unsigned long)(long)flags);
}

/* The calls of this shape, as JavaScript makes them. */
#define RANGE_CALL(name, call)                                        \
  static napi_value name(napi_env env, napi_callback_info info) {     \
    return run(env, info, call);                                      \
  }

RANGE_CALL(raw_unmap, unmap_call)
RANGE_CALL(raw_protect, mm_raw_mprotect)
RANGE_CALL(raw_advise, mm_raw_madvise)
RANGE_CALL(raw_sync, sync_call)
RANGE_CALL(raw_lock, lock_call)
RANGE_CALL(raw_lock2, lock2_call)
RANGE_CALL(raw_unlock, unlock_call)
RANGE_CALL(raw_seal, seal_call)

/* rawLockAll(flags), rawUnlockAll() */
static napi_value raw_lock_all(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  int flags = mm_arg_int(&args, 0);
  return args.failed ? NULL : number_or_errno(env, mlockall(flags));
}

static napi_value raw_unlock_all(napi_env env, napi_callback_info info) {
  (void)info;
  return number_or_errno(env, munlockall());
}

/* rawResidency(addr, vector): fills a byte for each page as mincore(2). */
static napi_value raw_residency(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  void *address = mm_arg_address(&args, 0);
  uint8_t *vector = NULL;
  size_t pages = 0;
  if (!mm_arg_bytes(&args, 1, &vector, &pages) || args.failed) return NULL;
  return mm_number(env, mm_raw_mincore(address, pages * mm_sys_page_size(), vector));
}

/* rawMapped(addr, length): 0 when a mapping begins at or before an address and another one, or the
 * same, reaches to the end of the range; what mincore(2) needs to know before it fills a vector of
 * any size. -ENOMEM otherwise. */
static napi_value raw_mapped(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  uintptr_t at = (uintptr_t)mm_arg_address(&args, 0);
  uintptr_t end = at + mm_arg_u64(&args, 1);
  if (args.failed) return NULL;
  if (end < at) return mm_number(env, -ENOMEM);
  while (at < end) {
    uintptr_t start = 0, stop = 0;
    if (mm_sys_next_area(at, &start, &stop) != 0 || start > at) return mm_number(env, -ENOMEM);
    at = stop;
  }
  return mm_number(env, 0);
}

/* rawRemapFilePages(addr, size, prot, pgoff, flags) */
static napi_value raw_remap_file_pages(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  void *address = mm_arg_address(&args, 0);
  size_t length = mm_arg_u64(&args, 1);
  long last[3] = {mm_arg_int(&args, 2), (long)mm_arg_u64(&args, 3), mm_arg_int(&args, 4)};
  return args.failed ? NULL : mm_number(env, mm_raw_remap_file_pages(address, length, last));
}

/* rawView(addr, length): a buffer over bytes of the raw door, or a negative number. */
static napi_value raw_view(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  struct mm_view_plan plan = {.offset = 0};
  void *address = mm_arg_address(&args, 0);
  napi_value buffer = NULL;
  plan.length = mm_arg_u64(&args, 1);
  if (args.failed) return NULL;
  mm_areas_lock();
  int result = mm_area_view(address, plan.length, &plan.region);
  mm_areas_unlock();
  if (result != 0) return mm_number(env, result);
  result = mm_region_buffer(env, &plan, &buffer);
  mm_region_unuse(plan.region);
  return result == 0 ? buffer : mm_number(env, result);
}

/* rawFault(addr, length): the faults of a range that nobody has collected, as takeOrphan tells. */
static napi_value raw_fault(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  uintptr_t base = (uintptr_t)mm_arg_address(&args, 0);
  uintptr_t end = base + mm_arg_u64(&args, 1);
  struct mm_fault fault;
  if (args.failed) return NULL;
  if (!mm_area_take_fault(base, end, &fault)) return mm_undefined(env);
  return mm_lone_fault(env, &fault);
}

/* ---- descriptors --------------------------------------------------------------------------- */

/* A descriptor that a call has made, or its errno. */
static napi_value made_or_errno(napi_env env, long result) {
  return mm_number(env, mm_descriptor_made(result < 0 ? -errno : (int)result));
}

/* memfdCreate(name, flags): a descriptor, or a negative errno. */
static napi_value memfd(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  char *name = mm_arg_text(&args, 0);
  int flags = mm_arg_int(&args, 1);
  napi_value result =
      args.failed ? NULL : made_or_errno(env, memfd_create(name, (unsigned)flags));
  free(name);
  return result;
}

/* memfdSecret(flags) */
static napi_value memfd_secret_call(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  int flags = mm_arg_int(&args, 0);
  return args.failed ? NULL : made_or_errno(env, syscall(SYS_memfd_secret, (unsigned)flags));
}

/* shmOpen(name, oflag, mode) */
static napi_value shm_open_call(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  char *name = mm_arg_text(&args, 0);
  int flags = mm_arg_int(&args, 1);
  int mode = mm_arg_int(&args, 2);
  napi_value result =
      args.failed ? NULL : made_or_errno(env, shm_open(name, flags, (mode_t)mode));
  free(name);
  return result;
}

/* shmUnlink(name) */
static napi_value shm_unlink_call(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  char *name = mm_arg_text(&args, 0);
  napi_value result = args.failed ? NULL : number_or_errno(env, shm_unlink(name));
  free(name);
  return result;
}

/* addSeals(fd, seals), getSeals(fd) */
static napi_value add_seals(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  int fd = mm_arg_int(&args, 0);
  int seals = mm_arg_int(&args, 1);
  return args.failed ? NULL : number_or_errno(env, fcntl(fd, F_ADD_SEALS, seals));
}

static napi_value get_seals(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  int fd = mm_arg_int(&args, 0);
  return args.failed ? NULL : number_or_errno(env, fcntl(fd, F_GET_SEALS));
}

/* rawClose(fd): -EBADF for what the raw door has not made. */
static napi_value close_call(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  int fd = mm_arg_int(&args, 0);
  return args.failed ? NULL : mm_number(env, mm_descriptor_close(fd));
}

/* rawTruncate(fd, length): likewise. */
static napi_value truncate_call(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  int fd = mm_arg_int(&args, 0);
  int64_t length = mm_arg_i64(&args, 1);
  return args.failed ? NULL : mm_number(env, mm_descriptor_truncate(fd, length));
}

/* closeDescriptor(fd): whatever it is; for descriptors that memmap itself holds. */
static napi_value close_any_call(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  int fd = mm_arg_int(&args, 0);
  return args.failed ? NULL : mm_number(env, mm_sys_close(fd));
}

/* pidfdOpen(pid, flags) */
static napi_value pidfd_open_call(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  int pid = mm_arg_int(&args, 0);
  int flags = mm_arg_int(&args, 1);
  return args.failed ? NULL : made_or_errno(env, syscall(SYS_pidfd_open, pid, flags));
}

/* Whether a descriptor names another process than this one. What cannot be told is this one. */
static bool is_other_process(int pidfd) {
  char path[64], line[128];
  int pid = 0;
  (void)snprintf(path, sizeof path, "/proc/self/fdinfo/%d", pidfd);
  FILE *facts = fopen(path, "re");
  if (facts == NULL) return false;
  while (fgets(line, sizeof line, facts) != NULL && sscanf(line, "Pid: %d", &pid) != 1) {
  }
  (void)fclose(facts);
  if (pid <= 0) return pid == -1; /* it has exited */
  (void)snprintf(path, sizeof path, "/proc/self/task/%d", pid);
  return access(path, F_OK) != 0;
}

/* processMadvise(pidfd, ranges, advice, flags): `ranges` holds an iovec of two words for each. */
static napi_value process_madvise_call(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  uint8_t *bytes = NULL;
  size_t length = 0;
  int pidfd = mm_arg_int(&args, 0);
  if (!mm_arg_bytes(&args, 1, &bytes, &length)) return NULL;
  int advice = mm_arg_int(&args, 2);
  int flags = mm_arg_int(&args, 3);
  if (args.failed) return NULL;
  struct mm_advice advised = {
      .pidfd = pidfd,
      .ranges = (const struct iovec *)(void *)bytes,
      .count = length / sizeof(struct iovec),
      .advice = advice,
      .flags = (unsigned)flags,
  };
  bool careful = mm_raw_harms(advice) && !is_other_process(pidfd);
  long result = careful ? mm_raw_process_madvise(&advised) : mm_raw_process_madvise_any(&advised);
  return mm_number(env, (double)result);
}

/* cacheStat(fd, offset, length, flags, out): fills five words. */
static napi_value cache_stat(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  int fd = mm_arg_int(&args, 0);
  uint64_t range[2] = {mm_arg_u64(&args, 1), mm_arg_u64(&args, 2)};
  int flags = mm_arg_int(&args, 3);
  uint8_t *out = NULL;
  size_t length = 0;
  uint64_t counts[5] = {0};
  if (!mm_arg_bytes(&args, 4, &out, &length) || args.failed) return NULL;
  if (length != sizeof counts) return mm_throw(env, "memmap native: expected five words");
  long result = syscall(SYS_cachestat, fd, range, counts, (unsigned)flags);
  if (result == 0) memcpy(out, counts, sizeof counts);
  return number_or_errno(env, result);
}

const struct mm_export mm_raw_exports[] = {
    {"rawMap", raw_map},
    {"rawUnmap", raw_unmap},
    {"rawProtect", raw_protect},
    {"rawAdvise", raw_advise},
    {"rawSync", raw_sync},
    {"rawLock", raw_lock},
    {"rawLock2", raw_lock2},
    {"rawUnlock", raw_unlock},
    {"rawLockAll", raw_lock_all},
    {"rawUnlockAll", raw_unlock_all},
    {"rawResidency", raw_residency},
    {"rawMapped", raw_mapped},
    {"rawRemap", raw_remap},
    {"rawRemapFilePages", raw_remap_file_pages},
    {"rawSeal", raw_seal},
    {"rawView", raw_view},
    {"rawFault", raw_fault},
    {"memfdCreate", memfd},
    {"memfdSecret", memfd_secret_call},
    {"shmOpen", shm_open_call},
    {"shmUnlink", shm_unlink_call},
    {"addSeals", add_seals},
    {"getSeals", get_seals},
    {"rawClose", close_call},
    {"rawTruncate", truncate_call},
    {"closeDescriptor", close_any_call},
    {"pidfdOpen", pidfd_open_call},
    {"processMadvise", process_madvise_call},
    {"cacheStat", cache_stat},
    {NULL, NULL},
};
