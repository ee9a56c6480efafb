/**
 * Reads the options by which shared memory is made.
 */
import { wrongValue } from "../errors.js";
import { asInteger, asOptionalBoolean, asOptions } from "../validate.js";
import { asName } from "./memory-name.js";

/** How an object is made. */
export interface SharedMemoryOptions {
  /**
   * Bytes, 0 or more. Memory for a named object is allocated at once, so that a full /dev/shm is an
   * error here; an object without a name takes pages as they are first written.
   */
  readonly byteLength: number;
  /** 1 to 255 bytes, with or without a "/" before them; left out, it has no name. */
  readonly name?: string | undefined;
  /** The permissions of a named object, exactly. Default 0o600. */
  readonly mode?: number | undefined;
  /**
   * Nobody can make it shorter, so that no peer can take pages away under a mapping. Default true
   * for an object without a name; named ones cannot be sealed.
   */
  readonly sealed?: boolean | undefined;
  /** The name stays when the last holder has closed it or has died. Default false. */
  readonly persistent?: boolean | undefined;
}

/** The options, read. */
export interface MemoryPlan {
  readonly byteLength: number;
  readonly name: string | undefined;
  readonly mode: number;
  readonly sealed: boolean;
  readonly persistent: boolean;
}

/** Reads the options; each that is wrong, or contradicts another, is a mistake of the caller. */
export function readOptions(options: SharedMemoryOptions): MemoryPlan {
  const { byteLength, name, mode, sealed, persistent } = asOptions(options);
  const length = asInteger(byteLength, "options.byteLength");
  const isNamed = name !== undefined;
  const isSealed = asOptionalBoolean(sealed, "options.sealed");
  const isPersistent = asOptionalBoolean(persistent, "options.persistent");
  if (isNamed && isSealed === true) {
    throw wrongValue(`"options.sealed" needs an object without a "name": named ones have no seals`);
  }
  if (!isNamed && (isPersistent === true || mode !== undefined)) {
    throw wrongValue(`"options.persistent" and "options.mode" need a "name"`);
  }
  return {
    byteLength: length,
    name: isNamed ? asName(name, "options.name") : undefined,
    mode: mode === undefined ? 0o600 : asInteger(mode, "options.mode", { max: 0o777 }),
    sealed: isSealed ?? !isNamed,
    persistent: isPersistent ?? false,
  };
}
