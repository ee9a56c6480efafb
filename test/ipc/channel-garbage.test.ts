// Garbage in every word of a channel's head and ring: an error with its code, a time limit or a
// message, never a crash, a touch outside, or a wait past its limit.

import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import { MemmapError } from "memmap";
import { Channel, SharedMemory } from "memmap/ipc";
import { at, end, lane } from "#dist/ipc/channel-layout.js";
import { thisThread } from "#dist/ipc/owner.js";
import { parameters } from "../property/support.js";

const capacity = 1024;
const wordCount = (4096 + capacity) / 4;

/* Words that the library looks at, more often than those that it does not. */
const known = [
  ...Object.values(at),
  ...Object.values(lane).map((word) => at.queueLane + word),
  ...[0, 1, 2].flatMap((slot) =>
    [0, 1, 2, 4, 5, 6, 7, 8].map((word) => at.ends + slot * end.words + word),
  ),
  ...Array.from({ length: 24 }, (_, i) => 1024 + i),
];
const index = fc.oneof(fc.constantFrom(...known), fc.nat({ max: wordCount - 1 }));
const value = fc.oneof(
  fc.integer(),
  fc.integer({ min: -16, max: 64 }).map((small) => small * 8),
  fc.constantFrom(0, 1, -1, 2 ** 31 - 1, -(2 ** 31), 0x3fff_ffff, 0x4000_0000),
  fc.constantFrom(thisThread().id, (thisThread().id << 8) | 6, (thisThread().id << 8) | 8),
);
const write = fc.record({ index, value });

const errors = new Set([
  ...["CORRUPT", "VERSION", "TIMEOUT", "PEER_DIED", "CLOSED", "OWNER_DIED"].map(
    (code) => `ERR_MEMMAP_${code}`,
  ),
  ...["EDEADLK", "EUSERS"],
]);

/* One call after the damage; what it may answer is anything but a wrong kind of error. */
function attempt(call: () => unknown): void {
  try {
    call();
  } catch (error) {
    assert.ok(error instanceof MemmapError, String(error));
    assert.ok(errors.has(error.code), error.stack);
  }
}

async function attemptAsync(call: () => Promise<unknown>): Promise<void> {
  const from = performance.now();
  const error: unknown = await call().then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.ok(performance.now() - from < 5000, "it waited past its limit");
  attempt(() => {
    if (error !== undefined) throw error;
  });
}

interface Damage {
  readonly isBroadcast: boolean;
  readonly dropsOldest: boolean;
  readonly writes: readonly { readonly index: number; readonly value: number }[];
}

const damage: fc.Arbitrary<Damage> = fc.record({
  isBroadcast: fc.boolean(),
  dropsOldest: fc.boolean(),
  writes: fc.array(write, { minLength: 1, maxLength: 6 }),
});

function makeDamaged({ isBroadcast, dropsOldest, writes }: Damage): [Channel, Channel] {
  const mode = isBroadcast ? "broadcast" : "queue";
  const channel = Channel.create({
    capacity,
    mode,
    overflow: dropsOldest ? "drop-oldest" : "block",
  });
  const other = Channel.attach(channel.handle);
  for (let i = 0; i < 4; i += 1) channel.trySend(new Uint8Array(100));
  using memory = SharedMemory.attach(channel.handle.memory);
  using mapping = memory.map();
  const words = new Int32Array(mapping.buffer);
  for (const { index: at, value: word } of writes) words[at] = word;
  return [channel, other];
}

test("synchronous calls on a channel full of garbage end with a message or an error", () => {
  fc.assert(
    fc.property(damage, (given) => {
      const [channel, other] = makeDamaged(given);
      const limit = { timeoutMs: 1 };
      const calls = [
        () => other.receiveSync(limit),
        () => channel.sendSync(new Uint8Array(400), limit),
        () => channel.sendSync(new Uint8Array(3000), limit),
        () => other.tryReceive(),
        () => other.borrow()?.release(),
        () => channel.tryReserve(100)?.commit(50),
        () => channel.trySend(new Uint8Array(300)),
        () => other.receiveValueSync(limit),
        () => [channel.state, other.state, other.droppedCount],
        () => Channel.attach(channel.handle).close(),
        () => channel.close(),
        () => other.close(),
      ];
      for (const call of calls) attempt(call);
    }),
    parameters(60),
  );
});

test("asynchronous calls on it end within their limits", async () => {
  await fc.assert(
    fc.asyncProperty(damage, async (given) => {
      const [channel, other] = makeDamaged(given);
      const limit = { timeoutMs: 2 };
      await Promise.all([
        attemptAsync(() => other.receive(limit)),
        attemptAsync(() => channel.send(new Uint8Array(3000), limit)),
        attemptAsync(() => other.receiveValue(limit)),
        attemptAsync(async () => (await channel.reserve(400, limit)).abort()),
      ]);
      attempt(() => channel.close());
      attempt(() => other.close());
    }),
    parameters(25),
  );
});

test("a peer that goes on writing garbage makes no call endless", async () => {
  const [channel, other] = makeDamaged({ isBroadcast: false, dropsOldest: true, writes: [] });
  using memory = SharedMemory.attach(channel.handle.memory);
  using mapping = memory.map();
  const words = new Int32Array(mapping.buffer);
  const random = fc.sample(fc.array(write, { minLength: 3000, maxLength: 3000 }), 1)[0] ?? [];
  for (const { index: at, value: word } of random) {
    words[at] = word;
    attempt(() => other.tryReceive());
    attempt(() => channel.trySend(new Uint8Array(64)));
  }
  await attemptAsync(() => other.receive({ timeoutMs: 5 }));
  channel.close();
  other.close();
});
