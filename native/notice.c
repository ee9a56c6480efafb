/* SPDX-License-Identifier: MIT
 *
 * Tells JavaScript that faults have happened. The handler cannot call an engine; it rings a bell
 * (an eventfd), on which one thread of the guard waits, and that thread queues the call to each
 * environment concerned.
 *
 *     handler --write--> bell --read--> the guard's thread --threadsafe function--> event loop
 *
 * The thread is started with the first listener and lives as long as the process. It takes the
 * guard's lock, so that no listener goes while it is called; it blocks all signals, so that nothing
 * runs on it but this.
 */
#include "guard.h"
#include "memmap.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static void *listen_to_bell(void *data) {
  struct mm_guard *guard = data;
  for (;;) {
    uint64_t rings;
    if (read(guard->bell, &rings, sizeof rings) < 0 && errno != EINTR) return NULL;
    (void)pthread_mutex_lock(&guard->lock);
    struct mm_listener *listener = atomic_load(&guard->listeners);
    for (; listener != NULL; listener = listener->next) {
      if (listener->owner != NULL && atomic_exchange(&listener->pending, false)) {
        listener->tell(listener->owner);
      }
    }
    (void)pthread_mutex_unlock(&guard->lock);
  }
}

/* Starts the thread, once; under `lock`. */
static int start_thread(struct mm_guard *guard) {
  pthread_t thread;
  sigset_t all, saved;
  if (guard->listening) return 0;
  sigfillset(&all);
  (void)pthread_sigmask(SIG_SETMASK, &all, &saved);
  int result = -pthread_create(&thread, NULL, listen_to_bell, guard);
  (void)pthread_sigmask(SIG_SETMASK, &saved, NULL);
  if (result != 0) return result;
  (void)pthread_detach(thread);
  guard->listening = true;
  return 0;
}

static void tell(void *owner) {
  struct mm_env *state = owner;
  (void)napi_call_threadsafe_function(state->told, NULL, napi_tsfn_nonblocking);
}

/* Makes an environment a listener; called on its own thread. Nodes of environments that have ended
 * are used again, since the handler may be reading any of them. */
static int add_listener(struct mm_env *state) {
  struct mm_guard *guard = mm_guard();
  (void)pthread_mutex_lock(&guard->lock);
  int result = start_thread(guard);
  struct mm_listener *listener = atomic_load(&guard->listeners);
  while (listener != NULL && listener->owner != NULL) listener = listener->next;
  if (result == 0 && listener == NULL) {
    listener = calloc(1, sizeof *listener);
    if (listener == NULL) result = -ENOMEM;
    else {
      listener->next = atomic_load(&guard->listeners);
      atomic_store(&guard->listeners, listener);
    }
  }
  if (result == 0) {
    atomic_store(&listener->thread, (int)syscall(SYS_gettid));
    listener->tell = tell;
    listener->owner = state;
  }
  (void)pthread_mutex_unlock(&guard->lock);
  return result;
}

/* Ends an environment's listening; after this nobody calls its function. */
void mm_notice_end(struct mm_env *state) {
  struct mm_guard *guard = mm_guard();
  if (state->told == NULL || guard == NULL) return;
  (void)pthread_mutex_lock(&guard->lock);
  struct mm_listener *listener = atomic_load(&guard->listeners);
  for (; listener != NULL; listener = listener->next) {
    if (listener->owner != state) continue;
    listener->owner = NULL;
    atomic_store(&listener->thread, 0);
  }
  (void)pthread_mutex_unlock(&guard->lock);
  (void)napi_release_threadsafe_function(state->told, napi_tsfn_abort);
  state->told = NULL;
}

/* onFaults(callback): calls back, without arguments, after a fault that this environment's thread
 * made or that hit its mappings; does not keep the event loop alive. 0 or a negative errno. */
napi_value mm_on_faults(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  struct mm_env *state = mm_env_of(env);
  napi_value name;
  if (args.count < 1) return mm_throw(env, "memmap native: expected a function");
  int result = mm_guard_install();
  if (result != 0) return mm_number(env, result);
  if (napi_create_string_utf8(env, "memmap faults", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_create_threadsafe_function(env, args.value[0], NULL, name, 0, 1, NULL, NULL, NULL, NULL,
                                      &state->told) != napi_ok) {
    return mm_throw(env, "memmap native: cannot listen to faults");
  }
  (void)napi_unref_threadsafe_function(env, state->told);
  return mm_number(env, add_listener(state));
}
