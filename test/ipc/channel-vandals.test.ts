// A peer that writes whatever it likes over a channel, all the time: everybody else gets an error
// or a timeout, and ends by itself. No crash, no signal, no loop without an end.

import assert from "node:assert/strict";
import test from "node:test";
import { type Answer, answerTo } from "../guard/program.js";
import { start } from "./channel-program.js";

/* Each victim goes on for so long. */
const victimMs = 700;

/* The vandal writes numbers that mean something here, some that nearly do, and any. */
const program = `${start}
  const random = (below) => Math.floor(Math.random() * below);

  function vandalize(area) {
    const bytes = SharedMemory.attach(data.handle.memory).map();
    const words = new Int32Array(bytes.buffer);
    const [from, to] = { all: [1, words.length], head: [1, 1024], cursors: [16, 56],
      ring: [1024, words.length] }[area];
    const { ppid, pid } = process;
    const marks = [1 << 30, 1 << 31, 0x7fffffff];
    const some = [0, 1, 2, 3, 4, 5, 16, 17, 19, -1, 8, 1024, 4096, pid, ppid, ...marks,
      ...marks.map((mark) => mark | pid), ...marks.map((mark) => mark | ppid)];
    Atomics.add(globalThis.words, 0, 1);
    for (;;) {
      for (let i = 0; i < 2000; i++) {
        const index = from + random(to - from);
        const kind = random(3);
        words[index] = kind === 0 ? some[random(some.length)]
          : kind === 1 ? random(2 ** 32) | 0 : words[18] + 8 * random(20);
      }
      if (random(3) === 0) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, random(3));
    }
  }

  async function send(channel, options, isAsync) {
    const message = new Uint8Array(random(20) === 0 ? 10000 : random(300));
    const way = random(4);
    if (way === 0) return channel.trySend(message.subarray(0, 200));
    if (way === 1) {
      const room = isAsync ? await channel.reserve(100, options) : channel.tryReserve(100);
      room?.bytes.fill(1);
      return room?.commit();
    }
    return isAsync ? channel.send(message, options) : channel.sendSync(message, options);
  }

  async function receive(channel, options, isAsync) {
    const way = random(5);
    if (way === 0) return channel.tryReceive();
    if (way === 1) return channel.borrow()?.release();
    if (way === 2 && isAsync) return channel.receiveValue(options);
    if (way === 2) return channel.receiveValueSync(options);
    return isAsync ? channel.receive(options) : channel.receiveSync(options);
  }

  /** What becomes of one call: its error's code, when it is one of ours. */
  async function outcomeOf(call) {
    try {
      await call();
      return "ok";
    } catch (error) {
      if (error instanceof MemmapError) return error.code;
      throw error;
    }
  }

  async function suffer() {
    const outcomes = {};
    const receives = data.role === "receive";
    const act = receives ? receive : send;
    let channel;
    const end = performance.now() + ${victimMs};
    while (performance.now() < end) {
      const outcome = await outcomeOf(async () => {
        channel ??= Channel.attach(data.handle, { receives });
        await act(channel, { timeoutMs: random(20) }, data.isAsync);
        if (random(20) === 0) [channel.state, channel.droppedCount];
      });
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
      if (random(50) === 0) {
        channel?.close();
        channel = undefined;
      }
      if (data.isAsync) await turn();
    }
    channel?.close();
    fs.writeFileSync(join(folder, data.role + data.isAsync), JSON.stringify(outcomes));
  }

  globalThis.words = words;
  if (part === "vandal") vandalize(data.area);
  else if (part === "victim") await suffer();
  else {
    const { area, options } = globalThis.plan;
    const channel = Channel.create({ capacity: 4096, ...options });
    const { handle } = channel;
    const vandal = other("vandal", { handle, area });
    await until(() => words[0] === 1);
    const victims = [];
    for (const role of ["send", "receive"]) {
      for (const isAsync of [true, false]) victims.push(other("victim", { handle, role, isAsync }));
    }
    const ended = await Promise.all(victims.map((victim) => victim.ended));
    vandal.kill("SIGKILL");
    await vandal.ended;
    channel.close();
    const outcomes = fs.readdirSync(folder)
      .map((name) => JSON.parse(fs.readFileSync(join(folder, name), "utf8")));
    answer({ ended, outcomes });
  }`;

const codes =
  /^(ok|EDEADLK|EUSERS|ERR_MEMMAP_(CORRUPT|TIMEOUT|OWNER_DIED|PEER_DIED|CLOSED|VERSION))$/;

function assertSurvived({ ended, outcomes }: Answer): void {
  assert.deepEqual(ended, [0, 0, 0, 0]);
  assert.ok(Array.isArray(outcomes) && outcomes.length === 4);
  const seen = new Set(outcomes.flatMap((outcome: object) => Object.keys(outcome)));
  for (const code of seen) assert.match(code, codes);
  assert.ok(seen.has("ERR_MEMMAP_CORRUPT") || seen.has("ERR_MEMMAP_TIMEOUT"));
}

const plans = [
  { area: "all", options: {} },
  { area: "head", options: { mode: "broadcast" } },
  { area: "cursors", options: { overflow: "drop-oldest" } },
  { area: "cursors", options: { mode: "broadcast", overflow: "drop-oldest" } },
  { area: "ring", options: { mode: "broadcast", overflow: "drop-oldest" } },
] as const;

for (const plan of plans) {
  const { area, options } = plan;
  const kind = ["queue", ...Object.values(options)].slice(-2).join(", ");
  test(`garbage over ${area} of a channel (${kind}): errors and timeouts alone`, async (t) => {
    const code = program.replace("globalThis.plan", JSON.stringify(plan));
    assertSurvived(await answerTo(t, code, { timeoutMs: 30_000 }));
  });
}

/* The peer is played by the functions that the channel itself reads and writes with, so that it is
   always the quicker one. */
const quicker = `${start}
  import { at, headBytes, lane } from "#dist/ipc/channel-layout.js";
  const cursorAt = at.queueLane + lane.cursor;
  const { load, store } = Atomics;
  const channel = Channel.create({ capacity: 1024, overflow: "drop-oldest" });
  channel.tryReceive();
  const all = new Int32Array(SharedMemory.attach(channel.handle.memory).map().buffer);
  function fillRing(kind) {
    for (let i = headBytes / 4; i < all.length; i += 2) all.set([0, kind], i);
  }
  async function outcome(call) {
    try {
      await call({ timeoutMs: 60 });
      return "ok";
    } catch (error) {
      return error.code;
    }
  }`;

for (const [kind, name] of [
  [5, "padding"],
  [3, "parts of a message"],
] as const) {
  test(`a peer that sends ${name} without an end: a timeout`, async (t) => {
    const code = `${quicker}
      fillRing(${kind});
      if (${kind} === 3) all[headBytes / 4 + 1] = 2; // The first part.
      Atomics.store = (array, index, value) => {
        if (index === cursorAt) store(array, at.tail, (value + 512) | 0);
        return store(array, index, value);
      };
      store(all, at.tail, 512);
      const outcomes = [await outcome((options) => channel.receiveSync(options))];
      outcomes.push(await outcome((options) => channel.receive(options)));
      answer({ outcomes, tried: channel.tryReceive() === undefined });`;
    assert.deepEqual(await answerTo(t, code), {
      outcomes: ["ERR_MEMMAP_TIMEOUT", "ERR_MEMMAP_TIMEOUT"],
      tried: true,
    });
  });
}

test("a receiver whose cursor always goes back: a timeout for who drops the oldest", async (t) => {
  const code = `${quicker}
    fillRing(5);
    Atomics.load = (array, index) =>
      index === cursorAt ? (load(array, at.tail) - 1024) | 0 : load(array, index);
    const sender = Channel.attach(channel.handle, { receives: false });
    const outcomes = [await outcome((options) => sender.sendSync(new Uint8Array(100), options))];
    outcomes.push(await outcome((options) => sender.send(new Uint8Array(100), options)));
    answer({ outcomes, tried: sender.trySend(new Uint8Array(100)) });`;
  assert.deepEqual(await answerTo(t, code), {
    outcomes: ["ERR_MEMMAP_TIMEOUT", "ERR_MEMMAP_TIMEOUT"],
    tried: false,
  });
});

test("a value with any bytes changed: an error or another value", async (t) => {
  const code = `${start}
    import { headBytes } from "#dist/ipc/channel-layout.js";
    const channel = Channel.create({ capacity: 65536 });
    const mapping = SharedMemory.attach(channel.handle.memory).map();
    const ring = mapping.bytes.subarray(headBytes);
    const values = [
      { list: [1, 2.5, "text", null], map: new Map([[1, new Set([2])]]), bytes: new Uint8Array(9) },
      [new Float64Array(100), new Date(0), /x/g, 12n, "é".repeat(60), new Error("no")],
      new Array(50).fill({ x: 1 }),
    ];
    const random = randomOf(11);
    const outcomes = new Set();
    let place = 0;
    for (let i = 0; i < 3000; i++) {
      channel.sendValueSync(values[i % values.length]);
      const tail = new Int32Array(mapping.buffer)[18] & 65535;
      const length = (tail - place + 65536) % 65536;
      if (tail > place) {
        for (let k = random(6); k >= 0; k--) ring[place + 8 + random(length - 8)] = random(256);
      }
      place = tail;
      try {
        channel.receiveValueSync();
        outcomes.add("ok");
      } catch (error) {
        outcomes.add(error.code);
      }
    }
    outcomes.delete("ERR_MEMMAP_VERSION");
    answer({ outcomes: [...outcomes].sort() });`;
  assert.deepEqual(await answerTo(t, code), { outcomes: ["ERR_MEMMAP_CORRUPT", "ok"] });
});
