// What one way of touching memory is in the crash matrix, and the short forms in which the lists
// of ways (ways-*.ts) write them.

/** The runtimes of the matrix; the last one runs on an emulated processor (scripts/arm64.mjs). */
export const runtimes = [
  "node-20",
  "node-22",
  "node-24",
  "node-26",
  "bun",
  "deno",
  "node-22-arm64",
] as const;
export type Runtime = (typeof runtimes)[number];

/** The size of a page, for which the ways are written. */
export const pageSize = 4096;

/** The byte that fills each file before it is touched. */
export const content = 5;

/** Memory of either kind of buffer. */
export type View = Uint8Array<ArrayBufferLike>;

/**
 * What a way does with each page of its view: "update" reads and writes, in the order of its own;
 * the kernel's accesses are those of the runtime's system calls, where EFAULT or a short result is
 * what the contract promises.
 */
export type Touch = "read" | "write" | "update" | "kernel-read" | "kernel-write";

/** What a way may use beside the view: none of it is mapped memory. */
export interface Kit {
  /** As long as the view, filled with 0x41. */
  readonly heap: Uint8Array<ArrayBuffer>;
  /** A folder for files of the way. */
  readonly folder: string;
  /** An ordinary file, as long as the view, open for reading and writing. */
  readonly fd: number;
}

/** One way of touching memory. */
export interface Way {
  readonly name: string;
  readonly touch: Touch;
  /** It goes on after the call: on the thread pool, or in later turns of the event loop. */
  readonly waits: boolean;
  /** It touches the whole buffer, whatever part of it the view shows. */
  readonly whole: boolean;
  /** It makes a structured clone, where shared memory is shared and not touched. */
  readonly clones: boolean;
  /** Makes what it needs while the memory is sound; what it returns does the touching. */
  ready(view: View, kit: Kit): () => unknown;
}

type Ready = Way["ready"];

interface More {
  readonly whole?: boolean;
  readonly clones?: boolean;
}

function way(name: string, touch: Touch, rest: More & { waits: boolean; ready: Ready }): Way {
  const { waits, ready, whole = false, clones = false } = rest;
  return { name, touch, waits, whole, clones, ready };
}

/** A way that is over when the call returns. */
export function now(touch: Touch): (name: string, ready: Ready, more?: More) => Way {
  return (name, ready, more) => way(name, touch, { ...more, ready, waits: false });
}

/** A way that goes on after the call. */
export function later(touch: Touch): (name: string, ready: Ready, more?: More) => Way {
  return (name, ready, more) => way(name, touch, { ...more, ready, waits: true });
}

/** Calls a method that the types of this project's oldest runtime do not know. */
export function call(target: object, name: string, ...args: readonly unknown[]): unknown {
  const method: unknown = Reflect.get(target, name);
  if (typeof method !== "function") throw new Error(`this runtime has no ${name}()`);
  return Reflect.apply(method, target, args);
}

/** The view as a Buffer over the same memory. */
export function asBuffer(view: View): Buffer<ArrayBufferLike> {
  return Buffer.from(view.buffer, view.byteOffset, view.byteLength);
}

/** Waits for an operation that ends by calling back. */
export function called(
  start: (done: (error: unknown, result?: unknown) => void) => void,
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    start((error, result) => {
      if (error === null || error === undefined) resolve(result);
      else reject(error);
    });
  });
}
