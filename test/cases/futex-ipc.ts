// Processes that meet in mapped memory: futexes, robust mutexes of the C library, bytes in a shared
// object.

import { closeSync, constants, ftruncateSync, openSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { noCompiler } from "../helpers/compile.js";
import { withPeer } from "../helpers/peer.js";
import { mapPages, openUntilEnd, pages, retry } from "../helpers/raw-pages.js";
import { makeArena, syscall } from "../helpers/syscalls.js";
import { needs } from "../helpers/temp.js";
import type { Case, CaseContext, Check } from "./case.js";
import { checkWaitMany } from "./futex-waitv.js";
import { checkKilledOwners, checkNotRecoverable, checkRobust } from "./robust-mutex.js";

/* Operations of futex(2), from its header. */
const futexWait = 0;
const futexWake = 1;
const futexPrivate = 128;

function checkWrongValue(check: Check, t: CaseContext): void {
  const shared = raw.MAP_SHARED | raw.MAP_ANONYMOUS;
  for (const address of [mapPages(t, 1), mapPages(t, 1, { flags: shared })]) {
    for (const kind of [0, futexPrivate]) {
      const wait = (value: number) => syscall(t, "futex", address, futexWait | kind, value, 0);
      check.refuses(() => wait(1), "EAGAIN");
      new Int32Array(raw.view(address, 4).buffer, raw.view(address, 4).byteOffset, 1)[0] = 7;
      check.refuses(() => wait(0), "EAGAIN");
      // The right value waits, as long as it may.
      const time = makeArena(t).words(0, 1_000_000);
      check.refuses(() => syscall(t, "futex", address, futexWait | kind, 7, time), "ETIMEDOUT");
      raw.view(address, 4).fill(0);
    }
  }
}

function checkWakeNowhere(check: Check, t: CaseContext): void {
  const wake = (address: bigint) => syscall(t, "futex", address, futexWake, 1);
  const made = raw.memfd_create("case", 0);
  const fd = openUntilEnd(t, `/proc/self/fd/${made}`, "r+");
  raw.close(made);
  ftruncateSync(fd, 2 * pageSize);
  const address = mapPages(t, 2, { fd });
  check.equal(wake(address + pages(1)), 0, "nobody waits");
  ftruncateSync(fd, pageSize);
  check.refuses(() => wake(address + pages(1)), "EFAULT");
  check.equal(wake(address), 0);
  const closed = mapPages(t, 1, { prot: raw.PROT_NONE });
  check.refuses(() => wake(closed), "EFAULT");
  retry(() => {
    const hole = mapPages(t, 3) + pages(1);
    raw.munmap(hole, pageSize);
    check.refuses(() => wake(hole), "EFAULT");
  });
  raw.check(closed, pageSize);
}

/* Flags of one word of futex_waitv(2): 32 bits. */
const word32 = 2;

function checkWaitArguments(check: Check, t: CaseContext): void {
  const arena = makeArena(t);
  const word = arena.words(0);
  const one = (address: bigint, flags: number, reserved = 0) =>
    arena.words(1, address, (BigInt(reserved) << 32n) | BigInt(flags));
  const wait = (list: bigint, count = 1, ...rest: bigint[]) =>
    syscall(t, "futex_waitv", list, count, ...(rest.length === 0 ? [0n] : rest));
  check.refuses(() => wait(one(word, word32)), "EAGAIN");
  check.refuses(() => wait(one(word, 64)), "EINVAL");
  check.refuses(() => wait(one(word, word32 | 64)), "EINVAL");
  check.refuses(() => wait(one(word, word32, 1)), "EINVAL");
  check.refuses(() => wait(one(word + 1n, word32)), "EINVAL");
  check.refuses(() => wait(0n), "EINVAL");
  check.refuses(() => wait(one(word, word32), 0), "EINVAL");
  check.refuses(() => wait(one(word, word32), 129), "EINVAL");
  check.refuses(() => wait(one(word, word32), 1, 1n), "EINVAL");
  check.refuses(() => wait(one(0n, word32)), "EFAULT");
  const time = arena.words(1, 0);
  const processClock = 2n;
  check.refuses(() => wait(one(word, word32), 1, 0n, time, processClock), "EINVAL");
}

/* Answers each number with its double, until it has seen the last one. */
const answering = `
  const fd = raw.shm_open(process.argv[3], fs.constants.O_RDWR, 0);
  const address = raw.mmap(null, 4000, raw.PROT_READ | raw.PROT_WRITE, raw.MAP_SHARED, fd, 0);
  raw.close(fd);
  const bytes = raw.view(address, 4000);
  ready({});
  const seen = [];
  for (let last = 0; last < 40; ) {
    await until(() => Atomics.load(bytes, 0) > last);
    last = bytes[0];
    seen.push(last);
    Atomics.store(bytes, 3999, 2 * last);
  }
  answer({ seen });`;

async function checkPingPong(check: Check, t: CaseContext): Promise<void> {
  const name = `/memmap-case-${process.pid}`;
  const { O_CREAT, O_EXCL, O_RDWR } = constants;
  const made = raw.shm_open(name, O_CREAT | O_EXCL | O_RDWR, 0o600);
  t.after(() => raw.shm_unlink(name));
  const fd = openSync(`/proc/self/fd/${made}`, "r+");
  ftruncateSync(fd, 4000);
  closeSync(fd);
  const address = raw.mmap(null, 4000, raw.PROT_READ | raw.PROT_WRITE, raw.MAP_SHARED, made, 0);
  t.after(() => raw.munmap(address, 4000));
  raw.close(made);
  const bytes = raw.view(address, 4000);
  const answers: number[] = [];
  const answer = await withPeer(t, { code: answering, args: [name] }, async () => {
    for (let i = 1; i <= 40; i++) {
      Atomics.store(bytes, 0, i);
      for (let tries = 0; tries < 5000 && Atomics.load(bytes, 3999) !== 2 * i; tries++) {
        await sleep(1);
      }
      answers.push(bytes[3999] ?? -1);
    }
  });
  const numbers = Array.from({ length: 40 }, (_, i) => i + 1);
  check.deepEqual(answer, { seen: numbers });
  check.deepEqual(
    answers,
    numbers.map((number) => 2 * number),
  );
}

const noWaitMany = noCompiler || needs({ kernel: "5.16" }).skip;

export const futexIpcCases: readonly Case[] = [
  {
    id: "gvisor:futex.cc:Wait_WrongVal",
    says: "who waits for a value that does not stand there comes back at once",
    skip: noCompiler,
    run: checkWrongValue,
  },
  {
    id: "ltp:futex_wake05",
    says: "waking at a hole, at memory of no access, or past the end of a file is refused",
    skip: noCompiler,
    run: checkWakeNowhere,
  },
  {
    id: "ltp:futex_waitv01",
    says: "waiting on many words refuses unknown flags, uneven places, no list and wrong clocks",
    skip: noWaitMany,
    run: checkWaitArguments,
  },
  {
    id: "ltp:futex_waitv03",
    says: "who waits on many words learns which one was woken, in a thread and across processes",
    skip: noWaitMany,
    run: checkWaitMany,
  },
  {
    id: "glibc:tst-robust1",
    says: "the next to lock a robust mutex learns that its owner died, and can make it good again",
    skip: noCompiler,
    run: checkRobust,
  },
  {
    id: "glibc:tst-robust1#notrecoverable",
    says: "a robust mutex unlocked without being made good is lost to everyone",
    skip: noCompiler,
    run: checkNotRecoverable,
  },
  {
    id: "glibc:tst-robust8",
    says: "owners killed at any moment leave no robust mutex in a file that cannot be locked",
    skip: noCompiler,
    run: checkKilledOwners,
  },
  {
    id: "glibc:rt/tst-shm#pingpong",
    says: "two processes exchange bytes at both ends of a shared object of 4000 bytes",
    run: checkPingPong,
  },
];
