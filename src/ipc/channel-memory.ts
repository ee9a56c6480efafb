/**
 * The memory of a channel as one end has it: mapped and checked. It is mapped twice, since what
 * users get to reserve and borrow has a buffer, which they can transfer away: the channel itself
 * never leans on that one.
 *
 * Invariant: no user ever holds a view of `mapping`.
 */
import { type FaultError, memmapError } from "../errors.js";
import type { Mapping } from "../mapping.js";
import { at, type ChannelShape, headBytes, readShape, writeShape } from "./channel-layout.js";
import { formatOf, requireFormat } from "./format.js";
import { joinNamespace } from "./namespace.js";
import { thisThread } from "./owner.js";
import { Place } from "./place.js";
import type { SharedMemory } from "./shared-memory.js";
import { notify, waitSync } from "./wait.js";

/** How long a channel may be in the making when another process opens it. */
const makingMs = 1000;

/* The ring as users see it, mapped when it is first asked for, and again if they give it away. */
class Lent {
  readonly #memory: SharedMemory;
  #mapping: Mapping | undefined;
  /** Told of faults of the views. */
  onfault: ((fault: FaultError) => void) | null = null;

  constructor(memory: SharedMemory) {
    this.#memory = memory;
  }

  bytes(offset: number, length: number): Uint8Array<ArrayBuffer> {
    if (this.#mapping?.bytes.length === 0) this.close();
    this.#mapping ??= this.#memory.map({ offset: headBytes });
    this.#mapping.onfault = this.onfault;
    return this.#mapping.bytes.subarray(offset, offset + length);
  }

  close(): void {
    this.#mapping?.close();
    this.#mapping = undefined;
  }
}

/** A channel's memory. */
export interface ChannelMemory {
  readonly memory: SharedMemory;
  readonly mapping: Mapping;
  readonly place: Place;
  readonly shape: ChannelShape;
  /** The ring, as bytes and as words. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly data: Int32Array<ArrayBuffer>;
  /** The ring for users. */
  readonly lent: Lent;
}

function mapped(memory: SharedMemory, shape: ChannelShape | undefined): ChannelMemory {
  let mapping: Mapping | undefined;
  try {
    mapping = memory.map();
    if (mapping.byteLength < headBytes) {
      const reason = `memory of ${mapping.byteLength} bytes is none`;
      throw memmapError("ERR_MEMMAP_CORRUPT", `Cannot open the channel: ${reason}`);
    }
    const named = memory.name === undefined ? "" : ` ${JSON.stringify(memory.name)}`;
    const kind = { label: `channel${named}`, byteLength: headBytes };
    const place = new Place(mapping.bytes, kind);
    const { words } = place;
    if (shape !== undefined) {
      writeShape(words, shape);
      Atomics.store(words, at.format, formatOf("channel"));
      notify(words, at.format);
    }
    waitSync(words, at.format, 0, { timeoutMs: makingMs });
    requireFormat(Atomics.load(words, at.format), "channel", `Cannot open ${place.label}`);
    const found = readShape(words, mapping.byteLength);
    joinNamespace(words, at.namespace, thisThread().namespace);
    const { buffer } = mapping;
    const bytes = new Uint8Array(buffer, headBytes, found.capacity);
    const data = new Int32Array(buffer, headBytes, found.capacity / 4);
    return { memory, mapping, place, shape: found, bytes, data, lent: new Lent(memory) };
  } catch (error) {
    mapping?.close();
    memory.close();
    throw error;
  }
}

/** Makes a channel in new memory. */
export function makeChannel(memory: SharedMemory, shape: ChannelShape): ChannelMemory {
  return mapped(memory, shape);
}

/**
 * Opens the channel in some memory.
 *
 * @throws {MemmapError} `ERR_MEMMAP_CORRUPT` where there is none; `ERR_MEMMAP_VERSION`.
 */
export function openChannel(memory: SharedMemory): ChannelMemory {
  return mapped(memory, undefined);
}
