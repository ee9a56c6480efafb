/* SPDX-License-Identifier: MIT
 *
 * Wait and notify on words of shared memory, for JavaScript. A wait that blocks is one call; a wait
 * that does not is a waiter (futex.h), served by the ring's thread, or by a thread of its own with
 * a small stack where there is no ring.
 *
 * Each environment numbers its waiters: `slots` is touched by its own thread alone, `ended` under
 * the lock. What has ended is told by one call of a threadsafe function until JavaScript takes it.
 *
 * Divisions: lists, the end of a wait, threads in the ring's place, what JavaScript calls.
 */
#include "futex.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

struct mm_waits {
  napi_threadsafe_function told;
  struct mm_waiter_list ended; /* those that JavaScript has not taken */
  struct mm_waiter **slots;    /* by their numbers; NULL: free */
  size_t room;
};

/* Guards what futex.h says it does. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* For tests: threads are used although there is a ring. */
static bool without_ring;

/* Enough for one call; most of it stays untouched. */
#define STACK_BYTES (128 * 1024)
#define SLICE_NANOSECONDS 50000000

void mm_waits_lock(void) { (void)pthread_mutex_lock(&lock); }
void mm_waits_unlock(void) { (void)pthread_mutex_unlock(&lock); }

/* ---- lists --------------------------------------------------------------------------------- */

/* Under the lock, as the next one. */
void mm_waiter_append(struct mm_waiter_list *list, struct mm_waiter *waiter) {
  if (list->end == NULL) list->end = &list->first;
  waiter->list = list;
  waiter->link = list->end;
  waiter->next = NULL;
  *list->end = waiter;
  list->end = &waiter->next;
}

void mm_waiter_unlink(struct mm_waiter *waiter) {
  if (waiter->list == NULL) return;
  *waiter->link = waiter->next;
  if (waiter->next != NULL) waiter->next->link = waiter->link;
  else waiter->list->end = waiter->link;
  waiter->list = NULL;
}

/* ---- the end of a wait --------------------------------------------------------------------- */

/* The kernel has let the word go: gives up the claim on the region and tells the environment, or
 * frees the waiter when that has ended. The thread that waited for it, without the lock. */
void mm_waiter_ended(struct mm_waiter *waiter, int result) {
  struct mm_region *region = waiter->region;
  struct mm_env *state = waiter->state;
  mm_waits_lock();
  struct mm_waits *waits = state->waits;
  mm_waiter_unlink(waiter);
  waiter->phase = MM_WAITER_ENDED;
  waiter->result = result;
  if (waits != NULL) {
    bool first = waits->ended.first == NULL;
    mm_waiter_append(&waits->ended, waiter);
    if (first) (void)napi_call_threadsafe_function(waits->told, NULL, napi_tsfn_nonblocking);
  }
  mm_waits_unlock();
  if (waits == NULL) free(waiter);
  mm_region_unuse(region);
  mm_env_unref(state);
}

/* Asks for the end of a wait that has not ended; it may be woken still. Under the lock. */
static void cancel(struct mm_waiter *waiter) {
  if (waiter->phase == MM_WAITER_ENDED || waiter->cancelled) return;
  waiter->cancelled = true;
  if (!waiter->by_thread) {
    mm_ring_ask(waiter);
    return;
  }
  atomic_store(&waiter->stop, 1);
  /* SAFETY: the word lives until the waiter ends, which takes the lock. */
  (void)mm_sys_futex_wake((uint32_t *)&waiter->stop, 1, true);
}

/* The environment ends: nobody is told any more, and its waits are cancelled. Those that the kernel
 * has not let go yet end by themselves and are freed then. On the environment's thread. */
void mm_futex_env_ending(struct mm_env *state) {
  mm_waits_lock();
  struct mm_waits *waits = state->waits;
  state->waits = NULL;
  for (size_t i = 0; waits != NULL && i < waits->room; i++) {
    struct mm_waiter *waiter = waits->slots[i];
    if (waiter == NULL) continue;
    if (waiter->phase == MM_WAITER_ENDED) free(waiter);
    else cancel(waiter);
  }
  mm_waits_unlock();
  if (waits == NULL) return;
  (void)napi_release_threadsafe_function(waits->told, napi_tsfn_abort);
  free(waits->slots);
  free(waits);
}

/* ---- threads in the ring's place ----------------------------------------------------------- */

/* Waits on the word and on `stop` at once; before Linux 5.16 in slices on the word alone. A value
 * that differs later than at the first look has changed meanwhile: that is a wake. */
static int wait_here(struct mm_waiter *waiter) {
  bool both = true;
  for (bool waited = false;; waited = true) {
    int result = -ENOSYS;
    if (both) result = mm_sys_futex_wait_two(waiter->word, waiter->value, &waiter->stop);
    if (both && result == 1) return 0;
    if (result == -ENOSYS || result == -EPERM) {
      both = false;
      result = mm_sys_futex_wait(waiter->word, waiter->value, SLICE_NANOSECONDS);
      if (result == 0) return 0;
    }
    if (atomic_load(&waiter->stop) != 0) return -ECANCELED;
    if (result == -EAGAIN && waited) return 0;
    if (result < 0 && result != -ETIMEDOUT && result != -EINTR) return result;
  }
}

static void *run_waiter(void *data) {
  struct mm_waiter *waiter = data;
  mm_waiter_ended(waiter, wait_here(waiter));
  return NULL;
}

/* Starts the thread of one waiter; 0 or a negative errno. Under the lock. */
static int start_thread(struct mm_waiter *waiter) {
  pthread_t thread;
  pthread_attr_t attributes;
  sigset_t all, saved;
  int result = -pthread_attr_init(&attributes);
  if (result != 0) return result;
  (void)pthread_attr_setstacksize(&attributes, STACK_BYTES);
  (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  sigfillset(&all);
  (void)pthread_sigmask(SIG_SETMASK, &all, &saved);
  result = -pthread_create(&thread, &attributes, run_waiter, waiter);
  (void)pthread_sigmask(SIG_SETMASK, &saved, NULL);
  (void)pthread_attr_destroy(&attributes);
  return result;
}

/* ---- what JavaScript calls ----------------------------------------------------------------- */

/* The word that two arguments name, a region and an offset in it; NULL when the region is closed or
 * holds no such word. */
static uint32_t *word_of(struct mm_args *args, struct mm_region **out) {
  struct mm_region *region = mm_arg_region(args, 0);
  size_t offset = mm_arg_size(args, 1);
  if (args->failed || region->closed || !mm_region_holds(region, offset, sizeof(uint32_t))) {
    return NULL;
  }
  if (offset % sizeof(uint32_t) != 0) return NULL;
  *out = region;
  /* SAFETY: the base is a page's, the offset a multiple of four; only the kernel follows it. */
  return (uint32_t *)(void *)(region->base + offset);
}

/* futexWait(region, offset, value, timeoutMs): blocks; 0 when woken, or -EAGAIN, -ETIMEDOUT,
 * -EINTR, -EFAULT. */
static napi_value futex_wait(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  struct mm_region *region = NULL;
  uint32_t *word = word_of(&args, &region);
  int value = mm_arg_int(&args, 2);
  double timeout = mm_arg_number(&args, 3);
  if (args.failed) return NULL;
  if (word == NULL || !(timeout >= 0 && timeout <= 1000)) return mm_number(env, -EINVAL);
  mm_region_use(region);
  int result = mm_sys_futex_wait(word, (uint32_t)value, (int64_t)(timeout * 1e6));
  mm_region_unuse(region);
  return mm_number(env, result);
}

/* futexWake(region, offset, count): how many were woken, or a negative errno. */
static napi_value futex_wake(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  struct mm_region *region = NULL;
  uint32_t *word = word_of(&args, &region);
  int count = mm_arg_int(&args, 2);
  if (args.failed) return NULL;
  return mm_number(env, word == NULL ? -EINVAL : mm_sys_futex_wake(word, count, false));
}

/* Threads of this library outlive every environment that loaded it: it is never unloaded. */
static void stay_loaded(void) {
  Dl_info self;
  if (dladdr((void *)(uintptr_t)&run_waiter, &self) != 0) {
    (void)dlopen(self.dli_fname, RTLD_LAZY | RTLD_NODELETE | RTLD_NOLOAD);
  }
}

/* onWaits(callback): calls back, without arguments, when waits have ended that takeWaits has not
 * told; does not keep the event loop alive. Once in an environment, before the first wait. */
static napi_value on_waits(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  struct mm_env *state = mm_env_of(env);
  napi_value name;
  if (args.count < 1) return mm_throw(env, "memmap native: expected a function");
  struct mm_waits *waits = calloc(1, sizeof *waits);
  if (waits == NULL) return mm_number(env, -ENOMEM);
  if (napi_create_string_utf8(env, "memmap waits", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_create_threadsafe_function(env, args.value[0], NULL, name, 0, 1, NULL, NULL, NULL, NULL,
                                      &waits->told) != napi_ok) {
    free(waits);
    return mm_throw(env, "memmap native: cannot listen to waits");
  }
  (void)napi_unref_threadsafe_function(env, waits->told);
  stay_loaded();
  mm_waits_lock();
  state->waits = waits;
  mm_waits_unlock();
  return mm_number(env, 0);
}

/* The lowest free slot from `from` on, with more room when there is none; SIZE_MAX without memory.
 * On the environment's thread. */
static size_t free_slot(struct mm_waits *waits, size_t from) {
  for (size_t i = from; i < waits->room; i++) {
    if (waits->slots[i] == NULL) return i;
  }
  size_t old = waits->room;
  size_t room = old == 0 ? 16 : old * 2;
  struct mm_waiter **slots = realloc(waits->slots, room * sizeof(struct mm_waiter *));
  if (slots == NULL) return SIZE_MAX;
  for (size_t i = old; i < room; i++) slots[i] = NULL;
  waits->slots = slots;
  waits->room = room;
  return old;
}

/* Hands a waiter to the ring, or to a thread; 0 or a negative errno. */
static int begin(struct mm_waiter *waiter) {
  int result = 0;
  mm_waits_lock();
  waiter->by_thread = without_ring || !mm_ring_open();
  if (waiter->by_thread) result = start_thread(waiter);
  else mm_ring_ask(waiter);
  mm_waits_unlock();
  return result;
}

/* waitStart(region, offset, value, hint): begins a wait; its number, or a negative errno. `hint` is
 * a number below which none is free. Holds a claim on the region until the kernel has let go. */
static napi_value wait_start(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  struct mm_env *state = mm_env_of(env);
  struct mm_region *region = NULL;
  uint32_t *word = word_of(&args, &region);
  int value = mm_arg_int(&args, 2);
  size_t hint = mm_arg_size(&args, 3);
  if (args.failed) return NULL;
  if (word == NULL || state->waits == NULL) return mm_number(env, -EINVAL);
  size_t slot = free_slot(state->waits, hint);
  struct mm_waiter *waiter = slot == SIZE_MAX ? NULL : calloc(1, sizeof *waiter);
  if (waiter == NULL) return mm_number(env, -ENOMEM);
  waiter->state = state;
  waiter->region = region;
  waiter->word = word;
  waiter->value = (uint32_t)value;
  waiter->slot = slot;
  mm_region_use(region);
  atomic_fetch_add(&state->refs, 1);
  state->waits->slots[slot] = waiter;
  int result = begin(waiter);
  if (result == 0) return mm_number(env, (double)slot);
  state->waits->slots[slot] = NULL;
  mm_region_unuse(region);
  mm_env_unref(state);
  free(waiter);
  return mm_number(env, result);
}

/* waitCancel(slot): asks for the end of a wait; how it ended comes as with every other. */
static napi_value wait_cancel(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  struct mm_env *state = mm_env_of(env);
  size_t slot = mm_arg_size(&args, 0);
  if (args.failed) return NULL;
  mm_waits_lock();
  struct mm_waits *waits = state->waits;
  bool is_one = waits != NULL && slot < waits->room && waits->slots[slot] != NULL;
  if (is_one) cancel(waits->slots[slot]);
  mm_waits_unlock();
  return mm_undefined(env);
}

/* takeWaits(): [slot, result, slot, result, ...] of the waits that have ended, in their order; the
 * numbers are free after that. */
static napi_value take_waits(napi_env env, napi_callback_info info) {
  (void)info;
  struct mm_env *state = mm_env_of(env);
  struct mm_waits *waits = state->waits;
  napi_value list = NULL;
  uint32_t count = 0;
  if (waits == NULL || napi_create_array(env, &list) != napi_ok) return mm_undefined(env);
  mm_waits_lock();
  struct mm_waiter *waiter = waits->ended.first;
  waits->ended = (struct mm_waiter_list){NULL, NULL};
  mm_waits_unlock();
  while (waiter != NULL) {
    struct mm_waiter *next = waiter->next;
    (void)napi_set_element(env, list, count++, mm_number(env, (double)waiter->slot));
    (void)napi_set_element(env, list, count++, mm_number(env, waiter->result));
    waits->slots[waiter->slot] = NULL;
    free(waiter);
    waiter = next;
  }
  return list;
}

/* waitByThreads(force): for tests: whether each wait from now on has a thread of its own although
 * there is a ring. Returns whether there is one. */
static napi_value wait_by_threads(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  bool force = mm_arg_bool(&args, 0);
  if (args.failed) return NULL;
  mm_waits_lock();
  without_ring = force;
  bool serves = mm_ring_open();
  mm_waits_unlock();
  return mm_boolean(env, serves);
}

const struct mm_export mm_futex_exports[] = {
    {"futexWait", futex_wait},
    {"futexWake", futex_wake},
    {"onWaits", on_waits},
    {"waitStart", wait_start},
    {"waitCancel", wait_cancel},
    {"takeWaits", take_waits},
    {"waitByThreads", wait_by_threads},
    {NULL, NULL},
};
