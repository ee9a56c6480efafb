// The stages in which a worker touches what the main thread mapped: posted, shared, attached,
// worker-exiting, worker-terminated.

import { Worker } from "node:worker_threads";
import { allUncaught, checked, listenForUncaught, type Setting, turn } from "./here.js";
import { type Cell, expectationOf, mayWrite } from "./matrix.js";
import { judge, type SeenFault } from "./outcome.js";
import type { Answer, Command, Orders, Task } from "./protocol.js";
import { atCell, cellDone } from "./report.js";
import { closeOrRefuse, commit, damage, makeScene, type Scene } from "./scene.js";
import type { Outcome } from "./touch.js";
import { call } from "./way.js";

interface Prepared {
  readonly cell: Cell;
  readonly scene: Scene;
  readonly task: Task;
  /** The address of the first byte, where it is touched. */
  address: bigint;
}

/** A buffer that postMessage may move: a runtime that marks it moves a transferred one. */
function movable(buffer: ArrayBuffer): ArrayBuffer {
  if (!("Bun" in globalThis)) return buffer;
  const moved = call(buffer, "transfer");
  if (moved instanceof ArrayBuffer) return moved;
  throw new Error("transfer() gave no buffer");
}

function prepare(cell: Cell, index: number, { folder }: Setting): Prepared {
  const { stage, abuse, way } = cell;
  /* An attached mapping tells its faults as the shared one does; those of an exit must be told. */
  const faults = stage === "worker-exiting" ? "throw" : "collect";
  const scene = makeScene({ abuse, folder, index, small: false, faults });
  const { mapping, windowStart } = scene;
  const buffer = stage === "posted" ? movable(mapping.buffer) : undefined;
  const shared = stage === "shared" ? mapping.sharedBuffer : undefined;
  const isAttached = buffer === undefined && shared === undefined;
  const handle = isAttached ? mapping.share() : undefined;
  const task = { way: way.name, windowStart, buffer, shared, handle };
  return { cell, scene, address: mapping.address, task };
}

/** A worker and the next thing that it says. */
class Partner {
  readonly #worker: Worker;
  #waiting: ((answer: Answer | "gone") => void) | undefined;
  #failure: Error | undefined;

  constructor(orders: Orders) {
    this.#worker = new Worker(new URL("./worker.js", import.meta.url), { workerData: orders });
    this.#worker.on("message", (answer: Answer) => this.#say(answer));
    this.#worker.on("error", (error: Error) => {
      this.#failure = error;
    });
    this.#worker.on("exit", () => this.#say("gone"));
  }

  #say(answer: Answer | "gone"): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.(answer);
  }

  /** Waits for what comes next; a worker that failed is a failure of the test. */
  async #next(): Promise<Answer | "gone"> {
    const answer = await new Promise<Answer | "gone">((resolve) => {
      this.#waiting = resolve;
    });
    if (this.#failure !== undefined) throw this.#failure;
    return answer;
  }

  tell(command: Command, transferred: readonly ArrayBuffer[] = []): Promise<Answer | "gone"> {
    this.#worker.postMessage(command, transferred);
    return this.#next();
  }

  async terminate(): Promise<void> {
    await this.#worker.terminate();
  }
}

function finish(prepared: Prepared, outcome: Outcome, faults: readonly SeenFault[]): void {
  const { cell, scene, address } = prepared;
  const { windowStart, windowLength } = scene;
  const verdict = judge(cell, { outcome, faults, windowStart, windowLength, address });
  cellDone(cell.way.name, [verdict, ...damage(scene, mayWrite(cell))]);
}

const nothing: Outcome = { error: undefined, code: undefined, count: undefined };

async function runEach(prepared: readonly Prepared[], partner: Partner): Promise<void> {
  for (const [index, one] of prepared.entries()) {
    atCell(one.cell.way.name);
    const answer = await partner.tell({ kind: "run", index });
    if (answer === "gone" || answer.kind !== "done") throw new Error("the worker has ended");
    finish(one, answer.outcome, [...answer.faults, ...checked(one.scene.mapping)]);
  }
  await partner.terminate();
}

/* Terminates the worker in the middle of its touching, when it has told of each cell once. */
async function terminate(prepared: readonly Prepared[], partner: Partner): Promise<void> {
  const answer = await partner.tell({ kind: "loop" });
  if (answer === "gone" || answer.kind !== "looping") throw new Error("the worker has ended");
  await partner.terminate();
  for (const [index, one] of prepared.entries()) {
    finish(one, nothing, [...(answer.faults[index] ?? []), ...checked(one.scene.mapping)]);
  }
}

/*
 * Lets the worker end while it touches. Its mappings go with it, and what they left untold reaches
 * the process as uncaught errors, several mappings in one: the sum of their counts must be right.
 */
async function exit(prepared: readonly Prepared[], partner: Partner): Promise<void> {
  const [first] = prepared;
  if (first === undefined) return;
  await partner.tell({ kind: "exit" });
  const wanted = prepared.filter(({ cell }) => expectationOf(cell).promised === "fault").length;
  /* Private memory is one for all who hold it: its faults are the mapper's own. */
  const seenHere: SeenFault[] = [];
  const told = () => {
    for (const { scene } of prepared) seenHere.push(...checked(scene.mapping));
    const faults = [...seenHere, ...allUncaught()];
    return faults.reduce((sum, { count }) => sum + count, 0);
  };
  const latest = Date.now() + 5000;
  while (told() < wanted && Date.now() < latest) await turn(1);
  const { reason } = expectationOf(first.cell);
  /* The file is asked why a page is missing while its addresses stand; afterwards nobody can. */
  const accepted: unknown[] = reason === "io" ? ["io", "truncated"] : [reason];
  const wrong = allUncaught().find((fault) => !accepted.includes(fault.reason));
  const problem =
    told() < wanted
      ? `${told()} faults told of ${wanted}`
      : wrong && `reason ${wrong.reason}, not ${reason}`;
  for (const { cell, scene } of prepared) {
    cellDone(cell.way.name, [problem, ...damage(scene, mayWrite(cell))]);
  }
}

/** Has a worker touch each cell, and says what came of it. */
export async function runThere(
  cells: readonly Cell[],
  setting: Setting,
): Promise<readonly Scene[]> {
  const [first] = cells;
  if (first === undefined) return [];
  listenForUncaught();
  const prepared = cells.map((cell, index) => prepare(cell, index, setting));
  const partner = new Partner({ folder: setting.kit.folder, abuse: first.abuse });
  const buffers = prepared.flatMap(({ task }) => task.buffer ?? []);
  const tasks = prepared.map(({ task }) => task);
  const ready = await partner.tell({ kind: "prepare", tasks }, buffers);
  if (ready === "gone" || ready.kind !== "ready") throw new Error("the worker has ended");
  for (const [index, one] of prepared.entries()) {
    one.address = ready.addresses[index] ?? one.address;
  }
  setting.prepareDisk();
  for (const { scene, cell } of prepared) {
    commit(scene);
    if (cell.abuse === "close") closeOrRefuse(scene.mapping);
  }
  switch (first.stage) {
    case "worker-exiting":
      await exit(prepared, partner);
      break;
    case "worker-terminated":
      await terminate(prepared, partner);
      break;
    default:
      await runEach(prepared, partner);
  }
  return prepared.map(({ scene }) => scene);
}
