// The guard is installed by the first mapping, not by importing, and costs nothing while it
// waits.

import assert from "node:assert/strict";
import test from "node:test";
import { runSource } from "../helpers/child.js";

const status = `
  import { readFileSync } from "node:fs";
  const text = () => readFileSync("/proc/self/status", "utf8");
  const field = (name) => new RegExp("^" + name + ":\\\\s+(\\\\S+)$", "m").exec(text())[1];
  const handled = () => {
    const bits = BigInt("0x" + field("SigCgt"));
    const bit = (number) => Number((bits >> BigInt(number - 1)) & 1n);
    return { SIGBUS: bit(7), SIGSEGV: bit(11), all: String(bits) };
  };
  const maps = () => readFileSync("/proc/self/maps", "utf8");
  const signs = () => maps().split("/memfd:memmap-guard").length - 1;`;

async function output(code: string): Promise<unknown> {
  const { code: exit, signal, stdout, stderr } = await runSource(`${status}\n${code}`);
  assert.deepEqual({ exit, signal, stderr }, { exit: 0, signal: null, stderr: "" });
  return JSON.parse(stdout);
}

test("importing alone changes no handler; the first mapping sets both", async () => {
  const code = `
    const before = handled();
    const memmap = await import("memmap");
    const imported = handled();
    const sign = signs();
    memmap.mapAnonymous(1);
    const { SIGBUS, SIGSEGV } = handled();
    const same = before.all === imported.all;
    console.log(JSON.stringify({ same, sign, SIGBUS, SIGSEGV, later: signs() }));`;
  const expected = { same: true, sign: 0, SIGBUS: 1, SIGSEGV: 1, later: 1 };
  assert.deepEqual(await output(code), expected);
});

test("a call that fails before mapping anything installs nothing", async () => {
  const code = `
    const before = handled().all;
    const { mapFileSync, mapAnonymous, pageSize } = await import("memmap");
    for (const call of [() => mapFileSync("/nonexistent"), () => mapAnonymous(-1)]) {
      try {
        call();
      } catch {}
    }
    const same = before === handled().all;
    console.log(JSON.stringify({ same, signs: signs(), pageSize: pageSize > 0 }));`;
  assert.deepEqual(await output(code), { same: true, signs: 0, pageSize: true });
});

test("an idle process with the guard uses no processor time of its own", async () => {
  const code = `
    import { readdirSync } from "node:fs";
    import { mapAnonymous } from "memmap";
    const mapping = mapAnonymous(4096, { protection: "none", faults: "collect" });
    const zero = mapping.bytes[0];
    await new Promise((resolve) => setTimeout(resolve, 200));
    /* The ticks of each thread, so that the runtime's own work is not counted as ours. */
    const ticks = () => Object.fromEntries(readdirSync("/proc/self/task").map((thread) => {
      const stat = readFileSync("/proc/self/task/" + thread + "/stat", "latin1");
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      const syscall = readFileSync("/proc/self/task/" + thread + "/wchan", "latin1");
      return [thread, { used: Number(fields[11]) + Number(fields[12]), syscall }];
    }));
    const before = ticks();
    await new Promise((resolve) => setTimeout(resolve, 500));
    const after = ticks();
    const listening = Object.keys(after)
      .filter((thread) => after[thread].syscall.includes("eventfd"));
    const used = listening.map((thread) => after[thread].used - (before[thread]?.used ?? 0));
    const all = Object.keys(after).reduce(
      (sum, thread) => sum + after[thread].used - (before[thread]?.used ?? 0), 0);
    const busy = used.filter((ticks) => ticks > 0);
    console.log(JSON.stringify({ zero, busy, idle: all < 25 }));`;
  assert.deepEqual(await output(code), { zero: 0, busy: [], idle: true });
});
