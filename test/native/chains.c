/* SPDX-License-Identifier: MIT
 *
 * Signals that are not the guard's, each in a child that may die of it: they go on to whoever stood
 * there before, was put over the guard since, or to the system's default, as without the guard.
 *
 * Runs before anything else has mapped, so that each child installs the guard itself.
 */
#include "check.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* What a child may do with the memory that it is given: a page of zeros that is not the guard's. */
typedef void (*child_part)(uint8_t *foreign);

/* Runs a part in a child; its exit code, or minus the signal that ended it. */
static int outcome_of(child_part part) {
  size_t page = mm_sys_page_size();
  (void)fflush(NULL);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    (void)alarm(30); /* a signal that is taken for ours comes again for ever */
    struct mm_map_request request = {
        .length = page, .prot = PROT_NONE, .flags = MAP_PRIVATE | MAP_ANONYMOUS, .fd = -1};
    void *foreign;
    if (mm_sys_mmap(&request, &foreign) != 0) _exit(99);
    part(foreign);
    _exit(0);
  }
  int status;
  CHECK(waitpid(child, &status, 0) == child);
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

/* Ends the child with a code of its own when something is not as it should be. */
static void demand(bool condition, int code) {
  if (!condition) _exit(code);
}

/* A mapping of the guard's, and whether a fault of it is served. */
static struct mm_handle *guarded(void) { return new_mapping(mm_sys_page_size(), false); }

static bool serves(struct mm_handle *handle) {
  uint8_t *base = handle->region->base;
  if (mm_sys_mprotect(base, mm_sys_page_size(), PROT_NONE) != 0) return false;
  poke(base + 1, 7);
  return peek(base + 1) == 7 && told(handle->region->slot, 1, base + 1, true, MM_FAULT_PROTECTED);
}

static void set(int signal, void (*handler)(int, siginfo_t *, void *)) {
  struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
  demand(sigaction(signal, &action, NULL) == 0, 98);
}

/* ---- without anybody else ------------------------------------------------------------------ */

static void touch_foreign(uint8_t *foreign) {
  demand(serves(guarded()), 10);
  (void)peek(foreign);
}

static void touch_nothing(uint8_t *foreign) {
  (void)guarded();
  demand(mm_sys_munmap(foreign, mm_sys_page_size()) == 0, 10);
  poke(foreign, 1);
}

static void touch_foreign_missing(uint8_t *foreign) {
  size_t page = mm_sys_page_size();
  int fd = mm_sys_memory("test", 0, (off_t)page);
  struct mm_map_request request = {.hint = foreign,
                                   .length = page,
                                   .prot = PROT_READ,
                                   .flags = MAP_SHARED | MAP_FIXED,
                                   .fd = fd};
  void *out;
  (void)guarded();
  demand(mm_sys_mmap(&request, &out) == 0 && ftruncate(fd, 0) == 0, 10);
  (void)peek(foreign);
}

static void send_segv(uint8_t *foreign) {
  (void)foreign;
  (void)guarded();
  (void)raise(SIGSEGV);
}

static void send_bus(uint8_t *foreign) {
  (void)foreign;
  (void)guarded();
  (void)kill(getpid(), SIGBUS);
}

/* A page of ours that is fetched as an instruction is never repaired. */
static void run_data(uint8_t *foreign) {
  (void)foreign;
  struct mm_handle *handle = guarded();
  void (*code)(void) = (void (*)(void))(uintptr_t)handle->region->base;
  code();
}

/* A range that was given back is foreign again. */
static void touch_removed(uint8_t *foreign) {
  size_t page = mm_sys_page_size();
  struct mm_range range = {.base = foreign, .length = page, .page = page};
  (void)guarded();
  struct mm_slot *slot = mm_guard_add(&range);
  demand(peek(foreign) == 0, 10);
  mm_guard_remove(slot);
  demand(mm_sys_mprotect(foreign, page, PROT_NONE) == 0, 11);
  (void)peek(foreign);
}

static void see_installation(uint8_t *foreign) {
  (void)foreign;
  static const int signals[] = {SIGSEGV, SIGBUS};
  (void)guarded();
  demand(mm_guard_install() == 0, 10);
  for (size_t i = 0; i < 2; i++) {
    struct sigaction action;
    demand(sigaction(signals[i], NULL, &action) == 0, 11);
    demand(action.sa_sigaction == mm_guard()->handler, 12);
    demand((action.sa_flags & (SA_SIGINFO | SA_ONSTACK)) == (SA_SIGINFO | SA_ONSTACK), 13);
    demand(sigismember(&action.sa_mask, SIGPROF) == 1, 14);
  }
}

static void keep_errno(uint8_t *foreign) {
  (void)foreign;
  struct mm_handle *handle = guarded();
  errno = 4321;
  demand(serves(handle), 10);
  demand(errno == 4321, 11);
}

/* ---- with somebody who was there before ---------------------------------------------------- */

static sigjmp_buf back;
static volatile int seen_signal;
static void *volatile seen_address;

static void jump(int signal, siginfo_t *info, void *context) {
  (void)context;
  seen_signal = signal;
  seen_address = info->si_addr;
  siglongjmp(back, 1);
}

static void jump_plain(int signal) {
  seen_signal = signal;
  siglongjmp(back, 1);
}

/* A handler that makes the page right and returns, as a collector's write barrier does. */
static void repair(int signal, siginfo_t *info, void *context) {
  (void)context;
  seen_signal = signal;
  if (mprotect(info->si_addr, 1, PROT_READ | PROT_WRITE) != 0) _exit(97);
}

static void reach_before(uint8_t *foreign) {
  set(SIGSEGV, jump);
  struct mm_handle *handle = guarded();
  demand(serves(handle), 10);
  demand(seen_signal == 0, 11);
  if (sigsetjmp(back, 1) == 0) {
    (void)peek(foreign);
    _exit(12);
  }
  demand(seen_signal == SIGSEGV && seen_address == foreign, 13);
  /* Once more: the first time left no trace. */
  if (sigsetjmp(back, 1) == 0) (void)peek(foreign);
  demand(serves(guarded()), 14);
}

static void reach_plain_before(uint8_t *foreign) {
  struct sigaction action = {.sa_handler = jump_plain};
  demand(sigaction(SIGSEGV, &action, NULL) == 0, 10);
  demand(serves(guarded()), 11);
  if (sigsetjmp(back, 1) == 0) {
    (void)peek(foreign);
    _exit(12);
  }
  demand(seen_signal == SIGSEGV, 13);
}

static void go_on_after_before(uint8_t *foreign) {
  set(SIGSEGV, repair);
  demand(serves(guarded()), 10);
  poke(foreign, 5);
  demand(seen_signal == SIGSEGV && peek(foreign) == 5, 11);
}

static void ignored_before(uint8_t *foreign) {
  struct sigaction action = {.sa_handler = SIG_IGN};
  demand(sigaction(SIGSEGV, &action, NULL) == 0, 10);
  demand(serves(guarded()), 11);
  (void)peek(foreign);
}

static void sent_before(uint8_t *foreign) {
  (void)foreign;
  set(SIGBUS, jump);
  (void)guarded();
  if (sigsetjmp(back, 1) == 0) {
    (void)raise(SIGBUS);
    _exit(10);
  }
  demand(seen_signal == SIGBUS, 11);
}

/* ---- with somebody who comes later --------------------------------------------------------- */

static void reach_later(uint8_t *foreign) {
  struct mm_handle *handle = guarded();
  set(SIGSEGV, jump);
  demand(mm_guard_install() == 0, 10);
  demand(serves(handle), 11);
  if (sigsetjmp(back, 1) == 0) {
    (void)peek(foreign);
    _exit(12);
  }
  demand(seen_signal == SIGSEGV && seen_address == foreign, 13);
}

static struct sigaction under;
static volatile int later_calls;

/* A handler that passes on what it does not know to the one it found: that is the guard. */
static void pass_on(int signal, siginfo_t *info, void *context) {
  later_calls++;
  under.sa_sigaction(signal, info, context);
}

/* The two would call one another for ever; the guard sees it and goes to who was there first. */
static void loop_with_later(uint8_t *foreign) {
  set(SIGSEGV, repair);
  struct mm_handle *handle = guarded();
  struct sigaction over = {.sa_sigaction = pass_on, .sa_flags = SA_SIGINFO};
  demand(sigaction(SIGSEGV, &over, &under) == 0, 10);
  demand(mm_guard_install() == 0, 11);
  demand(serves(handle), 12);
  demand(later_calls == 0, 13);
  poke(foreign, 6);
  demand(later_calls == 1 && seen_signal == SIGSEGV && peek(foreign) == 6, 14);
}

/* A handler over the guard that passes ours on to it: served as well, without being put back. */
static void serve_from_below(uint8_t *foreign) {
  (void)foreign;
  struct mm_handle *handle = guarded();
  struct sigaction over = {.sa_sigaction = pass_on, .sa_flags = SA_SIGINFO};
  demand(sigaction(SIGSEGV, &over, &under) == 0, 10);
  demand(serves(handle), 11);
  demand(later_calls == 1, 12);
}

/* Some runtimes put the handler back without its flags; the next fault mends that. */
static void without_flags(uint8_t *foreign) {
  (void)foreign;
  struct mm_handle *handle = guarded();
  struct sigaction action;
  demand(sigaction(SIGSEGV, NULL, &action) == 0, 10);
  action.sa_flags &= ~SA_SIGINFO;
  demand(sigaction(SIGSEGV, &action, NULL) == 0, 11);
  demand(serves(handle), 12);
  demand(sigaction(SIGSEGV, NULL, &action) == 0 && (action.sa_flags & SA_SIGINFO) != 0, 13);
}

/* A fault while the thread has all signals blocked cannot be delivered, with or without a guard. */
static void blocked(uint8_t *foreign) {
  (void)foreign;
  struct mm_handle *handle = guarded();
  sigset_t all;
  sigfillset(&all);
  demand(sigprocmask(SIG_SETMASK, &all, NULL) == 0, 10);
  (void)serves(handle);
}

static const struct {
  const char *name;
  child_part part;
  int outcome;
} chains[] = {
    {"touch foreign memory", touch_foreign, -SIGSEGV},
    {"touch nothing", touch_nothing, -SIGSEGV},
    {"touch foreign memory that is missing", touch_foreign_missing, -SIGBUS},
    {"send SIGSEGV", send_segv, -SIGSEGV},
    {"send SIGBUS", send_bus, -SIGBUS},
    {"run data", run_data, -SIGSEGV},
    {"touch what was removed", touch_removed, -SIGSEGV},
    {"see the installation", see_installation, 0},
    {"keep errno", keep_errno, 0},
    {"reach who was before", reach_before, 0},
    {"reach a plain handler", reach_plain_before, 0},
    {"go on after who was before", go_on_after_before, 0},
    {"ignored before", ignored_before, -SIGSEGV},
    {"a sent signal reaches who was before", sent_before, 0},
    {"reach who came later", reach_later, 0},
    {"loop with who came later", loop_with_later, 0},
    {"serve from below", serve_from_below, 0},
    {"without flags", without_flags, 0},
    {"with all signals blocked", blocked, -SIGSEGV},
};

void test_chains(void) {
  bool failed = false;
  CHECK(mm_guard() == NULL); /* nothing has been mapped yet */
  for (size_t i = 0; i < sizeof chains / sizeof chains[0]; i++) {
    int outcome = outcome_of(chains[i].part);
    if (outcome == chains[i].outcome) continue;
    fprintf(stderr, "%s: %d and not %d\n", chains[i].name, outcome, chains[i].outcome);
    failed = true;
  }
  CHECK(!failed);
}
