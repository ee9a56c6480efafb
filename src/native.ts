/**
 * The only file that loads the addon. Owns the typed surface of the native side.
 *
 * Importing it never fails: where there is no addon for the platform, the first call of
 * {@link native} throws `ERR_MEMMAP_UNSUPPORTED` with what was tried. Each JavaScript environment
 * (main thread, worker) has its own instance of the addon's state.
 *
 * Conventions of the native functions: sizes and offsets are safe integers of bytes, addresses are
 * bigints; a failure is a negative errno and never an exception; an async twin fulfils with what
 * its sync twin returns. Arguments are not checked again there: check before calling.
 */
import { createRequire } from "node:module";
import { memmapError } from "./errors.js";

declare const regionBrand: unique symbol;

/** An address range of ours, as the native side holds it. */
export interface NativeRegion {
  readonly [regionBrand]: true;
}

/** The numbers of the running system's headers; what a processor lacks is undefined. */
export interface Constants {
  readonly [name: string]: number | undefined;
}

/**
 * The arguments of mmap(2), in its order, the size of a page of the mapping, and whether the region
 * keeps a descriptor of its own of the same file.
 */
export type MapArguments = readonly [
  hint: bigint,
  length: number,
  prot: number,
  flags: number,
  fd: number,
  offset: number,
  pageSize: number,
  keep: boolean,
];

/** Faults of a region that nobody has collected; the place and reason are of the oldest. */
export type NativeFault = readonly [count: number, offset: number, write: boolean, reason: number];

/** The same of memory without a mapping object. */
export type LoneFault = readonly [
  ...NativeFault,
  address: bigint,
  anonymous: boolean,
  raw: boolean,
  source: bigint,
  huge: boolean,
];

/** What the raw door is refused before the kernel is asked (native/area.h). */
export const refusals: {
  readonly foreign: -65536;
  readonly viewed: -65537;
  readonly sealed: -65538;
} = { foreign: -65_536, viewed: -65_537, sealed: -65_538 };

/** What sets a failure of memfd_create apart from one of mmap (native/map.c). */
export const memoryFailed = 65_536;

/** Pages to be made again as they were mapped. */
export type RemapJob = readonly [
  offset: number,
  length: number,
  prot: number,
  fd: number,
  fdOffset: number,
];

/** The native side. See native/*.c, where each function has its contract. */
export interface Native {
  readonly constants: Constants;
  readonly errnoNames: Readonly<Record<string, string>>;
  readonly pageSize: number;

  map(...args: MapArguments): NativeRegion | number;
  /** A failure of memfd_create is told as its negative errno less {@link memoryFailed}. */
  mapMemory(name: string, memoryFlags: number, ...args: MapArguments): NativeRegion | number;
  mapAsync(...args: MapArguments): Promise<NativeRegion | number>;
  address(region: NativeRegion): bigint;
  view(region: NativeRegion, offset: number, length: number, shared: false): ArrayBuffer | number;
  view(
    region: NativeRegion,
    offset: number,
    length: number,
    shared: true,
  ): SharedArrayBuffer | number;
  useEngine(): boolean;
  exactEnds(): void;
  canShare(): boolean;
  close(region: NativeRegion, detached: boolean): void;
  resize(region: NativeRegion, length: number, anew: boolean): NativeRegion | number;
  byteLength(region: NativeRegion): number;
  pageBytes(region: NativeRegion): number;
  share(region: NativeRegion): number;
  attach(id: number): NativeRegion | number;
  holders(region: NativeRegion): number;
  adopt(region: NativeRegion, other: NativeRegion): void;
  descriptor(region: NativeRegion): number;
  detach(buffer: ArrayBuffer): boolean;
  retiredBytes(): number;
  releaseRetired(): void;
  /** For tests: the addresses that stay reserved for good, because a worker ended too early. */
  keptRanges(): readonly (readonly [start: bigint, end: bigint])[];

  protect(region: NativeRegion, offset: number, length: number, prot: number): number;
  advise(region: NativeRegion, offset: number, length: number, advice: number): number;
  flush(region: NativeRegion, offset: number, length: number, flags: number): number;
  flushAsync(region: NativeRegion, offset: number, length: number, flags: number): Promise<number>;
  lock(region: NativeRegion, offset: number, length: number): number;
  lockAsync(region: NativeRegion, offset: number, length: number): Promise<number>;
  unlock(region: NativeRegion, offset: number, length: number): number;
  load(region: NativeRegion, offset: number, length: number): number;
  loadAsync(region: NativeRegion, offset: number, length: number): Promise<number>;
  probe(region: NativeRegion, offset: number, length: number, write: boolean): number;
  residency(region: NativeRegion, offset: number, vector: Uint8Array): number;
  read(region: NativeRegion, offset: number, target: Uint8Array): number;
  write(region: NativeRegion, offset: number, source: Uint8Array): number;

  assertGuard(): number;
  onFaults(callback: () => void): number;
  takeFault(region: NativeRegion): NativeFault | undefined;
  takeOrphan(atTheEnd: boolean): LoneFault | undefined;
  quiet(region: NativeRegion): void;
  forget(region: NativeRegion, offset: number, length: number): void;
  replaced(region: NativeRegion, offset: number, length: number): number;
  remap(region: NativeRegion, ...job: RemapJob): number;

  resizeMemory(fd: number, length: number, oldLength: number): number;
  allocate(fd: number, offset: number, length: number): number;
  allocateAsync(fd: number, offset: number, length: number): Promise<number>;
  openDescriptor(path: string, flags: number, mode: number): number;
  lockDescriptor(fd: number, operation: number): number;
  linkDescriptor(fd: number, path: string): number;
  hugePageSize(fd: number): number;
  mayWrite(fd: number): number;
  seek(fd: number, offset: number, whence: number): number;
  name(region: NativeRegion, name: string): number;
  limit(resource: number): number;
  threadId(): number;
  /** For tests: the nth call of that name from now on fails once. */
  failCall(name: string, nth: number, errno: number): boolean;
  adviceSupported(advice: number): boolean;

  /** Blocks, for at most a second. */
  futexWait(region: NativeRegion, offset: number, value: number, timeoutMs: number): number;
  futexWake(region: NativeRegion, offset: number, count: number): number;
  onWaits(callback: () => void): number;
  waitStart(region: NativeRegion, offset: number, value: number, hint: number): number;
  waitCancel(slot: number): void;
  takeWaits(): readonly number[] | undefined;
  /** For tests: each wait has a thread of its own from now on. Returns whether there is a ring. */
  waitByThreads(force: boolean): boolean;

  rawMap(
    addr: bigint,
    length: bigint,
    prot: number,
    flags: number,
    fd: number,
    offset: bigint,
  ): bigint | number;
  rawUnmap(addr: bigint, length: bigint): number;
  rawProtect(addr: bigint, length: bigint, prot: number): number;
  rawAdvise(addr: bigint, length: bigint, advice: number): number;
  rawSync(addr: bigint, length: bigint, flags: number): number;
  rawLock(addr: bigint, length: bigint): number;
  rawLock2(addr: bigint, length: bigint, flags: number): number;
  rawUnlock(addr: bigint, length: bigint): number;
  rawLockAll(flags: number): number;
  rawUnlockAll(): number;
  rawResidency(addr: bigint, vector: Uint8Array): number;
  rawMapped(addr: bigint, length: bigint): number;
  rawRemap(
    oldAddr: bigint,
    oldLength: bigint,
    newLength: bigint,
    flags: number,
    newAddr: bigint,
  ): bigint | number;
  rawRemapFilePages(addr: bigint, size: bigint, prot: number, pgoff: bigint, flags: number): number;
  rawSeal(addr: bigint, length: bigint, flags: number): number;
  rawView(addr: bigint, length: bigint): ArrayBuffer | number;
  rawFault(addr: bigint, length: bigint): LoneFault | undefined;
  memfdCreate(name: string, flags: number): number;
  memfdSecret(flags: number): number;
  shmOpen(name: string, oflag: number, mode: number): number;
  shmUnlink(name: string): number;
  addSeals(fd: number, seals: number): number;
  getSeals(fd: number): number;
  rawClose(fd: number): number;
  rawTruncate(fd: number, length: bigint): number;
  closeDescriptor(fd: number): number;
  pidfdOpen(pid: number, flags: number): number;
  processMadvise(pidfd: number, ranges: Uint8Array, advice: number, flags: number): number;
  cacheStat(fd: number, offset: bigint, length: bigint, flags: number, out: Uint8Array): number;
}

type Loaded = { readonly native: Native } | { readonly reason: string };

/* A build for the other C library fails to load and changes nothing: trying tells which it is. */
function load(): Loaded {
  if (process.platform !== "linux") {
    return { reason: `memmap runs on Linux only so far, and this is ${process.platform}` };
  }
  const require = createRequire(import.meta.url);
  const reasons: string[] = [];
  for (const library of ["gnu", "musl"]) {
    const file = `./addon/${process.platform}-${process.arch}-${library}.node`;
    try {
      return { native: require(file) as Native };
    } catch (error) {
      reasons.push(error instanceof Error ? (error.message.split("\n")[0] ?? "") : String(error));
    }
  }
  return { reason: reasons.join("; ") };
}

/**
 * Whether V8 itself makes the buffers (native/engine.c): on the versions that this is tested with,
 * and not where V8 keeps its memory in a sandbox.
 */
function allowsEngine(): boolean {
  const { versions, config } = process;
  if (versions["electron"] !== undefined || versions["bun"] !== undefined) return false;
  if (versions["deno"] !== undefined) return false;
  const variables: Readonly<Record<string, unknown>> = { ...config.variables };
  const flags = ["v8_enable_sandbox", "v8_enable_pointer_compression"];
  if (flags.some((flag) => Boolean(variables[flag]))) return false;
  return ["20", "22", "24", "26"].includes(versions.node.split(".")[0] ?? "");
}

const loaded = load();
if ("native" in loaded && allowsEngine()) loaded.native.useEngine();
/* Deno ends a buffer when its memory has really gone, on whichever thread it was transferred to. */
if ("native" in loaded && process.versions["deno"] !== undefined) loaded.native.exactEnds();

/**
 * The native side of this environment.
 *
 * @throws {MemmapError} `ERR_MEMMAP_UNSUPPORTED` where there is none for this platform.
 */
export function native(): Native {
  if ("native" in loaded) return loaded.native;
  throw memmapError("ERR_MEMMAP_UNSUPPORTED", `Cannot load memmap's addon: ${loaded.reason}`);
}

/**
 * A number of the system's headers.
 *
 * @throws {MemmapError} `ERR_MEMMAP_UNSUPPORTED` where this machine has no such thing.
 */
export function constant(name: string): number {
  const value = native().constants[name];
  if (value !== undefined) return value;
  throw memmapError(
    "ERR_MEMMAP_UNSUPPORTED",
    `Cannot use ${name}: ${process.platform} on ${process.arch} does not have it`,
  );
}

/** The same, undefined where there is none, also where memmap does not run. */
export function findConstant(name: string): number | undefined {
  return "native" in loaded ? loaded.native.constants[name] : undefined;
}

/** The size of a page in bytes; NaN where memmap does not run yet. */
export const pageSize: number = "native" in loaded ? loaded.native.pageSize : Number.NaN;
