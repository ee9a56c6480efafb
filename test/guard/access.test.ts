// Whether a fault was a read or a write, asked of the processor by real faults of machine code:
// byte, word and vector accesses, pairs, atomics. On x86-64 the page-fault error code tells, on
// arm64 the exception syndrome; scripts/arm64.mjs runs this file there.

import assert from "node:assert/strict";
import test from "node:test";
import { answerTo } from "./program.js";

/* What the guard says about one access: its kind and reason. */
const ask = `
  function ask(mapping, touch) {
    touch(mapping);
    try {
      mapping.check();
      return "no fault";
    } catch (error) {
      return [error.access, error.reason, error.count].join();
    }
  }`;

/* Accesses by the engine's and the C library's instructions, each on a page of its own. */
const reads: Readonly<Record<string, string>> = {
  byte: `({ bytes }, at) => bytes[at]`,
  "double word": `({ buffer }, at) => new Float64Array(buffer, at, 1)[0]`,
  unaligned: `({ buffer }, at) => new DataView(buffer).getUint32(at + 1)`,
  atomic: `({ buffer }, at) => Atomics.load(new Int32Array(buffer, at, 1), 0)`,
  slice: `({ bytes }, at) => bytes.slice(at, at + 64)`,
  indexOf: `({ buffer }, at) => Buffer.from(buffer, at, 256).indexOf("x")`,
  copy: `({ buffer }, at) => Buffer.alloc(256).set(new Uint8Array(buffer, at, 256))`,
  text: `({ buffer }, at) => new TextDecoder().decode(new Uint8Array(buffer, at, 32))`,
  compare: `({ buffer }, at) => Buffer.alloc(64).compare(Buffer.from(buffer, at, 64))`,
};

const writes: Readonly<Record<string, string>> = {
  byte: `({ bytes }, at) => { bytes[at] = 1; }`,
  "double word": `({ buffer }, at) => { new Float64Array(buffer, at, 1)[0] = 1.5; }`,
  unaligned: `({ buffer }, at) => new DataView(buffer).setUint32(at + 1, 7)`,
  "atomic store": `({ buffer }, at) => Atomics.store(new Int32Array(buffer, at, 1), 0, 3)`,
  fill: `({ bytes }, at) => bytes.fill(9, at, at + 256)`,
  set: `({ bytes }, at) => bytes.set(new Uint8Array(256).fill(5), at)`,
  "buffer write": `({ buffer }, at) => Buffer.from(buffer, at, 64).write("written")`,
};

const kinds: Readonly<Record<string, readonly [setup: string, reason: string]>> = {
  "a truncated shared file": [`shortened(40, { protection, faults: "collect" })`, "truncated"],
  "a truncated private file": [
    `shortened(40, { protection, sharing: "private", faults: "collect" })`,
    "truncated",
  ],
  "pages without access": [
    `mapAnonymous(40 * pageSize, { protection: "none", faults: "collect" })`,
    "protected",
  ],
};

function program(setup: string, ways: Readonly<Record<string, string>>): string {
  const list = Object.entries(ways).map(([name, way]) => `${JSON.stringify(name)}: ${way}`);
  return `${ask}
    const protection = "read-write";
    const mapping = ${setup};
    const ways = { ${list.join(",\n")} };
    const found = {};
    Object.entries(ways).forEach(([name, way], i) => {
      found[name] = ask(mapping, (mapping) => way(mapping, (2 * i + 2) * pageSize));
    });
    answer(found);`;
}

for (const [kind, [setup, reason]] of Object.entries(kinds)) {
  test(`reads of ${kind} are told as reads`, async (t) => {
    const expected = Object.fromEntries(
      Object.keys(reads).map((name) => [name, `read,${reason},1`]),
    );
    assert.deepEqual(await answerTo(t, program(setup, reads)), expected);
  });

  test(`writes to ${kind} are told as writes`, async (t) => {
    const expected = Object.fromEntries(
      Object.keys(writes).map((name) => [name, `write,${reason},1`]),
    );
    assert.deepEqual(await answerTo(t, program(setup, writes)), expected);
  });
}

test("writes to read-only pages are absorbed and told as writes, the file untouched", async (t) => {
  const list = Object.entries(writes).map(([name, way]) => `${JSON.stringify(name)}: ${way}`);
  const code = `${ask}
    const path = makeFile(40);
    const mapping = mapFileSync(path, { faults: "collect" });
    const before = fs.readFileSync(path);
    const ways = { ${list.join(",\n")} };
    const found = {};
    Object.entries(ways).forEach(([name, way], i) => {
      const at = (2 * i + 2) * pageSize;
      found[name] = ask(mapping, (mapping) => way(mapping, at));
      /* What was there stays around what was written: the page is a copy. */
      if (mapping.bytes[at + pageSize - 1] !== before[at + pageSize - 1]) found[name] += " lost";
    });
    answer({ ...found, untouched: before.equals(fs.readFileSync(path)) });`;
  const expected = Object.fromEntries(
    Object.keys(writes).map((name) => [name, "write,protected,1"]),
  );
  assert.deepEqual(await answerTo(t, code), { ...expected, untouched: true });
});

test("an atomic change of a missing page is one fault and acts on zeros", async (t) => {
  const code = `
    const mapping = shortened(4, { protection: "read-write", faults: "collect" });
    const cells = new Int32Array(mapping.buffer);
    const at = pageSize / 4;
    const old = Atomics.add(cells, at, 5);
    const swapped = Atomics.compareExchange(cells, at, 5, 9);
    let count = 0;
    try {
      mapping.check();
    } catch (error) {
      count = error.count;
    }
    answer({ old, swapped, now: cells[at], few: count >= 1 && count <= 2 });`;
  assert.deepEqual(await answerTo(t, code), { old: 0, swapped: 5, now: 9, few: true });
});

test("a write after a read of one missing page keeps what was written", async (t) => {
  const code = `
    const mapping = shortened(4, { protection: "read-write", faults: "collect" });
    const { bytes } = mapping;
    const read = bytes[pageSize];
    bytes[pageSize] = 3;
    bytes[pageSize + 1] = bytes[pageSize] + 1;
    answer({ read, wrote: [bytes[pageSize], bytes[pageSize + 1], bytes[pageSize + 2]] });`;
  assert.deepEqual(await answerTo(t, code), { read: 0, wrote: [3, 4, 0] });
});
