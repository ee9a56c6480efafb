// class Channel against plain queues, under random interleavings of several ends: queue and
// broadcast, blocking and dropping, also where positions pass the end of 32 bits.

import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import { type Borrowed, Channel, type Reservation, SharedMemory } from "memmap/ipc";
import { at, lane } from "#dist/ipc/channel-layout.js";
import { ChannelModel, lengthsOf } from "./channel-model.js";
import { parameters } from "./support.js";

const capacity = 1024;
const endNames = ["a", "b", "c"] as const;
type EndName = (typeof endNames)[number];

const actions = fc.oneof(
  { arbitrary: fc.constantFrom("send", "receive"), weight: 6 },
  { arbitrary: fc.constantFrom("reserve", "commit", "shorter", "abort"), weight: 3 },
  { arbitrary: fc.constantFrom("borrow", "release"), weight: 3 },
  { arbitrary: fc.constantFrom("close", "open", "dropped"), weight: 1 },
);

const step = fc.record({
  end: fc.constantFrom(...endNames),
  action: actions,
  length: fc.constantFrom(...lengthsOf(capacity)),
});
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/* A message tells its number, as far as it has room for it. */
function fill(bytes: Uint8Array, number: number): Uint8Array {
  for (let i = 0; i < bytes.length; i += 1) bytes[i] = (number * 31 + i) & 255;
  return bytes;
}

function assertMessage(found: Uint8Array | undefined, wanted: { number: number; length: number }) {
  assert.deepEqual(found, fill(new Uint8Array(wanted.length), wanted.number));
}

interface Reserved {
  readonly room: Reservation;
  readonly position: number;
}

class Run {
  readonly model: ChannelModel;
  readonly #root: Channel;
  readonly #ends = new Map<EndName, Channel>();
  readonly #reserved = new Map<EndName, Reserved>();
  readonly #borrowed = new Map<EndName, Borrowed>();
  #number = 0;

  constructor(isBroadcast: boolean, dropsOldest: boolean) {
    const mode = isBroadcast ? "broadcast" : "queue";
    const overflow = dropsOldest ? "drop-oldest" : "block";
    this.#root = Channel.create({ capacity, mode, overflow });
    const start = -3 * capacity; // A few laps before the end of 32 bits.
    using memory = SharedMemory.attach(this.#root.handle.memory);
    using mapping = memory.map();
    const words = new Int32Array(mapping.buffer);
    for (const index of [at.tail, at.queueLane + lane.cursor]) Atomics.store(words, index, start);
    this.model = new ChannelModel({ capacity, isBroadcast, dropsOldest }, start);
  }

  close(): void {
    for (const channel of this.#ends.values()) channel.close();
    this.#root.close();
  }

  step({ end, action, length }: Step): void {
    const channel = this.#ends.get(end);
    if (channel !== undefined) this.#act(end, channel, { action, length });
    else if (action === "open") {
      this.#ends.set(end, Channel.attach(this.#root.handle));
      if (this.model.shape.isBroadcast) this.model.listen(end);
    }
  }

  #act(end: EndName, channel: Channel, { action, length }: Omit<Step, "end">): void {
    if (action === "send") this.#send(channel, length);
    else if (action === "reserve") this.#reserve(end, channel, length);
    else if (action === "commit" || action === "shorter") this.#commit(end, action);
    else if (action === "abort") this.#abort(end);
    else if (action === "receive") this.#receive(end, channel);
    else if (action === "borrow") this.#borrow(end, channel);
    else if (action === "release") this.#release(end);
    else if (action === "close") this.#close(end, channel);
    else assert.equal(channel.droppedCount, this.model.dropped(end), `dropped of ${end}`);
  }

  #send(channel: Channel, length: number): void {
    const number = this.#number++;
    const isFree = this.model.reserved === undefined && this.model.makeRoom(length);
    assert.equal(channel.trySend(fill(new Uint8Array(length), number)), isFree);
    if (isFree) this.model.put({ number, length });
  }

  #reserve(end: EndName, channel: Channel, length: number): void {
    const isFree = this.model.reserved === undefined && this.model.makeRoom(length);
    const room = channel.tryReserve(length);
    assert.equal(room !== undefined, isFree);
    if (room === undefined) return;
    assert.equal(room.bytes.length, length);
    this.model.reserved = end;
    this.#reserved.set(end, { room, position: this.model.position(length) });
  }

  #commit(end: EndName, action: "commit" | "shorter"): void {
    const reserved = this.#reserved.get(end);
    if (reserved === undefined) return;
    const { room, position } = reserved;
    const number = this.#number++;
    fill(room.bytes, number);
    const length = action === "commit" ? room.bytes.length : room.bytes.length >>> 1;
    room.commit(length);
    assert.throws(() => room.commit(), { code: "ERR_MEMMAP_CLOSED" });
    this.model.put({ number, length }, position);
    this.#abort(end);
  }

  #abort(end: EndName): void {
    const reserved = this.#reserved.get(end);
    if (reserved === undefined) return;
    reserved.room.abort();
    this.#reserved.delete(end);
    this.model.reserved = undefined;
  }

  #receive(end: EndName, channel: Channel): void {
    const wanted = this.model.take(end, "copy");
    const found = channel.tryReceive();
    if (wanted === undefined) assert.equal(found, undefined);
    else assertMessage(found, wanted);
  }

  #borrow(end: EndName, channel: Channel): void {
    const wanted = this.model.take(end, "borrow");
    const found = channel.borrow();
    assert.equal(found !== undefined, wanted !== undefined);
    if (found === undefined || wanted === undefined) return;
    assertMessage(Uint8Array.from(found.bytes), wanted);
    this.#borrowed.set(end, found);
  }

  #release(end: EndName): void {
    const borrowed = this.#borrowed.get(end);
    if (borrowed === undefined) return;
    borrowed.release();
    borrowed.release();
    this.#borrowed.delete(end);
    this.model.giveBack(end);
  }

  #close(end: EndName, channel: Channel): void {
    channel.close();
    this.#ends.delete(end);
    this.#borrowed.delete(end);
    this.#reserved.delete(end);
    this.model.close(end);
  }

  /** Everything that is left comes out, in its order. */
  drain(): void {
    for (const [end, channel] of this.#ends) {
      this.#release(end);
      assert.equal(channel.droppedCount, this.model.dropped(end));
    }
    for (const [end, channel] of this.#ends) {
      while (this.model.waiting(end) > 0) this.#receive(end, channel);
      assert.equal(channel.tryReceive(), undefined);
    }
  }
}

for (const isBroadcast of [false, true]) {
  for (const dropsOldest of [false, true]) {
    const mode = isBroadcast ? "broadcast" : "queue";
    const overflow = dropsOldest ? "drop-oldest" : "block";
    test(`a channel is a plain queue to each reader: ${mode}, ${overflow}`, () => {
      fc.assert(
        fc.property(fc.array(step, { maxLength: 150, size: "max" }), (steps) => {
          const run = new Run(isBroadcast, dropsOldest);
          try {
            for (const end of endNames) run.step({ end, action: "open", length: 0 });
            for (const next of steps) run.step(next);
            run.drain();
          } finally {
            run.close();
          }
        }),
        parameters(60),
      );
    });
  }
}
