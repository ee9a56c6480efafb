/**
 * The door "memmap/ipc": names only.
 */
export type { SharedMemoryHandle } from "./memory-handle.js";
export type { SharedMemoryOptions } from "./memory-options.js";
export { type SharedMapOptions, SharedMemory } from "./shared-memory.js";
export {
  notify,
  type WaitOptions,
  type WaitResult,
  type WaitSyncOptions,
  wait,
  waitSync,
} from "./wait.js";
