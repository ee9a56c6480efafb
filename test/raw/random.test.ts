// Random arguments at every call of the raw door, in child processes: whatever is thrown at it, the
// process ends by itself, and what is not the door's is as it was. random-arguments.ts says what is
// left out, which are the exceptions of docs/safety.md. A run prints its seed, and
// MEMMAP_PROPERTY_SEED repeats it; MEMMAP_RANDOM_SECONDS makes it longer; MEMMAP_RANDOM_TRACE has
// the child write down each call before it is made.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import * as raw from "memmap/raw";
import { partOf } from "../cases/counts.js";
import { runScript } from "../helpers/child.js";
import { tempDir } from "../helpers/temp.js";
import { callNames } from "./random-calls.js";

const { MEMMAP_PROPERTY_SEED: givenSeed, MEMMAP_RANDOM_SECONDS: givenSeconds } = process.env;
const child = new URL("random-child.js", import.meta.url);

const newCalls = ["cachestat", "memfd_secret", "mseal", "pidfd_open", "remap_file_pages"] as const;

/** Whether a call can succeed here at all, by what the kernel has and what this user may. */
function canSucceed(name: string): boolean {
  const lacking = newCalls.filter((call) => !raw.accepts(call));
  // Advice to a process is a right of its own before Linux 6.13, even on the own one.
  const isRoot = process.getuid?.() === 0;
  return !lacking.some((call) => call === name) && (isRoot || name !== "process_madvise");
}

test("random arguments are thrown at every call of the door", () => {
  const calls = Object.entries(raw).flatMap(([name, it]) => (typeof it === "function" ? name : []));
  assert.ok(calls.length > 0, "no calls");
  assert.deepEqual(
    calls.filter((name) => !callNames.includes(name)),
    [],
  );
});

test("docs/safety.md counts successes of every call on every runtime", () => {
  const path = fileURLToPath(new URL("../../../docs/safety.md", import.meta.url));
  const text = partOf(readFileSync(path, "utf8"), "random") ?? "";
  const rows = text.split("\n").filter((line) => line.startsWith("| `"));
  const cells = rows.map((row) => row.split("|").slice(1, -1));
  const names = cells.map(([name = ""]) => name.replaceAll(/[` ]/g, ""));
  assert.deepEqual(names, [...callNames].sort(), "run node scripts/random-counts.mjs");
  for (const [name, ...counts] of cells) {
    assert.equal(counts.length, 6, name);
    for (const count of counts) assert.match(count, /^ [1-9]\d* of \d+ $/, name);
  }
});

for (const way of ["alone", "together"] as const) {
  test(`random arguments neither end nor change the process, ${way}`, {
    timeout: 600_000,
  }, async (t) => {
    const seconds = Number(givenSeconds ?? 8);
    const seed = Number(givenSeed ?? Math.floor(Math.random() * 2 ** 31));
    t.diagnostic(`seed ${seed}`);
    const args = [String(seed), String(seconds * 1000), join(tempDir(t), "random"), way];
    const options = { exposeGc: true, timeoutMs: (seconds + 60) * 1000 };
    const { code, signal, stdout, stderr } = await runScript(child, args, options);
    const last = stderr.slice(-4000);
    assert.deepEqual({ code, signal }, { code: 0, signal: null }, `seed ${seed}\n${last}`);
    const { rounds, counts } = JSON.parse(stdout.trimEnd().split("\n").at(-1) ?? "{}");
    t.diagnostic(`${rounds} rounds: ${JSON.stringify(counts)}`);
    // Each call was made, and has also succeeded: arguments that never fit show nothing.
    assert.deepEqual(Object.keys(counts).sort(), [...callNames].sort());
    for (const name of callNames.filter(canSucceed)) {
      assert.ok(counts[name].ok > 0, `${name}: ${JSON.stringify(counts[name])}`);
    }
  });
}
