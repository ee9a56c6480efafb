// Messages to another process, one after the other: channels with a copy on each side and without,
// against what the platform brings, and against plain C on the same ring.

import { compile, measured, measuredScript } from "../ipc/programs.js";
import type { Bench, Contender, Rival } from "../run.js";

interface Plan {
  readonly size: number;
  readonly count: number;
  readonly ours: "channel" | "channel-in-place";
  readonly rivals: Readonly<Record<string, number>>;
  /** The task of bench/peers/ring.c that is the limit, and how near ours must come. */
  readonly limit: readonly ["one-way" | "in-place", number];
}

function benchOf({ size, count, ours, rivals, limit }: Plan): Bench {
  const task = [String(size), String(count)];
  const contender = (name: string): Contender => ({
    name,
    run: () => measuredScript("party.js", ["near", name, "one-way", ...task]),
  });
  return {
    question: `How long do ${count} messages of ${size} bytes take to another process?`,
    rounds: 7,
    warmUps: 1,
    setUp() {
      const ring = compile("ring.c");
      const others: Rival[] = Object.entries(rivals).map(([name, wanted]) => ({
        ...contender(name),
        wanted,
      }));
      const [way, wanted] = limit;
      if (ring !== undefined) {
        const run = () => measured(ring.program, [way, ...task]);
        others.push({ name: `plain C, ${way}`, wanted, run });
      }
      return {
        ours: contender(ours),
        rivals: others,
        answer: size * count,
        tearDown: () => ring?.remove(),
      };
    },
  };
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
