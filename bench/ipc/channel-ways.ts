// How two programs talk through channels: synchronously, asynchronously, and without a copy.

import { Channel } from "memmap/ipc";
import type { Clock, Start, Task, Way } from "./party.js";

/** Round trips and messages before the clock starts. */
const warmUp = 2000;
const capacity = 8 * 2 ** 20;

/* One-way messages before the clock starts: every page of the ring has been touched then. */
function leadOf(task: Task): number {
  return Math.min(20_000, Math.ceil((2 * capacity) / task.size));
}

interface Pair {
  readonly there: Channel;
  readonly back: Channel;
}

function pair(start: Start): Pair {
  const options = { capacity };
  const made = { there: Channel.create(options), back: Channel.create(options) };
  start.process({ there: made.there.handle, back: made.back.handle });
  return made;
}

function attached(extra: unknown): Pair {
  const { there, back } = Object(extra);
  return { there: Channel.attach(there), back: Channel.attach(back) };
}

/* The other one of one-way tasks says it is there, and at the end how many bytes came. */
function total(bytes: number): Uint8Array {
  return new Uint8Array(Float64Array.of(bytes).buffer);
}

function totalOf(message: Uint8Array | undefined): number {
  return message === undefined ? 0 : (new Float64Array(message.slice().buffer)[0] ?? 0);
}

async function endOf({ there, back }: Pair): Promise<void> {
  there.close();
  await back.receive();
  back.close();
}

function tripsSync(task: Task, { there, back }: Pair, clock: Clock): number {
  const message = new Uint8Array(task.size);
  let bytes = 0;
  for (let i = -warmUp; i < task.count; i += 1) {
    if (i === 0) clock.start();
    there.sendSync(message);
    const answer = back.receiveSync();
    if (i >= 0) bytes += answer?.length ?? 0;
  }
  clock.stop();
  return bytes;
}

const sync: Way = {
  async near(task, start, clock) {
    const channels = pair(start);
    const { there, back } = channels;
    if (task.name === "trip") {
      const bytes = tripsSync(task, channels, clock);
      await endOf(channels);
      return bytes;
    }
    back.receiveSync();
    const message = new Uint8Array(task.size);
    for (let i = -leadOf(task); i < task.count; i += 1) {
      if (i === 0) clock.start();
      there.sendSync(message);
    }
    const bytes = totalOf(back.receiveSync());
    clock.stop();
    await endOf(channels);
    return bytes;
  },
  async far(task, extra) {
    const { there, back } = attached(extra);
    if (task.name === "trip") {
      for (;;) {
        const message = there.receiveSync();
        if (message === undefined) return;
        back.sendSync(message);
      }
    }
    back.sendSync(total(0));
    let bytes = 0;
    for (let i = -leadOf(task); i < task.count; i += 1) {
      const length = there.receiveSync()?.length ?? 0;
      if (i >= 0) bytes += length;
    }
    back.sendSync(total(bytes));
    there.receiveSync();
  },
};

async function trips(task: Task, { there, back }: Pair, clock: Clock): Promise<number> {
  const message = new Uint8Array(task.size);
  let bytes = 0;
  for (let i = -warmUp; i < task.count; i += 1) {
    if (i === 0) clock.start();
    await there.send(message);
    const answer = await back.receive();
    if (i >= 0) bytes += answer?.length ?? 0;
  }
  return bytes;
}

async function oneWay(task: Task, { there, back }: Pair, clock: Clock): Promise<number> {
  const message = new Uint8Array(task.size);
  await back.receive();
  for (let i = -leadOf(task); i < task.count; i += 1) {
    if (i === 0) clock.start();
    await there.send(message);
  }
  return totalOf(await back.receive());
}

const async: Way = {
  async near(task, start, clock) {
    const channels = pair(start);
    const run = task.name === "trip" ? trips : oneWay;
    const bytes = await run(task, channels, clock);
    clock.stop();
    await endOf(channels);
    return bytes;
  },
  async far(task, extra) {
    const { there, back } = attached(extra);
    let bytes = 0;
    if (task.name === "one-way") await back.send(total(0));
    let lead = task.name === "trip" ? 0 : leadOf(task);
    for await (const message of there) {
      lead -= 1;
      if (lead < 0) bytes += message.length;
      if (task.name === "trip") await back.send(message);
      else if (bytes === task.size * task.count) await back.send(total(bytes));
    }
  },
};

/* One copy in all: the sender's into the ring; the receiver reads where it lies. */
const inPlace: Way = {
  async near(task, start, clock) {
    const channels = pair(start);
    const { there, back } = channels;
    back.receiveSync();
    const message = new Uint8Array(task.size).fill(1);
    for (let i = -leadOf(task); i < task.count; i += 1) {
      if (i === 0) clock.start();
      const room = there.tryReserve(task.size) ?? (await there.reserve(task.size));
      room.bytes.set(message);
      room.commit();
    }
    const bytes = totalOf(back.receiveSync());
    clock.stop();
    await endOf(channels);
    return bytes;
  },
  async far(task, extra) {
    const { there, back } = attached(extra);
    back.sendSync(total(0));
    let bytes = 0;
    for (let i = -leadOf(task); i < task.count; ) {
      const message = there.borrow();
      if (message === undefined) continue;
      const isWhole = message.bytes[0] === 1 && message.bytes.at(-1) === 1;
      if (i >= 0 && isWhole) bytes += message.bytes.length;
      message.release();
      i += 1;
    }
    back.sendSync(total(bytes));
    there.receiveSync();
  },
};

/** By the names that party.ts is started with. */
export const channelWays: Readonly<Record<string, Way>> = {
  channel: sync,
  "channel-async": async,
  "channel-in-place": inPlace,
};
