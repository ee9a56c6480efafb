/**
 * The memory of a channel as one end has it: mapped, checked, and never seen by users but in the
 * bytes that they reserve and borrow.
 */
import { memmapError } from "../errors.js";
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

/** A channel's memory. */
export interface ChannelMemory {
  readonly memory: SharedMemory;
  readonly mapping: Mapping;
  readonly place: Place;
  readonly shape: ChannelShape;
  /** The ring, as bytes and as words. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly data: Int32Array<ArrayBuffer>;
}

function mapped(memory: SharedMemory, shape: ChannelShape | undefined): ChannelMemory {
  const mapping = memory.map();
  try {
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
    return { memory, mapping, place, shape: found, bytes, data };
  } catch (error) {
    mapping.close();
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
