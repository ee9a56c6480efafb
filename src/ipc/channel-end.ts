/**
 * One end of a channel with everything that it has: memory, its entry in the table of ends, the
 * halves that send and receive. Owns the list of ends of this environment, which are left when the
 * program ends by itself: a peer is closed then, and has died only when it was killed or failed.
 */
import type { FaultError } from "../errors.js";
import { Consumer } from "./channel-consumer.js";
import { Ends } from "./channel-ends.js";
import type { ChannelMemory } from "./channel-memory.js";
import { Producer } from "./channel-producer.js";
import type { Keeper } from "./wait.js";

/** Where a channel keeps its end. @internal */
export const endOf: unique symbol = Symbol("memmap.channel");

/** An end that is open. */
export class ChannelEnd implements Keeper {
  readonly memory: ChannelMemory;
  readonly ends: Ends;
  readonly producer: Producer;
  readonly consumer: Consumer;
  keepsAlive = true;
  isClosed = false;
  #failure: FaultError | undefined;

  constructor(memory: ChannelMemory) {
    this.memory = memory;
    this.ends = new Ends(memory.place, memory.shape.isBroadcast);
    this.producer = new Producer(memory, this.ends);
    this.consumer = new Consumer(memory, this.ends);
    memory.mapping.onfault = (fault) => this.#fail(fault);
    memory.lent.onfault = (fault) => this.#fail(fault);
  }

  /** Leaves the channel and gives the memory back; a second call does nothing. */
  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    openEnds.delete(this);
    const { mapping, lent, memory } = this.memory;
    for (const part of [this.producer, this.consumer, this.ends]) closeWhatever(part);
    closeWhatever({ close: () => mapping.check() }); // Faults of these last touches.
    for (const part of [lent, mapping, memory]) closeWhatever(part);
  }

  /** Throws when its memory could not be served: nothing that is read from it counts any more. */
  requireWhole(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  /* A peer can shorten memory that has a name: the next call tells, rather than an uncaught error.
     After the end only a user's own late touch can be the reason. */
  #fail(fault: FaultError): void {
    if (this.isClosed) throw fault;
    this.#failure ??= fault;
  }
}

/* What somebody has written over cannot be given back, and the rest is closed all the same. */
function closeWhatever(part: { close(): void }): void {
  try {
    part.close();
  } catch {
    // Whoever waits for what is left sees this thread end, if not before.
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
export function enter(memory: ChannelMemory, listens: boolean): ChannelEnd {
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
    if (listens) end.ends.listens();
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
