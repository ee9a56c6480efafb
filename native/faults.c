/* SPDX-License-Identifier: MIT
 *
 * What JavaScript calls to learn of faults and to make pages again. Runs on the JavaScript thread;
 * keeps no state of its own.
 */
#include "memmap.h"

#include <errno.h>

/* assertGuard(): puts the handler on top again, where somebody has replaced it. */
static napi_value assert_guard(napi_env env, napi_callback_info info) {
  (void)info;
  return mm_number(env, mm_guard_install());
}

/* [count, byte from the base, write, reason] */
static napi_value fault_value(napi_env env, const struct mm_fault *fault, uintptr_t base) {
  napi_value result = NULL;
  if (napi_create_array_with_length(env, 4, &result) != napi_ok) return NULL;
  (void)napi_set_element(env, result, 0, mm_number(env, fault->count));
  (void)napi_set_element(env, result, 1, mm_number(env, (double)(fault->address - base)));
  (void)napi_set_element(env, result, 2, mm_boolean(env, fault->write));
  (void)napi_set_element(env, result, 3, mm_number(env, fault->reason));
  return result;
}

/* takeFault(region): [count, byte from the base of the region, write, reason] of the faults that
 * nobody collected, which are collected by that; undefined when there are none. */
static napi_value take_fault(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  struct mm_region *region = mm_arg_region(&args, 0);
  struct mm_fault fault;
  if (args.failed) return NULL;
  bool taken = false;
  if (mm_region_try_use(region)) {
    taken = mm_guard_take(region->slot, &fault);
    mm_region_unuse(region);
  }
  if (!taken) return mm_undefined(env);
  return fault_value(env, &fault, (uintptr_t)region->base);
}

/* The same of a range that has no mapping object, with its address, whether no file stands behind
 * it, whether the raw door mapped it, an address at which its first page is mapped still, and
 * whether its pages are huge ones. */
napi_value mm_lone_fault(napi_env env, const struct mm_fault *fault) {
  napi_value result = fault_value(env, fault, fault->base);
  (void)napi_set_element(env, result, 4, mm_address(env, (void *)fault->address));
  (void)napi_set_element(env, result, 5, mm_boolean(env, fault->anonymous));
  (void)napi_set_element(env, result, 6, mm_boolean(env, fault->raw));
  (void)napi_set_element(env, result, 7, mm_address(env, (void *)fault->source));
  (void)napi_set_element(env, result, 8, mm_boolean(env, fault->huge));
  return result;
}

/* takeOrphan(atTheEnd): the faults of such a range. At the end of the environment none of its
 * ranges has a mapping object that was not asked. */
static napi_value take_orphan(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  bool at_the_end = mm_arg_bool(&args, 0);
  struct mm_fault fault;
  if (args.failed) return NULL;
  bool found = mm_guard_take_orphan(&fault, at_the_end ? mm_env_of(env) : NULL);
  return found ? mm_lone_fault(env, &fault) : mm_undefined(env);
}

/* quiet(region): its faults are for who asks alone. */
static napi_value quiet(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  struct mm_region *region = mm_arg_region(&args, 0);
  if (args.failed) return NULL;
  if (!region->closed) mm_guard_quiet(region->slot);
  return mm_undefined(env);
}

/* forget(region, offset, length): throws away what the guard moved aside of a range. */
static napi_value forget(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  struct mm_region *region = mm_arg_region(&args, 0);
  size_t offset = mm_arg_size(&args, 1);
  size_t length = mm_arg_size(&args, 2);
  if (args.failed) return NULL;
  if (!region->closed) mm_guard_forget(region->slot, offset, length);
  return mm_undefined(env);
}

/* replaced(region, offset, length): the first page in the range that was replaced, as
 * byte * 8 + reason from the base of the region; -1 when there is none. */
static napi_value replaced(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  struct mm_region *region = mm_arg_region(&args, 0);
  size_t offset = mm_arg_size(&args, 1);
  size_t length = mm_arg_size(&args, 2);
  unsigned reason = 0;
  if (args.failed) return NULL;
  if (region->closed || !mm_region_holds(region, offset, length)) return mm_number(env, -EINVAL);
  size_t found = mm_guard_replaced(region->slot, offset, length, &reason);
  return mm_number(env, found == SIZE_MAX ? -1 : (double)found * 8 + reason);
}

/* remap(region, offset, length, prot, fd, fdOffset): makes replaced pages again; 0 or a negative
 * errno, -ENOTSUP when there is nothing to make them from. */
static napi_value remap(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  struct mm_region *region = mm_arg_region(&args, 0);
  struct mm_remap job = {
      .offset = mm_arg_size(&args, 1),
      .length = mm_arg_size(&args, 2),
      .prot = mm_arg_int(&args, 3),
      .fd = mm_arg_int(&args, 4),
      .fd_offset = (int64_t)mm_arg_size(&args, 5),
  };
  if (args.failed) return NULL;
  if (region->closed || !mm_region_holds(region, job.offset, job.length)) {
    return mm_number(env, -EINVAL);
  }
  return mm_number(env, mm_guard_remap(region->slot, &job));
}

const struct mm_export mm_fault_exports[] = {
    {"assertGuard", assert_guard},
    {"onFaults", mm_on_faults},
    {"takeFault", take_fault},
    {"takeOrphan", take_orphan},
    {"quiet", quiet},
    {"forget", forget},
    {"replaced", replaced},
    {"remap", remap},
    {NULL, NULL},
};
