// Runs the programs of bench/ipc and what is compiled of bench/peers, each in a process of its own.

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Contender, Contenders, Measured, Rival } from "../run.js";

/** Runs a program to its end; what it prints is what it has measured. */
export function measured(program: string, args: readonly string[]): Measured {
  const child = spawnSync(program, args, { encoding: "utf8" });
  if (child.status !== 0) throw new Error(`${program} ${args.join(" ")}: ${child.stderr}`);
  const found: Measured = JSON.parse(child.stdout);
  return found;
}

/** Runs a script of bench/ipc on this runtime. */
export function measuredScript(name: string, args: readonly string[]): Measured {
  const script = fileURLToPath(new URL(`./${name}`, import.meta.url));
  return measured(process.execPath, [script, ...args]);
}

/** A program compiled of a file of bench/peers, until it is removed. */
export interface Compiled {
  readonly program: string;
  remove(): void;
}

/** Compiles a file of bench/peers; undefined where there is no compiler. */
export function compile(name: string): Compiled | undefined {
  const source = fileURLToPath(new URL(`../../../bench/peers/${name}`, import.meta.url));
  const folder = mkdtempSync(join(tmpdir(), "memmap-bench-"));
  const program = join(folder, "program");
  const flags = ["-O2", "-Wall", source, "-o", program];
  const remove = (): void => rmSync(folder, { recursive: true });
  if (spawnSync(process.env["CC"] ?? "cc", flags, { stdio: "inherit" }).status === 0) {
    return { program, remove };
  }
  remove();
  console.log("note: no C compiler, so the limit is missing");
  return undefined;
}

/** Ways of party.ts that are compared, and plain C on the same ring. */
export interface WaysPlan {
  readonly ours: string;
  /** The other ways, and how many times as fast ours must be. */
  readonly rivals: Readonly<Record<string, number>>;
  readonly task: "trip" | "one-way";
  readonly size: number;
  readonly count: number;
  /** The task of ring.c that is the limit, and how near ours must come. */
  readonly limit: readonly [task: "trip" | "one-way" | "in-place", wanted: number] | undefined;
}

/** Each way in processes of its own, against the others and the limit. */
export function compareWays({ ours, rivals, task, size, count, limit }: WaysPlan): Contenders {
  const sizes = [String(size), String(count)];
  const contender = (name: string): Contender => ({
    name,
    run: () => measuredScript("party.js", ["near", name, task, ...sizes]),
  });
  const others: Rival[] = Object.entries(rivals).map(([name, wanted]) => ({
    ...contender(name),
    wanted,
  }));
  const ring = limit === undefined ? undefined : compile("ring.c");
  if (ring !== undefined && limit !== undefined) {
    const [way, wanted] = limit;
    const run = (): Measured => measured(ring.program, [way, ...sizes]);
    others.push({ name: `plain C, ${way}, spinning`, wanted, run });
  }
  return {
    ours: contender(ours),
    rivals: others,
    answer: size * count,
    tearDown: () => ring?.remove(),
  };
}
