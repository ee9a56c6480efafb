// Waiting on many words at once, in a thread and in another process, for futex-ipc.ts.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { mapFileSync } from "memmap";
import { answerTo } from "../guard/program.js";
import { withPeer } from "../helpers/peer.js";
import { syscall, syscallAddon } from "../helpers/syscalls.js";
import { tempDir } from "../helpers/temp.js";
import type { CaseContext, Check } from "./case.js";

const wordCount = 8;

/* Waits on words of 32 bits that stand one behind another; the flags are those of each word. */
const waiter = `
  function waitOn(addon, words, flags) {
    const list = mapAnonymous(pageSize);
    const fields = new BigUint64Array(list.buffer, 0, 3 * ${wordCount} + 2);
    for (let i = 0; i < ${wordCount}; i++) {
      fields.set([0n, words + BigInt(4 * i), BigInt(flags)], 3 * i);
    }
    fields.set([BigInt(Math.floor(Date.now() / 1000) + 15), 0n], 3 * ${wordCount});
    const time = list.address + BigInt(24 * ${wordCount});
    return addon.syscall("futex_waitv", list.address, ${wordCount}n, 0n, time, 0n);
  }`;

const bits32 = 2;
const privateFlag = 128;

/* A thread waits, and the main thread wakes it as soon as it does. */
const inThread = `
  ${waiter}
  const addon = require(isMainThread ? process.env.ADDON : workerData.data.addon);
  if (isMainThread) {
    const words = mapAnonymous(pageSize);
    const woken = [];
    for (const index of [0, 5, ${wordCount - 1}]) {
      const data = { addon: process.env.ADDON, words: String(words.address) };
      const worker = startPart("wait", data);
      const told = messageOf(worker);
      const wake = () => addon.syscall("futex", words.address + BigInt(4 * index), ${
        1 | privateFlag
      }n, 1n);
      await until(() => wake() === 1);
      woken.push([index, await told]);
      await worker.terminate();
    }
    answer({ woken });
  } else {
    const { words } = workerData.data;
    parentPort.postMessage(waitOn(addon, BigInt(words), ${bits32 | privateFlag}));
  }`;

const inProcess = `
  ${waiter}
  const words = mapFileSync(process.argv[4], { protection: "read-write" });
  const addon = require(process.argv[3]);
  ready({});
  answer({ woken: waitOn(addon, words.address, ${bits32}) });`;

/** Wakes one of many words on which a thread waits, then one on which another process does. */
export async function checkWaitMany(check: Check, t: CaseContext): Promise<void> {
  const addon = syscallAddon(t);
  const answer = await answerTo(t, inThread, { env: { ADDON: addon } });
  const indices = [0, 5, wordCount - 1];
  check.deepEqual(answer, { woken: indices.map((index) => [index, index]) });
  const path = join(tempDir(t), "words");
  writeFileSync(path, new Uint8Array(4096));
  using words = mapFileSync(path, { protection: "read-write" });
  for (const index of [2, wordCount - 1]) {
    const plan = { code: inProcess, args: [addon, path] };
    const told = await withPeer(t, plan, async () => {
      const wake = () => syscall(t, "futex", words.address + BigInt(4 * index), 1, 1);
      for (let tries = 0; tries < 5000 && wake() === 0; tries++) await sleep(2);
    });
    check.deepEqual(told, { woken: index });
  }
}
