// One party of scripts/channel-kills.mjs, in a process of its own that is killed at some moment.
// Owns the ledger, in which everything is noted that must outlive a kill:
//
//     desks     1 KiB for each process: words, what it has to do, how it failed
//     marks     for each process two maps of bits: which of its messages were received, borrowed
//     logs      for each witness of a broadcast the messages in their order
//
// A message says who sent it and as which one, and all its words follow from that and its length.

import { fileURLToPath } from "node:url";
import { Channel, notify, SharedMemory, waitSync } from "memmap/ipc";

export const DESKS = 256;
export const MESSAGES_MAX = 1 << 16;
export const LOGS = 2;
export const LOG_MAX = 1 << 20;

const DESK_BYTES = 1024;
const MARK_WORDS = MESSAGES_MAX / 32;
const marksAt = DESKS * DESK_BYTES;
const logsAt = marksAt + DESKS * 2 * MARK_WORDS * 4;

export const LEDGER_BYTES = logsAt + LOGS * LOG_MAX * 4;

/** The words of a desk. */
export const word = {
  stage: 0,
  task: 1,
  sent: 2,
  failure: 3,
  received: 4,
  again: 5,
  log: 6,
  dropped: 7,
  isLast: 8,
};

/** What `stage` says of a process: it has begun, shall work, works, has done what it should. */
export const stage = { none: 0, ready: 1, go: 2, works: 3, done: 4 };

const MAGIC = 0x6b696c6c;
const HEAD_BYTES = 16;

/** Random numbers that a seed repeats: mulberry32. */
export function makeRandom(seed) {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

/** One desk of the ledger. */
export class Desk {
  constructor(bytes, number) {
    const { buffer } = bytes;
    const start = bytes.byteOffset + number * DESK_BYTES;
    this.number = number;
    this.words = new Int32Array(buffer, start, 16);
    this.taskBytes = new Uint8Array(buffer, start + 64, 448);
    this.failureBytes = new Uint8Array(buffer, start + 512, 512);
    const marks = bytes.byteOffset + marksAt + number * 2 * MARK_WORDS * 4;
    this.taken = new Int32Array(buffer, marks, MARK_WORDS);
    this.borrowed = new Int32Array(buffer, marks + MARK_WORDS * 4, MARK_WORDS);
  }

  get(name) {
    return Atomics.load(this.words, word[name]);
  }

  set(name, value) {
    Atomics.store(this.words, word[name], value);
    if (name === "stage") notify(this.words, word.stage);
  }

  write(bytes, name, text) {
    this.set(name, new TextEncoder().encodeInto(text, bytes).written);
  }

  read(bytes, name) {
    return new TextDecoder().decode(bytes.slice(0, this.get(name)));
  }

  /** Nothing is noted at this desk any more. */
  clear() {
    this.words.fill(0);
    this.taken.fill(0);
    this.borrowed.fill(0);
  }

  /** Whether a message of this desk was received before; it is from now on. */
  mark(map, sequence) {
    const bit = 1 << (sequence & 31);
    return (Atomics.or(this[map], sequence >>> 5, bit) & bit) !== 0;
  }

  has(map, sequence) {
    return (Atomics.load(this[map], sequence >>> 5) & (1 << (sequence & 31))) !== 0;
  }
}

/** The order in which a witness received. */
export function logOf(bytes, number) {
  return new Int32Array(bytes.buffer, bytes.byteOffset + logsAt + number * LOG_MAX * 4, LOG_MAX);
}

/** Writes a message of at least 16 bytes. */
export function fill(message, desk, sequence) {
  const words = new Int32Array(message.buffer, message.byteOffset, message.length >>> 2);
  words.set([MAGIC, desk, sequence, message.length]);
  let state = Math.imul(desk + 1, 0x9e3779b1) ^ Math.imul(sequence + 1, 0x85ebca6b);
  for (let i = HEAD_BYTES / 4; i < words.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    words[i] = state;
  }
  return message;
}

/** Who sent a message and as which one; throws for one that is torn. */
export function readMessage(message) {
  const words = new Int32Array(message.buffer, message.byteOffset, message.length >>> 2);
  const [magic, desk, sequence, length] = words;
  if (magic !== MAGIC || length !== message.length || !(desk >= 0 && desk < DESKS)) {
    throw new Error(`torn: a message of ${message.length} bytes begins with ${words.slice(0, 4)}`);
  }
  let state = Math.imul(desk + 1, 0x9e3779b1) ^ Math.imul(sequence + 1, 0x85ebca6b);
  for (let i = HEAD_BYTES / 4; i < words.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    if (words[i] === state) continue;
    throw new Error(`torn: word ${i} of message ${sequence} of ${desk} in ${length} bytes`);
  }
  return { desk, sequence };
}

/** Multiples of 4 bytes: mostly little, sometimes what just goes in one piece, or in many. */
function lengthFor(random, capacity) {
  const kind = random(20);
  const most = kind === 0 ? capacity * 3 : kind < 3 ? capacity / 2 - 8 : 200;
  return Math.max(HEAD_BYTES, random(most + 1) & ~3);
}

async function sendOne(channel, random, make) {
  const length = lengthFor(random, channel.capacity);
  const way = random(5);
  if (way === 0) await channel.send(make(new Uint8Array(length)));
  else if (way < 3 || length > channel.capacity / 2 - 8)
    channel.sendSync(make(new Uint8Array(length)));
  else if (way === 3) {
    const room = await channel.reserve(length);
    make(room.bytes);
    room.commit();
  } else {
    const message = make(new Uint8Array(length));
    while (!channel.trySend(message)) await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

async function produce({ channel, random, desk }) {
  for (let sequence = 0; sequence < MESSAGES_MAX; sequence++) {
    await sendOne(channel, random, (message) => fill(message, desk.number, sequence));
    desk.set("sent", sequence + 1);
  }
  waitSync(desk.words, word.stage, stage.works);
}

/** Notes a message; those of one sender come in their order. */
function note(party, message, isBorrowed) {
  const { desk, sequence } = readMessage(message);
  const { last, desks } = party;
  if (sequence <= (last.get(desk) ?? -1)) {
    throw new Error(`out of order: ${sequence} of ${desk} after ${last.get(desk)}`);
  }
  last.set(desk, sequence);
  const sender = desks[desk];
  if (party.log !== undefined) {
    const count = party.desk.get("log");
    party.log[count] = desk * MESSAGES_MAX + sequence;
    party.desk.set("log", count + 1);
  } else if (party.isBroadcast) return;
  else if (isBorrowed) {
    const isDouble = sender.has("taken", sequence);
    if (isDouble) throw new Error(`doubled: ${sequence} of ${desk}, received and then borrowed`);
    if (sender.mark("borrowed", sequence)) Atomics.add(party.desk.words, word.again, 1);
  } else if (sender.mark("taken", sequence)) {
    throw new Error(`doubled: ${sequence} of ${desk} was received before`);
  }
  Atomics.add(party.desk.words, word.received, 1);
}

async function receiveOne(party) {
  const { channel, random } = party;
  const way = random(4);
  if (way === 3) {
    const loan = channel.borrow();
    if (loan !== undefined) note(party, loan.bytes, true);
    loan?.release();
    return;
  }
  try {
    const options = { timeoutMs: random(30) };
    const message =
      way === 0
        ? await channel.receive(options)
        : way === 1
          ? channel.receiveSync(options)
          : channel.tryReceive();
    if (message !== undefined) note(party, message, false);
    else if (way < 2) throw new Error("receive says that all have closed, and nobody has");
  } catch (error) {
    /* All senders may be dead just now; others come. */
    if (error.code === "ERR_MEMMAP_PEER_DIED")
      await new Promise((resolve) => setTimeout(resolve, 1));
    else if (error.code !== "ERR_MEMMAP_TIMEOUT") throw error;
  }
}

async function consume(party) {
  for (;;) await receiveOne(party);
}

/** Receives until the last sender has died for good. */
async function witness(party) {
  const { channel, random, desk } = party;
  for (;;) {
    const isLast = desk.get("isLast") === 1;
    try {
      const message = random(2) === 0 ? channel.receiveSync() : await channel.receive();
      note(party, message, false);
    } catch (error) {
      if (error.code !== "ERR_MEMMAP_PEER_DIED") throw error;
      if (isLast) break;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }
  desk.set("dropped", channel.droppedCount);
  desk.set("stage", stage.done);
}

const parts = { produce, consume, witness };

async function play(bytes, number) {
  const desks = Array.from({ length: DESKS }, (_, i) => new Desk(bytes, i));
  const desk = desks[number];
  desk.set("stage", stage.ready);
  waitSync(desk.words, word.stage, stage.ready);
  const task = JSON.parse(desk.read(desk.taskBytes, "task"));
  const options = { receives: task.part !== "produce" };
  const channel = task.name
    ? Channel.open(task.name, options)
    : Channel.attach(task.handle, options);
  desk.set("stage", stage.works);
  const log = task.log === undefined ? undefined : logOf(bytes, task.log);
  const random = makeRandom(task.seed);
  const { isBroadcast } = task;
  await parts[task.part]({ channel, desk, desks, random, log, isBroadcast, last: new Map() });
  waitSync(desk.words, word.stage, stage.done);
}

async function main() {
  const { KILLS_LEDGER: ledger, KILLS_DESK: number } = process.env;
  const memory = SharedMemory.attach(JSON.parse(ledger));
  const { bytes } = memory.map();
  const desk = new Desk(bytes, Number(number));
  try {
    await play(bytes, desk.number);
  } catch (error) {
    desk.write(desk.failureBytes, "failure", `${error.code ?? ""} ${error.stack ?? error}`);
    process.exit(1);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
