// The limit for channels: two processes of plain C on rings of the same layout (src/ipc/ring.ts and
// channel-layout.ts), one sender and one receiver each, spinning, without locks. Prints what it has
// measured as JSON.
//
//     ring trip SIZE COUNT          each message comes back before the next one is sent
//     ring one-way SIZE COUNT       messages follow one another, copied in and out
//     ring in-place SIZE COUNT      the same, and the receiver only looks at both ends

#define _GNU_SOURCE
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { HEAD = 4096, CAPACITY = 8 << 20, TAIL = 18, CURSOR = 34, WHOLE = 1, PADDING = 5 };

struct ring {
  _Atomic uint32_t *words;
  uint8_t *data;
};

static struct ring make(void) {
  uint8_t *base = mmap(NULL, HEAD + CAPACITY, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (base == MAP_FAILED) exit(1);
  return (struct ring){(_Atomic uint32_t *)(void *)base, base + HEAD};
}

static uint32_t record_length(uint32_t length) { return 8 + ((length + 7) & ~7U); }

static void write_head(struct ring ring, uint32_t place, uint32_t length, uint32_t what) {
  memcpy(ring.data + place, &length, 4);
  memcpy(ring.data + place + 4, &what, 4);
}

static void send_one(struct ring ring, const uint8_t *message, uint32_t length) {
  uint32_t tail = atomic_load_explicit(&ring.words[TAIL], memory_order_relaxed);
  uint32_t room = CAPACITY - (tail & (CAPACITY - 1));
  uint32_t padding = record_length(length) <= room ? 0 : room;
  uint32_t need = padding + record_length(length);
  while (tail - atomic_load_explicit(&ring.words[CURSOR], memory_order_acquire) + need > CAPACITY) {
  }
  if (padding > 0) write_head(ring, tail & (CAPACITY - 1), padding - 8, PADDING);
  uint32_t place = (tail + padding) & (CAPACITY - 1);
  memcpy(ring.data + place + 8, message, length);
  write_head(ring, place, length, WHOLE);
  atomic_store_explicit(&ring.words[TAIL], tail + need, memory_order_release);
}

/* The bytes received; where `target` is NULL they are only looked at. */
static uint32_t receive_one(struct ring ring, uint8_t *target) {
  for (;;) {
    uint32_t head = atomic_load_explicit(&ring.words[CURSOR], memory_order_relaxed);
    while (atomic_load_explicit(&ring.words[TAIL], memory_order_acquire) == head) {
    }
    uint32_t place = head & (CAPACITY - 1);
    uint32_t length, what;
    memcpy(&length, ring.data + place, 4);
    memcpy(&what, ring.data + place + 4, 4);
    const uint8_t *payload = ring.data + place + 8;
    bool is_whole = target != NULL || length == 0 || (payload[0] == 1 && payload[length - 1] == 1);
    if (what == WHOLE && target != NULL) memcpy(target, payload, length);
    atomic_store_explicit(&ring.words[CURSOR], head + record_length(length), memory_order_release);
    if (what == WHOLE) return is_whole ? length : 0;
  }
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  bool is_trip = strcmp(argv[1], "trip") == 0, in_place = strcmp(argv[1], "in-place") == 0;
  uint32_t size = (uint32_t)strtoul(argv[2], NULL, 10);
  long count = strtol(argv[3], NULL, 10), warm_up = is_trip ? 2000 : 0;
  struct ring there = make(), back = make();
  uint8_t *buffer = malloc(size + 8);
  if (buffer == NULL) return 1;
  memset(buffer, 1, size + 8);
  pid_t child = fork();
  if (child == 0) {
    double bytes = 0;
    if (!is_trip) send_one(back, buffer, 0);
    for (long i = -warm_up; i < count; i++) {
      uint32_t length = receive_one(there, in_place ? NULL : buffer);
      if (is_trip) send_one(back, buffer, length);
      bytes += length;
    }
    if (!is_trip) send_one(back, (const uint8_t *)&bytes, sizeof bytes);
    _exit(0);
  }
  double bytes = 0, from = 0;
  if (!is_trip) receive_one(back, buffer);
  memset(buffer, 1, size + 8);
  for (long i = -warm_up; i < count; i++) {
    if (i == 0) from = now();
    send_one(there, buffer, size);
    if (is_trip && i >= 0) bytes += receive_one(back, buffer);
    else if (is_trip) receive_one(back, buffer);
  }
  if (!is_trip) receive_one(back, (uint8_t *)&bytes);
  double elapsed = now() - from;
  waitpid(child, NULL, 0);
  printf("{\"answer\":%.0f,\"elapsedMs\":%.6f}\n", bytes, elapsed);
  return 0;
}
