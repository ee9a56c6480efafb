/**
 * Makes mappings: opens the file, decides which bytes, asks the kernel, and wraps what comes back.
 * The asynchronous and the synchronous way differ only in who waits; every decision is taken in a
 * function that both call.
 */
import { fstatSync, ftruncateSync } from "node:fs";
import { adviceNumber } from "./bits.js";
import { MappingCore } from "./core.js";
import { outOfRange, wrongValue } from "./errors.js";
import { errnoName, systemError } from "./failure.js";
import { type Backing, isWritable } from "./flags.js";
import { type Mapping, makeMapping } from "./mapping.js";
import {
  constant,
  type MapArguments,
  memoryFailed,
  type NativeRegion,
  native,
  pageSize,
} from "./native.js";
import {
  type FilePlan,
  type MapFileOptions,
  type MapOptions,
  type MapPlan,
  readAnonymous,
  readFileOptions,
  requireViewable,
} from "./options.js";
import { type Extent, roundDown, roundUp } from "./pages.js";
import {
  describe,
  describeSync,
  type FileFacts,
  nameOf,
  type OpenFile,
  openFile,
  openFileSync,
  pathOf,
  readSource,
  type Source,
} from "./source.js";

/* What is about to be mapped, with nothing left to decide. */
interface Target {
  readonly plan: MapPlan;
  readonly args: MapArguments;
  readonly start: number;
  readonly byteLength: number;
  readonly offset: number;
  readonly backing: Backing;
  readonly granularity: number;
  readonly file: FileFacts | undefined;
  readonly growable: boolean;
  /** The length of the file before this call made it longer. */
  readonly grownFrom: number | undefined;
  readonly what: string;
  readonly path: string | undefined;
}

/**
 * Maps a file or device and gives its bytes without copying them.
 *
 * Opening, growing and (with `populate` or `lock`) the mapping itself run off the event loop. The
 * pages are read when they are touched, so the cost does not depend on the length. A descriptor
 * that was given can be closed at once: closing it does not unmap. The view is exactly the bytes
 * asked for; offsets and lengths need no alignment.
 *
 * **Safety** A file that others shorten or overwrite changes under the mapping. `read()`, `write()`
 * and `load()` throw a `FaultError` for a page that is gone; a touch of `bytes` reads zeros there,
 * and the fault is told afterwards.
 *
 * @param source A path (string, `file:` URL, Buffer), a file descriptor, or an object with one such
 *   as a `FileHandle`.
 * @param options See {@link MapFileOptions}; by default the whole file, readable and shared.
 * @returns The open mapping; an empty file gives an empty mapping.
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`: an argument of the
 *   wrong type, options that contradict each other, a device without `length`.
 * @throws {RangeError} `ERR_OUT_OF_RANGE`: a range past the end of the file without `grow`;
 *   `ERR_BUFFER_TOO_LARGE`: more than the runtime can view (4 GiB on Node 20 and Bun).
 * @throws {SystemError} What open(2), fallocate(2) or mmap(2) refused: `ENOENT`, `EACCES`, `ENODEV`
 *   for what cannot be mapped (directory, pipe, /proc), `ENOSPC`, `ENOMEM`, `EAGAIN` ...
 * @throws {MemmapError} `ERR_MEMMAP_UNSUPPORTED` where the platform lacks what was asked for.
 *
 * **Platform** Linux. Follows mmap(2).
 *
 * @example
 * ```ts
 * import { mapFile } from "memmap";
 *
 * using mapping = await mapFile("message.txt");
 * console.log(mapping.byteLength, mapping.bytes[0]);
 * ```
 */
export async function mapFile(source: Source, options?: MapFileOptions): Promise<Mapping> {
  const location = readSource(source);
  const plan = readFileOptions(options, location.kind);
  native();
  const file = await openFile(location, openPlan(plan));
  let outcome: "mapped" | "failed" = "failed";
  try {
    const facts = await describe(file);
    const extent = extentOf(plan, facts, nameOf(location));
    if (needsSpace(plan, facts)) {
      const grown = await native().allocateAsync(file.fd, extent.offset, extent.length);
      checkSpace(grown, file, extent);
    }
    const target = fileTarget(plan, { file, facts, extent });
    const { args } = target;
    const region = plan.waits ? await native().mapAsync(...args) : native().map(...args);
    const mapping = finish(target, region, file);
    outcome = "mapped";
    return mapping;
  } finally {
    file.close(outcome);
  }
}

/**
 * Maps a file or device, as {@link mapFile}, and waits for it.
 *
 * @param source As {@link mapFile}.
 * @param options As {@link mapFile}.
 * @returns The open mapping.
 * @throws {TypeError} {RangeError} {SystemError} {MemmapError} As {@link mapFile}.
 *
 * @example
 * ```ts
 * import { mapFileSync } from "memmap";
 *
 * using log = mapFileSync("log.bin", { create: true, grow: true, length: 4096 });
 * log.write(0, new TextEncoder().encode("first entry\n"));
 * log.flushSync();
 * ```
 */
export function mapFileSync(source: Source, options?: MapFileOptions): Mapping {
  const location = readSource(source);
  const plan = readFileOptions(options, location.kind);
  native();
  const file = openFileSync(location, openPlan(plan));
  let outcome: "mapped" | "failed" = "failed";
  try {
    const mapping = mapOpened(file, plan);
    outcome = "mapped";
    return mapping;
  } finally {
    file.close(outcome);
  }
}

/** What is different when an open file was shared by another process. */
export interface Attached {
  readonly backing: "anonymous" | undefined;
  readonly growable: boolean;
  readonly path: string | undefined;
}

/** Maps an open file; who opened it closes it. */
export function mapOpened(file: OpenFile, plan: FilePlan, attached?: Attached): Mapping {
  const facts = describeSync(file);
  const extent = extentOf(plan, facts, nameOf(file.location));
  if (needsSpace(plan, facts)) {
    checkSpace(native().allocate(file.fd, extent.offset, extent.length), file, extent);
  }
  const whole = fileTarget(plan, { file, facts, extent });
  const target = attached === undefined ? whole : attachedTarget(whole, attached);
  return finish(target, native().map(...target.args), file);
}

/* A file that was made longer for a mapping that then failed gets its old length back, unless
   somebody has made it longer still. */
function finish(target: Target, region: NativeRegion | number, file: OpenFile): Mapping {
  try {
    return wrap(target, checkRegion(region, target));
  } catch (error) {
    if (target.grownFrom !== undefined) shorten(file, target);
    throw error;
  }
}

function countOf({ length }: Extent): string {
  return length === 0 ? "" : `${length} bytes of `;
}

function shorten(file: OpenFile, { grownFrom = 0, offset, byteLength }: Target): void {
  const end = offset + byteLength;
  if (end > grownFrom && fstatSync(file.fd).size === end) ftruncateSync(file.fd, grownFrom);
}

function attachedTarget(target: Target, { backing, growable, path }: Attached): Target {
  const [hint, length, prot, flags, fd, offset, page] = target.args;
  const args: MapArguments = [hint, length, prot, flags, fd, offset, page, growable];
  const known = target.file;
  const identity = known && { ...known.identity, path, absolute: path };
  const file = known && identity && { ...known, identity };
  if (backing === undefined) return { ...target, growable, args, file, path };
  return { ...target, growable, args, backing, file: undefined, path: undefined };
}

/**
 * Maps memory that no file stands behind; it reads as zeros.
 *
 * No page is taken before it is written. Private memory belongs to this mapping alone. Shared
 * memory is a memory object (memfd_create(2)), so that it can grow by `resize()`; it holds one
 * descriptor until `close()`.
 *
 * @param byteLength How many bytes, 0 or more; any alignment.
 * @param options See {@link MapOptions}; by default readable, writable and private.
 * @returns The open mapping.
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`: wrong type, contradiction.
 * @throws {RangeError} `ERR_OUT_OF_RANGE`: no whole number of bytes; `ERR_BUFFER_TOO_LARGE`:
 *   more than the runtime can view (4 GiB on Node 20 and Bun).
 * @throws {SystemError} What mmap(2) or memfd_create(2) refused: `ENOMEM`, `EAGAIN`, `EINVAL` ...
 * @throws {MemmapError} `ERR_MEMMAP_UNSUPPORTED` where the platform lacks what was asked for.
 *
 * **Platform** Linux. Follows mmap(2), MAP_ANONYMOUS.
 *
 * @example
 * ```ts
 * import { mapAnonymous } from "memmap";
 *
 * using scratch = mapAnonymous(64 * 1024 * 1024);
 * scratch.bytes[0] = 42; // one page is taken now, not 64 MiB
 * ```
 */
export function mapAnonymous(byteLength: number, options?: MapOptions): Mapping {
  const { byteLength: length, plan } = readAnonymous(byteLength, options);
  const granularity = plan.hugePageSize > 0 ? plan.hugePageSize : pageSize;
  const rounded = Math.max(granularity, roundUp(length, granularity));
  const what = `Cannot map ${length} bytes of anonymous memory`;
  const type = plan.droppable ? "MAP_DROPPABLE" : "MAP_PRIVATE";
  /* The pages of a memory object are its own: huge ones are asked for when it is made. */
  const hugeBits = constant("MAP_HUGETLB") | (63 << constant("MAP_HUGE_SHIFT"));
  const isShared = plan.sharing === "shared";
  const flags = isShared
    ? (plan.flags & ~hugeBits) | constant("MAP_SHARED")
    : plan.flags | constant(type) | constant("MAP_ANONYMOUS");
  const target: Target = {
    plan,
    args: [plan.hint, rounded, plan.prot, flags, -1, 0, granularity, false],
    start: 0,
    byteLength: length,
    offset: 0,
    backing: "anonymous",
    granularity,
    file: undefined,
    growable: true,
    grownFrom: undefined,
    what,
    path: undefined,
  };
  const region = isShared ? mapMemoryObject(target) : native().map(...target.args);
  return wrap(target, checkRegion(region, target));
}

function mapMemoryObject({ plan, args }: Target): NativeRegion | number {
  const name = plan.name === undefined ? "memmap" : `memmap:${plan.name}`;
  let flags = constant("MFD_CLOEXEC");
  if (plan.hugePageSize > 0) {
    flags |= constant("MFD_HUGETLB");
    flags |= Math.log2(plan.hugePageSize) << constant("MAP_HUGE_SHIFT");
  }
  return native().mapMemory(name, flags, ...args);
}

function openPlan(plan: FilePlan): Parameters<typeof openFile>[1] {
  const writable =
    plan.create || plan.grow || (plan.sharing === "shared" && isWritable(plan.protection));
  return { writable, create: plan.create, exclusive: plan.exclusive, mode: plan.mode };
}

/* Which bytes of the file: the one place that knows where a mapping may end. */
function extentOf(plan: FilePlan, facts: FileFacts, name: string): Extent {
  const { offset } = plan;
  if (facts.kind === "device" && plan.length === undefined) {
    throw wrongValue(`Cannot map ${name}: a device needs a "length"`);
  }
  if (facts.kind !== "file") return { offset, length: plan.length ?? 0 };
  if (offset > facts.size && (!plan.grow || plan.length === undefined)) {
    throw outOfRange(
      `Cannot map ${name} at offset ${offset}: the file is ${facts.size} bytes long`,
    );
  }
  const length = plan.length ?? facts.size - offset;
  if (offset + length > facts.size && !plan.grow) {
    throw outOfRange(
      `Cannot map ${length} bytes at offset ${offset} of ${name}: the file is ${facts.size} ` +
        `bytes long; leave out "length" to map to its end, make it longer with { grow: true }, ` +
        "or use the raw door to map past its end",
    );
  }
  requireViewable(length);
  return { offset, length };
}

function needsSpace(plan: FilePlan, facts: FileFacts): boolean {
  return plan.grow && (facts.kind !== "file" || plan.length !== undefined) && plan.length !== 0;
}

function checkSpace(result: number, file: OpenFile, extent: Extent): void {
  if (result >= 0) return;
  const what =
    `Cannot grow ${nameOf(file.location)} ` +
    `to ${extent.offset + extent.length} bytes with space for ${extent.length}`;
  throw systemError(result, { syscall: "fallocate", what, path: pathOf(file.location) });
}

interface OpenedFile {
  readonly file: OpenFile;
  readonly facts: FileFacts;
  readonly extent: Extent;
}

function fileTarget(plan: FilePlan, opened: OpenedFile): Target {
  const { file, facts, extent } = opened;
  const { granularity } = facts;
  const first = roundDown(extent.offset, granularity);
  const start = extent.offset - first;
  const rounded = Math.max(granularity, roundUp(start + extent.length, granularity));
  const types =
    plan.sharing === "private"
      ? ["MAP_PRIVATE"]
      : plan.synchronous
        ? ["MAP_SHARED_VALIDATE", "MAP_SYNC"]
        : ["MAP_SHARED"];
  const flags = types.reduce((bits, name) => bits | constant(name), plan.flags);
  return {
    plan,
    args: [plan.hint, rounded, plan.prot, flags, file.fd, first, granularity, plan.grow],
    start,
    byteLength: extent.length,
    offset: extent.offset,
    backing: facts.kind === "device" ? "device" : "file",
    granularity,
    file: facts,
    growable: plan.grow,
    grownFrom: needsSpace(plan, facts) ? facts.size : undefined,
    what: `Cannot map ${countOf(extent)}${nameOf(file.location)}`,
    path: pathOf(file.location),
  };
}

function checkRegion(result: NativeRegion | number, target: Target): NativeRegion {
  if (typeof result !== "number") return result;
  const { what, path, plan } = target;
  const isMemory = result <= -memoryFailed;
  const errno = isMemory ? result + memoryFailed : result;
  /* mmap has no such error: what failed is the copy of the descriptor that the region keeps. */
  const isCopy = errnoName(errno) === "EMFILE" && !isMemory;
  const syscall = isMemory ? "memfd_create" : isCopy ? "fcntl" : "mmap";
  throw systemError(errno, { syscall, what, path, hugePageSize: plan.hugePageSize });
}

/* From here on the region is open: whatever fails must close it. */
function wrap(target: Target, region: NativeRegion): Mapping {
  const { plan } = target;
  try {
    if (plan.transparent) adviseHugePages(target, region);
    if (plan.name !== undefined) native().name(region, `memmap:${plan.name}`);
    return makeMapping(new MappingCore({ ...target, region, ...plan }));
  } catch (error) {
    native().close(region, false);
    throw error;
  }
}

function adviseHugePages(target: Target, region: NativeRegion): void {
  const advice = adviceNumber("huge-page");
  const result = native().advise(region, 0, target.args[1], advice);
  if (result < 0) {
    throw systemError(result, { syscall: "madvise", what: target.what, path: target.path });
  }
}
