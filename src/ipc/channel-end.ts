/**
 * One end of a channel with everything that it has: memory, its entry in the table of ends, the
 * halves that send and receive. Owns the list of ends of this environment, which are left when the
 * program ends by itself: a peer is closed then, and has died only when it was killed or failed.
 */
import { Consumer } from "./channel-consumer.js";
import { Ends } from "./channel-ends.js";
import type { ChannelMemory } from "./channel-memory.js";
import { Producer } from "./channel-producer.js";
import type { Keeper } from "./wait.js";

/** An end that is open. */
export class ChannelEnd implements Keeper {
  readonly memory: ChannelMemory;
  readonly ends: Ends;
  readonly producer: Producer;
  readonly consumer: Consumer;
  keepsAlive = true;
  isClosed = false;

  constructor(memory: ChannelMemory) {
    this.memory = memory;
    this.ends = new Ends(memory.place, memory.shape.isBroadcast);
    this.producer = new Producer(memory, this.ends);
    this.consumer = new Consumer(memory, this.ends);
  }

  /** Leaves the channel and gives the memory back; a second call does nothing. */
  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    openEnds.delete(this);
    this.producer.close();
    this.consumer.close();
    this.ends.leave();
    this.memory.mapping.close();
    this.memory.memory.close();
  }
}

const openEnds = new Set<ChannelEnd>();
let isListening = false;

/* An end that nobody holds any more is left. */
const dropped = new FinalizationRegistry<ChannelEnd>((end) => end.close());

function leaveAll(code: number): void {
  if (code !== 0) return;
  for (const end of [...openEnds]) end.close();
}

/** Enters the channel in some memory, on behalf of an object that users hold. */
export function enter(memory: ChannelMemory, receives: boolean): ChannelEnd {
  const end = new ChannelEnd(memory);
  try {
    end.ends.join();
  } catch (error) {
    memory.mapping.close();
    memory.memory.close();
    throw error;
  }
  openEnds.add(end);
  if (!isListening) process.on("exit", leaveAll);
  isListening = true;
  try {
    if (receives) end.ends.receives();
  } catch (error) {
    end.close();
    throw error;
  }
  return end;
}

/** Leaves an end when the object that users hold has gone. */
export function leaveWith(owner: object, end: ChannelEnd): void {
  dropped.register(owner, end);
}
