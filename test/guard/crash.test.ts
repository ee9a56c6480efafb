// A fault that is not the guard's goes on as without it: a real crash stays a crash, with the
// same signal and exit code. Each program runs twice, without memmap and with a mapping.

import assert from "node:assert/strict";
import test from "node:test";
import { runSource } from "../helpers/child.js";
import { compileAddon, noCompiler } from "../helpers/compile.js";
import { type Cleanup, tempDir } from "../helpers/temp.js";
import { answerOf, runProgramIn } from "./program.js";

/* A library whose loading does what CRASH says; it needs no header of any runtime. */
const library = `
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static volatile char *page;
static struct sigaction before[2];

static void *write_wild(void *at) {
  *(volatile char *)at = 1;
  return NULL;
}

static void mend(int signal, siginfo_t *info, void *context) {
  const char *at = info->si_addr;
  if (info->si_code > 0 && at >= page && at < page + 4096) {
    mprotect((void *)page, 4096, PROT_READ | PROT_WRITE);
    return;
  }
  const char *chains = getenv("CHAINS");
  struct sigaction *next = &before[signal == SIGBUS];
  if (chains != NULL && (next->sa_flags & SA_SIGINFO)) next->sa_sigaction(signal, info, context);
  else _exit(99);
}

static void *wild(void) {
  return (void *)(uintptr_t)8;
}

/* The address of a page that belongs to nobody here. */
static void *own_page(int protection) {
  return mmap(NULL, 4096, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void behind_the_end(void) {
  int fd = memfd_create("crash", MFD_CLOEXEC);
  volatile char *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  *at = 1;
}

static void in_a_thread(void) {
  pthread_t thread;
  pthread_create(&thread, NULL, write_wild, wild());
  pthread_join(thread, NULL);
}

static void take_over(void) {
  struct sigaction mine = {.sa_sigaction = mend, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  page = own_page(PROT_NONE);
  sigaction(SIGSEGV, &mine, &before[0]);
  sigaction(SIGBUS, &mine, &before[1]);
}

__attribute__((visibility("default"))) void *napi_register_module_v1(void *env, void *exports) {
  const char *how = getenv("CRASH");
  (void)env;
  if (how == NULL) return exports;
  if (strcmp(how, "wild") == 0) write_wild(wild());
  if (strcmp(how, "read-only") == 0) write_wild(own_page(PROT_READ));
  if (strcmp(how, "no access") == 0) write_wild(own_page(PROT_NONE));
  if (strcmp(how, "behind the end") == 0) behind_the_end();
  if (strcmp(how, "thread") == 0) in_a_thread();
  if (strcmp(how, "abort") == 0) abort();
  if (strcmp(how, "take over") == 0) take_over();
  if (strcmp(how, "use own page") == 0) page[0] = 1;
  return exports;
}
`;

const skip = noCompiler;

/* What runs after mapping: a mapping that has served a fault, one that has none, one closed. */
const mapped = `
  const mapping = shortened(2, { faults: "collect" });
  if (mapping.bytes[pageSize] !== 0) throw new Error("not served");
  const other = mapAnonymous(4 * pageSize);
  mapAnonymous(pageSize).close();`;

interface End {
  readonly code: number | null;
  readonly signal: string | null;
}

async function endsOf(t: Cleanup, crash: string, env: Record<string, string>): Promise<End[]> {
  const folder = tempDir(t);
  const setup = `
    import { createRequire } from "node:module";
    process.chdir(${JSON.stringify(folder)});
    const crash = () => { ${crash} };`;
  const path = crash === "" ? compileAddon(t, library) : "";
  const load = `createRequire(import.meta.url)(${JSON.stringify(path)});`;
  const code = `${crash === "" ? load : "crash();"}\nconsole.log("alive");`;
  const options = { env: { ...env, BUN_CRASH_REPORT_URL: "", BUN_ENABLE_CRASH_REPORTING: "0" } };
  const plain = await runSource(`${setup}\n${code}`, [folder], { ...options, timeoutMs: 10_000 });
  const rest = setup.replace('import { createRequire } from "node:module";', "");
  const guarded = await runProgramIn([folder], `${rest}\n${mapped}\n${code}`, options);
  return [plain, guarded].map(({ code: exit, signal }) => ({ code: exit, signal }));
}

for (const how of ["wild", "read-only", "no access", "behind the end", "thread", "abort"]) {
  test(`a crash of a native library stays what it was: ${how}`, { skip }, async (t) => {
    const [plain, guarded] = await endsOf(t, "", { CRASH: how });
    assert.notEqual(plain?.code, 0, "the control did not crash");
    assert.deepEqual(guarded, plain);
  });
}

for (const signal of ["SIGSEGV", "SIGBUS", "SIGABRT"]) {
  test(`${signal} that a process sends to itself ends it as without memmap`, {
    skip,
  }, async (t) => {
    const crash = `process.kill(process.pid, "${signal}"); for (;;);`;
    const [plain, guarded] = await endsOf(t, crash, {});
    assert.notEqual(plain?.code, 0, "the control did not end");
    assert.deepEqual(guarded, plain);
  });

  test(`${signal} from outside ends a process as without memmap`, { skip }, async (t) => {
    const crash = `
      const { spawnSync } = process.getBuiltinModule("node:child_process");
      /* Some runtimes take their own handler away at the first one and end at the second. */
      for (const i of [1, 2]) spawnSync("kill", ["-${signal.slice(3)}", String(process.pid)]);
      for (const end = Date.now() + 3000; Date.now() < end; );`;
    const [plain, guarded] = await endsOf(t, crash, {});
    assert.notEqual(plain?.code, 0, "the control did not end");
    assert.deepEqual(guarded, plain);
  });
}

const bothOwners = `
  process.env.CRASH = "take over";
  const load = () => {
    const { path } = load;
    const copy = path + load.count++ + ".node";
    fs.symlinkSync(path, copy);
    process.dlopen({ exports: {} }, copy);
  };
  load.count = 0;
  load.path = process.argv[3];
  const serve = () => {
    const mapping = shortened(2, { faults: "collect" });
    const zero = mapping.bytes[pageSize];
    return zero === 0 && codeOf(() => mapping.check()) === "ERR_MEMMAP_FAULT";
  };
  const useOwn = () => {
    process.env.CRASH = "use own page";
    load();
    return true;
  };`;

const orders: Readonly<Record<string, string>> = {
  "before the first mapping": `load(); const ours = serve(); const theirs = useOwn();`,
  "over the guard": `mapAnonymous(1); load(); const ours = serve(); const theirs = useOwn();`,
};

for (const chains of [true, false]) {
  for (const [order, steps] of Object.entries(orders)) {
    const manner = chains ? "chains" : "does not chain";
    test(`a library's own handler that ${manner} works on: set ${order}`, { skip }, async (t) => {
      const folder = tempDir(t);
      const path = compileAddon(t, library);
      const env = { CHAINS: chains ? "1" : undefined };
      const code = `${bothOwners}\n${steps}\nanswer({ ours, theirs, again: serve() });`;
      const result = await runProgramIn([folder, path], code, { env });
      assert.deepEqual(answerOf(result), { ours: true, theirs: true, again: true });
    });
  }
}
