// src/ipc/wait.ts: what wait, waitSync and notify answer, in one process. Each test of what does
// not block runs twice: with the ring, where there is one, and with a thread for each wait.

import assert from "node:assert/strict";
import { truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { FaultError, type Mapping, mapAnonymous, mapFileSync, pageSize } from "memmap";
import { notify, wait, waitSync } from "memmap/ipc";
import { native } from "#dist/native.js";
import { tempDir } from "../../helpers/temp.js";
import { brokenSignal } from "../../ipc/lock-support.js";
import { threadCount, wake } from "../../ipc/support.js";
import { hasCode } from "../support.js";

interface Context {
  after(fn: () => void): void;
}

function makeWords(t: Context): { mapping: Mapping; words: Int32Array } {
  const mapping = mapAnonymous(pageSize, { sharing: "shared" });
  t.after(() => mapping.close());
  return { mapping, words: new Int32Array(mapping.buffer) };
}

const hasRing = native().waitByThreads(false);
const ways = [
  ["the ring", false, hasRing ? false : "needs io_uring with futexes (Linux 6.7)"],
  ["threads", true, false],
] as const;

/** Lets the waits of one test be served by one way. */
function choose(t: Context, byThreads: boolean): void {
  native().waitByThreads(byThreads);
  t.after(() => native().waitByThreads(false));
}

test("waitSync() answers at once for another value, and in time when nobody notifies", (t) => {
  const { words } = makeWords(t);
  words[1] = -5;
  assert.equal(waitSync(words, 1, 0), "not-equal");
  assert.equal(waitSync(words, 1, -4, { timeoutMs: 0 }), "not-equal");
  assert.equal(waitSync(words, 1, -5, { timeoutMs: 0 }), "timed-out");
  const begin = performance.now();
  /* Longer than one slice. */
  assert.equal(waitSync(words, 1, -5, { timeoutMs: 130.5 }), "timed-out");
  const took = performance.now() - begin;
  assert.ok(took >= 130 && took < 5000, `${took} ms`);
});

test("notify() without waiters, and with a count of 0, wakes none", async (t) => {
  const { words } = makeWords(t);
  assert.deepEqual([notify(words, 0), notify(words, 0, 0), notify(words, 0, 5)], [0, 0, 0]);
  const waiting = wait(words, 0, 0, { timeoutMs: 60 });
  const timer = setInterval(() => assert.equal(notify(words, 0, 0), 0), 5);
  t.after(() => clearInterval(timer));
  assert.equal(await waiting, "timed-out");
});

test("arguments are refused before anything waits", async (t) => {
  const { words } = makeWords(t);
  const type = hasCode(TypeError, "ERR_INVALID_ARG_TYPE");
  const range = hasCode(RangeError, "ERR_OUT_OF_RANGE");
  for (const timeoutMs of [-1, Number.NaN]) {
    assert.throws(() => waitSync(words, 0, 0, { timeoutMs }), range);
    await assert.rejects(wait(words, 0, 0, { timeoutMs }), range);
  }
  const wrongTime = { timeoutMs: "1" };
  assert.throws(() => Reflect.apply(waitSync, undefined, [words, 0, 0, wrongTime]), type);
  const signal = { signal: AbortSignal.abort() };
  const useless = hasCode(TypeError, "ERR_INVALID_ARG_VALUE", /"options.signal" has no effect/);
  assert.throws(() => Reflect.apply(waitSync, undefined, [words, 0, 0, signal]), useless);
  assert.throws(() => waitSync(words, words.length, 0), range);
  await assert.rejects(wait(words, words.length, 0), range);
  await assert.rejects(wait(words, 0, 2 ** 31), range);
  await assert.rejects(wait(new Int32Array(4), 0, 0), type);
  assert.throws(() => notify(new Int32Array(4), 0), type);
  assert.throws(() => notify(words, 0, -1), range);
  assert.throws(() => notify(words, 0, 1.5), range);
});

for (const [name, byThreads, skip] of ways) {
  test(`${name}: a notify of one word wakes none of another, and as many as it counts`, {
    skip,
  }, async (t) => {
    choose(t, byThreads);
    const { words } = makeWords(t);
    const ended: string[] = [];
    const waits = [0, 0, 0, 1].map(async (index, i) => {
      ended.push(`${i} ${await wait(words, index, 0)}`);
    });
    await wake(words, 0, 1);
    await new Promise((resolve) => setTimeout(resolve, 30));
    assert.equal(ended.length, 1, ended.join());
    await wake(words, 1, 1);
    await waits[3];
    assert.equal(ended.length, 2, ended.join());
    await wake(words, 0, 2);
    await Promise.all(waits);
    assert.deepEqual(ended.sort(), ["0 ok", "1 ok", "2 ok", "3 ok"]);
    assert.equal(notify(words, 0), 0);
  });

  test(`${name}: another value, a timeout and an abort each end a wait`, { skip }, async (t) => {
    choose(t, byThreads);
    const { words } = makeWords(t);
    assert.equal(await wait(words, 0, 1), "not-equal");
    assert.equal(await wait(words, 0, 0, { timeoutMs: 0 }), "timed-out");
    assert.equal(await wait(words, 0, 0, { timeoutMs: 0.001 }), "timed-out");
    const begin = performance.now();
    assert.equal(await wait(words, 0, 0, { timeoutMs: 30 }), "timed-out");
    const took = performance.now() - begin;
    assert.ok(took >= 29 && took < 5000, `${took} ms`);
    const reason = new Error("enough");
    await assert.rejects(wait(words, 0, 0, { signal: AbortSignal.abort(reason) }), reason);
    const controller = new AbortController();
    const { signal } = controller;
    const waiting = [wait(words, 0, 0, { signal }), wait(words, 0, 0, { signal, timeoutMs: 9999 })];
    setTimeout(() => controller.abort(reason), 10);
    await Promise.all(waiting.map((one) => assert.rejects(one, reason)));
    assert.equal(notify(words, 0), 0);
  });

  test(`${name}: close and resize end the waits of their mapping`, { skip }, async (t) => {
    choose(t, byThreads);
    const { mapping, words } = makeWords(t);
    const other = makeWords(t);
    const stays = wait(other.words, 0, 0);
    const first = wait(words, 0, 0);
    setTimeout(() => mapping.resize(2 * pageSize), 5);
    await assert.rejects(first, { code: "ERR_MEMMAP_CLOSED", message: /resized/ });
    const second = wait(new Int32Array(mapping.buffer), 0, 0);
    setTimeout(() => mapping.close(), 5);
    await assert.rejects(second, { code: "ERR_MEMMAP_CLOSED", message: /closed/ });
    await wake(other.words, 0, 1);
    assert.equal(await stays, "ok");
  });

  test(`${name}: a thousand waits are woken, timed out and aborted, each once`, {
    skip,
  }, async (t) => {
    choose(t, byThreads);
    const { words } = makeWords(t);
    const before = threadCount();
    const controllers = Array.from({ length: 1000 }, () => new AbortController());
    const results: string[] = [];
    const waits = controllers.map(async ({ signal }, i) => {
      const options = [{ signal }, { timeoutMs: 20 }, {}][i % 3];
      const told = await wait(words, i % 3, 0, options).catch((error: Error) => error.name);
      results.push(`${i % 3} ${told}`);
    });
    if (!byThreads) assert.ok(threadCount() <= before + 2, `${before}, then ${threadCount()}`);
    for (const controller of controllers) controller.abort();
    await wake(words, 2, 333);
    await Promise.all(waits);
    const count = (text: string) => results.filter((result) => result === text).length;
    assert.deepEqual([count("0 AbortError"), count("1 timed-out"), count("2 ok")], [334, 333, 333]);
  });

  test(`${name}: what notify counts are the waits that were woken, whatever gives up`, {
    skip,
  }, async (t) => {
    choose(t, byThreads);
    const { words } = makeWords(t);
    const controllers = Array.from({ length: 400 }, () => new AbortController());
    let going = controllers.length;
    let woken = 0;
    const results = controllers.map(({ signal }, i) => {
      const ended = wait(words, 0, 0, { signal, timeoutMs: 1 + (i % 40) });
      return ended.catch(() => "aborted").finally(() => (going -= 1));
    });
    for (let i = 0; going > 0; i += 1) {
      woken += notify(words, 0, 3);
      controllers[i * 7]?.abort();
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    const ends = await Promise.all(results);
    assert.equal(woken, ends.filter((end) => end === "ok").length);
    assert.ok(woken > 0 && new Set(ends).size > 1, [...new Set(ends)].join());
  });

  test(`${name}: a word whose page the file loses while it is waited on fails`, {
    skip,
  }, async (t) => {
    choose(t, byThreads);
    const file = join(tempDir(t), "data");
    writeFileSync(file, new Uint8Array(2 * pageSize));
    const mapping = mapFileSync(file, { protection: "read-write" });
    t.after(() => mapping.close());
    const words = new Int32Array(mapping.buffer);
    const lost = wait(words, pageSize / 4, 0);
    const kept = wait(words, 0, 0);
    setTimeout(() => truncateSync(file, pageSize), 20);
    await assert.rejects(lost, FaultError);
    for (const call of [waitSync, notify]) {
      assert.throws(() => call(words, pageSize / 4, 0 + Number(call === notify)), FaultError);
    }
    await assert.rejects(wait(words, pageSize / 4, 0), FaultError);
    await wake(words, 0, 1);
    assert.equal(await kept, "ok");
  });
}

test("a wait that sleeps in slices is called off, and sees a change", async (t) => {
  choose(t, true);
  const { words } = makeWords(t);
  native().failCall("futex_waitv", 1, 38);
  assert.equal(await wait(words, 0, 0, { timeoutMs: 20 }), "timed-out");
  native().failCall("futex_waitv", 1, 1);
  const changed = wait(words, 0, 0);
  setTimeout(() => Atomics.store(words, 0, 1), 70);
  assert.equal(await changed, "ok");
  native().failCall("futex_waitv", 1, 38);
  const woken = wait(words, 1, 0);
  await wake(words, 1, 1);
  assert.equal(await woken, "ok");
});

test("an alternating wait and notify of two tasks loses none", async (t) => {
  const { words } = makeWords(t);
  const rounds = 500;
  async function play(mine: number): Promise<number> {
    let turns = 0;
    while (turns < rounds) {
      const turn = Atomics.load(words, 0);
      if (turn % 2 === mine) {
        Atomics.add(words, 0, 1);
        notify(words, 0);
        turns += 1;
      } else await wait(words, 0, turn);
    }
    return turns;
  }
  assert.deepEqual(await Promise.all([play(0), play(1)]), [rounds, rounds]);
  assert.equal(words[0], 2 * rounds);
});

test("a signal that takes no listener ends its wait", async (t) => {
  const { words } = makeWords(t);
  const options = { timeoutMs: 60_000, signal: brokenSignal() };
  await assert.rejects(wait(words, 0, 0, options), /no listeners here/);
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(notify(words, 0), 0, "nobody is left who would be woken in place of others");
});
