/* SPDX-License-Identifier: MIT
 *
 * What JavaScript calls to make, view, resize and close a region. Runs on the JavaScript thread
 * only; owns the views (external ArrayBuffers) and their ends.
 */
#include "memmap.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>

/* One buffer that Node-API made over a region. Freed by its finalizer. */
struct mm_view {
  struct mm_region *region;
  struct mm_env *state;
  enum { VIEW_CREATING, VIEW_LIVE, VIEW_REFUSED, VIEW_ENDED } stage;
  napi_ref buffer;               /* weak: asked at the end of the environment */
  bool escaped;                  /* its memory was transferred to a buffer out of reach */
  struct mm_view *next, **link;  /* the views of the environment */
};

/* map(hint, length, prot, flags, fd, offset, page, keep): a region, or a negative errno. */
static napi_value map(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  struct mm_map_request request = mm_arg_request(&args, 0);
  struct mm_region *region;
  if (args.failed) return NULL;
  int result = mm_region_create(&request, &region);
  return result == 0 ? mm_region_value(env, region) : mm_number(env, result);
}

/* mapMemory(name, memoryFlags, hint, length, prot, flags, fd, offset, page, keep): a region over a
 * new memory object, whose descriptor it keeps; or the negative errno of mmap, or that of
 * memfd_create less MEMORY_FAILED. One call, so that a worker that is terminated between two leaves
 * none behind. */
#define MEMORY_FAILED 65536

static napi_value map_memory(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  char name[256];
  (void)mm_arg_string(&args, 0, name, sizeof name);
  int flags = mm_arg_int(&args, 1);
  struct mm_map_request request = mm_arg_request(&args, 2);
  struct mm_region *region;
  if (args.failed) return NULL;
  int fd = mm_sys_memory(name, (unsigned)flags, (off_t)request.length);
  if (fd < 0) return mm_number(env, fd - MEMORY_FAILED);
  request.fd = fd;
  request.keep = false;
  int result = mm_region_create(&request, &region);
  if (result != 0) {
    (void)mm_sys_close(fd);
    return mm_number(env, result);
  }
  region->fd = fd;
  return mm_region_value(env, region);
}

/* address(region): where it begins. */
static napi_value address(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  struct mm_region *region = mm_arg_region(&args, 0);
  return args.failed ? NULL : mm_address(env, region->base);
}

/* A view that ends with its environment. What no other thread can reach is kept for operations that
 * are still under way; what was transferred away stays reserved. */
static void end_late(struct mm_view *view) {
  struct mm_region *region = view->region;
  bool exact = view->state->exact;
  if (region->slot == NULL) { /* of the raw door: it has no memory of its own to be covered */
    if (exact) mm_region_unuse(region);
    else if (!view->escaped) mm_retire_view(region);
    return; /* with its use still counted: the view keeps its addresses for good */
  }
  if (view->escaped && !exact && !atomic_load(&region->grace)) {
    mm_region_abandon(region);
    return;
  }
  atomic_store(&region->grace, true);
  if (atomic_load(&region->opens) == 0) (void)mm_guard_cover(region->slot);
  mm_region_unuse(region);
}

/* The engine has let a view go. */
static void view_ended(napi_env env, void *data, void *hint) {
  (void)data;
  struct mm_view *view = hint;
  if (view->stage == VIEW_CREATING) { /* refused: the caller still holds the claims */
    view->stage = VIEW_ENDED;
    return;
  }
  if (view->stage == VIEW_LIVE) {
    *view->link = view->next;
    if (view->next != NULL) view->next->link = view->link;
    if (atomic_load(&view->state->ending)) {
      end_late(view);
    } else {
      if (view->buffer != NULL) (void)napi_delete_reference(env, view->buffer);
      mm_region_unuse(view->region);
    }
    mm_env_unref(view->state);
  }
  free(view);
}

/* The environment ends. Its finalizers say nothing then about a buffer whose memory was transferred
 * to another: such a one is detached, and that can be seen while the environment still stands. */
void mm_view_env_ending(struct mm_env *state) {
  napi_handle_scope scope;
  if (state->views == NULL || state->exact) return;
  if (napi_open_handle_scope(state->env, &scope) != napi_ok) return;
  for (struct mm_view *view = state->views; view != NULL; view = view->next) {
    napi_value buffer = NULL;
    bool detached = true;
    if (napi_get_reference_value(state->env, view->buffer, &buffer) != napi_ok) continue;
    if (buffer == NULL) continue;
    if (napi_is_detached_arraybuffer(state->env, buffer, &detached) != napi_ok) continue;
    view->escaped = detached;
  }
  (void)napi_close_handle_scope(state->env, scope);
}

/* Ends a view whose ArrayBuffer was refused. Some engines have called, or will call, its finalizer
 * all the same. */
static void refuse_view(struct mm_view *view) {
  bool ended = view->stage == VIEW_ENDED;
  mm_region_unuse(view->region);
  mm_env_unref(view->state);
  view->stage = VIEW_REFUSED;
  if (ended) free(view);
}

/* A SharedArrayBuffer through Node-API ends without an environment. */
static void shared_view_ended(void *data, void *hint) {
  (void)data;
  mm_region_unuse(hint);
}

/* Not in the headers yet: Node 22.23.3, 24.16, 26.1 and Bun export it. */
typedef void (*ended_call)(void *data, void *hint);
typedef napi_status (*create_shared_call)(napi_env, void *, size_t, ended_call, void *,
                                          napi_value *);

static create_shared_call find_create_shared(void) {
  /* POSIX lets a function pointer go through an object pointer here (dlsym, RATIONALE). */
  void *found = dlsym(RTLD_DEFAULT, "node_api_create_external_sharedarraybuffer");
  return (create_shared_call)(uintptr_t)found;
}

/* An ArrayBuffer through Node-API: 0, or -ENOTSUP where the runtime takes no external memory,
 * -ENOMEM where it has no room. */
static int plain_view(napi_env env, const struct mm_buffer *plan, napi_value *out) {
  struct mm_region *region = plan->data;
  struct mm_view *view = malloc(sizeof *view);
  if (view == NULL) return -ENOMEM;
  struct mm_env *state = mm_env_of(env);
  *view = (struct mm_view){.region = region, .state = state, .stage = VIEW_CREATING};
  view->escaped = true; /* until it is known */
  mm_region_use(region);
  atomic_fetch_add(&view->state->refs, 1);
  napi_status status =
      napi_create_external_arraybuffer(env, plan->base, plan->length, view_ended, view, out);
  if (status == napi_ok) {
    view->stage = VIEW_LIVE;
    view->next = state->views;
    view->link = &state->views;
    if (state->views != NULL) state->views->link = &view->next;
    state->views = view;
    if (!state->exact) (void)napi_create_reference(env, *out, 0, &view->buffer);
    return 0;
  }
  napi_value pending;
  refuse_view(view);
  (void)napi_get_and_clear_last_exception(env, &pending);
  return status == napi_no_external_buffers_allowed ? -ENOTSUP : -ENOMEM;
}

static int shared_view(napi_env env, const struct mm_buffer *plan, napi_value *out) {
  struct mm_region *region = plan->data;
  create_shared_call create = find_create_shared();
  if (create == NULL) return -ENOTSUP;
  mm_region_use(region);
  if (create(env, plan->base, plan->length, shared_view_ended, region, out) == napi_ok) return 0;
  napi_value pending;
  mm_region_unuse(region);
  (void)napi_get_and_clear_last_exception(env, &pending);
  return -ENOMEM;
}

static void engine_view_ended(void *region) { mm_region_unuse(region); }

static int engine_view(const struct mm_buffer *plan, napi_value *out) {
  struct mm_region *region = plan->data;
  mm_region_use(region);
  *out = mm_engine_buffer(plan);
  if (*out != NULL) return 0;
  mm_region_unuse(region);
  return -ENOMEM;
}

/* Makes a buffer over bytes of a region, in the way of this runtime: 0 or a negative errno. */
int mm_region_buffer(napi_env env, const struct mm_view_plan *plan, napi_value *out) {
  struct mm_buffer buffer = {
      .kind = plan->shared ? MM_BUFFER_SHARED : MM_BUFFER_PLAIN,
      .base = plan->region->base + plan->offset,
      .length = plan->length,
      .ended = engine_view_ended,
      .data = plan->region,
  };
  if (mm_env_of(env)->engine) return engine_view(&buffer, out);
  return plan->shared ? shared_view(env, &buffer, out) : plain_view(env, &buffer, out);
}

/* view(region, offset, length, shared): a buffer over bytes of the region, or a negative errno. */
static napi_value view(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  struct mm_region *region = mm_arg_region(&args, 0);
  struct mm_view_plan plan = {
      .region = region,
      .offset = mm_arg_size(&args, 1),
      .length = mm_arg_size(&args, 2),
      .shared = mm_arg_bool(&args, 3),
  };
  napi_value buffer = NULL;
  if (args.failed) return NULL;
  if (region->closed || !mm_region_holds(region, plan.offset, plan.length)) {
    return mm_number(env, -EINVAL);
  }
  int result = mm_region_buffer(env, &plan, &buffer);
  if (result != 0) return mm_number(env, result);
  region->viewed = true;
  return buffer;
}

/* useEngine(): whether buffers are made by the engine from now on in this environment. */
static napi_value use_engine(napi_env env, napi_callback_info info) {
  (void)info;
  struct mm_env *state = mm_env_of(env);
  state->engine = mm_engine_use();
  return mm_boolean(env, state->engine);
}

/* exactEnds(): the finalizers of this runtime follow memory that was transferred, so none comes
 * early. */
static napi_value exact_ends(napi_env env, napi_callback_info info) {
  (void)info;
  mm_env_of(env)->exact = true;
  return mm_undefined(env);
}

/* canShare(): whether this environment can make a SharedArrayBuffer over mapped memory. */
static napi_value can_share(napi_env env, napi_callback_info info) {
  (void)info;
  return mm_boolean(env, mm_env_of(env)->engine || find_create_shared() != NULL);
}

/* close(region, detached): see mm_region_close. */
static napi_value close_region(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  struct mm_handle *handle = mm_arg_handle(&args, 0);
  bool detached = mm_arg_bool(&args, 1);
  if (args.failed) return NULL;
  mm_region_close(handle, detached);
  return mm_undefined(env);
}

/* resize(region, length, anew): the new region, or a negative errno and nothing changed. */
static napi_value resize(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  struct mm_region *region = mm_arg_region(&args, 0);
  size_t length = mm_arg_size(&args, 1);
  bool anew = mm_arg_bool(&args, 2);
  struct mm_region *resized;
  if (args.failed) return NULL;
  int result = region->closed ? -EINVAL : mm_region_resize(region, length, anew, &resized);
  return result == 0 ? mm_region_value(env, resized) : mm_number(env, result);
}

/* byteLength(region): its bytes, whole pages. */
static napi_value byte_length(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  struct mm_region *region = mm_arg_region(&args, 0);
  return args.failed ? NULL : mm_number(env, (double)region->length);
}

/* pageBytes(region): the bytes in a page of it. */
static napi_value page_bytes(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  struct mm_region *region = mm_arg_region(&args, 0);
  return args.failed ? NULL : mm_number(env, (double)region->page);
}

/* share(region): its number in the table of shared regions. */
static napi_value share(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  struct mm_region *region = mm_arg_region(&args, 0);
  return args.failed ? NULL : mm_number(env, mm_region_share(region));
}

/* attach(id): a region over the memory of a shared one, or a negative errno. */
static napi_value attach(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  size_t id = mm_arg_size(&args, 0);
  struct mm_region *region;
  if (args.failed) return NULL;
  int result = mm_guard_install();
  if (result == 0) result = mm_region_attach((uint32_t)id, mm_env_of(env), &region);
  return result == 0 ? mm_region_value(env, region) : mm_number(env, result);
}

/* holders(region): how many mappings hold it open. */
static napi_value holders(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  struct mm_region *region = mm_arg_region(&args, 0);
  return args.failed ? NULL : mm_number(env, atomic_load(&region->opens));
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

/* keptRanges(): where the addresses lie that stay reserved for good, as [start, end]; for tests. */
static napi_value kept_ranges(napi_env env, napi_callback_info info) {
  (void)info;
  napi_value ranges = NULL;
  uint32_t count = 0;
  if (napi_create_array(env, &ranges) != napi_ok) return mm_throw(env, "memmap native: no array");
  for (const struct mm_kept *entry = mm_retire_kept(); entry != NULL; entry = entry->next) {
    const uint8_t *base = (const uint8_t *)entry->base;
    napi_value range = NULL;
    napi_handle_scope scope;
    if (napi_open_handle_scope(env, &scope) != napi_ok) break;
    (void)napi_create_array(env, &range);
    (void)napi_set_element(env, range, 0, mm_address(env, base));
    (void)napi_set_element(env, range, 1, mm_address(env, base + entry->length));
    (void)napi_set_element(env, ranges, count++, range);
    (void)napi_close_handle_scope(env, scope);
  }
  return ranges;
}

const struct mm_export mm_map_exports[] = {
    {"map", map},
    {"mapMemory", map_memory},
    {"address", address},
    {"view", view},
    {"useEngine", use_engine},
    {"exactEnds", exact_ends},
    {"canShare", can_share},
    {"close", close_region},
    {"resize", resize},
    {"byteLength", byte_length},
    {"pageBytes", page_bytes},
    {"share", share},
    {"attach", attach},
    {"holders", holders},
    {"adopt", adopt},
    {"descriptor", descriptor},
    {"detach", detach},
    {"retiredBytes", retired_bytes},
    {"releaseRetired", release_retired},
    {"keptRanges", kept_ranges},
    {NULL, NULL},
};
