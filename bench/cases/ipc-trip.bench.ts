// A message of 64 bytes to another process and back: channels against what the platform brings, and
// against plain C on the same ring.

import { compareWays, type WaysPlan } from "../ipc/programs.js";
import type { Bench } from "../run.js";

interface Plan extends Omit<WaysPlan, "task" | "size"> {
  readonly question: string;
}

function benchOf({ question, ...plan }: Plan): Bench {
  const setUp = () => compareWays({ ...plan, task: "trip", size: 64 });
  return { question, rounds: 7, warmUps: 1, setUp };
}

/** What is measured. */
export const benches: readonly Bench[] = [
  benchOf({
    question: "How long do 200,000 messages of 64 bytes take to another process and back, waiting?",
    count: 200_000,
    ours: "channel",
    rivals: { json: 20, advanced: 20, socket: 20 },
    limit: ["trip", 0],
  }),
  benchOf({
    question: "How long do 100,000 of them take without blocking the event loop?",
    count: 100_000,
    ours: "channel-async",
    rivals: { socket: 0.5, json: 1 },
    limit: undefined,
  }),
];
