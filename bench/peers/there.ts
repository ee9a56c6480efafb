// The stages in which a worker touches: what was posted to it, what it shares, or what it maps
// itself; and it may be ending meanwhile.

import { Worker } from "node:worker_threads";
import type { Cell, Stage } from "../../test/crash/matrix.js";
import { lastVerdict, moved } from "./here.js";
import type { Command, Orders, Task } from "./orders.js";
import { atCell, cellIs } from "./report.js";
import { commit, fileOf, makeScene, memoryOf, type Scene, type Setting, strike } from "./scene.js";
import { type Verdict, verdicts } from "./verdict.js";

/** A worker and the next thing that it says. */
class Partner {
  readonly #worker: Worker;
  #waiting: (() => void) | undefined;

  constructor(orders: Orders) {
    this.#worker = new Worker(new URL("./worker.js", import.meta.url), { workerData: orders });
    this.#worker.on("message", () => this.#go());
    this.#worker.on("exit", () => this.#go());
  }

  #go(): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.();
  }

  async tell(command: Command, transferred: readonly ArrayBuffer[] = []): Promise<void> {
    const answered = new Promise<void>((resolve) => {
      this.#waiting = resolve;
    });
    this.#worker.postMessage(command, transferred);
    await answered;
  }

  async terminate(): Promise<void> {
    await this.#worker.terminate();
  }
}

function taskOf(scene: Scene): Task {
  const { cell, wanted, skipped, windowStart, windowLength } = scene;
  const memory = memoryOf(scene);
  /* A runtime that has marked the buffer posts one that has taken over its memory. */
  const buffer = cell.stage === "posted" ? moved(memory.bytes.buffer) : undefined;
  const shared = cell.stage === "shared" ? memory.shared : undefined;
  const isGiven = buffer !== undefined || shared !== undefined;
  const handle = isGiven ? undefined : memory.handle?.();
  const path = fileOf(scene);
  const slot = new SharedArrayBuffer(4);
  const window = { windowStart: windowStart + (isGiven ? skipped : 0), windowLength };
  return { way: cell.way.name, ...window, buffer, shared, handle, path, wanted, slot };
}

function foundIn({ slot }: Task): Verdict {
  return verdicts[Atomics.load(new Int32Array(slot), 0) - 1] ?? "unseen";
}

async function touchBy(partner: Partner, stage: Stage): Promise<void> {
  switch (stage) {
    case "worker-exiting":
      return partner.tell({ kind: "exit" });
    case "worker-terminated":
      await partner.tell({ kind: "loop" });
      return partner.terminate();
    default:
      return partner.tell({ kind: "run" });
  }
}

/** Has a worker touch each cell, each with a worker of its own where that one ends. */
export async function runThere(
  cells: readonly Cell[],
  orders: Orders,
  setting: Setting,
): Promise<void> {
  const ends = orders.stage.startsWith("worker-");
  const lasting = ends ? undefined : new Partner(orders);
  for (const cell of cells) {
    atCell(cell.way.name);
    const partner = lasting ?? new Partner(orders);
    const scene = makeScene(cell, setting);
    const task = taskOf(scene);
    await partner.tell({ kind: "prepare", task }, task.buffer ? [task.buffer] : []);
    commit(scene, setting);
    await touchBy(partner, cell.stage);
    cellIs(cell.way.name, await lastVerdict(scene, setting, () => foundIn(task)));
    strike(scene);
  }
  await lasting?.terminate();
}
