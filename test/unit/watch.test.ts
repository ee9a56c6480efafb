// src/watch.ts: who is told of a fault that nobody collects, when, and how often. What ends a
// process runs in a child.

import assert from "node:assert/strict";
import test from "node:test";
import { FaultError, type Mapping, mapAnonymous, pageSize } from "memmap";
import { type RunOptions, runSource } from "../helpers/child.js";

/** Memory whose every touch is a fault. */
function forbidden(faults: "throw" | "collect" = "throw"): Mapping {
  return mapAnonymous(4 * pageSize, { protection: "none", faults });
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Waits until a list has some entries; one that never has them is a test that never ends. */
async function filled<T>(list: readonly T[], count = 1): Promise<void> {
  while (list.length < count) await turn();
}

/** More turns than a telling that is under way takes. */
async function settled(): Promise<void> {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setTimeout(resolve, 1));
}

test("onfault is called once for all touches, with the oldest and the count", async () => {
  using mapping = forbidden();
  const told: FaultError[] = [];
  mapping.onfault = (fault) => told.push(fault);
  const { bytes } = mapping;
  bytes[2 * pageSize + 5];
  bytes[2 * pageSize + 6];
  bytes[2 * pageSize + 5] = 1;
  bytes[0] = 1;
  assert.equal(told.length, 0, "nothing is told in the middle of the program");
  await filled(told);
  await settled();
  assert.equal(told.length, 1);
  const [fault] = told;
  assert.ok(fault instanceof FaultError);
  const { byteOffset, access, reason, count, address } = fault;
  assert.deepEqual([byteOffset, access, reason, count], [2 * pageSize + 5, "read", "protected", 3]);
  assert.equal(address, mapping.address + BigInt(byteOffset));
  mapping.check();
  bytes[3 * pageSize];
  await filled(told, 2);
  assert.equal(told[1]?.byteOffset, 3 * pageSize);
});

test("what check() has collected is told to nobody else", async () => {
  using mapping = forbidden();
  using witness = forbidden();
  const told: unknown[] = [];
  mapping.onfault = (fault) => told.push(fault);
  mapping.bytes[0];
  assert.throws(() => mapping.check(), FaultError);
  // The telling of the other shows that the bell was heard.
  const others: unknown[] = [];
  witness.onfault = (fault) => others.push(fault);
  witness.bytes[0];
  await filled(others);
  await settled();
  assert.deepEqual(told, []);
});

test('with faults: "collect" nobody is told, and check() throws', async () => {
  using mapping = forbidden("collect");
  using witness = forbidden();
  const told: unknown[] = [];
  mapping.onfault = (fault) => told.push(["collect", fault]);
  witness.onfault = (fault) => told.push(fault);
  mapping.bytes[0];
  witness.bytes[0];
  await filled(told);
  await settled();
  assert.equal(told.length, 1);
  assert.throws(() => mapping.check(), FaultError);
  mapping.check();
});

test("each mapping tells its own faults", async () => {
  const mappings = Array.from({ length: 5 }, () => forbidden());
  const told: [number, number][] = [];
  for (const [i, mapping] of mappings.entries()) {
    mapping.onfault = (fault) => told.push([i, fault.byteOffset]);
    mapping.bytes[i];
  }
  await filled(told, 5);
  assert.deepEqual(
    told,
    [0, 1, 2, 3, 4].map((i) => [i, i]),
  );
  for (const mapping of mappings) mapping.close();
});

test("onfault may close the mapping, map again, and touch what is missing", async () => {
  const mapping = forbidden();
  const told: string[] = [];
  mapping.onfault = (fault) => {
    told.push(fault.reason);
    if (told.length < 3) mapping.bytes[told.length * pageSize];
    else mapping.close();
    mapAnonymous(10).close();
  };
  mapping.bytes[0];
  await filled(told, 3);
  assert.deepEqual(told, ["protected", "protected", "protected"]);
  assert.equal(mapping.closed, true);
});

/** What a child prints and how it ends; its faults are uncaught errors. */
async function outcome(
  code: string,
  options: RunOptions = {},
): Promise<readonly [number | null, string, string]> {
  const source = `
    import { mapAnonymous, pageSize } from "memmap";
    const mapping = mapAnonymous(pageSize, { protection: "none" });
    ${code}`;
  const { code: exit, signal, stdout, stderr } = await runSource(source, [], options);
  assert.equal(signal, null, stderr);
  return [exit, stdout.trim(), stderr];
}

test("without onfault the fault is an uncaught error, with its class and fields", async () => {
  const [code, stdout, stderr] = await outcome(`
    mapping.bytes[7];
    console.log("goes on");`);
  assert.equal(stdout, "goes on");
  assert.notEqual(code, 0);
  assert.match(stderr, /FaultError: Cannot read byte 7 of the anonymous mapping: its protection/);
});

test("an uncaught fault can be seen by a listener, and the program goes on", async () => {
  const [code, stdout, stderr] = await outcome(`
    const alive = setInterval(() => {}, 1000);
    process.on("uncaughtException", (error) => {
      clearInterval(alive);
      console.log(error.code, error.byteOffset, error.count);
    });
    mapping.bytes[7];`);
  assert.deepEqual([code, stdout], [0, "ERR_MEMMAP_FAULT 7 1"], stderr);
});

test("a fault just before the end is told at the end", async () => {
  const [, stdout, stderr] = await outcome(`
    mapping.onfault = (fault) => console.log("told", fault.byteOffset);
    mapping.bytes[3];
    process.exit();`);
  assert.equal(stdout, "told 3", stderr);
});

test("watching keeps no program alive", async () => {
  const [code, stdout, stderr] = await outcome(`
    mapping.onfault = () => {};
    console.log("end");`);
  assert.deepEqual([code, stdout], [0, "end"], stderr);
});

test("a mapping that was dropped tells as long as a view over it is touched", async () => {
  const [code, stdout, stderr] = await outcome(
    `
    const collect = globalThis.gc ?? (() => globalThis.Bun.gc(true));
    const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
    const told = [];
    const makeView = () => {
      const dropped = mapAnonymous(4 * pageSize, { protection: "none" });
      dropped.onfault = (fault) => told.push(fault.byteOffset);
      return dropped.bytes.subarray(1);
    };
    const view = makeView();
    for (let i = 0; i < 4; i++) {
      for (let j = 0; j < 3; j++) {
        collect();
        await sleep(5);
      }
      view[i * pageSize];
      while (told.length <= i) await sleep(5);
    }
    console.log(told.map((offset) => offset % pageSize).join());`,
    { exposeGc: true },
  );
  assert.deepEqual([code, stdout], [0, "1,1,1,1"], stderr);
});
