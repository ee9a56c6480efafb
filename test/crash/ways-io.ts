// Touches by files, sockets and streams, where the kernel is often the one that touches, and copies
// to and from WebAssembly.

import fs from "node:fs";
import { rm } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { MessageChannel } from "node:worker_threads";
import { asBuffer, call, called, later, now, type View, type Way } from "./way.js";

const kernelRead = now("kernel-read");
const kernelWrite = now("kernel-write");
const read = now("read");

let fileCount = 0;

function newPath(folder: string): string {
  return join(folder, `out-${process.pid}-${fileCount++}`);
}

const nodeFiles: readonly Way[] = [
  kernelRead(
    "fs.writeSync",
    (view, { fd }) =>
      () =>
        fs.writeSync(fd, view, 0, view.length, 0),
  ),
  kernelRead(
    "fs.writevSync",
    (view, { fd, heap }) =>
      () =>
        fs.writevSync(fd, [view, heap.subarray(0, 1)], 0),
  ),
  kernelRead("fs.writeFileSync", (view, { folder }) => {
    const path = newPath(folder);
    return () => fs.writeFileSync(path, view);
  }),
  kernelRead("fs.appendFileSync", (view, { folder }) => {
    const path = newPath(folder);
    return () => fs.appendFileSync(path, view);
  }),
  kernelWrite(
    "fs.readSync",
    (view, { fd }) =>
      () =>
        fs.readSync(fd, view, 0, view.length, 0),
  ),
  kernelWrite(
    "fs.readvSync",
    (view, { fd }) =>
      () =>
        fs.readvSync(fd, [view], 0),
  ),
  later("kernel-read")(
    "fs.write",
    (view, { fd }) =>
      () =>
        called((done) => fs.write(fd, view, 0, view.length, 0, done)),
  ),
  later("kernel-write")(
    "fs.read",
    (view, { fd }) =>
      () =>
        called((done) => fs.read(fd, view, 0, view.length, 0, done)),
  ),
];

async function withHandle(
  folder: string,
  use: (handle: fs.promises.FileHandle) => Promise<unknown>,
): Promise<unknown> {
  const path = newPath(folder);
  await fs.promises.writeFile(path, Buffer.alloc(8192, 0x42));
  const handle = await fs.promises.open(path, "r+");
  try {
    return await use(handle);
  } finally {
    await handle.close();
    await rm(path);
  }
}

const promisedFiles: readonly Way[] = [
  later("kernel-read")(
    "FileHandle.write",
    (view, { folder }) =>
      () =>
        withHandle(folder, async (handle) => (await handle.write(view)).bytesWritten),
  ),
  later("kernel-write")(
    "FileHandle.read",
    (view, { folder }) =>
      () =>
        withHandle(folder, async (handle) => (await handle.read(view, 0, 8192, 0)).bytesRead),
  ),
  later("kernel-read")("promises.writeFile", (view, { folder }) => async () => {
    const path = newPath(folder);
    await fs.promises.writeFile(path, view);
    await rm(path);
  }),
  later("kernel-read")(
    "createWriteStream",
    (view, { folder }) =>
      () =>
        called((done) => {
          const stream = fs.createWriteStream(newPath(folder));
          stream.on("error", done).on("close", () => done(null, stream.bytesWritten));
          stream.end(view);
        }),
  ),
];

/* Sends the view to a server of its own and tells how many bytes came out there. */
function send(view: View, folder: string): Promise<unknown> {
  const path = newPath(folder);
  return called((done) => {
    let received = 0;
    const server = createServer((socket) => {
      socket.on("error", () => {});
      socket.on("data", (chunk) => {
        received += chunk.length;
      });
      socket.on("close", () => server.close(() => done(null, received)));
    });
    server.listen(path, () => {
      const client = connect(path);
      client.on("error", (error) => server.close(() => done(error)));
      try {
        client.end(view);
      } catch (error) {
        client.destroy();
        server.close(() => done(error));
      }
    });
  });
}

const streams: readonly Way[] = [
  later("kernel-read")(
    "net socket",
    (view, { folder }) =>
      () =>
        send(view, folder),
  ),
  later("read")("Readable to a collecting pipeline", (view) => async () => {
    const chunks: Uint8Array[] = [];
    await pipeline(Readable.from([view]), async (source) => {
      for await (const chunk of source) chunks.push(chunk);
    });
    return Buffer.concat(chunks);
  }),
  later("read")(
    "new Blob",
    (view) => () =>
      new Blob([new Uint8Array(webMemory(view), view.byteOffset, view.length)]).arrayBuffer(),
  ),
  later("read")("new Response", (view) => async () => {
    const { length, byteOffset } = view;
    const response = new Response(new Uint8Array(webMemory(view), byteOffset, length));
    return (await response.arrayBuffer()).byteLength;
  }),
  later("read")("CompressionStream", (view) => async () => {
    const stream = new CompressionStream("deflate");
    const writer = stream.writable.getWriter();
    const written = writer.write(asBuffer(view)).then(() => writer.close());
    const [total] = await Promise.all([lengthOf(stream.readable), written]);
    return total;
  }),
  later("read")("MessageChannel copy", (view) => () => throughChannel(view), {
    whole: true,
    clones: true,
  }),
];

async function lengthOf(chunks: AsyncIterable<Uint8Array>): Promise<number> {
  let total = 0;
  for await (const chunk of chunks) total += chunk.length;
  return total;
}

async function throughChannel(view: View): Promise<void> {
  const { port1, port2 } = new MessageChannel();
  try {
    const arrived = new Promise((resolve) => {
      port2.on("message", resolve);
    });
    port1.postMessage(view);
    await arrived;
  } finally {
    port1.close();
    port2.close();
  }
}

function webMemory(view: View): ArrayBuffer {
  if (view.buffer instanceof ArrayBuffer) return view.buffer;
  throw new TypeError("the memory is shared");
}

/* (module (memory (export "m") 1) (func (export "f") (param i32) (result i32)
     (i32.load (local.get 0)))) */
const wasmBytes = Uint8Array.from([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 6, 1, 96, 1, 127, 1, 127, 3, 2, 1, 0, 5, 3, 1, 0, 1, 7, 9, 2, 1,
  109, 2, 0, 1, 102, 0, 0, 10, 9, 1, 7, 0, 32, 0, 40, 2, 0, 11,
]);

interface Wasm {
  readonly memory: Uint8Array;
  /** Loads a word at an offset; past 64 KiB it traps. */
  load(offset: number): number;
}

/** Makes a WebAssembly instance with one page of memory. */
export function makeWasm(): Wasm {
  const host: object = Reflect.get(globalThis, "WebAssembly");
  const construct = (name: string, ...args: unknown[]): object =>
    Reflect.construct(Reflect.get(host, name), args);
  const exports: object = Reflect.get(
    construct("Instance", construct("Module", wasmBytes)),
    "exports",
  );
  const memory: ArrayBuffer = Reflect.get(Reflect.get(exports, "m"), "buffer");
  return { memory: new Uint8Array(memory), load: (offset) => Number(call(exports, "f", offset)) };
}

/** Whether a load outside the memory still ends in the trap of WebAssembly. */
export function trapWorks(wasm: Wasm): boolean {
  try {
    wasm.load(2 ** 20);
    return false;
  } catch (error) {
    return error instanceof Error && error.constructor.name === "RuntimeError";
  }
}

const wasm: readonly Way[] = [
  read("WebAssembly memory set from it", (view) => {
    const { memory } = makeWasm();
    return () => memory.set(view);
  }),
  now("write")("set from WebAssembly memory", (view) => {
    const { memory } = makeWasm();
    return () => view.set(memory.subarray(0, view.length));
  }),
  read("read between two WebAssembly traps", (view) => {
    const instance = makeWasm();
    return () => {
      const before = trapWorks(instance);
      view.slice();
      if (!before || !trapWorks(instance)) throw new Error("the trap of WebAssembly is lost");
    };
  }),
  read(
    "WebAssembly.validate",
    (view) => () => call(Reflect.get(globalThis, "WebAssembly"), "validate", asBuffer(view)),
  ),
];

/** Files, sockets, streams, WebAssembly. */
export const ioWays: readonly Way[] = [...nodeFiles, ...promisedFiles, ...streams, ...wasm];
