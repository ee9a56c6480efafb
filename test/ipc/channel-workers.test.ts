// Channels between workers: messages of mixed sizes from several producers to several consumers,
// none lost, none doubled, none torn, the order of each producer kept; ends that come and go while
// others send; a worker that is terminated.

import assert from "node:assert/strict";
import test from "node:test";
import { runSource } from "../helpers/child.js";

/* What main and workers share. A message tells who has sent it, its number and all its bytes. */
const prelude = `
  import assert from "node:assert/strict";
  import { once } from "node:events";
  import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
  import { Channel } from "memmap/ipc";

  const start = (data) => {
    const worker = new Worker(new URL(import.meta.url), { workerData: data });
    const answer = new Promise((resolve, reject) => {
      worker.on("message", resolve);
      worker.on("error", reject);
    });
    return { worker, answer };
  };
  const lengths = [8, 16, 9, 100, 8, 505, 504, 3000, 64, 8, 1023, 2041, 2040, 5000, 12];
  const fill = (bytes, from, number) => {
    for (let i = 8; i < bytes.length; i += 1) bytes[i] = (from * 7 + number * 31 + i) & 255;
    new DataView(bytes.buffer, bytes.byteOffset).setUint32(0, from);
    new DataView(bytes.buffer, bytes.byteOffset).setUint32(4, number);
  };
  const made = (from, number) => {
    const bytes = new Uint8Array(lengths[(from + number) % lengths.length]);
    fill(bytes, from, number);
    return bytes;
  };
  const read = (bytes) => {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const [from, number] = [view.getUint32(0), view.getUint32(4)];
    const wanted = made(from, number);
    assert.equal(bytes.length, wanted.length);
    for (let i = 0; i < wanted.length; i += 1) {
      if (bytes[i] !== wanted[i]) throw new Error("torn: " + from + " " + number + " at " + i);
    }
    return from * 1e6 + number;
  };
  const produce = async (channel, from, count, stop) => {
    for (let number = 0; number < count && Atomics.load(stop, 0) === 0; number += 1) {
      const message = made(from, number);
      if (from % 4 === 0) channel.sendSync(message);
      else if (from % 4 === 1) await channel.send(message);
      else if (from % 4 === 2 && message.length <= 2040) {
        const room = await channel.reserve(message.length);
        fill(room.bytes, from, number);
        room.commit();
      } else if (message.length > 2040 || !channel.trySend(message)) await channel.send(message);
    }
  };
  const consume = async (channel, how) => {
    const found = [];
    if (how === 1) for await (const message of channel) found.push(read(message));
    while (how !== 1) {
      const loan = how === 2 ? channel.borrow() : undefined;
      if (loan !== undefined) {
        found.push(read(loan.bytes));
        loan.release();
        continue;
      }
      const message = how === 0 ? channel.receiveSync() : await channel.receive();
      if (message === undefined) return found;
      found.push(read(message));
    }
    return found;
  };
  if (!isMainThread) {
    const { handle, role, number, count, stop = new Int32Array(1) } = workerData;
    const channel = Channel.attach(handle, { receives: role === "consume" });
    if (role === "produce") {
      await produce(channel, number, count, stop);
      channel.close();
      parentPort.postMessage("done");
    } else {
      parentPort.postMessage({ ready: true });
      const found = await consume(channel, number);
      channel.close();
      parentPort.postMessage(found);
    }
  }
`;

async function run(code: string): Promise<string> {
  const result = await runSource(`${prelude}\nif (isMainThread) {${code}}`, [], {
    timeoutMs: 50_000,
  });
  assert.equal(result.stderr, "");
  assert.equal(result.code, 0);
  return result.stdout;
}

/* Starts consumers, waits until they are there, then starts producers; collects what came. */
const traffic = (mode: string, producers: number, count: number): string => `
  const channel = Channel.create({ capacity: 4096, mode: ${JSON.stringify(mode)} });
  const { handle } = channel;
  const consumers = [0, 1, 2].map((number) => start({ handle, role: "consume", number }));
  const lists = consumers.map(({ worker }) => new Promise((resolve, reject) => {
    worker.on("error", reject);
    worker.on("message", (data) => Array.isArray(data) && resolve(data));
  }));
  await Promise.all(consumers.map(({ answer }) => answer));
  const producers = Array.from({ length: ${producers} }, (_, number) =>
    start({ handle, role: "produce", number, count: ${count} }));
  await Promise.all(producers.map(({ answer }) => answer));
  channel.close();
  const found = await Promise.all(lists);
  const inOrder = (list) => {
    const last = new Map();
    for (const id of list) {
      const [from, number] = [Math.floor(id / 1e6), id % 1e6];
      assert.ok(number > (last.get(from) ?? -1), "order of producer " + from);
      last.set(from, number);
    }
  };
  found.forEach(inOrder);`;

test("a queue: 4 producers, 3 consumers, none lost, none doubled, order kept", async () => {
  const code = `${traffic("queue", 4, 300)}
    const all = found.flat().sort((a, b) => a - b);
    const wanted = [];
    for (let from = 0; from < 4; from += 1) {
      for (let number = 0; number < 300; number += 1) wanted.push(from * 1e6 + number);
    }
    assert.deepEqual(all, wanted);
    console.log(all.length);`;
  assert.equal(await run(code), "1200\n");
});

test("a broadcast: 3 consumers get every message of 3 producers, in one order", async () => {
  const code = `${traffic("broadcast", 3, 200)}
    assert.equal(found[0].length, 600);
    assert.deepEqual(found[1], found[0]);
    assert.deepEqual(found[2], found[0]);
    console.log("same");`;
  assert.equal(await run(code), "same\n");
});

for (const overflow of ["block", "drop-oldest"]) {
  test(`ends join and leave a broadcast while others send: ${overflow}`, async () => {
    const code = `
      const channel = Channel.create({
        capacity: 1024, mode: "broadcast", overflow: ${JSON.stringify(overflow)},
      });
      const stop = new Int32Array(new SharedArrayBuffer(4));
      const senders = [0, 4].map((number) =>
        start({ handle: channel.handle, role: "produce", number, count: Infinity, stop }));
      const next = (end) => end.receive({ timeoutMs: 20 }).catch((error) => {
        assert.equal(error.code, "ERR_MEMMAP_TIMEOUT");
      });
      let received = 0;
      for (let rounds = 0; rounds < 60 || received < 100; rounds += 1) {
        const end = Channel.attach(channel.handle);
        const last = new Map();
        for (let i = 0; i < rounds % 50; i += 1) {
          const message = i % 8 === 1 ? await next(end) : end.tryReceive();
          if (message === undefined) continue;
          const id = read(message);
          const [from, number] = [Math.floor(id / 1e6), id % 1e6];
          const before = last.get(from);
          if (before !== undefined) {
            assert.ok(number > before, "order");
            if (end.droppedCount === 0) assert.equal(number, before + 1, "none lost");
          }
          last.set(from, number);
          received += 1;
        }
        end.close();
        if (rounds % 20 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
      Atomics.store(stop, 0, 1);
      await Promise.all(senders.map(({ answer }) => answer));
      console.log("joined");`;
    assert.equal(await run(code), "joined\n");
  });
}

test("a worker that is terminated has died: whoever waits is told within a second", async () => {
  const code = `
    const channel = Channel.create();
    const lasting = new Worker(\`
      import("memmap/ipc").then(({ Channel }) => {
        const channel = Channel.attach(require("node:worker_threads").workerData);
        channel.sendSync(Uint8Array.of(1));
        setInterval(() => {}, 1000);
      });\`, { eval: true, workerData: channel.handle });
    assert.equal((await channel.receive({ timeoutMs: 10_000 })).length, 1);
    const waiting = channel.receive({ timeoutMs: 5000 }).catch((error) => error.code);
    await lasting.terminate();
    const from = performance.now();
    console.log(await waiting, channel.state, performance.now() - from < 1000);`;
  assert.equal(await run(code), "ERR_MEMMAP_PEER_DIED peer-died true\n");
});
