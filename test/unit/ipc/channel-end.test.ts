// src/ipc/channel-end.ts: an end is left when its program ends well, when it is forgotten, and even
// when somebody has written over the channel; whoever fails has died.

import assert from "node:assert/strict";
import test from "node:test";
import { Channel } from "memmap/ipc";
import { at, end as endWords } from "#dist/ipc/channel-layout.js";
import { runSource } from "../../helpers/child.js";
import { pair, wordsOf } from "./channel-support.js";

/* Runs a program that attaches to a channel as `channel`, and tells how it went. */
async function attachAnd(t: Parameters<typeof pair>[0], code: string, exposeGc = false) {
  const channel = Channel.create();
  t.after(() => channel.close());
  const source = `
    import { Channel } from "memmap/ipc";
    let channel = Channel.attach(JSON.parse(process.argv[2]));
    ${code}`;
  const result = await runSource(source, [JSON.stringify(channel.handle)], {
    exposeGc,
    timeoutMs: 20_000,
  });
  return { channel, ...result };
}

test("a program that ends by itself, or exits with 0, has closed", async (t) => {
  for (const code of ["channel.trySend(Uint8Array.of(1));", "process.exit(0);"]) {
    const { channel, code: exit } = await attachAnd(t, code);
    assert.equal(exit, 0);
    channel.tryReceive();
    assert.equal(channel.state, "closed", code);
  }
});

test("a program that fails has died", async (t) => {
  for (const code of ["process.exit(3);", "throw new Error('on purpose');"]) {
    const { channel, code: exit } = await attachAnd(t, code);
    assert.notEqual(exit, 0);
    assert.equal(channel.state, "peer-died", code);
  }
});

test("what waits keeps the program alive, and after unref() it does not", async (t) => {
  const waiting = `
    channel.receive({ timeoutMs: 300 }).catch((error) => console.log(error.code));`;
  const kept = await attachAnd(t, waiting);
  assert.equal(kept.stdout, "ERR_MEMMAP_TIMEOUT\n");
  const before = performance.now();
  const free = await attachAnd(t, `channel.unref(); channel.receive();`);
  assert.equal(free.code, process.versions["deno"] === undefined ? free.code : 0);
  assert.ok(performance.now() - before < 15_000, "it was not killed");
  assert.equal(free.signal, null);
  const late = `channel.receive(); setTimeout(() => channel.unref(), 50);`;
  assert.equal((await attachAnd(t, late)).signal, null);
});

test("a channel that is forgotten is left, one whose message is borrowed is not", async (t) => {
  const code = `
    const collect = async () => {
      for (let i = 0; i < 20; i += 1) {
        if (typeof Bun === "undefined") globalThis.gc();
        else Bun.gc(true);
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    };
    const holder = Channel.create();
    const forget = () => { for (let i = 0; i < 50; i += 1) Channel.attach(holder.handle); };
    const borrow = () => {
      holder.trySend(Uint8Array.of(7));
      return Channel.attach(holder.handle).borrow();
    };
    const loan = borrow();
    forget();
    await collect();
    forget(); // More than fit, unless the first ones have left.
    console.log(loan.bytes.length, loan.bytes[0]);`;
  const { stdout, stderr } = await attachAnd(t, code, true);
  assert.equal(stderr, "");
  assert.equal(stdout, "1 7\n");
});

test("an end whose words are garbage is closed all the same", (t) => {
  const [channel, other] = pair(t);
  const words = wordsOf(t, channel);
  const room = other.tryReserve(8);
  words[at.producers] = 1;
  words[at.queueLane] = 1;
  words[at.ends + endWords.words] = 12_345;
  other.close();
  assert.equal(other.closed, true);
  assert.throws(() => room?.commit(), { code: "ERR_MEMMAP_CLOSED" });
});
