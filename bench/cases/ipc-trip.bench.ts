// A message of 64 bytes to another process and back: channels against what the platform brings, and
// against plain C on the same ring.

import { compile, measured, measuredScript } from "../ipc/programs.js";
import type { Bench, Contender, Rival } from "../run.js";

const size = 64;

interface Plan {
  readonly question: string;
  readonly count: number;
  readonly ours: "channel" | "channel-async";
  /** The ways of bench/ipc/party.ts, and how many times as fast ours must be. */
  readonly rivals: Readonly<Record<string, number>>;
  /** The same of plain C. */
  readonly limit: number | undefined;
}

function benchOf({ question, count, ours, rivals, limit }: Plan): Bench {
  const task = ["trip", String(size), String(count)];
  const contender = (name: string): Contender => ({
    name,
    run: () => measuredScript("party.js", ["near", name, ...task]),
  });
  return {
    question,
    rounds: 7,
    warmUps: 1,
    setUp() {
      const ring = limit === undefined ? undefined : compile("ring.c");
      const others: Rival[] = Object.entries(rivals).map(([name, wanted]) => ({
        ...contender(name),
        wanted,
      }));
      if (ring !== undefined && limit !== undefined) {
        const run = () => measured(ring.program, task);
        others.push({ name: "plain C, spinning", wanted: limit, run });
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
    question: "How long do 200,000 messages of 64 bytes take to another process and back, waiting?",
    count: 200_000,
    ours: "channel",
    rivals: { json: 20, advanced: 20, socket: 20 },
    limit: 0,
  }),
  benchOf({
    question: "How long do 100,000 of them take without blocking the event loop?",
    count: 100_000,
    ours: "channel-async",
    rivals: { socket: 0.5, json: 1 },
    limit: undefined,
  }),
];
