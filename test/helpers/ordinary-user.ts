// Programs that run as a user without rights, where the tests themselves run as root. Such a child
// loads all it needs first and gives up its rights then, since that user may not be able to read
// the checkout.

import { type RunOptions, type RunResult, runSource } from "./child.js";

/** The user and group that own nothing ("nobody" on most systems). */
export const ordinaryUid = 65_534;

const header = `
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { spawnSync } from "node:child_process";
import { mapAnonymous, mapFile, mapFileSync, MemmapError, pageSize, SystemError } from "memmap";
import * as raw from "memmap/raw"; // Loads the addon, which that user may not be able to read.

/** Which error a call throws, as one line. */
function failure(call) {
  try {
    call();
  } catch (error) {
    const type = error.constructor.name;
    return [type, error.code, error.syscall, error.message].filter(Boolean).join(" | ");
  }
  return "no error";
}

/** Sets a soft limit of this very process; prlimit(1) names it. */
function limit(name, value) {
  const args = ["--pid", String(process.pid), "--" + name + "=" + value + ":"];
  const { status, stderr } = spawnSync("prlimit", args, { encoding: "utf8" });
  if (status !== 0) throw new Error("prlimit: " + stderr);
}

function dropRights() {
  if (process.getuid() !== 0) return;
  process.setgroups?.([]); // Deno has no such call, and a process of ours has no groups to lose.
  process.setgid(${ordinaryUid});
  process.setuid(${ordinaryUid});
}
`;

/**
 * Runs the text of a module to its end. In it stand `memmap`'s names, `raw`, `fs`, `assert`,
 * `failure()`, `limit()` and `dropRights()`, which makes the child an ordinary user.
 */
export function runLimited(
  code: string,
  args: readonly string[] = [],
  options: RunOptions = {},
): Promise<RunResult> {
  return runSource(`${header}\n${code}`, args, options);
}

/** Runs such a module and returns its standard output; a failure of the child is an error here. */
export async function limitedOutput(
  code: string,
  args: readonly string[] = [],
  options: RunOptions = {},
): Promise<string> {
  const { code: exit, signal, stdout, stderr } = await runLimited(code, args, options);
  if (exit !== 0) throw new Error(`the child ended with ${signal ?? exit}: ${stdout}${stderr}`);
  return stdout;
}
