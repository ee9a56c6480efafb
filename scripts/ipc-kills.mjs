// The kill test of the locks: processes (or workers) take and give back every lock of memmap/ipc in
// a loop, and are killed at random moments, thousands of times. Two that are never killed go on
// beside them, one synchronously and one asynchronously. What the locks protect tells whether each
// did its work:
//
//   pair       two counters that differ only while somebody is between them; whoever gets the lock
//              from the dead takes back the half of a change, and counts what it finds
//   done       how often each party has changed the pair, counted under the lock
//   own        the same, counted by those that survive in their own memory
//   permits    those of a semaphore, of which each kill may cost one, and none may be too many
//
//   node scripts/ipc-kills.mjs [seconds] [--kills=number] [--seed=number] [--workers]
//
// Ends after the seconds or the kills, whichever comes first. Bare: needs only the built package,
// and runs on every runtime. Prints the seed and the counts; exit code 1 when something is wrong.

import { spawn } from "node:child_process";
import { setTimeout as sleep, setImmediate as turn } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { isMainThread, Worker, workerData } from "node:worker_threads";
import { Mutex, notify, RwLock, Semaphore, SharedMemory, wait } from "memmap/ipc";

/** How many are started and killed side by side. */
const VICTIMS = 3;
/** How long a victim runs before it is killed, at most. */
const LIFE_MS_MAX = 3;
/** Longer than any wait may take: a lock was lost. */
const LOST_MS = 10_000;
/** The permits of the semaphore. */
const PERMITS = 2;
/** After how many kills the lost permits are given again: nobody else can know of them. */
const KILLS_A_ROUND = 25;

/* Words of the shared memory behind the locks; parties are victims, then two that survive. */
const PARTIES = VICTIMS + 2;
const at = {
  mutex: 0,
  semaphore: 64,
  rwLock: 1024,
  pair: 1024,
  rwPair: 1040,
  done: 1056,
  own: 1072,
  ready: 1088,
  stop: 1104,
  died: 1105,
  repaired: 1106,
  unrecorded: 1107,
  rwDied: 1108,
  rwRepaired: 1109,
  told: 1110,
  rest: 1111,
  resting: 1120,
};

/** Random numbers that a seed repeats: mulberry32. */
function makeRandom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function must(condition, what) {
  if (!condition) throw new Error(what);
}

/** The locks, and what they protect. */
function open(memory) {
  const mapping = memory.map();
  return {
    words: new Int32Array(mapping.buffer),
    mutex: new Mutex(mapping.bytes.subarray(at.mutex)),
    semaphore: new Semaphore(mapping.bytes.subarray(at.semaphore)),
    rwLock: new RwLock(mapping.bytes.subarray(at.rwLock)),
  };
}

/** Passes some time in the middle of a change. */
function linger(words) {
  for (let i = 0; i < 300; i += 1) Atomics.load(words, at.stop);
}

function sumOf(words, first) {
  return words.slice(first, first + PARTIES).reduce((sum, count) => sum + count, 0);
}

/** Under the mutex: changes the pair, after looking at what the last owner left. */
function change({ words }, guard, party) {
  const [first, second] = [at.pair, at.pair + 1];
  if (guard.ownerDied) {
    words[at.died] += 1;
    must(words[first] - words[second] <= 1, `half changes: ${words[first]}, ${words[second]}`);
    if (words[first] !== words[second]) words[at.repaired] += 1;
    words[first] = words[second];
    const missing = words[second] - sumOf(words, at.done) - words[at.unrecorded];
    must(missing === 0 || missing === 1, `${missing} changes that nobody has recorded`);
    words[at.unrecorded] += missing;
    guard.recover();
  }
  must(words[first] === words[second], `the pair is ${words[first]}, ${words[second]}`);
  words[first] += 1;
  linger(words);
  words[second] += 1;
  words[at.done + party] += 1;
}

function rewrite({ words }, guard) {
  const [first, second] = [at.rwPair, at.rwPair + 1];
  if (guard.ownerDied) {
    words[at.rwDied] += 1;
    if (words[first] !== words[second]) words[at.rwRepaired] += 1;
    words[first] = words[second];
    guard.recover();
  }
  must(words[first] === words[second], `the pair is ${words[first]}, ${words[second]}`);
  words[first] += 1;
  linger(words);
  words[second] += 1;
}

function look({ words }, guard) {
  const [first, second] = [words[at.rwPair], words[at.rwPair + 1]];
  linger(words);
  if (guard.ownerDied) Atomics.add(words, at.told, 1);
  else must(first === second, `a reader saw ${first}, ${second}`);
  must(words[at.rwPair] === first && words[at.rwPair + 1] === second, "changed under a reader");
}

/** Does something under a lock, and gives it back. */
function under(guard, then) {
  try {
    then(guard);
  } finally {
    guard.release();
  }
}

/** Does one thing with one lock, asynchronously where `isAsync`; answers how often it changed the
 * pair. */
async function act(shared, { party, random, isAsync }) {
  const options = { timeoutMs: LOST_MS };
  const { mutex, rwLock, semaphore } = shared;
  const what = random();
  if (what < 0.5) {
    const guard = isAsync ? await mutex.lock(options) : mutex.lockSync(options);
    under(guard, () => change(shared, guard, party));
    return 1;
  }
  if (what < 0.7) {
    const guard = isAsync ? await rwLock.write(options) : rwLock.writeSync(options);
    under(guard, () => rewrite(shared, guard));
  } else if (what < 0.9) {
    const guard = isAsync ? await rwLock.read(options) : rwLock.readSync(options);
    under(guard, () => look(shared, guard));
  } else {
    const permit = await acquire(semaphore, isAsync);
    linger(shared.words);
    permit?.release();
    must(semaphore.value <= PERMITS, "permits out of nowhere");
  }
  return 0;
}

/** A permit; undefined when the dead have them all. */
async function acquire(semaphore, isAsync) {
  const options = { timeoutMs: 2 };
  try {
    return isAsync ? await semaphore.acquire(1, options) : semaphore.acquireSync(1, options);
  } catch (error) {
    if (error.code === "ERR_MEMMAP_TIMEOUT") return undefined;
    throw error;
  }
}

/** A party: acts until it is told to stop, or is killed. */
async function run({ handle, party, seed }) {
  const shared = open(SharedMemory.attach(handle));
  const { words } = shared;
  const isAsync = party === PARTIES - 1;
  const random = makeRandom(seed);
  words[at.ready + party] = 1;
  notify(words, at.ready + party);
  /* Deno ends no worker whose JavaScript does not return. */
  const turns = isAsync || (!isMainThread && globalThis.Deno !== undefined);
  for (let own = 0; words[at.stop] === 0; ) {
    own += await act(shared, { party, random, isAsync });
    words[at.own + party] = own;
    if (turns) await turn();
    for (; words[at.rest] === 1; await sleep(1)) words[at.resting + party] = 1;
    words[at.resting + party] = 0;
  }
}

/* ---- the one that kills ---------------------------------------------------------------------- */

const self = fileURLToPath(import.meta.url);

/** Starts a party; its end is told, and whether it was one that nobody wanted. */
function start(plan, byWorker) {
  if (byWorker) {
    const worker = new Worker(self, { workerData: plan });
    let failure;
    worker.on("error", (error) => (failure = error));
    const ended = new Promise((resolve) => worker.on("exit", () => resolve(failure)));
    return { ended, kill: () => worker.terminate() };
  }
  const denoArgs = ["run", "-A", "--no-check", "--no-lock"];
  const args = [...(globalThis.Deno === undefined ? [] : denoArgs), self];
  const env = { ...process.env, IPC_KILLS_PARTY: JSON.stringify(plan) };
  const child = spawn(process.execPath, args, { env, stdio: ["ignore", "inherit", "inherit"] });
  const ended = new Promise((resolve) => {
    child.on("exit", (code, signal) => {
      resolve(
        code === 0 || signal === "SIGKILL" ? undefined : new Error(`a party: ${code ?? signal}`),
      );
    });
  });
  return { ended, kill: () => child.kill("SIGKILL") };
}

/** Starts victims one after another, and kills each soon after it has begun. */
async function killOneByOne(shared, handle, { party, byWorker, mayGoOn, count, random }) {
  const { words } = shared;
  while (mayGoOn()) {
    words[at.ready + party] = 0;
    const victim = start({ handle, party, seed: random() * 2 ** 32 }, byWorker);
    const begun = wait(words, at.ready + party, 0, { timeoutMs: LOST_MS });
    const early = await Promise.race([begun, victim.ended.then((failure) => failure ?? begun)]);
    if (early instanceof Error) throw early;
    must(words[at.ready + party] === 1, "a party did not begin");
    const end = performance.now() + random() * LIFE_MS_MAX;
    await sleep(Math.max(0, end - performance.now() - 1));
    while (performance.now() < end);
    await victim.kill();
    const failure = await victim.ended;
    if (failure !== undefined) throw failure;
    count();
  }
}

/** Gives again the permits that the dead had, when none of them lives. */
function restorePermits({ semaphore }) {
  const lost = PERMITS - semaphore.value;
  must(lost >= 0, "permits out of nowhere");
  if (lost > 0) semaphore.release(lost);
  return lost;
}

/** Whether those that survive have changed something since the last time. */
function makeWatch({ words }) {
  let [before, since] = ["", performance.now()];
  return () => {
    const now = `${words[at.done + VICTIMS]} ${words[at.done + VICTIMS + 1]}`;
    if (now !== before) [before, since] = [now, performance.now()];
    must(performance.now() - since < 2 * LOST_MS, "those that survive do not go on");
  };
}

/** Kills until a round is over; those that survive are asked to rest while permits are counted. */
async function kill(shared, handle, { byWorker, endOf, killsMax, random }) {
  const counts = { kills: 0, permits: 0 };
  const watch = makeWatch(shared);
  while (performance.now() < endOf && counts.kills < killsMax) {
    const roundEnd = Math.min(killsMax, counts.kills + KILLS_A_ROUND);
    let begun = counts.kills;
    const mayGoOn = () => performance.now() < endOf && ++begun <= roundEnd;
    const count = () => {
      counts.kills += 1;
      watch();
    };
    const options = { byWorker, mayGoOn, count, random };
    const victims = Array.from({ length: VICTIMS }, (_, party) => {
      return killOneByOne(shared, handle, { ...options, party });
    });
    await Promise.all(victims);
    counts.permits += await whileAllRest(shared, () => restorePermits(shared));
  }
  return counts;
}

/** Does something while those that survive rest, so that only the dead hold permits. */
async function whileAllRest({ words }, then) {
  words[at.rest] = 1;
  const end = performance.now() + LOST_MS;
  while (sumOf(words, at.resting) < 2) {
    must(performance.now() < end, "those that survive do not rest");
    await sleep(1);
  }
  const result = then();
  words[at.rest] = 0;
  return result;
}

/** Looks at what is left when nobody lives any more. */
async function inspect(shared) {
  const { words, mutex, rwLock, semaphore } = shared;
  const options = { timeoutMs: LOST_MS };
  const guard = await mutex.lock(options);
  under(guard, () => change(shared, guard, PARTIES - 1));
  words[at.own + PARTIES - 1] += 1;
  const writer = await rwLock.write(options);
  under(writer, () => rewrite(shared, writer));
  (await rwLock.read(options)).release();
  const all = sumOf(words, at.done) + words[at.unrecorded];
  must(words[at.pair] === all, `${words[at.pair]} changes, and ${all} were recorded`);
  for (let party = VICTIMS; party < PARTIES; party += 1) {
    const [done, own] = [words[at.done + party], words[at.own + party]];
    must(done === own, `${own} changes of party ${party}, and ${done} were recorded`);
    must(own > 0, `party ${party} has done nothing`);
  }
  must(semaphore.value <= PERMITS, "permits out of nowhere");
  const slots = words.slice(at.rwLock / 4 + 8, at.rwLock / 4 + 128);
  must(
    slots.every((slot) => slot === 0),
    "a reader is still there",
  );
}

async function main() {
  const { values, positionals } = parseArgs({
    options: {
      seed: { type: "string" },
      kills: { type: "string", default: "Infinity" },
      workers: { type: "boolean", default: false },
    },
    allowPositionals: true,
  });
  const seconds = Number(positionals[0] ?? 60);
  const seed = Number(values.seed ?? Date.now() % 2 ** 32);
  console.log(`ipc-kills: seed ${seed}, ${values.workers ? "workers" : "processes"}`);
  const memory = SharedMemory.create({ byteLength: 8192 });
  const shared = open(memory);
  shared.semaphore.release(PERMITS);
  const survivors = [VICTIMS, VICTIMS + 1].map((party) =>
    start({ handle: memory.handle, party, seed: seed + party }, false),
  );
  const endOf = performance.now() + seconds * 1000;
  const options = { byWorker: values.workers, endOf, killsMax: Number(values.kills) };
  const counts = await kill(shared, memory.handle, { ...options, random: makeRandom(seed) });
  const { words } = shared;
  words[at.stop] = 1;
  for (const { ended } of survivors) must((await ended) === undefined, "one that survives failed");
  await inspect(shared);
  console.log(
    JSON.stringify({
      kills: counts.kills,
      mutex: { changes: words[at.pair], ownerDied: words[at.died], repaired: words[at.repaired] },
      rwLock: {
        changes: words[at.rwPair],
        ownerDied: words[at.rwDied],
        repaired: words[at.rwRepaired],
        readersTold: words[at.told],
      },
      semaphore: { permitsOfTheDead: counts.permits },
    }),
  );
}

try {
  const plan = process.env["IPC_KILLS_PARTY"];
  if (!isMainThread) await run(workerData);
  else if (plan !== undefined) await run(JSON.parse(plan));
  else await main();
} catch (error) {
  console.error(error);
  process.exit(1);
}
