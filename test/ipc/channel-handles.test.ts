// How a channel is named to others: its handle goes through everything that takes plain data; what
// another version has made is refused; and what becomes of a channel when workers are terminated.

import assert from "node:assert/strict";
import test from "node:test";
import { Channel, type ChannelHandle, SharedMemory } from "memmap/ipc";
import { answerTo } from "../guard/program.js";
import { runtimeName } from "../helpers/runtime.js";
import { lacks, peers, start } from "./channel-program.js";

const ways = {
  "process.send": `
    if (part === "child") {
      process.on("message", (handle) => greet(handle));
    } else {
      const { fork } = await import("node:child_process");
      const child = fork(self, [folder], { env: { ...process.env, PART: "child" } });
      child.send(channel.handle);
      answer({ got: await hear(), state: await stateAfter() });
      child.kill();
    }`,
  "an environment variable": `
    if (part === "child") greet(data);
    else {
      const child = other("child", channel.handle);
      answer({ got: await hear(), state: await stateAfter() });
      await child.ended;
    }`,
  "a Unix socket": `
    const net = await import("node:net");
    const path = join(folder, "socket");
    if (part === "child") {
      const socket = net.connect(path);
      let text = "";
      socket.setEncoding("utf8").on("data", (chunk) => (text += chunk));
      socket.on("end", () => greet(JSON.parse(text)));
    } else {
      const server = net.createServer((socket) => socket.end(JSON.stringify(channel.handle)));
      await new Promise((resolve) => server.listen(path, resolve));
      const child = other("child");
      answer({ got: await hear(), state: await stateAfter() });
      await child.ended;
      server.close();
    }`,
  postMessage: `
    if (!isMainThread) parentPort.once("message", (handle) => greet(handle));
    else {
      const worker = startPart("child", { gate: gate.handle });
      worker.postMessage(channel.handle);
      answer({ got: await hear(), state: await stateAfter() });
      await worker.terminate();
    }`,
};

/* The other side sends two messages and closes its end. */
const greeting = `${start}
  const channel = isMainThread && part === undefined ? Channel.create() : undefined;
  async function greet(handle) {
    const given = Channel.attach(handle);
    given.sendSync(Uint8Array.of(1, 2, 3));
    await given.send(Uint8Array.of(4));
    given.close();
    if (part === "child") process.disconnect?.();
  }
  async function hear() {
    return [[...(await channel.receive())], [...channel.receiveSync()]];
  }
  async function stateAfter() {
    const end = await channel.receive();
    return end === undefined ? channel.state : "more";
  }`;

for (const [name, code] of Object.entries(ways)) {
  test(`a handle goes through ${name}`, async (t) => {
    const expected = { got: [[1, 2, 3], [4]], state: "closed" };
    assert.deepEqual(await answerTo(t, greeting + code), expected);
  });
}

/** The words at the beginning of a channel. */
function wordsOf(handle: ChannelHandle): Int32Array {
  using memory = SharedMemory.attach(handle.memory);
  return new Int32Array(memory.map().buffer, 0, 1024);
}

test("a channel of another version, byte order or kind is refused by name", () => {
  using channel = Channel.create();
  const { handle } = channel;
  const words = wordsOf(handle);
  const format = words[0] ?? 0;
  const cases: readonly (readonly [number, string, RegExp])[] = [
    [
      format + 1,
      "ERR_MEMMAP_VERSION",
      /its layout is 2, and this version of memmap knows layout 1/,
    ],
    [0x0106_6d6d, "ERR_MEMMAP_VERSION", /other byte order/],
    [format ^ 0x300, "ERR_MEMMAP_CORRUPT", /another kind of structure/],
    [0x1234_5678, "ERR_MEMMAP_CORRUPT", /other data lies there/],
  ];
  for (const [word, code, message] of cases) {
    words[0] = word;
    assert.throws(() => Channel.attach(handle), { code, message });
  }
  words[0] = format;
  Channel.attach(handle).close();
});

test("the end that finds no place in the table is refused, until one goes", () => {
  using channel = Channel.create({ capacity: 1024 });
  const ends = Array.from({ length: 59 }, () => Channel.attach(channel.handle));
  const more = () => Channel.attach(channel.handle);
  assert.throws(more, { code: "EUSERS", message: /it has 60 ends already/ });
  ends.pop()?.close();
  ends.push(more());
  for (const end of ends) end.close();
});

test("a head that can be none is refused", () => {
  using channel = Channel.create({ capacity: 4096 });
  const words = wordsOf(channel.handle);
  for (const [index, values] of [
    [1, [0, -1, 1000, 512, 8192, 2 ** 30, -(2 ** 31)]],
    [2, [4, -1]],
  ] as const) {
    const before = words[index] ?? 0;
    for (const value of values) {
      words[index] = value;
      assert.throws(() => Channel.attach(channel.handle), { code: "ERR_MEMMAP_CORRUPT" });
    }
    words[index] = before;
  }
});

test("the handle of another version is refused, and what is none", () => {
  using channel = Channel.create();
  const { handle } = channel;
  const attach = (value: unknown) => () => Reflect.apply(Channel.attach, Channel, [value]);
  const version = { code: "ERR_MEMMAP_VERSION", message: /form is 2, .* knows form 1/ };
  assert.throws(attach({ ...handle, channel: 2 }), version);
  assert.throws(attach({ ...handle, memory: { ...handle.memory, sharedMemory: 2 } }), version);
  for (const value of [undefined, null, 1, "text", {}, [], { channel: 1 }, handle.memory]) {
    assert.throws(attach(value), { name: "TypeError" });
  }
});

test("the handle of a process that has ended, and of a channel that was closed", async (t) => {
  const code = `${start}
    if (part === "child") {
      fs.writeFileSync(join(folder, "handle"), JSON.stringify(Channel.create().handle));
      process.kill(process.pid, "SIGKILL");
    }
    const ended = await other("child").ended;
    const handle = JSON.parse(fs.readFileSync(join(folder, "handle"), "utf8"));
    const channel = Channel.create();
    const own = channel.handle;
    channel.close();
    answer({ ended, dead: codeOf(() => Channel.attach(handle)),
      closed: codeOf(() => Channel.attach(own)) });`;
  assert.deepEqual(await answerTo(t, code), {
    ended: "SIGKILL",
    dead: "ERR_MEMMAP_PEER_DIED",
    closed: "ERR_MEMMAP_CLOSED",
  });
});

const otherEngine = runtimeName === "bun" ? "node-26" : "bun";

test("values of another engine are refused, bytes are not", {
  skip: lacks(otherEngine),
}, async (t) => {
  const code = `${start}
    if (part === "child") {
      const channel = Channel.attach(data, { receives: false });
      channel.sendValueSync({ text: "hello", bytes: Uint8Array.of(1) });
      channel.sendSync(Uint8Array.of(7));
      channel.close();
    } else {
      const channel = Channel.create();
      const child = other("child", channel.handle, ${JSON.stringify(peers[otherEngine])});
      const first = await channel.receiveValue().catch((error) => error.code);
      const second = await channel.receiveValue();
      answer({ first, second: [...second], end: await channel.receiveValue() === undefined,
        ended: await child.ended });
    }`;
  assert.deepEqual(await answerTo(t, code), {
    first: "ERR_MEMMAP_VERSION",
    second: [7],
    end: true,
    ended: 0,
  });
});

/* What a worker does when it is terminated; whether it sends, or receives. */
interface Doomed {
  readonly action: string;
  readonly sends: boolean;
}

const doomed: Readonly<Record<string, Doomed>> = {
  "that sleeps in receive": {
    action: "keep.push(await channel.receive()); void channel.receive(); arrive();",
    sends: false,
  },
  "that has borrowed": { action: "keep.push(channel.borrow()); arrive();", sends: false },
  "in the middle of a long message": {
    action: "void channel.send(new Uint8Array(10000)).catch(() => {}); setTimeout(arrive, 30);",
    sends: true,
  },
  "that has reserved": {
    action: "keep.push(channel.tryReserve(8)); keep[1].bytes.fill(9); arrive();",
    sends: true,
  },
  /* Deno ends no worker whose JavaScript does not return, whatever it does. */
  ...(runtimeName !== "deno" && {
    "that blocks in receiveSync": {
      action: "keep.push(channel.receiveSync()); arrive(); channel.receiveSync();",
      sends: false,
    },
    "that blocks in sendSync": {
      action: "arrive(); channel.sendSync(new Uint8Array(10000));",
      sends: true,
    },
  }),
};

/* What the main thread does meanwhile: its end only receives, or only sends. */
const survivors = {
  receives: `
    channel.tryReceive();
    const state = await stateAfterDeath();
    const next = Channel.attach(channel.handle, { receives: false });
    const [message] = await Promise.all([
      channel.receive({ timeoutMs: 5000 }),
      next.send(Uint8Array.of(6), { timeoutMs: 5000 }),
    ]);
    answer({ state, messages: [...message] });`,
  sends: `
    channel.sendSync(Uint8Array.of(5));
    const state = await stateAfterDeath();
    const next = Channel.attach(channel.handle);
    await channel.send(Uint8Array.of(6), { timeoutMs: 5000 });
    const messages = [];
    while (messages.at(-1) !== 6) messages.push(...await next.receive({ timeoutMs: 5000 }));
    answer({ state, messages });`,
};

for (const [name, { action, sends }] of Object.entries(doomed)) {
  test(`a worker ${name} is terminated: the others go on`, async (t) => {
    const code = `${start}
      const keep = [];
      function arrive() {
        Atomics.store(words, 0, 1);
        setInterval(() => {}, 1000);
      }
      async function stateAfterDeath() {
        const worker = startPart("worker", { gate: gate.handle, handle: channel.handle });
        await until(() => words[0] === 1);
        await sleep(30);
        assert.equal(channel.state, "open");
        await worker.terminate();
        await until(() => channel.state !== "open");
        return channel.state;
      }
      const channel = isMainThread ? Channel.create({ capacity: 1024 })
        : Channel.attach(workerData.data.handle, { receives: ${!sends} });
      keep.push(channel);
      if (isMainThread) {
        ${sends ? survivors.receives : survivors.sends}
      } else {
        ${action}
      }`;
    const messages = name === "that has borrowed" ? [5, 6] : [6];
    assert.deepEqual(await answerTo(t, code), { state: "peer-died", messages });
  });
}
