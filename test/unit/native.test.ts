// src/native.ts: the addon is what the interface says, and where there is none the import works
// and the first call tells why.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { Worker } from "node:worker_threads";
import { MemmapError } from "#dist/errors.js";
import { constant, native, pageSize } from "#dist/native.js";
import { runSource } from "../helpers/child.js";
import { anonymousRegion, hasCode } from "./support.js";

/** The names that `interface Native` declares. */
function declaredNames(): string[] {
  const source = readFileSync(new URL("../../../src/native.ts", import.meta.url), "utf8");
  const body = /export interface Native \{\n([\s\S]*?)\n\}/.exec(source)?.[1] ?? "";
  const found = [...body.matchAll(/^ {2}(?:readonly )?(\w+)[(:]/gm)].map((match) => match[1] ?? "");
  // A function with two forms is declared twice.
  return [...new Set(found)];
}

test("native() has exactly the names of its interface", () => {
  const declared = declaredNames();
  assert.ok(declared.length > 30, declared.join(", "));
  assert.deepEqual(Object.keys(native()).sort(), declared.sort());
});

test("native() is a table of functions, constants, names of errors and the page size", () => {
  const { constants, errnoNames, pageSize: size, ...functions } = native();
  const families = /^(?:PROT|MAP|MS|MADV|MCL|MLOCK|MREMAP|MFD|F_SEAL|LOCK|RLIMIT|SEEK)_[A-Z0-9_]+$/;
  for (const [name, value] of Object.entries(functions)) {
    assert.equal(typeof value, "function", name);
  }
  for (const [name, value] of Object.entries(constants)) {
    if (name !== "O_TMPFILE") assert.match(name, families);
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

test("map() needs no page size to refuse, and tells the bytes and the holders of a region", () => {
  const region = anonymousRegion(3, "private");
  assert.deepEqual([native().byteLength(region), native().holders(region)], [3 * pageSize, 1]);
  assert.equal(native().descriptor(region), -1);
  const refused = native().map(0n, 0, 0, 0x22, -1, 0, pageSize, false);
  assert.equal(native().errnoNames[-Number(refused)], "EINVAL");
  native().close(region, false);
});

test("share() and attach() name a region by a number, until its last holder has closed it", () => {
  for (const sharing of ["private", "shared"] as const) {
    const region = anonymousRegion(1, sharing);
    const id = native().share(region);
    assert.equal(native().share(region), id);
    assert.equal(native().attach(id + 1), -2);
    const attached = native().attach(id);
    assert.ok(typeof attached !== "number");
    const isHeld = sharing === "private";
    assert.equal(native().holders(region), isHeld ? 2 : 1);
    assert.equal(native().address(attached) === native().address(region), isHeld);
    native().write(region, 5, Uint8Array.of(9));
    native().close(region, false);
    const copy = new Uint8Array(1);
    assert.equal(native().read(attached, 5, copy), 1);
    assert.equal(copy[0], 9);
    native().close(attached, false);
    native().close(attached, false);
    assert.equal(native().attach(id), -2);
  }
});

test("what a closed region is asked of its faults is answered, and not by a crash", () => {
  const region = anonymousRegion(1, "private");
  native().close(region, false);
  assert.equal(native().takeFault(region), undefined);
  assert.equal(native().replaced(region, 0, pageSize), -22);
  assert.equal(native().remap(region, 0, pageSize, 0, -1, 0), -22);
  assert.equal(native().protect(region, 0, pageSize, 0), -22);
  assert.equal(native().view(region, 0, pageSize, false), -22);
});

test("replaced() and remap() refuse what lies outside the region", () => {
  const region = anonymousRegion(2, "private");
  assert.equal(native().replaced(region, 0, 2 * pageSize), -1);
  for (const [offset, length] of [
    [0, 3 * pageSize],
    [3 * pageSize, 0],
    [pageSize, 2 ** 53 - pageSize],
  ] as const) {
    assert.equal(native().replaced(region, offset, length), -22);
    assert.equal(native().remap(region, offset, length, 0, -1, 0), -22);
  }
  native().close(region, false);
});

test("failCall() makes one call of a name fail, and knows no others", () => {
  const region = anonymousRegion(1, "private");
  assert.equal(native().failCall("open", 1, 12), false);
  assert.equal(native().failCall("mprotect", 2, 12), true);
  const answers = [0, 1, 2, 3].map(() => native().protect(region, 0, pageSize, 3));
  assert.deepEqual(answers, [0, -12, 0, 0]);
  native().failCall("mprotect", 1, 12);
  native().failCall("mprotect", 0, 0);
  assert.equal(native().protect(region, 0, pageSize, 3), 0);
  native().close(region, false);
});

test("assertGuard() keeps the guard's handler, which the kernel counts as caught", () => {
  assert.equal(native().assertGuard(), 0);
  const status = readFileSync("/proc/self/status", "utf8");
  const caught = BigInt(`0x${/^SigCgt:\t([0-9a-f]+)/m.exec(status)?.[1]}`);
  for (const signal of [7n, 11n]) assert.equal((caught >> (signal - 1n)) & 1n, 1n);
});
