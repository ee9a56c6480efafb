// Two processes count one number up a million times each: what a Mutex costs beside an atomic
// addition, and that both are exact.

import { measuredScript } from "../ipc/programs.js";
import type { Bench, Contender } from "../run.js";

const count = 1_000_000;

function contender(name: "mutex" | "atomics"): Contender {
  return { name, run: () => measuredScript("counter.js", ["near", name, String(count)]) };
}

/** What is measured. */
export const benches: readonly Bench[] = [
  {
    question: `How long do two processes take to count to ${2 * count} together?`,
    rounds: 7,
    warmUps: 1,
    setUp: () => ({
      ours: contender("mutex"),
      rivals: [{ ...contender("atomics"), wanted: 0 }],
      answer: 2 * (count + 20_000),
      tearDown: () => {},
    }),
  },
];
