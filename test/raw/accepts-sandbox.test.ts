// accepts() in a process whose thread may not make some system calls, as containers forbid them by
// seccomp(2): with the errno of a kernel without the call, and with the one of a missing right.

import assert from "node:assert/strict";
import test from "node:test";
import type { CallName } from "memmap/raw";
import { runSource } from "../helpers/child.js";
import { compileAddon, noCompiler } from "../helpers/compile.js";
import { emulatedName } from "../helpers/runtime.js";

const forbidden: readonly CallName[] = [
  ...(["cachestat", "memfd_secret", "mlock2", "mseal", "pidfd_open", "process_madvise"] as const),
  "remap_file_pages",
];

/* Numbers that are the same on every processor stand in for older headers. */
const addon = `
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <node_api.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif
#ifndef SYS_mseal
#define SYS_mseal 462
#endif
#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

NAPI_MODULE_INIT() {
  const char *text = getenv("FORBIDDEN_ERRNO");
  unsigned answer = SECCOMP_RET_ERRNO | (unsigned)(text == NULL ? 0 : atoi(text));
  struct sock_filter filter[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
${["cachestat", "memfd_secret", "mlock2", "mseal", "pidfd_open", "process_madvise"]
  .map((name, i) => `    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_${name}, ${7 - i}, 0),`)
  .join("\n")}
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_remap_file_pages, 1, 0),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    BPF_STMT(BPF_RET | BPF_K, answer),
  };
  struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};
  bool set = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
             prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
  napi_value result;
  napi_get_boolean(env, set, &result);
  napi_set_named_property(env, exports, "set", result);
  return exports;
}
`;

const code = `
import { createRequire } from "node:module";
import * as raw from "memmap/raw";
const names = ${JSON.stringify(forbidden)};
const { set } = createRequire(import.meta.url)(process.argv[2]);
const page = raw.mmap(null, 4096, 3, raw.MAP_PRIVATE | raw.MAP_ANONYMOUS, -1, 0);
const calls = {
  cachestat: () => raw.cachestat(0, { off: 0, len: 0 }, 0),
  memfd_secret: () => raw.memfd_secret(0),
  mlock2: () => raw.mlock2(page, 4096, raw.MLOCK_ONFAULT),
  mseal: () => raw.mseal(page, 4096, 0),
  pidfd_open: () => raw.pidfd_open(process.pid, 0),
  process_madvise: () => raw.process_madvise(-1, [], raw.MADV_COLD, 0),
  remap_file_pages: () => raw.remap_file_pages(page, 4096, 0, 0, 0),
};
function outcome(call) {
  try {
    call();
    return "ok";
  } catch (error) {
    return error.code;
  }
}
const rows = names.map((name) => [name, raw.accepts(name), outcome(calls[name])]);
console.log(JSON.stringify({ set, rows, others: raw.accepts("memfd_create") }));
`;

test("accepts() of a call that a sandbox forbids is false, as the call fails", {
  skip: noCompiler || (emulatedName !== undefined && "emulators filter no calls"),
}, async (t) => {
  const path = compileAddon(t, addon);
  for (const [errno, number] of Object.entries({ ENOSYS: 38, EPERM: 1 })) {
    const env = { FORBIDDEN_ERRNO: String(number) };
    const { stdout, stderr, code: exit } = await runSource(code, [path], { env });
    assert.equal(exit, 0, stderr);
    const { set, rows, others } = JSON.parse(stdout);
    if (set !== true) return t.skip("filters of system calls are refused here");
    assert.equal(others, true);
    assert.deepEqual(
      rows,
      forbidden.map((name) => [name, false, errno]),
    );
  }
});
