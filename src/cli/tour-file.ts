/**
 * The two files of the tour: the user's, which is only read and checked at the end, and the
 * temporary copy, which takes all writing and is removed however the tour ends.
 */
import { createHash, randomBytes } from "node:crypto";
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pageSize } from "../index.js";
import { Cleanup } from "./cleanup.js";
import { attempt, failedError } from "./exit.js";
import { kindOf, whyUnmappable } from "./input-file.js";
import { plural, quote } from "./text.js";

const copyMax = 2 ** 20;
const sampleMax = 2 ** 20;

function readPart(fd: number, position: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  let done = 0;
  while (done < length) {
    const count = readSync(fd, bytes, done, length - done, position + done);
    if (count === 0) break;
    done += count;
  }
  return bytes.subarray(0, done);
}

/** What must be the same before and after the tour. */
interface Mark {
  readonly size: bigint;
  readonly changedNs: bigint;
  readonly hash: string;
}

/** The user's file, open for reading. */
export class TourFile {
  readonly path: string;
  readonly name: string;
  readonly size: number;
  readonly #fd: number;
  readonly #mark: Mark;

  constructor(path: string) {
    this.path = path;
    this.name = quote(path);
    // A pipe without a writer must not hold the tour.
    const flags = constants.O_RDONLY | constants.O_NONBLOCK;
    this.#fd = attempt(`cannot open ${this.name}`, () => openSync(path, flags));
    try {
      this.size = this.#requireMappable();
      this.#mark = this.#measure();
    } catch (error) {
      closeSync(this.#fd);
      throw error;
    }
  }

  /** What the hash is taken of. */
  get sample(): string {
    return this.size <= 2 * sampleMax
      ? "all bytes"
      : `the first and the last ${plural(sampleMax, "byte")}`;
  }

  /** Bytes from its beginning, by read(2). */
  head(length: number): Buffer {
    return attempt(`cannot read ${this.name}`, () => readPart(this.#fd, 0, length));
  }

  /** The beginning of the hash of its sample. */
  get hash(): string {
    return this.#mark.hash.slice(0, 16);
  }

  /** When it was changed last. */
  get changed(): string {
    return new Date(Number(this.#mark.changedNs / 1_000_000n)).toISOString();
  }

  /** Whether size, time of change and sample are what they were at the beginning. */
  isUnchanged(): boolean {
    const now = this.#measure();
    const mark = this.#mark;
    return now.size === mark.size && now.changedNs === mark.changedNs && now.hash === mark.hash;
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }

  #requireMappable(): number {
    const what = `cannot tour ${this.name}`;
    const status = fstatSync(this.#fd, { bigint: true });
    const kind = kindOf(status);
    if (kind !== undefined) throw failedError(`${what}: it is ${kind}, not a regular file`);
    const reason = attempt(what, () => whyUnmappable(this.#fd, status));
    if (reason !== undefined) throw failedError(`${what}: ${reason}`);
    return Number(status.size);
  }

  #measure(): Mark {
    const { size, mtimeNs } = fstatSync(this.#fd, { bigint: true });
    const hash = createHash("sha256");
    const whole = Number(size) <= 2 * sampleMax;
    hash.update(this.head(whole ? Number(size) : sampleMax));
    if (!whole) hash.update(readPart(this.#fd, Number(size) - sampleMax, sampleMax));
    return { size, changedNs: mtimeNs, hash: hash.digest("hex") };
  }
}

/* Stored at once, so that the pages which are dirty later are those that the tour changed. */
function writeStored(path: string, bytes: Uint8Array): void {
  const fd = openSync(path, "wx");
  try {
    writeFileSync(fd, bytes);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** The copy that is written to: the beginning of the file, or a page of zeros for an empty one. */
export class TemporaryCopy {
  readonly path: string;
  readonly size: number;
  readonly #cleanup: Cleanup;

  constructor(file: TourFile) {
    // The name is chosen and signals are heard before there is anything to remove.
    const name = `memmap-tour-${process.pid}-${randomBytes(4).toString("hex")}`;
    const folder = join(tmpdir(), name);
    this.#cleanup = new Cleanup(() => rmSync(folder, { recursive: true, force: true }));
    this.path = join(folder, "copy");
    const bytes =
      file.size === 0 ? Buffer.alloc(pageSize) : file.head(Math.min(file.size, copyMax));
    this.size = bytes.length;
    try {
      attempt(`cannot make a temporary copy in ${quote(tmpdir())}`, () => {
        mkdirSync(folder, { mode: 0o700 });
        writeStored(this.path, bytes);
      });
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /** How it came to be, for the reader. */
  describe(file: TourFile): string {
    if (file.size === 0) return `a temporary file of ${plural(this.size, "byte")}, all zero`;
    const part = this.size < file.size ? `the first ${plural(this.size, "byte")}` : "it";
    return `a temporary copy of ${part}`;
  }

  /** One byte of the file as read(2) gives it. */
  readByte(position: number): number | undefined {
    const fd = openSync(this.path, "r");
    try {
      return readPart(fd, position, 1)[0];
    } finally {
      closeSync(fd);
    }
  }

  [Symbol.dispose](): void {
    this.#cleanup[Symbol.dispose]();
  }
}
