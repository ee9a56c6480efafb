// The ends that an environment can have while mappings live in it: workers that end or are ended
// in the middle, a process that exits, collected handles, two copies of the package. Each runs in
// a child, which must end well and hold no more than before.

import assert from "node:assert/strict";
import { cpSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { runSource } from "../helpers/child.js";
import { runtimeName } from "../helpers/runtime.js";
import { tempDir } from "../helpers/temp.js";

const root = fileURLToPath(new URL("../../../", import.meta.url));

/** What each child has: memmap by an address that workers can import, and what it holds. */
const prelude = `
  import { readdirSync, readFileSync } from "node:fs";
  import { Worker } from "node:worker_threads";
  const memmap = ${JSON.stringify(pathToFileURL(join(root, "dist/index.js")).href)};
  const file = process.argv[2];
  // Bun and Deno do not tell an addon that a worker has ended, or not always: what a worker leaves
  // open there is closed when the process ends.
  const isTold = ${runtimeName === "node"};
  // A sanitizer's own memory comes to lie between areas that are neighbours otherwise.
  const isSanitized = process.env.LD_PRELOAD?.includes("asan") === true;
  const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const descriptorsOf = () => {
    let count = 0;
    for (const fd of readdirSync("/proc/self/fd")) {
      try {
        const text = readFileSync("/proc/self/fdinfo/" + fd, "utf8");
        count += text === "" ? 0 : 1;
      } catch {}
    }
    return count;
  };
  const areasOf = () => readFileSync("/proc/self/maps", "utf8").split("\\n").length;
  const start = (code) =>
    new Worker(new URL("data:text/javascript," + encodeURIComponent(
      "import * as memmap from " + JSON.stringify(memmap) + ";" +
      "import { parentPort, workerData } from 'node:worker_threads';" + code)),
      { workerData: file });
  const ended = (worker) => new Promise((resolve, reject) => {
    worker.once("exit", resolve).once("error", reject);
  });
`;

/** Runs a child over a file of a few pages; it must end with 0 and print `ok`. */
async function assertLives(t: test.TestContext, code: string): Promise<void> {
  const file = join(tempDir(t), "file");
  writeFileSync(file, new Uint8Array(64 * 4096).fill(7));
  const options = { exposeGc: true, timeoutMs: 120_000 };
  const result = await runSource(`${prelude}\n${code}`, [file], options);
  const outcome = { code: result.code, signal: result.signal, stdout: result.stdout.trim() };
  assert.deepEqual(outcome, { code: 0, signal: null, stdout: "ok" }, result.stderr);
}

test("workers that end with open mappings leave no descriptor and no areas behind", async (t) => {
  await assertLives(
    t,
    `
    const round = () => ended(start(\`
      const kinds = [
        memmap.mapFileSync(workerData, { protection: "read-write", grow: true, length: 8192 }),
        memmap.mapFileSync(workerData, { sharing: "private", protection: "read-write" }),
        memmap.mapAnonymous(10 * 4096, { sharing: "shared" }),
        memmap.mapAnonymous(10 * 4096),
      ];
      for (const mapping of kinds) mapping.bytes[0] = 1;
      kinds[2].resize(20 * 4096);
      kinds[3].resize(20 * 4096);
      kinds[0].close();
      globalThis.kept = kinds.map((mapping) => mapping.bytes);
      parentPort.postMessage("done");
      parentPort.close?.();
    \`));
    for (let i = 0; i < 3; i++) await round();
    const [descriptors, areas] = [descriptorsOf(), areasOf()];
    for (let i = 0; i < 20; i++) await round();
    await sleep(100);
    const more = descriptorsOf() - descriptors;
    if (isTold && more > 1) throw new Error(more + " more descriptors");
    // The addresses of views that ended with their worker stay reserved; they are neighbours.
    const moreAreas = areasOf() - areas;
    if (!isSanitized && moreAreas > 60) throw new Error(moreAreas + " more areas");
    console.log("ok");
    process.exit(0);
    `,
  );
});

test("workers that are ended in the middle of jobs end well", async (t) => {
  await assertLives(
    t,
    `
    let descriptors = 0;
    for (let i = 0; i < 25; i++) {
      const worker = start(\`
        const mapping = memmap.mapFileSync(workerData, { protection: "read-write" });
        const memory = memmap.mapAnonymous(2 ** 24, { sharing: "shared" });
        mapping.bytes.fill(3);
        const jobs = () => [
          mapping.flush(), memory.load(), memory.lock(), mapping.load(),
          memmap.mapFile(workerData, { populate: true }),
          memmap.mapFile(workerData, { grow: true, length: 65 * 4096 }),
        ];
        parentPort.postMessage("started");
        for (;;) await Promise.allSettled(jobs());
      \`);
      await new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject));
      await sleep(i % 5);
      await worker.terminate();
      if (i === 4) descriptors = descriptorsOf();
    }
    const isMore = () => isTold && descriptorsOf() > descriptors + 2;
    for (let i = 0; i < 100 && isMore(); i++) await sleep(20);
    if (isMore()) throw new Error("descriptors: " + descriptorsOf());
    console.log("ok");
    process.exit(0);
    `,
  );
});

test("a process may exit with open mappings and jobs under way", async (t) => {
  for (const last of ["process.exit(0);", ""]) {
    await assertLives(
      t,
      `
      const { mapFile, mapFileSync, mapAnonymous } = await import(memmap);
      const mapping = mapFileSync(file, { protection: "read-write" });
      mapping.bytes.fill(1);
      const memory = mapAnonymous(2 ** 26, { sharing: "shared" });
      memory.bytes[0] = 1;
      const closed = mapAnonymous(4096);
      closed.bytes[0] = 1;
      closed.close();
      for (let i = 0; i < 50; i++) {
        mapping.flush().catch(() => {});
        memory.load().catch(() => {});
        mapFile(file, { populate: true }).catch(() => {});
      }
      console.log("ok");
      ${last}
      `,
    );
  }
});

test("mappings that nobody holds are collected, and their views keep what they show", async (t) => {
  await assertLives(
    t,
    `
    const { mapFileSync, mapAnonymous } = await import(memmap);
    const collect = globalThis.gc ?? (() => globalThis.Bun.gc(true));
    const views = [];
    const descriptors = descriptorsOf();
    for (let i = 0; i < 300; i++) {
      const mapping = mapAnonymous(4096, { sharing: i % 2 === 0 ? "shared" : "private" });
      mapping.bytes[0] = i % 256;
      if (i % 10 === 0) views.push([i % 256, mapping.bytes.subarray(0, 10)]);
      mapFileSync(file, { grow: true, length: 4096 });
    }
    for (let i = 0; i < 40 && descriptorsOf() > descriptors + 40; i++) {
      collect();
      await sleep(10);
    }
    if (descriptorsOf() > descriptors + 40) throw new Error("descriptors: " + descriptorsOf());
    for (const [value, view] of views) if (view[0] !== value) throw new Error("a view changed");
    console.log("ok");
    `,
  );
});

test("a posted buffer is zeros and a fault after its mapping was closed", async (t) => {
  await assertLives(
    t,
    `
    const { mapAnonymous } = await import(memmap);
    const worker = start(\`
      let held;
      parentPort.on("message", (message) => {
        if (message instanceof ArrayBuffer) held = new Uint8Array(message);
        let sum = 0;
        for (const byte of held) sum += byte;
        held.fill(9);
        parentPort.postMessage(sum);
      });
    \`);
    const answer = () => new Promise((resolve, reject) => {
      worker.once("message", resolve).once("error", reject);
    });
    for (let i = 0; i < 20; i++) {
      const mapping = mapAnonymous(4096, { faults: "collect" });
      mapping.bytes.fill(1);
      let posted = true;
      try {
        worker.postMessage(mapping.buffer, [mapping.buffer]);
      } catch (error) {
        // This runtime does not let it go: a copy is posted.
        posted = false;
        worker.postMessage(mapping.buffer.slice(0));
      }
      if ((await answer()) !== 4096) throw new Error("the bytes did not arrive");
      mapping.close();
      worker.postMessage("again");
      const sum = await answer();
      if (sum !== (posted ? 0 : 9 * 4096)) throw new Error("foreign bytes: " + sum);
      let fault;
      try {
        mapping.check();
      } catch (error) {
        fault = error;
      }
      const told = fault && fault.reason + " " + fault.byteOffset + " " + fault.access;
      if (told !== (posted ? "closed 0 read" : undefined)) throw new Error("told: " + told);
      const next = mapAnonymous(4096);
      if (next.bytes.some((byte) => byte !== 0)) throw new Error("new memory was written to");
      next.close();
    }
    await worker.terminate();
    console.log("ok");
    process.exit(0);
    `,
  );
});

test("a buffer that a worker gave away outlives it, or its addresses are kept", async (t) => {
  await assertLives(
    t,
    `
    const { mapAnonymous } = await import(memmap);
    const { native } = await import(new URL("native.js", memmap).href);
    process.on("uncaughtException", (error) => {
      if (error.code !== "ERR_MEMMAP_FAULT") process.exit(1);
    });
    const worker = start(\`
      globalThis.held = [];
      for (let i = 0; i < 10; i++) {
        const mapping = memmap.mapAnonymous(3 * 4096, { faults: "collect" });
        mapping.bytes.fill(7);
        globalThis.held.push(mapping, mapping.bytes);
      }
      const [, { buffer }] = globalThis.held;
      const given = typeof buffer.transfer === "function" ? buffer.transfer() : buffer;
      const { address } = globalThis.held[0];
      parentPort.postMessage({ address, given }, [given]);
      setInterval(() => {}, 1000);
    \`);
    const { address, given } = await new Promise((resolve, reject) => {
      worker.once("message", resolve).once("error", reject);
    });
    const bytes = new Uint8Array(given);
    if (bytes[0] !== 7) throw new Error("the bytes did not arrive");
    if (native().keptRanges().length > 0) throw new Error("kept before the worker ended");
    await worker.terminate();
    await sleep(100);
    const kept = native().keptRanges();
    // Where the engine says that the buffer is gone although it lives, only this one is kept.
    const expected = ${runtimeName === "bun"} ? [[address, address + 12288n]] : [];
    const text = (ranges) => ranges.map((range) => range.join("-")).join();
    if (text(kept) !== text(expected)) throw new Error(text(kept) + " not " + text(expected));
    for (let i = 0; i < 20; i++) mapAnonymous(3 * 4096).bytes.fill(9);
    const value = kept.length > 0 ? 0 : 7;
    if (bytes.some((byte) => byte !== value)) throw new Error("foreign bytes: " + bytes[0]);
    console.log("ok");
    process.exit(0);
    `,
  );
});

test("two copies of the package live in one process", async (t) => {
  const copy = tempDir(t);
  cpSync(join(root, "dist"), join(copy, "dist"), { recursive: true });
  cpSync(join(root, "package.json"), join(copy, "package.json"));
  symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
  const other = pathToFileURL(join(copy, "dist/index.js")).href;
  await assertLives(
    t,
    `
    const one = await import(memmap);
    const two = await import(${JSON.stringify(other)});
    if (one.mapAnonymous === two.mapAnonymous) throw new Error("they are one copy");
    for (let i = 0; i < 50; i++) {
      const [a, b] = [one.mapAnonymous(4096), two.mapAnonymous(4096)];
      a.bytes.fill(1);
      b.bytes.fill(2);
      a.close();
      if (b.bytes[0] !== 2) throw new Error("closing one changed the other");
      b.resize(8192);
      b.close();
    }
    console.log("ok");
    `,
  );
});

test("loops of resize, close and map neither crash nor grow", async (t) => {
  await assertLives(
    t,
    `
    const { mapFileSync, mapAnonymous } = await import(memmap);
    const round = (i) => {
      const memory = mapAnonymous(4096 * (1 + (i % 7)), { sharing: i % 2 ? "shared" : "private" });
      for (let j = 0; j < 10; j++) {
        memory.bytes[0] = j;
        memory.resize((4096 * (1 + ((i + 3 * j) % 11))) >> (j % 3));
        if (memory.bytes.length > 0 && memory.bytes[0] !== j) throw new Error("content lost");
      }
      const grown = mapFileSync(file, { grow: true });
      grown.resize(4096 * (64 + (i % 3)));
      grown.close();
      memory.close();
    };
    for (let i = 0; i < 100; i++) round(i);
    const [descriptors, areas] = [descriptorsOf(), areasOf()];
    for (let i = 0; i < 1000; i++) round(i);
    if (descriptorsOf() > descriptors + 1) throw new Error("descriptors " + descriptorsOf());
    if (areasOf() > areas + 400) throw new Error("areas " + areas + " to " + areasOf());
    console.log("ok");
    `,
  );
});

test("a buffer that was marked untransferable can be closed", async (t) => {
  if (runtimeName === "deno") {
    t.skip("deno has no markAsUntransferable()");
    return;
  }
  await assertLives(
    t,
    `
    const { mapAnonymous } = await import(memmap);
    const { markAsUntransferable } = await import("node:worker_threads");
    const mapping = mapAnonymous(4096);
    markAsUntransferable(mapping.buffer);
    mapping.bytes[0] = 1;
    mapping.close();
    mapping.close();
    console.log("ok");
    // At its end Node 24 itself stops at a buffer of an addon that was marked so.
    process.reallyExit?.(0);
    process.exit(0);
    `,
  );
});
