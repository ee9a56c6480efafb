/**
 * A file that a verb takes its bytes from: mapped in windows where the kernel maps it, else read
 * the ordinary way. Owns the descriptor, and finds out when the file changes under the verb.
 *
 * The file is opened once and mapped by its descriptor, so a name that vanishes or comes to mean
 * another file changes nothing.
 */
import { type BigIntStats, closeSync, fstatSync } from "node:fs";
import { type Mapping, mapFileSync } from "../index.js";
import { readSome } from "./descriptor.js";
import { attempt, type CliError, callError, codeOf, failedError } from "./exit.js";
import { plural } from "./text.js";

/**
 * How much is mapped at a time: little enough for every runtime and for the page tables, enough to
 * make the calls per window cost nothing.
 */
export const windowBytes: number = 2 ** 28;

const readBytes = 2 ** 20;

const retryMs = 5;

/* What mmap(2) answers for files that are there to be read and not to be mapped; EIO is /proc. */
const unmappable: readonly string[] = ["ENODEV", "EIO", "EACCES", "EPERM", "EINVAL", "EOPNOTSUPP"];

/** What an unusual kind of file is called; undefined for a regular file. */
export function kindOf(status: BigIntStats): string | undefined {
  if (status.isFile()) return undefined;
  if (status.isDirectory()) return "a directory";
  if (status.isFIFO()) return "a pipe";
  if (status.isSocket()) return "a socket";
  return "a device";
}

/** Why an open file cannot be mapped; undefined when it can. */
export function whyUnmappable(fd: number, status: BigIntStats): string | undefined {
  if (fd === 0) return "it is read from where it stands";
  const kind = kindOf(status);
  if (kind !== undefined) return `it is ${kind}`;
  try {
    mapFileSync(fd, { length: status.size === 0n ? 0 : 1 }).close();
    return undefined;
  } catch (error) {
    const code = codeOf(error);
    if (code !== undefined && unmappable.includes(code))
      return `the kernel cannot map it (${code})`;
    throw error;
  }
}

/** A file to take bytes from. */
export class InputFile {
  /** The name in quotes, for messages. */
  readonly name: string;
  readonly fd: number;
  /** What the file was when it was opened. */
  readonly status: BigIntStats;
  /** Why it is read and not mapped; undefined when it is mapped. */
  readonly unmappable: string | undefined;

  /**
   * Takes over the descriptor, also when it throws. The standard input is read and never mapped,
   * since it begins where others have left it.
   */
  constructor(name: string, fd: number) {
    this.name = name;
    this.fd = fd;
    try {
      this.status = attempt(`cannot read ${name}`, () => fstatSync(fd, { bigint: true }));
      if (this.status.isDirectory()) throw failedError(`cannot read ${name}: it is a directory`);
      this.unmappable = attempt(`cannot map ${name}`, () => whyUnmappable(fd, this.status));
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** The bytes it had when it was opened. */
  get size(): number {
    return Number(this.status.size);
  }

  /** Maps a part of it; the caller closes the mapping. */
  window(offset: number, length: number): Mapping {
    this.requireBytes(offset + length);
    try {
      return mapFileSync(this.fd, { offset, length });
    } catch (error) {
      // It may have become shorter between the question and the call.
      this.requireBytes(offset + length);
      throw callError(error, `cannot map ${this.name}`);
    }
  }

  /** Throws when the file no longer reaches as far as `end`. */
  requireBytes(end: number): void {
    const now = this.#now();
    if (now.size < BigInt(end)) throw this.#shortened(now);
  }

  /** Throws when the file was removed since it was opened. */
  requirePresent(): void {
    if (this.status.nlink > 0n && this.#now().nlink === 0n) {
      throw failedError(`${this.name} vanished: it was removed while it was used`);
    }
  }

  /** What to throw when the kernel found no bytes behind a part of the mapping. */
  faultError(): CliError {
    const now = this.#now();
    if (now.size < this.status.size) return this.#shortened(now);
    return failedError(`cannot read ${this.name}: its storage did not give the bytes`);
  }

  /** Reads it the ordinary way; `position` null means from where it stands. */
  async *pieces(position: number | null): AsyncGenerator<Uint8Array, void, undefined> {
    const buffer = new Uint8Array(readBytes);
    let done = 0;
    for (;;) {
      const at = position === null ? null : position + done;
      const count = await this.#read(buffer, at);
      if (count === 0) return;
      done += count;
      yield buffer.subarray(0, count);
    }
  }

  /** Whether a byte can be read at a position. */
  async has(position: number): Promise<boolean> {
    return (await this.#read(new Uint8Array(1), position)) === 1;
  }

  close(): void {
    // The standard input is not ours to close.
    if (this.fd !== 0) closeSync(this.fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async #read(bytes: Uint8Array, position: number | null): Promise<number> {
    for (;;) {
      try {
        return await readSome(this.fd, { bytes, offset: 0, length: bytes.length, position });
      } catch (error) {
        const code = codeOf(error);
        if (code !== "EAGAIN" && code !== "EINTR")
          throw callError(error, `cannot read ${this.name}`);
        await new Promise((resolve) => setTimeout(resolve, retryMs));
      }
    }
  }

  #now(): BigIntStats {
    return attempt(`cannot read ${this.name}`, () => fstatSync(this.fd, { bigint: true }));
  }

  #shortened(now: BigIntStats): CliError {
    return failedError(
      `${this.name} was shortened while it was used: ` +
        `it had ${plural(this.size, "byte")} and has ${plural(Number(now.size), "byte")}`,
    );
  }
}
