/* SPDX-License-Identifier: MIT
 *
 * What JavaScript calls on descriptors, names, limits and its thread's number. Keeps no state and
 * owns no descriptor: what is returned belongs to the caller. Runs on the JavaScript thread.
 */
#include "memmap.h"

#include <errno.h>
#include <stdlib.h>

#define NAME_MAX_BYTES 256

/* resizeMemory(fd, length, oldLength): 0 or a negative errno. */
static napi_value resize_memory(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  int fd = mm_arg_int(&args, 0);
  size_t length = mm_arg_size(&args, 1);
  size_t old_length = mm_arg_size(&args, 2);
  if (args.failed) return NULL;
  return mm_number(env, mm_sys_resize_memory(fd, (off_t)length, (off_t)old_length));
}

/* allocate(fd, offset, length): 0 or a negative errno. */
static napi_value allocate(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  int fd = mm_arg_int(&args, 0);
  size_t offset = mm_arg_size(&args, 1);
  size_t length = mm_arg_size(&args, 2);
  if (args.failed) return NULL;
  return mm_number(env, mm_sys_allocate(fd, (off_t)offset, (off_t)length));
}

static napi_value huge_page_size(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  int fd = mm_arg_int(&args, 0);
  return args.failed ? NULL : mm_number(env, (double)mm_sys_huge_page_size(fd));
}

static napi_value may_write(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  int fd = mm_arg_int(&args, 0);
  return args.failed ? NULL : mm_number(env, mm_sys_may_write(fd));
}

/* seek(fd, offset, whence): lseek(2), for the holes of sparse files. */
static napi_value seek(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  int fd = mm_arg_int(&args, 0);
  size_t offset = mm_arg_size(&args, 1);
  int whence = mm_arg_int(&args, 2);
  if (args.failed) return NULL;
  return mm_number(env, (double)mm_sys_seek(fd, (off_t)offset, whence));
}

/* openDescriptor(path, flags): a descriptor that every runtime's system calls know, or a negative
 * errno. The path is one of ours, below /proc or /dev/shm. */
static napi_value open_descriptor(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  char *path = mm_arg_text(&args, 0);
  int flags = mm_arg_int(&args, 1);
  int mode = mm_arg_int(&args, 2);
  napi_value result =
      args.failed ? NULL : mm_number(env, mm_sys_open(path, flags, (mode_t)mode));
  free(path);
  return result;
}

/* lockDescriptor(fd, operation): flock(2); 0 or a negative errno. */
static napi_value lock_descriptor(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  int fd = mm_arg_int(&args, 0);
  int operation = mm_arg_int(&args, 1);
  return args.failed ? NULL : mm_number(env, mm_sys_flock(fd, operation));
}

/* linkDescriptor(fd, path): gives an open file without a name that name; 0 or a negative errno. */
static napi_value link_descriptor(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  int fd = mm_arg_int(&args, 0);
  char *path = mm_arg_text(&args, 1);
  napi_value result = args.failed ? NULL : mm_number(env, mm_sys_link(fd, path));
  free(path);
  return result;
}

/* name(region, name): 0 or a negative errno; -EINVAL where the kernel cannot name memory. */
static napi_value name_region(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  struct mm_region *region = mm_arg_region(&args, 0);
  char name[NAME_MAX_BYTES];
  (void)mm_arg_string(&args, 1, name, sizeof name);
  if (args.failed) return NULL;
  if (region->closed) return mm_number(env, -EINVAL);
  return mm_number(env, mm_sys_name(region->base, region->length, name));
}

/* limit(resource): the soft limit in bytes, -1 when there is none. */
static napi_value limit(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  int resource = mm_arg_int(&args, 0);
  double value = -1;
  if (args.failed) return NULL;
  int result = mm_sys_limit(resource, &value);
  return mm_number(env, result == 0 ? value : -1);
}

/* threadId(): the kernel's number of this thread, gettid(2). */
static napi_value thread_id(napi_env env, napi_callback_info info) {
  (void)info;
  return mm_number(env, mm_sys_thread());
}

static napi_value advice_supported(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  int advice = mm_arg_int(&args, 0);
  return args.failed ? NULL : mm_boolean(env, mm_advice_supported(advice));
}

/* failCall(name, nth, errno): for tests, see mm_sys_fail. */
static napi_value fail_call(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  char name[NAME_MAX_BYTES];
  (void)mm_arg_string(&args, 0, name, sizeof name);
  int nth = mm_arg_int(&args, 1);
  int error = mm_arg_int(&args, 2);
  return args.failed ? NULL : mm_boolean(env, mm_sys_fail(name, nth, error));
}

const struct mm_export mm_file_exports[] = {
    {"resizeMemory", resize_memory},
    {"allocate", allocate},
    {"hugePageSize", huge_page_size},
    {"mayWrite", may_write},
    {"seek", seek},
    {"openDescriptor", open_descriptor},
    {"lockDescriptor", lock_descriptor},
    {"linkDescriptor", link_descriptor},
    {"name", name_region},
    {"limit", limit},
    {"threadId", thread_id},
    {"failCall", fail_call},
    {"adviceSupported", advice_supported},
    {NULL, NULL},
};
