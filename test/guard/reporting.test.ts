// Who is told of a fault that no method has collected: onfault, else the uncaught-error path of
// the thread; each fault once.

import assert from "node:assert/strict";
import test from "node:test";
import { runSource } from "../helpers/child.js";
import { type Answer, answerTo, runProgram } from "./program.js";

const missing = { name: "FaultError", code: "ERR_MEMMAP_FAULT", reason: "truncated" };

test("onfault gets the oldest fault, with the count of all", async (t) => {
  const code = `
    const mapping = shortened(8);
    const told = [];
    mapping.onfault = (fault) => told.push(fieldsOf(fault));
    const { address } = mapping;
    const zeros = [5 * pageSize + 7, 2 * pageSize, 3 * pageSize].map((at) => mapping.bytes[at]);
    await until(() => told.length > 0);
    await sleep(30);
    const again = mapping.bytes[5 * pageSize];
    await sleep(30);
    const { path, ...rest } = told[0];
    answer({ zeros, again, count: told.length, rest, path: path === mapping.path });`;
  const answer: Answer = await answerTo(t, code);
  const rest = { ...missing, byteOffset: 5 * 4096 + 7, access: "read", count: 3 };
  assert.deepEqual(answer, { zeros: [0, 0, 0], again: 0, count: 1, rest, path: true });
});

test("later faults are told again, each once, and to the listener of that time", async (t) => {
  const code = `
    const mapping = shortened(8);
    const first = [], second = [], uncaught = [];
    process.on("uncaughtException", (error) => uncaught.push(error.byteOffset / pageSize));
    mapping.onfault = (fault) => first.push(fault.byteOffset / pageSize);
    mapping.bytes[1 * pageSize];
    await until(() => first.length === 1);
    mapping.onfault = (fault) => second.push(fault.byteOffset / pageSize);
    mapping.bytes[2 * pageSize];
    await until(() => second.length === 1);
    mapping.onfault = null;
    mapping.bytes[3 * pageSize];
    await until(() => uncaught.length === 1);
    await sleep(30);
    answer({ first, second, uncaught });`;
  assert.deepEqual(await answerTo(t, code), { first: [1], second: [2], uncaught: [3] });
});

test("without onfault the uncaught-error path sees a FaultError", async (t) => {
  const code = `
    const mapping = shortened(4, { protection: "read-write" });
    const told = [];
    process.on("uncaughtException", (error) => {
      told.push({ ...fieldsOf(error), ours: error instanceof FaultError, path: undefined });
    });
    mapping.bytes[2 * pageSize + 1] = 1;
    mapping.bytes[3 * pageSize] = 1;
    await until(() => told.length > 0);
    await sleep(30);
    answer({ told });`;
  const fields = { ...missing, byteOffset: 2 * 4096 + 1, access: "write", count: 2, ours: true };
  assert.deepEqual(await answerTo(t, code), { told: [fields] });
});

test("a fault that nobody hears ends the process as any uncaught error does", async (t) => {
  const control = await runSource(`setImmediate(() => { throw new Error("alone"); });`);
  const code = `
    const mapping = shortened(4);
    const zero = mapping.bytes[2 * pageSize];
    setTimeout(() => fs.writeSync(1, "went on"), 3000);`;
  const { code: exit, signal, stdout, stderr } = await runProgram(t, code);
  assert.deepEqual({ exit, signal, stdout }, { exit: control.code, signal: null, stdout: "" });
  assert.match(stderr, /FaultError/);
  assert.match(stderr, /Cannot read byte 8192 of .*: the file ends before it/);
});

test("an error thrown by onfault is an uncaught error itself", async (t) => {
  const code = `
    const mapping = shortened(4);
    const told = [];
    process.on("uncaughtException", (error) => told.push(error.message));
    mapping.onfault = () => { throw new Error("from onfault"); };
    mapping.bytes[2 * pageSize];
    await until(() => told.length > 0);
    await sleep(20);
    answer({ told });`;
  assert.deepEqual(await answerTo(t, code), { told: ["from onfault"] });
});

test(`with faults "collect" nobody is told before check()`, async (t) => {
  const code = `
    const mapping = shortened(8, { faults: "collect" });
    const told = [];
    process.on("uncaughtException", (error) => told.push(error.code));
    mapping.onfault = (fault) => told.push(fault.code);
    for (let i = 1; i < 8; i++) mapping.bytes[i * pageSize];
    await sleep(50);
    let fault;
    try {
      mapping.check();
    } catch (error) {
      fault = fieldsOf(error);
    }
    const again = codeOf(() => mapping.check());
    answer({ told, count: fault.count, byteOffset: fault.byteOffset, again });`;
  const expected = { told: [], count: 7, byteOffset: 4096, again: "" };
  assert.deepEqual(await answerTo(t, code), expected);
});

test(`with faults "collect" a program that never asks ends well`, async (t) => {
  const code = `
    const mapping = shortened(4, { faults: "collect" });
    answer({ zero: mapping.bytes[pageSize] });`;
  assert.deepEqual(await answerTo(t, code), { zero: 0 });
});

test("a fault that a method collects before the next turn is not told again", async (t) => {
  const code = `
    const told = [];
    process.on("uncaughtException", (error) => told.push(error.code));
    const collected = {};
    const ways = {
      check: (mapping) => mapping.check(),
      flushSync: (mapping) => mapping.flushSync({ length: 1 }),
      read: (mapping) => mapping.read(pageSize, 1),
      readInto: (mapping) => mapping.readInto(new Uint8Array(8), pageSize),
      write: (mapping) => mapping.write(pageSize, new Uint8Array(8)),
      loadSync: (mapping) => mapping.loadSync(),
    };
    for (const [name, way] of Object.entries(ways)) {
      const mapping = shortened(4, { protection: "read-write" });
      mapping.onfault = (fault) => told.push(name);
      mapping.bytes[pageSize];
      mapping.bytes[2 * pageSize];
      try {
        way(mapping);
      } catch (error) {
        collected[name] = [error.code, error.count, error.byteOffset / pageSize];
      }
      await sleep(20);
    }
    answer({ told, collected });`;
  const fault = ["ERR_MEMMAP_FAULT", 2, 1];
  const { told, collected } = await answerTo(t, code);
  assert.deepEqual(told, []);
  assert.deepEqual(collected, {
    check: fault,
    flushSync: fault,
    read: fault,
    readInto: fault,
    write: fault,
    loadSync: fault,
  });
});

test("flush() and load() reject with the faults that nobody collected", async (t) => {
  const code = `
    const ends = [];
    for (const name of ["flush", "load"]) {
      const mapping = shortened(4, { protection: "read-write", faults: "collect" });
      mapping.bytes[2 * pageSize] = 3;
      await mapping[name]().then(() => ends.push("fulfilled"), (error) => {
        ends.push([error.code, error.access, error.count, error.byteOffset / pageSize].join());
      });
      ends.push(codeOf(() => mapping.check()));
    }
    answer({ ends });`;
  const { ends } = await answerTo(t, code);
  const [flushed, afterFlush, loaded, afterLoad] = Array.isArray(ends) ? ends : [];
  assert.equal(flushed, "ERR_MEMMAP_FAULT,write,1,2");
  assert.equal(afterFlush, "");
  assert.match(String(loaded), /^ERR_MEMMAP_FAULT,/);
  assert.equal(afterLoad, "");
});
