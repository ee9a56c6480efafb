/**
 * The door "memmap/ipc": names only.
 */
export { Barrier } from "./barrier.js";
export type { BlockOptions, BlockSyncOptions } from "./block.js";
export { Channel } from "./channel.js";
export type { ChannelState } from "./channel-ends.js";
export type { ChannelHandle } from "./channel-handle.js";
export type { ChannelOpenOptions, ChannelOptions } from "./channel-options.js";
export type { Borrowed } from "./channel-receiving.js";
export type { LockGuard } from "./guard.js";
export type { SharedMemoryHandle } from "./memory-handle.js";
export type { SharedMemoryOptions } from "./memory-options.js";
export { Mutex } from "./mutex.js";
export type { Reservation } from "./reservation.js";
export { RwLock } from "./rw-lock.js";
export { type Permit, Semaphore } from "./semaphore.js";
export { SharedEvent } from "./shared-event.js";
export { type SharedMapOptions, SharedMemory } from "./shared-memory.js";
export {
  notify,
  type WaitOptions,
  type WaitResult,
  type WaitSyncOptions,
  wait,
  waitSync,
} from "./wait.js";
