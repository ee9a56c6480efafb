/* SPDX-License-Identifier: MIT
 *
 * The registry of the fault guard, and its installation. Owns the one `struct mm_guard` of the
 * process, or a pointer to the one that another copy of the addon owns.
 *
 * Threads: `lock` guards the registry, the listeners and the installation; it is taken by
 * JavaScript threads and the guard's own, never in the handler. `repairing` guards what the handler
 * changes; whoever else takes it blocks all signals first, or a fault of the same thread would wait
 * for itself. Order: lock before repairing.
 *
 * Divisions: finding the guard, slots, spare areas, installation.
 */
#include "guard.h"
#include "memmap.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* This copy's guard, or the other copy's; set once. The registry of ranges is the one process-wide
 * state of memmap, because signal handlers are process-wide. */
static _Atomic(struct mm_guard *) the_guard;
static pthread_mutex_t finding = PTHREAD_MUTEX_INITIALIZER;

/* The page by which copies of the addon find one guard:
 *
 *     | magic: 8 | version: 4 | pid: 4 | address of the guard: 8 |    native byte order
 */
struct sign {
  uint64_t magic;
  uint32_t version;
  uint32_t pid;
  struct mm_guard *guard;
};

/* ---- finding the guard --------------------------------------------------------------------- */

struct mm_guard *mm_guard(void) { return atomic_load(&the_guard); }

/* Reads a sign that another copy of the addon put up; NULL when there is none of our version. */
static struct mm_guard *find_sign(void) {
  FILE *maps = fopen("/proc/self/maps", "re");
  struct mm_guard *found = NULL;
  char line[512];
  if (maps == NULL) return NULL;
  while (found == NULL && fgets(line, sizeof line, maps) != NULL) {
    unsigned long long start;
    int name = 0;
    /* The device tells a memory object from a file that is called like one. */
    if (sscanf(line, "%llx-%*x r--s %*x 00:01 %*u %n", &start, &name) != 1 || name == 0) continue;
    if (strcmp(line + name, "/memfd:" MM_GUARD_NAME " (deleted)\n") != 0) continue;
    struct sign sign;
    /* SAFETY: the row may have gone since it was read; the kernel copies what is there. */
    if (mm_copy(&sign, (const void *)(uintptr_t)start, sizeof sign) != sizeof sign) continue;
    if (sign.magic != MM_GUARD_MAGIC || sign.version != MM_GUARD_VERSION) continue;
    struct sign head; /* the guard begins with the same magic and version */
    if (sign.pid != (uint32_t)getpid()) continue;
    if (mm_copy(&head, sign.guard, 16) != 16 || head.magic != MM_GUARD_MAGIC) continue;
    found = sign.guard;
  }
  (void)fclose(maps);
  return found;
}

/* Puts up the sign. Without it another copy would make a guard of its own, and the two would chain:
 * safe, only slower. */
static void put_up_sign(struct mm_guard *guard) {
  struct sign sign = {MM_GUARD_MAGIC, MM_GUARD_VERSION, (uint32_t)getpid(), guard};
  size_t page = mm_sys_page_size();
  int fd = mm_sys_memory(MM_GUARD_NAME, MFD_CLOEXEC, (off_t)page);
  if (fd < 0) return;
  struct mm_map_request request = {
      .length = page, .prot = PROT_READ, .flags = MAP_SHARED, .fd = fd, .offset = 0};
  void *ignored;
  bool written = pwrite(fd, &sign, sizeof sign, 0) == (ssize_t)sizeof sign;
  if (written) (void)mm_sys_mmap(&request, &ignored);
  (void)mm_sys_close(fd);
}

/* The handler must outlive every environment that loaded this library: it is never unloaded. */
static void stay_loaded(void) {
  Dl_info self;
  if (dladdr((void *)(uintptr_t)&mm_handler, &self) != 0) {
    (void)dlopen(self.dli_fname, RTLD_LAZY | RTLD_NODELETE | RTLD_NOLOAD);
  }
}

/* Whether populating tells what can be had: some emulators and sandboxes accept any advice and do
 * nothing, so a page that nobody may read is asked for. */
static bool can_populate(void) {
  struct mm_map_request request = {
      .length = mm_sys_page_size(),
      .prot = PROT_NONE,
      .flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
      .fd = -1,
  };
  void *page;
  if (mm_sys_madvise((void *)request.length, 0, MADV_POPULATE_READ) != 0) return false;
  if (mm_sys_mmap(&request, &page) != 0) return false;
  bool refused = mm_sys_madvise(page, request.length, MADV_POPULATE_READ) != 0;
  (void)mm_sys_munmap(page, request.length);
  return refused;
}

/* A repaired page takes two areas of vm.max_map_count at most; a quarter of them is ours. */
static size_t most_repairs(void) {
  unsigned long areas = 65530;
  FILE *limit = fopen("/proc/sys/vm/max_map_count", "re");
  if (limit != NULL && fscanf(limit, "%lu", &areas) != 1) areas = 65530;
  if (limit != NULL) (void)fclose(limit);
  return areas / 8;
}

/* The last resort: a fault that was made so late, or after listeners were removed, that nobody
 * could tell it. Runs when the process exits; a line on standard error for each range. */
static void last_words(void) {
  struct mm_guard *guard = mm_guard();
  for (struct mm_chunk *chunk = &guard->first; chunk != NULL; chunk = atomic_load(&chunk->next)) {
    for (size_t i = 0; i < MM_SLOTS_IN_CHUNK; i++) {
      struct mm_slot *slot = &chunk->slots[i];
      unsigned count = slot->length == 0 || slot->quiet ? 0 : atomic_load(&slot->count);
      if (count == 0 || slot->oldest.reason == MM_FAULT_CLOSED) continue;
      const char *access = slot->oldest.write ? "write" : "read";
      (void)dprintf(STDERR_FILENO, "memmap: faults told to nobody: %u, the first a %s at 0x%llx\n",
                    count, access, (unsigned long long)slot->oldest.address);
    }
  }
}

/* Puts a slot among the free ones. The caller holds the lock, or nobody else has the guard. */
static void give_slot(struct mm_guard *guard, struct mm_slot *slot) {
  slot->next_free = guard->free_slots;
  guard->free_slots = slot;
}

/* Every slot of a new chunk is free. */
static void add_slots(struct mm_guard *guard, struct mm_chunk *chunk) {
  for (size_t i = 0; i < MM_SLOTS_IN_CHUNK; i++) give_slot(guard, &chunk->slots[i]);
}

/* A new guard; NULL and a negative errno when memory or descriptors have run out. */
static struct mm_guard *make_guard(int *error) {
  struct mm_guard *guard = calloc(1, sizeof *guard);
  *error = guard == NULL ? -ENOMEM : 0;
  if (guard == NULL) return NULL;
  guard->magic = MM_GUARD_MAGIC;
  guard->version = MM_GUARD_VERSION;
  guard->size = (uint32_t)sizeof *guard;
  (void)pthread_mutex_init(&guard->lock, NULL);
  atomic_flag_clear(&guard->repairing);
  guard->handler = mm_handler;
  guard->system_page = mm_sys_page_size();
  guard->populates = can_populate();
  guard->repairs_max = most_repairs();
  guard->bell = eventfd(0, EFD_CLOEXEC);
  if (guard->bell < 0) {
    *error = -errno;
    free(guard);
    return NULL;
  }
  add_slots(guard, &guard->first);
  stay_loaded();
  (void)atexit(last_words);
  put_up_sign(guard);
  return guard;
}

/* ---- slots --------------------------------------------------------------------------------- */

/* Takes the repair lock; until it is given back no signal is delivered to this thread. */
void mm_guard_lock(struct mm_guard *guard, sigset_t *saved) {
  sigset_t all;
  sigfillset(&all);
  (void)pthread_sigmask(SIG_SETMASK, &all, saved);
  while (atomic_flag_test_and_set_explicit(&guard->repairing, memory_order_acquire)) {
  }
}

void mm_guard_unlock(struct mm_guard *guard, const sigset_t *saved) {
  atomic_flag_clear_explicit(&guard->repairing, memory_order_release);
  (void)pthread_sigmask(SIG_SETMASK, saved, NULL);
}

/* A free slot; NULL when memory has run out. */
static struct mm_slot *take_slot(struct mm_guard *guard) {
  if (guard->free_slots == NULL) {
    struct mm_chunk *chunk = calloc(1, sizeof *chunk);
    if (chunk == NULL) return NULL;
    add_slots(guard, chunk);
    atomic_store(&chunk->next, atomic_load(&guard->first.next));
    atomic_store(&guard->first.next, chunk);
  }
  struct mm_slot *slot = guard->free_slots;
  guard->free_slots = slot->next_free;
  return slot;
}

/* Registers a range that was just mapped; NULL when memory has run out. The caller removes it
 * before the range is unmapped. */
struct mm_slot *mm_guard_add(const struct mm_range *range) {
  struct mm_guard *guard = mm_guard();
  sigset_t saved;
  (void)pthread_mutex_lock(&guard->lock);
  struct mm_slot *slot = take_slot(guard);
  if (slot != NULL) {
    mm_guard_lock(guard, &saved);
    slot->length = range->length;
    slot->page = range->page;
    slot->shared = range->shared;
    slot->owner = range->owner;
    slot->closed = false;
    slot->orphan = range->raw;
    slot->raw = range->raw;
    slot->quiet = false;
    slot->states = NULL;
    slot->anchor = NULL;
    slot->stash = NULL;
    slot->stashed = 0;
    slot->repairs = 0;
    slot->anonymous = range->anonymous;
    atomic_store(&slot->count, 0);
    slot->base = (uintptr_t)range->base;
    mm_guard_unlock(guard, &saved);
  }
  (void)pthread_mutex_unlock(&guard->lock);
  return slot;
}

/* Forgets what became of the pages; under `repairing`. */
void mm_guard_forget_pages(struct mm_slot *slot) {
  struct mm_guard *guard = mm_guard();
  guard->repairs -= slot->repairs;
  slot->repairs = 0;
  size_t pages = slot->length / slot->page;
  if (slot->states != NULL) (void)mm_sys_munmap(slot->states, pages);
  if (slot->anchor != NULL) (void)mm_sys_munmap(slot->anchor, slot->page);
  for (size_t i = 0; i < slot->stashed; i++) (void)mm_sys_munmap(slot->stash[i].page, slot->page);
  if (slot->stash != NULL) (void)mm_sys_munmap(slot->stash, pages * sizeof *slot->stash);
  slot->states = NULL;
  slot->anchor = NULL;
  slot->stash = NULL;
  slot->stashed = 0;
}

/* Replaces a range by memory that nobody may touch, at the same addresses and at once; under
 * `repairing`. 0 or a negative errno, and then the old mapping stays. */
static int replace_by_cover(struct mm_slot *slot) {
  struct mm_map_request request = {
      .hint = (void *)slot->base,
      .length = slot->length,
      .prot = PROT_NONE,
      .flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
      .fd = -1,
      .offset = 0,
  };
  void *same;
  int result = mm_sys_mmap(&request, &same);
  if (result == 0) mm_guard_forget_pages(slot);
  return result;
}

/* Covers a range that was closed. A late touch is a fault of kind MM_FAULT_CLOSED from here on.
 * Where the kernel has no room for that, the old mapping stays, which is as safe. */
int mm_guard_cover(struct mm_slot *slot) {
  struct mm_guard *guard = mm_guard();
  sigset_t saved;
  mm_guard_lock(guard, &saved);
  int result = replace_by_cover(slot);
  slot->closed = true;
  mm_guard_unlock(guard, &saved);
  return result;
}

/* The same for a range that stays open when it cannot be covered. */
int mm_guard_try_cover(struct mm_slot *slot) {
  struct mm_guard *guard = mm_guard();
  sigset_t saved;
  mm_guard_lock(guard, &saved);
  int result = replace_by_cover(slot);
  if (result == 0) slot->closed = true;
  mm_guard_unlock(guard, &saved);
  return result;
}

/* Makes one range of two covered neighbours; false when they are none. The second slot is free
 * afterwards. */
bool mm_guard_join(struct mm_slot *slot, struct mm_slot *other) {
  struct mm_guard *guard = mm_guard();
  sigset_t saved;
  bool below = other->base + other->length == slot->base;
  if (!below && slot->base + slot->length != other->base) return false;
  if (slot->page != other->page) return false;
  (void)pthread_mutex_lock(&guard->lock);
  mm_guard_lock(guard, &saved);
  mm_guard_forget_pages(slot);
  mm_guard_forget_pages(other);
  if (below) slot->base = other->base;
  slot->length += other->length;
  other->length = 0;
  mm_guard_unlock(guard, &saved);
  give_slot(guard, other);
  (void)pthread_mutex_unlock(&guard->lock);
  return true;
}

/* Wakes every environment, for faults that have no mapping object to go to; under `repairing`. */
static void ring_all(struct mm_guard *guard) {
  uint64_t one = 1;
  struct mm_listener *listener = atomic_load(&guard->listeners);
  for (; listener != NULL; listener = listener->next) atomic_store(&listener->pending, true);
  ssize_t ignored = write(guard->bell, &one, sizeof one);
  (void)ignored;
}

/* An address that shows what the first page of a range was mapped from; 0 when it is closed. */
static uintptr_t source_of(const struct mm_slot *slot) {
  if (slot->closed) return 0;
  return slot->anchor != NULL ? (uintptr_t)slot->anchor : slot->base;
}

/* Describes a range in the record of its faults; under `repairing`. */
static void describe(const struct mm_guard *guard, const struct mm_slot *slot,
                     struct mm_fault *out) {
  out->base = slot->base;
  out->anonymous = slot->anonymous;
  out->raw = slot->raw;
  out->huge = slot->page > guard->system_page;
  out->source = source_of(slot);
}

/* Keeps the faults that nobody collected before their range goes; under `repairing`. */
static void leave_faults(struct mm_guard *guard, struct mm_slot *slot) {
  unsigned count = atomic_exchange(&slot->count, 0);
  if (count == 0 || slot->quiet) return;
  if (guard->left.count == 0) {
    guard->left = slot->oldest;
    describe(guard, slot, &guard->left);
    guard->left.source = 0; /* others may come to lie there */
    guard->left.count = 0;
  }
  guard->left.count += count;
  ring_all(guard);
}

/* Unregisters a range, which the caller unmaps next. */
void mm_guard_remove(struct mm_slot *slot) {
  struct mm_guard *guard = mm_guard();
  sigset_t saved;
  (void)pthread_mutex_lock(&guard->lock);
  mm_guard_lock(guard, &saved);
  leave_faults(guard, slot);
  mm_guard_forget_pages(slot);
  slot->length = 0;
  mm_guard_unlock(guard, &saved);
  give_slot(guard, slot);
  (void)pthread_mutex_unlock(&guard->lock);
}

/* Unmaps a range and unregisters it in one step: no fault of what comes to lie there next is taken
 * for one of its own, and after a failure it is as before. 0 or a negative errno. */
int mm_guard_unmap(struct mm_slot *slot) {
  struct mm_guard *guard = mm_guard();
  sigset_t saved;
  (void)pthread_mutex_lock(&guard->lock);
  mm_guard_lock(guard, &saved);
  int result = mm_sys_munmap((void *)slot->base, slot->length);
  if (result == 0) {
    leave_faults(guard, slot);
    mm_guard_forget_pages(slot);
    slot->length = 0;
  }
  mm_guard_unlock(guard, &saved);
  if (result == 0) give_slot(guard, slot);
  (void)pthread_mutex_unlock(&guard->lock);
  return result;
}

/* Takes the faults of a range that nobody has collected; false when there are none. */
bool mm_guard_take(struct mm_slot *slot, struct mm_fault *out) {
  struct mm_guard *guard = mm_guard();
  sigset_t saved;
  if (atomic_load(&slot->count) == 0) return false;
  mm_guard_lock(guard, &saved);
  *out = slot->oldest;
  describe(guard, slot, out);
  out->count = atomic_exchange(&slot->count, 0);
  mm_guard_unlock(guard, &saved);
  return out->count > 0;
}

/* Says that no mapping object is left for a range that can still be touched. */
void mm_guard_orphan(struct mm_slot *slot) {
  struct mm_guard *guard = mm_guard();
  sigset_t saved;
  mm_guard_lock(guard, &saved);
  slot->orphan = true;
  if (atomic_load(&slot->count) > 0 && !slot->quiet) ring_all(guard);
  mm_guard_unlock(guard, &saved);
}

/* A closed range goes into the time of grace: only operations of the runtime can reach it now,
 * whose touches are not told. What JavaScript touched before is. */
void mm_guard_retire(struct mm_slot *slot) {
  struct mm_guard *guard = mm_guard();
  sigset_t saved;
  mm_guard_lock(guard, &saved);
  if (slot->oldest.reason != MM_FAULT_CLOSED) leave_faults(guard, slot);
  slot->quiet = true;
  mm_guard_unlock(guard, &saved);
}

/* Says that a range's faults are for who asks alone. */
void mm_guard_quiet(struct mm_slot *slot) {
  struct mm_guard *guard = mm_guard();
  sigset_t saved;
  mm_guard_lock(guard, &saved);
  slot->quiet = true;
  mm_guard_unlock(guard, &saved);
}

/* Takes the faults of one such range, or those that ranges left behind when they went; its address
 * is given from the base of the range. An `owner` that is not NULL is about to end and has taken
 * what its mapping objects have to tell: all else of its ranges belongs to objects that are gone,
 * also where the engine has not said so yet. */
bool mm_guard_take_orphan(struct mm_fault *out, const void *owner) {
  struct mm_guard *guard = mm_guard();
  sigset_t saved;
  bool found = false;
  mm_guard_lock(guard, &saved);
  for (struct mm_chunk *chunk = &guard->first; chunk != NULL; chunk = atomic_load(&chunk->next)) {
    for (size_t i = 0; i < MM_SLOTS_IN_CHUNK && !found; i++) {
      struct mm_slot *slot = &chunk->slots[i];
      bool left = slot->orphan || (owner != NULL && slot->owner == owner);
      if (slot->length == 0 || !left || slot->quiet) continue;
      if (atomic_load(&slot->count) == 0) continue;
      *out = slot->oldest;
      describe(guard, slot, out);
      out->count = atomic_exchange(&slot->count, 0);
      found = true;
    }
  }
  if (!found && guard->left.count > 0) {
    *out = guard->left;
    guard->left.count = 0;
    found = true;
  }
  mm_guard_unlock(guard, &saved);
  return found;
}

/* ---- spare areas ---------------------------------------------------------------------------
 * A process may have vm.max_map_count areas. When they are used up, the engine's next allocation
 * fails as well, and it ends the process before the error of the failed call could even be made;
 * and the handler cannot replace a page. So a few areas are held from the first mapping on and
 * given back when there are no more: pages that differ in protection from their neighbours, one
 * area each. As many again are the handler's alone, since the engine takes what is given back. */
#define SPARE_AREAS 16

/* Takes areas, where there is room for them; false when there is not for all. Signal-safe. */
static bool hold_areas(const struct mm_guard *guard, _Atomic(void *) *place) {
  if (atomic_load(place) != NULL) return true;
  size_t page = guard->system_page;
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  uint8_t *base = mmap(NULL, SPARE_AREAS * page, PROT_NONE, flags, -1, 0);
  if (base == MAP_FAILED) return false;
  bool all = true;
  for (size_t i = 1; i < SPARE_AREAS; i += 2) {
    all = mprotect(base + i * page, page, PROT_READ) == 0 && all;
  }
  void *none = NULL;
  if (!atomic_compare_exchange_strong(place, &none, base)) {
    (void)munmap(base, SPARE_AREAS * page);
  }
  return all;
}

/* Holds the spare areas and those of the handler, where there is room for them. */
void mm_spare_keep(void) {
  struct mm_guard *guard = mm_guard();
  (void)hold_areas(guard, &guard->last);
  (void)hold_areas(guard, &guard->spare);
}

/* Holds the handler's areas again after a repair; false when there is not room for all. */
bool mm_last_keep(struct mm_guard *guard) { return hold_areas(guard, &guard->last); }

/* Gives the handler's areas back, for a repair that has no others. */
void mm_last_release(struct mm_guard *guard) {
  void *base = atomic_exchange(&guard->last, NULL);
  if (base != NULL) (void)munmap(base, SPARE_AREAS * guard->system_page);
}

/* Gives the spare areas back; whether there were any. Safe in a signal handler. */
bool mm_spare_release(struct mm_guard *guard) {
  void *base = atomic_exchange(&guard->spare, NULL);
  return base != NULL && munmap(base, SPARE_AREAS * guard->system_page) == 0;
}

/* Passes the result of a call on; gives the spare areas back when it is -ENOMEM. */
int mm_spare_give(int result) {
  struct mm_guard *guard = mm_guard();
  if (result == -ENOMEM && guard != NULL) (void)mm_spare_release(guard);
  return result;
}

/* ---- installation -------------------------------------------------------------------------- */

static bool is_ours(const struct mm_guard *guard, const struct sigaction *action) {
  return (action->sa_flags & SA_SIGINFO) != 0 && action->sa_sigaction == guard->handler;
}

/* How the handler is installed: with the fault's information, on the thread's signal stack where it
 * has one, and with all signals held back, as the repair lock demands. Signal-safe. */
void mm_guard_action(const struct mm_guard *guard, struct sigaction *out) {
  out->sa_sigaction = guard->handler;
  out->sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigfillset(&out->sa_mask);
}

/* Puts the handler on top for one signal. What stood there is remembered; our own handler in
 * another form (some runtimes put it back without its flags) is not. */
static int put_on_top(struct mm_guard *guard, int signal, size_t which) {
  struct sigaction found;
  struct sigaction ours = {.sa_flags = 0};
  sigset_t saved;
  if (sigaction(signal, NULL, &found) != 0) return -errno;
  if (is_ours(guard, &found)) return 0;
  mm_guard_action(guard, &ours);
  mm_guard_lock(guard, &saved);
  bool again = found.sa_sigaction == guard->handler;
  if (!guard->installed) guard->before[which] = found;
  else if (!again) guard->later[which] = found;
  mm_guard_unlock(guard, &saved);
  return sigaction(signal, &ours, NULL) == 0 ? 0 : -errno;
}

/* Finds or makes the guard of the process, once; NULL and a negative errno when it cannot be. */
static struct mm_guard *find_guard(int *error) {
  struct mm_guard *guard = mm_guard();
  if (guard != NULL) return guard;
  (void)pthread_mutex_lock(&finding);
  guard = mm_guard();
  if (guard == NULL) {
    guard = find_sign();
    if (guard == NULL) guard = make_guard(error);
    atomic_store(&the_guard, guard);
  }
  (void)pthread_mutex_unlock(&finding);
  return guard;
}

/* Makes sure that the handler stands on top for both signals; two system calls when it does. */
int mm_guard_install(void) {
  int result = 0;
  struct mm_guard *guard = find_guard(&result);
  if (guard == NULL) return result;
  (void)pthread_mutex_lock(&guard->lock);
  result = put_on_top(guard, SIGSEGV, 0);
  if (result == 0) result = put_on_top(guard, SIGBUS, 1);
  if (result == 0) guard->installed = true;
  (void)pthread_mutex_unlock(&guard->lock);
  return result;
}
