// src/ipc/owner.ts: threads by number and start, and the question whether one is dead.

import assert from "node:assert/strict";
import { readFileSync, readlinkSync } from "node:fs";
import test from "node:test";
import { Worker } from "node:worker_threads";
import { isDead, thisThread } from "#dist/ipc/owner.js";
import { answerTo } from "../../guard/program.js";

test("thisThread() is what the kernel says of it, and the same each time", () => {
  const { id, startTime, namespace } = thisThread();
  assert.equal(thisThread(), thisThread());
  const stat = readFileSync(`/proc/self/task/${id}/stat`, "latin1");
  const ticks = BigInt(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "");
  assert.equal(startTime, Number(ticks & 0x7fff_ffffn));
  assert.ok(readlinkSync("/proc/self/ns/pid").includes(String(namespace >>> 0)));
});

test("a living thread is not dead, also when its start was not recorded", () => {
  const { id, startTime } = thisThread();
  assert.ok(!isDead(id, startTime));
  assert.ok(!isDead(id, 0));
  assert.ok(!isDead(1, 0), "a process of somebody else");
});

test("a thread that started at another time had the number before", () => {
  const { id, startTime } = thisThread();
  assert.ok(isDead(id, startTime - 1));
  assert.ok(isDead(id, startTime + 1));
});

test("numbers that no thread has are dead, whatever they are", () => {
  for (const id of [0, -1, -(2 ** 31), 0x3f_ffff + 1, 2 ** 30 - 1]) {
    assert.ok(isDead(id, 0), String(id));
    assert.ok(isDead(id, 5), String(id));
  }
});

test("a worker is alive until it has ended, and is not its process", async () => {
  const code = `
    const { parentPort, workerData } = require("node:worker_threads");
    import(workerData).then(({ thisThread }) => {
      parentPort.postMessage(thisThread());
      setInterval(() => {}, 1000);
    });`;
  const owner = new URL("../../../../dist/ipc/owner.js", import.meta.url).href;
  const worker = new Worker(code, { eval: true, workerData: owner });
  const { id, startTime } = await new Promise<ReturnType<typeof thisThread>>((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
  });
  assert.notEqual(id, process.pid);
  assert.ok(!isDead(id, startTime));
  await worker.terminate();
  /* The promise may be quicker than the kernel's end of the thread. */
  const end = performance.now() + 5000;
  while (!isDead(id, startTime)) {
    assert.ok(performance.now() < end, "still there");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
});

test("a process that was killed is dead, before and after its parent has noticed", async (t) => {
  const code = `
    import { spawn } from "node:child_process";
    import { isDead } from "#dist/ipc/owner.js";
    const child = spawn("sleep", ["60"]);
    const before = isDead(child.pid, 0);
    const ended = new Promise((resolve) => child.on("exit", resolve));
    process.kill(child.pid, "SIGKILL");
    /* This thread does not turn its loop here, so the child stays unreaped in Node. */
    const end = performance.now() + 5000;
    while (!isDead(child.pid, 0) && performance.now() < end) fs.readFileSync("/proc/self/stat");
    const unreaped = isDead(child.pid, 0);
    await ended;
    answer({ before, unreaped, after: isDead(child.pid, 0) });`;
  assert.deepEqual(await answerTo(t, code), { before: false, unreaped: true, after: true });
});
