/* SPDX-License-Identifier: MIT
 *
 * Any number of waits on one thread, through io_uring(7) (the futex operations are of Linux 6.7).
 *
 *     JavaScript threads            the ring's thread                     the kernel
 *     list of requests --bell--> submission queue --io_uring_enter--> waits on words
 *                                completion queue <---- woken, cancelled, refused
 *                                     |
 *                                mm_waiter_ended --threadsafe function--> event loop
 *
 * The thread is started with the first wait and lives as long as the process: it
 * alone enters the ring, since the kernel ends the waits of a thread that ends. It blocks all
 * signals. The ring below is a mutable global: it is process-wide as the thread is; `requests` and
 * `way` are guarded by mm_waits_lock, everything else is touched by the thread alone once it runs.
 */
#include "futex.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* What include/uapi/linux/io_uring.h lays down, for headers that are older. */
struct submission {
  uint8_t opcode;
  uint8_t flags;
  uint16_t priority;
  int32_t fd;
  uint64_t address2;
  uint64_t address;
  uint32_t length;
  uint32_t operation_flags;
  uint64_t user_data;
  uint16_t buffer;
  uint16_t personality;
  uint32_t file;
  uint64_t address3;
  uint64_t reserved;
};
_Static_assert(sizeof(struct submission) == 64, "as the kernel has it");

struct completion {
  uint64_t user_data;
  int32_t result;
  uint32_t flags;
};

struct queue_places { /* io_sqring_offsets and io_cqring_offsets */
  uint32_t head, tail, mask, entries;
  uint32_t more[4];
  uint64_t address;
};
_Static_assert(sizeof(struct queue_places) == 40, "as the kernel has it");

struct ring_parameters {
  uint32_t submissions, completions, flags, cpu, idle, features, workers, reserved[3];
  struct queue_places submit, complete;
};
_Static_assert(sizeof(struct ring_parameters) == 120, "as the kernel has it");

struct known_operations { /* io_uring_probe */
  uint8_t last, count;
  uint16_t reserved;
  uint32_t more[3];
  struct {
    uint8_t opcode, reserved;
    uint16_t flags;
    uint32_t more;
  } operation[64];
};

enum {
  OP_CANCEL = 14,
  OP_READ = 22,
  OP_FUTEX_WAIT = 51,
  OPERATION_KNOWN = 1,
  FUTEX_OF_32_BITS = 2, /* without the private flag: waiters of other processes count */
  SETUP_COMPLETIONS = 8,
  FEATURE_SINGLE_MAP = 1,
  ENTER_GET = 1,
  REGISTER_PROBE = 8,
  SUBMISSIONS = 256,
  COMPLETIONS = 4096,
};
#define PLACE_OF_SUBMISSIONS 0x10000000

/* Completions that are of no waiter. */
#define OF_BELL 0
#define OF_CANCEL 1

static struct {
  enum { UNTRIED, SERVES, ABSENT } way;
  struct mm_waiter_list requests; /* to start, or to cancel */
  int fd;
  int bell;
  uint64_t rings; /* what the bell is read into */
  bool listening; /* the bell is being read */
  uint8_t *queues;
  struct submission *submissions;
  struct completion *completions;
  uint32_t *submit_head, *submit_tail, *complete_head, *complete_tail;
  uint32_t submit_mask, complete_mask;
  struct mm_waiter *reaped, **reaped_end;
} ring;

/* ---- the thread ---------------------------------------------------------------------------- */

static uint32_t pending(void) {
  return *ring.submit_tail - __atomic_load_n(ring.submit_head, __ATOMIC_ACQUIRE);
}

/* Adds a submission; the caller has seen that there is room. */
static void submit(const struct submission *plan) {
  uint32_t tail = *ring.submit_tail;
  ring.submissions[tail & ring.submit_mask] = *plan;
  __atomic_store_n(ring.submit_tail, tail + 1, __ATOMIC_RELEASE);
}

static void reaped(struct mm_waiter *waiter, int result) {
  waiter->result = result;
  waiter->reaped = NULL;
  *ring.reaped_end = waiter;
  ring.reaped_end = &waiter->reaped;
}

/* Takes what has completed, without ending it yet: a cancellation that still stands in the
 * submission queue may name it. */
static bool collect(void) {
  uint32_t head = *ring.complete_head;
  uint32_t tail = __atomic_load_n(ring.complete_tail, __ATOMIC_ACQUIRE);
  bool any = head != tail;
  for (; head != tail; head++) {
    const struct completion *done = &ring.completions[head & ring.complete_mask];
    if (done->user_data == OF_BELL) ring.listening = false;
    else if (done->user_data != OF_CANCEL) {
      /* SAFETY: the pointer is the one that was submitted, and its waiter lives until it ends. */
      reaped((struct mm_waiter *)(uintptr_t)done->user_data, done->result);
    }
  }
  __atomic_store_n(ring.complete_head, head, __ATOMIC_RELEASE);
  return any;
}

/* One request as a submission; a wait that was cancelled before it began ends at once. */
static void submit_request(struct mm_waiter *waiter) {
  struct submission plan = {.fd = -1, .user_data = OF_CANCEL, .opcode = OP_CANCEL};
  plan.address = (uintptr_t)waiter;
  if (waiter->phase == MM_WAITER_STARTING) {
    waiter->phase = MM_WAITER_WAITING;
    if (waiter->cancelled) {
      reaped(waiter, -ECANCELED);
      return;
    }
    plan.opcode = OP_FUTEX_WAIT;
    plan.fd = FUTEX_OF_32_BITS;
    plan.address = (uintptr_t)waiter->word;
    plan.address2 = waiter->value;
    plan.address3 = UINT32_MAX; /* FUTEX_BITSET_MATCH_ANY */
    plan.user_data = (uintptr_t)waiter;
  }
  submit(&plan);
}

/* Moves requests to the submission queue, as many as fit; whether more are left. */
static bool fill(void) {
  if (!ring.listening) {
    struct submission plan = {.opcode = OP_READ, .fd = ring.bell, .user_data = OF_BELL};
    plan.address = (uintptr_t)&ring.rings;
    plan.length = sizeof ring.rings;
    submit(&plan);
    ring.listening = true;
  }
  mm_waits_lock();
  while (ring.requests.first != NULL && pending() < SUBMISSIONS) {
    struct mm_waiter *waiter = ring.requests.first;
    mm_waiter_unlink(waiter);
    submit_request(waiter);
  }
  bool more = ring.requests.first != NULL;
  mm_waits_unlock();
  return more;
}

/* Hands the submission queue to the kernel until it is empty. What keeps the kernel from taking it
 * passes: completions that nobody has taken, or memory. */
static void flush(void) {
  const struct timespec moment = {0, 1000000};
  while (pending() > 0) {
    int result = mm_sys_ring_enter(ring.fd, pending(), 0, 0);
    if (result > 0) continue;
    (void)collect();
    (void)mm_sys_ring_enter(ring.fd, 0, 0, ENTER_GET);
    if (!collect()) (void)nanosleep(&moment, NULL);
  }
}

/* Ends what was taken from the kernel; the submission queue is empty. */
static void end_reaped(void) {
  struct mm_waiter *waiter = ring.reaped;
  ring.reaped = NULL;
  ring.reaped_end = &ring.reaped;
  while (waiter != NULL) {
    struct mm_waiter *next = waiter->reaped;
    mm_waiter_ended(waiter, waiter->result);
    waiter = next;
  }
}

static void *serve(void *data) {
  for (;;) {
    bool more;
    do {
      more = fill();
      flush();
    } while (more);
    end_reaped();
    if (!collect()) {
      (void)mm_sys_ring_enter(ring.fd, 0, 1, ENTER_GET);
      (void)collect();
    }
  }
  return data;
}

/* ---- opening ------------------------------------------------------------------------------- */

static int start_thread(void) {
  pthread_t thread;
  sigset_t all, saved;
  sigfillset(&all);
  (void)pthread_sigmask(SIG_SETMASK, &all, &saved);
  int result = -pthread_create(&thread, NULL, serve, NULL);
  (void)pthread_sigmask(SIG_SETMASK, &saved, NULL);
  if (result == 0) (void)pthread_detach(thread);
  return result;
}

static bool knows_futex(int fd) {
  struct known_operations known;
  memset(&known, 0, sizeof known);
  if (mm_sys_ring_register(fd, REGISTER_PROBE, &known, 64) != 0) return false;
  return known.count > OP_FUTEX_WAIT &&
         (known.operation[OP_FUTEX_WAIT].flags & OPERATION_KNOWN) != 0;
}

/* Maps shared memory of the ring; NULL when that cannot be. */
static void *map_part(int fd, size_t length, off_t place) {
  void *base;
  struct mm_map_request request = {
      .length = length,
      .prot = PROT_READ | PROT_WRITE,
      .flags = MAP_SHARED | MAP_POPULATE,
      .fd = fd,
      .offset = place,
  };
  return mm_sys_mmap(&request, &base) == 0 ? base : NULL;
}

/* Maps the queues of a ring that was set up and starts the thread; 0 or a negative errno. */
static int prepare(int fd, const struct ring_parameters *made) {
  size_t completions = made->complete.more[1] + made->completions * sizeof(struct completion);
  size_t indices = made->submit.more[2] + made->submissions * sizeof(uint32_t);
  size_t length = completions > indices ? completions : indices;
  size_t places = made->submissions * sizeof(struct submission);
  ring.fd = fd;
  ring.queues = map_part(fd, length, 0);
  ring.submissions = map_part(fd, places, PLACE_OF_SUBMISSIONS);
  ring.bell = eventfd(0, EFD_CLOEXEC);
  int result = ring.queues == NULL || ring.submissions == NULL ? -ENOMEM : 0;
  if (result == 0 && ring.bell < 0) result = -EMFILE;
  if (result == 0) {
    /* SAFETY: the kernel tells where its 32-bit numbers lie, aligned as they are. */
    ring.submit_head = (uint32_t *)(void *)(ring.queues + made->submit.head);
    ring.submit_tail = (uint32_t *)(void *)(ring.queues + made->submit.tail);
    ring.complete_head = (uint32_t *)(void *)(ring.queues + made->complete.head);
    ring.complete_tail = (uint32_t *)(void *)(ring.queues + made->complete.tail);
    ring.completions = (struct completion *)(void *)(ring.queues + made->complete.more[1]);
    uint32_t *order = (uint32_t *)(void *)(ring.queues + made->submit.more[2]);
    for (uint32_t i = 0; i < made->submissions; i++) order[i] = i;
    ring.submit_mask = made->submissions - 1;
    ring.complete_mask = made->completions - 1;
    ring.reaped_end = &ring.reaped;
    result = start_thread();
  }
  if (result == 0) return 0;
  if (ring.queues != NULL) (void)mm_sys_munmap(ring.queues, length);
  if (ring.submissions != NULL) (void)mm_sys_munmap(ring.submissions, places);
  if (ring.bell >= 0) (void)mm_sys_close(ring.bell);
  return result;
}

/* Whether the ring serves; opens it with the first question. A kernel or sandbox without it is not
 * asked again; a process without descriptors or memory is. Any thread, under the lock. */
bool mm_ring_open(void) {
  struct ring_parameters made;
  if (ring.way != UNTRIED) return ring.way == SERVES;
  memset(&made, 0, sizeof made);
  made.flags = SETUP_COMPLETIONS;
  made.completions = COMPLETIONS;
  int fd = mm_sys_ring_setup(SUBMISSIONS, &made);
  int result = fd;
  if (fd >= 0) {
    bool fits = (made.features & FEATURE_SINGLE_MAP) != 0 && knows_futex(fd);
    result = fits ? prepare(fd, &made) : -ENOSYS;
    if (result != 0) (void)mm_sys_close(fd);
  }
  if (result == 0) ring.way = SERVES;
  else if (result != -EMFILE && result != -ENFILE && result != -ENOMEM && result != -EAGAIN) {
    ring.way = ABSENT;
  }
  return ring.way == SERVES;
}

/* Asks the thread to start a waiter, or to cancel it, as its phase says. Any thread, under the
 * lock; the ring is open. */
void mm_ring_ask(struct mm_waiter *waiter) {
  const uint64_t one = 1;
  if (waiter->list != NULL) return;
  bool first = ring.requests.first == NULL;
  mm_waiter_append(&ring.requests, waiter);
  /* An eventfd takes this number unless its count is full, and then it rings already. */
  if (first && write(ring.bell, &one, sizeof one) < 0) return;
}
