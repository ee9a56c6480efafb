/* SPDX-License-Identifier: MIT
 *
 * The signal handler of the fault guard. Everything in this file runs inside SIGSEGV or SIGBUS, on
 * any thread of the process, at any moment: between two instructions of malloc, of the engine, of
 * the kernel's own return path.
 *
 * What it may do, and why that is safe there:
 *   - read and write atomics, and memory of the guard that is never freed;
 *   - make raw system calls that take no lock of the C library: mmap, mremap, munmap,
 *     madvise, mincore, msync (which never waits as it is made here), mlock2, munlock,
 *     process_vm_readv, write, gettid, sigaction, tgkill. signal-safety(7) does not list the memory
 *     calls, but glibc and musl pass them straight to the kernel;
 *   - spin on `repairing`: its holder runs with all signals blocked, so it is never this thread,
 *     and
 *     it holds it for a few system calls.
 * What it must not do: allocate, lock a mutex, print, call the engine, use errno without restoring
 * it, touch memory that may fault.
 *
 *     fault ---> ours? --no--> the handler that stood there before us, as if we were not here
 *                 | yes
 *                 v
 *     replace the page (zeros, or a private copy) -> count -> ring -> return: the instruction is
 *                                                                     made again and succeeds
 */
#include "guard.h"
#include "memmap.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef SEGV_ACCERR
#define SEGV_MAPERR 1
#define SEGV_ACCERR 2
#endif
#ifndef SEGV_PKUERR
#define SEGV_PKUERR 4
#endif

/* ---- what happened ------------------------------------------------------------------------- */

enum access { ACCESS_READ, ACCESS_WRITE, ACCESS_OTHER, ACCESS_UNKNOWN };

#if defined(__aarch64__)
/* The exception syndrome is in a record of the frame (arch/arm64/include/uapi/asm/sigcontext.h):
 * classes 0x20 and 0x21 are instruction fetches, bit 6 of the rest is "write, not read". Bit 8 is
 * cache maintenance, which only reads and has bit 6 all the same. Emulators have no such record. */
static enum access access_of_syndrome(const ucontext_t *state) {
  const uint8_t *at = (const uint8_t *)state->uc_mcontext.__reserved;
  const uint8_t *end = at + sizeof state->uc_mcontext.__reserved;
  while (at + 16 <= end) {
    uint32_t magic, size;
    memcpy(&magic, at, 4);
    memcpy(&size, at + 4, 4);
    if (magic == 0 || size < 8) break;
    if (magic == 0x45535201u) {
      uint64_t syndrome;
      memcpy(&syndrome, at + 8, 8);
      unsigned class = (unsigned)(syndrome >> 26) & 0x3f;
      if (class == 0x20 || class == 0x21) return ACCESS_OTHER;
      bool writes = (syndrome & (1u << 6)) && !(syndrome & (1u << 8));
      return writes ? ACCESS_WRITE : ACCESS_READ;
    }
    at += size;
  }
  return ACCESS_UNKNOWN;
}

/* Without it the instruction itself tells (Arm Architecture Reference Manual, C4.1, loads and
 * stores). What is not known to read counts as a write: a writable page serves both. */
static enum access access_of_instruction(const ucontext_t *state) {
  uint32_t code;
  memcpy(&code, (const void *)(uintptr_t)state->uc_mcontext.pc, 4);
  bool load = (code & (1u << 22)) != 0;
  bool vector = (code & (1u << 26)) != 0;
  if ((code & 0x0a000000u) != 0x08000000u) return ACCESS_WRITE;
  if ((code & 0x3b000000u) == 0x18000000u) return ACCESS_READ; /* literal */
  if ((code & 0x3f207c00u) == 0x08207c00u) return ACCESS_WRITE; /* compare and swap, also a pair */
  if ((code & 0x3ffffc00u) == 0x38bfc000u) return ACCESS_READ; /* load-acquire */
  if ((code & 0x3b200c00u) == 0x38200000u) return ACCESS_WRITE; /* atomic read and write */
  if ((code & 0x3a000000u) == 0x38000000u) { /* one register; opc 1x is a signed load */
    return load || (!vector && (code & (1u << 23))) ? ACCESS_READ : ACCESS_WRITE;
  }
  return load ? ACCESS_READ : ACCESS_WRITE; /* exclusive, pair, structures */
}
#endif

/* Whether the instruction read or wrote, as the processor tells; a fetched instruction is neither
 * and is never repaired. */
static enum access access_of(const void *context) {
  const ucontext_t *state = context;
#if defined(__x86_64__)
  /* The page-fault error code: bit 1 write, bit 4 instruction fetch (Intel SDM 3A, 4.7). */
  unsigned long error = (unsigned long)state->uc_mcontext.gregs[REG_ERR];
  if (error & 16) return ACCESS_OTHER;
  return error & 2 ? ACCESS_WRITE : ACCESS_READ;
#elif defined(__aarch64__)
  enum access told = access_of_syndrome(state);
  return told == ACCESS_UNKNOWN ? access_of_instruction(state) : told;
#else
  (void)state;
  return ACCESS_WRITE;
#endif
}

/* A fault in a range of ours. */
struct fault {
  struct mm_slot *slot;
  size_t index; /* of the page in the range */
  enum access access;
  unsigned reason;
};

/* The range that holds an address; under `repairing`. */
static struct mm_slot *slot_at(struct mm_guard *guard, uintptr_t address) {
  for (struct mm_chunk *chunk = &guard->first; chunk != NULL; chunk = atomic_load(&chunk->next)) {
    for (size_t i = 0; i < MM_SLOTS_IN_CHUNK; i++) {
      struct mm_slot *slot = &chunk->slots[i];
      if (address >= slot->base && address - slot->base < slot->length) {
        return slot;
      }
    }
  }
  return NULL;
}

/* ---- repair -------------------------------------------------------------------------------- */

static bool map_empty(uint8_t *at, size_t length, int prot) {
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
  return mmap(at, length, prot, flags, -1, 0) != MAP_FAILED;
}

/* Moves a private page aside before it is replaced for its protection: its content is the only
 * copy. The old place stays mapped in the same moment (Linux 5.7), to be replaced next. */
static void stash_page(struct mm_slot *slot, size_t index, uint8_t *at) {
  size_t pages = slot->length / slot->page;
  if (slot->stash == NULL) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    size_t length = pages * sizeof *slot->stash;
    void *room = mmap(NULL, length, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (room == MAP_FAILED) return;
    slot->stash = room;
  }
  if (slot->stashed == pages) return;
  /* A locked page moves without its lock and gets it again: lift.c says why. */
  bool locked = msync(at, slot->page, MS_INVALIDATE) != 0 && errno == EBUSY;
  if (locked) (void)munlock(at, slot->page);
  int flags = MREMAP_MAYMOVE | MREMAP_DONTUNMAP;
  void *page = mremap(at, slot->page, slot->page, flags, NULL);
  if (locked) {
    (void)syscall(SYS_mlock2, page == MAP_FAILED ? at : page, slot->page, MLOCK_ONFAULT);
  }
  if (page == MAP_FAILED) return;
  slot->stash[slot->stashed++] = (struct mm_stash){.index = index, .page = page};
}

/* Copies a page as far as it can be read, without touching it: in one call, or where that is
 * refused through a pipe. */
static void copy_page(uint8_t *copy, uint8_t *at, size_t length) {
  struct iovec target = {.iov_base = copy, .iov_len = length};
  struct iovec source = {.iov_base = at, .iov_len = length};
  int ends[2];
  if (process_vm_readv(getpid(), &target, 1, &source, 1, 0) > 0) return;
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return;
  for (size_t done = 0; done < length;) {
    ssize_t piece = write(ends[1], at + done, length - done < 4096 ? length - done : 4096);
    if (piece <= 0 || read(ends[0], copy + done, (size_t)piece) != piece) break;
    done += (size_t)piece;
  }
  (void)close(ends[0]);
  (void)close(ends[1]);
}

/* A private copy of a page that can be read takes its place; the content is copied by the kernel,
 * since the page may vanish meanwhile. A page that cannot be read is copied as zeros. */
static bool map_copy(struct mm_slot *slot, size_t index, bool stashes) {
  size_t length = slot->page;
  uint8_t *at = (uint8_t *)slot->base + index * length;
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void *copy = mmap(NULL, length, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (copy == MAP_FAILED) return false;
  copy_page(copy, at, length);
  if (stashes) stash_page(slot, index, at);
  if (mremap(copy, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, at) != MAP_FAILED) return true;
  (void)munmap(copy, length);
  return false;
}

/* The bytes that remember what became of each page; made at the first fault of a range. */
static uint8_t *states_of(struct mm_slot *slot) {
  if (slot->states == NULL) {
    size_t length = slot->length / slot->page;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *states = mmap(NULL, length, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (states == MAP_FAILED) return NULL;
    slot->states = states;
  }
  return slot->states;
}

/* Keeps the first page of a shared mapping under other addresses, before the first page of it is
 * replaced: mremap(2) makes any of its pages again from it, without a descriptor. */
static void keep_anchor(struct mm_slot *slot, uintptr_t base) {
  if (!slot->shared || slot->anchor != NULL || slot->closed) return;
  void *anchor = mremap((void *)base, 0, slot->page, MREMAP_MAYMOVE);
  if (anchor != MAP_FAILED) slot->anchor = anchor;
}

/* Whether the access would succeed now: another thread repaired the page while this one waited, or
 * the file has grown back. Where the kernel cannot be asked (before 5.14, emulators), what the page
 * was replaced by tells, unless this very thread has just been told so and fails again. */
static bool is_served(struct mm_guard *guard, const struct fault *fault) {
  struct mm_slot *slot = fault->slot;
  uint8_t *at = (uint8_t *)slot->base + fault->index * slot->page;
  bool writes = fault->access == ACCESS_WRITE;
  if (guard->populates) {
    return madvise(at, slot->page, writes ? MADV_POPULATE_WRITE : MADV_POPULATE_READ) == 0;
  }
  int thread = (int)syscall(SYS_gettid);
  unsigned state = slot->states == NULL ? 0 : MM_PAGE_STATE(slot->states[fault->index]);
  bool serves = state == MM_PAGE_WRITABLE || (state == MM_PAGE_READABLE && !writes);
  bool again = guard->last_thread == thread && guard->last_page == at;
  guard->last_thread = thread;
  guard->last_page = at;
  return serves && !again;
}

/* Makes the page usable for the access that failed; false when the kernel has no room for the area.
 * */
static bool repair_page(struct mm_slot *slot, size_t index, enum access access, unsigned reason) {
  uintptr_t base = slot->base;
  uint8_t *at = (uint8_t *)base + index * slot->page;
  uint8_t *states = states_of(slot);
  if (states == NULL) return false;
  keep_anchor(slot, base);
  bool replaced = MM_PAGE_STATE(states[index]) != MM_PAGE_ORIGINAL;
  bool writes = access == ACCESS_WRITE || reason == MM_FAULT_CLOSED;
  bool stashes = reason == MM_FAULT_PROTECTED && !replaced && !slot->shared;
  bool done;
  if (stashes && access == ACCESS_READ) stash_page(slot, index, at);
  if (!writes) done = map_empty(at, slot->page, PROT_READ);
  else if (reason == MM_FAULT_PROTECTED || replaced) done = map_copy(slot, index, stashes);
  else done = map_empty(at, slot->page, PROT_READ | PROT_WRITE);
  if (done) states[index] = MM_PAGE(writes ? MM_PAGE_WRITABLE : MM_PAGE_READABLE, reason);
  return done;
}

/* Makes a part of a range, from a page on to its end, one empty area. Returns how many pages were
 * lost by that, 0 when it cannot be. */
static size_t empty_from(struct mm_guard *guard, struct mm_slot *slot, size_t first,
                         unsigned reason) {
  uint8_t *states = states_of(slot);
  size_t pages = slot->length / slot->page - first;
  uint8_t *at = (uint8_t *)slot->base + first * slot->page;
  if (states == NULL || !map_empty(at, pages * slot->page, PROT_READ | PROT_WRITE)) return 0;
  memset(states + first, (int)MM_PAGE(MM_PAGE_WRITABLE, reason), pages);
  guard->repairs -= slot->repairs;
  slot->repairs = 0;
  return pages;
}

/* Whether the file seems to end before this page: the last page of the range is missing as well,
 * and then all between them are. */
static bool ends_before(struct mm_guard *guard, const struct fault *fault) {
  struct mm_slot *slot = fault->slot;
  uint8_t *last = (uint8_t *)slot->base + slot->length - slot->page;
  if (fault->reason != MM_FAULT_MISSING || !guard->populates) return false;
  if (slot->states != NULL) {
    uint8_t state = slot->states[slot->length / slot->page - 1];
    if (MM_PAGE_STATE(state) != MM_PAGE_ORIGINAL) return MM_PAGE_REASON(state) == MM_FAULT_MISSING;
  }
  return madvise(last, slot->page, MADV_POPULATE_READ) != 0;
}

/* How many areas a page takes that was just replaced: none when it continues its neighbour. */
static size_t areas_of(const struct mm_slot *slot, size_t index) {
  size_t last = slot->length / slot->page - 1;
  uint8_t state = slot->states[index];
  bool joins = (index > 0 && slot->states[index - 1] == state) ||
               (index < last && slot->states[index + 1] == state);
  return joins && MM_PAGE_REASON(state) == MM_FAULT_MISSING ? 0 : 1;
}

/* Repairs a page, and returns how many pages are replaced by that; 0 when the process cannot be
 * saved. Repairs take areas, of which the kernel has a limited number and the engine needs some:
 * when too many are in use, or the kernel has no more, what lies behind the end of the file becomes
 * one empty area. The whole range does when that leaves no areas for the next fault: it takes the
 * place of all areas of the range, and needs none. */
static size_t repair(struct mm_guard *guard, const struct fault *fault) {
  struct mm_slot *slot = fault->slot;
  if (guard->repairs < guard->repairs_max &&
      repair_page(slot, fault->index, fault->access, fault->reason)) {
    size_t areas = areas_of(slot, fault->index);
    guard->repairs += areas;
    slot->repairs += areas;
    return 1;
  }
  (void)mm_spare_release(guard);
  mm_last_release(guard);
  size_t first = ends_before(guard, fault) ? fault->index : 0;
  size_t pages = empty_from(guard, slot, first, fault->reason);
  if (mm_last_keep(guard) || first == 0) return pages;
  size_t whole = empty_from(guard, slot, 0, fault->reason);
  (void)mm_last_keep(guard);
  return whole > 0 ? whole : pages;
}

/* ---- report -------------------------------------------------------------------------------- */

/* Marks who must be told: the environment whose thread made the access, else the one that mapped.
 * */
static void ring(struct mm_guard *guard, const void *owner) {
  int thread = (int)syscall(SYS_gettid);
  struct mm_listener *here = NULL, *there = NULL;
  struct mm_listener *listener = atomic_load(&guard->listeners);
  for (; listener != NULL; listener = listener->next) {
    if (atomic_load(&listener->thread) == thread) here = listener;
    if (listener->owner == owner) there = listener;
  }
  if (here == NULL) here = there;
  if (here != NULL) atomic_store(&here->pending, true);
  if (there != NULL) atomic_store(&there->pending, true);
  uint64_t one = 1;
  ssize_t ignored = write(guard->bell, &one, sizeof one);
  (void)ignored;
}

/* Counts the pages of a fault; the first that nobody has collected leaves its record. */
static void record(const struct fault *fault, uintptr_t address, size_t pages) {
  struct mm_slot *slot = fault->slot;
  if (atomic_load(&slot->count) == 0) {
    slot->oldest.address = address;
    slot->oldest.write = fault->access == ACCESS_WRITE;
    slot->oldest.reason = (unsigned char)fault->reason;
  }
  atomic_fetch_add(&slot->count, pages < UINT_MAX ? (unsigned)pages : UINT_MAX / 2);
}

/* ---- the handler --------------------------------------------------------------------------- */

static unsigned reason_of(int signal, const siginfo_t *info, const struct mm_slot *slot) {
  if (slot->closed) return MM_FAULT_CLOSED;
#ifdef BUS_MCEERR_AR
  if (signal == SIGBUS && (info->si_code == BUS_MCEERR_AR || info->si_code == BUS_MCEERR_AO)) {
    return MM_FAULT_POISON;
  }
#endif
  return signal == SIGBUS ? MM_FAULT_MISSING : MM_FAULT_PROTECTED;
}

/* Whether a mapping can refuse an access with a code of SIGSEGV: by its protection; by a protection
 * key, which the kernel gives to pages that may be executed and not read; or by a guard page
 * (MADV_GUARD_INSTALL), which is reported as if nothing were mapped. */
static bool is_refusal(int code) {
  return code == SEGV_ACCERR || code == SEGV_PKUERR || code == SEGV_MAPERR;
}

/* Whether a page is mapped. A touch of a guard region (MADV_GUARD_INSTALL) is told as one of
 * addresses that nobody mapped; where really nothing is, nothing of ours is to be saved. */
static bool is_mapped(const struct mm_slot *slot, size_t index) {
  uintptr_t at = slot->base + index * slot->page;
  unsigned char resident;
  return mincore((void *)at, 1, &resident) == 0;
}

/* Serves a fault in a range of ours; false when it is none, or cannot be served. */
static bool serve(struct mm_guard *guard, int signal, const siginfo_t *info, const void *context) {
  uintptr_t address = (uintptr_t)info->si_addr;
  enum access access = access_of(context);
  bool nothing = signal == SIGSEGV && info->si_code == SEGV_MAPERR;
  bool ours = signal == SIGBUS ? info->si_code != BUS_ADRALN : is_refusal(info->si_code);
  /* A code of 0 or less is a signal that somebody sent, and its address means nothing. */
  if (info->si_code <= 0 || !ours || access == ACCESS_OTHER) return false;
  while (atomic_flag_test_and_set_explicit(&guard->repairing, memory_order_acquire)) {
  }
  struct mm_slot *slot = slot_at(guard, address);
  size_t index = slot == NULL ? 0 : (address - slot->base) / slot->page;
  bool served = slot != NULL && (!nothing || is_mapped(slot, index));
  bool counted = false;
  if (served) {
    struct fault fault = {.slot = slot, .index = index, .access = access};
    if (!is_served(guard, &fault)) {
      uint8_t page = slot->states == NULL ? 0 : slot->states[index];
      bool replaced = MM_PAGE_STATE(page) != MM_PAGE_ORIGINAL;
      fault.reason = replaced ? MM_PAGE_REASON(page) : reason_of(signal, info, slot);
      size_t pages = repair(guard, &fault);
      served = counted = pages > 0;
      if (served) record(&fault, address, pages);
    }
  }
  void *owner = counted ? slot->owner : NULL;
  atomic_flag_clear_explicit(&guard->repairing, memory_order_release);
  if (counted) ring(guard, owner);
  return served;
}

/* Hands a signal to one handler, in the form it asked for and with the signals held back that the
 * kernel would have held back for it, since it may leave by a jump. */
static void call(const struct sigaction *action, int signal, siginfo_t *info, void *context) {
  const ucontext_t *state = context;
  sigset_t mask = state->uc_sigmask;
  for (int i = 1; i < NSIG; i++) {
    if (sigismember(&action->sa_mask, i) == 1) (void)sigaddset(&mask, i);
  }
  if (!(action->sa_flags & SA_NODEFER)) (void)sigaddset(&mask, signal);
  (void)pthread_sigmask(SIG_SETMASK, &mask, NULL);
  if (action->sa_flags & SA_SIGINFO) action->sa_sigaction(signal, info, context);
  else action->sa_handler(signal);
}

static bool is_function(const struct sigaction *action) {
  if (action->sa_flags & SA_SIGINFO) return action->sa_sigaction != NULL;
  return action->sa_handler != SIG_DFL && action->sa_handler != SIG_IGN;
}

/* Marks this thread as being inside the handler that was put over us; false when it is already:
 * that handler has called us back, as the one it found. A mark that was made in a frame no deeper
 * than this one is stale: that handler has left by a jump. */
static bool enter_chain(struct mm_guard *guard, int thread, size_t *place) {
  const size_t places = sizeof guard->chaining / sizeof guard->chaining[0];
  uintptr_t frame = (uintptr_t)__builtin_frame_address(0);
  for (size_t i = 0; i < places; i++) {
    if (atomic_load(&guard->chaining[i].thread) != thread) continue;
    if (frame < guard->chaining[i].frame) return false;
    guard->chaining[i].frame = frame;
    *place = i;
    return true;
  }
  for (size_t i = 0; i < places; i++) {
    int none = 0;
    if (atomic_compare_exchange_strong(&guard->chaining[i].thread, &none, thread)) {
      guard->chaining[i].frame = frame;
      *place = i;
      return true;
    }
  }
  return false;
}

/* A handler may take itself off by putting back what it had found, and us with it. What stands
 * there then is what comes after us: usually the default, by which a real crash ends at its second
 * try. */
static void stay_on_top(struct mm_guard *guard, int signal, size_t which) {
  struct sigaction now;
  if (sigaction(signal, NULL, &now) != 0 || now.sa_sigaction == guard->handler) return;
  guard->before[which] = now;
  mm_guard_action(guard, &now);
  (void)sigaction(signal, &now, NULL);
}

/* A signal that is not ours goes on as without us: to the handler that was put over us, to the one
 * that was there before us, or to the system's default, under which the instruction fails again. */
static void chain(struct mm_guard *guard, int signal, siginfo_t *info, void *context) {
  size_t which = signal == SIGBUS ? 1 : 0;
  size_t place = 0;
  const struct sigaction *later = &guard->later[which];
  int thread = (int)syscall(SYS_gettid);
  if (is_function(later) && enter_chain(guard, thread, &place)) {
    call(later, signal, info, context);
    atomic_store(&guard->chaining[place].thread, 0);
    return;
  }
  if (is_function(&guard->before[which])) {
    call(&guard->before[which], signal, info, context);
    stay_on_top(guard, signal, which);
    return;
  }
  struct sigaction standard = {.sa_handler = SIG_DFL};
  (void)sigaction(signal, &standard, NULL);
  /* A sent signal is not made again by returning: send it on. */
  if (info->si_code <= 0) (void)syscall(SYS_tgkill, getpid(), thread, signal);
}

/* Some runtimes put this handler back without its flags when a program stops to listen to the
 * signal; then the kernel leaves `info` unfilled. Puts the flags back; the instruction that is made
 * again after that faults again, with its information. */
static bool restore_flags(const struct mm_guard *guard, int signal) {
  struct sigaction now;
  if (sigaction(signal, NULL, &now) != 0 || now.sa_sigaction != guard->handler) return false;
  if (now.sa_flags & SA_SIGINFO) return false;
  mm_guard_action(guard, &now);
  return sigaction(signal, &now, NULL) == 0;
}

/* The handler itself. */
void mm_handler(int signal, siginfo_t *info, void *context) {
  int saved = errno;
  struct mm_guard *guard = mm_guard();
  if (guard != NULL && !restore_flags(guard, signal) && !serve(guard, signal, info, context)) {
    chain(guard, signal, info, context);
  }
  errno = saved;
}
