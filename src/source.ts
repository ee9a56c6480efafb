/**
 * What a mapping is made from: reads the `source` argument, opens it, and tells what kind of file
 * it is. Owns the descriptors it opens until `close()`; a descriptor of the caller is never closed.
 */

import { Buffer } from "node:buffer";
import {
  closeSync,
  constants,
  fstat,
  fstatSync,
  lstatSync,
  open,
  openSync,
  readSync,
  statfsSync,
  statSync,
  unlinkSync,
} from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { outOfRange, wrongType, wrongValue } from "./errors.js";
import { fromFileSystem, systemError } from "./failure.js";
import { native, pageSize } from "./native.js";
import { asInteger } from "./validate.js";

const openAsync = promisify(open);
const fstatAsync: (fd: number, options: { bigint: true }) => Promise<FileStatus> = promisify(fstat);

/** A file to map: a path, or a descriptor that is already open. */
export type Source = string | URL | Uint8Array | number | { readonly fd: number };

/** Where a mapping comes from, once its argument is read. */
export type Location =
  | { readonly kind: "path"; readonly path: string | Uint8Array; readonly name: string }
  | { readonly kind: "descriptor"; readonly fd: number; readonly label?: string };

/** How a path is opened. */
export interface OpenPlan {
  readonly writable: boolean;
  readonly create: boolean;
  readonly exclusive: boolean;
  readonly mode: number;
}

/** The fields of a file's status that memmap reads. */
interface FileStatus {
  readonly dev: bigint;
  readonly ino: bigint;
  readonly size: bigint;
  readonly uid: bigint;
  isFile(): boolean;
  isBlockDevice(): boolean;
  isCharacterDevice(): boolean;
}

/** Which file a mapping shows, to recognise it again by its path. */
export interface FileIdentity {
  /** As it was given. */
  readonly path: string | undefined;
  /** The same, whatever the working directory becomes. */
  readonly absolute: string | undefined;
  readonly dev: bigint;
  readonly ino: bigint;
  /** The bytes it had when it was mapped. */
  readonly size: number;
}

/** What is known of an open file. */
export interface FileFacts {
  readonly kind: "file" | "device" | "other";
  readonly size: number;
  readonly identity: FileIdentity;
  readonly ownerUid: number;
  /** The user may write it, so that mincore(2) tells the truth (mincore(2), NOTES). */
  readonly mayWrite: boolean;
  /** Bytes in a page of a mapping of it: larger on a hugetlbfs. */
  readonly granularity: number;
}

/** Reads the `source` argument. */
export function readSource(source: unknown): Location {
  if (typeof source === "string") return pathLocation(source, source);
  if (typeof source === "number") return { kind: "descriptor", fd: asDescriptor(source) };
  if (source instanceof URL) {
    return urlLocation(source);
  }
  if (source instanceof Uint8Array) {
    const bytes = Buffer.from(source);
    return pathLocation(bytes, bytes.toString());
  }
  if (typeof source === "object" && source !== null && "fd" in source) {
    return { kind: "descriptor", fd: asDescriptor(source.fd) };
  }
  throw wrongType(
    `"source" must be a path (string, URL, Buffer), a file descriptor or an object with one`,
  );
}

function urlLocation(url: URL): Location {
  try {
    const path = fileURLToPath(url);
    return pathLocation(path, path);
  } catch {
    throw wrongValue(`"source" must be a file: URL of a path, not ${JSON.stringify(url.href)}`);
  }
}

function asDescriptor(value: unknown): number {
  return asInteger(value, "fd", { max: 2 ** 31 - 1 });
}

function pathLocation(path: string | Buffer, name: string): Location {
  if (name.includes("\0")) throw wrongValue(`"source" must be a path without null bytes`);
  return { kind: "path", path, name };
}

/** The name of a location in messages. */
export function nameOf(location: Location): string {
  if (location.kind === "path") return JSON.stringify(location.name);
  return location.label ?? `descriptor ${location.fd}`;
}

/** An open file: ours when it was opened from a path, the caller's when it came as a descriptor. */
export class OpenFile {
  readonly fd: number;
  readonly location: Location;
  /** This call made the file, so that a failure later can take it away again. */
  readonly created: boolean;

  constructor(fd: number, location: Location, created: boolean) {
    this.fd = fd;
    this.location = location;
    this.created = created;
  }

  /** Closes what we opened; a file that we made for nothing is removed. */
  close(outcome: "mapped" | "failed"): void {
    if (this.location.kind !== "path") return;
    try {
      if (this.created && outcome === "failed") this.#remove(pathArgument(this.location.path));
    } finally {
      closeSync(this.fd);
    }
  }

  /* Somebody may have removed or replaced it meanwhile: only what we made is taken away. */
  #remove(path: string | Buffer): void {
    try {
      const ours = fstatSync(this.fd, { bigint: true });
      const there = lstatSync(path, { bigint: true });
      if (there.dev === ours.dev && there.ino === ours.ino) unlinkSync(path);
    } catch {
      // The failure that led here is the one to tell.
    }
  }
}

/* node:fs takes bytes as a Buffer only. */
function pathArgument(path: string | Uint8Array): string | Buffer {
  return typeof path === "string" ? path : Buffer.from(path);
}

/* A pipe without a writer must not hold the caller: mmap refuses it in a moment anyway. */
function flagsOf(plan: OpenPlan): number {
  return (plan.writable ? constants.O_RDWR : constants.O_RDONLY) | constants.O_NONBLOCK;
}

/* With `create` the file is first made exclusively, so that we know whether we made it. */
function attempts(plan: OpenPlan): readonly { flags: number; created: boolean }[] {
  const plain = { flags: flagsOf(plan), created: false };
  if (!plan.create) return [plain];
  const fresh = { flags: plain.flags | constants.O_CREAT | constants.O_EXCL, created: true };
  return plan.exclusive ? [fresh] : [fresh, plain];
}

function isExisting(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "EEXIST";
}

function openFailure(error: unknown, name: string): unknown {
  const what = `Cannot open ${JSON.stringify(name)} to map it`;
  return fromFileSystem(error, { syscall: "open", what, path: name });
}

/** Opens a location for mapping. */
export function openFileSync(location: Location, plan: OpenPlan): OpenFile {
  if (location.kind === "descriptor") return new OpenFile(location.fd, location, false);
  const tries = attempts(plan);
  for (const { flags, created } of tries) {
    try {
      return new OpenFile(
        openSync(pathArgument(location.path), flags, plan.mode),
        location,
        created,
      );
    } catch (error) {
      if (created && tries.length > 1 && isExisting(error)) continue;
      throw openFailure(error, location.name);
    }
  }
  throw outOfRange(`Cannot open ${JSON.stringify(location.name)}`);
}

/** Opens a location for mapping, off the event loop. */
export async function openFile(location: Location, plan: OpenPlan): Promise<OpenFile> {
  if (location.kind === "descriptor") return new OpenFile(location.fd, location, false);
  const tries = attempts(plan);
  for (const { flags, created } of tries) {
    try {
      return new OpenFile(
        await openAsync(pathArgument(location.path), flags, plan.mode),
        location,
        created,
      );
    } catch (error) {
      if (created && tries.length > 1 && isExisting(error)) continue;
      throw openFailure(error, location.name);
    }
  }
  throw outOfRange(`Cannot open ${JSON.stringify(location.name)}`);
}

function statusFailure(error: unknown, file: OpenFile): unknown {
  const what = `Cannot map ${nameOf(file.location)}`;
  return fromFileSystem(error, { syscall: "fstat", what, path: pathOf(file.location) });
}

/** The path of a location, where it has one. */
export function pathOf(location: Location): string | undefined {
  return location.kind === "path" ? location.name : undefined;
}

/* Some runtimes know the descriptors only that they have opened: the kernel knows them all. */
function statusByName(error: unknown, file: OpenFile): FileStatus {
  try {
    return statSync(`/proc/self/fd/${file.fd}`, { bigint: true });
  } catch {
    throw statusFailure(error, file);
  }
}

/** What kind of file an open file is. */
export function describeSync(file: OpenFile): FileFacts {
  let status: FileStatus;
  try {
    status = fstatSync(file.fd, { bigint: true });
  } catch (error) {
    status = statusByName(error, file);
  }
  return factsOf(file, status);
}

/** What kind of file an open file is, off the event loop. */
export async function describe(file: OpenFile): Promise<FileFacts> {
  let status: FileStatus;
  try {
    status = await fstatAsync(file.fd, { bigint: true });
  } catch (error) {
    status = statusByName(error, file);
  }
  return factsOf(file, status);
}

function identityOf(location: Location, { dev, ino, size }: FileStatus): FileIdentity {
  const path = pathOf(location);
  const absolute = path === undefined ? undefined : resolve(path);
  return { path, absolute, dev, ino, size: Number(size) };
}

function factsOf(file: OpenFile, status: FileStatus): FileFacts {
  const huge = native().hugePageSize(file.fd);
  if (huge < 0) {
    const what = `Cannot map ${nameOf(file.location)}`;
    throw systemError(huge, { syscall: "fstatfs", what, path: pathOf(file.location) });
  }
  const device = status.isCharacterDevice() || status.isBlockDevice();
  const size = Number(status.size);
  return {
    kind: status.isFile() ? "file" : device ? "device" : "other",
    size,
    identity: identityOf(file.location, status),
    ownerUid: Number(status.uid),
    mayWrite: native().mayWrite(file.fd) === 1,
    granularity: huge > 0 ? huge : pageSize,
  };
}

/**
 * The bytes the file has now; undefined when it has no path, or its path no longer names the same
 * file, so that nobody can tell.
 */
export function currentSize(identity: FileIdentity): number | undefined {
  if (identity.absolute === undefined) return undefined;
  try {
    const status = statSync(identity.absolute, { bigint: true });
    const same = status.dev === identity.dev && status.ino === identity.ino;
    return same ? Number(status.size) : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a byte of the file can be read from storage, which is not full. */
export function canRead(identity: FileIdentity, position: number): boolean {
  if (identity.absolute === undefined) return false;
  let fd: number | undefined;
  try {
    fd = openSync(identity.absolute, constants.O_RDONLY | constants.O_NONBLOCK);
    const isRead = readSync(fd, new Uint8Array(1), 0, 1, position) === 1;
    return isRead && statfsSync(identity.absolute).bavail > 0;
  } catch {
    return false;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
