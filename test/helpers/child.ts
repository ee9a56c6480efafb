// Programs run in a process of their own, on the runtime that runs the tests: for whatever may end
// the process, must be seen from outside, or needs a second process to share with.

import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { runtimeName } from "./runtime.js";

export interface RunOptions {
  readonly cwd?: string | undefined;
  /** Added to the environment of this process; `undefined` removes a variable. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
  /** Makes `globalThis.gc()` exist on Node and Deno; Bun always has `Bun.gc(true)`. */
  readonly exposeGc?: boolean | undefined;
  /** Written to the standard input, which is empty otherwise. */
  readonly input?: string | Uint8Array | undefined;
  /** After this time the child is killed, and `signal` is "SIGKILL". Default: 60 s. */
  readonly timeoutMs?: number | undefined;
}

export interface RunResult {
  /** The exit code; null when a signal ended the child. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The folder of what tests write inside the checkout: below it, `memmap` resolves to this one. */
const scratch = fileURLToPath(new URL("../../scratch/", import.meta.url));

/** Distinguishes the sources of one process; the process id does so between processes. */
let sourceCount = 0;

/** Runs a JavaScript file to its end. */
export function runScript(
  file: string | URL,
  args: readonly string[] = [],
  options: RunOptions = {},
): Promise<RunResult> {
  const child = startScript(file, args, options);
  return new Promise((resolve, reject) => {
    const output = { stdout: "", stderr: "" };
    for (const name of ["stdout", "stderr"] as const) {
      child[name]?.setEncoding("utf8").on("data", (chunk: string) => {
        output[name] += chunk;
      });
    }
    const timer = setTimeout(() => child.kill("SIGKILL"), options.timeoutMs ?? 60_000);
    child.on("error", reject);
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, ...output });
    });
    child.stdin?.on("error", ignoreClosedPipe).end(options.input ?? "");
  });
}

/** Starts a JavaScript file with pipes for its three streams; the caller sees to its end. */
export function startScript(
  file: string | URL,
  args: readonly string[] = [],
  options: RunOptions = {},
): ChildProcess {
  const path = file instanceof URL ? fileURLToPath(file) : file;
  return spawn(process.execPath, [...runtimeArguments(options), path, ...args], {
    cwd: options.cwd,
    // Without its mark of a test process: a child that tests would report in a binary form.
    env: { ...process.env, NODE_TEST_CONTEXT: undefined, NO_COLOR: "1", ...options.env },
    stdio: "pipe",
  });
}

/** Runs the text of an ES module, which may import `memmap` and `#dist/*.js`, to its end. */
export async function runSource(
  code: string,
  args: readonly string[] = [],
  options: RunOptions = {},
): Promise<RunResult> {
  mkdirSync(scratch, { recursive: true });
  const file = join(scratch, `source-${process.pid}-${sourceCount++}.mjs`);
  writeFileSync(file, code);
  try {
    return await runScript(file, args, options);
  } finally {
    rmSync(file);
  }
}

/** What stands between the runtime's binary and the file it runs. */
function runtimeArguments(options: RunOptions): string[] {
  switch (runtimeName) {
    case "node":
      return options.exposeGc ? ["--expose-gc"] : [];
    case "bun":
      return [];
    case "deno": {
      const gc = options.exposeGc ? ["--v8-flags=--expose-gc"] : [];
      return ["run", "-A", "--no-check", "--no-lock", ...gc];
    }
  }
}

/** A child may end without reading its input; its exit code tells more than our broken pipe. */
function ignoreClosedPipe(error: NodeJS.ErrnoException): void {
  if (error.code !== "EPIPE") throw error;
}
