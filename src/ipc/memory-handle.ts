/**
 * Handles of shared memory: how an object is named to another process or thread as plain data. What
 * comes back is read field by field, since it may have been changed on its way.
 */
import { memmapError, wrongValue } from "../errors.js";
import { asInteger, asOptions } from "../validate.js";
import { asName } from "./memory-name.js";

/** The form of handles that this version makes and reads. */
const form = 1;

/**
 * What {@link SharedMemory.handle} is: plain data that goes through `process.send`, an environment
 * variable, a socket or `postMessage`. Its fields are the library's own.
 */
export interface SharedMemoryHandle {
  readonly sharedMemory: number;
  readonly pid: number;
  readonly startTime: string;
  readonly fd: number;
  readonly device: string;
  readonly inode: string;
  readonly name: string | null;
}

/** The fields of a handle but its form. */
export type HandleFields = Omit<SharedMemoryHandle, "sharedMemory">;

/** Makes a handle. */
export function makeHandle(fields: HandleFields): SharedMemoryHandle {
  return { sharedMemory: form, ...fields };
}

function asText(value: unknown, name: string): string {
  if (typeof value === "string" && /^\d{1,20}$/.test(value)) return value;
  throw wrongValue(`"handle.${name}" must be a number in digits`);
}

/** Reads a handle, whose every field may have been changed on its way. */
export function readHandle(value: unknown): HandleFields {
  const fields: Readonly<Record<string, unknown>> = { ...asOptions(Object(value), "handle") };
  const { sharedMemory } = fields;
  if (typeof sharedMemory !== "number") {
    throw wrongValue(`"handle" must be the handle of a SharedMemory`);
  }
  if (sharedMemory !== form) {
    const known = `its form is ${sharedMemory}, and this version of memmap knows form ${form}`;
    throw memmapError("ERR_MEMMAP_VERSION", `Cannot attach to a handle: ${known}`);
  }
  return {
    pid: asInteger(fields["pid"], "handle.pid", { min: 1 }),
    startTime: asText(fields["startTime"], "startTime"),
    fd: asInteger(fields["fd"], "handle.fd"),
    device: asText(fields["device"], "device"),
    inode: asText(fields["inode"], "inode"),
    name: fields["name"] === null ? null : asName(fields["name"], "handle.name"),
  };
}
