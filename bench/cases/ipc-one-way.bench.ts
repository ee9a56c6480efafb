// Messages to another process, one after the other: channels with a copy on each side and without,
// against what the platform brings, and against plain C on the same ring.

import { compareWays, type WaysPlan } from "../ipc/programs.js";
import type { Bench } from "../run.js";

function benchOf(plan: Omit<WaysPlan, "task">): Bench {
  const { count, size } = plan;
  const question = `How long do ${count} messages of ${size} bytes take to another process?`;
  const setUp = () => compareWays({ ...plan, task: "one-way" });
  return { question, rounds: 7, warmUps: 1, setUp };
}

/** What is measured. */
export const benches: readonly Bench[] = [
  benchOf({
    size: 64,
    count: 500_000,
    ours: "channel",
    rivals: { json: 20, advanced: 20, socket: 1, worker: 1 },
    limit: ["one-way", 0],
  }),
  benchOf({
    size: 1024,
    count: 200_000,
    ours: "channel",
    rivals: { json: 1, advanced: 1, socket: 1, worker: 1 },
    limit: ["one-way", 0],
  }),
  benchOf({
    size: 65_536,
    count: 20_000,
    ours: "channel",
    rivals: { json: 1, advanced: 1, socket: 1, worker: 1 },
    limit: ["one-way", 0],
  }),
  benchOf({
    size: 2 ** 20,
    count: 1500,
    ours: "channel-in-place",
    rivals: { channel: 1, json: 1, advanced: 1, socket: 1, worker: 1 },
    limit: ["in-place", 0.75],
  }),
];
