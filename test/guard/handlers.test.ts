// Others may put handlers in the place of the guard's: it is put back on top at the next turn of
// the loop and at the next call of the library, and what others had there still gets what is
// theirs.

import assert from "node:assert/strict";
import test from "node:test";
import { runtimeName } from "../helpers/runtime.js";
import { needs } from "../helpers/temp.js";
import { answerTo } from "./program.js";

const touch = `
  function touch(mapping, page) {
    const zero = mapping.bytes[page * pageSize];
    return [zero, codeOf(() => mapping.check())].join();
  }`;

for (const signal of ["SIGBUS", "SIGSEGV"]) {
  const skip =
    signal === "SIGSEGV" && runtimeName === "deno" && "deno refuses listeners for SIGSEGV";
  test(`a fault is repaired a turn after process.on("${signal}")`, { skip }, async (t) => {
    const code = `${touch}
      const mapping = shortened(8, { faults: "collect" });
      const listener = () => {};
      process.on("${signal}", listener);
      await turn();
      const added = touch(mapping, 2);
      mapping.protect("none", { length: pageSize });
      const none = touch(mapping, 0);
      process.off("${signal}", listener);
      await turn();
      answer({ added, none, removed: touch(mapping, 3) });`;
    const served = "0,ERR_MEMMAP_FAULT";
    const answer = await answerTo(t, code, { timeoutMs: 4_000 });
    assert.deepEqual(answer, { added: served, none: served, removed: served });
  });
}

/* One call of each kind that a program may make between the listener and the fault. */
const calls: readonly string[] = [
  `mapAnonymous(1).close()`,
  `mapping.read(0, 1)`,
  `mapping.readInto(new Uint8Array(1), 0)`,
  `mapping.indexOf(1, { length: 1 })`,
  `mapping.residency({ length: 1 })`,
  `mapping.flushSync({ length: 1 })`,
  `mapping.loadSync({ length: 1 })`,
  `mapping.advise("random")`,
  `mapping.evict({ length: 1 })`,
  `mapping.share()`,
  `mapping.pin()[Symbol.dispose]()`,
  `mapping.remap()`,
  `mapping.check()`,
];

/* Among the calls is remap(). */
const remaps = needs("doubling");

test("a fault is repaired synchronously after any call of the library", remaps, async (t) => {
  const code = `${touch}
    const mapping = shortened(${calls.length + 2}, { faults: "collect" });
    const calls = [${calls.map((call) => `() => { ${call}; }`).join(",\n")}];
    const wrong = [];
    calls.forEach((call, i) => {
      const listener = () => {};
      process.on("SIGBUS", listener);
      call();
      const found = touch(mapping, i + 1);
      if (found !== "0,ERR_MEMMAP_FAULT") wrong.push(call + ": " + found);
      process.off("SIGBUS", listener);
      call();
    });
    answer({ wrong });`;
  assert.deepEqual(await answerTo(t, code, { timeoutMs: 4_000 }), { wrong: [] });
});

test("a signal that others send reaches its listener, with the guard on top", async (t) => {
  const code = `
    import { execFileSync } from "node:child_process";
    const seen = [];
    const first = mapAnonymous(1);
    process.on("SIGBUS", (name) => seen.push(name));
    await turn();
    const mapping = shortened(2, { faults: "collect" });
    const zero = mapping.bytes[pageSize];
    execFileSync("kill", ["-BUS", String(process.pid)]);
    await until(() => seen.length > 0);
    answer({ seen, zero });`;
  assert.deepEqual(await answerTo(t, code), { seen: ["SIGBUS"], zero: 0 });
});
