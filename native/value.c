/* SPDX-License-Identifier: MIT
 *
 * Between JavaScript values and C: reads arguments, makes results. The only file that throws, and
 * what it throws is a mistake of our own TypeScript, which checks every argument of a user before
 * it comes here. Runs on the JavaScript thread only.
 */
#include "memmap.h"

#include <math.h>
#include <stdlib.h>

#define HANDLE_MAGIC 0x6d6d6864u /* "mmhd" */

/* Throws an internal error, unless an exception is pending already; returns NULL for the caller to
 * return. */
napi_value mm_throw(napi_env env, const char *message) {
  bool pending = false;
  if (napi_is_exception_pending(env, &pending) == napi_ok && !pending) {
    (void)napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", message);
  }
  return NULL;
}

struct mm_args mm_args_read(napi_env env, napi_callback_info info) {
  struct mm_args args = {.env = env, .count = MM_ARGS_MAX, .failed = false};
  if (napi_get_cb_info(env, info, &args.count, args.value, NULL, NULL) != napi_ok) {
    args.count = 0;
  }
  return args;
}

static void fail(struct mm_args *args, const char *message) {
  args->failed = true;
  (void)mm_throw(args->env, message);
}

double mm_arg_number(struct mm_args *args, size_t index) {
  double value = 0;
  if (index >= args->count ||
      napi_get_value_double(args->env, args->value[index], &value) != napi_ok) {
    fail(args, "memmap native: expected a number");
  }
  return value;
}

int mm_arg_int(struct mm_args *args, size_t index) {
  double value = mm_arg_number(args, index);
  if (!args->failed && value >= -2147483648.0 && value <= 2147483647.0 && value == floor(value)) {
    return (int)value;
  }
  fail(args, "memmap native: expected a 32-bit integer");
  return 0;
}

/* Sizes and offsets: safe integers, as a double holds them exactly. */
size_t mm_arg_size(struct mm_args *args, size_t index) {
  double value = mm_arg_number(args, index);
  if (!args->failed && value >= 0 && value <= 9007199254740991.0 && value == floor(value)) {
    return (size_t)value;
  }
  fail(args, "memmap native: expected a size");
  return 0;
}

bool mm_arg_bool(struct mm_args *args, size_t index) {
  bool value = false;
  if (index >= args->count ||
      napi_get_value_bool(args->env, args->value[index], &value) != napi_ok) {
    fail(args, "memmap native: expected a boolean");
  }
  return value;
}

/* A bigint of 64 bits. */
uint64_t mm_arg_u64(struct mm_args *args, size_t index) {
  uint64_t value = 0;
  bool lossless = false;
  if (index >= args->count || napi_get_value_bigint_uint64(args->env, args->value[index], &value,
                                                           &lossless) != napi_ok ||
      !lossless) {
    fail(args, "memmap native: expected a bigint of 64 bits");
  }
  return value;
}

int64_t mm_arg_i64(struct mm_args *args, size_t index) {
  int64_t value = 0;
  bool lossless = false;
  if (index >= args->count || napi_get_value_bigint_int64(args->env, args->value[index], &value,
                                                          &lossless) != napi_ok ||
      !lossless) {
    fail(args, "memmap native: expected a signed bigint of 64 bits");
  }
  return value;
}

void *mm_arg_address(struct mm_args *args, size_t index) {
  /* SAFETY: an address is handed to the kernel, never followed here. */
  return (void *)(uintptr_t)mm_arg_u64(args, index);
}

struct mm_handle *mm_arg_handle(struct mm_args *args, size_t index) {
  void *value = NULL;
  if (index < args->count &&
      napi_get_value_external(args->env, args->value[index], &value) == napi_ok && value != NULL) {
    struct mm_handle *handle = value;
    /* SAFETY: only native.ts holds externals of this addon; the mark guards against another's. */
    if (handle->magic == HANDLE_MAGIC) return handle;
  }
  fail(args, "memmap native: expected a region");
  return NULL;
}

struct mm_region *mm_arg_region(struct mm_args *args, size_t index) {
  struct mm_handle *handle = mm_arg_handle(args, index);
  return handle == NULL ? NULL : handle->region;
}

/* The arguments of mmap(2) in its order from `first` on, the page size, and whether the region
 * keeps a descriptor; for the calling environment. */
struct mm_map_request mm_arg_request(struct mm_args *args, size_t first) {
  struct mm_map_request request = {
      .owner = mm_env_of(args->env),
      .hint = mm_arg_address(args, first),
      .length = mm_arg_size(args, first + 1),
      .prot = mm_arg_int(args, first + 2),
      .flags = mm_arg_int(args, first + 3),
      .fd = mm_arg_int(args, first + 4),
      .offset = (off_t)mm_arg_size(args, first + 5),
      .page = mm_arg_size(args, first + 6),
      .keep = mm_arg_bool(args, first + 7),
  };
  return request;
}

bool mm_arg_bytes(struct mm_args *args, size_t index, uint8_t **bytes, size_t *length) {
  napi_typedarray_type type;
  void *data = NULL;
  if (index >= args->count ||
      napi_get_typedarray_info(args->env, args->value[index], &type, length, &data, NULL, NULL) !=
          napi_ok ||
      type != napi_uint8_array) {
    fail(args, "memmap native: expected a Uint8Array");
    return false;
  }
  *bytes = data;
  return true;
}

bool mm_arg_string(struct mm_args *args, size_t index, char *out, size_t capacity) {
  size_t length = 0;
  if (index >= args->count || napi_get_value_string_utf8(args->env, args->value[index], out,
                                                         capacity, &length) != napi_ok) {
    fail(args, "memmap native: expected a string");
    return false;
  }
  return true;
}

/* A string of any length; the caller frees it. NULL when `failed`. */
char *mm_arg_text(struct mm_args *args, size_t index) {
  size_t length = 0;
  if (index < args->count && napi_get_value_string_utf8(args->env, args->value[index], NULL, 0,
                                                        &length) == napi_ok) {
    char *text = malloc(length + 1);
    if (text != NULL && mm_arg_string(args, index, text, length + 1)) return text;
    free(text);
  }
  fail(args, "memmap native: expected a string");
  return NULL;
}

napi_value mm_number(napi_env env, double value) {
  napi_value result = NULL;
  (void)napi_create_double(env, value, &result);
  return result;
}

napi_value mm_boolean(napi_env env, bool value) {
  napi_value result = NULL;
  (void)napi_get_boolean(env, value, &result);
  return result;
}

napi_value mm_undefined(napi_env env) {
  napi_value result = NULL;
  (void)napi_get_undefined(env, &result);
  return result;
}

napi_value mm_address(napi_env env, const void *address) {
  napi_value result = NULL;
  (void)napi_create_bigint_uint64(env, (uint64_t)(uintptr_t)address, &result);
  return result;
}

static void region_collected(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  mm_region_collected(data);
}

/* Wraps a region; the handle takes over the hold that made it or attached to it. When the handle
 * cannot be made, the hold is given up. */
napi_value mm_region_value(napi_env env, struct mm_region *region) {
  napi_value value = NULL;
  struct mm_handle *handle = malloc(sizeof *handle);
  mm_region_ref(region);
  if (handle == NULL) {
    struct mm_handle none = {.magic = HANDLE_MAGIC, .closed = false, .region = region};
    mm_region_close(&none, false);
    mm_region_unref(region);
    return mm_throw(env, "memmap native: out of memory");
  }
  struct mm_env *state = mm_env_of(env);
  *handle = (struct mm_handle){.magic = HANDLE_MAGIC, .closed = false, .region = region};
  handle->env = state;
  handle->next = state->open;
  handle->link = &state->open;
  if (state->open != NULL) state->open->link = &handle->next;
  state->open = handle;
  if (napi_create_external(env, handle, region_collected, NULL, &value) == napi_ok) return value;
  mm_region_collected(handle);
  return mm_throw(env, "memmap native: cannot create a handle");
}
