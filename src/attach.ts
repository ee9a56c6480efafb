/**
 * Attaches to shared mappings by their handles: in a worker of the same process, or in another
 * process of the same user. What a handle leads to is checked before it is mapped.
 */
import { closeSync, constants, openSync } from "node:fs";
import { protectionBits } from "./bits.js";
import { MappingCore } from "./core.js";
import { memmapError, SystemError, wrongValue } from "./errors.js";
import { fromFileSystem } from "./failure.js";
import { isWritable } from "./flags.js";
import { type MappingHandle, readHandle, startTimeOf } from "./handle.js";
import { mapOpened } from "./map.js";
import { type Mapping, makeMapping } from "./mapping.js";
import { type NativeRegion, native } from "./native.js";
import { readFileOptions } from "./options.js";
import { describeSync, type FileFacts, OpenFile } from "./source.js";

function factsOf(handle: MappingHandle): FileFacts | undefined {
  if (handle.backing === "anonymous") return undefined;
  return {
    kind: handle.backing,
    size: handle.fileSize,
    identity: {
      path: handle.path ?? undefined,
      absolute: handle.path ?? undefined,
      dev: BigInt(handle.device),
      ino: BigInt(handle.inode),
      size: handle.fileSize,
    },
    ownerUid: handle.ownerUid,
    mayWrite: handle.mayWrite,
    granularity: handle.pageSize,
  };
}

/* In the process that shared it the memory itself is at hand. */
function attachHere(handle: MappingHandle): Mapping | undefined {
  const region = native().attach(handle.id);
  if (typeof region === "number") return undefined;
  const holdsAll = handle.start + handle.byteLength <= native().byteLength(region);
  try {
    if (!holdsAll) throw wrongValue(`"handle" asks for more bytes than were shared`);
    const samePage = native().pageBytes(region) === handle.pageSize;
    if (!samePage || handle.start >= handle.pageSize) {
      throw wrongValue(`"handle" does not fit the memory that was shared`);
    }
    return wrapRegion(region, handle);
  } catch (error) {
    native().close(region, false);
    throw error;
  }
}

function wrapRegion(region: NativeRegion, handle: MappingHandle): Mapping {
  const { start, byteLength, offset, protection, sharing, backing, growable } = handle;
  const granularity = handle.pageSize;
  const file = factsOf(handle);
  const init = { region, start, byteLength, offset, protection, sharing, backing, granularity };
  const state = new MappingCore({ ...init, file, growable, faults: handle.faults });
  state.isShared = true;
  if (sharing === "shared") {
    const length = state.pageCount(byteLength) * granularity;
    const result = native().protect(region, 0, length, protectionBits(protection));
    state.check(result, "mprotect", "attach to");
  }
  return makeMapping(state);
}

function flagsOf(handle: MappingHandle): number {
  const writes = isWritable(handle.protection) || handle.growable;
  return (writes ? constants.O_RDWR : constants.O_RDONLY) | constants.O_NONBLOCK;
}

/* What a name answers that leads to nothing, or to what cannot be opened by name. */
const gone: ReadonlySet<string> = new Set(["ENOENT", "ENOTDIR", "ENXIO", "ESRCH"]);

/* Opens a name that may lead to the shared object; undefined when it leads to none, or to another.
 */
function openName(name: string, handle: MappingHandle): OpenFile | undefined {
  const path = handle.path ?? name;
  let fd: number;
  try {
    fd = openSync(name, flagsOf(handle));
  } catch (error) {
    const what = `Cannot attach to ${JSON.stringify(path)}`;
    const failure = fromFileSystem(error, { syscall: "open", what, path });
    if (failure instanceof SystemError && gone.has(failure.code)) return undefined;
    throw failure;
  }
  const file = new OpenFile(fd, { kind: "path", path, name: path }, false);
  const { identity } = describeSync(file);
  if (String(identity.dev) === handle.device && String(identity.ino) === handle.inode) return file;
  closeSync(fd);
  return undefined;
}

/* The names by which a process reaches the object: those of the sharer while it lives, the path. */
function namesOf(handle: MappingHandle, isAlive: boolean): readonly string[] {
  const names: string[] = [];
  if (isAlive && handle.fd >= 0) names.push(`/proc/${handle.pid}/fd/${handle.fd}`);
  if (handle.path !== null) names.push(handle.path);
  if (isAlive && /^[0-9a-f]+-[0-9a-f]+$/.test(handle.range)) {
    names.push(`/proc/${handle.pid}/map_files/${handle.range}`);
  }
  return names;
}

/* In another process the object is opened again, by whichever name leads to it. */
function attachThere(handle: MappingHandle): Mapping {
  const isAlive = startTimeOf(handle.pid) === handle.startTime;
  let refused: unknown;
  for (const name of namesOf(handle, isAlive)) {
    let file: OpenFile | undefined;
    try {
      file = openName(name, handle);
    } catch (error) {
      refused ??= error;
    }
    if (file !== undefined) return mapAgain(file, handle);
  }
  if (refused !== undefined) throw refused;
  const what = `Cannot attach to the shared ${handle.backing} mapping`;
  throw isAlive
    ? memmapError("ERR_MEMMAP_CLOSED", `${what}: the process that shared it has closed it`)
    : memmapError("ERR_MEMMAP_PEER_DIED", `${what}: process ${handle.pid} has ended`);
}

function mapAgain(file: OpenFile, handle: MappingHandle): Mapping {
  const { offset, byteLength: length, protection, growable, faults } = handle;
  try {
    const options = { offset, length, protection, sharing: "shared", faults } as const;
    const plan = readFileOptions(options, "descriptor");
    const backing = handle.backing === "anonymous" ? "anonymous" : undefined;
    return mapOpened(file, plan, { backing, growable, path: handle.path ?? undefined });
  } finally {
    file.close("mapped");
  }
}

/**
 * Attaches to memory that another mapping shares, without copying it.
 *
 * In a worker of the same process the handle of any mapping will do, a private one included, whose
 * pages all holders then see. In another process of the same user a file is opened by its path, and
 * anonymous memory through the process that shares it. What is attached lives by itself: it stays
 * when the sharer closes. A mapping whose pages differ in protection is attached with the
 * protection it was mapped with.
 *
 * @param handle What `Mapping.share()` gave, as it came out of `postMessage`, `process.send` or
 * JSON.
 * @returns A mapping of the same bytes.
 * @throws {TypeError} {RangeError} For what is no handle.
 * @throws {MemmapError} `ERR_MEMMAP_CLOSED`: the sharer has closed it, and no path leads to it;
 *   `ERR_MEMMAP_PEER_DIED`: the sharing process has ended; `ERR_MEMMAP_UNSUPPORTED`: a private
 *   mapping of another process; `ERR_MEMMAP_VERSION`: a handle of another version of memmap.
 * @throws {SystemError} `EACCES`, `EPERM` where permissions forbid it; what mmap(2) refused.
 *
 * **Platform** Linux. Follows proc_pid_fd(5) and mmap(2).
 *
 * @example
 * ```ts
 * import { attachMapping, mapAnonymous } from "memmap";
 *
 * using mapping = mapAnonymous(4096, { sharing: "shared" });
 * const handle = JSON.parse(JSON.stringify(mapping.share()));
 * using attached = attachMapping(handle); // in a worker or another process as well
 * mapping.bytes[0] = 42;
 * console.log(attached.bytes[0]);
 * ```
 */
export function attachMapping(handle: MappingHandle): Mapping {
  const fields = readHandle(handle);
  const isHere = fields.pid === process.pid && startTimeOf(process.pid) === fields.startTime;
  const attached = isHere ? attachHere(fields) : undefined;
  if (attached !== undefined) return attached;
  if (fields.sharing === "shared") return attachThere(fields);
  const what = "Cannot attach to a private mapping";
  throw isHere
    ? memmapError("ERR_MEMMAP_CLOSED", `${what}: it was closed`)
    : memmapError("ERR_MEMMAP_UNSUPPORTED", `${what}: it belongs to process ${fields.pid} alone`);
}
