// Engines find out-of-bounds accesses of WebAssembly by the very signals that the guard handles.
// Each must go on getting its own: before the first mapping, after it, and after others have
// listened to the signals.

import assert from "node:assert/strict";
import test from "node:test";
import { runSource } from "../helpers/child.js";
import { runtimeName } from "../helpers/runtime.js";
import { answerTo } from "./program.js";

/* (module (memory 1) (func (export "f") (param i32) (result i32) local.get 0 i32.load)) */
const trap = `
const load = new WebAssembly.Instance(new WebAssembly.Module(Uint8Array.of(
  0, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
  1, 6, 1, 0x60, 1, 0x7f, 1, 0x7f,
  3, 2, 1, 0,
  5, 3, 1, 0, 1,
  7, 5, 1, 1, 0x66, 0, 0,
  10, 9, 1, 7, 0, 0x20, 0, 0x28, 2, 0, 0x0b,
))).exports.f;
function traps() {
  let count = 0;
  for (let i = 0; i < 1000; i++) {
    try {
      load(0x7fff0000 - i * 8);
    } catch (error) {
      if (error instanceof WebAssembly.RuntimeError) count += 1;
    }
  }
  return count;
}`;

test("WebAssembly traps stay errors before and after the first mapping", async (t) => {
  const code = `${trap}
    const before = traps();
    const mapping = shortened(4, { faults: "collect" });
    const after = traps();
    let sum = 0;
    for (let i = 0; i < mapping.bytes.length; i += pageSize) sum += mapping.bytes[i];
    const between = traps();
    const faults = codeOf(() => mapping.check());
    mapping.close();
    answer({ before, after, between, sum, faults, closed: traps() });`;
  const expected = { before: 1000, after: 1000, between: 1000, sum: 1, closed: 1000 };
  assert.deepEqual(await answerTo(t, code), { ...expected, faults: "ERR_MEMMAP_FAULT" });
});

test("WebAssembly traps stay errors in workers that map and end", async (t) => {
  const code = `${trap}
    if (isMainThread) {
      const counts = [];
      for (let i = 0; i < 3; i++) {
        const worker = startPart("trap");
        counts.push(await messageOf(worker), traps());
        await worker.terminate();
      }
      answer({ counts });
    } else {
      const before = traps();
      const mapping = shortened(2, { faults: "collect" });
      const zero = mapping.bytes[pageSize];
      parentPort.postMessage(before + traps() + zero);
    }`;
  assert.deepEqual(await answerTo(t, code), { counts: [2000, 1000, 2000, 1000, 2000, 1000] });
});

for (const signal of ["SIGSEGV", "SIGBUS"]) {
  const skip =
    signal === "SIGSEGV" && runtimeName === "deno" && "deno refuses listeners for SIGSEGV";
  test(`WebAssembly traps and faults survive a ${signal} listener`, { skip }, async (t) => {
    const listeners = `
      const listener = () => {};
      process.on(${JSON.stringify(signal)}, listener);
      await new Promise((resolve) => setImmediate(resolve));
      process.off(${JSON.stringify(signal)}, listener);
      await new Promise((resolve) => setImmediate(resolve));`;
    const control = await runSource(`${trap}\n${listeners}\nconsole.log(traps());`, [], {
      timeoutMs: 2_000,
    });
    const survives = control.code === 0 && control.stdout === "1000\n";
    const code = `${trap}
      const mapping = shortened(4, { faults: "collect" });
      ${listeners}
      const zero = mapping.bytes[pageSize];
      const faults = codeOf(() => mapping.check());
      answer({ zero, faults, traps: ${survives} ? traps() : 1000 });`;
    const expected = { zero: 0, faults: "ERR_MEMMAP_FAULT", traps: 1000 };
    assert.deepEqual(await answerTo(t, code, { timeoutMs: 2_000 }), expected);
  });
}
