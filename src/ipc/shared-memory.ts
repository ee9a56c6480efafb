/**
 * class SharedMemory: an object of memory that processes share, without a name (memfd_create(2)) or
 * with one (shm_open(3)). Owns one hold on the object; the mappings made of it live by themselves.
 */
import { statSync } from "node:fs";
import { illegalConstructor, memmapError, outOfRange, wrongValue } from "../errors.js";
import { errnoOf, systemError } from "../failure.js";
import { startTimeOf } from "../handle.js";
import { mapOpened } from "../map.js";
import type { Mapping } from "../mapping.js";
import { constant, native } from "../native.js";
import { type MapFileOptions, readFileOptions } from "../options.js";
import { OpenFile } from "../source.js";
import { asInteger, asOptions } from "../validate.js";
import { makeHandle, readHandle, type SharedMemoryHandle } from "./memory-handle.js";
import { asName, drop, makeName, openName, pathOf } from "./memory-name.js";
import { endWith, findInherited, Hold, isObject, makeAnonymous, reopen } from "./memory-object.js";
import { readOptions, type SharedMemoryOptions } from "./memory-options.js";

/** How an object is mapped: the options of `mapFile` that are not about the file. */
export type SharedMapOptions = Omit<MapFileOptions, "create" | "exclusive" | "mode" | "grow">;

/* Only this file can construct one. */
const token = Symbol("SharedMemory");

/** How often a name is tried again that others make and remove meanwhile. */
const triesMax = 100;

function existing(name: string): Error {
  const what = `Cannot make the shared memory ${JSON.stringify(name)}`;
  return systemError(errnoOf("EEXIST"), { syscall: "shm_open", what, path: pathOf(name) });
}

/**
 * Memory that processes share.
 *
 * An object without a name lives as long as somebody holds it or has it mapped, and is reached by
 * its {@link SharedMemory.handle}. A named one is found by its name; the name goes with its last
 * holder, also when that ended without `close()` or was killed, unless `persistent` says otherwise.
 *
 * Mappings hold the memory by themselves: closing the object does not unmap.
 *
 * **Platform** Linux. Follows memfd_create(2), shm_open(3) and flock(2).
 *
 * @example
 * ```ts
 * import { SharedMemory } from "memmap/ipc";
 *
 * using memory = SharedMemory.create({ byteLength: 4096 });
 * using mapping = memory.map();
 * mapping.bytes[0] = 42;
 * using again = SharedMemory.attach(memory.handle); // or in another process of the same user
 * console.log(again.map().bytes[0]); // 42
 * ```
 */
export class SharedMemory {
  readonly #hold: Hold;

  /** @internal */
  constructor(init: ConstructorParameters<typeof Hold>[0], key: symbol) {
    if (key !== token) {
      throw illegalConstructor("Cannot construct a SharedMemory: call create, open or attach");
    }
    this.#hold = new Hold(init);
    endWith(this, this.#hold);
  }

  /**
   * Makes an object, of zeros.
   *
   * @param options Its `byteLength`, and whether it has a `name`; see {@link SharedMemoryOptions}.
   * @throws {TypeError} {RangeError} For options of the wrong type, or that contradict each other.
   * @throws {SystemError} `EEXIST` when somebody holds an object of that name; `ENOSPC` when there
   *   is no memory for it; `EAGAIN` when another program keeps the name's file locked for a
   *   second; `EACCES`, `EMFILE`, `ENOMEM`.
   *
   * @example
   * ```ts
   * import { SharedMemory } from "memmap/ipc";
   *
   * using memory = SharedMemory.create({ byteLength: 1 << 20 });
   * memory.map().bytes.fill(1);
   * ```
   */
  static create(options: SharedMemoryOptions): SharedMemory {
    const { byteLength, name, mode, sealed, persistent } = readOptions(options);
    native();
    if (name === undefined) {
      return new SharedMemory({ ...makeAnonymous(byteLength, sealed), name }, token);
    }
    const made = makeName({ name, byteLength, mode, isPersistent: persistent });
    if (made !== undefined) return new SharedMemory({ ...made, name }, token);
    throw existing(name);
  }

  /**
   * Opens an object by its name, for writing where that is allowed, else for reading.
   *
   * @param name As it was made.
   * @throws {TypeError} `ERR_INVALID_ARG_VALUE` for what is no name.
   * @throws {SystemError} `ENOENT` when there is none, or its last holder has died; `EAGAIN` when
   *   another program keeps its file locked for a second; `EACCES`, `EMFILE`.
   *
   * @example
   * ```ts
   * import { SharedMemory } from "memmap/ipc";
   *
   * const name = `memmap-example-${process.pid}`;
   * using made = SharedMemory.create({ byteLength: 4096, name });
   * using opened = SharedMemory.open(name); // in any process of the same user
   * console.log(opened.byteLength === made.byteLength); // true
   * ```
   */
  static open(name: string): SharedMemory {
    const plain = asName(name, "name");
    native();
    const opened = openName(plain);
    if (opened !== undefined) return new SharedMemory({ ...opened, name: plain }, token);
    const what = `Cannot open the shared memory ${JSON.stringify(plain)}`;
    throw systemError(errnoOf("ENOENT"), { syscall: "shm_open", what, path: pathOf(plain) });
  }

  /**
   * Opens the object of a name, or makes it; of several processes that do so one makes it. The
   * `byteLength` and `mode` of one that exists stay as they are.
   *
   * @param options With a `name`.
   * @throws As {@link SharedMemory.open} and {@link SharedMemory.create}.
   *
   * @example
   * ```ts
   * import { SharedMemory } from "memmap/ipc";
   *
   * const name = `memmap-example-${process.pid}`;
   * using memory = SharedMemory.openOrCreate({ byteLength: 4096, name });
   * console.log(memory.byteLength); // 4096, whoever made it
   * ```
   */
  static openOrCreate(options: SharedMemoryOptions): SharedMemory {
    const { byteLength, name, mode, persistent } = readOptions(options);
    if (name === undefined) throw wrongValue(`"options.name" must be given`);
    native();
    for (let tries = 0; tries < triesMax; tries += 1) {
      const opened =
        openName(name) ?? makeName({ name, byteLength, mode, isPersistent: persistent });
      if (opened !== undefined) return new SharedMemory({ ...opened, name }, token);
    }
    throw existing(name);
  }

  /**
   * Takes the name of an object away; who holds it keeps it.
   *
   * @param name As it was made.
   * @throws {SystemError} `ENOENT`, `EACCES`.
   *
   * @example
   * ```ts
   * import { SharedMemory } from "memmap/ipc";
   *
   * const name = `memmap-example-${process.pid}`;
   * SharedMemory.create({ byteLength: 8, name, persistent: true }).close();
   * SharedMemory.unlink(name);
   * ```
   */
  static unlink(name: string): void {
    const plain = asName(name, "name");
    const result = native().shmUnlink(`/${plain}`);
    if (result >= 0) return;
    const what = `Cannot unlink the shared memory ${JSON.stringify(plain)}`;
    throw systemError(result, { syscall: "shm_unlink", what, path: pathOf(plain) });
  }

  /**
   * Holds the object that a handle names: of this process, or of another one of the same user.
   *
   * A child that inherits the descriptor of an object without a name attaches to it also when its
   * parent has closed it or ended: `spawn(program, { stdio: [0, 1, 2, memory.handle.fd] })`.
   *
   * @param handle What `handle` was, as it came out of JSON, `process.send` or `postMessage`.
   * @throws {TypeError} {RangeError} For what is no handle.
   * @throws {MemmapError} `ERR_MEMMAP_PEER_DIED` when the process that made the handle has ended,
   *   and no name leads to the object; `ERR_MEMMAP_CLOSED` when it has closed it;
   *   `ERR_MEMMAP_VERSION` for a handle of another version.
   * @throws {SystemError} `EACCES`, `EPERM` for another user.
   *
   * @example
   * ```ts
   * import { SharedMemory } from "memmap/ipc";
   *
   * using memory = SharedMemory.create({ byteLength: 8 });
   * const text = JSON.stringify(memory.handle); // for an environment variable, say
   * using attached = SharedMemory.attach(JSON.parse(text));
   * console.log(attached.byteLength); // 8
   * ```
   */
  static attach(handle: SharedMemoryHandle): SharedMemory {
    const fields = readHandle(handle);
    native();
    const { name } = fields;
    const what = "Cannot attach to shared memory";
    const isAlive = startTimeOf(fields.pid) === fields.startTime;
    const isOther = fields.pid !== process.pid;
    const inherited = name === null && isOther ? findInherited(fields) : undefined;
    if (!isAlive && name === null && inherited === undefined) {
      const reason = `process ${fields.pid} has ended`;
      throw memmapError("ERR_MEMMAP_PEER_DIED", `${what}: ${reason}`);
    }
    const path = inherited ?? `/proc/${fields.pid}/fd/${fields.fd}`;
    const opened = name === null ? reopen(path, what) : openName(name);
    if (opened === undefined) throw memmapError("ERR_MEMMAP_CLOSED", `${what}: it was closed`);
    if (isObject(opened.fd, fields)) {
      return new SharedMemory({ ...opened, name: name ?? undefined }, token);
    }
    drop(opened.fd, name ?? undefined);
    throw memmapError("ERR_MEMMAP_CLOSED", `${what}: another object stands in its place`);
  }

  /** Bytes of the object now, also after another process has made it longer; 0 when closed. */
  get byteLength(): number {
    if (this.#hold.isEnded) return 0;
    return native().seek(this.#fd, 0, constant("SEEK_END"));
  }

  /** Its name without "/"; undefined for one without. */
  get name(): string | undefined {
    return this.#hold.name;
  }

  /** Whether {@link SharedMemory.close} was called, or the program has come to its end. */
  get closed(): boolean {
    return this.#hold.isEnded;
  }

  /**
   * Names the object to another process or worker, as plain data; good while this one is open, and
   * for a named object as long as somebody holds it.
   *
   * @throws {MemmapError} `ERR_MEMMAP_CLOSED` after `close()`.
   */
  get handle(): SharedMemoryHandle {
    this.#requireOpen("share");
    const { dev, ino } = statSync(`/proc/self/fd/${this.#fd}`, { bigint: true });
    return makeHandle({
      pid: process.pid,
      startTime: startTimeOf(process.pid) ?? "0",
      fd: this.#fd,
      device: String(dev),
      inode: String(ino),
      name: this.#hold.name ?? null,
    });
  }

  /**
   * Maps the object, or a range of it.
   *
   * @param options As for `mapFile`; by default the whole object, shared, and writable where it was
   *   opened so.
   * @returns A mapping with a life of its own.
   * @throws {MemmapError} `ERR_MEMMAP_CLOSED` after `close()`.
   * @throws As `mapFile`.
   *
   * @example
   * ```ts
   * import { SharedMemory } from "memmap/ipc";
   *
   * using memory = SharedMemory.create({ byteLength: 8192 });
   * using upper = memory.map({ offset: 4096 });
   * console.log(upper.byteLength); // 4096
   * ```
   */
  map(options?: SharedMapOptions): Mapping {
    const protection = this.#hold.isWritable ? "read-write" : "read";
    const plan = readFileOptions({ protection, ...asOptions(options) }, "descriptor");
    this.#requireOpen("map");
    const fd = this.#fd;
    const file = new OpenFile(fd, { kind: "descriptor", fd, label: this.#label }, false);
    if (this.#hold.name !== undefined) {
      return mapOpened(file, plan, {
        backing: undefined,
        growable: false,
        path: pathOf(this.#hold.name),
      });
    }
    return mapOpened(file, plan, { backing: "anonymous", growable: false, path: undefined });
  }

  /**
   * Makes the object longer, a named one with memory allocated at once; mappings show the new bytes
   * after `resize()`. It never becomes shorter.
   *
   * @param byteLength Bytes, at least as many as it has.
   * @throws {RangeError} `ERR_OUT_OF_RANGE` for fewer bytes than it has.
   * @throws {MemmapError} `ERR_MEMMAP_CLOSED`; `ERR_MEMMAP_READ_ONLY` when opened for reading.
   * @throws {SystemError} `ENOSPC` when there is no memory; `EFBIG`, `EPERM`.
   *
   * @example
   * ```ts
   * import { SharedMemory } from "memmap/ipc";
   *
   * using memory = SharedMemory.create({ byteLength: 8 });
   * using mapping = memory.map();
   * memory.grow(16);
   * mapping.resize(16);
   * console.log(mapping.byteLength); // 16
   * ```
   */
  grow(byteLength: number): void {
    const length = asInteger(byteLength, "byteLength");
    this.#requireOpen("grow");
    const before = this.byteLength;
    if (length < before) {
      throw outOfRange(`Cannot grow ${this.#label} to ${length} bytes: it has ${before}`);
    }
    if (!this.#hold.isWritable) {
      const reason = "it was opened for reading";
      throw memmapError("ERR_MEMMAP_READ_ONLY", `Cannot grow ${this.#label}: ${reason}`);
    }
    if (length === before) return;
    const isNamed = this.#hold.name !== undefined;
    const result = isNamed
      ? native().allocate(this.#fd, before, length - before)
      : native().resizeMemory(this.#fd, length, before);
    if (result >= 0) return;
    const what = `Cannot grow ${this.#label} to ${length} bytes`;
    throw systemError(result, { syscall: isNamed ? "fallocate" : "ftruncate", what });
  }

  /** Lets go of the object; its name goes with the last holder. A second call does nothing. */
  close(): void {
    this.#hold.end();
  }

  /** The same as {@link SharedMemory.close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  get #fd(): number {
    return this.#hold.fd;
  }

  get #label(): string {
    const name = this.#hold.name === undefined ? "" : ` ${JSON.stringify(this.#hold.name)}`;
    return `the shared memory${name}`;
  }

  #requireOpen(action: string): void {
    if (!this.#hold.isEnded) return;
    throw memmapError("ERR_MEMMAP_CLOSED", `Cannot ${action} ${this.#label}: it is closed`);
  }
}
