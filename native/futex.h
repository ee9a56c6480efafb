/* SPDX-License-Identifier: MIT
 *
 * Waits on words of shared memory that block no JavaScript thread: what futex.c, which knows
 * JavaScript, and ring.c, which knows the kernel's ring, say to one another.
 *
 *     starting ----> waiting ----> ended ----> taken by JavaScript, freed
 *         |             ^             ^
 *         +-- cancelled-|-------------+
 *
 * One lock, mm_waits_lock, guards every list, every phase and the ring's own state.
 */
#ifndef MEMMAP_FUTEX_H
#define MEMMAP_FUTEX_H

#include "memmap.h"

struct mm_waiter;

struct mm_waiter_list {
  struct mm_waiter *first;
  struct mm_waiter **end; /* where the next one goes; NULL while the list was never used */
};

enum mm_waiter_phase { MM_WAITER_STARTING, MM_WAITER_WAITING, MM_WAITER_ENDED };

/* One wait. Holds a claim on its region and one on its environment's state until the kernel has let
 * the word go; the structure is freed by JavaScript's thread, or by whoever ends it when its
 * environment has ended. */
struct mm_waiter {
  struct mm_env *state;
  struct mm_region *region;
  uint32_t *word;
  uint32_t value;
  size_t slot; /* its number in its environment */
  int result;  /* 0: woken; -EAGAIN: another value; -ECANCELED; or what the kernel refused */
  enum mm_waiter_phase phase;
  bool by_thread;         /* a thread of its own waits for it, not the ring */
  bool cancelled;
  _Atomic uint32_t stop;  /* what that thread waits on besides the word */
  struct mm_waiter_list *list; /* the list it is in, or NULL */
  struct mm_waiter *next, **link;
  struct mm_waiter *reaped; /* the ring's thread: the next that the kernel has let go */
};

void mm_waits_lock(void);
void mm_waits_unlock(void);
void mm_waiter_append(struct mm_waiter_list *list, struct mm_waiter *waiter);
void mm_waiter_unlink(struct mm_waiter *waiter);
void mm_waiter_ended(struct mm_waiter *waiter, int result);

/* ring.c; the caller holds the lock */
bool mm_ring_open(void);
void mm_ring_ask(struct mm_waiter *waiter);

#endif
