// Runs cells with Python's mmap. The interpreter forks for each of them, so that one process is
// enough for a group; its stages and abuses are those of the matrix, its touches its own.

import { spawn, spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { allCells } from "../../test/crash/matrix.js";
import type { Folders, Result } from "./run.js";
import { verdictOf } from "./verdict.js";

const program = fileURLToPath(new URL("../../../bench/peers/matrix.py", import.meta.url));

/** One line of the program: stage, abuse, way, verdict and reason, with tabs between. */
function resultOf(line: string): Result {
  const [stage = "", abuse = "", way = "", verdict = "", reason] = line.split("\t");
  return { stage, abuse, way, verdict: verdictOf(verdict), reason };
}

/** Runs the cells of one stage and abuse to their end; `only` are the names of ways to keep. */
export async function runPython(
  { stage, abuse, only = [] }: { stage: string; abuse: string; only?: readonly string[] },
  { folder, work }: Folders,
): Promise<readonly Result[]> {
  if (!isGroup(stage, abuse)) return [];
  const child = spawn("python3", [program, stage, abuse, folder, work, ...only], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    text += chunk;
  });
  const code = await new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", resolve);
  });
  if (code !== 0) throw new Error(`${program} ended with code ${code}`);
  return text.split("\n").slice(0, -1).map(resultOf);
}

const groups = new Map(allCells().map(({ stage, abuse }) => [`${stage} ${abuse}`, abuse]));

/** Whether the matrix has such cells at all. */
function isGroup(stage: string, abuse: string): boolean {
  return groups.has(`${stage} ${abuse}`);
}

/** How many cells Python's matrix has; undefined where there is no Python. */
export function pythonCellCount(): number | undefined {
  const args = [program, "--count", ...groups.values()];
  const { status, stdout } = spawnSync("python3", args, { encoding: "utf8" });
  return status === 0 ? Number(stdout) : undefined;
}
