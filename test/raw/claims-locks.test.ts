// The claims of mlock(2), and of the other pages, on locks and limits that concern a whole process
// or several: docs/semantics.md has the list. What locks all memory does it in a child.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import test from "node:test";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { compileProgram, noCompiler } from "../helpers/compile.js";
import { limitedOutput, runLimited } from "../helpers/ordinary-user.js";
import { flagsAt, pageTable, statusBytes } from "../helpers/proc-self.js";
import { runtimeName } from "../helpers/runtime.js";
import { needs, undoAfter } from "../helpers/temp.js";
import { makeFile, map, numbered, onExt4, openUntilEnd, pages, refuses, retry } from "./memory.js";

/* What programs that lock everything have in scope. */
const header = `
  const { MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT } = raw;
  const kind = raw.MAP_PRIVATE | raw.MAP_ANONYMOUS;
  const map = (length) => raw.mmap(null, length, raw.PROT_READ | raw.PROT_WRITE, kind, -1, 0);
  const lockedHere = () =>
    Number(/VmLck:\\s+(\\d+)/.exec(fs.readFileSync("/proc/self/status", "utf8"))[1]);
`;

/* An engine that gets no memory while all of it is locked ends, as is documented. */
async function lockingOutput(code: string): Promise<string> {
  let result = await runLimited(header + code);
  for (let triesLeft = 3; result.signal !== null && triesLeft > 0; triesLeft--) {
    result = await runLimited(header + code);
  }
  assert.equal(result.code, 0, `${result.signal} ${result.stdout}${result.stderr}`);
  return result.stdout.trim();
}

test("MCL_ONFAULT locks pages as they come, MCL_FUTURE alone brings them in", {
  skip: needs("root").skip,
}, async () => {
  const stdout = await lockingOutput(`
    const size = 8 * pageSize;
    const bits = (address) => Buffer.from(raw.mincore(address, size)).toString("hex");
    raw.mlockall(MCL_FUTURE | MCL_ONFAULT);
    const later = map(size);
    const before = bits(later);
    raw.mlockall(MCL_FUTURE);
    const atOnce = map(size);
    raw.munlockall();
    raw.mlockall(MCL_FUTURE | MCL_ONFAULT);
    raw.mlock2(later, size, raw.MLOCK_ONFAULT);
    raw.view(later, 1)[0] = 1;
    const isLocked = lockedHere() >= (8 * pageSize) / 1024;
    raw.munlockall();
    console.log([before, bits(atOnce), bits(later), isLocked].join());`);
  assert.equal(stdout, "0000000000000000,0101010101010101,0100000000000000,true");
});

/* Locks what it has and what it maps later, and maps a megabyte: by itself, in a child of fork, and
   in what it becomes by exec. Each says whether that one is locked. */
const inheriting = `
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
static void tell(const char *who) {
  char line[256];
  int kilobytes = -1;
  FILE *status = fopen("/proc/self/status", "r");
  mmap(NULL, 1 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  while (fgets(line, sizeof line, status)) sscanf(line, "VmLck: %d", &kilobytes);
  printf("%s %s\\n", who, kilobytes == 0 ? "nothing" : kilobytes >= 1024 ? "all" : "some");
  fflush(stdout);
}
int main(int argc, char **argv) {
  if (argc > 1) return tell("exec"), 0;
  if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) return 1;
  if (fork() == 0) return tell("fork"), 0;
  wait(NULL);
  tell("itself");
  execl("/proc/self/exe", argv[0], "again", (char *)NULL);
  return 1;
}
`;

test("neither a child of fork nor a program after exec has locks, or locks what it maps", {
  skip: noCompiler || needs("root").skip,
}, (t) => {
  const { stdout } = spawnSync(compileProgram(t, inheriting), { encoding: "utf8" });
  assert.equal(stdout, "fork nothing\nitself all\nexec nothing\n");
});

test("who locks the future and drops its rights maps up to RLIMIT_MEMLOCK", {
  skip: needs("root").skip,
}, async () => {
  const stdout = await lockingOutput(`
    const size = 2 ** 22;
    const code = () => failure(() => raw.munmap(map(size), size)).split(" | ")[1] ?? "mapped";
    limit("memlock", size / 2);
    raw.mlockall(MCL_FUTURE | MCL_ONFAULT);
    const found = [code()];
    dropRights();
    found.push(code());
    raw.munlockall();
    found.push(code());
    console.log(found.join());`);
  assert.equal(stdout, "mapped,EAGAIN,mapped");
});

test("root locks past RLIMIT_MEMLOCK", { skip: needs("root").skip }, async () => {
  const stdout = await lockingOutput(`
    limit("memlock", 0);
    const before = lockedHere();
    raw.mlock(map(2 ** 20), 2 ** 20);
    console.log(lockedHere() - before);`);
  assert.equal(stdout, "1024");
});

test("a page that is locked at two places stays until both are unlocked", onExt4, (t) => {
  const fd = openUntilEnd(t, makeFile(t, numbered(1)));
  const [one, two, other] = [map(t, pageSize, { fd }), map(t, pageSize, { fd }), map(t, 1, { fd })];
  const isThere = () => {
    raw.madvise(other, pageSize, raw.MADV_POPULATE_READ); // Only what is mapped is paged out.
    raw.msync(other, pageSize, raw.MS_SYNC);
    raw.madvise(other, pageSize, raw.MADV_PAGEOUT);
    return ((raw.mincore(other, pageSize)[0] ?? 0) & 1) === 1;
  };
  for (const address of [one, two]) raw.mlock(address, pageSize);
  raw.munlock(one, pageSize);
  raw.madvise(one, pageSize, raw.MADV_DONTNEED);
  assert.ok(isThere());
  raw.munlock(two, pageSize);
  raw.madvise(two, pageSize, raw.MADV_DONTNEED);
  retry(() => assert.ok(!isThere()));
});

test("a locked mapping that grows past what can come is no error", (t) => {
  const fd = openUntilEnd(t, makeFile(t, numbered(1)));
  const address = map(t, pageSize, { fd });
  raw.mlock(address, pageSize);
  const before = statusBytes("VmLck");
  const moved = raw.mremap(address, pageSize, 3 * pageSize, raw.MREMAP_MAYMOVE);
  undoAfter(t, () => raw.munmap(moved, 3 * pageSize));
  assert.equal(statusBytes("VmLck"), before + 2 * pageSize);
  assert.equal(pageTable(moved, 3).present, 1);
  assert.ok(flagsAt(moved + pages(2)).includes("lo"));
  refuses(() => raw.mlock(moved, 3 * pageSize), "ENOMEM");
});

test("where areas are used up, mlock and mremap are ENOMEM, madvise is EAGAIN", {
  skip: runtimeName === "deno" && "V8 in Deno needs areas of its own all the time",
}, async () => {
  const stdout = await limitedOutput(`
    const bound = Number(fs.readFileSync("/proc/sys/vm/max_map_count", "utf8"));
    const flags = raw.MAP_PRIVATE | raw.MAP_ANONYMOUS;
    const page = (address, index) => address + BigInt(index) * BigInt(pageSize);
    const whole = raw.mmap(null, 9000 * pageSize, raw.PROT_READ, flags, -1, 0);
    const many = raw.mmap(null, 2 * bound * pageSize, raw.PROT_NONE, flags, -1, 0);
    const moving = raw.MREMAP_MAYMOVE | raw.MREMAP_DONTUNMAP;
    const ways = [
      (i) => raw.mlock2(page(whole, i), pageSize, raw.MLOCK_ONFAULT),
      (i) => raw.madvise(page(whole, i), pageSize, raw.MADV_DONTFORK),
      (i) => raw.mremap(page(whole, i), pageSize, pageSize, moving),
    ];
    let error = "no error";
    for (let i = 1; i < 2 * bound && error === "no error"; i += 2) {
      error = failure(() => raw.mprotect(page(many, i), pageSize, raw.PROT_READ));
    }
    // Each failed call may have left room for an area or two, which the next ones take.
    const found = ways.map((way, index) => {
      let code = "no error";
      for (let i = 3000 * index + 1; i < 3000 * index + 2999 && code === "no error"; i += 2) {
        code = failure(() => way(i));
      }
      return code;
    });
    raw.munmap(many, 2 * bound * pageSize);
    console.log([error, ...found].map((text) => text.split(" | ")[1]).join());`);
  assert.equal(stdout.trim(), "ENOMEM,ENOMEM,EAGAIN,ENOMEM");
});
