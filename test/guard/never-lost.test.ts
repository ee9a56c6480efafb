// No fault is lost, whatever the program does next: it never yields, exits, closes, drops the
// mapping, gives its buffer away, or lets a thread of the runtime touch the bytes.

import assert from "node:assert/strict";
import test from "node:test";
import { runtimeName } from "../helpers/runtime.js";
import { needs } from "../helpers/temp.js";
import { answerTo, runProgram } from "./program.js";

/** What may end a program right after its fault. */
const ends: Readonly<Record<string, string>> = {
  "the normal end of the program": "",
  "process.exit()": "process.exit();",
  "process.exit(0) in a later turn": "setImmediate(() => process.exit(0));",
  "process.exitCode = 0": "process.exitCode = 0;",
};

/* Who listens keeps the mapping: a dropped one may be collected before it is told. */
const fault = `
  const mapping = (globalThis.kept = shortened(64));
  let sum = 0;
  for (let round = 0; round < 100; round++) {
    for (let i = 0; i < mapping.bytes.length; i += 64) sum += mapping.bytes[i];
  }`;

for (const [name, end] of Object.entries(ends)) {
  test(`a fault in a loop that never yields is told at ${name}`, async (t) => {
    const heard = await runProgram(
      t,
      `${fault}
       mapping.onfault = (fault) => fs.writeSync(1, "told " + fault.count);
       ${end}`,
    );
    assert.deepEqual(
      { ...heard, stderr: "" },
      { code: 0, signal: null, stdout: "told 63", stderr: "" },
    );
    const unheard = await runProgram(t, `${fault}\n${end}`);
    assert.equal(unheard.signal, null);
    assert.notEqual(unheard.code, 0, unheard.stderr);
    assert.match(unheard.stderr, /FaultError/);
  });
}

test("a fault at the very end is told to process.on(uncaughtException)", async (t) => {
  const code = `
    process.on("uncaughtException", (error) => fs.writeSync(1, error.code));
    ${fault}`;
  const { signal, stdout } = await runProgram(t, code);
  assert.deepEqual({ signal, stdout }, { signal: null, stdout: "ERR_MEMMAP_FAULT" });
});

/* What keeps the event loop busy would keep a program that did not end. */
const busy = `
  setInterval(() => {}, 1000);
  setTimeout(() => {
    ${fault}
    process.exit(3);
  }, 0);`;

test("process.exit() ends a program that listens to its last fault", async (t) => {
  const code = `
    process.on("uncaughtException", (error) => fs.writeSync(1, error.code));
    ${busy}`;
  const { code: exit, signal, stdout } = await runProgram(t, code, { timeoutMs: 10_000 });
  assert.deepEqual({ exit, signal, stdout }, { exit: 3, signal: null, stdout: "ERR_MEMMAP_FAULT" });
});

test("process.exit() ends a worker that listens to its last fault", async (t) => {
  const code = `
    if (isMainThread) {
      const worker = new Worker(new URL(import.meta.url), { argv: [folder], workerData: "worker" });
      worker.on("exit", (exit) => fs.writeSync(1, " " + exit));
    } else {
      process.on("uncaughtException", (error) => fs.writeSync(1, error.code));
      ${busy}
    }`;
  const { code: exit, signal, stdout } = await runProgram(t, code, { timeoutMs: 10_000 });
  assert.deepEqual(
    { exit, signal, stdout },
    { exit: 0, signal: null, stdout: "ERR_MEMMAP_FAULT 3" },
  );
});

test("a fault of a mapping that is collected right before process.exit() is told", async (t) => {
  const code = `
    const collect = globalThis.Bun === undefined ? globalThis.gc : () => globalThis.Bun.gc(true);
    globalThis.held = shortened(4);
    globalThis.held.bytes[0];
    setTimeout(() => {
      globalThis.held.bytes[2 * pageSize];
      globalThis.held = undefined;
      for (let i = 0; i < 3; i++) collect();
      process.exit(0);
    }, 20);`;
  const { code: exitCode, signal, stderr } = await runProgram(t, code, { exposeGc: true });
  assert.equal(signal, null);
  assert.notEqual(exitCode, 0, stderr);
  assert.match(stderr, /FaultError/);
});

test("a fault in a worker is told in the worker: onfault, or its error event", async (t) => {
  const code = `
    if (isMainThread) {
      const told = [];
      process.on("uncaughtException", (error) => told.push("main " + error.code));
      for (const part of ["hears", "does not hear"]) {
        const worker = startPart(part);
        worker.on("message", (message) => told.push(part + " message " + message));
        worker.on("error", (error) => told.push(part + " error " + error.message.slice(0, 16)));
        await new Promise((resolve) => worker.once("exit", resolve));
      }
      answer({ told });
    } else {
      const mapping = (globalThis.kept = shortened(3));
      if (workerData.part === "hears") {
        mapping.onfault = (fault) => {
          parentPort.postMessage(fault.count);
          setTimeout(() => process.exit(0), 50);
        };
      }
      mapping.bytes[pageSize] + mapping.bytes[2 * pageSize];
      await sleep(1000);
    }`;
  const told = ["hears message 2", "does not hear error Cannot read byte"];
  assert.deepEqual(await answerTo(t, code), { told });
});

/* Deno loses what a worker throws at its very end: there the main thread may be told instead. */
test("a fault in a worker that ends at once is told by the worker", async (t) => {
  const code = `
    if (isMainThread) {
      const told = [];
      const kept = (globalThis.kept = mapAnonymous(1));
      kept.bytes[0] = 1; // The main thread listens from here on.
      process.on("uncaughtException", (error) => {
        if (globalThis.Deno === undefined) throw error;
        told.push(error.message.slice(0, 16));
      });
      const worker = startPart("ends");
      worker.on("error", (error) => told.push(error.message.slice(0, 16)));
      await new Promise((resolve) => worker.once("exit", resolve));
      await sleep(50);
      answer({ told });
    } else {
      shortened(3).bytes[pageSize];
    }`;
  assert.deepEqual(await answerTo(t, code), { told: ["Cannot read byte"] });
});

/* Each with the most faults that one page may have: on arm64 some of what is filled at random is
   read before it is written, and a page has a fault for each. */
const jobs = [
  { name: "zlib.deflateRaw", job: `zlib.deflateRaw(bytes, resolve)`, most: 1 },
  { name: "zlib.crc32 and gzip", job: `zlib.gzip(bytes, resolve)`, most: 1 },
  { name: "crypto.randomFill", job: `crypto.randomFill(bytes, resolve)`, most: 2 },
];

for (const { name, job, most } of jobs) {
  test(`a fault by a thread of the pool is told where it was mapped: ${name}`, async (t) => {
    const code = `
      import * as crypto from "node:crypto";
      import * as zlib from "node:zlib";
      const mapping = shortened(32, { protection: "read-write" });
      const told = [];
      mapping.onfault = (fault) => told.push(fault.count);
      const { bytes } = mapping;
      const error = await new Promise((resolve) => ${job});
      await until(() => told.length > 0);
      await sleep(20);
      const count = told.reduce((sum, count) => sum + count, 0);
      const isRight = count >= 31 && count <= 31 * ${most};
      answer({ error: error ?? null, count: isRight ? 31 : count });`;
    assert.deepEqual(await answerTo(t, code), { error: null, count: 31 });
  });
}

test("a fault just before close() is told, to onfault or by check()", async (t) => {
  const code = `
    const told = [];
    const heard = shortened(3);
    heard.onfault = (fault) => told.push([fault.reason, fault.byteOffset / pageSize]);
    heard.bytes[2 * pageSize];
    heard.close();
    await until(() => told.length > 0);
    const asked = shortened(3);
    asked.bytes[pageSize];
    asked.close();
    const checked = codeOf(() => asked.check());
    await sleep(20);
    answer({ told, checked, again: codeOf(() => asked.check()) });`;
  const expected = { told: [["truncated", 2]], checked: "ERR_MEMMAP_FAULT", again: "" };
  assert.deepEqual(await answerTo(t, code, { timeoutMs: 4_000 }), expected);
});

test("a fault just before resize() is told", needs("doubling"), async (t) => {
  const code = `
    const told = [];
    for (const sharing of ["shared", "private"]) {
      const mapping = mapAnonymous(4 * pageSize, { sharing });
      mapping.onfault = (fault) => told.push([sharing, fault.reason, fault.byteOffset / pageSize]);
      mapping.protect("none", { offset: 2 * pageSize, length: pageSize });
      mapping.bytes[2 * pageSize];
      mapping.resize(8 * pageSize);
    }
    await until(() => told.length > 1);
    answer({ told });`;
  const told = ["shared", "private"].map((sharing) => [sharing, "protected", 2]);
  assert.deepEqual(await answerTo(t, code, { timeoutMs: 4_000 }), { told });
});

test("a fault of a mapping that is dropped with its view at once is told", async (t) => {
  const code = `
    const collect = globalThis.Bun === undefined ? globalThis.gc : () => globalThis.Bun.gc(true);
    const told = [];
    process.on("uncaughtException", (error) => told.push(error.code));
    (() => {
      const mapping = shortened(4);
      mapping.bytes[2 * pageSize];
    })();
    for (let i = 0; i < 3; i++) collect();
    for (let i = 0; i < 5 && told.length === 0; i++) {
      await sleep(20);
      collect();
    }
    answer({ told });`;
  const expected = { told: ["ERR_MEMMAP_FAULT"] };
  assert.deepEqual(await answerTo(t, code, { exposeGc: true }), expected);
});

test("faults of a mapping that was dropped with its view kept are told", async (t) => {
  const code = `
    const collect = globalThis.Bun === undefined ? globalThis.gc : () => globalThis.Bun.gc(true);
    const told = [];
    process.on("uncaughtException", (error) => told.push(error.code));
    const view = (() => {
      const path = makeFile(4);
      const { bytes } = mapFileSync(path);
      fs.truncateSync(path, pageSize);
      return bytes;
    })();
    for (let i = 0; i < 5; i++) {
      collect();
      await sleep(10);
    }
    const zero = view[2 * pageSize];
    const kept = view[0];
    await until(() => told.length > 0);
    await sleep(20);
    answer({ zero, kept, told });`;
  const expected = { zero: 0, kept: 1, told: ["ERR_MEMMAP_FAULT"] };
  assert.deepEqual(await answerTo(t, code, { exposeGc: true }), expected);
});

const skip =
  runtimeName === "node" && process.version.startsWith("v20.") && "needs ArrayBuffer.transfer()";

test("a touch of a transferred buffer after close() is told as closed", { skip }, async (t) => {
  const code = `
    const told = [];
    const mapping = mapFileSync(makeFile(2), { protection: "read-write" });
    mapping.onfault = (fault) => told.push(fieldsOf(fault));
    const { address } = mapping;
    const moved = new Uint8Array(mapping.buffer.transfer());
    mapping.close();
    const zero = moved[pageSize + 3];
    moved[pageSize + 4] = 7;
    await until(() => told.length > 0);
    await sleep(20);
    const [{ reason, byteOffset, access }] = told;
    answer({ zero, reason, byteOffset, access, times: told.length, wrote: moved[pageSize + 4] });`;
  const place = { reason: "closed", byteOffset: 4096 + 3, access: "read" };
  assert.deepEqual(await answerTo(t, code), { zero: 0, ...place, times: 1, wrote: 7 });
});

test("faults in several mappings at once are each told to their own", async (t) => {
  const code = `
    const told = {};
    for (const name of ["a", "b", "c"]) {
      const mapping = (globalThis[name] = shortened(4));
      mapping.onfault = (fault) => { told[name] = (told[name] ?? 0) + fault.count; };
      for (let i = 1; i < 4; i++) mapping.bytes[i * pageSize];
    }
    await until(() => Object.keys(told).length === 3);
    await sleep(20);
    answer(told);`;
  assert.deepEqual(await answerTo(t, code), { a: 3, b: 3, c: 3 });
});

test("a repaired page that is touched again the same way is no second fault", async (t) => {
  const code = `
    const mapping = shortened(4, { protection: "read-write", faults: "collect" });
    const counts = [];
    const count = () => {
      try {
        mapping.check();
        return 0;
      } catch (error) {
        return error.count;
      }
    };
    for (let i = 0; i < 1000; i++) mapping.bytes[pageSize + i];
    counts.push(count());
    mapping.bytes[pageSize + 9] = 5;
    counts.push(count());
    for (let i = 0; i < 1000; i++) mapping.bytes[pageSize + 2000 + i] = i;
    counts.push(count(), mapping.bytes[pageSize + 9]);
    answer({ counts });`;
  assert.deepEqual(await answerTo(t, code), { counts: [1, 1, 0, 5] });
});
