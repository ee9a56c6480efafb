// What a child of fork finds in the memory it inherits. JavaScript cannot fork, so a small library,
// compiled here, does it in a child process of the test; the forked process makes system calls
// alone: the engine's threads are not in it, and a page that it does not have answers a system call
// with EFAULT instead of a signal.

import assert from "node:assert/strict";
import { runSource } from "./child.js";
import { compileAddon } from "./compile.js";
import type { Cleanup } from "./temp.js";

/** Why no process can be forked here; false where one can. */
export { noCompiler as cannotFork } from "./compile.js";

/*
 * One function, forked(steps, answers): each step is four words (what to do, and its arguments),
 * each answer one, negative for an errno. It needs no header of any runtime.
 */
const library = `
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

int napi_get_cb_info(void *, void *, size_t *, void **, void **, void **);
int napi_get_typedarray_info(void *, void *, int *, size_t *, void **, void **, size_t *);
int napi_create_function(void *, const char *, size_t, void *(*)(void *, void *), void *, void **);
int napi_set_named_property(void *, void *, const char *, void *);

enum { PEEK, POKE, ADVISE, SYNC, FORK };

static int64_t peek(const void *at) {
  int ends[2];
  unsigned char byte = 0;
  if (pipe(ends) != 0) return -errno;
  int64_t answer = write(ends[1], at, 1) == 1 && read(ends[0], &byte, 1) == 1 ? byte : -errno;
  close(ends[0]);
  close(ends[1]);
  return answer;
}

static int64_t poke(void *at, unsigned char byte) {
  int ends[2];
  if (pipe(ends) != 0) return -errno;
  int64_t answer = write(ends[1], &byte, 1) == 1 && read(ends[0], at, 1) == 1 ? byte : -errno;
  close(ends[0]);
  close(ends[1]);
  return answer;
}

/* Goes on in a child of its own; what called it waits for that one and ends. */
static int64_t go_on_in_child(void) {
  pid_t child = fork();
  if (child == 0) return 0;
  while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR) {
  }
  _exit(child > 0 ? 0 : 1);
}

static int64_t make(const uint64_t *step) {
  void *at = (void *)(uintptr_t)step[1];
  switch (step[0]) {
    case PEEK: return peek(at);
    case POKE: return poke(at, (unsigned char)step[2]);
    case ADVISE: return madvise(at, step[2], (int)step[3]) == 0 ? 0 : -errno;
    case SYNC: return msync(at, step[2], (int)step[3]) == 0 ? 0 : -errno;
    default: return go_on_in_child();
  }
}

static void *forked(void *env, void *info) {
  void *args[2], *words[2];
  size_t count = 2, length[2], done = 0;
  int ends[2];
  napi_get_cb_info(env, info, &count, args, NULL, NULL);
  for (int i = 0; i < 2; i++) {
    napi_get_typedarray_info(env, args[i], NULL, &length[i], &words[i], NULL, NULL);
  }
  if (pipe(ends) != 0) return NULL;
  pid_t child = fork();
  if (child == 0) {
    for (size_t i = 0; i < length[1]; i++) {
      int64_t answer = make((const uint64_t *)words[0] + 4 * i);
      if (write(ends[1], &answer, sizeof answer) != (ssize_t)sizeof answer) break;
    }
    _exit(0);
  }
  close(ends[1]);
  while (done < length[1] && read(ends[0], (int64_t *)words[1] + done, 8) == 8) done++;
  close(ends[0]);
  while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR) {
  }
  return NULL;
}

__attribute__((visibility("default"))) void *napi_register_module_v1(void *env, void *exports) {
  void *function = NULL;
  napi_create_function(env, "forked", (size_t)-1, forked, NULL, &function);
  napi_set_named_property(env, exports, "forked", function);
  return exports;
}
`;

/* What programs that fork have in scope. */
const header = `
import { createRequire } from "node:module";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";

const { forked } = createRequire(import.meta.url)(process.argv[2]);
const rw = raw.PROT_READ | raw.PROT_WRITE;
const anonymous = raw.MAP_PRIVATE | raw.MAP_ANONYMOUS;
const pages = (count) => BigInt(count) * BigInt(pageSize);
const bytes = (count) => count * pageSize;

/** Private anonymous pages, filled with 1, 2, 3 ... */
function filled(pageCount) {
  const address = raw.mmap(null, bytes(pageCount), rw, anonymous, -1, 0);
  for (let i = 0; i < pageCount; i++) raw.view(address + pages(i), pageSize).fill(i + 1);
  return address;
}

/** Reads a byte: the byte, or a negative errno. */
const peek = (address) => [0, address, 0, 0];
/** Stores a byte: the byte, or a negative errno. */
const poke = (address, byte) => [1, address, byte, 0];
const advise = (address, length, advice) => [2, address, length, advice];
const sync = (address, length, flags) => [3, address, length, flags];
/** The steps behind it are made by a child of the child; its own answer is 0. */
const forkAgain = () => [4, 0, 0, 0];

/** Makes system calls in a child of fork; returns what each answered. */
function inFork(...steps) {
  const answers = new BigInt64Array(steps.length).fill(-9999n);
  forked(BigUint64Array.from(steps.flat(), BigInt), answers);
  return Array.from(answers, Number);
}

/** What the parent answers at the end: the test gets it as it is. */
const answer = (value) => console.log(JSON.stringify(value));
`;

/** EFAULT, as a step answers it. */
export const unreadable = -14;

/**
 * Runs the text of a module that forks, in a process of its own, and returns what it gave to
 * `answer()`. In it stand `raw`, `pageSize`, `filled()` and the steps for `inFork()`.
 */
export async function forkedAnswer(t: Cleanup, code: string): Promise<unknown> {
  const result = await runSource(`${header}\n${code}`, [compileAddon(t, library)]);
  assert.equal(result.code, 0, `${result.signal ?? ""} ${result.stdout}${result.stderr}`);
  const value: unknown = JSON.parse(result.stdout);
  return value;
}
