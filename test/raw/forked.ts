// A child of fork(2), which JavaScript cannot make: an addon forks, and the child does what it is
// told through pipes, in C. It looks at memory and stores there by system calls alone, so that
// memory that is not there is an EFAULT and no signal.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { compileAddon } from "../helpers/compile.js";
import { type Cleanup, undoAfter } from "../helpers/temp.js";

const require = createRequire(import.meta.url);

const source = `
#include <errno.h>
#include <fcntl.h>
#include <node_api.h>
#include <signal.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

struct order { int64_t what, address, value; };
static char bytes[4096];
static int orders[2], answers[2], scratch[2];

/* The child: threads of the runtime are not in it, so nothing but system calls is made. */
static int64_t obey(const struct order *order) {
  char *argv[] = {"cat", NULL};
  if (order->what == 'l') {
    ssize_t count = write(scratch[1], (void *)order->address, (size_t)order->value);
    return count < 0 ? -errno : read(scratch[0], bytes, sizeof bytes);
  }
  if (order->what == 's') {
    char byte = (char)order->value;
    if (write(scratch[1], &byte, 1) != 1) return -errno;
    if (read(scratch[0], (void *)order->address, 1) == 1) return 0;
    int error = -errno;
    (void)!read(scratch[0], bytes, 1); /* what was refused is still in the pipe */
    return error;
  }
  int nothing = open("/dev/null", O_WRONLY); /* runtimes close their own streams on exec */
  if (dup2(orders[0], 0) < 0 || dup2(nothing, 1) < 0 || dup2(nothing, 2) < 0) return -errno;
  execv("/bin/cat", argv);
  return -errno;
}

static void serve(void) {
  struct order order;
  close(orders[1]);
  close(answers[0]);
  while (read(orders[0], &order, sizeof order) == sizeof order) {
    int64_t result = obey(&order);
    (void)!write(answers[1], &result, sizeof result);
    if (order.what == 'l' && result > 0) (void)!write(answers[1], bytes, (size_t)result);
  }
  _exit(0);
}

static napi_value number(napi_env env, int64_t value) {
  napi_value result;
  napi_create_int64(env, value, &result);
  return result;
}

static napi_value begin(napi_env env, napi_callback_info info) {
  (void)info;
  if (pipe2(orders, O_CLOEXEC) || pipe2(answers, O_CLOEXEC) || pipe2(scratch, O_CLOEXEC)) {
    return number(env, -errno);
  }
  pid_t child = fork();
  if (child == 0) serve();
  close(orders[0]);
  close(answers[1]);
  return number(env, child);
}

/* The result of an order; for a look the bytes. 0 when exec closed the pipe. */
static napi_value tell(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value argv[3], buffer;
  struct order order;
  int64_t result = 0;
  bool lossless;
  napi_get_cb_info(env, info, &count, argv, NULL, NULL);
  napi_get_value_int64(env, argv[0], &order.what);
  napi_get_value_bigint_int64(env, argv[1], &order.address, &lossless);
  napi_get_value_int64(env, argv[2], &order.value);
  if (write(orders[1], &order, sizeof order) != sizeof order) return number(env, -errno);
  if (read(answers[0], &result, sizeof result) <= 0) return number(env, 0);
  if (order.what != 'l' || result < 0) return number(env, result);
  if (read(answers[0], bytes, (size_t)result) != result) return number(env, -EIO);
  napi_create_buffer_copy(env, (size_t)result, bytes, NULL, &buffer);
  return buffer;
}

/* Ends the child, by the end of its orders, and returns its status. */
static napi_value end(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argv[1];
  int32_t child = 0;
  int status = -1;
  napi_get_cb_info(env, info, &count, argv, NULL, NULL);
  napi_get_value_int32(env, argv[0], &child);
  close(orders[1]);
  close(answers[0]);
  close(scratch[0]);
  close(scratch[1]);
  (void)waitpid(child, &status, 0);
  return number(env, status);
}

EXPORT napi_value napi_register_module_v1(napi_env env, napi_value exports) {
  napi_value function;
  napi_create_function(env, "begin", NAPI_AUTO_LENGTH, begin, NULL, &function);
  napi_set_named_property(env, exports, "begin", function);
  napi_create_function(env, "tell", NAPI_AUTO_LENGTH, tell, NULL, &function);
  napi_set_named_property(env, exports, "tell", function);
  napi_create_function(env, "end", NAPI_AUTO_LENGTH, end, NULL, &function);
  napi_set_named_property(env, exports, "end", function);
  return exports;
}
`;

interface Addon {
  begin(): number;
  tell(what: number, address: bigint, value: number): number | Buffer;
  end(pid: number): number;
}

let addon: Addon | undefined;

/** The child that lives: another one would hold the pipes by which it is ended. */
let living: Forked | undefined;

function load(t: Cleanup): Addon {
  if (addon !== undefined) return addon;
  const loaded: Addon = require(compileAddon(t, source));
  addon = loaded;
  return loaded;
}

/** A child of this process; there is one at a time, so that another one ends it. */
export class Forked {
  readonly pid: number;
  readonly #addon: Addon;
  #hasEnded = false;

  /** Forks; the child ends with the test, if not before. */
  constructor(t: Cleanup) {
    living?.end();
    this.#addon = load(t);
    this.pid = this.#addon.begin();
    assert.ok(this.pid > 0, `fork failed: ${this.pid}`);
    living = this;
    undoAfter(t, () => this.end());
  }

  /** What the child reads at an address, at most 4096 bytes; undefined where it has no memory. */
  look(address: bigint, length = 1): number[] | undefined {
    const answer = this.#addon.tell("l".charCodeAt(0), address, length);
    if (typeof answer !== "number") return [...answer];
    assert.equal(answer, -14, "another error than EFAULT");
    return undefined;
  }

  /** Lets the child store a byte; false where it may not. */
  store(address: bigint, byte: number): boolean {
    const answer = this.#addon.tell("s".charCodeAt(0), address, byte);
    assert.ok(answer === 0 || answer === -14, `another error than EFAULT: ${answer}`);
    return answer === 0;
  }

  /** Lets the child become another program by exec, which stays until `end`. */
  becomeOther(): void {
    assert.equal(this.#addon.tell("x".charCodeAt(0), 0n, 0), 0, "exec failed");
  }

  /** Ends the child by the end of its orders. */
  end(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    living = undefined;
    assert.equal(this.#addon.end(this.pid), 0, "the child did not end by itself");
  }
}
