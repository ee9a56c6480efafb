// Throws random arguments at the raw door on every runtime, as test/raw/random.test.ts does, and
// writes what came of it into docs/safety.md:
//
//   node scripts/build.mjs --tests && node scripts/random-counts.mjs [SECONDS] [--seed=NUMBER]
//
// SECONDS (10) are for each run; each runtime has one with one thread and one with two. The counts
// are of one machine and moment: a seed repeats the arguments, and not the addresses they meet.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { RUNTIMES, runtimePath } from "./runtimes.mjs";

process.chdir(dirname(dirname(fileURLToPath(import.meta.url))));

const { values, positionals } = parseArgs({
  options: { seed: { type: "string", default: "2026" } },
  allowPositionals: true,
});
const seconds = Number(positionals[0] ?? 10);
const document = "docs/safety.md";
const child = "out/test/raw/random-child.js";
const { withPart } = await import("../out/test/cases/counts.js");

/** What stands between a runtime's binary and the file that it runs. */
const commands = {
  bun: [],
  deno: ["run", "-A", "--no-check", "--no-lock", "--v8-flags=--expose-gc"],
};

const titles = { bun: "Bun", deno: "Deno" };
const ways = { alone: "one", together: "two" };

/** The last line of a run, which counts its calls by their outcome. */
function run(name, way) {
  const folder = mkdtempSync(join(tmpdir(), "memmap-random-"));
  const binary = name === "node" ? process.execPath : runtimePath(name);
  const options = commands[name] ?? ["--expose-gc"];
  const args = [...options, child, values.seed, String(seconds * 1000), folder, way];
  const { status, signal, stdout, stderr } = spawnSync(binary, args, { encoding: "utf8" });
  rmSync(folder, { recursive: true });
  if (status === 0) return JSON.parse(stdout.trimEnd().split("\n").at(-1));
  throw new Error(`${name}, ${way}: ended by ${signal ?? status}\n${stderr.slice(-2000)}`);
}

function sum(counts, wanted) {
  const chosen = Object.entries(counts).filter(([outcome]) => wanted(outcome));
  return chosen.reduce((total, [, count]) => total + count, 0);
}

const isMade = (outcome) => outcome !== "skipped";
const isOk = (outcome) => outcome === "ok";

function table(rows) {
  const [head, ...rest] = rows.map((cells) => `| ${cells.join(" | ")} |`);
  return [head, `|${"---|".repeat(rows[0].length)}`, ...rest].join("\n");
}

const [major] = process.versions.node.split(".");
const runs = ["node", ...RUNTIMES].flatMap((name) => {
  const title =
    name === "node" ? `Node ${major}` : (titles[name] ?? name.replace("node-", "Node "));
  return Object.keys(ways).map((way) => {
    console.log(`random-counts: ${title}, ${way}`);
    return { title, way, ...run(name, way) };
  });
});

const byRun = runs.map(({ title, way, rounds, told, counts }) => {
  const made = Object.values(counts).reduce((total, row) => total + sum(row, isMade), 0);
  const ok = Object.values(counts).reduce((total, row) => total + sum(row, isOk), 0);
  return [title, ways[way], rounds, made, ok, made - ok, told];
});
const runtimes = [...new Set(runs.map(({ title }) => title))];
const calls = [...new Set(runs.flatMap(({ counts }) => Object.keys(counts)))].sort();
const byCall = calls.map((call) => {
  const cells = runtimes.map((runtime) => {
    const rows = runs.filter(({ title }) => title === runtime).map(({ counts }) => counts[call]);
    const count = (wanted) => rows.reduce((total, row) => total + sum(row ?? {}, wanted), 0);
    return `${count(isOk)} of ${count(isMade)}`;
  });
  return [`\`${call}\``, ...cells];
});
const text = [
  `Seed ${values.seed}, ${seconds} seconds for each run.`,
  table([
    ["runtime", "threads", "rounds", "calls", "succeeded", "refused", "faults told"],
    ...byRun,
  ]),
  table([["succeeded of those made", ...runtimes], ...byCall]),
].join("\n\n");
writeFileSync(document, withPart(readFileSync(document, "utf8"), "random", text));
console.log(`random-counts: ${document}`);
