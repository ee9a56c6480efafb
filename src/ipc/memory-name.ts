/**
 * Named objects of shared memory: files in /dev/shm, as shm_open(3) has them on Linux. Owns the
 * rule by which a name ends with its last holder, also when that one was killed.
 *
 * Each holder has a shared lock (flock(2)) on the object, which the kernel ends with the process.
 * So a name without a lock is nobody's: who closes last removes it, and after a crash the next one
 * who opens or makes an object of that name does. Only objects that were made so are removed: they
 * carry the set-group-ID bit without permission to execute, which means nothing else there.
 *
 *     make     open(O_TMPFILE), allocate, lock shared, link to the name: nobody sees it unlocked
 *     open     open, lock shared, see whether the name still leads there
 *     let go   lock alone, where that can be had at once: remove the name
 */
import { chmodSync, constants, statSync, unlinkSync } from "node:fs";
import { wrongType, wrongValue } from "../errors.js";
import { errnoName, errnoOf, systemError } from "../failure.js";
import { constant, native } from "../native.js";

/** Where the kernel keeps them. */
const folder = "/dev/shm";

/** The mark of an object that ends with its last holder. */
const collectable = 0o2000;

/** How often a name is looked up again that others make and remove meanwhile. */
const triesMax = 100;

/** How often a hold is tried, a millisecond apart: openers lock alone for a moment only. */
const holdTriesMax = 1000;

const pause = new Int32Array(new SharedArrayBuffer(4));

/** An object that this process holds. */
export interface NamedObject {
  readonly fd: number;
  readonly isWritable: boolean;
}

/** How a new object is made. */
export interface NewObject {
  readonly name: string;
  readonly byteLength: number;
  readonly mode: number;
  readonly isPersistent: boolean;
}

/** A name as shm_open(3) takes it, with or without its "/". */
export function asName(value: unknown, label: string): string {
  if (typeof value !== "string") throw wrongType(`"${label}" must be a string`);
  const name = value.startsWith("/") ? value.slice(1) : value;
  const byteLength = new TextEncoder().encode(name).length;
  const isPlain = name !== "." && name !== ".." && !/[/\0]/.test(name);
  if (byteLength > 0 && byteLength <= 255 && isPlain) return name;
  const rule = `1 to 255 bytes without "/", and neither "." nor ".."`;
  throw wrongValue(`"${label}" must be ${rule}, not ${JSON.stringify(value)}`);
}

/** The file behind a name. */
export function pathOf(name: string): string {
  return `${folder}/${name}`;
}

function failure(errno: number, call: { syscall: string; what: string; name: string }): Error {
  const { syscall, name } = call;
  const others = errnoName(errno) === "EAGAIN" ? ", which others keep locked" : "";
  const what = `Cannot ${call.what} the shared memory ${JSON.stringify(name)}${others}`;
  return systemError(errno, { syscall, what, path: pathOf(name) });
}

function isSameFile(fd: number, path: string): boolean {
  try {
    const ours = statSync(`/proc/self/fd/${fd}`, { bigint: true });
    const there = statSync(path, { bigint: true });
    return ours.dev === there.dev && ours.ino === there.ino;
  } catch {
    return false;
  }
}

function isCollectable(fd: number): boolean {
  return (statSync(`/proc/self/fd/${fd}`).mode & collectable) !== 0;
}

/* Whether nobody else holds the object; the lock is alone then. */
function lockAlone(fd: number): boolean {
  return native().lockDescriptor(fd, constant("LOCK_EX") | constant("LOCK_NB")) === 0;
}

function removeName(fd: number, name: string): void {
  try {
    if (isSameFile(fd, pathOf(name))) unlinkSync(pathOf(name));
  } catch {
    // Another holder was quicker, or the folder is not ours to change: the name stays theirs.
  }
}

/** Removes the name of an object that this process held last; closing it is the caller's. */
export function letGo(fd: number, name: string): void {
  try {
    if (isCollectable(fd) && lockAlone(fd)) removeName(fd, name);
  } catch {
    // Without /proc nobody can tell whose the name is: it stays.
  }
}

/** Gives an object back that nobody is to have: others may have left it to this hold meanwhile. */
export function drop(fd: number, name: string | undefined): void {
  if (name !== undefined) letGo(fd, name);
  native().closeDescriptor(fd);
}

/* Without waiting, as for the other end of a FIFO that somebody has put there. */
function openPath(name: string): NamedObject | number {
  const careful = constants.O_NOFOLLOW | constants.O_NONBLOCK;
  for (const flag of [constants.O_RDWR, constants.O_RDONLY]) {
    const fd = native().openDescriptor(pathOf(name), flag | careful, 0);
    if (fd >= 0) return { fd, isWritable: flag === constants.O_RDWR };
    if (errnoName(fd) !== "EACCES" || flag === constants.O_RDONLY) return fd;
  }
  return -1;
}

/* Waits for who only looks whether the object is nobody's, and not for ever for any other. */
function lockShared(fd: number, name: string): void {
  const call = { syscall: "flock", what: "hold", name };
  for (let tries = 1; ; tries += 1) {
    const result = native().lockDescriptor(fd, constant("LOCK_SH") | constant("LOCK_NB"));
    if (result === 0) return;
    if (result !== errnoOf("EAGAIN") || tries === holdTriesMax) throw failure(result, call);
    Atomics.wait(pause, 0, 0, 1);
  }
}

/* Takes a hold on an open object: false when it turned out to be nobody's, or was replaced. */
function hold(fd: number, name: string): boolean {
  if (isCollectable(fd) && lockAlone(fd)) {
    removeName(fd, name);
    return false;
  }
  lockShared(fd, name);
  return isSameFile(fd, pathOf(name));
}

/** Opens an object; undefined when there is none of that name. */
export function openName(name: string): NamedObject | undefined {
  for (let tries = 0; tries < triesMax; tries += 1) {
    const opened = openPath(name);
    if (typeof opened === "number") {
      if (errnoName(opened) === "ENOENT") return undefined;
      throw failure(opened, { syscall: "shm_open", what: "open", name });
    }
    let isHeld = false;
    try {
      if (!statSync(`/proc/self/fd/${opened.fd}`).isFile()) {
        throw wrongValue(`Cannot open ${pathOf(name)}: it is no shared memory`);
      }
      isHeld = hold(opened.fd, name);
    } finally {
      if (!isHeld) native().closeDescriptor(opened.fd); // The name is not this object's.
    }
    if (isHeld) return opened;
  }
  throw failure(errnoOf("EAGAIN"), { syscall: "flock", what: "open", name });
}

/* Makes the object whole before it has a name. */
function prepare(fd: number, { name, byteLength, mode, isPersistent }: NewObject): void {
  const allocated = byteLength === 0 ? 0 : native().allocate(fd, 0, byteLength);
  if (allocated < 0) throw failure(allocated, { syscall: "fallocate", what: "make", name });
  chmodSync(`/proc/self/fd/${fd}`, mode | (isPersistent ? 0 : collectable));
  lockShared(fd, name);
}

/** Makes an object; undefined when there is one of that name that somebody holds. */
export function makeName(plan: NewObject): NamedObject | undefined {
  const { name } = plan;
  const flags = constant("O_TMPFILE") | constants.O_RDWR;
  const fd = native().openDescriptor(folder, flags, 0o600);
  if (fd < 0) throw failure(fd, { syscall: "shm_open", what: "make", name });
  let isMade = false;
  try {
    prepare(fd, plan);
    for (let tries = 0; tries < triesMax; tries += 1) {
      const linked = native().linkDescriptor(fd, pathOf(name));
      isMade = linked === 0;
      if (isMade) return { fd, isWritable: true };
      if (errnoName(linked) !== "EEXIST") {
        throw failure(linked, { syscall: "shm_open", what: "make", name });
      }
      const found = openName(name);
      if (found === undefined) continue; // It was left by a crash, and is gone now.
      drop(found.fd, name); // Its holders may have gone while it was looked at.
      return undefined;
    }
  } finally {
    if (!isMade) native().closeDescriptor(fd);
  }
  return undefined;
}
