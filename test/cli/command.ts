// The command as its users run it: the built program in a process of its own, on the runtime that
// runs the tests, with streams that may be anything. Also what is needed to catch it in the middle
// of its work: a stopped process does not go on until the test lets it.

import { type ChildProcess, type StdioOptions, spawn } from "node:child_process";
import { closeSync, ftruncateSync, openSync, readdirSync, readFileSync, writeSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { ordinaryUid } from "../helpers/ordinary-user.js";
import { runtimeName } from "../helpers/runtime.js";

const program = fileURLToPath(new URL("../../../dist/cli/main.js", import.meta.url));

/** What starts the command, to put arguments behind. */
export const command: readonly [string, ...string[]] = [
  process.execPath,
  ...(runtimeName === "deno" ? ["run", "-A", "--no-check", "--no-lock"] : []),
  program,
];

export interface CommandOptions {
  readonly cwd?: string | undefined;
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** What the standard input holds; empty by default. */
  readonly input?: string | undefined;
  /** A descriptor that takes the standard output. */
  readonly output?: number | undefined;
  /** As the user without rights. */
  readonly ordinary?: boolean | undefined;
}

export interface CommandResult {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

/** How long a command may take before it is killed. */
const timeoutMs = 60_000;

/** Starts the command with pipes for its streams. */
export function start(args: readonly string[], options: CommandOptions = {}): ChildProcess {
  const [file, ...before] = command;
  const stdio: StdioOptions = ["pipe", options.output ?? "pipe", "pipe"];
  const ids = options.ordinary ? { uid: ordinaryUid, gid: ordinaryUid } : {};
  return spawn(file, [...before, ...args], {
    cwd: options.cwd,
    env: { ...process.env, NODE_TEST_CONTEXT: undefined, NO_COLOR: "1", ...options.env },
    stdio,
    ...ids,
  });
}

/** Waits for the end of a command and collects what it prints. */
export function finish(child: ChildProcess): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const stdout: Buffer[] = [];
    let stderr = "";
    child.stdout?.on("data", (chunk: Buffer) => stdout.push(chunk));
    child.stderr?.setEncoding("utf8").on("data", (chunk: string) => {
      stderr += chunk;
    });
    const timer = setTimeout(() => child.kill("SIGKILL"), timeoutMs);
    child.on("error", reject);
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, stdout: Buffer.concat(stdout), stderr });
    });
  });
}

/** Runs the command to its end. */
export function memmap(
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const child = start(args, options);
  child.stdin?.on("error", () => undefined).end(options.input ?? "");
  return finish(child);
}

/** The reason why the user without rights cannot run the command here, or false. */
export async function cannotRunOrdinary(): Promise<string | false> {
  if (process.getuid?.() !== 0) return "needs root, to become a user without rights";
  const { code } = await memmap(["--version"], { ordinary: true }).catch(() => ({ code: -1 }));
  return code === 0 ? false : "the user without rights cannot read this checkout";
}

/** Makes a file without holes whose content repeats only every 251 MiB. */
export function fillFile(path: string, mebibytes: number): void {
  const fd = openSync(path, "w");
  const piece = Buffer.alloc(2 ** 20);
  for (let i = 0; i < mebibytes; i += 1) {
    piece.fill((i % 251) + 1);
    writeSync(fd, piece);
  }
  closeSync(fd);
}

/** Makes a file of holes, with a few bytes at the places that are given. */
export function sparseFile(
  path: string,
  size: number,
  marks: Readonly<Record<number, string>>,
): void {
  const fd = openSync(path, "w");
  ftruncateSync(fd, size);
  for (const [place, text] of Object.entries(marks)) {
    writeSync(fd, Buffer.from(text), 0, text.length, Number(place));
  }
  closeSync(fd);
}

/** The names of temporary files of `copy` in a folder. */
export function leftovers(folder: string): string[] {
  return readdirSync(folder).filter((name) => name.startsWith(".memmap-copy-"));
}

/** Stops a process and waits until the kernel says that all of its threads stand still. */
export async function stop(pid: number): Promise<void> {
  process.kill(pid, "SIGSTOP");
  const stands = (): boolean =>
    readdirSync(`/proc/${pid}/task`).every((thread) =>
      /\) [TZ] /.test(readFileSync(`/proc/${pid}/task/${thread}/stat`, "latin1")),
    );
  while (!stands()) await new Promise(setImmediate);
}

/** Waits for the temporary file of a copy and stops that copy; undefined when it ended before. */
export async function stopCopy(folder: string, child: ChildProcess): Promise<number | undefined> {
  while (child.exitCode === null && child.signalCode === null) {
    const pid = /^\.memmap-copy-(\d+)-/.exec(leftovers(folder)[0] ?? "")?.[1];
    if (pid !== undefined) {
      await stop(Number(pid));
      if (leftovers(folder).length > 0) return Number(pid);
      process.kill(Number(pid), "SIGCONT");
      return undefined;
    }
    await new Promise(setImmediate);
  }
  return undefined;
}
