/**
 * Handles of channels: plain data that names one to another thread or process. What comes back is
 * read field by field, since it may have been changed on its way.
 */
import { memmapError, wrongValue } from "../errors.js";
import { asOptions } from "../validate.js";
import type { SharedMemoryHandle } from "./memory-handle.js";

/** The form of handles that this version makes and reads. */
const form = 1;

/**
 * What {@link Channel.handle} is: plain data that goes through `process.send`, an environment
 * variable, a socket or `postMessage`. Its fields are the library's own.
 */
export interface ChannelHandle {
  readonly channel: number;
  readonly memory: SharedMemoryHandle;
}

/** Makes the handle of a channel in some memory. */
export function makeHandle(memory: SharedMemoryHandle): ChannelHandle {
  return { channel: form, memory };
}

/** Reads a handle; that of the memory is checked by whoever attaches to it. */
export function readHandle(value: ChannelHandle): SharedMemoryHandle {
  const { channel, memory } = asOptions<ChannelHandle>(Object(value), "handle");
  if (typeof channel !== "number" || memory === undefined) {
    throw wrongValue(`"handle" must be the handle of a Channel`);
  }
  if (channel === form) return memory;
  const known = `its form is ${channel}, and this version of memmap knows form ${form}`;
  throw memmapError("ERR_MEMMAP_VERSION", `Cannot attach to a handle: ${known}`);
}
