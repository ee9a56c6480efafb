// The worker that touches: memory that was posted to it, or that it maps or attaches to itself.

import { parentPort, workerData } from "node:worker_threads";
import { contentOf, makeKit } from "../../test/crash/place.js";
import { type Touched, touch, touchNow } from "../../test/crash/touch.js";
import type { View } from "../../test/crash/way.js";
import { wayNamed } from "../../test/crash/ways.js";
import type { Memory } from "./driver.js";
import { drivers } from "./drivers.js";
import { warmFor } from "./hot.js";
import type { Command, Orders, Task } from "./orders.js";
import { type Evidence, judge, judgeNow, type Verdict, verdicts } from "./verdict.js";

const orders: Orders = workerData;
const driver = drivers[orders.driver];
const library = await driver.load(orders.installed);
const kit = makeKit(orders.work);

/** A cell that is ready to be touched. */
interface Ready {
  readonly task: Task;
  readonly memory: Memory | undefined;
  readonly view: View;
  run(): unknown;
}

let ready: Ready | undefined;

function memoryOf(task: Task): Memory {
  const { handle, wanted } = task;
  const { attach, map } = library;
  const memory = handle !== undefined && attach !== undefined ? attach(handle) : map(wanted);
  if (orders.abuse === "none") memory.forbid?.(task.windowStart, task.windowLength);
  return memory;
}

function prepare(task: Task): void {
  warmFor(task.way);
  const given = task.shared ?? task.buffer;
  const memory = given === undefined ? memoryOf(task) : undefined;
  const buffer = given ?? memory?.bytes.buffer;
  if (buffer === undefined) throw new Error("a task without memory");
  const start = (memory?.bytes.byteOffset ?? 0) + task.windowStart;
  const view = new Uint8Array(buffer, start, task.windowLength);
  ready = { task, memory, view, run: wayNamed(task.way).ready(view, kit) };
}

function current(): Ready {
  if (ready === undefined) throw new Error("no task");
  return ready;
}

function evidenceOf({ task, view }: Ready, touched: Touched): Evidence {
  const cell = { stage: orders.stage, abuse: orders.abuse, way: wayNamed(task.way) };
  return { cell, view, touched, path: task.path, before: contentOf(orders.abuse), kit };
}

function tell({ task }: Ready, verdict: Verdict): void {
  Atomics.store(new Int32Array(task.slot), 0, verdicts.indexOf(verdict) + 1);
}

/* What the library tells is asked first: the comparison touches once more. */
function tellNow(one: Ready): void {
  const touched = touchNow(one.run);
  const isTold = one.memory?.isTold?.() ?? false;
  tell(one, isTold ? "told" : judgeNow(evidenceOf(one, touched)));
}

async function run(): Promise<void> {
  const one = current();
  const touched = await touch(one.run);
  const isTold = one.memory?.isTold?.() ?? false;
  tell(one, isTold ? "told" : await judge(evidenceOf(one, touched)));
  parentPort?.postMessage("done");
}

/* What waits is begun and left; the rest is done by the last handler of the thread. */
function exit(): void {
  const one = current();
  if (wayNamed(one.task.way).waits) {
    void touch(one.run);
  } else {
    process.on("exit", () => tellNow(one));
  }
  process.exit(0);
}

/* Each round makes the pages bad again, so that the end meets the touch at any point. */
async function loop(): Promise<void> {
  const one = current();
  const { waits } = wayNamed(one.task.way);
  for (let round = 0; ; round++) {
    if (waits) void touch(one.run);
    else if (round === 0) tellNow(one);
    else touchNow(one.run);
    one.memory?.isTold?.();
    one.memory?.renew?.();
    if (round === 0) parentPort?.postMessage("looping");
    await new Promise((resolve) => setImmediate(resolve));
  }
}

parentPort?.on("message", (command: Command) => {
  switch (command.kind) {
    case "prepare":
      prepare(command.task);
      parentPort?.postMessage("ready");
      break;
    case "run":
      void run();
      break;
    case "exit":
      exit();
      break;
    case "loop":
      void loop();
      break;
  }
});
