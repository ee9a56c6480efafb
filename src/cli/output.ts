/**
 * Standard output and standard error, written by write(2) itself and not by the runtime's streams:
 * straight from the bytes that are given, waiting for slow readers, and with errors where they
 * happen.
 */
import { readFileSync, writeSync } from "node:fs";
import { ClosedOutput, codeOf, exitCodes, OutputError, reasonOf } from "./exit.js";

/* The most that one call is asked to write: the system's own limit is a little below 2 GiB. */
const pieceMax = 2 ** 30;

/* Below this a write to a pipe is done whole or not at all (PIPE_BUF). */
const atomicMax = 4096;

const retryMs = 5;

/**
 * Whether others have set the descriptor to return instead of to wait. Then writes are kept so
 * small that they are never done in part, since a runtime may not say how far it came.
 */
function isNonBlocking(fd: number): boolean {
  try {
    const flags = /^flags:\s+([0-7]+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8"));
    return (Number.parseInt(flags?.[1] ?? "0", 8) & 0o4000) !== 0;
  } catch {
    return false;
  }
}

function pause(): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, retryMs);
}

/** A descriptor to write to. */
export class Output {
  readonly fd: number;
  /**
   * Deno sends its standard output through a buffer of lines. That looks at the bytes, which a file
   * that is shortened meanwhile makes deadly, and does not tell how far a write came that failed.
   */
  readonly isBuffered: boolean;
  readonly #name: string;

  constructor(fd: number, name: string) {
    this.fd = fd;
    this.isBuffered = fd === 1 && "Deno" in globalThis;
    this.#name = name;
  }

  /** Writes text. */
  print(text: string): void {
    this.write(Buffer.from(text));
  }

  /**
   * Writes all bytes before it returns.
   *
   * @throws {ClosedOutput} When nobody reads any more.
   * @throws {OutputError} When the output cannot take them. An `EFAULT` comes as it is: the bytes
   *   were not there.
   */
  write(bytes: Uint8Array): void {
    const piece = isNonBlocking(this.fd) ? atomicMax : pieceMax;
    let done = 0;
    while (done < bytes.length) {
      try {
        done += writeSync(this.fd, bytes, done, Math.min(piece, bytes.length - done));
      } catch (error) {
        this.#handle(error);
      }
    }
  }

  #handle(error: unknown): void {
    const code = codeOf(error);
    if (code === "EINTR") return;
    if (code === "EAGAIN") {
      if (this.isBuffered) {
        const reason = "it is set not to wait, and Deno would lose bytes";
        throw new OutputError(`cannot write to ${this.#name}: ${reason}`, exitCodes.failed);
      }
      pause();
      return;
    }
    if (code === "EPIPE" || code === "ECONNRESET") throw new ClosedOutput();
    if (code === "EFAULT") throw error;
    throw new OutputError(`cannot write to ${this.#name}: ${reasonOf(error)}`, exitCodes.failed);
  }
}
