// Channels between real processes: what many send and receive in all ways comes whole, once, and
// in order, on one runtime and between two.

import assert from "node:assert/strict";
import test from "node:test";
import { type Answer, answerTo } from "../guard/program.js";
import { lacks, peers, start } from "./channel-program.js";

interface Crowd {
  readonly producers: number;
  readonly receivers: number;
  readonly messages: number;
  readonly options: Readonly<Record<string, unknown>>;
  /** What the others run on. */
  readonly program?: string | undefined;
  /** How often a receiver sleeps: once in so many messages. */
  readonly sleepsIn?: number | undefined;
}

/* The first process receives too; each receiver writes what it had into a file. */
function crowdProgram(crowd: Crowd): string {
  return `${start}
    const crowd = ${JSON.stringify(crowd)};
    const program = crowd.program ?? process.execPath;

    async function produce(producer) {
      const channel = Channel.attach(data.handle, { receives: false });
      const random = randomOf(producer + 1);
      passGate();
      let empty = 0;
      for (let sequence = 0; sequence < crowd.messages; sequence++) {
        const length = lengthOf(random, channel.capacity);
        if (length === 0) empty += 1;
        await sendSomehow(channel, random, { producer, sequence, length });
      }
      fs.writeFileSync(join(folder, "empty-" + producer), String(empty));
      channel.close();
    }

    async function consume(channel, number) {
      const random = randomOf(number + 100);
      const log = [];
      const sleepsIn = crowd.sleepsIn ?? 1000;
      do if (random(sleepsIn) === 0) await sleep(1);
      while (await receiveSomehow(channel, random, (message) => log.push(message)));
      const result = { log, state: channel.state, dropped: channel.droppedCount };
      fs.writeFileSync(join(folder, "log-" + number), JSON.stringify(result));
      return result;
    }

    if (part === "produce") await produce(data.number);
    else if (part === "consume") {
      const channel = Channel.attach(data.handle);
      passGate();
      await consume(channel, data.number);
      channel.close();
    } else {
      const channel = Channel.create(crowd.options);
      channel.tryReceive(); // A receiver from now on.
      const { handle } = channel;
      const children = [];
      for (let number = 1; number < crowd.receivers; number++) {
        children.push(other("consume", { handle, number }, program));
      }
      for (let number = 0; number < crowd.producers; number++) {
        children.push(other("produce", { handle, number }, program));
      }
      await openGate(children.length);
      await consume(channel, 0);
      const ended = await Promise.all(children.map((child) => child.ended));
      const read = (name) => JSON.parse(fs.readFileSync(join(folder, name), "utf8"));
      const numbers = (count) => Array.from({ length: count }, (_, i) => i);
      answer({
        ended: [...new Set(ended)],
        results: numbers(crowd.receivers).map((number) => read("log-" + number)),
        empty: numbers(crowd.producers).reduce((sum, i) => sum + read("empty-" + i), 0),
      });
    }`;
}

interface Result {
  readonly log: readonly number[];
  readonly state: string;
  readonly dropped: number;
}

interface Outcome {
  readonly results: readonly Result[];
  /** How many messages without bytes were sent: they do not say which they are. */
  readonly empty: number;
}

function outcomeOf({ ended, results, empty }: Answer): Outcome {
  assert.deepEqual(ended, [0]);
  assert.ok(Array.isArray(results) && typeof empty === "number");
  const states = new Set(results.map((result: Result) => result.state));
  assert.deepEqual([...states], ["closed"]);
  return { results, empty };
}

function withBytes(log: readonly number[]): number[] {
  return log.filter((message) => message >= 0);
}

/** Each sender's messages rise in a log: none twice, and in their order. */
function assertOrder(log: readonly number[]): void {
  const last = new Map<number, number>();
  for (const message of withBytes(log)) {
    const producer = Math.floor(message / 1e6);
    assert.ok(message > (last.get(producer) ?? -1), `${message} comes late or twice`);
    last.set(producer, message);
  }
}

/** What a queue's receivers had is together what was sent, each message once. */
function assertShared({ results, empty }: Outcome, crowd: Crowd): void {
  for (const { log } of results) assertOrder(log);
  const all = results.flatMap(({ log }) => log);
  assert.equal(all.length, crowd.producers * crowd.messages);
  assert.equal(all.filter((message) => message < 0).length, empty);
  assert.equal(new Set(withBytes(all)).size, all.length - empty, "a message came twice");
}

const queues: readonly Crowd[] = [
  { producers: 1, receivers: 1, messages: 600, options: { capacity: 1024 } },
  { producers: 2, receivers: 2, messages: 400, options: { capacity: 4096 } },
  { producers: 5, receivers: 3, messages: 150, options: { capacity: 65536 } },
];

for (const crowd of queues) {
  const { producers, receivers } = crowd;
  test(`queue: ${producers} producers, ${receivers} receivers: each message once, in order`, {
    timeout: 60_000,
  }, async (t) => {
    assertShared(outcomeOf(await answerTo(t, crowdProgram(crowd))), crowd);
  });
}

test("broadcast: everyone gets everything, in one order", { timeout: 60_000 }, async (t) => {
  const options = { capacity: 4096, mode: "broadcast" };
  const crowd = { producers: 3, receivers: 3, messages: 200, options };
  const { results } = outcomeOf(await answerTo(t, crowdProgram(crowd)));
  const [first, ...others] = results;
  assert.ok(first);
  assertOrder(first.log);
  assert.equal(first.log.length, crowd.producers * crowd.messages);
  for (const { log, dropped } of others) {
    assert.deepEqual(log, first.log);
    assert.equal(dropped, 0);
  }
});

test("broadcast that drops the oldest: received and dropped ones are all", {
  timeout: 60_000,
}, async (t) => {
  const options = { capacity: 2048, mode: "broadcast", overflow: "drop-oldest" };
  const crowd = { producers: 2, receivers: 3, messages: 500, options, sleepsIn: 30 };
  const { results } = outcomeOf(await answerTo(t, crowdProgram(crowd)));
  for (const { log, dropped } of results) {
    assertOrder(log);
    assert.equal(log.length + dropped, crowd.producers * crowd.messages);
  }
  assert.ok(results.some(({ dropped }) => dropped > 0));
});

test("queue that drops the oldest: received and dropped ones are all, each once", {
  timeout: 60_000,
}, async (t) => {
  const options = { capacity: 2048, overflow: "drop-oldest" };
  const crowd = { producers: 2, receivers: 2, messages: 500, options, sleepsIn: 30 };
  const { results } = outcomeOf(await answerTo(t, crowdProgram(crowd)));
  for (const { log } of results) assertOrder(log);
  const all = results.flatMap(({ log }) => log);
  const bytes = withBytes(all);
  assert.equal(new Set(bytes).size, bytes.length);
  const dropped = Math.max(...results.map((result) => result.dropped));
  assert.equal(all.length + dropped, crowd.producers * crowd.messages);
});

for (const name of ["node-26", "bun", "deno"] as const) {
  test(`queue with ${name}: each message once, in order`, {
    skip: lacks(name),
    timeout: 60_000,
  }, async (t) => {
    const program = peers[name];
    const options = { capacity: 4096 };
    const crowd = { producers: 2, receivers: 2, messages: 150, options, program };
    assertShared(outcomeOf(await answerTo(t, crowdProgram(crowd))), crowd);
  });

  test(`${name} answers each message, in all ways; its end is told`, {
    skip: lacks(name),
  }, async (t) => {
    const code = `${start}
      const random = randomOf(7);
      if (part === "echo") {
        const questions = Channel.attach(data.questions);
        const answers = Channel.attach(data.answers, { receives: false });
        for await (const message of questions) {
          if (random(2) === 0) await answers.send(message);
          else answers.sendSync(message);
        }
        answers.close();
      } else {
        const questions = Channel.create({ capacity: 1024 });
        const answers = Channel.create({ capacity: 1024 });
        answers.tryReceive();
        const child = other("echo", { questions: questions.handle, answers: answers.handle },
          ${JSON.stringify(peers[name])});
        let same = 0;
        for (let sequence = 0; sequence < 100; sequence++) {
          const length = lengthOf(random, 1024);
          const sent = sendSomehow(questions, random, { producer: 1, sequence, length });
          const message = await answers.receive();
          await sent;
          if (readMessage(message) === (length === 0 ? -1 : 1e6 + sequence)) same += 1;
        }
        questions.close();
        const end = await answers.receive();
        answer({ same, end: end === undefined, state: answers.state, ended: await child.ended });
      }`;
    const expected = { same: 100, end: true, state: "closed", ended: 0 };
    assert.deepEqual(await answerTo(t, code), expected);
  });
}
