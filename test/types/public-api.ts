// Compile-only: what the public types let through, and what they refuse. Nothing here is run; a
// line that should not compile and does is an error of its own.

import {
  type Advice,
  attachMapping,
  type Backing,
  type ByteRange,
  type FaultAccess,
  FaultError,
  type FaultReason,
  type FlushOptions,
  type MapFileOptions,
  type MapOptions,
  Mapping,
  type MappingHandle,
  MemmapError,
  mapAnonymous,
  type mapFile,
  mapFileSync,
  type Protection,
  type pageSize,
  type Residency,
  type ResidencyRun,
  type Sharing,
  type Source,
  SystemError,
  type WaitOptions,
} from "memmap";
import {
  type SharedMapOptions,
  SharedMemory,
  type SharedMemoryHandle,
  type SharedMemoryOptions,
} from "memmap/ipc";
import * as raw from "memmap/raw";

/** True for one type alone, so that a type that became `any` is noticed. */
type Same<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;

/** Compiles for `true` only. */
function holds<T extends true>(): T | undefined {
  return undefined;
}

// ==== What a mapping is ========================================================================

export function members(mapping: Mapping): void {
  holds<Same<typeof mapping.bytes, Uint8Array<ArrayBuffer>>>();
  holds<Same<typeof mapping.buffer, ArrayBuffer>>();
  holds<Same<typeof mapping.byteLength, number>>();
  holds<Same<typeof mapping.address, bigint>>();
  holds<Same<typeof mapping.offset, number>>();
  holds<Same<typeof mapping.path, string | undefined>>();
  holds<Same<typeof mapping.protection, Protection | "mixed">>();
  holds<Same<typeof mapping.sharing, Sharing>>();
  holds<Same<typeof mapping.backing, Backing>>();
  holds<Same<typeof mapping.closed, boolean>>();
  holds<Same<typeof pageSize, number>>();
  holds<Same<typeof mapping.sharedBuffer, SharedArrayBuffer | undefined>>();
  holds<Same<typeof mapping.onfault, ((fault: FaultError) => void) | null>>();

  // @ts-expect-error the bytes are the mapping's, and so is their array
  mapping.bytes = new Uint8Array(1);
  // @ts-expect-error resize() changes the length
  mapping.byteLength = 1;
  // @ts-expect-error protect() changes the protection
  mapping.protection = "read";
  // @ts-expect-error the runtime makes it, or not
  mapping.sharedBuffer = undefined;
  // @ts-expect-error nobody listens is null
  mapping.onfault = undefined;
  // @ts-expect-error a fault is no text
  mapping.onfault = (fault: string) => fault;
  mapping.onfault = () => {};
  mapping.onfault = null;
  // @ts-expect-error close() closes
  mapping.closed = true;
}

export function results(mapping: Mapping): void {
  holds<Same<ReturnType<typeof mapping.read>, Uint8Array<ArrayBuffer>>>();
  holds<Same<ReturnType<typeof mapping.readInto>, void>>();
  holds<Same<ReturnType<typeof mapping.write>, void>>();
  holds<Same<ReturnType<typeof mapping.indexOf>, number>>();
  holds<Same<ReturnType<typeof mapping.lastIndexOf>, number>>();
  holds<Same<ReturnType<typeof mapping.discard>, number>>();
  holds<Same<ReturnType<typeof mapping.residency>, Residency>>();
  holds<Same<ReturnType<typeof mapping.flush>, Promise<void>>>();
  holds<Same<ReturnType<typeof mapping.flushSync>, void>>();
  holds<Same<ReturnType<typeof mapping.load>, Promise<void>>>();
  holds<Same<ReturnType<typeof mapping.lock>, Promise<void>>>();
  holds<Same<ReturnType<typeof mapping.pin>, Disposable>>();
  holds<Same<ReturnType<typeof mapping.check>, void>>();
  holds<Same<ReturnType<typeof mapping.remap>, void>>();
  holds<Same<ReturnType<typeof mapping.share>, MappingHandle>>();
  holds<Same<ReturnType<typeof attachMapping>, Mapping>>();
  holds<Same<ReturnType<typeof Mapping.supportedAdvice>, ReadonlySet<Advice>>>();
  holds<Same<ReturnType<typeof mapFile>, Promise<Mapping>>>();
  holds<Same<ReturnType<typeof mapFileSync>, Mapping>>();
  holds<Same<ReturnType<typeof mapAnonymous>, Mapping>>();
}

export function residency(answer: Residency): ResidencyRun[] {
  const runs: ResidencyRun[] = [...answer.runs()];
  holds<Same<typeof answer.pageSize, number>>();
  holds<Same<typeof answer.pageCount, number>>();
  holds<Same<typeof answer.residentCount, number>>();
  holds<Same<ReturnType<typeof answer.isResident>, boolean>>();
  holds<
    Same<
      ResidencyRun,
      { readonly pageIndex: number; readonly pageCount: number; readonly resident: boolean }
    >
  >();
  // @ts-expect-error a page is named by its index
  answer.isResident("0");
  return runs;
}

// ==== What is taken ============================================================================

export function sources(handle: { readonly fd: number; close(): Promise<void> }): Source[] {
  const taken: Source[] = ["/a", new URL("file:///a"), new Uint8Array(2), Buffer.from("/a"), 3];
  // @ts-expect-error a source is not left out
  mapFileSync();
  // @ts-expect-error a descriptor is a number
  mapFileSync({ fd: "3" });
  // @ts-expect-error a descriptor is no bigint
  mapFileSync(3n);
  // @ts-expect-error null is no source
  mapFileSync(null);
  return [...taken, handle];
}

/** Every option may be undefined, as under exactOptionalPropertyTypes it must say. */
export const none: Required<{ [K in keyof MapFileOptions]: undefined }> = {
  protection: undefined,
  sharing: undefined,
  faults: undefined,
  populate: undefined,
  lock: undefined,
  reserve: undefined,
  hugePages: undefined,
  at: undefined,
  stack: undefined,
  growsDown: undefined,
  low32: undefined,
  droppable: undefined,
  name: undefined,
  offset: undefined,
  length: undefined,
  create: undefined,
  exclusive: undefined,
  mode: undefined,
  grow: undefined,
  synchronous: undefined,
};
export const file: MapFileOptions = none;
export const anonymous: MapOptions = none;
export const range: ByteRange = { offset: undefined, length: undefined };
export const wait: WaitOptions = { ...range, signal: undefined };
export const flush: FlushOptions = { ...range, wait: undefined, invalidate: undefined };

export function options(): void {
  mapAnonymous(1, { hugePages: "transparent" });
  mapAnonymous(1, { hugePages: 2 ** 21, at: 0x1000n, protection: "read-write-execute" });
  mapAnonymous(1, { faults: "collect" });
  // @ts-expect-error a fault is thrown or collected, never ignored
  mapAnonymous(1, { faults: "ignore" });
  mapFileSync("/a", { offset: 1, length: 2, create: true, exclusive: true, mode: 0o600 });
  // @ts-expect-error anonymous memory has no offset
  mapAnonymous(1, { offset: 1 });
  // @ts-expect-error a length is given
  mapAnonymous();
  // @ts-expect-error a length is a number
  mapAnonymous(1n);
  // @ts-expect-error writing alone is no protection
  mapAnonymous(1, { protection: "write" });
  // @ts-expect-error "mixed" is what protection reads, not what it can be set to
  mapAnonymous(1, { protection: "mixed" });
  // @ts-expect-error an address is a bigint
  mapAnonymous(1, { at: 4096 });
  // @ts-expect-error only this word, or a number
  mapAnonymous(1, { hugePages: "always" });
  // @ts-expect-error the option is called length
  mapFileSync("/a", { byteLength: 1 });
  // @ts-expect-error a file is not mapped with null
  mapFileSync("/a", { sharing: null });
}

export async function calls(mapping: Mapping, signal: AbortSignal): Promise<void> {
  await mapping.flush({ offset: 0, length: 1, wait: false, invalidate: true, signal });
  await mapping.load({ signal });
  await mapping.lock({ length: 1 });
  mapping.flushSync({ wait: true });
  mapping.protect("none", { offset: 1 });
  mapping.advise("dont-fork");
  mapping.indexOf("a", { offset: 1 });
  mapping.indexOf(10);
  mapping.write(0, Buffer.from("a"));
  mapping.remap({ offset: 1, length: 2 });
  mapping.remap();
  // @ts-expect-error all faults are collected
  mapping.check({ offset: 0 });
  mapping.readInto(new Uint8Array(new SharedArrayBuffer(1)), 0);
  // @ts-expect-error a signal has nobody to tell where nothing waits
  mapping.flushSync({ signal });
  // @ts-expect-error loading has no wait option
  await mapping.load({ wait: false });
  // @ts-expect-error text is encoded by the caller
  mapping.write(0, "a");
  // @ts-expect-error bytes come from a Uint8Array
  mapping.write(0, new DataView(new ArrayBuffer(1)));
  // @ts-expect-error this advice loses data
  mapping.advise("dont-need");
  // @ts-expect-error the offset comes first
  mapping.read(new Uint8Array(1), 0);
  // @ts-expect-error the length is given
  mapping.read(0);
  // @ts-expect-error only this library makes one
  new Mapping({}, Symbol("key"));
}

/** A mapping is disposable, and what works on bytes works on its bytes. */
export function uses(): number {
  using mapping = mapAnonymous(4);
  using _pin = mapping.pin();
  const view = new DataView(mapping.buffer, mapping.bytes.byteOffset, mapping.byteLength);
  const bytes: Uint8Array = mapping.bytes;
  return view.getUint32(0) + bytes.length;
}

/** A handle is data: it is JSON and back, and every field of it can be read and none written. */
export function handles(mapping: Mapping): Mapping {
  const handle: MappingHandle = mapping.share();
  const text: string = JSON.stringify(handle);
  const [pid, path]: [number, string | null] = [handle.pid, handle.path];
  // @ts-expect-error the fields are the library's
  handle.pid = pid;
  // @ts-expect-error text is parsed by the caller
  attachMapping(text);
  // @ts-expect-error a part of a handle is none
  attachMapping({ pid, path });
  return attachMapping(handle);
}

// ==== Errors ===================================================================================

export function errors(error: unknown): FaultReason | undefined {
  if (error instanceof FaultError) {
    holds<Same<typeof error.address, bigint>>();
    holds<Same<typeof error.byteOffset, number>>();
    holds<Same<typeof error.access, FaultAccess>>();
    holds<Same<FaultAccess, "read" | "write">>();
    error.reason satisfies "truncated" | "protected" | "closed" | "memory" | "io" | "source";
    holds<Same<typeof error.count, number>>();
    const code: string = error.code;
    return code === "ERR_MEMMAP_FAULT" ? error.reason : undefined;
  }
  if (error instanceof SystemError) {
    holds<Same<typeof error.errno, number>>();
    holds<Same<typeof error.syscall, string>>();
    const { path }: { path?: string } = error;
    // @ts-expect-error a failed call has no address
    path satisfies typeof error.address;
  }
  if (error instanceof MemmapError) {
    // @ts-expect-error a code is read
    error.code = "ERR_MEMMAP_CLOSED";
    const base: Error = error;
    base.message satisfies string;
  }
  return undefined;
}

// ==== Shared memory ============================================================================

export const memoryOptions: SharedMemoryOptions = {
  byteLength: 1,
  name: undefined,
  mode: undefined,
  sealed: undefined,
  persistent: undefined,
};
export const sharedMap: SharedMapOptions = { protection: "read", offset: undefined };

export function sharedMemory(parsed: SharedMemoryHandle): Mapping {
  using memory = SharedMemory.create({ byteLength: 1, name: "a", mode: 0o600, persistent: true });
  holds<Same<typeof memory.byteLength, number>>();
  holds<Same<typeof memory.name, string | undefined>>();
  holds<Same<typeof memory.closed, boolean>>();
  holds<Same<typeof memory.handle, SharedMemoryHandle>>();
  holds<Same<ReturnType<typeof memory.grow>, void>>();
  holds<Same<ReturnType<typeof SharedMemory.attach>, SharedMemory>>();
  holds<Same<ReturnType<typeof SharedMemory.open>, SharedMemory>>();
  holds<Same<ReturnType<typeof SharedMemory.openOrCreate>, SharedMemory>>();
  holds<Same<ReturnType<typeof SharedMemory.unlink>, void>>();
  // @ts-expect-error a length is given
  SharedMemory.create({ name: "a" });
  // @ts-expect-error a length is a number
  SharedMemory.create({ byteLength: 1n });
  // @ts-expect-error the permissions are bits
  SharedMemory.create({ byteLength: 1, name: "a", mode: "0600" });
  // @ts-expect-error what stands already is opened by its name
  SharedMemory.open({ name: "a" });
  // @ts-expect-error a mapping's handle is another
  SharedMemory.attach(memory.map().share());
  // @ts-expect-error text is parsed by the caller
  SharedMemory.attach(JSON.stringify(memory.handle));
  // @ts-expect-error memory is there, and not made by mapping it
  memory.map({ create: true });
  // @ts-expect-error grow() changes the length
  memory.byteLength = 2;
  // @ts-expect-error the fields are the library's
  memory.handle.pid = 1;
  // @ts-expect-error only this library makes one
  new SharedMemory({}, Symbol("key"));
  return SharedMemory.attach(parsed).map(sharedMap);
}

// ==== The raw door =============================================================================

export function rawResults(): void {
  holds<Same<ReturnType<typeof raw.mmap>, bigint>>();
  holds<Same<ReturnType<typeof raw.mremap>, bigint>>();
  holds<Same<ReturnType<typeof raw.munmap>, void>>();
  holds<Same<ReturnType<typeof raw.view>, Uint8Array<ArrayBuffer>>>();
  holds<Same<ReturnType<typeof raw.mincore>, Uint8Array<ArrayBuffer>>>();
  holds<Same<ReturnType<typeof raw.process_madvise>, number>>();
  holds<Same<ReturnType<typeof raw.memfd_create>, number>>();
  holds<Same<ReturnType<typeof raw.get_seals>, number>>();
  holds<Same<ReturnType<typeof raw.cachestat>, raw.CacheStat>>();
  holds<Same<ReturnType<typeof raw.accepts>, boolean>>();
  holds<Same<raw.Address, bigint | null>>();
  holds<Same<raw.Size, number | bigint>>();
  holds<Same<typeof raw.PROT_READ, number>>();
  holds<Same<typeof raw.MAP_32BIT, number | undefined>>();
  // A name that is no constant of the door would make these `string`.
  holds<Same<Extract<raw.ConstantName, "MADV_COLD" | "cold">, "MADV_COLD">>();
  holds<Same<Extract<raw.CallName, "mseal" | "view">, "mseal">>();
}

export function rawCalls(address: bigint, fd: number, ranges: readonly raw.IoVector[]): void {
  raw.mmap(null, 4096n, raw.PROT_READ, raw.MAP_SHARED, fd, 0n);
  raw.mremap(address, 4096, 8192, raw.MREMAP_MAYMOVE);
  raw.mremap(address, 4096, 8192, raw.MREMAP_MAYMOVE | raw.MREMAP_FIXED, address);
  raw.process_madvise(fd, ranges, raw.MADV_COLD, 0);
  raw.process_madvise(fd, [{ addr: null, length: 1 }], raw.MADV_COLD, 0);
  raw.cachestat(fd, { off: 0, len: 0n }, 0);
  // @ts-expect-error an address is a bigint
  raw.mmap(4096, 4096, raw.PROT_READ, raw.MAP_SHARED, fd, 0);
  // @ts-expect-error no argument of mmap is left out
  raw.mmap(null, 4096, raw.PROT_READ, raw.MAP_SHARED, fd);
  // @ts-expect-error flags are a number
  raw.mmap(null, 4096, raw.PROT_READ, 1n, fd, 0);
  // @ts-expect-error words are the other door's
  raw.madvise(address, 4096, "cold");
  // @ts-expect-error a processor may lack the flag
  raw.mmap(null, 4096, raw.PROT_READ, raw.MAP_32BIT, -1, 0);
  // @ts-expect-error a length is given
  raw.view(address);
  // @ts-expect-error a range has an address
  raw.process_madvise(fd, [{ length: 1 }], raw.MADV_COLD, 0);
  // @ts-expect-error the range is an object
  raw.cachestat(fd, 0, 0);
  // @ts-expect-error counts are read
  raw.cachestat(fd, { off: 0, len: 0 }, 0).nr_cache = 0;
  // @ts-expect-error no constant of this name
  raw.accepts("MAP_NOTHING");
  // @ts-expect-error a constant is asked for by its name
  raw.accepts(raw.MAP_SHARED);
  // @ts-expect-error constants are read
  raw.PROT_READ = 1;
}
