/* SPDX-License-Identifier: MIT
 *
 * The calls of the manual on addresses, as the raw door makes them: what the kernel can refuse, the
 * kernel refuses; what would change memory that others mapped is refused here (MM_FOREIGN). Holes
 * and reserved addresses are never touched, since another thread may get a hole at any moment.
 *
 * Each call holds the registry's lock (area.c) from the look at the areas to its end.
 */
#include "area.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_process_madvise
#define SYS_process_madvise 440 /* Linux 5.10 */
#endif
#ifndef SYS_mseal
#define SYS_mseal 462 /* Linux 6.10 */
#endif

/* Behind this no address of a program lies, unless it asked for one there. */
#if defined(__x86_64__)
#define USER_END ((uintptr_t)1 << 47)
#else
#define USER_END ((uintptr_t)1 << 48)
#endif

/* A range as the kernel takes it: whole pages. */
struct span {
  uintptr_t base;
  uintptr_t end;
};

/* False for a range that every kernel refuses, so that its answer may be asked for. */
static bool span_of(const void *address, size_t length, size_t page, struct span *out) {
  uintptr_t base = (uintptr_t)address;
  size_t whole = (length + page - 1) / page * page;
  *out = (struct span){base, base + whole};
  return base % mm_sys_page_size() == 0 && length > 0 && whole >= length && base + whole > base;
}

/* ---- mmap ---------------------------------------------------------------------------------- */

/* The size of a page of the pool that MAP_HUGETLB without a size takes from. */
static size_t default_huge_page(void) {
  unsigned long kibibytes = 2048;
  char line[128];
  FILE *info = fopen("/proc/meminfo", "re");
  while (info != NULL && fgets(line, sizeof line, info) != NULL) {
    if (sscanf(line, "Hugepagesize: %lu kB", &kibibytes) == 1) break;
  }
  if (info != NULL) (void)fclose(info);
  return (size_t)kibibytes * 1024;
}

/* The bytes in a page of what a request maps. */
static size_t page_of(const struct mm_map_request *request) {
  size_t page = mm_sys_page_size();
  if ((request->flags & MAP_ANONYMOUS) == 0) {
    long huge = request->fd < 0 ? 0 : mm_sys_huge_page_size(request->fd);
    return huge > 0 ? (size_t)huge : page;
  }
  if ((request->flags & MAP_HUGETLB) == 0) return page;
  unsigned shift = ((unsigned)request->flags >> MAP_HUGE_SHIFT) & 63u;
  if (shift == 0) return default_huge_page();
  return shift >= 12 && shift < 48 ? (size_t)1 << shift : page;
}

/* Whether a new mapping will grow downwards: not one on top of another, with which the kernel may
 * count it as one. */
static bool grows_down(const struct mm_map_request *request, struct span span) {
  uintptr_t start = 0, stop = 0, page = mm_sys_page_size();
  if ((request->flags & MAP_GROWSDOWN) == 0 || span.base < page) return false;
  int result = mm_sys_next_area(span.base - page, &start, &stop);
  return result == -ENOENT || (result == 0 && start >= span.base);
}

static struct mm_area area_of(const struct mm_map_request *request, struct span span, size_t page) {
  int type = request->flags & MAP_TYPE;
  return (struct mm_area){
      .base = span.base,
      .length = span.end - span.base,
      .page = page,
      .live = true,
      .shared = type == MAP_SHARED || type == MAP_SHARED_VALIDATE,
      .anonymous = (request->flags & MAP_ANONYMOUS) != 0,
      .grows_down = grows_down(request, span),
      .owner = request->owner,
  };
}

/* Where the kernel chooses. Nobody else knows the address before it is registered. */
static int map_anywhere(const struct mm_map_request *request, size_t page, void **out) {
  struct span span;
  int result = mm_sys_mmap(request, out);
  if (result != 0) return mm_spare_give(result);
  (void)span_of(*out, request->length, page, &span);
  struct mm_area plan = area_of(request, span, page);
  result = mm_area_add(&plan);
  if (result != 0) (void)mm_sys_munmap(*out, span.end - span.base);
  return result;
}

/* Memory that nobody may touch, in a place where nothing stands; -EEXIST where something does. */
static int map_nothing(uintptr_t base, uintptr_t end) {
  struct mm_map_request request = {
      .hint = (void *)base,
      .length = end - base,
      .prot = PROT_NONE,
      .flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE,
      .fd = -1,
  };
  void *same;
  return mm_sys_mmap(&request, &same);
}

/* Takes the pages of a range that nobody has, so that the range can be replaced as a whole: pages
 * that others took meanwhile are MM_FOREIGN, and so is what the stack grows into. What was taken is
 * registered as reserved. The caller holds the lock. */
int mm_raw_take(uintptr_t base, uintptr_t stop, void *owner) {
  while (base < stop) {
    struct mm_area *area = mm_area_from(base);
    uintptr_t end = area == NULL || area->base >= stop ? stop : area->base;
    if (base < end) {
      struct mm_area plan = {
          .base = base,
          .length = end - base,
          .page = mm_sys_page_size(),
          .anonymous = true,
          .owner = owner,
      };
      int result = mm_sys_in_stack(base, end) ? -EEXIST : map_nothing(base, end);
      if (result != 0) return result == -EEXIST ? MM_FOREIGN : result;
      result = mm_area_add(&plan);
      if (result != 0) {
        (void)mm_sys_munmap((void *)base, end - base);
        return result;
      }
    }
    base = end == stop ? stop : area->base + area->length;
  }
  return 0;
}

/* Whether the file gives such a mapping at all: kernels unmap what stands at a fixed address before
 * they ask it. Without the flags that cost time. */
static int try_elsewhere(const struct mm_map_request *request, struct span span) {
  struct mm_map_request trial = *request;
  void *base;
  if ((request->flags & MAP_ANONYMOUS) != 0) return 0;
  trial.hint = NULL;
  trial.flags &= ~(MAP_FIXED | MAP_FIXED_NOREPLACE | MAP_POPULATE | MAP_LOCKED);
  int result = mm_sys_mmap(&trial, &base);
  if (result == 0) (void)mm_sys_munmap(base, span.end - span.base);
  /* A pool may have no second set of pages to try with: the real call tells. */
  return result == -ENOMEM ? 0 : result;
}

/* A call at a fixed address has failed and may have unmapped what stood there: the addresses are
 * taken again before anybody else gets them. The caller holds the lock. */
void mm_raw_hold(uintptr_t base, uintptr_t end) {
  struct mm_area *area = mm_area_from(base);
  for (; area != NULL && area->base < end; area = area->next) {
    (void)map_nothing(area->base, area->base + area->length);
  }
}

/* Replaces what is ours in a range, with the guard standing from before to after. */
static int replace(const struct mm_map_request *request, struct span span, size_t page) {
  struct mm_area plan = area_of(request, span, page);
  struct mm_map_request fixed = *request;
  void *same;
  fixed.flags = (request->flags & ~MAP_FIXED_NOREPLACE) | MAP_FIXED;
  int result = mm_raw_take(span.base, span.end, request->owner);
  if (result == 0) result = mm_area_cut(span.base);
  if (result == 0) result = mm_area_cut(span.end);
  if (result == 0) result = try_elsewhere(request, span);
  struct mm_area *made = result == 0 ? mm_area_make(&plan) : NULL;
  if (result == 0 && made == NULL) result = -ENOMEM;
  if (result == 0) {
    result = mm_sys_mmap(&fixed, &same);
    if (result == 0) {
      mm_guard_renew(made->slot); /* of what another thread touched before */
      mm_area_put(made);
      return 0;
    }
    mm_area_unmake(made);
    mm_raw_hold(span.base, span.end);
  }
  (void)mm_area_release(span.base, span.end, false);
  return mm_spare_give(result);
}

/* Lets the kernel say why a range can be none. An address inside the last page, which is not at the
 * beginning of one, comes back as if it were an errno: any number up to 4095. */
static int refused(const struct mm_map_request *request, void **out) {
  int result = mm_sys_mmap(request, out);
  bool echoed = result < 0 && (intptr_t)request->hint == result;
  return echoed ? -EINVAL : result;
}

/* At an address that the caller chose, over nothing, or over what is ours. */
static int map_there(const struct mm_map_request *request, size_t page, void **out) {
  struct span span;
  bool keeps = (request->flags & MAP_FIXED_NOREPLACE) != 0;
  *out = request->hint;
  if (!span_of(request->hint, request->length, page, &span)) return refused(request, out);
  struct mm_area *area = mm_area_from(span.base);
  if (keeps) {
    struct mm_area *live = area;
    while (live != NULL && live->base < span.end && !live->live) live = live->next;
    if (live != NULL && live->base < span.end) return -EEXIST;
    if (mm_sys_in_stack(span.base, span.end)) return -EEXIST;
    if (area == NULL || area->base >= span.end) return map_anywhere(request, page, out);
  }
  if (mm_area_foreign(span.base, span.end)) return keeps ? -EEXIST : MM_FOREIGN;
  int result = replace(request, span, page);
  return keeps && result == MM_FOREIGN ? -EEXIST : result;
}

static int map_locked(const struct mm_map_request *request, size_t page, void **out) {
  bool fixed = (request->flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) != 0;
  mm_areas_lock();
  int result = fixed ? map_there(request, page, out) : map_anywhere(request, page, out);
  mm_areas_unlock();
  return result;
}

/* mmap(2). *out is the caller's until mm_raw_munmap, or until its environment ends. */
int mm_raw_mmap(const struct mm_map_request *request, void **out) {
  int result = mm_guard_install();
  if (result != 0) return result;
  size_t page = page_of(request);
  mm_retire_sweep(false);
  result = map_locked(request, page, out);
  if (result == -ENOMEM && mm_retire_bytes() >= request->length) {
    mm_retire_sweep(true);
    result = map_locked(request, page, out);
  }
  if (result == 0) mm_spare_keep();
  return result;
}

/* ---- calls that change --------------------------------------------------------------------- */

/* munmap(2). A range of holes is left alone, but far behind all addresses of programs, where the
 * kernel says that there can be none. */
int mm_raw_munmap(void *address, size_t length) {
  struct span span;
  if (!span_of(address, length, mm_sys_page_size(), &span)) return mm_sys_munmap(address, length);
  mm_areas_lock();
  int result = MM_FOREIGN;
  if (!mm_area_foreign(span.base, span.end)) {
    struct mm_area *area = mm_area_from(span.base);
    bool empty = area == NULL || area->base >= span.end;
    if (empty && span.end > USER_END) result = mm_sys_munmap(address, length);
    else result = mm_area_release(span.base, span.end, true);
  }
  mm_areas_unlock();
  return mm_spare_give(result);
}

/* Pages that the guard had replaced are as they were mapped again, under the new protection. */
static void restore(struct span span, int prot) {
  struct mm_area *area = mm_area_from(span.base);
  for (; area != NULL && area->base < span.end; area = area->next) {
    uintptr_t from = area->base > span.base ? area->base : span.base;
    uintptr_t area_end = area->base + area->length;
    uintptr_t to = area_end < span.end ? area_end : span.end;
    bool remakes = area->shared || (area->anonymous && area->page == mm_sys_page_size());
    struct mm_remap job = {
        .offset = from - area->base,
        .length = to - from,
        .prot = prot,
        .fd = remakes ? -1 : MM_NO_SOURCE,
    };
    if (job.offset % area->page == 0 && job.length % area->page == 0) {
      (void)mm_guard_remap(area->slot, &job);
    }
  }
}

/* Makes a call on the live pages from the beginning of a range up to its first hole; -ENOMEM when
 * there is one, as for a range that is not mapped. */
static int before_hole(struct span span, int argument, int (*call)(void *, size_t, int)) {
  uintptr_t end = mm_area_live_end(span.base, span.end);
  int result = 0;
  if (end > span.base) result = call((void *)span.base, end - span.base, argument);
  return result == 0 && end < span.end ? -ENOMEM : result;
}

/* mprotect(2): pages before a hole are changed, as the kernel does it. */
int mm_raw_mprotect(void *address, size_t length, int prot) {
  struct span span;
  if (!span_of(address, length, mm_sys_page_size(), &span)) {
    return mm_sys_mprotect(address, length, prot);
  }
  mm_areas_lock();
  int result = MM_FOREIGN;
  if (!mm_area_foreign(span.base, span.end)) {
    result = before_hole(span, prot, mm_sys_mprotect);
    if (result == 0) restore(span, prot & (PROT_READ | PROT_WRITE | PROT_EXEC));
  }
  mm_areas_unlock();
  return mm_spare_give(result);
}

/* Whether an advice may change what memory holds, or what becomes of it. One that is not known here
 * may do anything. */
bool mm_raw_harms(int advice) {
  static const int harmless[] = {MADV_NORMAL, MADV_RANDOM,  MADV_SEQUENTIAL,   MADV_WILLNEED,
                                 MADV_COLD,   MADV_PAGEOUT, MADV_POPULATE_READ};
  for (size_t i = 0; i < sizeof harmless / sizeof harmless[0]; i++) {
    if (advice == harmless[i]) return false;
  }
  return true;
}

/* Makes a call on each run of a range that is not reserved; -ENOMEM at the end when a part is. Runs
 * without a hole of the kernel's own are told by the kernel. */
static int each_run(struct span span, int argument, int (*call)(void *, size_t, int)) {
  uintptr_t at = span.base;
  bool holes = false;
  while (at < span.end) {
    struct mm_area *area = mm_area_from(at);
    while (area != NULL && area->live) area = area->next;
    uintptr_t end = area == NULL || area->base > span.end ? span.end : area->base;
    int result = at < end ? call((void *)at, end - at, argument) : 0;
    if (result == -ENOMEM) holes = true;
    else if (result != 0) return result;
    if (area == NULL || end == span.end) break;
    holes = true;
    at = area->base + area->length;
  }
  return holes ? -ENOMEM : 0;
}

/* The same for each run of live pages, and for nothing else: what is a hole now another thread may
 * have mapped by the time of the call. Where nothing is live, the kernel says whether it knows the
 * argument. */
static int each_live_run(struct span span, int argument, int (*call)(void *, size_t, int)) {
  bool holes = false, called = false;
  uintptr_t at = span.base;
  while (at < span.end) {
    struct mm_area *area = mm_area_from(at);
    while (area != NULL && !area->live) area = area->next;
    if (area == NULL || area->base >= span.end || area->base > at) holes = true;
    if (area == NULL || area->base >= span.end) break;
    if (area->base > at) at = area->base;
    uintptr_t end = mm_area_live_end(at, span.end);
    int result = call((void *)at, end - at, argument);
    if (result != 0 && result != -ENOMEM) return result;
    if (result != 0) holes = true;
    called = true;
    at = end;
  }
  int known = called ? 0 : call((void *)span.base, 0, argument);
  if (known != 0) return known;
  return holes ? -ENOMEM : 0;
}

/* Advises also on what the guard has put aside of a range. The caller holds the lock. */
static void advise_aside(struct span span, int advice) {
  struct mm_area *area = mm_area_from(span.base);
  for (; area != NULL && area->base < span.end; area = area->next) {
    uintptr_t from = area->base > span.base ? area->base : span.base;
    uintptr_t area_end = area->base + area->length;
    uintptr_t to = area_end < span.end ? area_end : span.end;
    if (area->live) mm_guard_advise(area->slot, from - area->base, to - from, advice);
  }
}

/* madvise(2): applied to all that is mapped, before and behind a hole. */
int mm_raw_madvise(void *address, size_t length, int advice) {
  struct span span;
  if (!mm_raw_harms(advice)) return mm_raw_each(address, length, advice, mm_sys_madvise);
  if (!span_of(address, length, mm_sys_page_size(), &span)) {
    return mm_sys_madvise(address, length, advice);
  }
  mm_areas_lock();
  int result = MM_FOREIGN;
  if (!mm_area_foreign(span.base, span.end)) {
    result = each_live_run(span, advice, mm_sys_madvise);
    if (result == 0 || result == -ENOMEM) advise_aside(span, advice);
  }
  mm_areas_unlock();
  return mm_spare_give(result);
}

static long process_madvise_call(const struct mm_advice *advice, size_t count) {
  long result = syscall(SYS_process_madvise, advice->pidfd, advice->ranges, count, advice->advice,
                        advice->flags);
  return result < 0 ? -errno : result;
}

/* What a call reached that stopped halfway is not told by range: the rest is left aside. The caller
 * holds the lock. */
static void advised_aside(const struct mm_advice *advice, size_t bytes) {
  size_t done = 0;
  for (size_t i = 0; i < advice->count; i++) {
    const struct iovec *range = &advice->ranges[i];
    struct span span;
    if (range->iov_len > bytes - done) return;
    done += range->iov_len;
    if (!span_of(range->iov_base, range->iov_len, mm_sys_page_size(), &span)) continue;
    advise_aside(span, advice->advice);
  }
}

/* process_madvise(2) on this process, with an advice that may change content: the ranges before the
 * first one with a hole are advised on, as the kernel does it. Returns the bytes. */
long mm_raw_process_madvise(const struct mm_advice *advice) {
  size_t whole = advice->count;
  long result = 0;
  mm_areas_lock();
  for (size_t i = 0; i < advice->count && result == 0; i++) {
    const struct iovec *range = &advice->ranges[i];
    struct span span;
    /* The kernel refuses it, or has nothing to do. */
    if (!span_of(range->iov_base, range->iov_len, mm_sys_page_size(), &span)) continue;
    if (mm_area_foreign(span.base, span.end)) result = MM_FOREIGN;
    bool holes = mm_area_live_end(span.base, span.end) != span.end;
    if (holes && i < whole) whole = i;
  }
  if (result == 0) result = process_madvise_call(advice, whole);
  if (result > 0) advised_aside(advice, (size_t)result);
  mm_areas_unlock();
  return result == 0 && whole < advice->count ? -ENOMEM : result;
}

/* The same on another process, or with an advice that changes nothing. */
long mm_raw_process_madvise_any(const struct mm_advice *advice) {
  return process_madvise_call(advice, advice->count);
}

/* A call that changes neither content nor mapping, on any memory of the process. It may wait for
 * storage, so the lock is held only where reserved addresses must be kept out of it. */
int mm_raw_each(void *address, size_t length, int argument, int (*call)(void *, size_t, int)) {
  struct span span;
  int result = -ENOMEM;
  bool possible = span_of(address, length, mm_sys_page_size(), &span);
  mm_areas_lock();
  bool whole = !possible || !mm_area_any_reserved(span.base, span.end);
  if (!whole) result = each_run(span, argument, call);
  mm_areas_unlock();
  if (whole) result = call(address, length, argument);
  return mm_spare_give(result);
}

/* mlock(2) and mlock2(2), on memory of ours alone: engines end the process when the kernel does not
 * take a page of theirs back (MADV_DONTNEED), and a locked one it does not. The lock is held only
 * where a hole must be kept out of it, since the call waits for storage. */
int mm_raw_lock(void *address, size_t length, int argument, int (*call)(void *, size_t, int)) {
  struct span span;
  if (!span_of(address, length, mm_sys_page_size(), &span)) return call(address, length, argument);
  int result = MM_FOREIGN;
  mm_areas_lock();
  bool foreign = mm_area_foreign(span.base, span.end);
  bool whole = !foreign && mm_area_live_end(span.base, span.end) == span.end;
  if (!foreign && !whole) result = before_hole(span, argument, call);
  mm_areas_unlock();
  if (whole) result = call(address, length, argument);
  return mm_spare_give(result);
}

/* mincore(2) for whole pages; `vector` has a byte for each. */
int mm_raw_mincore(void *address, size_t length, unsigned char *vector) {
  uintptr_t base = (uintptr_t)address;
  bool aligned = base % mm_sys_page_size() == 0; /* else the kernel refuses it, whatever is there */
  mm_areas_lock();
  bool reserved = aligned && mm_area_any_reserved(base, base + length);
  mm_areas_unlock();
  return reserved ? -ENOMEM : mm_sys_mincore(address, length, vector);
}

/* mseal(2), which cannot be undone: not under a view, where a page could not be repaired. */
int mm_raw_mseal(void *address, size_t length, unsigned long flags) {
  struct span span;
  if (!span_of(address, length, mm_sys_page_size(), &span)) {
    return syscall(SYS_mseal, address, length, flags) == 0 ? 0 : -errno;
  }
  mm_areas_lock();
  int result = 0;
  if (mm_area_foreign(span.base, span.end)) result = MM_FOREIGN;
  else if (mm_area_viewed(span.base, span.end)) result = MM_VIEWED;
  else if (mm_area_live_end(span.base, span.end) != span.end) result = -ENOMEM;
  if (result == 0) result = mm_area_cut(span.base);
  if (result == 0) result = mm_area_cut(span.end);
  bool asked = result == 0;
  if (asked) result = syscall(SYS_mseal, address, length, flags) == 0 ? 0 : -errno;
  /* Without room for another area the kernel may have sealed a part. */
  bool sealed = asked && (result == 0 || result == -ENOMEM);
  struct mm_area *area = mm_area_from(span.base);
  for (; sealed && area != NULL && area->base < span.end; area = area->next) {
    area->sealed = true;
  }
  mm_areas_unlock();
  return result;
}

/* remap_file_pages(2), which kernels since 4.0 emulate by new mappings in the place of the old;
 * `last` are its prot, pgoff and flags. An address inside a page stands for the page. */
int mm_raw_remap_file_pages(void *address, size_t length, const long last[3]) {
  uintptr_t page = mm_sys_page_size();
  struct span span;
  bool possible = span_of((void *)((uintptr_t)address / page * page), length, page, &span);
  mm_areas_lock();
  int result = 0;
  if (possible && mm_area_foreign(span.base, span.end)) result = MM_FOREIGN;
  else if (possible && mm_area_live_end(span.base, span.end) != span.end) result = -EINVAL;
  if (result == 0 && possible) result = mm_area_cut(span.base);
  if (result == 0 && possible) result = mm_area_cut(span.end);
  if (result == 0) {
    long answer = syscall(SYS_remap_file_pages, address, length, last[0], last[1], last[2]);
    result = answer == 0 ? 0 : -errno;
  }
  /* The pages no longer follow those before them: what the guard kept of the old ones is wrong. */
  struct mm_area *area = possible && result == 0 ? mm_area_from(span.base) : NULL;
  for (; area != NULL && area->base < span.end; area = area->next) mm_guard_renew(area->slot);
  mm_areas_unlock();
  return result;
}
