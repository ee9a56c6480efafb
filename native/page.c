/* SPDX-License-Identifier: MIT
 *
 * What JavaScript calls on the pages of an open region: protection, advice, flush, lock, residency,
 * checked copies. Offsets and lengths are whole pages but in read and write. Each function answers
 * a negative errno for a range that is not inside the region or a region that was closed. Runs on
 * the JavaScript thread; the calls that wait for storage have their twins in job.c.
 */
#include "memmap.h"

#include <errno.h>
#include <stdlib.h>

/* A range of an open region, as the first three arguments of most calls here say it. */
struct span {
  struct mm_region *region;
  uint8_t *base;
  size_t length;
  int error; /* -EINVAL: outside, or closed */
};

static struct span span_of(struct mm_args *args) {
  struct span span = {.region = mm_arg_region(args, 0)};
  size_t offset = mm_arg_size(args, 1);
  span.length = mm_arg_size(args, 2);
  if (args->failed) return span;
  if (span.region->closed || !mm_region_holds(span.region, offset, span.length)) {
    span.error = -EINVAL;
  } else {
    span.base = span.region->base + offset;
  }
  return span;
}

typedef int (*page_call)(void *base, size_t length, int argument);

/* The shape most calls share: (region, offset, length, argument) to 0 or a negative errno. */
static napi_value run(napi_env env, napi_callback_info info, page_call call) {
  struct mm_args args = mm_args_read(env, info);
  struct span span = span_of(&args);
  int argument = args.count > 3 ? mm_arg_int(&args, 3) : 0;
  if (args.failed) return NULL;
  if (span.error != 0) return mm_number(env, span.error);
  return mm_number(env, mm_spare_give(call(span.base, span.length, argument)));
}

static int lock_call(void *base, size_t length, int argument) {
  (void)argument;
  return mm_sys_mlock(base, length);
}

static int unlock_call(void *base, size_t length, int argument) {
  (void)argument;
  return mm_sys_munlock(base, length);
}

static napi_value protect(napi_env env, napi_callback_info info) {
  return run(env, info, mm_sys_mprotect);
}

static napi_value advise(napi_env env, napi_callback_info info) {
  return run(env, info, mm_sys_madvise);
}

static napi_value flush(napi_env env, napi_callback_info info) {
  return run(env, info, mm_sys_msync);
}

static napi_value lock(napi_env env, napi_callback_info info) {
  return run(env, info, lock_call);
}

static napi_value unlock(napi_env env, napi_callback_info info) {
  return run(env, info, unlock_call);
}

/* load(region, offset, length): the bytes before the first page that cannot be read. */
static napi_value load(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  struct span span = span_of(&args);
  if (args.failed) return NULL;
  if (span.error != 0) return mm_number(env, span.error);
  return mm_number(env, (double)mm_load(span.base, span.length, MADV_POPULATE_READ));
}

/* probe(region, offset, length, write): see mm_probe; asks for the first page of the range. */
static napi_value probe(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  struct span span = span_of(&args);
  bool write = mm_arg_bool(&args, 3);
  if (args.failed) return NULL;
  if (span.error != 0) return mm_number(env, span.error);
  return mm_number(env, mm_probe(span.base, write));
}

/* residency(region, offset, vector): fills one byte a page as mincore(2). */
static napi_value residency(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  struct mm_region *region = mm_arg_region(&args, 0);
  size_t offset = mm_arg_size(&args, 1);
  uint8_t *vector = NULL;
  size_t page_count = 0;
  if (!mm_arg_bytes(&args, 2, &vector, &page_count) || args.failed) return NULL;
  size_t length = page_count * mm_sys_page_size();
  if (region->closed || !mm_region_holds(region, offset, length)) return mm_number(env, -EINVAL);
  if (length == 0) return mm_number(env, 0);
  return mm_number(env, mm_sys_mincore(region->base + offset, length, vector));
}

/* The (region, offset, bytes) of read and write; *error as in struct span. */
static uint8_t *bytes_span(struct mm_args *args, uint8_t **bytes, size_t *length, int *error) {
  struct mm_region *region = mm_arg_region(args, 0);
  size_t offset = mm_arg_size(args, 1);
  *error = -EINVAL;
  if (!mm_arg_bytes(args, 2, bytes, length) || args->failed) return NULL;
  if (region->closed || !mm_region_holds(region, offset, *length)) return NULL;
  *error = 0;
  return region->base + offset;
}

/* The kernel copies piece by piece, so a copy onto itself must go by a detour. Returns the bytes
 * copied, or -ENOMEM when there is no room for the detour. */
static double copy_any(uint8_t *target, const uint8_t *source, size_t length) {
  if (target + length <= source || source + length <= target) {
    return (double)mm_copy(target, source, length);
  }
  uint8_t *detour = malloc(length);
  if (detour == NULL) return -ENOMEM;
  size_t copied = mm_copy(detour, source, length);
  if (copied == length) copied = mm_copy(target, detour, length);
  free(detour);
  return (double)copied;
}

/* read(region, offset, target): the bytes copied before the first page that cannot be read. */
static napi_value read_bytes(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  uint8_t *target = NULL;
  size_t length = 0;
  int error = 0;
  uint8_t *source = bytes_span(&args, &target, &length, &error);
  if (args.failed) return NULL;
  if (error != 0) return mm_number(env, error);
  return mm_number(env, length == 0 ? 0 : copy_any(target, source, length));
}

/* write(region, offset, source): the bytes before the first page that cannot be written; nothing is
 * written then, but where the page vanished between the check and the copy. */
static napi_value write_bytes(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  uint8_t *source = NULL;
  size_t length = 0;
  int error = 0;
  uint8_t *target = bytes_span(&args, &source, &length, &error);
  if (args.failed) return NULL;
  if (error != 0) return mm_number(env, error);
  if (length == 0) return mm_number(env, 0);
  size_t page = mm_sys_page_size();
  size_t lead = (uintptr_t)target & (page - 1);
  size_t whole = (lead + length + page - 1) / page * page;
  size_t good = mm_load(target - lead, whole, MADV_POPULATE_WRITE);
  if (good < whole) return mm_number(env, good > lead ? (double)(good - lead) : 0);
  return mm_number(env, copy_any(target, source, length));
}

const struct mm_export mm_page_exports[] = {
    {"protect", protect},
    {"advise", advise},
    {"flush", flush},
    {"lock", lock},
    {"unlock", unlock},
    {"load", load},
    {"probe", probe},
    {"residency", residency},
    {"read", read_bytes},
    {"write", write_bytes},
    {NULL, NULL},
};
