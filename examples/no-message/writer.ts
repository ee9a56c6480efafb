// The writers of no-message.ts: each makes its stores 12 to 22 ms apart, with the time of each.
//
//     c        writer.c through its mapping, compiled here; undefined without a compiler
//     write    fs.writeSync into the file
//     notify   memmap, through its mapping, and tells those who wait
//
//     bytes 0-3 of the file    how many stores there were
//     bytes 8-15               when the last one was made, in ms since 1970

import { type ChildProcess, fork, spawn, spawnSync } from "node:child_process";
import { openSync, writeSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { mapFileSync } from "memmap";
import { notify } from "memmap/ipc";

export type Kind = "c" | "write" | "notify";

const self = fileURLToPath(import.meta.url);
const source = fileURLToPath(new URL("../../../examples/no-message/writer.c", import.meta.url));

/** The time, comparable between processes, in ms. */
export function now(): number {
  return performance.timeOrigin + performance.now();
}

/** Compiles writer.c; false where there is no compiler. */
export function compile(program: string): boolean {
  return spawnSync(process.env["CC"] ?? "cc", ["-O2", source, "-o", program]).status === 0;
}

/** Starts a writer: the compiled program, or this file as a program. */
export function start(
  kind: Kind,
  args: { program: string; file: string; stores: number },
): ChildProcess {
  const { program, file, stores } = args;
  if (kind === "c") return spawn(program, [file, String(stores)]);
  return fork(self, [kind, file, String(stores)]);
}

async function run(kind: string, file: string, stores: number): Promise<void> {
  const bytes = new ArrayBuffer(16);
  using mapping = mapFileSync(file, { protection: "read-write" });
  const buffer = kind === "notify" ? mapping.buffer : bytes;
  const fd = openSync(file, "r+");
  for (let i = 1; i <= stores; i += 1) {
    await setTimeout(12 + ((i * 7) % 11));
    new Float64Array(buffer, 8, 1)[0] = now();
    const words = new Int32Array(buffer);
    Atomics.store(words, 0, i);
    if (kind === "notify") notify(words, 0);
    else writeSync(fd, new Uint8Array(buffer), 0, 16, 0);
  }
}

const [script, kind, file, stores] = process.argv.slice(1);
if (script === self && kind && file) await run(kind, file, Number(stores));
