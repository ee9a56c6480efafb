// Runs the crash matrix with memmap and with its peers, cell by cell, and prints what became of
// them:
//
//     node scripts/build.mjs --tests && node scripts/crash-peers.mjs [OPTION]... [NAME]...
//
// NAME is a part of a library's name; all of them run without one. The peers are installed into a
// temporary folder. --write replaces the tables of docs/safety.md. --minutes=N begins nothing after
// so long: the passes take some ways of every kind each, and what is left is counted as not run.
// --keep=FILE holds what is finished, and another run goes on from there. A full disk needs root,
// to mount a small tmpfs. A cell that kills its process costs a process: all of it takes an hour of
// one processor.

import { spawnSync } from "node:child_process";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { runtimePath } from "./runtimes.mjs";

const PACKAGES = { "@riaskov/mmap-io": "1.4.3", koffi: "3.3.4" };

/** How many groups of cells run at a time. */
const CONCURRENCY = Math.min(2, availableParallelism());

/** In how many passes a library that dies is gone through, each with other ways of touching. */
const PASSES = 24;

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { values, positionals } = parseArgs({
  options: {
    write: { type: "boolean", default: false },
    keep: { type: "string" },
    minutes: { type: "string" },
  },
  allowPositionals: true,
});
const compiled = (path) => import(join(root, "out", path));
const { abuses, stages, workerStages } = await compiled("test/crash/matrix.js");
const { hugePagesInPool } = await compiled("test/crash/run.js");
const { takePower } = await compiled("test/helpers/root-powers.js");
const { withPart } = await compiled("test/cases/counts.js");
const { runGroup, unrun, waysOf } = await compiled("bench/peers/run.js");
const { runPython } = await compiled("bench/peers/python.js");
const { section } = await compiled("bench/peers/tables.js");

const work = mkdtempSync(join(tmpdir(), "memmap-peers-"));
const end = Date.now() + Number(values.minutes ?? Number.POSITIVE_INFINITY) * 60_000;
try {
  const peers = listPeers().filter(({ title }) => isWanted(title));
  const parts = readKept();
  const jobs = listJobs(peers);
  const waiting = jobs.filter((job) => !isDone(job, parts));
  await Promise.all(Array.from({ length: CONCURRENCY }, () => runJobs(waiting, parts)));
  const columns = peers.map(({ title }) => columnOf(title, jobs, parts));
  const text = section(columns);
  console.log(text);
  if (values.write) {
    const document = join(root, "docs/safety.md");
    writeFileSync(document, withPart(readFileSync(document, "utf8"), "peers", text));
  }
  const own = columns.find(({ title }) => title.includes("memmap"));
  const bad = own?.results.filter(({ verdict }) => /^(?:wrong|SIG|abort|hung)/.test(verdict)) ?? [];
  for (const { stage, abuse, way, verdict } of bad) {
    console.error(`memmap: ${stage}, ${abuse}, ${way}: ${verdict}`);
    process.exitCode = 1;
  }
} finally {
  rmSync(work, { recursive: true, force: true });
}

function isWanted(title) {
  return positionals.length === 0 || positionals.some((name) => title.includes(name));
}

/**
 * All parts of the work, pass by pass: first the libraries that need but one, and within a pass,
 * what costs a thread last.
 */
function listJobs(all) {
  const ordered = [...stages].sort((a, b) => workerStages.includes(a) - workerStages.includes(b));
  const inPass = (some, index) =>
    ordered.flatMap((stage) =>
      abuses.flatMap((abuse) =>
        some.map((peer) => ({ peer, stage, abuse, pass: { index, count: peer.passes } })),
      ),
    );
  return [
    ...inPass(
      all.filter(({ passes }) => passes === 1),
      0,
    ),
    ...Array.from({ length: PASSES }, (_, index) =>
      inPass(
        all.filter(({ passes }) => passes > 1),
        index,
      ),
    ).flat(),
  ];
}

/** What was found of a part. */
function partOf({ peer, stage, abuse, pass }, parts) {
  return parts.find(
    (part) =>
      part.title === peer.title &&
      part.stage === stage &&
      part.abuse === abuse &&
      part.pass === pass.index,
  );
}

function isDone(job, parts) {
  return partOf(job, parts) !== undefined;
}

/** The finished parts of an earlier run. */
function readKept() {
  if (values.keep === undefined || !existsSync(values.keep)) return [];
  const lines = readFileSync(values.keep, "utf8").split("\n").slice(0, -1);
  return lines.map((line) => JSON.parse(line));
}

function columnOf(title, jobs, parts) {
  const found = jobs
    .filter(({ peer }) => peer.title === title)
    .map((job) => partOf(job, parts) ?? { elapsedMs: 0, results: missingOf(job) });
  const minutes = found.reduce((sum, { elapsedMs }) => sum + elapsedMs, 0) / 60_000;
  return { title, results: found.flatMap(({ results }) => results), minutes };
}

function missingOf({ peer, stage, abuse, pass }) {
  if (!peer.isJavaScript) throw new Error(`${peer.title}: there was no time for it`);
  return peer.unrun({ stage, abuse, pass });
}

/** Takes one part after the other until there is none, or no time. */
async function runJobs(waiting, parts) {
  for (let job = waiting.shift(); job && Date.now() < end; job = waiting.shift()) {
    const { peer, stage, abuse, pass } = job;
    const begin = Date.now();
    const results = await runJob(job);
    const elapsedMs = Date.now() - begin;
    const part = { title: peer.title, stage, abuse, pass: pass.index, elapsedMs, results };
    parts.push(part);
    if (values.keep) appendFileSync(values.keep, `${JSON.stringify(part)}\n`);
    const left = `${waiting.length} parts left`;
    console.error(`${peer.title}: ${stage}, ${abuse}: ${results.length} cells, ${left}`);
  }
}

/** Runs one stage and abuse in a folder of its own, with what the abuse needs of the machine. */
async function runJob({ peer, stage, abuse, pass }) {
  const own = mkdtempSync(join(work, "job-"));
  const folders = { folder: join(own, "place"), work: own };
  mkdirSync(folders.folder);
  const undo = [() => rmSync(own, { recursive: true, force: true })];
  try {
    if (abuse === "disk-full") {
      mount(folders.folder);
      undo.unshift(() => spawnSync("umount", [folders.folder]));
    }
    if (abuse === "huge-pool") {
      await takePower({ after: (step) => undo.unshift(step) }, "huge-pages");
      if (hugePagesInPool() !== 0) throw new Error("the pool of huge pages is not empty");
    }
    const only = peer.isJavaScript ? waysOf(stage, abuse, pass) : undefined;
    return await peer.run({ stage, abuse, only }, folders);
  } finally {
    for (const step of undo) step();
  }
}

function mount(folder) {
  const args = ["-t", "tmpfs", "-o", "size=1m", "none", folder];
  const { status, stderr } = spawnSync("mount", args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`a full disk cannot be mounted: ${stderr}`);
}

/** Each library with the runtime that has it. */
function listPeers() {
  const node = runtimePath("node-22");
  install(node);
  const versionOf = (binary) =>
    spawnSync(binary, ["--version"], { encoding: "utf8" })
      .stdout.trim()
      .replace(/^v|^Python /, "");
  const on = (runtime) => {
    const binary = runtimePath(runtime);
    const name = runtime === "bun" ? "Bun" : "Node";
    return { runtime, binary, installed: work, system: `${name} ${versionOf(binary)}` };
  };
  const title = (name, { system }) => `${name} (${system})`;
  const peer = (driver, name, place) => ({
    title: title(name, place),
    passes: driver === "memmap" ? 1 : PASSES,
    isJavaScript: true,
    run: (group, folders) => runGroup({ driver, ...place }, group, folders),
    unrun: (group) => unrun({ driver, ...place }, group),
  });
  const fromNpm = Object.entries(PACKAGES).map(([name, version]) =>
    peer(name, `${name} ${version}`, on("node-22")),
  );
  const python =
    spawnSync("python3", ["--version"]).status === 0 ? versionOf("python3") : undefined;
  return [
    peer("memmap", "**memmap**", on("node-22")),
    ...fromNpm,
    peer("node:ffi", "node:ffi", on("node-26")),
    peer("Bun.mmap", "Bun.mmap", on("bun")),
    ...(python ? [{ title: `mmap (Python ${python})`, passes: 1, run: runPython }] : []),
  ];
}

/** Installs the peers for a Node, whose own headers are used where one is built from source. */
function install(node) {
  writeFileSync(join(work, "package.json"), '{ "private": true }\n');
  const wanted = Object.entries(PACKAGES).map(([name, version]) => `${name}@${version}`);
  const { status } = spawnSync("npm", ["install", "--no-audit", "--no-fund", ...wanted], {
    cwd: work,
    stdio: ["ignore", "ignore", "inherit"],
    env: {
      ...process.env,
      PATH: [dirname(node), process.env.PATH].join(delimiter),
      npm_config_nodedir: dirname(dirname(node)),
    },
  });
  if (status !== 0) throw new Error("npm could not install the peers");
}
