// Mapping something large must not collect garbage. An engine counts an external buffer's length as
// memory that it might free; with a large heap that collection is the pause that users see.

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { mapFileSync } from "memmap";
import type { Bench, Measured } from "../run.js";

const byteLength = 2 ** 30;
const heapMiB = 400;

/* The child: fills the heap, then maps, touches and closes ten times; the longest time is the
   pause. */
function pause(path: string): Measured {
  const heap: string[][] = [];
  while (process.memoryUsage().heapUsed < heapMiB * 2 ** 20) {
    heap.push(Array.from({ length: 10_000 }, (_, i) => `entry ${heap.length} ${i}`));
  }
  let elapsedMs = 0;
  let answer = 0;
  for (let round = 0; round < 10; round += 1) {
    const before = performance.now();
    const mapping = mapFileSync(path);
    answer += mapping.bytes.length;
    if (round > 0) elapsedMs = Math.max(elapsedMs, performance.now() - before);
    mapping.close();
  }
  return { answer: answer / 10, elapsedMs };
}

const [path, contender] = process.argv.slice(2);
if (path !== undefined && contender !== undefined) console.log(JSON.stringify(pause(path)));

function inChild(file: string, name: "ours" | "plain"): Measured {
  /* Where V8 has a sandbox, as in Electron, buffers are made through Node-API: the plain way. */
  const pretend = `Object.defineProperty(process.versions, "electron", { value: "0" })`;
  const fake = `data:text/javascript,${pretend}`;
  const plain = name === "plain" ? ["--import", fake] : [];
  const script = fileURLToPath(import.meta.url);
  const child = spawnSync(process.execPath, [...plain, script, file, name], { encoding: "utf8" });
  const measured: Measured = JSON.parse(child.stdout);
  return measured;
}

/** The longest of nine mappings under a large heap, against a plain external buffer. */
const bench: Bench = {
  question: `How long is the pause for mapping 1 GiB under a ${heapMiB} MiB heap?`,
  rounds: 7,
  setUp() {
    const folder = mkdtempSync(join(tmpdir(), "memmap-bench-"));
    const file = join(folder, "data.bin");
    writeFileSync(file, "");
    truncateSync(file, byteLength);
    return {
      ours: { name: "memmap mapping", run: () => inChild(file, "ours") },
      rivals: [{ name: "plain external buffer", wanted: 10, run: () => inChild(file, "plain") }],
      answer: byteLength,
      tearDown: () => rmSync(folder, { recursive: true }),
    };
  },
};

/** What is measured. */
export const benches: readonly Bench[] = [bench];
