// Robust mutexes of the C library in files that memmap maps, for futex-ipc.ts: what their next
// owner gets when the last one has died.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Mapping, mapFileSync } from "memmap";
import { type Answer, answerOf, runProgramIn } from "../guard/program.js";
import { compileProgram } from "../helpers/compile.js";
import { errorName, libraryCall, makeArena, syscallAddon } from "../helpers/syscalls.js";
import { tempDir } from "../helpers/temp.js";
import type { CaseContext, Check } from "./case.js";

/* How many bytes are left for a mutex: more than any C library takes. */
const mutexSize = 64;

const fileSize = 4096;

/* A file of robust mutexes for several processes, and this process's mapping of it. */
function makeMutexes(t: CaseContext, count: number): { path: string; mapping: Mapping } {
  const path = join(tempDir(t), "mutexes");
  writeFileSync(path, new Uint8Array(fileSize));
  const mapping = mapFileSync(path, { protection: "read-write" });
  t.after(() => mapping.close());
  const attributes = makeArena(t).room(64).address;
  libraryCall(t, "pthread_mutexattr_init", attributes);
  libraryCall(t, "pthread_mutexattr_setpshared", attributes, 1);
  libraryCall(t, "pthread_mutexattr_setrobust", attributes, 1);
  for (let i = 0; i < count; i++) {
    const mutex = mapping.address + BigInt(i * mutexSize);
    libraryCall(t, "pthread_mutex_init", mutex, attributes);
  }
  return { path, mapping };
}

/* Calls on one mutex, whose answers are names of errors; locking waits for ten seconds. */
function callsOn(t: CaseContext, mutex: bigint) {
  const time = makeArena(t).words(Math.floor(Date.now() / 1000) + 10, 0);
  const call = (name: string, ...rest: bigint[]) =>
    errorName(libraryCall(t, `pthread_mutex_${name}`, mutex, ...rest));
  return {
    lock: () => call("timedlock", time),
    tryLock: () => call("trylock"),
    makeGood: () => call("consistent"),
    unlock: () => call("unlock"),
  };
}

const peer = `
  const addon = require(isMainThread ? process.argv[3] : workerData.data.addon);
  const call = (name, address) => addon.call("pthread_mutex_" + name, address);
  const open = () => mapFileSync(process.argv[4], { protection: "read-write" }).address;`;

/* Locks in a process that ends with the mutex: by itself, or killed. */
const ways: Readonly<Record<string, string>> = {
  exit: `${peer}
    answer({ got: call("lock", open()) });
    process.exit(0);`,
  kill: `${peer}
    answer({ got: call("lock", open()) });
    process.kill(process.pid, "SIGKILL");
    await sleep(90_000);`,
  // Its thread ends, and the mutex can be had by another one of the same process. The mapping is
  // not the thread's own: that one would go before the kernel looks for what the thread holds.
  thread: `${peer}
    if (isMainThread) {
      const address = open();
      const data = { addon: process.argv[3], address: String(address) };
      const worker = startPart("lock", data);
      const got = await messageOf(worker);
      await worker.terminate();
      let next = 16;
      await until(() => (next = call("trylock", address)) !== 16);
      answer({ got, next });
      process.exit(0);
    } else {
      parentPort.postMessage(call("lock", BigInt(workerData.data.address)));
    }`,
};

async function runWay(t: CaseContext, way: string, path: string): Promise<Answer> {
  const result = await runProgramIn([tempDir(t), syscallAddon(t), path], ways[way] ?? "");
  return way === "kill" ? JSON.parse(result.stdout) : answerOf(result);
}

/** An owner dies in each way; the next one is told, makes the mutex good, and all is as before. */
export async function checkRobust(check: Check, t: CaseContext): Promise<void> {
  const { path, mapping } = makeMutexes(t, 1);
  const mutex = callsOn(t, mapping.address);
  for (const way of Object.keys(ways)) {
    const dead = { got: 0, ...(way === "thread" ? { next: 130 } : {}) };
    check.deepEqual(await runWay(t, way, path), dead, way);
    check.equal(mutex.lock(), "EOWNERDEAD", way);
    check.equal(mutex.makeGood(), "");
    check.equal(mutex.unlock(), "");
    check.equal(mutex.tryLock(), "", "as before");
    check.equal(mutex.tryLock(), "EBUSY");
    check.equal(mutex.unlock(), "");
  }
}

/** The mutex of a dead owner is unlocked as it is. */
export async function checkNotRecoverable(check: Check, t: CaseContext): Promise<void> {
  const { path, mapping } = makeMutexes(t, 1);
  const mutex = callsOn(t, mapping.address);
  check.deepEqual(await runWay(t, "exit", path), { got: 0 });
  check.equal(mutex.lock(), "EOWNERDEAD");
  check.equal(mutex.unlock(), "");
  check.equal(mutex.lock(), "ENOTRECOVERABLE");
  check.equal(mutex.lock(), "ENOTRECOVERABLE", "from then on");
  check.deepEqual(await runWay(t, "exit", path), { got: 131 }, "another process");
}

const mutexCount = 8;

/* Locks one mutex after another until it is killed. */
const locking = `
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int count, char **words) {
  int fd = count > 1 ? open(words[1], O_RDWR) : -1;
  char *place = mmap(NULL, ${fileSize}, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (place == MAP_FAILED || write(1, "r", 1) != 1) return 1;
  unsigned seed = (unsigned)getpid();
  for (;;) {
    pthread_mutex_t *mutex = (void *)(place + (rand_r(&seed) % ${mutexCount}) * ${mutexSize});
    int error = pthread_mutex_lock(mutex);
    if (error == EOWNERDEAD) error = pthread_mutex_consistent(mutex);
    if (error != 0) return 2;
    for (volatile int i = rand_r(&seed) % 2000; i > 0; i--) {}
    if (pthread_mutex_unlock(mutex) != 0) return 3;
  }
}
`;

/** Two processes lock by turns, and both are killed, again and again. */
export async function checkKilledOwners(check: Check, t: CaseContext): Promise<void> {
  const program = compileProgram(t, locking);
  const { path, mapping } = makeMutexes(t, mutexCount);
  const counts = new Map<string, number>();
  for (let round = 0; round < 25; round++) {
    const children = [0, 1].map(() =>
      spawn(program, [path], { stdio: ["ignore", "pipe", "ignore"] }),
    );
    const ends = children.map((child) => once(child, "exit"));
    await Promise.all(children.map((child) => once(child.stdout, "data")));
    await sleep(Math.random() * 8);
    for (const child of children) child.kill("SIGKILL");
    const signals = (await Promise.all(ends)).map(([, signal]) => signal);
    check.deepEqual(signals, ["SIGKILL", "SIGKILL"], "a child ended by itself");
    for (let i = 0; i < mutexCount; i++) {
      const mutex = callsOn(t, mapping.address + BigInt(i * mutexSize));
      const got = mutex.lock();
      counts.set(got, (counts.get(got) ?? 0) + 1);
      if (got === "EOWNERDEAD") check.equal(mutex.makeGood(), "");
      check.equal(mutex.unlock(), "");
    }
  }
  const told = [...counts.keys()].sort();
  check.deepEqual(told, ["", "EOWNERDEAD"], JSON.stringify([...counts]));
}
