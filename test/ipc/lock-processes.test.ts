// Locks between real processes, runtimes and workers: counters that must be exact, and locks whose
// owners are killed or terminated while they hold them.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { answerTo } from "../guard/program.js";

/* A program that starts itself again: the environment names the part, and the memory. */
const start = `
  import { spawn } from "node:child_process";
  import { fileURLToPath } from "node:url";
  import {
    Barrier, Mutex, RwLock, Semaphore, SharedEvent, SharedMemory, wait, notify,
  } from "memmap/ipc";
  const self = fileURLToPath(import.meta.url);
  const denoArgs = ["run", "-A", "--no-check", "--no-lock"];
  const part = isMainThread ? process.env.PART : workerData.part;
  const memory = !isMainThread ? SharedMemory.attach(workerData.data)
    : process.env.HANDLE ? SharedMemory.attach(JSON.parse(process.env.HANDLE))
    : SharedMemory.create({ byteLength: 8192 });
  const mapping = memory.map();
  /* Behind the locks: two counters, and a word that says how many have begun. */
  const words = new Int32Array(mapping.buffer, 4096);
  const at = (offset) => mapping.bytes.subarray(offset);
  const mutex = new Mutex(at(0));
  const semaphore = new Semaphore(at(64));
  const event = new SharedEvent(at(128));
  const barrier = Barrier.create(at(192), 3);
  const rwLock = new RwLock(at(1024));
  const limits = { timeoutMs: 15_000 };
  function other(part, program = process.execPath) {
    const isDeno = /deno[^/]*$/.test(program);
    const env = { ...process.env, PART: part, HANDLE: JSON.stringify(memory.handle) };
    const child = spawn(program, [...(isDeno ? denoArgs : []), self, folder],
      { env, stdio: ["ignore", "inherit", "inherit"] });
    child.ended = new Promise((resolve) =>
      child.on("exit", (code, signal) => resolve(code ?? signal)));
    return child;
  }
  function begun() {
    Atomics.add(words, 2, 1);
    notify(words, 2);
  }
  async function others(count) {
    for (let found; (found = Atomics.load(words, 2)) < count; ) await wait(words, 2, found, limits);
  }`;

const runtimes = fileURLToPath(new URL("../../../.runtimes/node_modules/", import.meta.url));
const peers: Readonly<Record<string, string>> = {
  "its own runtime": process.execPath,
  "Node 26": `${runtimes}node-26-x64/bin/node`,
  Bun: `${runtimes}@oven/bun-linux-x64/bin/bun`,
};

for (const [name, program] of Object.entries(peers)) {
  const skip = existsSync(program) ? false : `needs ${name} in .runtimes`;

  test(`with ${name}: a counter under a mutex and one under a writer's lock are exact`, {
    skip,
  }, async (t) => {
    const code = `${start}
      const times = 3000;
      const isAsync = part === undefined;
      async function count() {
        for (let i = 0; i < times; i += 1) {
          const guard = isAsync ? await mutex.lock(limits) : mutex.lockSync(limits);
          words[0] = words[0] + 1;
          guard.release();
          const isRead = i % 4 !== 0;
          const way = isRead ? "read" : "write";
          const held = isAsync ? await rwLock[way](limits) : rwLock[way + "Sync"](limits);
          const seen = words[1];
          if (!isRead) words[1] = seen + 1;
          else if (words[1] !== seen) throw new Error("changed under a reader");
          held.release();
        }
      }
      if (part === "other") {
        begun();
        await count();
      } else {
        const child = other("other", ${JSON.stringify(program)});
        await others(1);
        await count();
        answer({ ended: await child.ended, counts: [words[0], words[1]] });
      }`;
    assert.deepEqual(await answerTo(t, code), { ended: 0, counts: [6000, 1500] });
  });

  test(`with ${name}: permits, an event and a barrier`, { skip }, async (t) => {
    const code = `${start}
      if (part === "other") {
        begun();
        event.waitSync(limits);
        let last = 0;
        for (let phase = 0; phase < 50; phase += 1) {
          semaphore.acquireSync(1, limits);
          if (barrier.arriveSync(limits)) last += 1;
        }
        Atomics.add(words, 0, last);
      } else {
        const children = [other("other", ${JSON.stringify(program)}), other("other")];
        await others(2);
        event.set();
        let last = 0;
        for (let phase = 0; phase < 50; phase += 1) {
          semaphore.release(2);
          if (await barrier.arrive(limits)) last += 1;
        }
        const ended = await Promise.all(children.map((child) => child.ended));
        answer({ ended, last: last + words[0], value: semaphore.value });
      }`;
    assert.deepEqual(await answerTo(t, code), { ended: [0, 0], last: 50, value: 0 });
  });
}

test("a peer that writes garbage over the locks costs errors, and no more", async (t) => {
  const code = `${start}
    if (part === "vandal") {
      /* All words of the locks but those that say what they are. */
      const formats = [12, 76, 140, 204, 1024 + 12];
      const all = new Int32Array(mapping.buffer, 0, 512);
      const spoilt = [...all.keys()].filter((index) => !formats.includes(4 * index));
      begun();
      for (let seed = 1; words[3] === 0; seed = Math.imul(seed, 0x5851f42d) + 0x14057b7d | 0) {
        const word = spoilt[(seed >>> 8) % spoilt.length];
        Atomics.store(all, word, seed % 3 === 0 ? 0 : seed);
      }
    } else {
      const child = other("vandal");
      await others(1);
      const soon = { timeoutMs: 2 };
      const calls = [
        () => mutex.lockSync(soon), () => mutex.lock(soon), () => mutex.tryLock(),
        () => rwLock.readSync(soon), () => rwLock.read(soon), () => rwLock.tryRead(),
        () => rwLock.writeSync(soon), () => rwLock.write(soon), () => rwLock.tryWrite(),
        () => semaphore.acquireSync(1, soon), () => semaphore.acquire(1, soon),
        () => semaphore.value, () => semaphore.release(),
        () => event.waitSync(soon), () => event.wait(soon), () => event.set(), () => event.reset(),
        () => barrier.arriveSync(soon), () => barrier.arrive(soon), () => barrier.tryArrive(),
      ];
      const seen = {};
      for (let round = 0; round < 15; round += 1) {
        for (const call of calls) {
          let result = "done";
          try {
            const guard = await call();
            try {
              guard?.recover?.();
            } finally {
              guard?.release?.();
            }
          } catch (error) {
            /* More permits than there can be are a RangeError. */
            if (!(error instanceof MemmapError || error instanceof RangeError)) throw error;
            result = error.code;
          }
          seen[result] = (seen[result] ?? 0) + 1;
        }
      }
      words[3] = 1;
      mapping.close();
      answer({ ended: await child.ended, seen: Object.keys(seen).sort() });
    }`;
  const { ended, seen } = await answerTo(t, code);
  const known = ["CORRUPT", "OWNER_DIED", "READ_ONLY", "TIMEOUT"].map(
    (code) => `ERR_MEMMAP_${code}`,
  );
  assert.equal(ended, 0);
  assert.ok(Array.isArray(seen) && seen.includes("done") && seen.length > 2, String(seen));
  const others = seen.filter(
    (code) => !["done", "EDEADLK", "ERR_OUT_OF_RANGE", ...known].includes(code),
  );
  assert.deepEqual(others, []);
});

/* How somebody is started who takes a lock, and how it is ended. */
const owners = {
  "a process that is killed": `
    function startOwner(part) {
      const owner = other(part);
      return () => (owner.kill("SIGKILL"), owner.ended);
    }`,
  "a worker that is terminated": `
    function startOwner(part) {
      const owner = startPart(part, memory.handle);
      return () => owner.terminate();
    }`,
};

/* The parts of owners: each takes its lock, and keeps it until it is ended. */
const parts = `
  const take = {
    mutex: () => mutex.lockSync(),
    reader: () => rwLock.readSync(),
    writer: () => rwLock.writeSync(),
    waiter: () => rwLock.write(),
  }[part];
  if (take !== undefined) {
    globalThis.guard = take();
    words[0] = 1;
    begun();
    setInterval(() => {}, 1000);
  } else {
    await main();
  }`;

for (const [name, startOwner] of Object.entries(owners)) {
  const begin = `${start}\n${startOwner}`;

  test(`${name}: the next owner of a mutex is told, recovers, and the lock is whole`, async (t) => {
    const code = `${begin}
      async function main() {
        const end = startOwner("mutex");
        await others(1);
        const waiting = [mutex.lock(limits), mutex.lock(limits)];
        await sleep(30);
        await end();
        const told = [];
        const use = async (wait) => {
          const guard = await wait;
          told.push(guard.ownerDied);
          if (guard.ownerDied) guard.recover();
          guard.release();
        };
        await Promise.all(waiting.map(use));
        answer({ told, half: words[0], free: mutex.tryLock() !== undefined });
      }
      ${parts}`;
    assert.deepEqual(await answerTo(t, code), { told: [true, false], half: 1, free: true });
  });

  test(`${name}: a reader is forgotten`, async (t) => {
    const code = `${begin}
      async function main() {
        const end = startOwner("reader");
        await others(1);
        const waiting = rwLock.write(limits);
        await sleep(30);
        await end();
        const writer = await waiting;
        const told = writer.ownerDied;
        writer.release();
        answer({ told, free: rwLock.tryWrite() !== undefined });
      }
      ${parts}`;
    assert.deepEqual(await answerTo(t, code), { told: false, free: true });
  });

  test(`${name}: a writer that waits for the readers to leave is forgotten`, async (t) => {
    const code = `${begin}
      async function main() {
        const reader = rwLock.tryRead();
        const end = startOwner("waiter");
        await others(1);
        for (let late; (late = rwLock.tryRead()); late.release()) await sleep(1);
        const thread = new Int32Array(mapping.buffer)[256] & 0x3fffffff;
        await end();
        // A worker that has been told to end may still run, and get the lock in its last moment.
        await until(() => !fs.existsSync("/proc/" + thread + "/stat"));
        reader.release();
        const told = [];
        for (const way of ["read", "write", "read"]) {
          const guard = await rwLock[way](limits);
          told.push(guard.ownerDied);
          guard.release();
        }
        answer({ told });
      }
      ${parts}`;
    assert.deepEqual(await answerTo(t, code), { told: [false, false, false] });
  });

  test(`${name}: after a writer readers are told, until the next writer recovers`, async (t) => {
    const code = `${begin}
      async function main() {
        const end = startOwner("writer");
        await others(1);
        const waiting = [rwLock.read(limits), rwLock.read(limits)];
        await sleep(30);
        await end();
        const told = [];
        for (const guard of await Promise.all(waiting)) {
          told.push(guard.ownerDied);
          guard.release();
        }
        const writer = await rwLock.write(limits);
        told.push(writer.ownerDied);
        writer.recover();
        writer.release();
        const reader = await rwLock.read(limits);
        told.push(reader.ownerDied);
        answer({ told });
      }
      ${parts}`;
    assert.deepEqual(await answerTo(t, code), { told: [true, true, true, false] });
  });
}
