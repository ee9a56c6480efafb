/* SPDX-License-Identifier: MIT
 *
 * Who is told of a fault, without an engine: the few functions of Node-API that notice.c calls
 * stand here, and count. A test waits for what must come; what must not come has had its chance
 * when a later notice has arrived.
 */
#include "check.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>

/* An environment and what it was told; `state` is first, so that one is found by the other. */
struct listener {
  struct mm_env state;
  atomic_int told;
};

/* ---- the engine ---------------------------------------------------------------------------- */

struct mm_env *mm_env_of(napi_env env) { return (struct mm_env *)(void *)env; }

struct mm_args mm_args_read(napi_env env, napi_callback_info info) {
  (void)info;
  return (struct mm_args){.env = env, .count = 1};
}

napi_value mm_throw(napi_env env, const char *message) {
  (void)env;
  fprintf(stderr, "thrown: %s\n", message);
  abort();
}

/* A number is a pointer of its value, one more so that 0 is none. */
napi_value mm_number(napi_env env, double value) {
  (void)env;
  return (napi_value)(uintptr_t)((int64_t)value + 1);
}

napi_status napi_create_string_utf8(napi_env env, const char *text, size_t length,
                                    napi_value *out) {
  (void)env;
  (void)length;
  *out = (napi_value)(uintptr_t)text;
  return napi_ok;
}

napi_status napi_create_threadsafe_function(napi_env env, napi_value function, napi_value resource,
                                            napi_value name, size_t queue, size_t threads,
                                            void *data, napi_finalize finalize, void *context,
                                            napi_threadsafe_function_call_js call,
                                            napi_threadsafe_function *out) {
  (void)function, (void)resource, (void)name, (void)queue, (void)threads;
  (void)data, (void)finalize, (void)context, (void)call;
  *out = (napi_threadsafe_function)(void *)env;
  return napi_ok;
}

napi_status napi_unref_threadsafe_function(node_api_basic_env env, napi_threadsafe_function call) {
  (void)env;
  (void)call;
  return napi_ok;
}

napi_status napi_call_threadsafe_function(napi_threadsafe_function call, void *data,
                                          napi_threadsafe_function_call_mode mode) {
  (void)data;
  CHECK(mode == napi_tsfn_nonblocking);
  struct listener *listener = (struct listener *)(void *)call;
  atomic_fetch_add(&listener->told, 1);
  return napi_ok;
}

napi_status napi_release_threadsafe_function(napi_threadsafe_function call,
                                             napi_threadsafe_function_release_mode mode) {
  (void)call;
  CHECK(mode == napi_tsfn_abort);
  return napi_ok;
}

/* ---- the tests ----------------------------------------------------------------------------- */

static void listen_as(struct listener *listener) {
  napi_value answer = mm_on_faults((napi_env)(void *)&listener->state, NULL);
  CHECK(answer == mm_number(NULL, 0));
  CHECK(listener->state.told != NULL);
}

/* Waits for the next notice of a listener, which must be the only one. */
static void await_notice(struct listener *listener) {
  while (atomic_load(&listener->told) == 0) sched_yield();
  CHECK(atomic_exchange(&listener->told, 0) >= 1);
}

/* A mapping of an environment whose every touch is a fault. */
static struct mm_handle *forbidden(struct listener *owner) {
  struct mm_map_request request = {
      .owner = &owner->state,
      .length = 4 * mm_sys_page_size(),
      .page = mm_sys_page_size(),
      .prot = PROT_NONE,
      .flags = MAP_ANONYMOUS | MAP_PRIVATE,
      .fd = -1,
  };
  return map_request(&request);
}

static void *touch(void *at) {
  (void)peek(at);
  return NULL;
}

static void touch_on_another_thread(uint8_t *at) {
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, touch, at) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
}

/* Another environment, on a thread of its own, that listens, touches memory, and ends. */
struct visit {
  struct listener *listener;
  uint8_t *at;
};

static void *visit(void *argument) {
  const struct visit *visit = argument;
  listen_as(visit->listener);
  (void)peek(visit->at);
  await_notice(visit->listener);
  mm_notice_end(&visit->listener->state);
  CHECK(visit->listener->state.told == NULL);
  mm_notice_end(&visit->listener->state); /* a second time does nothing */
  return NULL;
}

static size_t node_count(void) {
  size_t count = 0;
  struct mm_listener *node = atomic_load(&mm_guard()->listeners);
  for (; node != NULL; node = node->next) count++;
  return count;
}

void test_notices(void) {
  static struct listener first, second, silent;
  size_t page = mm_sys_page_size();
  size_t before = node_count();
  listen_as(&first);
  struct mm_handle *own = forbidden(&first);
  struct mm_handle *others = forbidden(&silent);

  /* The thread that touched is told, whoever mapped; what is served at once is no fault. */
  (void)peek(own->region->base);
  await_notice(&first);
  (void)peek(others->region->base);
  await_notice(&first);
  /* Another thread touches: who mapped is told; where that one does not listen, nobody. */
  touch_on_another_thread(own->region->base + page);
  await_notice(&first);
  touch_on_another_thread(others->region->base + page);
  touch_on_another_thread(own->region->base + 2 * page);
  await_notice(&first);

  /* A worker touches: the worker is told, and the one that mapped. */
  struct visit plan = {.listener = &second, .at = own->region->base + 3 * page};
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, visit, &plan) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  await_notice(&first);
  CHECK(node_count() == before + 2);
  /* The next worker takes the place of the one that has ended. */
  plan.at = others->region->base + 2 * page;
  CHECK(pthread_create(&thread, NULL, visit, &plan) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(node_count() == before + 2);
  CHECK(atomic_load(&second.told) == 0);

  mm_notice_end(&first.state);
  (void)peek(others->region->base + 3 * page);
  CHECK(told(own->region->slot, 4, own->region->base, false, MM_FAULT_PROTECTED));
  CHECK(told(others->region->slot, 4, others->region->base, false, MM_FAULT_PROTECTED));
  end_mapping(own);
  end_mapping(others);
  CHECK(atomic_load(&first.told) == 0 && atomic_load(&silent.told) == 0);
}
