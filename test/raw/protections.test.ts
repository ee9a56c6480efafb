// Each protection of a raw mapping: what /proc shows, and what becomes of a touch that it forbids.
// What executes is called through the addon of the tests.

import assert from "node:assert/strict";
import test from "node:test";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { runSource } from "../helpers/child.js";
import { buildHelper, loadHelper, whyNoHelper } from "../helpers/native-helper.js";
import { flagsAt, permissionsAt } from "../helpers/proc-self.js";
import { mapRaw, memoryFile, privateMemory, readWrite } from "../helpers/raw-memory.js";

const page = BigInt(pageSize);
const { PROT_NONE, PROT_READ, PROT_WRITE, PROT_EXEC } = raw;

const letters = [
  [PROT_NONE, "---"],
  [PROT_READ, "r--"],
  [PROT_WRITE, "-w-"],
  [PROT_EXEC, "--x"],
  [PROT_READ | PROT_WRITE, "rw-"],
  [PROT_READ | PROT_EXEC, "r-x"],
  [PROT_WRITE | PROT_EXEC, "-wx"],
  [PROT_READ | PROT_WRITE | PROT_EXEC, "rwx"],
] as const;

/** What adds two numbers: `lea eax, [rdi + rsi]; ret`, and `add w0, w0, w1; ret`. */
const machineCode: Readonly<Record<string, readonly number[]>> = {
  x64: [0x8d, 0x04, 0x37, 0xc3],
  arm64: [0x00, 0x00, 0x01, 0x0b, 0xc0, 0x03, 0x5f, 0xd6],
};

const whyNoCode =
  whyNoHelper || (machineCode[process.arch] === undefined && "needs machine code for this CPU");

/** Collects the fault of a range. */
function faultOf(address: bigint): unknown {
  try {
    raw.check(address, pageSize);
  } catch (error) {
    return error;
  }
  return undefined;
}

test("each protection of a raw mapping stands so in /proc/self/maps", (t) => {
  const fd = memoryFile(t, pageSize);
  for (const [prot, expected] of letters) {
    assert.equal(permissionsAt(mapRaw(t, { prot })), `${expected}p`);
    assert.equal(permissionsAt(mapRaw(t, { prot, flags: raw.MAP_SHARED, fd })), `${expected}s`);
    const changed = mapRaw(t, { prot: PROT_NONE });
    raw.mprotect(changed, pageSize, prot);
    assert.equal(permissionsAt(changed), `${expected}p`);
  }
});

test("PROT_NONE: a read gives zero and is a fault, and so is a write", (t) => {
  const address = mapRaw(t);
  raw.view(address, 1)[0] = 7;
  raw.mprotect(address, pageSize, PROT_NONE);
  assert.equal(raw.view(address, 1)[0], 0);
  const fault = faultOf(address);
  assert.ok(fault instanceof Error && "access" in fault && "reason" in fault);
  assert.deepEqual([fault.access, fault.reason], ["read", "protected"]);
  raw.mprotect(address, pageSize, PROT_READ);
  assert.equal(raw.view(address, 1)[0], 7);
});

test("PROT_READ: a write is absorbed and a fault, and the file keeps its bytes", (t) => {
  const fd = memoryFile(t, pageSize);
  const writer = mapRaw(t, { flags: raw.MAP_SHARED, fd });
  const address = mapRaw(t, { prot: PROT_READ, flags: raw.MAP_SHARED, fd });
  raw.view(address, 1)[0] = 7;
  const fault = faultOf(address);
  assert.ok(fault instanceof Error && "access" in fault);
  assert.equal(fault.access, "write");
  assert.equal(raw.view(writer, 1)[0], 0);
});

test("PROT_WRITE alone can be read as well on these processors", (t) => {
  const address = mapRaw(t, { prot: PROT_WRITE });
  const bytes = raw.view(address, 2);
  bytes[0] = 7;
  assert.deepEqual([...bytes], [7, 0]);
  assert.equal(faultOf(address), undefined);
});

test("PROT_EXEC: machine code in the pages runs", { skip: whyNoCode }, (t) => {
  const helper = loadHelper(t);
  const address = mapRaw(t);
  raw.view(address, 64).set(machineCode[process.arch] ?? []);
  raw.mprotect(address, pageSize, PROT_READ | PROT_EXEC);
  assert.equal(helper.call(address, 30, 12), 42);
  assert.ok(flagsAt(address).includes("ex"));
});

test("without PROT_EXEC a call ends the process, as without memmap", {
  skip: whyNoCode,
}, async (t) => {
  const code = `
import { createRequire } from "node:module";
import * as raw from "memmap/raw";
const helper = createRequire(import.meta.url)(process.argv[2]);
const address = raw.mmap(null, 4096, ${readWrite}, ${privateMemory}, -1, 0);
raw.view(address, 64).set([${machineCode[process.arch]}]);
console.log("ready");
helper.call(address, 30, 12);
console.log("survived");
`;
  const result = await runSource(code, [buildHelper(t)], { timeoutMs: 20_000 });
  assert.match(result.stdout, /^ready/);
  assert.doesNotMatch(result.stdout, /survived/);
  assert.ok(result.signal !== "SIGKILL" && result.code !== 0, "it ended by itself, and not well");
});

test("PROT_GROWSDOWN: mprotect reaches down to the start of an area that grows down", (t) => {
  const length = 8 * pageSize;
  const address = mapRaw(t, { length, flags: privateMemory | raw.MAP_GROWSDOWN });
  raw.mprotect(address + 4n * page, pageSize, PROT_READ | raw.PROT_GROWSDOWN);
  assert.equal(permissionsAt(address), "r--p");
  assert.equal(permissionsAt(address + 4n * page), "r--p");
  assert.equal(permissionsAt(address + 5n * page), "rw-p");
});

test("PROT_GROWSDOWN and PROT_GROWSUP are EINVAL for areas that do not grow so", (t) => {
  const address = mapRaw(t);
  for (const way of [raw.PROT_GROWSDOWN, raw.PROT_GROWSUP]) {
    const change = () => raw.mprotect(address, pageSize, PROT_READ | way);
    assert.throws(change, { code: "EINVAL", syscall: "mprotect" });
  }
  assert.equal(permissionsAt(address), "rw-p");
});

test("protection bits that are none: mmap ignores them, mprotect refuses them", (t) => {
  const none = 0x4000_0000;
  const address = mapRaw(t, { prot: readWrite | none });
  assert.equal(permissionsAt(address), "rw-p");
  const change = () => raw.mprotect(address, pageSize, PROT_READ | none);
  assert.throws(change, { code: "EINVAL", syscall: "mprotect" });
  assert.equal(permissionsAt(mapRaw(t, { prot: readWrite | raw.PROT_GROWSDOWN })), "rw-p");
});

test("PROT_SEM is taken and changes nothing; PROT_SAO is of PowerPC alone", (t) => {
  const address = mapRaw(t, { prot: readWrite | raw.PROT_SEM });
  const before = flagsAt(address);
  raw.mprotect(address, pageSize, readWrite | raw.PROT_SEM);
  assert.equal(permissionsAt(address), "rw-p");
  assert.deepEqual(flagsAt(address), before);
  assert.equal(raw.PROT_SAO !== undefined, process.arch === "ppc64");
});

test("PROT_BTI and PROT_MTE are of arm64 alone", () => {
  const isArm = process.arch === "arm64";
  assert.deepEqual([raw.PROT_BTI !== undefined, raw.PROT_MTE !== undefined], [isArm, isArm]);
});
