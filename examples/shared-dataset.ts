// One dataset for all workers of a cluster: loaded once into shared memory, and replaced by a new
// version while they answer from it. Printed is the memory that all take together.
//
//     node out/examples/shared-dataset.js [WORKERS [MEBIBYTES]]

import { notify, SharedMemory } from "memmap/ipc";
import { allAnswers, ask, pids, start, stop, told } from "./shared-dataset/crew.js";
import { controlBytes, publish } from "./shared-dataset/current.js";
import { printLine, printMemory } from "./shared-dataset/memory.js";
import { build } from "./shared-dataset/table.js";
import { work } from "./shared-dataset/worker.js";

function load(byteLength: number, version: number): SharedMemory {
  const memory = SharedMemory.create({ byteLength });
  using mapping = memory.map();
  build(new Int32Array(mapping.buffer), version);
  return memory;
}

async function main(workers: number, mebibytes: number): Promise<void> {
  const byteLength = mebibytes * 2 ** 20;
  const numbers = byteLength / 4 - 2;
  printLine(`${workers} workers, ${mebibytes} MiB`, ["RSS, MiB", "PSS, MiB", "objects"]);
  await start(workers, { byteLength });
  const copied = printMemory("each has a copy", pids());
  await stop();

  using memory = SharedMemory.create({ byteLength: controlBytes });
  using block = memory.map();
  const control = new Int32Array(block.buffer);
  const first = load(byteLength, 1);
  publish(control, first);
  await start(workers, { byteLength, control: memory.handle });
  const shared = printMemory("all read one dataset", pids());

  ask(100, { numbers });
  ask(1, { numbers, isSlow: true });
  await told("begun", 1);
  using second = load(byteLength, 2);
  ask(100, { numbers });
  publish(control, second);
  first.close();
  await told("ready", 2);
  printMemory("replaced, a question still open on the old", pids());
  ask(100, { numbers });
  Atomics.store(control, 1, 1); // Now the slow questions go on, from the version they began on.
  notify(control, 1);
  await told("closed", 1);
  printMemory("the last question on the old was answered", pids());

  const [, ofFirst, ofSecond] = await allAnswers();
  console.log(`${ofFirst} answers of version 1, ${ofSecond} of version 2, none of a mixture`);
  console.log(`saved by sharing: ${(copied - shared).toFixed(1)} MiB`);
  await stop();
}

const plan = process.env["PLAN"];
const [workers = 4, mebibytes = 64] = process.argv.slice(2).map(Number);
if (plan === undefined) await main(workers, mebibytes);
else await work(JSON.parse(plan));
