/**
 * The other process of the tour, as the tour sees it: starts tour-peer-main.js on the same runtime
 * and asks it what it sees. Ends it when it is disposed of; a tour that dies closes its input,
 * which ends it as well.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { failedError } from "./exit.js";

const answerMsMax = 10_000;

/** What the other process sees. */
export interface Sight {
  readonly pid: number;
  /** Byte 0 through its mapping. */
  readonly byte: number | undefined;
  /** Byte 0 by read(2). */
  readonly file: number | undefined;
}

function asByte(value: unknown): number | undefined {
  return typeof value === "number" ? value : undefined;
}

function parseSight(line: string): Sight {
  const value: unknown = JSON.parse(line);
  if (typeof value !== "object" || value === null || !("pid" in value)) {
    throw failedError("the other process of the tour gave an answer that makes no sense");
  }
  if ("error" in value) throw failedError(`the other process of the tour: ${value.error}`);
  return {
    pid: Number(value.pid),
    byte: asByte("byte" in value ? value.byte : undefined),
    file: asByte("file" in value ? value.file : undefined),
  };
}

/** Another process that has the copy mapped. */
export class Peer {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(path: string) {
    const program = fileURLToPath(new URL("./tour-peer-main.js", import.meta.url));
    const before = "Deno" in globalThis ? ["run", "--allow-all", "--no-lock"] : [];
    const child = spawn(process.execPath, [...before, program, path], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.#child = child;
    // An end that comes too early shows as an answer that does not come.
    child.on("error", () => child.stdout.destroy());
    child.stdin.on("error", () => undefined);
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  }

  /** What it sees when it has mapped the copy. */
  first(): Promise<Sight> {
    return this.#answer();
  }

  /** Asks it to look again, through the mapping it has. */
  second(): Promise<Sight> {
    this.#child.stdin?.end("\n");
    return this.#answer();
  }

  async #answer(): Promise<Sight> {
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), answerMsMax);
    try {
      const { value, done } = await this.#lines.next();
      if (done === true) throw failedError("the other process of the tour gave no answer");
      return parseSight(value);
    } finally {
      clearTimeout(timer);
    }
  }

  [Symbol.dispose](): void {
    this.#child.kill("SIGKILL");
  }
}
