// MAP_GROWSDOWN: a touch of the page below makes the mapping longer. The kernel does that inside
// the fault, so the guard is not asked; what has grown belongs to the raw door like the rest. The
// touch is made by the addon of the tests, in children, since one too far below ends the process.

import assert from "node:assert/strict";
import test from "node:test";
import { buildHelper, whyNoHelper } from "../helpers/native-helper.js";
import { runLimited } from "../helpers/ordinary-user.js";

/* A mapping that grows down in the middle of a hole of 64 MiB. */
const setUp = `
import { createRequire } from "node:module";
const helper = createRequire(import.meta.url)(process.argv[2]);
limit("stack", 8 * 2 ** 20);
const page = BigInt(pageSize);
const none = raw.MAP_PRIVATE | raw.MAP_ANONYMOUS | raw.MAP_NORESERVE;
const hole = raw.mmap(null, 2 ** 26, raw.PROT_NONE, none, -1, 0);
raw.munmap(hole, 2 ** 26);
const top = hole + 2n ** 25n;
const kind = raw.MAP_PRIVATE | raw.MAP_ANONYMOUS | raw.MAP_GROWSDOWN | raw.MAP_FIXED_NOREPLACE;
raw.mmap(top, 2 * pageSize, raw.PROT_READ | raw.PROT_WRITE, kind, -1, 0);

/** Where the area begins that ends with the mapping, and its permissions; undefined without one. */
function areaUpTo(end) {
  for (const line of fs.readFileSync("/proc/self/maps", "utf8").split("\\n")) {
    const found = /^([0-9a-f]+)-([0-9a-f]+) (\\S+)/.exec(line);
    if (found === null || BigInt("0x" + found[2]) !== end) continue;
    return [BigInt("0x" + found[1]), found[3]];
  }
  return undefined;
}
const end = top + 2n * page;
assert.deepEqual(areaUpTo(end), [top, "rw-p"]);
`;

const options = { skip: whyNoHelper };

test("MAP_GROWSDOWN: a touch of the page below makes the mapping longer", options, async (t) => {
  const code = `${setUp}
assert.equal(helper.touch(top - 1n), 1);
assert.deepEqual(areaUpTo(end), [top - page, "rw-p"]);
assert.equal(helper.touch(top - 100n * page), 1);
assert.deepEqual(areaUpTo(end), [top - 100n * page, "rw-p"]);
raw.check(top - 100n * page, 102 * pageSize); // no fault was the guard's
console.log("done");
`;
  const result = await runLimited(code, [buildHelper(t)]);
  assert.deepEqual([result.stdout, result.stderr, result.code], ["done\n", "", 0]);
});

test("what MAP_GROWSDOWN has grown by is ours: view, mprotect, munmap", options, async (t) => {
  const code = `${setUp}
const low = top - 8n * page;
assert.equal(helper.touch(low + 5n), 1);
const bytes = raw.view(low, 10 * pageSize);
assert.deepEqual([...bytes.subarray(4, 7)], [0, 1, 0]);
raw.mprotect(low, pageSize, raw.PROT_READ);
bytes[5] = 9; // absorbed, since the page is ours to guard
assert.throws(() => raw.check(low, pageSize), { code: "ERR_MEMMAP_FAULT" });
raw.mprotect(low, pageSize, raw.PROT_READ | raw.PROT_WRITE);
assert.equal(bytes[5], 1);
assert.equal(helper.touch(low - 1n), 1); // grows on below what was adopted
raw.munmap(low - page, 11 * pageSize);
assert.notEqual(areaUpTo(end)?.[1], "rw-p");
assert.equal(bytes[5], 0);
assert.throws(() => raw.check(low, pageSize), { code: "ERR_MEMMAP_FAULT" });
console.log("done");
`;
  const result = await runLimited(code, [buildHelper(t)]);
  assert.deepEqual([result.stdout, result.stderr, result.code], ["done\n", "", 0]);
});

test("a grown range without a view is unmapped whole", options, async (t) => {
  const code = `${setUp}
helper.touch(top - 8n * page);
raw.munmap(top - 8n * page, 10 * pageSize);
assert.equal(areaUpTo(end), undefined);
const again = raw.MAP_PRIVATE | raw.MAP_ANONYMOUS | raw.MAP_FIXED_NOREPLACE;
raw.mmap(top, pageSize, raw.PROT_READ, again, -1, 0); // nobody has it: it can be had again
console.log("done");
`;
  const result = await runLimited(code, [buildHelper(t)]);
  assert.deepEqual([result.stdout, result.stderr, result.code], ["done\n", "", 0]);
});

test("a touch further below than RLIMIT_STACK ends the process", options, async (t) => {
  const code = `${setUp}
console.log("ready");
helper.touch(top - 2n ** 24n);
console.log("survived");
`;
  const result = await runLimited(code, [buildHelper(t)]);
  assert.match(result.stdout, /^ready/);
  assert.doesNotMatch(result.stdout, /survived/);
  assert.ok(result.code !== 0, "it ended by a signal, as without memmap");
});

/* Memory below that may be touched, and how many pages the kernel keeps free above it. */
const above = `${setUp}
const gap = BigInt(/\\bstack_guard_gap=(\\d+)/.exec(fs.readFileSync("/proc/cmdline"))?.[1] ?? 256);
const low = top - 2n * gap * page;
const there = raw.MAP_PRIVATE | raw.MAP_ANONYMOUS | raw.MAP_FIXED_NOREPLACE;
raw.mmap(low - page, pageSize, raw.PROT_READ | raw.PROT_WRITE, there, -1, 0);
`;

test("a mapping that grows down stays 256 pages above the memory below", options, async (t) => {
  const code = `${above}
assert.equal(helper.touch(low + gap * page), 1);
assert.deepEqual(areaUpTo(end), [low + gap * page, "rw-p"]);
console.log("grown");
helper.touch(low + gap * page - 1n);
console.log("survived");
`;
  const result = await runLimited(code, [buildHelper(t)]);
  assert.match(result.stdout, /^grown/, result.stderr);
  assert.doesNotMatch(result.stdout, /survived/);
  assert.ok(result.code !== 0, "it ended by a signal, as without memmap");
});

test("memory that nobody may touch keeps no such distance", options, async (t) => {
  const code = `${above}
raw.mprotect(low - page, pageSize, raw.PROT_NONE);
assert.equal(helper.touch(low), 1);
assert.deepEqual(areaUpTo(end), [low, "rw-p"]);
console.log("grown");
`;
  const result = await runLimited(code, [buildHelper(t)]);
  assert.deepEqual([result.stdout, result.stderr, result.code], ["grown\n", "", 0]);
});
