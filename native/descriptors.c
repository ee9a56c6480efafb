/* SPDX-License-Identifier: MIT
 *
 * The descriptors that the raw door has made, so that it closes and truncates no other: closing one
 * of the engine's ends the process, and a file that the runtime has opened is the runtime's to
 * change, with the permissions that it asks for. Owns the list of them and its lock. A number alone
 * does not name a descriptor, since it is used again after a close that went past this list; the
 * file behind it does.
 */
#include "area.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>

struct made {
  struct made *next;
  int fd;
  dev_t device;
  ino_t inode;
};

/* Process-wide, since descriptors are. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct made *all; /* guarded by lock */

/* The place of a descriptor in the list, or of its end; under the lock. */
static struct made **find(int fd) {
  struct made **at = &all;
  while (*at != NULL && (*at)->fd != fd) at = &(*at)->next;
  return at;
}

static void forget(struct made **at) {
  struct made *entry = *at;
  *at = entry->next;
  free(entry);
}

/* Keeps a descriptor that was just made, and passes it on; a negative errno is passed on as it is.
 * Without memory for that it is closed: -ENOMEM. */
int mm_descriptor_made(int fd) {
  struct stat status;
  if (fd < 0) return fd;
  struct made *entry = fstat(fd, &status) == 0 ? malloc(sizeof *entry) : NULL;
  if (entry == NULL) {
    (void)mm_sys_close(fd);
    return -ENOMEM;
  }
  (void)pthread_mutex_lock(&lock);
  struct made **stale = find(fd);
  if (*stale != NULL) forget(stale);
  *entry = (struct made){all, fd, status.st_dev, status.st_ino};
  all = entry;
  (void)pthread_mutex_unlock(&lock);
  return fd;
}

/* Whether an entry still names the file that it was made for; under the lock. */
static bool is_same(const struct made *entry) {
  struct stat status;
  return fstat(entry->fd, &status) == 0 && status.st_dev == entry->device &&
         status.st_ino == entry->inode;
}

/* Closes a descriptor of the list; -EBADF for all others. */
int mm_descriptor_close(int fd) {
  int result = -EBADF;
  (void)pthread_mutex_lock(&lock);
  struct made **at = find(fd);
  if (*at != NULL) {
    bool same = is_same(*at);
    forget(at);
    if (same) result = mm_sys_close(fd);
  }
  (void)pthread_mutex_unlock(&lock);
  return result;
}

/* Gives the file of a descriptor of the list another length; -EBADF for all others. Under the lock,
 * so that the number names the same file until the call: it is in memory and waits for nothing. */
int mm_descriptor_truncate(int fd, off_t length) {
  int result = -EBADF;
  (void)pthread_mutex_lock(&lock);
  const struct made *entry = *find(fd);
  if (entry != NULL && is_same(entry)) result = mm_sys_truncate(fd, length);
  (void)pthread_mutex_unlock(&lock);
  return result;
}
