// How two programs talk with what the platform brings: process.send, a Unix socket, postMessage.

import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parentPort } from "node:worker_threads";
import type { Task, Way } from "./party.js";

const warmUp = 200;

/* One side of a way that carries whole messages. */
interface Port {
  /** Resolves, at once or later, when more can be sent. */
  send(message: unknown): Promise<void> | undefined;
  onMessage(listener: (message: unknown) => void): void;
  close(): void;
}

function lengthOf(message: unknown): number {
  if (typeof message === "string" || message instanceof Uint8Array) return message.length;
  return 0;
}

interface NearPlan {
  readonly task: Task;
  readonly message: unknown;
  readonly clock: { start(): void; stop(): void };
}

/* The measuring side of round trips, over any port. */
async function trips(port: Port, { task, message, clock }: NearPlan): Promise<number> {
  let [bytes, trip] = [0, -warmUp];
  const ended = new Promise<void>((resolve) => {
    port.onMessage((answer) => {
      if (trip === 0) clock.start();
      if (trip >= 0) bytes += lengthOf(answer);
      trip += 1;
      if (trip < task.count) void port.send(message);
      else resolve();
    });
  });
  await port.send(message);
  await ended;
  return bytes;
}

/* The same one way. */
async function oneWay(port: Port, { task, message, clock }: NearPlan): Promise<number> {
  const total = new Promise<number>((resolve) => {
    port.onMessage((answer) => {
      if (typeof answer === "number") resolve(answer);
    });
  });
  clock.start();
  for (let i = 0; i < task.count; i += 1) await port.send(message);
  return total;
}

async function near(port: Port, plan: NearPlan): Promise<number> {
  const bytes = await (plan.task.name === "trip" ? trips(port, plan) : oneWay(port, plan));
  plan.clock.stop();
  port.close();
  return bytes;
}

function far(port: Port, task: Task): void {
  let bytes = 0;
  port.onMessage((message) => {
    if (task.name === "trip") {
      void port.send(message);
      return;
    }
    bytes += lengthOf(message);
    if (bytes === task.size * task.count) void port.send(bytes);
  });
}

/* process.send with one of its serializations: text is what JSON carries best. */
function forked(serialization: "json" | "advanced"): Way {
  return {
    async near(task, start, clock) {
      const child = start.forked(serialization);
      await once(child, "message");
      const isJson = serialization === "json";
      const message = isJson ? "x".repeat(task.size) : new Uint8Array(task.size);
      const port: Port = {
        send: (what) => {
          if (child.send(Object(what) === what ? Object(what) : String(what))) return undefined;
          return new Promise((resolve) => setImmediate(resolve));
        },
        onMessage: (listener) => child.on("message", listener),
        close: () => child.kill(),
      };
      return near(port, { task, message, clock });
    },
    async far(task) {
      const send = (message: unknown): undefined => void process.send?.(message);
      const onMessage = (listener: (message: unknown) => void): void => {
        process.on("message", listener);
      };
      far({ send, onMessage, close: () => {} }, task);
      send(0);
    },
  };
}

/* Cuts a stream into messages of one size. */
function cut(size: number, listener: (message: Buffer) => void): (chunk: Buffer) => void {
  let parts: Buffer[] = [];
  let length = 0;
  return (chunk) => {
    parts.push(chunk);
    length += chunk.length;
    while (length >= size) {
      const all = parts.length === 1 ? (parts[0] ?? chunk) : Buffer.concat(parts);
      listener(all.subarray(0, size));
      parts = all.length > size ? [all.subarray(size)] : [];
      length -= size;
    }
  };
}

/* Messages of one size over a stream; a total goes as text. */
function socketPort(socket: Socket, task: Task, isNear: boolean): Port {
  socket.setNoDelay(true);
  return {
    send: (what) => {
      const chunk = typeof what === "number" ? `${what}\n` : Buffer.from(Object(what));
      if (socket.write(chunk)) return undefined;
      return once(socket, "drain").then(() => undefined);
    },
    onMessage: (listener) => {
      if (isNear && task.name === "one-way") {
        socket.on("data", (chunk) => listener(Number(chunk.toString())));
      } else {
        socket.on("data", cut(task.size, listener));
      }
    },
    close: () => socket.destroy(),
  };
}

const socketWay: Way = {
  async near(task, start, clock) {
    const folder = mkdtempSync(join(tmpdir(), "memmap-bench-"));
    const path = join(folder, "socket");
    const server = createServer().listen(path);
    await once(server, "listening");
    start.process(path);
    const [socket]: Socket[] = await once(server, "connection");
    server.close();
    rmSync(folder, { recursive: true });
    if (socket === undefined) return 0;
    const message = Buffer.alloc(task.size);
    return near(socketPort(socket, task, true), { task, message, clock });
  },
  async far(task, extra) {
    const socket = connect(String(extra));
    await once(socket, "connect");
    far(socketPort(socket, task, false), task);
    await once(socket, "close");
  },
};

const workerWay: Way = {
  async near(task, start, clock) {
    const worker = start.worker(null);
    await once(worker, "message");
    const port: Port = {
      send: (message) => void worker.postMessage(message),
      onMessage: (listener) => worker.on("message", listener),
      close: () => void worker.terminate(),
    };
    return near(port, { task, message: new Uint8Array(task.size), clock });
  },
  async far(task) {
    const port = parentPort;
    if (port === null) throw new Error("not in a worker");
    const send = (message: unknown): undefined => void port.postMessage(message);
    const onMessage = (listener: (message: unknown) => void): void => {
      port.on("message", listener);
    };
    far({ send, onMessage, close: () => {} }, task);
    send(0);
  },
};

/** By the names that party.ts is started with. */
export const messageWays: Readonly<Record<string, Way>> = {
  json: forked("json"),
  advanced: forked("advanced"),
  socket: socketWay,
  worker: workerWay,
};
