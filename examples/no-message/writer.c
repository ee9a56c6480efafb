/* A program that knows nothing of memmap: it stores into a file that it has mapped. Its stores are
 * those of writer.ts.
 *
 *     writer FILE COUNT
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct shared {
  _Atomic int32_t count;
  int32_t unused;
  double time_ms; /* of the last store, since 1970 */
};

int main(int argc, char **argv) {
  int fd = argc == 3 ? open(argv[1], O_RDWR) : -1;
  if (fd < 0) return 2;
  struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (shared == MAP_FAILED) return 1;
  close(fd); /* The mapping stays. */
  for (int i = 1; i <= atoi(argv[2]); i += 1) {
    nanosleep(&(struct timespec){0, (12 + i * 7 % 11) * 1000000}, NULL);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    shared->time_ms = (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
    atomic_store(&shared->count, i);
  }
  return 0;
}
