/* SPDX-License-Identifier: MIT
 *
 * The descriptors that the raw door has made, so that it closes no other: closing one of the
 * engine's ends the process. Owns the list of them and its lock. A number alone does not name a
 * descriptor, since it is used again after a close that went past this list; the file behind it
 * does.
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

/* Closes a descriptor of the list; -EBADF for all others. */
int mm_descriptor_close(int fd) {
  struct stat status;
  int result = -EBADF;
  (void)pthread_mutex_lock(&lock);
  struct made **at = find(fd);
  if (*at != NULL) {
    struct made found = **at;
    forget(at);
    bool same = fstat(fd, &status) == 0 && status.st_dev == found.device &&
                status.st_ino == found.inode;
    if (same) result = mm_sys_close(fd);
  }
  (void)pthread_mutex_unlock(&lock);
  return result;
}
