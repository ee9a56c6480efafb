/* SPDX-License-Identifier: MIT
 *
 * The calls that wait for storage, on the runtime's thread pool: each returns a promise that
 * fulfils with the number (or region) its twin would return, and never rejects.
 *
 * A job owns a claim on its region (mm_region_use), so that the addresses stay reserved until the
 * call has returned, whatever JavaScript does meanwhile. `execute` runs on a pool thread and
 * touches the job alone; everything else runs on the JavaScript thread.
 */
#include "memmap.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

struct mm_job;
typedef double (*job_call)(struct mm_job *job);

struct mm_job {
  napi_async_work work;
  napi_deferred deferred;
  job_call call;
  struct mm_region *region; /* NULL: allocate, map */
  uint8_t *base;
  size_t length;
  int argument;                  /* the flags of msync, the descriptor of allocate */
  struct mm_map_request request; /* map; the offset of allocate */
  struct mm_region *mapped;      /* what map made */
  double result;
  struct mm_env *state;
  atomic_int stage;              /* of the claim on the region */
  struct mm_job *next, **link;   /* the jobs of the environment */
};

enum { STAGE_RUNNING, STAGE_DONE, STAGE_RELEASED };

static double lock_call(struct mm_job *job) { return mm_sys_mlock(job->base, job->length); }

/* Ends the claim on the region, once. What was locked in a region that was closed meanwhile is its
 * empty cover. Any thread. */
static void release(struct mm_job *job) {
  if (atomic_exchange(&job->stage, STAGE_RELEASED) == STAGE_RELEASED) return;
  if (job->region == NULL) return;
  if (job->call == lock_call && atomic_load(&job->region->closed)) {
    (void)mm_sys_munlock(job->base, job->length);
  }
  mm_region_unuse(job->region);
}

/* The environment ends, and some runtimes complete none of its jobs after that: the claims of those
 * that have run are ended here, and the others end theirs when they have run. */
void mm_job_env_ending(struct mm_env *state) {
  for (struct mm_job *job = state->jobs; job != NULL; job = job->next) {
    if (atomic_load(&job->stage) == STAGE_DONE) release(job);
  }
}

/* A region that was closed while the job waited for its turn has nothing left to work on. */
static void execute(napi_env env, void *data) {
  (void)env;
  struct mm_job *job = data;
  bool closed = job->region != NULL && atomic_load(&job->region->closed);
  job->result = closed ? -ECANCELED : job->call(job);
  int running = STAGE_RUNNING;
  (void)atomic_compare_exchange_strong(&job->stage, &running, STAGE_DONE);
  if (atomic_load(&job->state->ending)) release(job);
}

/* Ends the claim and the job itself. */
static void end_job(struct mm_job *job) {
  release(job);
  *job->link = job->next;
  if (job->next != NULL) job->next->link = job->link;
  mm_env_unref(job->state);
  free(job);
}

static void complete(napi_env env, napi_status status, void *data) {
  struct mm_job *job = data;
  napi_value value = NULL;
  /* Some runtimes complete jobs when the environment is gone: then nobody takes what was mapped. */
  if (atomic_load(&job->state->ending)) {
    if (job->mapped != NULL) mm_region_drop(job->mapped);
    end_job(job);
    return;
  }
  if (job->mapped != NULL) value = mm_region_value(env, job->mapped);
  else value = mm_number(env, status == napi_cancelled ? -ECANCELED : job->result);
  /* In an environment that is ending nobody waits any more, and this fails without harm. */
  if (value != NULL) (void)napi_resolve_deferred(env, job->deferred, value);
  (void)napi_delete_async_work(env, job->work);
  end_job(job);
}

/* Queues a copy of `plan` and returns its promise. The claim on plan.region is taken here. */
static napi_value start(napi_env env, const struct mm_job *plan) {
  napi_value promise = NULL;
  napi_value name = NULL;
  struct mm_job *job = malloc(sizeof *job);
  if (job == NULL) return mm_throw(env, "memmap native: out of memory");
  *job = *plan;
  if (napi_create_promise(env, &job->deferred, &promise) != napi_ok ||
      napi_create_string_utf8(env, "memmap", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_create_async_work(env, NULL, name, execute, complete, job, &job->work) != napi_ok) {
    free(job);
    return mm_throw(env, "memmap native: cannot create a job");
  }
  if (job->region != NULL) mm_region_use(job->region);
  struct mm_env *state = mm_env_of(env);
  atomic_fetch_add(&state->refs, 1);
  atomic_init(&job->stage, STAGE_RUNNING);
  job->state = state;
  job->next = state->jobs;
  job->link = &state->jobs;
  if (state->jobs != NULL) state->jobs->link = &job->next;
  state->jobs = job;
  if (napi_queue_async_work(env, job->work) == napi_ok) return promise;
  (void)napi_delete_async_work(env, job->work);
  end_job(job);
  return mm_throw(env, "memmap native: cannot queue a job");
}

static double flush_call(struct mm_job *job) {
  return mm_sys_msync(job->base, job->length, job->argument);
}

static double load_call(struct mm_job *job) {
  return (double)mm_load(job->base, job->length, MADV_POPULATE_READ);
}

static double allocate_call(struct mm_job *job) {
  return mm_sys_allocate(job->argument, job->request.offset, (off_t)job->length);
}

static double map_call(struct mm_job *job) {
  return mm_region_create(&job->request, &job->mapped);
}

/* (region, offset, length, argument?): a call on the pages of a region. */
static napi_value start_on_pages(napi_env env, napi_callback_info info, job_call call) {
  struct mm_args args = mm_args_read(env, info);
  struct mm_region *region = mm_arg_region(&args, 0);
  size_t offset = mm_arg_size(&args, 1);
  size_t length = mm_arg_size(&args, 2);
  int argument = args.count > 3 ? mm_arg_int(&args, 3) : 0;
  if (args.failed) return NULL;
  if (region->closed || !mm_region_holds(region, offset, length)) {
    return mm_throw(env, "memmap native: range outside an open region");
  }
  struct mm_job plan = {
      .call = call,
      .region = region,
      .base = region->base + offset,
      .length = length,
      .argument = argument,
  };
  return start(env, &plan);
}

static napi_value flush_async(napi_env env, napi_callback_info info) {
  return start_on_pages(env, info, flush_call);
}

static napi_value lock_async(napi_env env, napi_callback_info info) {
  return start_on_pages(env, info, lock_call);
}

static napi_value load_async(napi_env env, napi_callback_info info) {
  return start_on_pages(env, info, load_call);
}

/* allocateAsync(fd, offset, length): the caller keeps the descriptor open until it settles. */
static napi_value allocate_async(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  struct mm_job plan = {.call = allocate_call};
  plan.argument = mm_arg_int(&args, 0);
  plan.request.offset = (off_t)mm_arg_size(&args, 1);
  plan.length = mm_arg_size(&args, 2);
  return args.failed ? NULL : start(env, &plan);
}

/* mapAsync(hint, length, prot, flags, fd, offset, page, keep): for mappings that populate or lock,
 * which reads storage inside mmap(2). The caller keeps the descriptor open until it settles. */
static napi_value map_async(napi_env env, napi_callback_info info) {
  struct mm_args args = mm_args_read(env, info);
  struct mm_job plan = {
      .call = map_call,
      .request = mm_arg_request(&args, 0),
  };
  return args.failed ? NULL : start(env, &plan);
}

const struct mm_export mm_job_exports[] = {
    {"flushAsync", flush_async},
    {"lockAsync", lock_async},
    {"loadAsync", load_async},
    {"allocateAsync", allocate_async},
    {"mapAsync", map_async},
    {NULL, NULL},
};
