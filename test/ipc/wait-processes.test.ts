// Waiting and notifying between real processes, runtimes and workers; and what becomes of waits
// when somebody is killed, terminated, or exits.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { answerTo, runProgram } from "../guard/program.js";
import { emulatedName } from "../helpers/runtime.js";

/* A program that starts itself again: the environment names the part, and the memory. */
const start = `
  import { spawn } from "node:child_process";
  import { fileURLToPath } from "node:url";
  import { notify, SharedMemory, wait, waitSync } from "memmap/ipc";
  import { native } from "#dist/native.js";
  const self = fileURLToPath(import.meta.url);
  const denoArgs = ["run", "-A", "--no-check", "--no-lock"];
  const { PART: part, HANDLE: handle } = process.env;
  const memory = handle
    ? SharedMemory.attach(JSON.parse(handle))
    : isMainThread ? SharedMemory.create({ byteLength: 65536 })
    : SharedMemory.attach(workerData.data);
  const mapping = memory.map();
  const words = new Int32Array(mapping.buffer);
  native().waitByThreads(process.env.BY_THREADS === "1");
  function other(part, program = process.execPath) {
    const isDeno = /deno[^/]*$/.test(program);
    const env = { ...process.env, PART: part, HANDLE: JSON.stringify(memory.handle) };
    const child = spawn(program, [...(isDeno ? denoArgs : []), self, folder],
      { env, stdio: ["ignore", "inherit", "inherit"] });
    child.ended = new Promise((resolve) =>
      child.on("exit", (code, signal) => resolve(code ?? signal)));
    return child;
  }
  /** Notifies until so many were woken: they may still be on their way into the kernel. */
  async function wake(index, count) {
    for (let left = count; left > 0; ) {
      left -= notify(words, index, left);
      if (left > 0) await sleep(2);
    }
  }
  /** Plays ping or pong: passes a turn on, so many times. */
  async function play(mine, rounds, waits) {
    for (let turns = 0; turns < rounds; ) {
      const turn = Atomics.load(words, 0);
      if (turn % 2 !== mine) await waits(words, 0, turn);
      else {
        Atomics.add(words, 0, 1);
        notify(words, 0, 1);
        turns += 1;
      }
    }
  }`;

const ways = {
  "the ring": { env: {} },
  threads: { env: { BY_THREADS: "1" } },
};

const runtimes = fileURLToPath(new URL("../../../.runtimes/node_modules/", import.meta.url));
const peers: Readonly<Record<string, string>> = {
  "its own runtime": process.execPath,
  "Node 26": `${runtimes}node-26-x64/bin/node`,
  Bun: `${runtimes}@oven/bun-linux-x64/bin/bun`,
};

for (const [name, program] of Object.entries(peers)) {
  const skip = existsSync(program) ? false : `needs ${name} in .runtimes`;
  for (const [mine, theirs] of [
    ["wait", "waitSync"],
    ["waitSync", "wait"],
    ["wait", "wait"],
  ]) {
    test(`ping-pong with ${name}, ${mine} against ${theirs}: each turn once`, {
      skip,
    }, async (t) => {
      const code = `${start}
        const rounds = 300;
        if (part === "pong") await play(1, rounds, ${theirs});
        else {
          const child = other("pong", ${JSON.stringify(program)});
          await play(0, rounds, ${mine});
          answer({ ended: await child.ended, turns: words[0] });
        }`;
      assert.deepEqual(await answerTo(t, code), { ended: 0, turns: 600 });
    });
  }
}

for (const [name, options] of Object.entries(ways)) {
  test(`${name}: waits of other processes are woken as often as notify counts`, async (t) => {
    const code = `${start}
      if (part === "waiter") {
        const waits = Array.from({ length: 20 }, async () => {
          Atomics.add(words, 2, 1);
          if ((await wait(words, 1, 0)) === "ok") Atomics.add(words, 3, 1);
        });
        await Promise.all(waits);
      } else {
        const children = [other("waiter"), other("waiter")];
        await until(() => words[2] === 40);
        await wake(1, 15);
        await until(() => words[3] === 15);
        await sleep(50);
        const exactly = words[3];
        await wake(1, 25);
        const ended = await Promise.all(children.map((child) => child.ended));
        answer({ ended, exactly, woken: words[3], left: notify(words, 1) });
      }`;
    const expected = { ended: [0, 0], exactly: 15, woken: 40, left: 0 };
    assert.deepEqual(await answerTo(t, code, options), expected);
  });

  test(`${name}: a notifier that is killed leaves its waiters to the next one`, async (t) => {
    const code = `${start}
      if (part === "notifier") {
        for (;;) {
          Atomics.add(words, 0, 1);
          notify(words, 0);
          await sleep(1);
        }
      }
      const results = new Set();
      for (let kills = 0; kills < 3; kills += 1) {
        const child = other("notifier");
        await until(() => words[0] > 0);
        for (let i = 0; i < 20; i += 1) results.add(await wait(words, 0, words[0]));
        child.kill("SIGKILL");
        await child.ended;
        results.add(await wait(words, 0, words[0], { timeoutMs: 20 }));
        words[0] = 0;
      }
      results.delete("not-equal");
      const last = wait(words, 0, 0);
      await wake(0, 1);
      answer({ results: [...results].sort(), last: await last });`;
    const expected = { results: ["ok", "timed-out"], last: "ok" };
    assert.deepEqual(await answerTo(t, code, options), expected);
  });

  test(`${name}: waiters that are killed are not counted any more`, async (t) => {
    const code = `${start}
      if (part === "waiter") {
        for (let i = 0; i < 50; i += 1) void wait(words, 1, 0);
        await wake(2, 1);
        await wait(words, 1, 0);
      } else {
        const child = other("waiter");
        await wait(words, 2, 0);
        await sleep(50);
        child.kill("SIGKILL");
        const ended = await child.ended;
        answer({ ended, left: notify(words, 1) });
      }`;
    assert.deepEqual(await answerTo(t, code, options), { ended: "SIGKILL", left: 0 });
  });

  test(`${name}: workers that are terminated while they wait leave nothing`, async (t) => {
    const code = `${start}
      if (!isMainThread) {
        for (let i = 0; i < 20; i += 1) void wait(words, 1, 0);
        await wake(2, 1);
        if (workerData.part === "blocking") waitSync(words, 1, 0);
      } else {
        const threads = () =>
          Number(/Threads:\\s+(\\d+)/.exec(fs.readFileSync("/proc/self/status", "utf8"))[1]);
        const mapped = () => fs.readFileSync("/proc/self/maps", "utf8").split("memfd").length;
        const parts = [];
        let before = [];
        /* Deno ends no worker whose JavaScript does not return, whatever it does. */
        const second = globalThis.Deno === undefined ? "blocking" : "idle";
        for (const part of ["idle", second, "idle", second, "idle", second]) {
          const worker = startPart(part, memory.handle);
          await wait(words, 2, 0);
          await sleep(20);
          await worker.terminate();
          parts.push(part);
          if (parts.length === 2) {
            await sleep(150);
            before = [threads(), mapped()];
          }
        }
        await sleep(150);
        answer({ left: notify(words, 1), more: threads() > before[0] + 1,
          mappings: mapped() > before[1] + 1 });
      }`;
    assert.deepEqual(await answerTo(t, code, options), { left: 0, more: false, mappings: false });
  });

  test(`${name}: process.exit() ends a process in which much waits`, async (t) => {
    const code = `${start}
      if (isMainThread) {
        for (let i = 0; i < 50; i += 1) void wait(words, 1, 0);
        startPart("blocking", memory.handle);
        await wait(words, 2, 0);
        answer({ done: true });
        process.exit(0);
      }
      void wait(words, 1, 0);
      await wake(2, 1);
      waitSync(words, 1, 0);`;
    const begin = performance.now();
    assert.deepEqual(await answerTo(t, code, options), { done: true });
    assert.ok(performance.now() - begin < (emulatedName ? 60_000 : 15_000));
  });
}

test("a wait keeps the process alive, with a timeout and without one", async (t) => {
  const timed = `${start}
    process.on("exit", () => answer({ result: globalThis.result }));
    void wait(words, 0, 0, { timeoutMs: 80 }).then((result) => (globalThis.result = result));`;
  assert.deepEqual(await answerTo(t, timed), { result: "timed-out" });
  const forever = `${start}
    void wait(words, 0, 0).then(() => answer({ woken: true }));
    answer({ woken: false });`;
  const { signal, stdout } = await runProgram(t, forever, { timeoutMs: 1500 });
  assert.deepEqual([signal, stdout], ["SIGKILL", '{"woken":false}\n']);
});

test("where the kernel forbids the ring, each wait has a thread", async (t) => {
  const code = `
    import { notify, wait } from "memmap/ipc";
    import { native } from "#dist/native.js";
    native().failCall("io_uring_setup", 1, 1);
    const words = new Int32Array(mapAnonymous(4096, { sharing: "shared" }).buffer);
    const waits = Array.from({ length: 5 }, () => wait(words, 0, 0));
    for (let left = 5; left > 0; await sleep(2)) left -= notify(words, 0, left);
    answer({ results: await Promise.all(waits), ring: native().waitByThreads(false) });`;
  const results = ["ok", "ok", "ok", "ok", "ok"];
  assert.deepEqual(await answerTo(t, code), {
    results,
    ring: false,
  });
});
