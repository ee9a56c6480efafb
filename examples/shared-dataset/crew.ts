// The workers of shared-dataset.ts as the primary sees them: it starts, asks and ends them, and
// keeps what they tell.

import cluster, { type Worker } from "node:cluster";
import { once } from "node:events";
import { expectedSum } from "./table.js";
import type { Answer, Plan, State } from "./worker.js";

let states: State[] = [];
let answers: Answer[] = [];
let asked = 0;

cluster.on("message", (_, message: State | Answer) => {
  if ("sum" in message) answers.push(message);
  else states.push(message);
});
cluster.on("exit", ({ id }, code) => {
  if (code === 0) return;
  console.error(`Worker ${id} ended with ${code}`);
  process.exit(1);
});

function workers(): Worker[] {
  return Object.values(cluster.workers ?? {}).filter((worker) => worker !== undefined);
}

/** The primary and its workers. */
export function pids(): number[] {
  return [process.pid, ...workers().map((worker) => worker.process.pid ?? 0)];
}

/** Starts workers and waits until all can answer. */
export async function start(count: number, plan: Plan): Promise<void> {
  [states, answers, asked] = [[], [], 0];
  for (let i = 0; i < count; i += 1) cluster.fork({ PLAN: JSON.stringify(plan) });
  await told("ready", 1);
}

/** Ends all workers. */
export async function stop(): Promise<void> {
  for (const worker of workers()) worker.disconnect();
  while (workers().length > 0) await once(cluster, "exit");
}

/** Waits until each worker has told of a version. */
export async function told(kind: State["kind"], version: number): Promise<void> {
  const isTold = (state: State): boolean => state.kind === kind && state.version === version;
  while (states.filter(isTold).length < workers().length) await once(cluster, "message");
}

/** Asks each worker for sums of 2000 numbers. */
export function ask(count: number, plan: { numbers: number; isSlow?: boolean }): void {
  for (let i = 0; i < count; i += 1) {
    const from = (asked * 7919) % (plan.numbers - 2000);
    const question = { from, to: from + 2000, isSlow: plan.isSlow ?? false };
    for (const worker of workers()) worker.send(question);
    asked += workers().length;
  }
}

/** Waits for all answers, and counts them by version; an answer of no version is an error. */
export async function allAnswers(): Promise<number[]> {
  while (answers.length < asked) await once(cluster, "message");
  const counts = [0, 0, 0];
  for (const { version, question, sum } of answers) {
    if (sum !== expectedSum(version, question)) throw new Error(`A mixed version: ${sum}`);
    counts[version] = (counts[version] ?? 0) + 1;
  }
  return counts;
}
