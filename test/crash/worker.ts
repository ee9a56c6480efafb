// The worker that touches: memory that was posted to it, or mappings that it attaches to. It does
// each cell when told, or all of them while it exits, or all of them over and over until it is
// terminated.

import { closeSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import { attachMapping, type Mapping } from "memmap";
import { checked } from "./here.js";
import { type SeenFault, seen } from "./outcome.js";
import { makeKit, windowLength } from "./place.js";
import type { Answer, Command, Orders, Task } from "./protocol.js";
import { atCell, openReport } from "./report.js";
import { forbid } from "./scene.js";
import { touch, touchNow } from "./touch.js";
import type { Way } from "./way.js";
import { wayNamed } from "./ways.js";
import { warmUp } from "./ways-loops.js";

interface Ready {
  readonly way: Way;
  readonly mapping: Mapping | undefined;
  readonly told: SeenFault[];
  run(): unknown;
}

const orders: Orders = workerData;

openReport(orders.folder);
const kit = makeKit(orders.folder);
let tasks: readonly Ready[] = [];
warmUp();

function prepare(task: Task): Ready {
  const way = wayNamed(task.way);
  const told: SeenFault[] = [];
  const mapping = task.handle === undefined ? undefined : attachMapping(task.handle);
  if (mapping !== undefined) {
    /* An attached mapping has the protection that the other was made with. */
    if (orders.abuse === "none") forbid(mapping, task.windowStart);
    mapping.onfault = (fault) => {
      told.push(seen(fault));
    };
  }
  const buffer = mapping?.buffer ?? task.shared ?? task.buffer;
  if (buffer === undefined) throw new Error("a task without memory");
  const run = way.ready(new Uint8Array(buffer, task.windowStart, windowLength), kit);
  return { way, mapping, told, run };
}

function answer(message: Answer): void {
  parentPort?.postMessage(message);
}

async function runOne(index: number): Promise<void> {
  const task = tasks[index];
  if (task === undefined) throw new Error(`no task ${index}`);
  const { outcome } = await touch(task.run);
  if (task.mapping !== undefined) task.told.push(...checked(task.mapping));
  answer({ kind: "done", index, outcome, faults: task.told });
}

/* What waits is begun and left; the rest is done by the last handler of the thread. */
function exit(): void {
  process.on("exit", () => {
    for (const { way, run } of tasks) {
      if (way.waits) continue;
      atCell(way.name);
      touchNow(run);
    }
  });
  for (const { way, run } of tasks) {
    if (!way.waits) continue;
    atCell(way.name);
    void touch(run);
  }
  closeSync(kit.fd);
  process.exit(0);
}

/* Each round makes the pages bad again, so that the end meets faults at any point. */
async function loop(): Promise<void> {
  for (let round = 0; ; round++) {
    for (const { way, run, mapping, told } of tasks) {
      if (round === 0) atCell(way.name);
      if (way.waits) void touch(run);
      else touchNow(run);
      if (mapping === undefined) continue;
      told.push(...checked(mapping));
      mapping.remap();
    }
    if (round === 0) answer({ kind: "looping", faults: tasks.map(({ told }) => [...told]) });
    await new Promise((resolve) => setImmediate(resolve));
  }
}

parentPort?.on("message", (command: Command) => {
  switch (command.kind) {
    case "prepare":
      tasks = command.tasks.map(prepare);
      answer({ kind: "ready", addresses: tasks.map(({ mapping }) => mapping?.address) });
      break;
    case "run":
      void runOne(command.index);
      break;
    case "exit":
      exit();
      break;
    case "loop":
      void loop();
      break;
  }
});
