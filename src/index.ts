/**
 * The door "memmap": names only.
 */
export { attachMapping } from "./attach.js";
export {
  type FaultAccess,
  FaultError,
  type FaultReason,
  MemmapError,
  SystemError,
} from "./errors.js";
export type { Advice, Backing, Protection, Sharing } from "./flags.js";
export type { MappingHandle } from "./handle.js";
export { mapAnonymous, mapFile, mapFileSync } from "./map.js";
export { type FlushOptions, Mapping, type WaitOptions } from "./mapping.js";
export { pageSize } from "./native.js";
export type { MapFileOptions, MapOptions } from "./options.js";
export type { ByteRange } from "./pages.js";
export type { Residency, ResidencyRun } from "./residency.js";
export type { Source } from "./source.js";
