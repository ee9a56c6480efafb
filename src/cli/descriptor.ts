/**
 * The calls on descriptors that may wait, off the event loop, so that a signal is heard meanwhile.
 * Written out because the runtimes differ in what `promisify` makes of these functions.
 */
import { fsync, open, read, write } from "node:fs";

/** A part of an array, and where in the file it belongs; `position` null: where the file stands. */
export interface Transfer {
  readonly bytes: Uint8Array;
  readonly offset: number;
  readonly length: number;
  readonly position: number | null;
}

/** open(2). */
export function openFile(path: string, flags: number, mode?: number): Promise<number> {
  return new Promise((resolve, reject) => {
    open(path, flags, mode, (error, fd) => (error ? reject(error) : resolve(fd)));
  });
}

/** read(2) or pread(2): how many bytes came, 0 at the end. */
export function readSome(
  fd: number,
  { bytes, offset, length, position }: Transfer,
): Promise<number> {
  return new Promise((resolve, reject) => {
    read(fd, bytes, offset, length, position, (error, count) =>
      error ? reject(error) : resolve(count),
    );
  });
}

/** write(2) or pwrite(2), straight from the array: how many bytes went. */
export function writeSome(
  fd: number,
  { bytes, offset, length, position }: Transfer,
): Promise<number> {
  return new Promise((resolve, reject) => {
    write(fd, bytes, offset, length, position, (error, count) =>
      error ? reject(error) : resolve(count),
    );
  });
}

/** fsync(2). */
export function syncFile(fd: number): Promise<void> {
  return new Promise((resolve, reject) => {
    fsync(fd, (error) => (error ? reject(error) : resolve()));
  });
}
