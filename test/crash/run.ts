// Runs the cells of one stage and one abuse in a child process, and once more behind the cell at
// which a child died, so that one fatal cell does not hide the rest.

import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type RunResult, runScript } from "../helpers/child.js";
import { emulatedName, runtimeName } from "../helpers/runtime.js";
import { type Cleanup, needs, tempDir } from "../helpers/temp.js";
import { type Abuse, cellsOf, exclusionOf, type Stage } from "./matrix.js";
import { type Report, readReport } from "./report.js";
import { type Runtime, runtimes } from "./way.js";

/** How often a child may die before the rest is left. */
const deathsMax = 20;

/** The runtime that runs the tests; a Node that the matrix does not know counts as the newest. */
export const runtime: Runtime = runtimes.find((name) => name === currentRuntime()) ?? "node-26";

function currentRuntime(): string {
  if (emulatedName !== undefined) return emulatedName;
  return runtimeName === "node" ? `node-${process.versions.node.split(".")[0]}` : runtimeName;
}

/** Why this machine cannot do an abuse; false when it can. */
export function reasonToSkip(abuse: Abuse): string | false {
  if (abuse === "disk-full") return needs("root").skip || noMount();
  if (abuse !== "huge-pool") return false;
  return hugePagesInPool() >= 0 ? false : "needs a kernel with huge pages";
}

/** How many huge pages there are, which other tests may change; -1 where there can be none. */
export function hugePagesInPool(): number {
  const total = /^HugePages_Total:\s+(\d+)$/m.exec(readFileSync("/proc/meminfo", "utf8"))?.[1];
  return total === undefined ? -1 : Number(total);
}

/** What all children of one stage and abuse said together; deaths are among the problems. */
export interface Outcomes extends Report {
  /** The cells that had to pass. */
  readonly wanted: readonly string[];
}

function mountTmpfs(folder: string): void {
  const { status, stderr } = spawnSync("mount", ["-t", "tmpfs", "-o", "size=4m", "none", folder]);
  if (status !== 0) throw new Error(`mount failed: ${stderr}`);
}

/* A container may be root's and still not mount anything. */
function noMount(): string | false {
  const { status } = spawnSync("unshare", ["--mount", "mount", "-t", "tmpfs", "none", "/mnt"]);
  return status === 0 ? false : "needs the right to mount a tmpfs";
}

function death({ code, signal, stderr }: RunResult, cell: string | undefined): string {
  const place = cell === undefined ? "outside any cell" : `at ${cell}`;
  const text = stderr.trim().split("\n").slice(0, 12).join("\n  ");
  return `ended ${place} by ${signal ?? `exit code ${code}`}\n  ${text}`;
}

/** Runs the cells of one stage and one abuse to their end. */
export async function runCells(t: Cleanup, stage: Stage, abuse: Abuse): Promise<Outcomes> {
  const work = tempDir(t);
  const folder = join(work, "place");
  mkdirSync(folder);
  if (abuse !== "disk-full") return runChildren({ stage, abuse, folder, work });
  mountTmpfs(folder);
  try {
    return await runChildren({ stage, abuse, folder, work });
  } finally {
    spawnSync("umount", [folder]);
  }
}

interface Job {
  readonly stage: Stage;
  readonly abuse: Abuse;
  /** Where the files of the mappings are. */
  readonly folder: string;
  /** Where there is room for other files. */
  readonly work: string;
}

async function runChildren({ stage, abuse, folder, work }: Job): Promise<Outcomes> {
  const wanted = cellsOf(stage, abuse)
    .filter((cell) => exclusionOf(cell, runtime) === undefined)
    .map(({ way }) => way.name);
  const deaths: string[] = [];
  for (;;) {
    const done = deaths.length === 0 ? 0 : finished(readReport(work)) + deaths.length;
    const args = [stage, abuse, folder, runtime, String(done), work];
    const script = new URL("./child.js", import.meta.url);
    const result = await runScript(script, args, { exposeGc: true, timeoutMs: 100_000 });
    const report = readReport(work);
    if (result.code !== 0) deaths.push(death(result, report.unfinished));
    /* One that hangs would hang again, behind the next cell. */
    const isOver =
      result.code === 0 || result.signal === "SIGKILL" || report.unfinished === undefined;
    if (!isOver && deaths.length < deathsMax) continue;
    return { ...report, wanted, problems: [...report.problems, ...deaths] };
  }
}

function finished({ passed, problems }: Report): number {
  return passed.length + problems.length;
}
