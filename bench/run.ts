// Runs the benchmarks: `npm run bench` all of them, `npm run bench -- NAME` those whose name holds
// NAME.
//
// A case is a file of bench/cases that exports `bench`: two contenders that do the same work. They
// run in turns, A B A B, after a warm-up; what counts is the ratio within each pair, and of these
// the median, since machines are shared and noisy. Every run checks the answer.

import { readdirSync } from "node:fs";
import { cpus, loadavg, release } from "node:os";
import { fileURLToPath } from "node:url";

/** One question: how fast is `ours` beside `theirs`? */
export interface Bench {
  /** The question, as a sentence. */
  readonly question: string;
  /** How many pairs are measured. */
  readonly pairs: number;
  /** What `ratio` must reach: the time of `theirs` divided by the time of `ours`. */
  readonly wanted: number;
  /** Makes what is measured; each contender returns its answer. */
  setUp(): Contenders;
}

/** What a contender measured itself, in a process of its own. */
export interface Measured {
  readonly answer: number;
  readonly elapsedMs: number;
}

interface Contender {
  readonly name: string;
  run(): number | Measured;
}

/** The two that are compared, and how to clean up after them. */
export interface Contenders {
  readonly ours: Contender;
  readonly theirs: Contender;
  /** What both must answer. */
  readonly answer: number;
  tearDown(): void;
}

function timeMs(contender: Contender, answer: number): number {
  const before = process.hrtime.bigint();
  const got = contender.run();
  const elapsedMs = Number(process.hrtime.bigint() - before) / 1e6;
  const measured = typeof got === "number" ? { answer: got, elapsedMs } : got;
  if (measured.answer === answer) return measured.elapsedMs;
  throw new Error(`${contender.name} answered ${measured.answer}, not ${answer}`);
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

function measure(bench: Bench): boolean {
  console.log(bench.question);
  const { ours, theirs, answer, tearDown } = bench.setUp();
  const times: { ours: number; theirs: number }[] = [];
  try {
    for (let warmUp = 0; warmUp < 2; warmUp += 1) {
      timeMs(ours, answer);
      timeMs(theirs, answer);
    }
    for (let pair = 0; pair < bench.pairs; pair += 1) {
      times.push({ ours: timeMs(ours, answer), theirs: timeMs(theirs, answer) });
    }
  } finally {
    tearDown();
  }
  const ratios = times.map((pair) => pair.theirs / pair.ours);
  const ratio = median(ratios);
  console.log(`  ${ours.name}: ${median(times.map((pair) => pair.ours)).toFixed(2)} ms`);
  console.log(`  ${theirs.name}: ${median(times.map((pair) => pair.theirs)).toFixed(2)} ms`);
  const spread = `${Math.min(...ratios).toFixed(3)} to ${Math.max(...ratios).toFixed(3)}`;
  const reached = ratio >= bench.wanted;
  console.log(
    `  speed ratio ${ratio.toFixed(3)} (median of ${bench.pairs} pairs, ${spread}), ` +
      `wanted ${bench.wanted}: ${reached ? "reached" : "missed"}`,
  );
  return reached;
}

const folder = new URL("./cases/", import.meta.url);
const [wanted = ""] = process.argv.slice(2);
const names = readdirSync(fileURLToPath(folder)).filter(
  (name) => name.endsWith(".bench.js") && name.includes(wanted),
);
if (names.length === 0) {
  console.error(`no benchmark is called ${JSON.stringify(wanted)}`);
  process.exitCode = 2;
}
const { name: runtime, version } = runtimeOf();
console.log(
  `${runtime} ${version}, Linux ${release()}, ${cpus()[0]?.model ?? "unknown processor"}`,
);
if ((loadavg()[0] ?? 0) > 0.5) console.log("note: the machine is busy with other work");
for (const name of names) {
  const { bench }: { bench: Bench } = await import(new URL(name, folder).href);
  if (!measure(bench)) process.exitCode = 1;
}

function runtimeOf(): { name: string; version: string } {
  for (const name of ["bun", "deno"]) {
    const version = process.versions[name];
    if (version !== undefined) return { name, version };
  }
  return { name: "Node", version: process.version };
}
