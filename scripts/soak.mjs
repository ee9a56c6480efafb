// The soak: for a bounded time it mixes mappings of all kinds with touches, truncations,
// protections, resizes, closes, drops, transfers, faults, workers that are terminated and
// processes that are killed at random moments. At the end everything is let go, and the counts of
// the process must be back at what they were after a first, short round.
//
// Bun leaves two things behind when a worker is terminated (docs/platforms.md). Both are measured,
// not tolerated: a worker notes what it is about to do in memory that outlives it, and what is left
// must be explained by such a note.
//
//   node scripts/soak.mjs [seconds] [--seed=number]
//
// Bare: needs only the built package, and runs on every runtime. Prints the seed and the counts
// before and after; exit code 1 when a count did not come back or something else than a fault was
// thrown.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { isMainThread, Worker, workerData } from "node:worker_threads";
import { attachMapping, FaultError, mapAnonymous, mapFile, mapFileSync, pageSize } from "memmap";
import { native } from "#dist/native.js";
import { counts, Notes, runtime } from "./soak-counts.mjs";

if (!globalThis.Bun) setFlagsFromString("--expose-gc");
const collectGarbage = globalThis.Bun ? undefined : runInNewContext("globalThis.gc");

/** By how much a count may be above the base line at the end, and why not by nothing. */
const TOLERANCES = {
  // Files that the notes of a terminated worker do not explain, and memory objects.
  descriptors: 0,
  // Addresses that stay reserved for good without such a note.
  keptRanges: 0,
  // Runtimes keep threads of a pool and grow it by need.
  threads: 12,
  // The engine's heap and the C library's arenas, 64 MiB of addresses each.
  areas: 300,
  virtualMebibytes: 512,
  residentMebibytes: 128,
};

const MAPPINGS_MAX = 40;
const WORKERS_MAX = 3;
const PROCESSES_MAX = 2;

/** Random numbers that a seed repeats: mulberry32. */
function makeRandom(seed) {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

/** What one thread does: a list of mappings, and actions on one of them at random. */
class Player {
  /** `notes`: only of a worker, since nothing but a worker is terminated in this process. */
  constructor({ folder, seed, name, notes }) {
    this.folder = folder;
    this.name = name;
    this.notes = notes;
    this.random = makeRandom(seed);
    this.mappings = [];
    this.leftovers = [];
    this.pending = new Set();
    this.steps = 0;
    this.faults = 0;
    this.files = 0;
  }

  pick(list) {
    return list[this.random(list.length)];
  }

  makeFile() {
    const path = join(this.folder, `${this.name}-${this.files++ % 8}.bin`);
    writeFileSync(path, Buffer.alloc((1 + this.random(32)) * pageSize, 1));
    return path;
  }

  options(kinds) {
    const sharing = this.pick(["shared", "private"]);
    const faults = this.pick(["throw", "collect", "collect"]);
    return { protection: this.pick(kinds), sharing, faults };
  }

  add(mapping) {
    if (this.random(2) === 0) {
      mapping.onfault = (fault) => {
        this.faults += fault.count;
      };
    }
    this.mappings.push(mapping);
  }

  /** One random action; what the state forbids is an error with a code, which is as good. */
  step() {
    this.steps += 1;
    if (this.mappings.length >= MAPPINGS_MAX) this.end(this.random(this.mappings.length));
    const [, action] = this.pick(ACTIONS);
    try {
      action(this, this.mappings.length > 0 ? this.pick(this.mappings) : undefined);
    } catch (error) {
      if (error instanceof FaultError) this.faults += error.count;
      else if (typeof error.code !== "string") throw error;
    }
  }

  end(index) {
    const [mapping] = this.mappings.splice(index, 1);
    /* Kept views, transferred buffers and plain drops are what close() must be safe against. */
    if (this.random(3) === 0) this.leftovers.push(mapping.bytes);
    if (this.random(4) === 0) transfer(this, mapping);
    if (this.random(4) > 0) mapping.close();
    else this.notes?.letGo(mapping);
    if (this.leftovers.length > 16) this.leftovers.shift();
  }

  wait(promise) {
    this.pending.add(promise);
    const done = () => this.pending.delete(promise);
    promise.then(done, (error) => {
      done();
      if (error instanceof FaultError) this.faults += error.count;
      else if (typeof error?.code !== "string") throw error;
    });
  }

  async letGo() {
    await Promise.allSettled([...this.pending]);
    while (this.mappings.length > 0) this.mappings.pop().close();
    this.leftovers.length = 0;
  }
}

function transfer(player, mapping) {
  if (typeof ArrayBuffer.prototype.transfer !== "function" || mapping.byteLength === 0) return;
  player.notes?.letGo(mapping);
  player.leftovers.push(new Uint8Array(mapping.buffer.transfer()));
}

function touch(player, bytes) {
  if (bytes === undefined || bytes.length === 0) return;
  for (let i = 0; i < 8; i++) {
    const at = player.random(bytes.length);
    if (player.random(2) === 0) bytes[at] = i;
    else player.sum = (player.sum ?? 0) + bytes[at];
  }
}

const range = (player, mapping) => {
  const offset = player.random(mapping.byteLength + 1);
  return { offset, length: player.random(mapping.byteLength - offset + 1) };
};

/** What may happen, each as often as it stands here. */
const ACTIONS = Object.entries({
  "map a file": (player) => {
    player.add(mapFileSync(player.makeFile(), player.options(["read", "read-write", "none"])));
  },
  "map a file later": (player) => {
    const path = player.makeFile();
    player.notes?.begin();
    const mapped = mapFile(path, player.options(["read", "read-write"]));
    const added = mapped.then((mapping) => player.add(mapping));
    player.wait(added.finally(() => player.notes?.end()));
  },
  "map a file that grows": (player) => {
    player.add(mapFileSync(player.makeFile(), { grow: true, length: 40 * pageSize }));
  },
  "map memory": (player) => {
    const length = player.random(64 * pageSize);
    player.add(mapAnonymous(length, player.options(["read-write", "read", "none"])));
  },
  "touch one": (player, mapping) => touch(player, mapping?.bytes),
  "touch another": (player, mapping) => touch(player, mapping?.bytes),
  "touch shared": (player, mapping) => {
    const { sharedBuffer } = mapping ?? {};
    if (sharedBuffer !== undefined) touch(player, new Uint8Array(sharedBuffer));
  },
  "touch what was closed": (player) => touch(player, player.pick(player.leftovers)),
  shorten: (player, mapping) => {
    if (mapping?.path) truncateSync(mapping.path, player.random(8) * 1000);
  },
  "grow back": (_player, mapping) => {
    if (!mapping?.path) return;
    truncateSync(mapping.path, 40 * pageSize);
    mapping.remap();
  },
  protect: (player, mapping) =>
    mapping?.protect(player.pick(["none", "read", "read-write"]), range(player, mapping)),
  resize: (player, mapping) => mapping?.resize(player.random(64 * pageSize)),
  read: (player, mapping) => mapping?.read(player.random(mapping.byteLength + 1), 1),
  write: (player, mapping) =>
    mapping?.write(player.random(mapping.byteLength + 1), Uint8Array.of(1)),
  check: (_player, mapping) => mapping?.check(),
  remap: (player, mapping) => mapping?.remap(range(player, mapping)),
  flush: (player, mapping) => mapping && player.wait(mapping.flush()),
  load: (player, mapping) => mapping && player.wait(mapping.load()),
  lock: (player, mapping) => mapping && player.wait(mapping.lock({ length: pageSize })),
  discard: (player, mapping) => mapping?.discard(range(player, mapping)),
  attach: (player, mapping) => mapping && player.add(attachMapping(mapping.share())),
  end: (player) => player.mappings.length > 0 && player.end(player.random(player.mappings.length)),
  "end another": (player) => player.mappings.length > 0 && player.end(0),
});

// ==== Workers and processes ====================================================================

const self = fileURLToPath(import.meta.url);
const role = isMainThread ? (process.env.SOAK_ROLE ?? "main") : "worker";

/** Plays until it is ended from outside. */
async function playOn({ handles, memory, ...rest }) {
  process.on("uncaughtException", ignoreFaults);
  const notes = memory && new Notes(memory);
  notes?.begin(); // Wherever it is terminated, its thread has one file open at the most.
  const player = new Player({ ...rest, notes });
  for (const handle of handles) {
    try {
      player.add(attachMapping(handle));
    } catch (error) {
      if (typeof error.code !== "string") throw error;
    }
  }
  for (;;) {
    for (let i = 0; i < 50; i++) player.step();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

function ignoreFaults(error) {
  if (error instanceof FaultError) return;
  console.error(error);
  process.exit(1);
}

/** The workers and processes of the main thread; a few at a time, ended at random moments. */
class Others {
  constructor(folder, seed) {
    this.folder = folder;
    this.random = makeRandom(seed);
    this.workers = [];
    this.processes = [];
    this.started = 0;
    this.terminated = 0;
    this.killed = 0;
    this.failures = [];
  }

  async step(player) {
    const data = () => ({
      folder: this.folder,
      seed: this.random(2 ** 31),
      name: `other-${this.started++ % 16}`,
      handles: player.mappings.slice(0, 3).map((mapping) => mapping.share()),
    });
    const dice = this.random(100);
    if (dice < 30 && this.workers.length < WORKERS_MAX)
      this.startWorker({ ...data(), memory: notes.memory });
    else if (dice < 45 && this.processes.length < PROCESSES_MAX) this.startProcess(data());
    else if (dice < 75) await this.terminateOne();
    else if (dice < 90) this.killOne();
  }

  async terminateOne() {
    const [worker] = this.workers.splice(this.random(this.workers.length), 1);
    if (worker === undefined) return;
    this.terminated += 1;
    await worker.terminate();
  }

  killOne() {
    const [child] = this.processes.splice(this.random(this.processes.length), 1);
    if (child?.kill("SIGKILL")) this.killed += 1;
  }

  startWorker(data) {
    const worker = new Worker(new URL(import.meta.url), { workerData: data });
    worker.on("error", (error) => {
      if (!/^Cannot (read|write) byte/.test(error.message))
        this.failures.push(`worker: ${error.stack}`);
    });
    this.workers.push(worker);
  }

  startProcess(data) {
    const args = runtime === "deno" ? ["run", "-A", "--no-check", "--no-lock"] : [];
    const env = { ...process.env, SOAK_ROLE: "process", SOAK_DATA: JSON.stringify(data) };
    const stdio = ["ignore", "inherit", "inherit"];
    const child = spawn(process.execPath, [...args, self], { env, stdio });
    child.ended = new Promise((resolve) => {
      child.on("exit", (code, signal) => {
        if (signal !== "SIGKILL") this.failures.push(`a process ended by ${signal ?? code}`);
        resolve();
      });
    });
    this.processes.push(child);
  }

  async endAll() {
    await Promise.all(this.workers.splice(0).map((worker) => worker.terminate()));
    const ended = this.processes.splice(0);
    for (const child of ended) child.kill("SIGKILL");
    await Promise.all(ended.map((child) => child.ended));
  }
}

// ==== Counting =================================================================================

/** Collects garbage, where the runtime lets a program do that. */
function collect() {
  if (globalThis.Bun) globalThis.Bun.gc(true);
  else collectGarbage?.();
}

/** Lets everything go and waits until the counts are back, or for ten seconds. */
async function settle(base) {
  let now;
  for (let i = 0; i < 100; i++) {
    collect();
    await new Promise((resolve) => setTimeout(resolve, 100));
    native().releaseRetired();
    now = counts(notes);
    if (base !== undefined && exceeding(base, now).length === 0) return now;
    if (base === undefined && i >= 10) return now;
  }
  return now;
}

function exceeding(base, now) {
  return Object.keys(TOLERANCES).filter((name) => now[name] > base[name] + TOLERANCES[name]);
}

async function playFor(milliseconds, folder, seed) {
  const player = new Player({ folder, seed, name: "main" });
  const others = new Others(folder, seed + 1);
  const end = performance.now() + milliseconds;
  while (performance.now() < end) {
    for (let i = 0; i < 100; i++) player.step();
    await others.step(player);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await others.endAll();
  await player.letGo();
  const { terminated, killed, failures } = others;
  return { steps: player.steps, faults: player.faults, terminated, killed, failures };
}

async function main() {
  const seconds = Number(process.argv.slice(2).find((word) => /^\d+$/.test(word)) ?? 60);
  const given = process.argv.find((word) => word.startsWith("--seed="));
  const seed = given ? Number(given.slice(7)) : Math.floor(Math.random() * 2 ** 31);
  const folder = mkdtempSync(join(tmpdir(), "memmap-soak-"));
  let uncaught = 0;
  process.on("uncaughtException", (error) => {
    uncaught += 1;
    ignoreFaults(error);
  });
  console.log(`soak: ${seconds} s, --seed=${seed}`);
  await playFor((seconds * 1000) / 4, folder, seed);
  const before = await settle();
  const played = await playFor((seconds * 3000) / 4, folder, seed + 2);
  const { steps, faults, terminated, killed, failures } = played;
  const after = await settle(before);
  rmSync(folder, { recursive: true, force: true });
  console.log(`soak: ${steps} steps, ${faults} faults collected, ${uncaught} told as uncaught`);
  console.log(`soak: ${terminated} workers terminated, ${killed} processes killed at random`);
  console.log(`soak: before ${JSON.stringify(before)}`);
  console.log(`soak: after  ${JSON.stringify(after)}`);
  const above = exceeding(before, after);
  for (const name of above) console.error(`soak: ${name} did not come back`);
  for (const failure of failures) console.error(`soak: ${failure}`);
  process.exit(above.length + failures.length > 0 ? 1 : 0);
}

const notes = role === "main" ? new Notes() : undefined;
if (role === "main") await main();
else await playOn(role === "worker" ? workerData : JSON.parse(process.env.SOAK_DATA));
