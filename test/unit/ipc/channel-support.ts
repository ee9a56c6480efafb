// What the tests of channels share: pairs of ends, the words of their memory, turns of the loop.

import { Channel, type ChannelOptions, SharedMemory } from "memmap/ipc";
import { type Cleanup, undoAfter } from "../../helpers/temp.js";

/** A channel and another end of it, both closed after the test. */
export function pair(t: Cleanup, options?: ChannelOptions): [Channel, Channel] {
  const first = Channel.create(options);
  const second = Channel.attach(first.handle);
  undoAfter(t, () => first.close());
  undoAfter(t, () => second.close());
  return [first, second];
}

/** The words of a channel's memory, as anybody may write them. */
export function wordsOf(t: Cleanup, channel: Channel): Int32Array<ArrayBuffer> {
  const memory = SharedMemory.attach(channel.handle.memory);
  const mapping = memory.map();
  undoAfter(t, () => mapping.close());
  undoAfter(t, () => memory.close());
  return new Int32Array(mapping.buffer);
}

/** Fills the ring with messages of one byte each, and says how many went in. */
export function fillRing(channel: Channel, length = 100): number {
  let count = 0;
  while (channel.trySend(new Uint8Array(length).fill(count))) count += 1;
  return count;
}

/** Lets the event loop turn for a while, so that what waits is asleep. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
