/**
 * Where `copy` puts its bytes: finds the file that is meant by DST, and makes it appear whole or
 * not at all. Owns the temporary file beside it until that is renamed or removed.
 */
import { randomBytes } from "node:crypto";
import {
  type BigIntStats,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  ftruncateSync,
  lstatSync,
  openSync,
  readlinkSync,
  realpathSync,
  renameSync,
  statSync,
  unlinkSync,
} from "node:fs";
import { basename, dirname, isAbsolute, join } from "node:path";
import { Cleanup } from "./cleanup.js";
import { syncFile, writeSome } from "./descriptor.js";
import {
  attempt,
  attemptAsync,
  CliError,
  callError,
  codeOf,
  exitCodes,
  failedError,
} from "./exit.js";
import { kindOf } from "./input-file.js";
import { quote } from "./text.js";

const linksMax = 40;

/** The file that is meant by DST. */
export interface Target {
  /** Its path, with the links at its end followed. */
  readonly path: string;
  /** What stands there now. */
  readonly existing: BigIntStats | undefined;
}

function statusOf(path: string, links: "follow" | "keep"): BigIntStats | undefined {
  const ask = links === "follow" ? statSync : lstatSync;
  try {
    return ask(path, { bigint: true });
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw callError(error, `cannot copy to ${quote(path)}`);
  }
}

/* The file at the end of links, which need not exist yet. */
function followLinks(path: string): string {
  let current = path;
  for (let count = 0; count < linksMax; count += 1) {
    if (statusOf(current, "keep")?.isSymbolicLink() !== true) return current;
    const what = `cannot follow ${quote(current)}`;
    const link = attempt(what, () => readlinkSync(current));
    const folder = attempt(what, () => realpathSync(dirname(current)));
    current = isAbsolute(link) ? link : join(folder, link);
  }
  throw failedError(`cannot copy to ${quote(path)}: too many symbolic links`);
}

/** Finds the file that DST means, and refuses what is no place for a copy. */
export function resolveTarget(destination: string, source: string): Target {
  const isFolder = statusOf(destination, "follow")?.isDirectory() === true;
  if (!isFolder && destination.endsWith("/")) {
    throw new CliError(`${quote(destination)} is no directory`, exitCodes.missing);
  }
  const path = followLinks(isFolder ? join(destination, basename(source)) : destination);
  const existing = statusOf(path, "follow");
  const kind = existing === undefined ? undefined : kindOf(existing);
  if (kind !== undefined) {
    throw failedError(`cannot copy to ${quote(path)}: it is ${kind}, not a regular file`);
  }
  if (existing !== undefined) {
    // The kernel is asked, since a runtime that only looks at the permissions is wrong for root.
    const what = `cannot write ${quote(path)}`;
    closeSync(attempt(what, () => openSync(path, constants.O_WRONLY)));
  }
  return { path, existing };
}

/** A file beside the target that takes its place when it is whole. */
export class TemporaryFile {
  readonly fd: number;
  readonly #path: string;
  readonly #target: Target;
  readonly #cleanup: Cleanup;

  /** A new target gets `mode` less the umask; an existing one keeps its own mode and owner. */
  constructor(target: Target, mode: number) {
    const { path, existing } = target;
    this.#target = target;
    const name = `.memmap-copy-${process.pid}-${randomBytes(4).toString("hex")}`;
    this.#path = join(dirname(path), name);
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL;
    const first = existing === undefined ? mode : 0o600;
    const what = `cannot create a file in ${quote(dirname(path))}`;
    // Signals are heard before there is anything to remove.
    this.#cleanup = new Cleanup(() => this.#remove());
    try {
      this.fd = attempt(what, () => openSync(this.#path, flags, first));
    } catch (error) {
      this.#cleanup[Symbol.dispose]();
      throw error;
    }
  }

  /** Gives the file its length; where nothing is written it is a hole. */
  setLength(length: number): void {
    attempt(this.#what, () => ftruncateSync(this.fd, length));
  }

  /** Writes all bytes at a place. An `EFAULT` comes as it is: the bytes were not there. */
  async write(bytes: Uint8Array, position: number): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      const length = bytes.length - done;
      try {
        done += await writeSome(this.fd, {
          bytes,
          offset: done,
          length,
          position: position + done,
        });
      } catch (error) {
        throw codeOf(error) === "EFAULT" ? error : callError(error, this.#what);
      }
    }
  }

  /** Brings the bytes to storage and puts the file in the target's place. */
  async commit(): Promise<void> {
    const { path, existing } = this.#target;
    if (existing !== undefined) this.#becomeLike(existing);
    await attemptAsync(this.#what, () => syncFile(this.fd));
    attempt(this.#what, () => renameSync(this.#path, path));
  }

  [Symbol.dispose](): void {
    closeSync(this.fd);
    this.#cleanup[Symbol.dispose]();
  }

  get #what(): string {
    return `cannot write ${quote(this.#target.path)}`;
  }

  /* Giving a file away needs privileges; without them the copy belongs to who made it. */
  #becomeLike(existing: BigIntStats): void {
    try {
      fchownSync(this.fd, Number(existing.uid), Number(existing.gid));
    } catch (error) {
      if (codeOf(error) !== "EPERM") throw callError(error, this.#what);
    }
    attempt(this.#what, () => fchmodSync(this.fd, Number(existing.mode) & 0o777));
  }

  /* After the renaming there is nothing left under this name. */
  #remove(): void {
    try {
      unlinkSync(this.#path);
    } catch (error) {
      if (codeOf(error) !== "ENOENT") throw callError(error, `cannot remove ${quote(this.#path)}`);
    }
  }
}
