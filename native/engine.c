/* SPDX-License-Identifier: MIT
 *
 * Buffers over memory of ours, made by the engine itself instead of through Node-API.
 *
 * Why: V8 counts the length of a buffer that Node-API makes as memory it could free, so that
 * mapping a large file collects garbage, for hundreds of milliseconds when the heap is large; its
 * finalizer runs when the environment ends, although the buffer may have been transferred to
 * another thread; and marking it untransferable ends the process. A backing store with V8's empty
 * deleter is not counted, and tells its real end on whatever thread that is.
 *
 * How: the functions that V8 exports for embedders are looked up by name at run time. Their C++
 * types are written out in C as the Itanium C++ ABI and libstdc++ lay them out:
 *
 *     std::unique_ptr<T>   one pointer, returned through a hidden result pointer
 *     std::shared_ptr<T>   | T* | control block* |, passed by reference, destroyed by the caller
 *     control block        | vtable* | use count: int | weak count: int |
 *     Local<T>             one pointer, the same as napi_value
 *
 * JavaScript decides whether this is used at all: only on the versions of Node it is tested with,
 * never where V8 has a sandbox (src/native.ts). Everywhere else Node-API makes the buffers (map.c).
 */
#include "memmap.h"

#include <dlfcn.h>
#include <stdlib.h>

/* Larger than two registers, so that every ABI returns it through a hidden pointer; the callee
 * writes the first word. */
struct returned {
  void *word[4];
};

struct shared_pointer {
  void *object;
  struct control *control;
};

typedef struct returned (*new_store_call)(void *, size_t, void (*)(void *, size_t, void *), void *);
typedef napi_value (*new_buffer_call)(void *isolate, struct shared_pointer *store);

/* The functions of V8; all or none of them are there. Set once by mm_engine_use, before any buffer
 * is made, to the same values in each environment. */
static struct {
  atomic_bool usable;
  void *(*current)(void);
  void (*empty_deleter)(void *, size_t, void *);
  void (*destroy_store)(void *);
  void (*delete_object)(void *);
  new_store_call new_store[2]; /* by enum mm_buffer_kind */
  new_buffer_call new_buffer[2];
} v8;

/* ---- the control block --------------------------------------------------------------------- */

struct control {
  const void *vtable;
  atomic_int uses;
  atomic_int weaks;
  void *store;
  void (*ended)(void *);
  void *data;
};

/* The last owner has gone: the store is destroyed, its object freed, and the memory is ours again.
 * Runs on any thread, among them the collector's. */
static void dispose(struct control *control) {
  v8.destroy_store(control->store);
  v8.delete_object(control->store);
  control->ended(control->data);
}

static void destroy(struct control *control) { free(control); }

static void nothing(struct control *control) { (void)control; }

static void *no_deleter(struct control *control, const void *type) {
  (void)control;
  (void)type;
  return NULL;
}

/* As libstdc++ orders the virtual functions of std::_Sp_counted_base, behind the offset to the top
 * and the type information. */
static const struct {
  ptrdiff_t top;
  const void *type;
  void (*destructor)(struct control *);
  void (*deleting_destructor)(struct control *);
  void (*dispose)(struct control *);
  void (*destroy)(struct control *);
  void *(*get_deleter)(struct control *, const void *);
} vtable = {0, NULL, nothing, nothing, dispose, destroy, no_deleter};

static void release(struct control *control) {
  if (atomic_fetch_sub(&control->uses, 1) != 1) return;
  dispose(control);
  if (atomic_fetch_sub(&control->weaks, 1) == 1) destroy(control);
}

/* ---- buffers ------------------------------------------------------------------------------- */

static bool find(void **out, const char *name) {
  *out = dlsym(RTLD_DEFAULT, name);
  return *out != NULL;
}

/* Looks the functions up; false when the engine does not export them in the form above. */
bool mm_engine_use(void) {
  void *found[8];
  if (atomic_load(&v8.usable)) return true;
  if (!find(&found[0], "_ZN2v87Isolate10GetCurrentEv") ||
      !find(&found[1], "_ZN2v812BackingStore12EmptyDeleterEPvmS1_") ||
      !find(&found[2], "_ZN2v812BackingStoreD1Ev") || !find(&found[3], "_ZdlPv") ||
      !find(&found[4], "_ZN2v811ArrayBuffer15NewBackingStoreEPvmPFvS1_mS1_ES1_") ||
      !find(&found[5], "_ZN2v811ArrayBuffer3NewEPNS_7IsolateESt10shared_ptrINS_12BackingStoreEE") ||
      !find(&found[6], "_ZN2v817SharedArrayBuffer15NewBackingStoreEPvmPFvS1_mS1_ES1_") ||
      !find(&found[7],
            "_ZN2v817SharedArrayBuffer3NewEPNS_7IsolateESt10shared_ptrINS_12BackingStoreEE")) {
    return false;
  }
  /* POSIX lets a function pointer go through an object pointer here (dlsym, RATIONALE). */
  v8.current = (void *(*)(void))(uintptr_t)found[0];
  v8.empty_deleter = (void (*)(void *, size_t, void *))(uintptr_t)found[1];
  v8.destroy_store = (void (*)(void *))(uintptr_t)found[2];
  v8.delete_object = (void (*)(void *))(uintptr_t)found[3];
  v8.new_store[MM_BUFFER_PLAIN] = (new_store_call)(uintptr_t)found[4];
  v8.new_buffer[MM_BUFFER_PLAIN] = (new_buffer_call)(uintptr_t)found[5];
  v8.new_store[MM_BUFFER_SHARED] = (new_store_call)(uintptr_t)found[6];
  v8.new_buffer[MM_BUFFER_SHARED] = (new_buffer_call)(uintptr_t)found[7];
  atomic_store(&v8.usable, true);
  return true;
}

/* Makes a buffer over memory that stays valid until `ended` is called with `data`, on any thread,
 * when the last owner has gone. NULL when there is no memory for it; `ended` is not called then. */
napi_value mm_engine_buffer(const struct mm_buffer *plan) {
  struct control *control = malloc(sizeof *control);
  if (control == NULL) return NULL;
  struct returned made =
      v8.new_store[plan->kind](plan->base, plan->length, v8.empty_deleter, NULL);
  control->vtable = &vtable.destructor;
  atomic_init(&control->uses, 1);
  atomic_init(&control->weaks, 1);
  control->store = made.word[0];
  control->ended = plan->ended;
  control->data = plan->data;
  struct shared_pointer store = {.object = made.word[0], .control = control};
  napi_value buffer = v8.new_buffer[plan->kind](v8.current(), &store);
  /* The callee has moved our claim away, or has taken one of its own beside it. */
  if (store.control != NULL) release(store.control);
  return buffer;
}
