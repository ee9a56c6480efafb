/* SPDX-License-Identifier: MIT
 *
 * The entry of the addon: called once in each JavaScript environment (main thread, worker). Makes
 * the environment's state and hands out the functions and constants; knows nothing else.
 */
#include "area.h"

#include <stdlib.h>

/* The state of the calling environment; set before any other function can be called. */
struct mm_env *mm_env_of(napi_env env) {
  void *state = NULL;
  (void)napi_get_instance_data(env, &state);
  return state;
}

/* Gives up one claim on an environment's state; the last one frees it. Any thread. */
void mm_env_unref(struct mm_env *state) {
  if (atomic_fetch_sub(&state->refs, 1) == 1) free(state);
}

/* Runs before the finalizers of the environment, since hooks run in reverse order. */
static void env_ending(void *data) {
  struct mm_env *state = data;
  atomic_store(&state->ending, true);
  mm_notice_end(state);
  mm_futex_env_ending(state);
  mm_region_env_ending(state);
  mm_job_env_ending(state);
  mm_view_env_ending(state);
  mm_area_env_ending(state);
  mm_env_unref(state);
}

static void env_ended(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  mm_env_unref(data);
}

static bool export_all(napi_env env, napi_value exports, const struct mm_export *table) {
  for (; table->name != NULL; table++) {
    napi_value function = NULL;
    if (napi_create_function(env, table->name, NAPI_AUTO_LENGTH, table->call, NULL, &function) !=
            napi_ok ||
        napi_set_named_property(env, exports, table->name, function) != napi_ok) {
      return false;
    }
  }
  return true;
}

NAPI_MODULE_INIT(/* napi_env env, napi_value exports */) {
  struct mm_env *state = malloc(sizeof *state);
  if (state == NULL) return mm_throw(env, "memmap native: out of memory");
  atomic_init(&state->refs, 2); /* the instance data, and the hook */
  atomic_init(&state->ending, false);
  state->told = NULL;
  state->open = NULL;
  state->jobs = NULL;
  state->waits = NULL;
  state->views = NULL;
  state->env = env;
  state->exact = false;
  state->engine = false;
  if (napi_set_instance_data(env, state, env_ended, NULL) != napi_ok) {
    free(state);
    return mm_throw(env, "memmap native: cannot keep its state");
  }
  (void)napi_add_env_cleanup_hook(env, env_ending, state);
  napi_value page_size = mm_number(env, (double)mm_sys_page_size());
  if (!export_all(env, exports, mm_map_exports) || !export_all(env, exports, mm_page_exports) ||
      !export_all(env, exports, mm_fault_exports) ||
      !export_all(env, exports, mm_file_exports) || !export_all(env, exports, mm_job_exports) ||
      !export_all(env, exports, mm_raw_exports) || !export_all(env, exports, mm_futex_exports) ||
      napi_set_named_property(env, exports, "constants", mm_constants(env)) != napi_ok ||
      napi_set_named_property(env, exports, "errnoNames", mm_errno_names(env)) != napi_ok ||
      napi_set_named_property(env, exports, "pageSize", page_size) != napi_ok) {
    return mm_throw(env, "memmap native: cannot export its functions");
  }
  return exports;
}
