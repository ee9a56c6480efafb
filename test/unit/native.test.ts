// src/native.ts: the addon is what the interface says, and where there is none the import works
// and the first call tells why.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { Worker } from "node:worker_threads";
import { MemmapError } from "#dist/errors.js";
import { constant, native, pageSize } from "#dist/native.js";
import { runSource } from "../helpers/child.js";
import { hasCode } from "./support.js";

/** The names that `interface Native` declares. */
function declaredNames(): string[] {
  const source = readFileSync(new URL("../../../src/native.ts", import.meta.url), "utf8");
  const body = /export interface Native \{\n([\s\S]*?)\n\}/.exec(source)?.[1] ?? "";
  return [...body.matchAll(/^ {2}(?:readonly )?(\w+)[(:]/gm)].map((match) => match[1] ?? "");
}

test("native() has exactly the names of its interface", () => {
  const declared = declaredNames();
  assert.ok(declared.length > 30, declared.join(", "));
  assert.deepEqual(Object.keys(native()).sort(), declared.sort());
});

test("native() is a table of functions, constants, names of errors and the page size", () => {
  const { constants, errnoNames, pageSize: size, ...functions } = native();
  for (const [name, value] of Object.entries(functions)) {
    assert.equal(typeof value, "function", name);
  }
  for (const [name, value] of Object.entries(constants)) {
    assert.match(name, /^(?:PROT|MAP|MS|MADV|MFD|RLIMIT|SEEK)_[A-Z0-9_]+$/);
    assert.ok(Number.isInteger(value), name);
  }
  for (const [number, name] of Object.entries(errnoNames)) {
    assert.match(`${number} ${name}`, /^\d+ E[A-Z0-9]+$/);
  }
  assert.equal(size, pageSize);
});

test("pageSize is what the kernel says of its pages", () => {
  const smaps = readFileSync("/proc/self/smaps", "utf8");
  assert.equal(pageSize, Number(/^KernelPageSize: +(\d+) kB/m.exec(smaps)?.[1]) * 1024);
});

test("native() is the same table each time, and each worker has its own", async () => {
  assert.equal(native(), native());
  const file = new URL("../../../dist/native.js", import.meta.url).href;
  const code = `
    import { parentPort } from "node:worker_threads";
    import { native } from ${JSON.stringify(file)};
    parentPort.postMessage(Object.keys(native()).length);`;
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(code)}`));
  const count = await new Promise((resolve, reject) => {
    worker.once("message", resolve).once("error", reject);
  });
  await worker.terminate();
  assert.equal(count, Object.keys(native()).length);
});

test("constant() gives a number, and names what this machine lacks", () => {
  assert.equal(constant("PROT_READ"), 1);
  const refused = hasCode(MemmapError, "ERR_MEMMAP_UNSUPPORTED", /^Cannot use MAP_NOWHERE/);
  assert.throws(() => constant("MAP_NOWHERE"), refused);
});

const elsewhere = `
  Object.defineProperty(process, "platform", { value: process.argv[2] });
  Object.defineProperty(process, "arch", { value: process.argv[3] });
  const memmap = await import("memmap");
  const outcome = (name, call) => {
    try { call(); console.log(name, "worked"); }
    catch (error) { console.log(name, error.name, error.code, error.message.split(/:| from/)[0]); }
  };
  console.log(memmap.pageSize);
  outcome("anonymous", () => memmap.mapAnonymous(1));
  outcome("fileSync", () => memmap.mapFileSync("/dev/null"));
  outcome("arguments", () => memmap.mapAnonymous(-1));
  await memmap.mapFile("/dev/null").catch((error) => console.log("file", error.code));
`;

for (const [platform, arch] of [
  ["darwin", "arm64"],
  ["win32", "x64"],
  ["linux", "sparc"],
] as const) {
  test(`the import works on ${platform} ${arch}, and the first call does not`, async () => {
    const { code, stdout, stderr } = await runSource(elsewhere, [platform, arch]);
    assert.equal(code, 0, stderr);
    assert.deepEqual(stdout.trim().split("\n"), [
      "NaN",
      "anonymous MemmapError ERR_MEMMAP_UNSUPPORTED Cannot load memmap's addon",
      "fileSync MemmapError ERR_MEMMAP_UNSUPPORTED Cannot load memmap's addon",
      'arguments RangeError ERR_OUT_OF_RANGE "byteLength" must be an integer',
      "file ERR_MEMMAP_UNSUPPORTED",
    ]);
  });
}
