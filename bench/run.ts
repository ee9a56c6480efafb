// Runs the benchmarks: `npm run bench` all of them, `npm run bench -- NAME` those whose name holds
// NAME.
//
// A case is a file of bench/cases that exports `benches`: contenders that do the same work, ours
// and its rivals. They run in turns, A B C A B C, after a warm-up; what counts is the ratio to ours
// within each round, and of these the median, since machines are shared and noisy. Every run checks
// the answer.

import { readdirSync } from "node:fs";
import { cpus, loadavg, release } from "node:os";
import { fileURLToPath } from "node:url";

/** One question: how fast is `ours` beside its rivals? */
export interface Bench {
  /** The question, as a sentence. */
  readonly question: string;
  /** How many rounds are measured. */
  readonly rounds: number;
  /** How many rounds are run before; by default 2. */
  readonly warmUps?: number;
  /** Makes what is measured; each contender returns its answer. */
  setUp(): Contenders;
}

/** What a contender measured itself, in a process of its own. */
export interface Measured {
  readonly answer: number;
  readonly elapsedMs: number;
}

/** One way to do the work. */
export interface Contender {
  readonly name: string;
  run(): number | Measured;
}

/** Another way, and what it says of ours. */
export interface Rival extends Contender {
  /** What the ratio must reach: the time of this one divided by the time of ours. 0: just shown. */
  readonly wanted: number;
}

/** Those that are compared, and how to clean up after them. */
export interface Contenders {
  readonly ours: Contender;
  readonly rivals: readonly Rival[];
  /** What all must answer. */
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
  const { ours, rivals, answer, tearDown } = bench.setUp();
  const all = [ours, ...rivals];
  const times = new Map<Contender, number[]>(all.map((contender) => [contender, []]));
  try {
    for (let round = -(bench.warmUps ?? 2); round < bench.rounds; round += 1) {
      for (const contender of all) {
        const elapsedMs = timeMs(contender, answer);
        if (round >= 0) times.get(contender)?.push(elapsedMs);
      }
    }
  } finally {
    tearDown();
  }
  const own = times.get(ours) ?? [];
  console.log(`  ${ours.name}: ${median(own).toFixed(2)} ms`);
  const reached = rivals.map((rival) => report(rival, times.get(rival) ?? [], own));
  return !reached.includes(false);
}

function report(rival: Rival, times: readonly number[], own: readonly number[]): boolean {
  const ratios = times.map((time, round) => time / (own[round] ?? Number.NaN));
  const ratio = median(ratios);
  const spread = `${Math.min(...ratios).toFixed(3)} to ${Math.max(...ratios).toFixed(3)}`;
  const reached = ratio >= rival.wanted;
  const verdict = `, wanted ${rival.wanted}: ${reached ? "reached" : "missed"}`;
  console.log(
    `  ${rival.name}: ${median(times).toFixed(2)} ms, ours is ${ratio.toFixed(3)} times as fast ` +
      `(median of ${ratios.length} rounds, ${spread})${rival.wanted === 0 ? "" : verdict}`,
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
  const { benches }: { benches: readonly Bench[] } = await import(new URL(name, folder).href);
  for (const bench of benches) if (!measure(bench)) process.exitCode = 1;
}

function runtimeOf(): { name: string; version: string } {
  for (const name of ["bun", "deno"]) {
    const version = process.versions[name];
    if (version !== undefined) return { name, version };
  }
  return { name: "Node", version: process.version };
}
