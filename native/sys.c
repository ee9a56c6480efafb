/* SPDX-License-Identifier: MIT
 *
 * Every system call of the addon, one thin function each: arguments in, 0 or a value or a negative
 * errno out. Nothing here keeps state or knows of regions. All functions may be called from any
 * thread.
 *
 * Divisions: mappings, checked copy, files and descriptors, limits and names.
 */
#include "memmap.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

/* ---- mappings ------------------------------------------------------------------------------ */

/* Maps as mmap(2); the caller owns *out and must unmap it. */
int mm_sys_mmap(const struct mm_map_request *request, void **out) {
  void *base = mmap(request->hint, request->length, request->prot, request->flags, request->fd,
                    request->offset);
  if (base == MAP_FAILED) return -errno;
  *out = base;
  return 0;
}

int mm_sys_munmap(void *base, size_t length) { return munmap(base, length) == 0 ? 0 : -errno; }

/* Moves, grows or (with old_length 0) doubles a mapping as mremap(2). */
int mm_sys_mremap(void *old, size_t old_length, size_t length, int flags, void *target,
                  void **out) {
  void *base = mremap(old, old_length, length, flags, target);
  if (base == MAP_FAILED) return -errno;
  *out = base;
  return 0;
}

int mm_sys_mprotect(void *base, size_t length, int prot) {
  return mprotect(base, length, prot) == 0 ? 0 : -errno;
}

int mm_sys_madvise(void *base, size_t length, int advice) {
  return madvise(base, length, advice) == 0 ? 0 : -errno;
}

int mm_sys_msync(void *base, size_t length, int flags) {
  int result;
  do {
    result = msync(base, length, flags);
  } while (result != 0 && errno == EINTR);
  return result == 0 ? 0 : -errno;
}

int mm_sys_mlock(const void *base, size_t length) {
  return mlock(base, length) == 0 ? 0 : -errno;
}

int mm_sys_munlock(const void *base, size_t length) {
  return munlock(base, length) == 0 ? 0 : -errno;
}

int mm_sys_mincore(void *base, size_t length, unsigned char *vector) {
  int result;
  do {
    result = mincore(base, length, vector);
  } while (result != 0 && errno == EAGAIN);
  return result == 0 ? 0 : -errno;
}

size_t mm_sys_page_size(void) { return (size_t)sysconf(_SC_PAGESIZE); }

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
  struct iovec local = {.iov_base = target, .iov_len = length};
  /* SAFETY: the const is cast away for the structure only; the kernel reads from this side. */
  struct iovec remote = {.iov_base = (void *)(uintptr_t)source, .iov_len = length};
  ssize_t copied = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
  if (copied > 0) return copied;
  /* Device memory cannot be pinned, and some sandboxes refuse the call: ask another way. */
  return copy_through_pipe(target, source, length);
}

/* ---- files and descriptors ----------------------------------------------------------------- */

/* Allocates the space of a range of a file for real, and makes the file at least so long. Where the
 * file system cannot (-EOPNOTSUPP), zeros are written behind the old end instead. A failure leaves
 * the file as long as it was. Blocks on storage: not for the event loop. */
int mm_sys_allocate(int fd, off_t offset, off_t length) {
  static const char zeros[65536];
  struct stat before;
  int result;
  if (fstat(fd, &before) != 0) return -errno;
  do {
    result = fallocate(fd, 0, offset, length) == 0 ? 0 : -errno;
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

/* Creates anonymous memory with a descriptor, `length` bytes long; the caller owns it. */
int mm_sys_memory(const char *name, unsigned flags, off_t length) {
  int fd = memfd_create(name, flags);
  if (fd < 0) return -errno;
  if (ftruncate(fd, length) != 0) {
    int error = -errno;
    close(fd);
    return error;
  }
  return fd;
}

/* Makes a memory object longer, or gives back what lies behind its new length. It never becomes
 * shorter, since another holder may have it mapped to the old end. */
int mm_sys_resize_memory(int fd, off_t length, off_t old_length) {
  struct stat status;
  if (fstat(fd, &status) != 0) return -errno;
  if (length > status.st_size) return ftruncate(fd, length) == 0 ? 0 : -errno;
  if (length >= old_length) return 0;
  int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  return fallocate(fd, mode, length, old_length - length) == 0 ? 0 : -errno;
}

int mm_sys_duplicate(int fd) {
  int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  return copy >= 0 ? copy : -errno;
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
