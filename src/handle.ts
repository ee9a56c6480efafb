/**
 * Handles: how a mapping is named to another thread or process. Makes them and reads them back,
 * where nothing in them is trusted; what they lead to is attach.ts.
 *
 * A handle names the process by its number and start time, and the file by device and inode, so
 * that a number or path that was given to another since is an error and never another object.
 */
import { readFileSync, statSync } from "node:fs";
import type { MappingCore } from "./core.js";
import { memmapError, wrongValue } from "./errors.js";
import { type Backing, type Protection, protections, type Sharing, sharings } from "./flags.js";
import { native } from "./native.js";
import { asInteger, asOneOf, asOptions } from "./validate.js";

/** The form of handles that this version makes and reads. */
const version = 1;

/**
 * What `share()` gives: plain data that goes through `postMessage`, `process.send`, an environment
 * variable or a file as JSON. Its fields are the library's own.
 */
export interface MappingHandle {
  readonly memmap: number;
  readonly pid: number;
  readonly startTime: string;
  readonly id: number;
  readonly fd: number;
  readonly device: string;
  readonly inode: string;
  readonly path: string | null;
  readonly fileSize: number;
  readonly ownerUid: number;
  readonly mayWrite: boolean;
  readonly offset: number;
  readonly start: number;
  readonly byteLength: number;
  readonly pageSize: number;
  readonly protection: Protection;
  readonly sharing: Sharing;
  readonly backing: Backing;
  readonly growable: boolean;
  readonly faults: "throw" | "collect";
  /** The addresses in the sharing process, as the names in /proc/PID/map_files spell them. */
  readonly range: string;
}

/**
 * When a process started, in clock ticks since boot (proc_pid_stat(5), field 22): with its number
 * it names one process for ever. Undefined when there is none.
 */
export function startTimeOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  } catch {
    return undefined;
  }
}

function identityOf(core: MappingCore, fd: number): { readonly dev: bigint; readonly ino: bigint } {
  if (core.file !== undefined) return core.file.identity;
  return fd < 0 ? { dev: 0n, ino: 0n } : statSync(`/proc/self/fd/${fd}`, { bigint: true });
}

/** Makes the handle of an open mapping. */
export function makeHandle(core: MappingCore): MappingHandle {
  const id = native().share(core.region);
  core.isShared = true;
  const fd = native().descriptor(core.region);
  const identity = identityOf(core, fd);
  const first = native().address(core.region);
  const end = first + BigInt(core.pageCount(core.byteLength) * core.granularity);
  return {
    memmap: version,
    pid: process.pid,
    startTime: startTimeOf(process.pid) ?? "",
    id,
    fd,
    device: String(identity.dev),
    inode: String(identity.ino),
    path: core.file?.identity.absolute ?? null,
    fileSize: core.file?.size ?? 0,
    ownerUid: core.file?.ownerUid ?? 0,
    mayWrite: core.file?.mayWrite ?? true,
    offset: core.offset,
    start: core.start,
    byteLength: core.byteLength,
    pageSize: core.granularity,
    protection: core.protection === "mixed" ? core.firstProtection : core.protection,
    sharing: core.sharing,
    backing: core.backing,
    growable: core.growable,
    faults: core.faults,
    range: `${first.toString(16)}-${end.toString(16)}`,
  };
}

/** Reads a handle, whose every field may have been changed on its way. */
export function readHandle(value: unknown): MappingHandle {
  const fields: Readonly<Record<string, unknown>> = { ...asOptions(Object(value), "handle") };
  const { memmap } = fields;
  if (typeof memmap !== "number") throw wrongValue(`"handle" must be what share() gave`);
  if (memmap !== version) {
    const form = `its form is ${memmap}, and this version of memmap knows form ${version}`;
    throw memmapError("ERR_MEMMAP_VERSION", `Cannot attach to a handle: ${form}`);
  }
  const text = (name: string): string => {
    const field = fields[name];
    if (typeof field === "string") return field;
    throw wrongValue(`"handle.${name}" must be a string`);
  };
  const digits = (name: string): string => {
    const field = text(name);
    if (/^\d{1,20}$/.test(field)) return field;
    throw wrongValue(`"handle.${name}" must be a number in digits`);
  };
  const flag = (name: string): boolean => {
    const field = fields[name];
    if (typeof field === "boolean") return field;
    throw wrongValue(`"handle.${name}" must be a boolean`);
  };
  const integer = (name: string, min = 0): number =>
    asInteger(fields[name], `handle.${name}`, { min });
  return {
    memmap,
    pid: integer("pid", 1),
    startTime: text("startTime"),
    id: integer("id"),
    fd: integer("fd", -1),
    device: digits("device"),
    inode: digits("inode"),
    path: fields["path"] === null ? null : text("path"),
    fileSize: integer("fileSize"),
    ownerUid: integer("ownerUid"),
    mayWrite: flag("mayWrite"),
    offset: integer("offset"),
    start: integer("start"),
    byteLength: integer("byteLength"),
    pageSize: integer("pageSize", 1),
    protection: asOneOf(fields["protection"], "handle.protection", protections),
    sharing: asOneOf(fields["sharing"], "handle.sharing", sharings),
    backing: asOneOf(fields["backing"], "handle.backing", ["file", "anonymous", "device"]),
    growable: flag("growable"),
    faults: asOneOf(fields["faults"], "handle.faults", ["throw", "collect"]),
    range: text("range"),
  };
}
