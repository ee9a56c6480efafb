/* SPDX-License-Identifier: MIT
 *
 * Every system call of the addon, one thin function each: arguments in, 0 or a value or a negative
 * errno out. Nothing here knows of regions. All functions may be called from any thread.
 *
 * Divisions: failures on demand, mappings, areas of the process, checked copy, files and
 * descriptors, limits and names, futexes, the ring.
 */
#include "memmap.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/magic.h>
#include <linux/types.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

/* ---- failures on demand -------------------------------------------------------------------- */

/* The calls that tests can make fail, by their names in the manual. */
static const char *const call_names[] = {"mmap",      "munmap",    "mremap",       "mprotect",
                                         "madvise",   "msync",     "mlock",        "munlock",
                                         "mincore",   "fallocate", "memfd_create", "ftruncate",
                                         "process_vm_readv",       "fcntl",
                                         "futex_waitv",            "io_uring_setup"};
enum call {
  CALL_MMAP, CALL_MUNMAP, CALL_MREMAP, CALL_MPROTECT, CALL_MADVISE, CALL_MSYNC, CALL_MLOCK,
  CALL_MUNLOCK, CALL_MINCORE, CALL_FALLOCATE, CALL_MEMFD, CALL_FTRUNCATE, CALL_COPY, CALL_FCNTL,
  CALL_WAITV, CALL_RING,
  CALL_COUNT, CALL_NONE = -1
};

/* Which call fails next, after how many more, and with what: for tests, so that each error path
 * runs on a healthy system. Process-wide, as the calls are; CALL_NONE costs one load. */
static atomic_int failing_call = CALL_NONE;
static atomic_int failing_after;
static atomic_int failing_error;

/* 0, or the negative errno that this call must answer instead of asking the kernel. */
static int failure_of(enum call call) {
  if (atomic_load_explicit(&failing_call, memory_order_relaxed) != (int)call) return 0;
  if (atomic_fetch_sub(&failing_after, 1) != 1) return 0;
  atomic_store(&failing_call, CALL_NONE);
  return -atomic_load(&failing_error);
}

/* Makes the nth call of a name from now on fail once; false for a name that is not in the table. */
bool mm_sys_fail(const char *name, int nth, int error) {
  for (int i = 0; i < CALL_COUNT; i++) {
    if (strcmp(call_names[i], name) != 0) continue;
    atomic_store(&failing_after, nth);
    atomic_store(&failing_error, error);
    atomic_store(&failing_call, nth > 0 ? i : CALL_NONE);
    return true;
  }
  return false;
}

/* ---- mappings ------------------------------------------------------------------------------ */

/* The kernel keeps so many pages free below a stack (Documentation/admin-guide/
 * kernel-parameters.txt, stack_guard_gap). */
#define STACK_GAP_PAGES 256

/* Whether a range holds addresses that the stack of the first thread may still grow into: nothing
 * is mapped there, and yet the process dies of a deep call when something stands in the way. */
bool mm_sys_in_stack(uintptr_t base, uintptr_t end) {
  uintptr_t top = (uintptr_t)getauxval(AT_RANDOM); /* the kernel put it at the stack's beginning */
  uintptr_t reach = (uintptr_t)1 << 30;            /* of a stack without a limit */
  uintptr_t gap = STACK_GAP_PAGES * mm_sys_page_size();
  struct rlimit limit;
  if (getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
    reach = (uintptr_t)limit.rlim_cur;
  }
  if (reach > top / 6 * 5) reach = top / 6 * 5; /* more the kernel never keeps free for it */
  return base < top && end > top - reach - gap;
}

/* Maps as mmap(2); the caller owns *out and must unmap it. A hint where the stack grows is none. */
int mm_sys_mmap(const struct mm_map_request *request, void **out) {
  int failure = failure_of(CALL_MMAP);
  if (failure != 0) return failure;
  uintptr_t at = (uintptr_t)request->hint;
  void *hint = request->hint;
  bool fixed = (request->flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) != 0;
  if (at != 0 && !fixed && mm_sys_in_stack(at, at + request->length)) hint = NULL;
  void *base =
      mmap(hint, request->length, request->prot, request->flags, request->fd, request->offset);
  if (base == MAP_FAILED) return -errno;
  *out = base;
  return 0;
}

int mm_sys_munmap(void *base, size_t length) {
  int failure = failure_of(CALL_MUNMAP);
  if (failure != 0) return failure;
  return munmap(base, length) == 0 ? 0 : -errno;
}

/* Moves, grows or (with old_length 0) doubles a mapping as mremap(2). */
int mm_sys_mremap(void *old, size_t old_length, size_t length, int flags, void *target,
                  void **out) {
  int failure = failure_of(CALL_MREMAP);
  if (failure != 0) return failure;
  void *base = mremap(old, old_length, length, flags, target);
  if (base == MAP_FAILED) return -errno;
  *out = base;
  return 0;
}

int mm_sys_mprotect(void *base, size_t length, int prot) {
  int failure = failure_of(CALL_MPROTECT);
  if (failure != 0) return failure;
  return mprotect(base, length, prot) == 0 ? 0 : -errno;
}

int mm_sys_madvise(void *base, size_t length, int advice) {
  int failure = failure_of(CALL_MADVISE);
  if (failure != 0) return failure;
  return madvise(base, length, advice) == 0 ? 0 : -errno;
}

int mm_sys_msync(void *base, size_t length, int flags) {
  int failure = failure_of(CALL_MSYNC);
  if (failure != 0) return failure;
  int result;
  do {
    result = msync(base, length, flags);
  } while (result != 0 && errno == EINTR);
  return result == 0 ? 0 : -errno;
}

int mm_sys_mlock(const void *base, size_t length) {
  int failure = failure_of(CALL_MLOCK);
  if (failure != 0) return failure;
  return mlock(base, length) == 0 ? 0 : -errno;
}

/* Past the C library, which says EINVAL where the kernel has no such call. */
int mm_sys_mlock2(const void *base, size_t length, unsigned flags) {
  int failure = failure_of(CALL_MLOCK);
  if (failure != 0) return failure;
  return syscall(SYS_mlock2, base, length, flags) == 0 ? 0 : -errno;
}

int mm_sys_munlock(const void *base, size_t length) {
  int failure = failure_of(CALL_MUNLOCK);
  if (failure != 0) return failure;
  return munlock(base, length) == 0 ? 0 : -errno;
}

int mm_sys_mincore(void *base, size_t length, unsigned char *vector) {
  int failure = failure_of(CALL_MINCORE);
  if (failure != 0) return failure;
  int result;
  do {
    result = mincore(base, length, vector);
  } while (result != 0 && errno == EAGAIN);
  return result == 0 ? 0 : -errno;
}

size_t mm_sys_page_size(void) { return (size_t)sysconf(_SC_PAGESIZE); }

/* ---- areas of the process ------------------------------------------------------------------ */

/* PROCMAP_QUERY (Linux 6.11; Documentation/filesystems/proc.rst), as include/uapi/linux/fs.h lays
 * it out, for headers that are older. */
struct area_query {
  __u64 size;
  __u64 flags;
  __u64 address;
  __u64 start;
  __u64 end;
  __u64 facts[4];
  __u32 device[2];
  __u32 name_size;
  __u32 build_id_size;
  __u64 name;
  __u64 build_id;
};
#define QUERY_AREA _IOWR('f', 17, struct area_query)
#define QUERY_COVERING_OR_NEXT 0x10

/* The same from the text of the file, where the kernel has no such call. */
static int scan_next_area(FILE *maps, uintptr_t from, uintptr_t *start, uintptr_t *end) {
  char line[512];
  while (fgets(line, sizeof line, maps) != NULL) {
    unsigned long long first, last;
    if (sscanf(line, "%llx-%llx ", &first, &last) != 2 || last <= from) continue;
    *start = (uintptr_t)first;
    *end = (uintptr_t)last;
    return 0;
  }
  return -ENOENT;
}

/* The area that holds an address, or the next one behind it; -ENOENT when there is none, and -EIO
 * when that cannot be told. */
int mm_sys_next_area(uintptr_t from, uintptr_t *start, uintptr_t *end) {
  struct area_query query = {
      .size = sizeof query, .flags = QUERY_COVERING_OR_NEXT, .address = from};
  FILE *maps = fopen("/proc/self/maps", "re");
  if (maps == NULL) return -EIO;
  int result = ioctl(fileno(maps), QUERY_AREA, &query) == 0 ? 0 : -errno;
  if (result == 0) {
    *start = (uintptr_t)query.start;
    *end = (uintptr_t)query.end;
  } else if (result != -ENOENT) {
    result = scan_next_area(maps, from, start, end);
  }
  (void)fclose(maps);
  return result;
}

/* ---- checked copy -------------------------------------------------------------------------- */

/* Copies through a pipe, at most to the end of the source's page: slower than process_vm_readv,
 * but it reaches every kind of memory and needs no permission beyond a descriptor. */
static ssize_t copy_through_pipe(void *target, const void *source, size_t length) {
  int ends[2];
  ssize_t copied;
  size_t page = mm_sys_page_size();
  size_t rest = page - ((uintptr_t)source & (page - 1));
  if (length > rest) length = rest;
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return -errno;
  copied = write(ends[1], source, length);
  if (copied > 0) copied = read(ends[0], target, (size_t)copied);
  if (copied < 0) copied = -errno;
  close(ends[0]);
  close(ends[1]);
  return copied;
}

/* Lets the kernel copy between two ranges of this process, so that a page which cannot be read or
 * written is an -EFAULT here and not a signal. Returns the bytes copied (at least 1, fewer than
 * asked where a page is missing) or a negative errno when nothing was copied. The ranges must not
 * overlap. */
ssize_t mm_sys_copy(void *target, const void *source, size_t length) {
  int failure = failure_of(CALL_COPY);
  if (failure != 0) return failure;
  struct iovec local = {.iov_base = target, .iov_len = length};
  /* SAFETY: the const is cast away for the structure only; the kernel reads from this side. */
  struct iovec remote = {.iov_base = (void *)(uintptr_t)source, .iov_len = length};
  ssize_t copied = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
  if (copied > 0) return copied;
  /* Device memory cannot be pinned, and some sandboxes refuse the call: ask another way. */
  return copy_through_pipe(target, source, length);
}

/* ---- files and descriptors ----------------------------------------------------------------- */

/* Beyond RLIMIT_FSIZE the kernel answers -EFBIG and sends SIGXFSZ, which ends a process that does
 * not ignore it. The answer is enough: the signal is held back, and taken away if it came. */
static void hold_size_signal(sigset_t *saved) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGXFSZ);
  (void)pthread_sigmask(SIG_BLOCK, &set, saved);
}

static void drop_size_signal(const sigset_t *saved) {
  const struct timespec now = {0, 0};
  sigset_t set, pending;
  sigemptyset(&set);
  sigaddset(&set, SIGXFSZ);
  if (sigpending(&pending) == 0 && sigismember(&pending, SIGXFSZ) == 1) {
    (void)sigtimedwait(&set, NULL, &now);
  }
  (void)pthread_sigmask(SIG_SETMASK, saved, NULL);
}

/* Gives a file another length; ftruncate(2). */
int mm_sys_truncate(int fd, off_t length) {
  sigset_t saved;
  int failure = failure_of(CALL_FTRUNCATE);
  if (failure != 0) return failure;
  hold_size_signal(&saved);
  int result = ftruncate(fd, length) == 0 ? 0 : -errno;
  drop_size_signal(&saved);
  return result;
}

/* Allocates the space of a range of a file for real, and makes the file at least so long. Where the
 * file system cannot (-EOPNOTSUPP), zeros are written behind the old end instead. A failure leaves
 * the file as long as it was. Blocks on storage: not for the event loop. */
static int allocate(int fd, off_t offset, off_t length) {
  static const char zeros[65536];
  struct stat before;
  int result;
  if (fstat(fd, &before) != 0) return -errno;
  do {
    result = failure_of(CALL_FALLOCATE);
    if (result == 0) result = fallocate(fd, 0, offset, length) == 0 ? 0 : -errno;
  } while (result == -EINTR);
  if (result == -EOPNOTSUPP) {
    off_t at = before.st_size;
    result = 0;
    while (at < offset + length) {
      size_t piece = sizeof zeros;
      if ((off_t)piece > offset + length - at) piece = (size_t)(offset + length - at);
      ssize_t written = pwrite(fd, zeros, piece, at);
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) {
        result = -errno;
        break;
      }
      at += written;
    }
  }
  if (result != 0) {
    struct stat after;
    if (fstat(fd, &after) == 0 && after.st_size > before.st_size) {
      if (ftruncate(fd, before.st_size) != 0) return result;
    }
  }
  return result;
}

int mm_sys_allocate(int fd, off_t offset, off_t length) {
  sigset_t saved;
  hold_size_signal(&saved);
  int result = allocate(fd, offset, length);
  drop_size_signal(&saved);
  return result;
}

/* Creates anonymous memory with a descriptor, `length` bytes long; the caller owns it. */
int mm_sys_memory(const char *name, unsigned flags, off_t length) {
  int failure = failure_of(CALL_MEMFD);
  if (failure != 0) return failure;
  int fd = memfd_create(name, flags);
  if (fd < 0) return -errno;
  int error = mm_sys_truncate(fd, length);
  if (error == 0) return fd;
  close(fd);
  return error;
}

/* Makes a memory object longer, or gives back what lies behind its new length. It never becomes
 * shorter, since another holder may have it mapped to the old end. */
int mm_sys_resize_memory(int fd, off_t length, off_t old_length) {
  struct stat status;
  if (fstat(fd, &status) != 0) return -errno;
  if (length > status.st_size) return mm_sys_truncate(fd, length);
  if (length >= old_length) return 0;
  int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  return fallocate(fd, mode, length, old_length - length) == 0 ? 0 : -errno;
}

int mm_sys_duplicate(int fd) {
  int failure = failure_of(CALL_FCNTL);
  if (failure != 0) return failure;
  int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  return copy >= 0 ? copy : -errno;
}

/* Opens a file; never inherited by another program. */
int mm_sys_open(const char *path, int flags, mode_t mode) {
  int fd = open(path, flags | O_CLOEXEC, mode);
  return fd >= 0 ? fd : -errno;
}

int mm_sys_thread(void) { return (int)syscall(SYS_gettid); }

int mm_sys_flock(int fd, int operation) {
  int result;
  do {
    result = flock(fd, operation);
  } while (result != 0 && errno == EINTR);
  return result == 0 ? 0 : -errno;
}

/* Gives a file that was opened with O_TMPFILE a name (open(2)); -EEXIST where it is taken. */
int mm_sys_link(int fd, const char *path) {
  char self[32];
  (void)snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
  return linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0 ? 0 : -errno;
}

int mm_sys_close(int fd) { return close(fd) == 0 ? 0 : -errno; }

off_t mm_sys_seek(int fd, off_t offset, int whence) {
  off_t result = lseek(fd, offset, whence);
  return result >= 0 ? result : -errno;
}

/* The page size of a file on a hugetlbfs, 0 for every other file. */
long mm_sys_huge_page_size(int fd) {
  struct statfs status;
  if (fstatfs(fd, &status) != 0) return -errno;
  return status.f_type == HUGETLBFS_MAGIC ? (long)status.f_bsize : 0;
}

/* Whether this user may write the file, however it was opened: 1, 0 or a negative errno. */
int mm_sys_may_write(int fd) {
  char path[32];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  if (faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0) return 1;
  return errno == EACCES || errno == EPERM || errno == EROFS ? 0 : -errno;
}

/* ---- limits and names ---------------------------------------------------------------------- */

/* The soft limit in bytes, INFINITY-like RLIM_INFINITY as -1. */
int mm_sys_limit(int resource, double *out) {
  struct rlimit limit;
  if (getrlimit((__rlimit_resource_t)resource, &limit) != 0) return -errno;
  *out = limit.rlim_cur == RLIM_INFINITY ? -1 : (double)limit.rlim_cur;
  return 0;
}

/* Names private anonymous memory in /proc/PID/maps, where the kernel was built for it. */
int mm_sys_name(void *base, size_t length, const char *name) {
  return prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, base, length, name) == 0 ? 0 : -errno;
}

/* ---- futexes ------------------------------------------------------------------------------- */

/* Calls whose numbers are the same on every processor, for headers that are older. */
enum {
  NUMBER_OF_SETUP = 425,
  NUMBER_OF_ENTER = 426,
  NUMBER_OF_REGISTER = 427,
  NUMBER_OF_WAITV = 449,
};

/* Waits on a word of shared memory while it holds a value, for at most so many nanoseconds: 0 when
 * woken, -EAGAIN for another value, -ETIMEDOUT, -EINTR, -EFAULT. Never the private flag: waiters of
 * other processes find one another by the page behind the word. */
int mm_sys_futex_wait(uint32_t *word, uint32_t value, int64_t nanoseconds) {
  const int64_t second = 1000000000;
  struct timespec end;
  (void)clock_gettime(CLOCK_MONOTONIC, &end);
  int64_t fraction = end.tv_nsec + nanoseconds % second;
  end.tv_sec += (time_t)(nanoseconds / second + fraction / second);
  end.tv_nsec = (long)(fraction % second);
  long result = syscall(SYS_futex, word, FUTEX_WAIT_BITSET, value, &end, NULL,
                        FUTEX_BITSET_MATCH_ANY);
  return result == 0 ? 0 : -errno;
}

/* Wakes at most `count` waiters of a word and returns how many; none for a count of 0, for which
 * the kernel would wake one. `own` says that the word is this process's alone. */
int mm_sys_futex_wake(uint32_t *word, int count, bool own) {
  if (count <= 0) return 0;
  int operation = own ? FUTEX_WAKE_PRIVATE : FUTEX_WAKE;
  long result = syscall(SYS_futex, word, operation, count, NULL, NULL, 0);
  return result >= 0 ? (int)result : -errno;
}

/* Waits on a word of shared memory, and on one of this process's own while that is 0: 1 when the
 * first was woken, 0 for the second; a negative errno, -ENOSYS before Linux 5.16. */
int mm_sys_futex_wait_two(uint32_t *word, uint32_t value, _Atomic uint32_t *stop) {
  int failure = failure_of(CALL_WAITV);
  if (failure != 0) return failure;
  /* futex_waitv as include/uapi/linux/futex.h lays it out; of several that were woken the kernel
   * tells the last, which therefore is the word. */
  struct {
    uint64_t value, address;
    uint32_t flags, reserved;
  } waits[2] = {{0, (uintptr_t)stop, 2 | FUTEX_PRIVATE_FLAG, 0}, {value, (uintptr_t)word, 2, 0}};
  long result = syscall(NUMBER_OF_WAITV, waits, 2, 0, NULL, 0);
  return result >= 0 ? (int)result : -errno;
}

/* ---- the ring ------------------------------------------------------------------------------ */

int mm_sys_ring_setup(unsigned entries, void *parameters) {
  int failure = failure_of(CALL_RING);
  if (failure != 0) return failure;
  long result = syscall(NUMBER_OF_SETUP, entries, parameters);
  return result >= 0 ? (int)result : -errno;
}

int mm_sys_ring_enter(int fd, unsigned submit, unsigned wait, unsigned flags) {
  long result = syscall(NUMBER_OF_ENTER, fd, submit, wait, flags, NULL, 0);
  return result >= 0 ? (int)result : -errno;
}

int mm_sys_ring_register(int fd, unsigned what, void *argument, unsigned count) {
  long result = syscall(NUMBER_OF_REGISTER, fd, what, argument, count);
  return result >= 0 ? (int)result : -errno;
}
