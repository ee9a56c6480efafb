// What the programs share that test channels between processes: they start themselves again, the
// environment names the part, and a gate in shared memory lets all begin together.

import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const runtimes = fileURLToPath(new URL("../../../.runtimes/node_modules/", import.meta.url));

/** Runtimes that another process of a test may run on. */
export const peers = {
  own: process.execPath,
  "node-26": `${runtimes}node-26-x64/bin/node`,
  bun: `${runtimes}@oven/bun-linux-x64/bin/bun`,
  deno: `${runtimes}@deno/linux-x64-glibc/deno`,
} as const;

/** Why a test with that peer cannot run; false where it can. */
export function lacks(name: keyof typeof peers): string | false {
  return existsSync(peers[name]) ? false : `needs ${name} in .runtimes`;
}

/** The beginning of such a program, after the one of all programs. */
export const start = `
  import { spawn } from "node:child_process";
  import { fileURLToPath } from "node:url";
  import { Channel, notify, SharedMemory, waitSync } from "memmap/ipc";
  const self = fileURLToPath(import.meta.url);
  const { PART: part, DATA, GATE } = process.env;
  /** What the one who started this part gave it. */
  const data = DATA && JSON.parse(DATA);
  const gate = !isMainThread ? SharedMemory.attach(workerData.data.gate)
    : GATE ? SharedMemory.attach(JSON.parse(GATE)) : SharedMemory.create({ byteLength: 4096 });
  const words = new Int32Array(gate.map().buffer);

  /** Starts this file as another process with a part to play. */
  function other(part, data = {}, program = process.execPath) {
    const denoArgs = ["run", "-A", "--no-check", "--no-lock"];
    const env = { ...process.env, PART: part, DATA: JSON.stringify(data),
      GATE: JSON.stringify(gate.handle) };
    const child = spawn(program, [...(/deno[^/]*$/.test(program) ? denoArgs : []), self, folder],
      { env, stdio: ["ignore", "inherit", "inherit"] });
    child.ended = new Promise((resolve) =>
      child.on("exit", (code, signal) => resolve(signal ?? code)));
    return child;
  }

  /** Says that this part is ready, and waits until all may begin. */
  function passGate() {
    Atomics.add(words, 0, 1);
    waitSync(words, 1, 0);
  }

  /** Lets all begin when so many are ready. */
  async function openGate(count) {
    await until(() => Atomics.load(words, 0) === count);
    Atomics.store(words, 1, 1);
    notify(words, 1);
  }

  /** Random numbers below a bound, the same in each run. */
  function randomOf(seed) {
    let state = seed * 2654435761;
    return (below) => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
  }

  /** A message that says who sent it and as which one; one without bytes says nothing. */
  function messageFrom(producer, sequence, length) {
    const bytes = new Uint8Array(length);
    return length === 0 ? bytes : fillMessage(bytes, producer, sequence);
  }

  function fillMessage(bytes, producer, sequence) {
    const head = Uint32Array.of(producer, sequence, bytes.length);
    bytes.set(new Uint8Array(head.buffer));
    for (let i = 12; i < bytes.length; i++) bytes[i] = i * 7 + producer * 31 + sequence;
    return bytes;
  }

  /** Producer and sequence of a message, as one number; -1 for one without bytes. */
  function readMessage(bytes) {
    if (bytes.length === 0) return -1;
    const [producer, sequence, length] = new Uint32Array(bytes.slice(0, 12).buffer);
    assert.equal(length, bytes.length);
    for (let i = 12; i < length; i++) {
      if (bytes[i] !== ((i * 7 + producer * 31 + sequence) & 255)) assert.fail("torn at " + i);
    }
    return producer * 1e6 + sequence;
  }

  /** Sends a message of some length in one of all ways. */
  async function sendSomehow(channel, random, { producer, sequence, length }) {
    const isLong = length > channel.capacity / 2 - 8;
    const way = random(5);
    if (way === 0 && !isLong && length > 0) {
      const room = await channel.reserve(length);
      fillMessage(room.bytes, producer, sequence);
      return room.commit();
    }
    const message = messageFrom(producer, sequence, length);
    if (way === 1 && !isLong) {
      while (!channel.trySend(message)) await sleep(1);
    } else if (way < 4) channel.sendSync(message);
    else await channel.send(message);
  }

  /** The next message, received in one of all ways; undefined when no more will come. */
  async function receiveSomehow(channel, random, take) {
    const way = random(4);
    if (way === 0) {
      const loan = channel.borrow();
      if (loan !== undefined) take(readMessage(loan.bytes));
      loan?.release();
      return true;
    }
    const message = way === 1 ? channel.receiveSync() : await channel.receive();
    if (message !== undefined) take(readMessage(message));
    return message !== undefined;
  }

  /** Lengths from nothing to several times the ring, mostly short. */
  function lengthOf(random, capacity) {
    const kind = random(20);
    if (kind === 0) return 0;
    return 12 + random(kind === 1 ? capacity * 3 : kind === 2 ? capacity / 2 - 20 : 300);
  }`;
