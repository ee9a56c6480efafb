// The driver of memmap itself. It loads the library where it is asked for, not before: the
// processes of its peers have nothing of it.

import type { FaultError, Mapping, MappingHandle } from "memmap";
import type { Driver, Memory, Wanted } from "./driver.js";

/** Faults that reached the process as uncaught errors and were not asked for yet. */
const uncaught: FaultError[] = [];

export const memmap: Driver = {
  lacks: {},
  isFixed: false,
  load: async () => {
    const { attachMapping, FaultError, mapAnonymous, mapFileSync } = await import("memmap");
    process.on("uncaughtException", (error) => {
      if (!(error instanceof FaultError)) throw error;
      uncaught.push(error);
    });
    const isChecked = (mapping: Mapping) => {
      try {
        mapping.check();
        return false;
      } catch (error) {
        if (error instanceof FaultError) return true;
        throw error;
      }
    };
    const memoryOf = (mapping: Mapping): Memory => ({
      bytes: mapping.bytes,
      get shared() {
        return mapping.sharedBuffer;
      },
      close: () => mapping.close(),
      resize: (byteLength) => {
        mapping.resize(byteLength);
        return memoryOf(mapping);
      },
      forbid: (offset, length) => mapping.protect("none", { offset, length }),
      pin: () => mapping.pin(),
      handle: () => mapping.share(),
      isTold: () => isChecked(mapping),
      renew: () => mapping.remap(),
    });
    const map = ({ path, offset, byteLength, protection, isHuge, isLeftAlone }: Wanted) => {
      const faults = isLeftAlone ? "throw" : "collect";
      if (path !== undefined) {
        return memoryOf(mapFileSync(path, { offset, length: byteLength, protection, faults }));
      }
      const huge = isHuge ? { hugePages: byteLength, reserve: false } : {};
      return memoryOf(mapAnonymous(byteLength, { ...huge, faults }));
    };
    return { map, attach: (handle) => memoryOf(attachMapping(handleOf(handle))), isHeard };
  },
};

function isHeard(): boolean {
  return uncaught.splice(0).length > 0;
}

function handleOf(value: unknown): MappingHandle {
  const handle: MappingHandle = JSON.parse(JSON.stringify(value));
  return handle;
}
