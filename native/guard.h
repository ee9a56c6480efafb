/* SPDX-License-Identifier: MIT
 *
 * The fault guard: guard.c keeps the registry of ranges and installs the handler, handler.c is what
 * runs inside a signal, notice.c tells JavaScript.
 *
 * One guard serves the whole process, however many workers and copies of the addon there are. The
 * first copy that maps owns it; a later copy finds it through a named page in /proc/self/maps and
 * uses it when its version is the same. So everything below may be touched by two copies of this
 * code: a change of a structure is a new MM_GUARD_VERSION.
 */
#ifndef MEMMAP_GUARD_H
#define MEMMAP_GUARD_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MM_GUARD_MAGIC 0x6d656d6d61706764ull /* "memmapgd" */
#define MM_GUARD_VERSION 4u
/* No mapping of a user can have this name: theirs begin with "memmap:". */
#define MM_GUARD_NAME "memmap-guard:2"

enum mm_fault_reason {
  MM_FAULT_NONE = 0,
  MM_FAULT_MISSING = 1,   /* the page could not be had; JavaScript asks the file why */
  MM_FAULT_PROTECTED = 2, /* the protection forbids the access */
  MM_FAULT_CLOSED = 3,    /* the mapping was closed or resized away */
  MM_FAULT_POISON = 4,    /* the memory itself failed */
};

/* What a page of a range is now. One byte a page: the state, and the reason above it. */
#define MM_PAGE_ORIGINAL 0u
#define MM_PAGE_READABLE 1u /* replaced by an empty page that can be read */
#define MM_PAGE_WRITABLE 2u /* replaced by a private page that can be written */
#define MM_PAGE_STATE(page) ((page) & 3u)
#define MM_PAGE_REASON(page) ((page) >> 2)
#define MM_PAGE(state, reason) ((uint8_t)((state) | ((unsigned)(reason) << 2)))

/* The oldest fault of a range that nobody has collected, and how many there were. */
struct mm_fault {
  uintptr_t base; /* of its range; only from mm_guard_take_orphan */
  uintptr_t address;
  unsigned count;
  bool anonymous; /* likewise */
  bool raw;       /* likewise: mapped by the raw door */
  uintptr_t source; /* where the first page of the range is still mapped as it was, or most likely
                     * is: /proc/self/maps names the file; 0 for a range that has gone */
  bool huge;        /* likewise: of pages from the pool of huge pages */
  bool write;
  unsigned char reason;
};

/* A private page with content that was moved aside when the guard replaced it. */
struct mm_stash {
  size_t index;
  uint8_t *page;
};

/* One range that the guard answers for; free when its length is 0. Slots live in chunks that are
 * never freed. All of it is under `repairing`, but for the fields that say otherwise. */
struct mm_slot {
  uintptr_t base;
  size_t length;
  size_t page;               /* bytes in a page of it */
  bool shared;               /* MAP_SHARED: the anchor can make its pages again */
  bool orphan;               /* no mapping object is left: its faults are anybody's */
  bool raw;                  /* the raw door mapped it: it never had such an object */
  bool quiet;                /* its faults are kept for who asks, and told to nobody else */
  bool closed;               /* covered: every touch is MM_FAULT_CLOSED */
  uint8_t *_Atomic states;   /* one byte a page, NULL before the first fault */
  uint8_t *anchor;           /* one page of the original mapping, or NULL */
  struct mm_stash *stash;    /* room for one entry a page, NULL before the first */
  size_t stashed;            /* how many entries it has */
  size_t repairs;            /* pages that were replaced one by one */
  bool anonymous;            /* no file stands behind it */
  void *owner;               /* the environment that mapped it; only compared and passed on */
  struct mm_fault oldest;    /* meaningful while count > 0 */
  atomic_uint count;         /* faults that nobody collected; may be read at any time */
  struct mm_slot *next_free; /* under `lock` */
};

/* A range to register. */
struct mm_range {
  void *base;
  size_t length;
  size_t page;
  bool shared;
  bool anonymous;
  bool raw;
  void *owner;
};

#define MM_SLOTS_IN_CHUNK 256
struct mm_chunk {
  struct mm_slot slots[MM_SLOTS_IN_CHUNK];
  _Atomic(struct mm_chunk *) next;
};

/* An environment that wants to be told of faults. */
struct mm_listener {
  struct mm_listener *next; /* under `lock` */
  void *owner;
  _Atomic int thread;       /* its kernel thread id: a fault is told where it was made */
  atomic_bool pending;
  void (*tell)(void *owner); /* called on the guard's thread, with `lock` held */
};

struct mm_guard {
  uint64_t magic;
  uint32_t version;
  uint32_t size;
  pthread_mutex_t lock;      /* registry, listeners, installation; never taken in the handler */
  atomic_flag repairing;     /* spin lock of handler and repairs; held with all signals blocked */
  struct mm_chunk first;
  struct mm_slot *free_slots;
  _Atomic(struct mm_listener *) listeners; /* read by the handler; nodes are never freed */
  struct mm_fault left;      /* of ranges that went with faults nobody had collected */
  bool listening;            /* the guard's thread runs; under `lock` */
  int bell;                  /* eventfd: the handler rings, the guard's thread listens */
  bool installed;
  _Atomic(void *) spare;     /* areas for when there are no more; see guard.c */
  _Atomic(void *) last;      /* the same, for the handler */
  size_t system_page;
  bool populates;            /* MADV_POPULATE_* tells the truth here */
  size_t repairs;            /* under `repairing`: of all ranges */
  size_t repairs_max;        /* beyond which whole ranges are emptied */
  int last_thread;           /* under `repairing`: who was last told that a page is served */
  uint8_t *last_page;
  void (*handler)(int, siginfo_t *, void *);
  struct sigaction before[2]; /* SIGSEGV, SIGBUS: what stood there before us */
  struct sigaction later[2];  /* what was put over us since, and was put under us again */
  struct {
    _Atomic int thread;
    uintptr_t frame;         /* of the handler; of that thread alone */
  } chaining[16];            /* threads that are inside `later` */
};

#define MM_NO_SOURCE (-2)

/* Pages of a range to be made again as they were mapped. */
struct mm_remap {
  size_t offset;     /* whole pages, from the base of the slot */
  size_t length;
  int prot;
  int fd;            /* the file for a private mapping of one; -1: anonymous, or from the anchor;
                      * MM_NO_SOURCE: only what was moved aside comes back */
  int64_t fd_offset; /* where in the file the slot begins */
};

/* guard.c */
struct mm_guard *mm_guard(void);
int mm_guard_install(void);
void mm_guard_action(const struct mm_guard *guard, struct sigaction *out);
struct mm_slot *mm_guard_add(const struct mm_range *range);
int mm_guard_cover(struct mm_slot *slot);
int mm_guard_try_cover(struct mm_slot *slot);
bool mm_guard_join(struct mm_slot *slot, struct mm_slot *other);
void mm_guard_remove(struct mm_slot *slot);
int mm_guard_unmap(struct mm_slot *slot);
void mm_guard_renew(struct mm_slot *slot);
void mm_guard_forget_pages(struct mm_slot *slot);
void mm_guard_orphan(struct mm_slot *slot);
void mm_guard_quiet(struct mm_slot *slot);
void mm_guard_retire(struct mm_slot *slot);
bool mm_guard_take_orphan(struct mm_fault *out, const void *owner);
bool mm_guard_take(struct mm_slot *slot, struct mm_fault *out);
bool mm_spare_release(struct mm_guard *guard);
bool mm_last_keep(struct mm_guard *guard);
void mm_last_release(struct mm_guard *guard);
void mm_guard_lock(struct mm_guard *guard, sigset_t *saved);
void mm_guard_unlock(struct mm_guard *guard, const sigset_t *saved);

/* replaced.c */
struct mm_slot *mm_guard_split(struct mm_slot *slot, size_t offset);
void mm_guard_carry(struct mm_slot *slot, struct mm_slot *from);
void mm_guard_forget(struct mm_slot *slot, size_t offset, size_t length);
void mm_guard_advise(struct mm_slot *slot, size_t offset, size_t length, int advice);
uint8_t *mm_guard_anchor(struct mm_slot *slot);
int mm_guard_remap(struct mm_slot *slot, const struct mm_remap *job);
size_t mm_guard_replaced(struct mm_slot *slot, size_t offset, size_t length, unsigned *reason);

/* handler.c */
void mm_handler(int signal, siginfo_t *info, void *context);

#endif
