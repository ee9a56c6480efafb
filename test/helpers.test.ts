// The helpers that other tests lean on: a helper that did nothing would let them all pass.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import test from "node:test";
import { runSource } from "./helpers/child.js";
import { runtimeName } from "./helpers/runtime.js";
import { needs, tempDir, undoAfter } from "./helpers/temp.js";

let folder = "";

test("tempDir() makes a folder below the base", (t) => {
  folder = tempDir(t, "/dev/shm");
  assert.ok(folder.startsWith("/dev/shm/") && existsSync(folder));
});

test("tempDir() removes the folder after its test", () => {
  assert.ok(folder !== "" && !existsSync(folder));
});

test("undoAfter() takes a failure to the test, and undoes the rest all the same", () => {
  const undone: number[] = [];
  const later: (() => void)[] = [];
  const t = { after: (fn: () => void) => void later.push(fn) };
  for (const step of [1, 2, 3]) {
    undoAfter(t, () => {
      undone.push(step);
      if (step === 2) throw new Error("of step 2");
    });
  }
  assert.equal(later.length, 1);
  assert.throws(() => later[0]?.(), /of step 2/);
  assert.deepEqual(undone, [3, 2, 1]);
});

test("runSource() passes arguments, environment and input, and returns the output", async () => {
  const code = `
    import * as memmap from "memmap";
    import { argv, env, exit, stderr, stdin } from "node:process";
    console.log(typeof memmap, argv[2], env.WORD, typeof globalThis.gc);
    stdin.on("data", (chunk) => stderr.write(chunk)).on("end", () => exit(3));`;
  const options = { env: { WORD: "word" }, exposeGc: true, input: "input" };
  const gc = runtimeName === "bun" ? "undefined" : "function";
  assert.deepEqual(await runSource(code, ["argument"], options), {
    code: 3,
    signal: null,
    stdout: `object argument word ${gc}\n`,
    stderr: "input",
  });
});

test("runSource() tells which signal ended the child, and ends one that hangs", async () => {
  const forever = "setInterval(() => {}, 1000);";
  const ended = await runSource(`process.kill(process.pid, "SIGTERM"); ${forever}`);
  assert.deepEqual([ended.code, ended.signal], [null, "SIGTERM"]);
  const hung = await runSource(forever, [], { timeoutMs: 300 });
  assert.equal(hung.signal, "SIGKILL");
});

test("needs() gives the reason of the first need that is not met", () => {
  const isRoot = process.getuid?.() === 0;
  assert.deepEqual(needs(), { skip: false });
  assert.deepEqual(needs(runtimeName, { kernel: "3.0" }, isRoot ? "root" : "nonroot"), {
    skip: false,
  });
  assert.deepEqual(needs({ kernel: "3.0" }, { kernel: "999.0" }), { skip: "needs Linux 999.0" });
  assert.deepEqual(needs({ fileSystem: "vfat", at: "/proc/self" }), {
    skip: "needs vfat at /proc/self, which is proc",
  });
});
