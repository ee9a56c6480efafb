/* SPDX-License-Identifier: MIT
 *
 * What JavaScript calls to make, view, resize and close a region. Runs on the JavaScript thread
 * only; owns the views (external ArrayBuffers) and their ends.
 */
#include "memmap.h"

#include <errno.h>
#include <stdlib.h>

/* One ArrayBuffer over a region. Freed by its finalizer. */
struct view {
  struct mm_region *region;
  struct mm_env *state;
  enum { VIEW_CREATING, VIEW_LIVE, VIEW_REFUSED, VIEW_ENDED } stage;
};

/* Reads the six arguments of mmap(2) from `first` on. */
static struct mm_map_request request_of(struct mm_args *args, size_t first) {
  struct mm_map_request request = {
      .hint = mm_arg_address(args, first),
      .length = mm_arg_size(args, first + 1),
      .prot = mm_arg_int(args, first + 2),
      .flags = mm_arg_int(args, first + 3),
      .fd = mm_arg_int(args, first + 4),
      .offset = (off_t)mm_arg_size(args, first + 5),
  };
  return request;
}

/* map(hint, length, prot, flags, fd, offset): a region, or a negative errno. */
static napi_value map(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  struct mm_map_request request = request_of(&args, 0);
  struct mm_region *region;
  if (args.failed) return NULL;
  int result = mm_region_create(&request, &region);
  return result == 0 ? mm_region_value(env, region) : mm_number(env, result);
}

/* address(region): where it begins. */
static napi_value address(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  struct mm_region *region = mm_arg_region(&args, 0);
  return args.failed ? NULL : mm_address(env, region->base);
}

/* The engine has let a view go. */
static void view_ended(napi_env env, void *data, void *hint) {
  (void)env;
  (void)data;
  struct view *view = hint;
  if (view->stage == VIEW_CREATING) { /* refused: the caller still holds the claims */
    view->stage = VIEW_ENDED;
    return;
  }
  if (view->stage == VIEW_LIVE) {
    bool detached = atomic_load(&view->region->grace);
    if (atomic_load(&view->state->ending) && !detached) mm_region_abandon(view->region);
    else mm_region_unuse(view->region);
    mm_env_unref(view->state);
  }
  free(view);
}

/* Ends a view whose ArrayBuffer was refused. Some engines have called, or will call, its finalizer
 * all the same. */
static void refuse_view(struct view *view) {
  bool ended = view->stage == VIEW_ENDED;
  mm_region_unuse(view->region);
  mm_env_unref(view->state);
  view->stage = VIEW_REFUSED;
  if (ended) free(view);
}

/* view(region, offset, length): an ArrayBuffer over bytes of the region, or -ENOTSUP where the
 * runtime takes no external memory, -ENOMEM where it has no room. */
static napi_value view(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  struct mm_region *region = mm_arg_region(&args, 0);
  size_t offset = mm_arg_size(&args, 1);
  size_t length = mm_arg_size(&args, 2);
  napi_value buffer = NULL;
  if (args.failed) return NULL;
  if (region->closed || !mm_region_holds(region, offset, length)) return mm_number(env, -EINVAL);
  struct view *view = malloc(sizeof *view);
  if (view == NULL) return mm_number(env, -ENOMEM);
  *view = (struct view){.region = region, .state = mm_env_of(env), .stage = VIEW_CREATING};
  mm_region_use(region);
  atomic_fetch_add(&view->state->refs, 1);
  napi_status status = napi_create_external_arraybuffer(env, region->base + offset, length,
                                                        view_ended, view, &buffer);
  if (status == napi_ok) {
    view->stage = VIEW_LIVE;
    region->viewed = true;
    return buffer;
  }
  napi_value pending;
  refuse_view(view);
  (void)napi_get_and_clear_last_exception(env, &pending);
  bool refused = status == napi_no_external_buffers_allowed;
  return mm_number(env, refused ? -ENOTSUP : -ENOMEM);
}

/* close(region, detached): see mm_region_close. */
static napi_value close_region(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  struct mm_region *region = mm_arg_region(&args, 0);
  bool detached = mm_arg_bool(&args, 1);
  if (args.failed) return NULL;
  mm_region_close(region, detached);
  return mm_undefined(env);
}

/* resize(region, length): the new region, or a negative errno and nothing changed. */
static napi_value resize(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  struct mm_region *region = mm_arg_region(&args, 0);
  size_t length = mm_arg_size(&args, 1);
  struct mm_region *resized;
  if (args.failed) return NULL;
  int result = region->closed ? -EINVAL : mm_region_resize(region, length, &resized);
  return result == 0 ? mm_region_value(env, resized) : mm_number(env, result);
}

/* keep(region, fd): the region owns the descriptor from now on. */
static napi_value keep(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  struct mm_region *region = mm_arg_region(&args, 0);
  int fd = mm_arg_int(&args, 1);
  if (args.failed) return NULL;
  if (region->fd >= 0) (void)mm_sys_close(region->fd);
  region->fd = fd;
  return mm_undefined(env);
}

/* adopt(region, other): the descriptor of another region becomes this one's. */
static napi_value adopt(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  struct mm_region *region = mm_arg_region(&args, 0);
  struct mm_region *other = mm_arg_region(&args, 1);
  if (args.failed) return NULL;
  region->fd = other->fd;
  other->fd = -1;
  return mm_undefined(env);
}

/* descriptor(region): the descriptor it owns, or -1. */
static napi_value descriptor(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  struct mm_region *region = mm_arg_region(&args, 0);
  return args.failed ? NULL : mm_number(env, region->fd);
}

/* detach(buffer): whether the engine let go of its memory. */
static napi_value detach(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  if (args.count < 1) return mm_boolean(env, false);
  return mm_boolean(env, napi_detach_arraybuffer(env, args.value[0]) == napi_ok);
}

/* retiredBytes(): addresses of closed mappings that are not free yet. */
static napi_value retired_bytes(napi_env env, napi_callback_info info) {
  (void)info;
  return mm_number(env, (double)mm_retire_bytes());
}

/* releaseRetired(): gives them back before their time; for tests. */
static napi_value release_retired(napi_env env, napi_callback_info info) {
  (void)info;
  mm_retire_sweep(true);
  return mm_undefined(env);
}

const struct mm_export mm_map_exports[] = {
    {"map", map},
    {"address", address},
    {"view", view},
    {"close", close_region},
    {"resize", resize},
    {"keep", keep},
    {"adopt", adopt},
    {"descriptor", descriptor},
    {"detach", detach},
    {"retiredBytes", retired_bytes},
    {"releaseRetired", release_retired},
    {NULL, NULL},
};
