/**
 * Objects of shared memory without a name, and the holds on all. A descriptor is kept by a region
 * of the native side over one page that is never touched: so it ends with that region, with the
 * garbage collector, or with the environment, whichever comes first.
 *
 * Names do not end with a descriptor. So holds on them are listed while they are open, and ended
 * when their owner is collected and when the program or worker ends, well or not: nobody can close
 * them afterwards. Only what leaves no time for that, as a kill, leaves a name that is nobody's.
 */
import { constants, readdirSync, statSync } from "node:fs";
import { memmapError } from "../errors.js";
import { errnoName, systemError } from "../failure.js";
import { constant, type NativeRegion, native, pageSize } from "../native.js";
import { drop, letGo, type NamedObject } from "./memory-name.js";

/** Makes an object without a name, of zeros. */
export function makeAnonymous(byteLength: number, sealed: boolean): NamedObject {
  const what = `Cannot make ${byteLength} bytes of shared memory`;
  const flags = constant("MFD_CLOEXEC") | constant("MFD_ALLOW_SEALING");
  const fd = native().memfdCreate("memmap:shared", flags);
  if (fd < 0) throw systemError(fd, { syscall: "memfd_create", what });
  const seals = constant("F_SEAL_SEAL") | (sealed ? constant("F_SEAL_SHRINK") : 0);
  /* No limit stands in the way of allocating it all, but the killing of processes. */
  const sized = native().resizeMemory(fd, byteLength, 0);
  const result = sized < 0 ? sized : native().addSeals(fd, seals);
  if (result >= 0) return { fd, isWritable: true };
  native().closeDescriptor(fd);
  throw systemError(result, { syscall: sized < 0 ? "ftruncate" : "fcntl", what });
}

/**
 * A region that keeps a copy of a descriptor, which is closed here. When it cannot be kept, the
 * name of an object that has one is let go of.
 */
export function keep(fd: number, name?: string): NativeRegion {
  const flags = constant("MAP_SHARED");
  let region: NativeRegion | number = 0;
  try {
    region = native().map(0n, pageSize, constant("PROT_NONE"), flags, fd, 0, pageSize, true);
  } finally {
    if (typeof region === "number") drop(fd, name);
    else native().closeDescriptor(fd);
  }
  if (typeof region !== "number") return region;
  throw systemError(region, { syscall: "mmap", what: "Cannot hold shared memory" });
}

/** A hold on an object, which is ended once. */
export class Hold {
  readonly name: string | undefined;
  readonly isWritable: boolean;
  readonly #region: NativeRegion;
  #isEnded = false;

  /* Takes the descriptor over, also when it throws. */
  constructor({ fd, isWritable, name }: NamedObject & { readonly name: string | undefined }) {
    this.#region = keep(fd, name);
    this.isWritable = isWritable;
    this.name = name;
  }

  get fd(): number {
    return native().descriptor(this.#region);
  }

  get isEnded(): boolean {
    return this.#isEnded;
  }

  /** Ends the hold, and the name with its last one; a second call does nothing. */
  end(): void {
    if (this.#isEnded) return;
    if (this.name !== undefined) letGo(this.fd, this.name);
    this.#isEnded = true;
    namedHolds.delete(this);
    native().close(this.#region, false);
  }
}

const namedHolds = new Set<Hold>();
let isListening = false;

/* Nobody could catch what is thrown here, and the kernel ends the lock in any case. */
function endQuietly(hold: Hold): void {
  try {
    hold.end();
  } catch {
    // The name is nobody's then, as after a kill.
  }
}

const dropped = new FinalizationRegistry<Hold>(endQuietly);

function endAll(): void {
  for (const hold of [...namedHolds]) endQuietly(hold);
}

/** Ends a hold on a name with its owner, or with the environment, when nobody has ended it. */
export function endWith(owner: object, hold: Hold): void {
  if (hold.name === undefined) return;
  namedHolds.add(hold);
  dropped.register(owner, hold);
  if (!isListening) process.on("exit", endAll);
  isListening = true;
}

/** What names an object of memory to the kernel. */
export interface ObjectIdentity {
  readonly device: string;
  readonly inode: string;
}

/** Whether a descriptor leads to the object; one that cannot be looked at does not. */
export function isObject(fd: number, { device, inode }: ObjectIdentity): boolean {
  try {
    const { dev, ino } = statSync(`/proc/self/fd/${fd}`, { bigint: true });
    return String(dev) === device && String(ino) === inode;
  } catch {
    return false;
  }
}

/** The path of a descriptor of this process that is an object's: one that it has inherited. */
export function findInherited(identity: ObjectIdentity): string | undefined {
  for (const name of readdirSync("/proc/self/fd")) {
    if (isObject(Number(name), identity)) return `/proc/self/fd/${name}`;
  }
  return undefined;
}

/** Opens the object at a path again; what has gone was closed. */
export function reopen(path: string, what: string): NamedObject {
  for (const flag of [constants.O_RDWR, constants.O_RDONLY]) {
    const fd = native().openDescriptor(path, flag, 0);
    if (fd >= 0) return { fd, isWritable: flag === constants.O_RDWR };
    const code = errnoName(fd);
    if (code === "ENOENT") throw memmapError("ERR_MEMMAP_CLOSED", `${what}: it was closed`);
    if (code === "EACCES" && flag === constants.O_RDWR) continue;
    throw systemError(fd, { syscall: "open", what, path });
  }
  throw memmapError("ERR_MEMMAP_CLOSED", `${what}: it was closed`);
}
