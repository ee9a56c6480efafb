// A second process beside a test, of the same runtime: it tells what it has made, and stays until
// the test has done its part.

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Answer, answerOf, runProgramIn } from "../guard/program.js";
import { type Cleanup, tempDir } from "./temp.js";

const prelude = `
  const raw = await import("memmap/raw");

  /** Tells the test what it needs to know. */
  function ready(facts) {
    fs.writeFileSync(join(folder, "facts.new"), JSON.stringify(facts));
    fs.renameSync(join(folder, "facts.new"), join(folder, "facts"));
  }

  /** Whether the test has done its part. */
  function isStopped() {
    return fs.existsSync(join(folder, "stop"));
  }
`;

/** What the peer is given. */
export interface PeerPlan {
  /** The text of a module, as for runProgram(). */
  readonly code: string;
  /** More arguments, from `process.argv[3]` on. */
  readonly args?: readonly string[];
  /** A folder that both know; by default one of its own. */
  readonly folder?: string;
}

/**
 * Runs a program until it calls `ready(facts)`, then the body with these facts, and then the
 * program to its end, which comes when `isStopped()`. Returns what it answers.
 */
export async function withPeer(
  t: Cleanup,
  plan: PeerPlan,
  body: (facts: Answer) => void | Promise<void>,
): Promise<Answer> {
  const folder = plan.folder ?? tempDir(t);
  let isOver = false;
  const ended = runProgramIn([folder, ...(plan.args ?? [])], `${prelude}\n${plan.code}`);
  const end = ended.finally(() => {
    isOver = true;
  });
  const facts = join(folder, "facts");
  while (!isOver && !existsSync(facts)) await sleep(2);
  try {
    if (existsSync(facts)) await body(JSON.parse(readFileSync(facts, "utf8")));
  } finally {
    writeFileSync(join(folder, "stop"), "");
    await end;
  }
  return answerOf(await ended);
}
