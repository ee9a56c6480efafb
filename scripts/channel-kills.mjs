// Kills the parties of channels with SIGKILL, at random moments, thousands of times, and checks
// what the others have: no message torn, none doubled, none lost but what a killed receiver had
// taken, each sender's in their order; locks of the dead are recovered, the death of the last is
// told, and a channel is of use again when somebody comes.
//
//   node scripts/channel-kills.mjs [seconds] [--seed=number] [--kills=number]
//                                  [--only=queue|broadcast]
//
// A process that waits for its task is started ahead, so that a kill costs less than a start. Bare:
// needs only the built package, and runs on every runtime. Prints the seed and the counts; exit
// code 1 when something was wrong.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Channel, SharedMemory } from "memmap/ipc";
import { at, headBytes } from "#dist/ipc/channel-layout.js";
import {
  DESKS,
  Desk,
  fill,
  LEDGER_BYTES,
  logOf,
  MESSAGES_MAX,
  makeRandom,
  readMessage,
  stage,
} from "./channel-kills-party.mjs";

const party = fileURLToPath(new URL("./channel-kills-party.mjs", import.meta.url));
const POOL = 5;
const KILLS_A_ROUND = 30;
/** How long anything may take that should take less than a second, on a machine that others use. */
const PATIENCE_MS = 20_000;

const memory = SharedMemory.create({ byteLength: LEDGER_BYTES });
const { bytes } = memory.map();
const desks = Array.from({ length: DESKS }, (_, i) => new Desk(bytes, i));
const still = new Int32Array(new SharedArrayBuffer(4));

const counts = {
  rounds: 0,
  kills: 0,
  killsOfSenders: 0,
  killsOfReceivers: 0,
  sent: 0,
  received: 0,
  heldSending: 0,
  heldReceiving: 0,
  lostWithReceiver: 0,
  againAfterBorrow: 0,
  unconfirmed: 0,
  dropped: 0,
  slowestNoticeMs: 0,
};
const failures = [];

function fail(text) {
  failures.push(text);
  console.error(`channel-kills: ${text}`);
}

/** Waits until a condition holds; whether it did. */
async function until(condition, what) {
  const end = performance.now() + PATIENCE_MS;
  while (!condition()) {
    if (performance.now() > end) {
      fail(`${what}: not within ${PATIENCE_MS} ms`);
      return false;
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  return true;
}

// ==== Processes ================================================================================

const pool = [];
/** The desk of this process, as a sender. */
const own = desks[DESKS - 1];
const usedDesks = new Set([DESKS - 1]);

function startProcess() {
  const number = desks.findIndex((_, i) => !usedDesks.has(i));
  usedDesks.add(number);
  const desk = desks[number];
  desk.clear();
  const env = {
    ...process.env,
    KILLS_LEDGER: JSON.stringify(memory.handle),
    KILLS_DESK: String(number),
  };
  const deno = globalThis.Deno ? ["run", "-A", "--no-check", "--no-lock"] : [];
  const child = spawn(process.execPath, [...deno, party], {
    env,
    stdio: ["ignore", "inherit", "inherit"],
  });
  const one = { child, desk, isDead: false, part: undefined };
  one.ended = new Promise((resolve) => {
    child.on("exit", (code, signal) => {
      one.isDead = true;
      if (signal !== "SIGKILL")
        fail(`${one.part} ended with ${code ?? signal}: ${failureOf(desk)}`);
      resolve();
    });
  });
  return one;
}

function failureOf(desk) {
  return desk.read(desk.failureBytes, "failure");
}

function fillPool() {
  while (pool.length < POOL) pool.push(startProcess());
}

/** A process that plays a part from now on. */
async function begin(round, part, more = {}) {
  fillPool();
  const one = pool.shift();
  await until(() => one.isDead || one.desk.get("stage") === stage.ready, "the start of a process");
  const { handle, name, isBroadcast, random } = round;
  const task = { part, handle, name, isBroadcast, seed: random(2 ** 31), ...more };
  one.part = part;
  one.desk.write(one.desk.taskBytes, "task", JSON.stringify(task));
  one.desk.set("stage", stage.go);
  round.all.push(one);
  return one;
}

/** Kills a process, and looks which locks it leaves. */
async function kill(round, one) {
  one.child.kill("SIGKILL");
  await one.ended;
  counts.kills += 1;
  if (one.part === "produce") counts.killsOfSenders += 1;
  else counts.killsOfReceivers += 1;
  const { words } = round;
  const holder = (index) => Atomics.load(words, index) & 0x3fffffff;
  if (holder(at.producers) === one.child.pid) counts.heldSending += 1;
  if (holder(at.queueLane) === one.child.pid) counts.heldReceiving += 1;
}

// ==== Rounds ===================================================================================

/** Parties come and are killed, some of them before they have really begun. */
async function churn(round, kills) {
  const { random, alive } = round;
  const wanted = { produce: 1 + random(3), consume: 1 + random(3) };
  for (let count = 0; count < kills && failures.length === 0; count += 1) {
    for (const [part, number] of Object.entries(wanted)) {
      while (alive.filter((one) => one.part === part).length < number) {
        alive.push(await begin(round, part));
      }
    }
    if (random(3) === 0) await new Promise((resolve) => setTimeout(resolve, random(40)));
    Atomics.wait(still, 0, 0, random(5000) / 1000);
    const place = random(2) === 0 ? alive.length - 1 : random(alive.length);
    const [one] = alive.splice(place, 1);
    await kill(round, one);
  }
}

function newRound(random, options) {
  const capacity = 1024 << (random(4) * 2);
  const channel = Channel.create({ capacity, ...options });
  const { handle } = channel;
  const object = SharedMemory.attach(handle.memory);
  const mapping = object.map();
  object.close();
  const words = new Int32Array(mapping.buffer, 0, headBytes / 4);
  const isBroadcast = options.mode === "broadcast";
  return { random, channel, handle, words, isBroadcast, mapping, alive: [], all: [], ...options };
}

async function killAll(round) {
  const rest = round.alive.splice(0);
  for (const one of rest) await kill(round, one);
}

function endRound(round) {
  round.mapping.close();
  for (const one of round.all) usedDesks.delete(one.desk.number);
  counts.rounds += 1;
}

/** How long it took until a death was told. */
function notice(begin) {
  const ms = Math.round(performance.now() - begin);
  counts.slowestNoticeMs = Math.max(counts.slowestNoticeMs, ms);
}

function isAtWork({ desk, isDead }) {
  return isDead || desk.get("stage") === stage.works;
}

/** What is left in a queue whose every other party is dead, until that is told. */
async function drain(round) {
  const last = new Map();
  const begin = performance.now();
  const options = { timeoutMs: PATIENCE_MS };
  try {
    for (;;) {
      const isSync = round.random(2) === 0;
      const { channel } = round;
      const message = isSync ? channel.receiveSync(options) : await channel.receive(options);
      if (message === undefined) return fail("a queue of dead senders says that they have closed");
      takeLeft(message, last);
    }
  } catch (error) {
    if (error.code !== "ERR_MEMMAP_PEER_DIED") return fail(`${error.stack}`);
    notice(begin);
    if (round.channel.state !== "peer-died") fail(`the state is ${round.channel.state}`);
    return undefined;
  }
}

function takeLeft(message, last) {
  const { desk, sequence } = readMessage(message);
  if (sequence <= (last.get(desk) ?? -1)) fail(`out of order at the end: ${sequence}`);
  last.set(desk, sequence);
  if (desks[desk].mark("taken", sequence)) fail(`doubled at the end: ${sequence} of ${desk}`);
  counts.received += 1;
}

/** How many messages of a sender, which is dead, nobody has. */
function missing(desk) {
  const sent = desk.get("sent");
  const has = (i) => desk.has("taken", i) || desk.has("borrowed", i);
  let lost = 0;
  for (let i = 0; i < sent; i += 1) if (!has(i)) lost += 1;
  if (sent < MESSAGES_MAX && has(sent)) counts.unconfirmed += 1;
  for (let i = sent + 1; i < MESSAGES_MAX; i += 1) if (has(i)) fail("received before it was sent");
  counts.sent += sent;
  return lost;
}

/** Every message was received, but for one of each receiver that was killed. */
function settle(round) {
  const receivers = round.all.filter((one) => one.part === "consume").length;
  let [lost, again] = [0, 0];
  for (const { part, desk } of round.all) {
    counts.received += desk.get("received");
    again += desk.get("again");
    if (part === "produce") lost += missing(desk);
  }
  counts.lostWithReceiver += lost;
  counts.againAfterBorrow += again;
  if (lost > receivers) fail(`${lost} messages lost with ${receivers} killed receivers`);
  if (again > receivers) fail(`${again} received again after ${receivers} kills`);
}

/** A sender whose last receiver is killed is told so; a new receiver makes the channel whole. */
async function outlive(round) {
  const { channel } = round;
  own.clear();
  const receiver = await begin(round, "consume");
  if (!(await until(() => isAtWork(receiver), "a receiver at the end"))) return;
  await kill(round, receiver);
  const killed = performance.now();
  let sequence = 0;
  const make = () => fill(new Uint8Array(64), own.number, sequence++);
  try {
    for (;;) {
      if (round.random(2) === 0) await channel.send(make(), { timeoutMs: PATIENCE_MS });
      else channel.sendSync(make(), { timeoutMs: PATIENCE_MS });
    }
  } catch (error) {
    if (error.code !== "ERR_MEMMAP_PEER_DIED") fail(`a sender without receivers: ${error.stack}`);
  }
  notice(killed);
  const next = await begin(round, "consume");
  if (!(await until(() => isAtWork(next), "another receiver"))) return;
  channel.sendSync(make(), { timeoutMs: PATIENCE_MS });
  await until(() => next.desk.get("received") > 0, "a message to the new receiver");
  await kill(round, next);
}

async function queueRound(random, kills) {
  const round = newRound(random, {});
  round.channel.tryReceive(); // Receives, so that no sender of the round is without a receiver.
  await churn(round, kills);
  await killAll(round);
  if (failures.length === 0) await drain(round);
  if (failures.length === 0) settle(round);
  if (failures.length === 0) await outlive(round);
  round.channel.close();
  endRound(round);
}

// ==== Broadcasts ===============================================================================

/** Two receivers who are never killed get everything, in one order. */
async function broadcastRound(random, kills) {
  const name = `memmap-kills-${process.pid}-${counts.rounds}`;
  const overflow = random(2) === 0 ? "block" : "drop-oldest";
  const round = newRound(random, { name, mode: "broadcast", overflow });
  const witnesses = [await begin(round, "witness", { log: 0 })];
  witnesses.push(await begin(round, "witness", { log: 1 }));
  await until(() => witnesses.every(isAtWork), "the witnesses");
  round.channel.tryReceive(); // An end that receives, so that no sender is missed when it goes.
  round.channel.close();
  await churn(round, kills);
  await killAll(round);
  for (const { desk } of witnesses) desk.set("isLast", 1);
  const killed = performance.now();
  const isDone = ({ desk, isDead }) => isDead || desk.get("stage") === stage.done;
  await until(() => witnesses.every(isDone), "the end of the witnesses");
  if (failures.length === 0) {
    notice(killed);
    for (const [i, { desk }] of witnesses.entries()) compare(round, desk, i);
    requireOneOrder(witnesses.map(({ desk }, i) => logOf(bytes, i).subarray(0, desk.get("log"))));
  }
  for (const one of witnesses) await kill(round, one);
  requireCollected(name);
  endRound(round);
}

/** What one witness has, against what was sent. */
function compare(round, witness, number) {
  const isFirst = number === 0;
  const log = logOf(bytes, number).subarray(0, witness.get("log"));
  const perDesk = new Int32Array(DESKS);
  const last = new Int32Array(DESKS).fill(-1);
  for (const entry of log) {
    perDesk[Math.floor(entry / MESSAGES_MAX)] += 1;
    last[Math.floor(entry / MESSAGES_MAX)] = entry % MESSAGES_MAX;
  }
  const senders = round.all.filter((one) => one.part === "produce");
  let sent = 0;
  for (const { desk } of senders) {
    sent += desk.get("sent");
    const extra = last[desk.number] === desk.get("sent") ? 1 : 0;
    if (isFirst) counts.unconfirmed += extra;
    if (last[desk.number] > desk.get("sent")) fail("received before it was sent");
    if (round.overflow === "block" && perDesk[desk.number] !== desk.get("sent") + extra) {
      fail(`a witness has ${perDesk[desk.number]} of ${desk.get("sent")} messages of one sender`);
    }
  }
  const dropped = witness.get("dropped");
  const all = log.length + dropped;
  if (all < sent || all > sent + senders.length) {
    fail(`${round.overflow}: ${log.length} received and ${dropped} dropped of ${sent} sent`);
  }
  counts.received += log.length;
  counts.dropped += dropped;
  if (isFirst) counts.sent += sent;
}

/** What both have, they have in the same order. */
function requireOneOrder([one, two]) {
  const places = new Map();
  for (const [i, entry] of one.entries()) places.set(entry, i);
  let last = -1;
  for (const entry of two) {
    const place = places.get(entry) ?? last + 0.5;
    if (place <= last) return fail("two receivers of a broadcast have another order");
    if (Number.isInteger(place)) last = place;
  }
  return undefined;
}

/** The name of a channel whose holders were killed is gone at the next look at the latest. */
function requireCollected(name) {
  try {
    Channel.open(name);
    fail("a channel of dead processes can be opened");
  } catch (error) {
    if (error.code !== "ENOENT") fail(`${error.stack}`);
  }
  if (existsSync(`/dev/shm/${name}`)) fail("a channel of dead processes is left");
}

async function main() {
  const args = process.argv.slice(2);
  const optionOf = (name) => {
    const start = `--${name}=`;
    return args.find((arg) => arg.startsWith(start))?.slice(start.length);
  };
  const seconds = Number(args.find((arg) => /^\d+$/.test(arg)) ?? 30);
  const killsMax = Number(optionOf("kills") ?? Number.POSITIVE_INFINITY);
  const seed = Number(optionOf("seed") ?? Math.floor(Math.random() * 2 ** 31));
  const only = optionOf("only");
  const random = makeRandom(seed);
  console.log(`channel-kills: ${seconds} s, --seed=${seed}`);
  const end = performance.now() + seconds * 1000;
  while (performance.now() < end && counts.kills < killsMax && failures.length === 0) {
    const kind = only ?? (random(2) === 0 ? "queue" : "broadcast");
    const play = kind === "queue" ? queueRound : broadcastRound;
    await play(random, Math.min(KILLS_A_ROUND, killsMax - counts.kills));
  }
  console.log(`channel-kills: ${JSON.stringify(counts)}`);
  for (const one of pool) one.child.kill("SIGKILL");
  process.exit(failures.length > 0 ? 1 : 0);
}

await main();
