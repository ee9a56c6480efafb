/* SPDX-License-Identifier: MIT
 *
 * The internal header of the addon: the structures that its files share, and who owns what.
 *
 * Rules that hold in every file here:
 *   - JavaScript validates, C trusts but checks: what TypeScript passes is whole pages inside a
 *     region; a value that is not is answered with -EINVAL, never with undefined behaviour.
 *   - Every function that can fail returns a negative errno; only value.c throws.
 *   - Every system call goes through sys.c.
 *   - No mutable globals, but for the lists that ARCHITECTURE.md names, each with its lock and its
 *     reason where it stands.
 */
#ifndef MEMMAP_H
#define MEMMAP_H

#include "guard.h"
#include "numbers.h"

#include <node_api.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/types.h>

/* ---- environment ---------------------------------------------------------------------------
 * One per JavaScript environment (main thread, worker), the addon's instance data. Views outlive
 * the environment that made them on some runtimes, so it is counted. */
struct mm_env {
  atomic_uint refs;   /* the instance data, the hook, and every view made in this environment */
  atomic_bool ending; /* set when the environment is torn down */
  struct mm_handle *open;        /* its handles that are not closed */
  struct mm_job *jobs;           /* its jobs that have not completed */
  struct mm_waits *waits; /* its waits on words (futex.c), or NULL */
  struct mm_view *views;         /* its buffers that Node-API made and that have not ended */
  bool engine; /* buffers are made by the engine, not through Node-API */
  napi_env env;
  bool exact;                    /* a buffer's finalizer means that its memory is out of use */
  napi_threadsafe_function told; /* what JavaScript wants called after a fault, or NULL */
};

struct mm_env *mm_env_of(napi_env env);
void mm_env_unref(struct mm_env *state);

/* ---- regions -------------------------------------------------------------------------------
 * A region is one address range obtained from mmap. It never moves and never changes its size: a
 * resize makes a new region and retires the old one.
 *
 *        base                                   base + length
 *         |  page  |  page  |  page  | ... |  page  |
 *              ^                             ^
 *              view starts here, any byte    view ends here, any byte
 *
 * Two counts. `users` are the reasons why the addresses must not be used for anything else: each
 * open handle, each view (buffer) that the engine has not let go, each job on the thread pool.
 * `refs` keep this structure itself: the users, and the JavaScript handles. */
struct mm_region {
  atomic_uint refs;
  atomic_uint users;
  uint8_t *base;
  size_t length;     /* whole pages of the mapping's page size; never 0 */
  size_t page;       /* that page size */
  struct mm_slot *slot; /* the guard's record of the range; removed before it is unmapped. NULL: a
                         * view of the raw door, whose memory is in area.c */
  int fd;            /* descriptor owned by the region, or -1; closed by close or collection */
  bool shared;       /* MAP_SHARED: how it can be moved */
  atomic_bool closed; /* the handle was closed; also read by jobs */
  bool viewed;       /* a view was made at least once: the engine knows the addresses */
  atomic_uint opens; /* handles that are not closed; more than one when workers share it */
  uint32_t id;       /* its name in the table of shared regions, or 0; under that table's lock */
  struct mm_region *next_shared; /* likewise */
  bool abandoned;    /* its environment ended with views: the addresses stay reserved for good */
  atomic_bool grace; /* a view was detached by close: see retire.c */
};

/* A buffer to be made over bytes of a region. */
struct mm_view_plan {
  struct mm_region *region;
  size_t offset;
  size_t length;
  bool shared;
};

/* What a JavaScript handle (an external) points to. Freed by its finalizer. */
struct mm_handle {
  uint32_t magic;
  bool closed;
  struct mm_region *region;
  struct mm_env *env;             /* whose list it is in while it is open, or NULL */
  struct mm_handle *next, **link; /* that list: the next one, and the place that points here */
};

struct mm_map_request {
  void *owner;    /* the environment, for the guard; only mm_region_create looks at it */
  size_t page;    /* bytes in a page of the mapping, likewise */
  bool keep;      /* the region keeps a descriptor of its own of the same file, likewise */
  void *hint;
  size_t length;
  int prot;
  int flags;
  int fd;
  off_t offset;
};

int mm_region_create(const struct mm_map_request *request, struct mm_region **out);
void mm_region_close(struct mm_handle *handle, bool detached);
uint32_t mm_region_share(struct mm_region *region);
int mm_region_attach(uint32_t id, void *owner, struct mm_region **out);
int mm_region_resize(struct mm_region *region, size_t length, bool anew, struct mm_region **out);
void mm_region_ref(struct mm_region *region);
void mm_region_unref(struct mm_region *region);
void mm_region_use(struct mm_region *region);
void mm_region_unuse(struct mm_region *region);
bool mm_region_try_use(struct mm_region *region);
void mm_region_abandon(struct mm_region *region);
void mm_region_collected(struct mm_handle *handle);
void mm_region_drop(struct mm_region *region);
void mm_region_env_ending(struct mm_env *state);
void mm_job_env_ending(struct mm_env *state);
void mm_view_env_ending(struct mm_env *state);
void mm_futex_env_ending(struct mm_env *state);
bool mm_region_holds(const struct mm_region *region, size_t offset, size_t length);

/* ---- retired ranges (retire.c) ------------------------------------------------------------- */
struct mm_kept { /* addresses that stay reserved for good */
  const struct mm_kept *next;
  uintptr_t base;
  size_t length;
};

void mm_retire_later(struct mm_slot *slot);
void mm_retire_view(struct mm_region *view);
void mm_retire_never(const struct mm_slot *slot);
const struct mm_kept *mm_retire_kept(void);
void mm_retire_sweep(bool all);
size_t mm_retire_bytes(void);
void mm_spare_keep(void);
int mm_spare_give(int result);

/* ---- moves that keep the old addresses (lift.c) -------------------------------------------- */
struct mm_lift {
  uint8_t *from;
  size_t length;
  int flags; /* 0 or MREMAP_FIXED */
  void *to;
};

int mm_lift(const struct mm_lift *lift, void **out);

/* ---- checked copies (copy.c) --------------------------------------------------------------- */
size_t mm_copy(void *target, const void *source, size_t length);
size_t mm_load(uint8_t *address, size_t length, int advice);
int mm_probe(uint8_t *page, bool write);
bool mm_advice_supported(int advice);

/* ---- system calls (sys.c): 0 or a value, or a negative errno ------------------------------- */
bool mm_sys_fail(const char *name, int nth, int error);
int mm_sys_mmap(const struct mm_map_request *request, void **out);
int mm_sys_munmap(void *base, size_t length);
int mm_sys_mremap(void *old, size_t old_length, size_t length, int flags, void *target, void **out);
int mm_sys_mprotect(void *base, size_t length, int prot);
int mm_sys_madvise(void *base, size_t length, int advice);
int mm_sys_msync(void *base, size_t length, int flags);
int mm_sys_mlock(const void *base, size_t length);
int mm_sys_mlock2(const void *base, size_t length, unsigned flags);
int mm_sys_munlock(const void *base, size_t length);
int mm_sys_mincore(void *base, size_t length, unsigned char *vector);
ssize_t mm_sys_copy(void *target, const void *source, size_t length);
int mm_sys_allocate(int fd, off_t offset, off_t length);
int mm_sys_truncate(int fd, off_t length);
int mm_sys_memory(const char *name, unsigned flags, off_t length);
int mm_sys_resize_memory(int fd, off_t length, off_t old_length);
int mm_sys_duplicate(int fd);
int mm_sys_open(const char *path, int flags, mode_t mode);
int mm_sys_thread(void);
int mm_sys_flock(int fd, int operation);
int mm_sys_link(int fd, const char *path);
int mm_sys_close(int fd);
int mm_sys_name(void *base, size_t length, const char *name);
int mm_sys_limit(int resource, double *out);
off_t mm_sys_seek(int fd, off_t offset, int whence);
long mm_sys_huge_page_size(int fd);
int mm_sys_may_write(int fd);
size_t mm_sys_page_size(void);
int mm_sys_next_area(uintptr_t from, uintptr_t *start, uintptr_t *end);
bool mm_sys_in_stack(uintptr_t base, uintptr_t end);
int mm_sys_futex_wait(uint32_t *word, uint32_t value, int64_t nanoseconds);
int mm_sys_futex_wake(uint32_t *word, int count, bool own);
int mm_sys_futex_wait_two(uint32_t *word, uint32_t value, _Atomic uint32_t *stop);
int mm_sys_ring_setup(unsigned entries, void *parameters);
int mm_sys_ring_enter(int fd, unsigned submit, unsigned wait, unsigned flags);
int mm_sys_ring_register(int fd, unsigned what, void *argument, unsigned count);

/* ---- buffers made by the engine (engine.c) ------------------------------------------------- */
enum mm_buffer_kind { MM_BUFFER_PLAIN = 0, MM_BUFFER_SHARED = 1 };

struct mm_buffer {
  enum mm_buffer_kind kind;
  void *base;
  size_t length;
  void (*ended)(void *data); /* the last owner has gone; any thread */
  void *data;
};

bool mm_engine_use(void);
napi_value mm_engine_buffer(const struct mm_buffer *plan);

/* ---- telling of faults (notice.c) ----------------------------------------------------------- */
void mm_notice_end(struct mm_env *state);
napi_value mm_on_faults(napi_env env, napi_callback_info info);
napi_value mm_lone_fault(napi_env env, const struct mm_fault *fault); /* faults.c */

/* ---- JavaScript values (value.c) ----------------------------------------------------------- */
#define MM_ARGS_MAX 10

struct mm_args {
  napi_env env;
  size_t count;
  bool failed; /* an argument had the wrong type and an exception is pending */
  napi_value value[MM_ARGS_MAX];
};

struct mm_args mm_args_read(napi_env env, napi_callback_info info);
double mm_arg_number(struct mm_args *args, size_t index);
int mm_arg_int(struct mm_args *args, size_t index);
size_t mm_arg_size(struct mm_args *args, size_t index);
uint64_t mm_arg_u64(struct mm_args *args, size_t index);
int64_t mm_arg_i64(struct mm_args *args, size_t index);
bool mm_arg_bool(struct mm_args *args, size_t index);
void *mm_arg_address(struct mm_args *args, size_t index);
struct mm_handle *mm_arg_handle(struct mm_args *args, size_t index);
struct mm_region *mm_arg_region(struct mm_args *args, size_t index);
struct mm_map_request mm_arg_request(struct mm_args *args, size_t first);
bool mm_arg_bytes(struct mm_args *args, size_t index, uint8_t **bytes, size_t *length);
bool mm_arg_string(struct mm_args *args, size_t index, char *out, size_t capacity);
char *mm_arg_text(struct mm_args *args, size_t index);

napi_value mm_number(napi_env env, double value);
napi_value mm_boolean(napi_env env, bool value);
napi_value mm_undefined(napi_env env);
napi_value mm_address(napi_env env, const void *address);
napi_value mm_region_value(napi_env env, struct mm_region *region);
int mm_region_buffer(napi_env env, const struct mm_view_plan *plan, napi_value *out);
napi_value mm_throw(napi_env env, const char *message);

/* ---- tables of exported functions ---------------------------------------------------------- */
struct mm_export {
  const char *name;
  napi_callback call;
};

extern const struct mm_export mm_map_exports[];    /* map.c */
extern const struct mm_export mm_page_exports[];   /* page.c */
extern const struct mm_export mm_fault_exports[]; /* faults.c */
extern const struct mm_export mm_file_exports[];   /* file.c */
extern const struct mm_export mm_job_exports[];    /* job.c */
extern const struct mm_export mm_futex_exports[];  /* futex.c */
napi_value mm_constants(napi_env env);             /* constants.c */
napi_value mm_errno_names(napi_env env);           /* constants.c */

#endif
