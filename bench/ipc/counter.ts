// Two processes that count one number up: by Atomics.add, or by a plain addition under a Mutex.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { Mutex, SharedMemory } from "memmap/ipc";

const [role = "", way = "", count = "", handle = ""] = process.argv.slice(2);
const memory =
  role === "far"
    ? SharedMemory.attach(JSON.parse(handle))
    : SharedMemory.create({ byteLength: 4096 });
const mapping = memory.map();
/* The mutex, the number and how many are there lie on cache lines of their own. */
const words = new Int32Array(mapping.buffer);
const [numberAt, presentAt, doneAt] = [32, 64, 96];
const mutex = new Mutex(mapping.bytes.subarray(0, Mutex.byteLength));

function run(times: number): void {
  if (way === "atomics") {
    for (let i = 0; i < times; i += 1) Atomics.add(words, numberAt, 1);
    return;
  }
  for (let i = 0; i < times; i += 1) {
    const guard = mutex.lockSync();
    words[numberAt] = (words[numberAt] ?? 0) + 1;
    guard.release();
  }
}

function meet(index: number): void {
  Atomics.add(words, index, 1);
  while (Atomics.load(words, index) < 2);
}

const times = Number(count);
if (role === "far") {
  run(20_000);
  meet(presentAt);
  run(times);
  meet(doneAt);
} else {
  const args = ["far", way, count, JSON.stringify(memory.handle)];
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), ...args], {
    stdio: "inherit",
  });
  run(20_000);
  meet(presentAt);
  const from = performance.now();
  run(times);
  meet(doneAt);
  const elapsedMs = performance.now() - from;
  await once(child, "exit");
  console.log(JSON.stringify({ answer: Atomics.load(words, numberAt), elapsedMs }));
}
