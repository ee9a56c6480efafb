// Two processes add to one counter in a file that both have mapped. `Atomics` makes each addition
// whole, across processes too, so that not one of them is lost.
//
//     node out/examples/shared-counter.js [FILE]

import { fork } from "node:child_process";
import { once } from "node:events";
import { rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { mapFileSync } from "memmap";

const additions = 100_000;

function add(file: string): number {
  using mapping = mapFileSync(file, { protection: "read-write" });
  const counter = new Int32Array(mapping.buffer, 0, 1);
  for (let i = 0; i < additions; i += 1) Atomics.add(counter, 0, 1);
  return Atomics.load(counter, 0);
}

const given = process.argv[2];
if (given !== undefined) {
  add(given);
} else {
  const file = join(tmpdir(), `memmap-counter-${process.pid}`);
  mapFileSync(file, { create: true, grow: true, length: 4 }).close();
  try {
    const child = fork(fileURLToPath(import.meta.url), [file]);
    add(file);
    const [code] = await once(child, "exit");
    using mapping = mapFileSync(file);
    const total = new Int32Array(mapping.buffer)[0];
    console.log(`2 processes added ${2 * additions} in all: the counter says ${total}`);
    if (code !== 0 || total !== 2 * additions) process.exitCode = 1;
  } finally {
    rmSync(file);
  }
}
