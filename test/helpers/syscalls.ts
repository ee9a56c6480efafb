// System calls that no door offers, and functions of the C library on mapped memory, by a small
// addon that the test compiles. What these calls point to lies in memory of the raw door.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { constants } from "node:os";
import * as raw from "memmap/raw";
import { compileAddon } from "./compile.js";
import { mapPages } from "./raw-pages.js";
import type { Cleanup } from "./temp.js";

const names = [
  "close",
  "fallocate",
  "ftruncate",
  "futex",
  "futex_waitv",
  "io_uring_register",
  "io_uring_setup",
  "ioctl",
  "lseek",
  "openat",
  "prctl",
  "pread64",
  "process_vm_readv",
  "process_vm_writev",
  "pwrite64",
  "pwritev",
  "read",
] as const;

/** A system call, as its manual page is called. */
export type SyscallName = (typeof names)[number];

const source = `
#include <dlfcn.h>
#include <errno.h>
#include <node_api.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

static const struct { const char *name; long number; } calls[] = {
${names.map((name) => `  {"${name}", SYS_${name}},`).join("\n")}
};

/* The name, and up to six numbers; missing ones are 0. */
static int take(napi_env env, napi_callback_info info, char name[64], long args[6]) {
  size_t count = 7;
  napi_value values[7];
  if (napi_get_cb_info(env, info, &count, values, NULL, NULL) != napi_ok) return -1;
  if (napi_get_value_string_utf8(env, values[0], name, 64, NULL) != napi_ok) return -1;
  for (size_t i = 0; i < 6; i++) {
    uint64_t number = 0;
    bool whole = true;
    if (i + 1 < count) napi_get_value_bigint_uint64(env, values[i + 1], &number, &whole);
    args[i] = (long)number;
  }
  return 0;
}

static napi_value number(napi_env env, long value) {
  napi_value result = NULL;
  napi_create_int64(env, value, &result);
  return result;
}

static napi_value by_number(napi_env env, napi_callback_info info) {
  char name[64] = "";
  long a[6];
  if (take(env, info, name, a) < 0) return NULL;
  for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++) {
    if (strcmp(calls[i].name, name) != 0) continue;
    long result = syscall(calls[i].number, a[0], a[1], a[2], a[3], a[4], a[5]);
    return number(env, result == -1 ? -errno : result);
  }
  return NULL;
}

static napi_value by_name(napi_env env, napi_callback_info info) {
  char name[64] = "";
  long a[6];
  if (take(env, info, name, a) < 0) return NULL;
  int (*function)(long, long, long) = (int (*)(long, long, long))dlsym(RTLD_DEFAULT, name);
  return function == NULL ? NULL : number(env, function(a[0], a[1], a[2]));
}

EXPORT napi_value napi_register_module_v1(napi_env env, napi_value exports) {
  napi_value function;
  napi_create_function(env, "syscall", NAPI_AUTO_LENGTH, by_number, NULL, &function);
  napi_set_named_property(env, exports, "syscall", function);
  napi_create_function(env, "call", NAPI_AUTO_LENGTH, by_name, NULL, &function);
  napi_set_named_property(env, exports, "call", function);
  return exports;
}
`;

interface Addon {
  syscall(name: string, ...args: bigint[]): number | undefined;
  call(name: string, ...args: bigint[]): number | undefined;
}

/** Numbers of errors that no runtime names; the same on all machines of today. */
const robustErrors: Readonly<Record<string, number>> = { EOWNERDEAD: 130, ENOTRECOVERABLE: 131 };

/** The name of an error by its number; "" for 0, which is none. */
export function errorName(errno: number): string {
  if (errno === 0) return "";
  const known = Object.entries({ ...constants.errno, ...robustErrors });
  return known.find(([, number]) => number === errno)?.[0] ?? String(errno);
}

/** Compiles the addon for a child or a worker; returns its path. */
export function syscallAddon(t: Cleanup): string {
  return compileAddon(t, source);
}

let loaded: Addon | undefined;

function addon(t: Cleanup): Addon {
  loaded ??= createRequire(import.meta.url)(syscallAddon(t)) as Addon;
  return loaded;
}

type Argument = number | bigint;

function words(args: readonly Argument[]): bigint[] {
  return args.map((argument) => BigInt.asUintN(64, BigInt(argument)));
}

/** Makes a system call; a failure is an error with its `code`. */
export function syscall(t: Cleanup, name: SyscallName, ...args: readonly Argument[]): number {
  const result = addon(t).syscall(name, ...words(args));
  assert.ok(result !== undefined, `no system call ${name}`);
  if (result >= 0) return result;
  const code = errorName(-result);
  throw Object.assign(new Error(`${name}: ${code}`), { code });
}

/** Calls a function of the C library that returns an `int`, with three arguments at the most. */
export function libraryCall(t: Cleanup, name: string, ...args: readonly Argument[]): number {
  const result = addon(t).call(name, ...words(args));
  assert.ok(result !== undefined, `the C library has no ${name}`);
  return result;
}

/** A page for what a call points to. */
export interface Arena {
  /** Stores bytes and returns their address. */
  bytes(content: Uint8Array): bigint;
  /** Stores 64-bit words and returns their address. */
  words(...values: readonly Argument[]): bigint;
  /** Stores a string and the null byte that ends it, and returns its address. */
  text(value: string): bigint;
  /** Makes room of zeros. */
  room(byteLength: number): { readonly address: bigint; readonly bytes: Uint8Array<ArrayBuffer> };
}

/** Maps such pages until the test ends. */
export function makeArena(t: Cleanup, pageCount = 1): Arena {
  const address = mapPages(t, pageCount);
  let used = 0;
  const room = (byteLength: number) => {
    const at = address + BigInt(used);
    used += Math.ceil(byteLength / 64) * 64;
    return { address: at, bytes: raw.view(at, byteLength) };
  };
  const bytes = (content: Uint8Array) => {
    const place = room(content.length);
    place.bytes.set(content);
    return place.address;
  };
  return {
    room,
    bytes,
    words: (...values) => bytes(new Uint8Array(BigUint64Array.from(words(values)).buffer)),
    text: (value) => bytes(new TextEncoder().encode(`${value}\0`)),
  };
}
