// Several threads that fault at once: on one page, on many pages, and on more scattered pages
// than the kernel has areas for one process.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { runtimeName } from "../helpers/runtime.js";
import { answerTo } from "./program.js";

/* The threads attach to one private mapping, so that they fault on the very same addresses, and
   begin together when the main thread opens the gate. */
const race = `
  const threads = 4, pages = 256;
  function countOf(mapping) {
    try {
      mapping.check();
      return 0;
    } catch (error) {
      return error.count;
    }
  }
  async function play(touch) {
    if (!isMainThread) {
      const { gate, handle, number } = workerData.data;
      const mapping = attachMapping(handle);
      const cell = new Int32Array(gate);
      Atomics.add(cell, 0, 1);
      Atomics.notify(cell, 0);
      while (Atomics.load(cell, 1) === 0);
      const value = touch(mapping.bytes, number);
      /* Whoever looks first takes what all of them have counted so far. */
      parentPort.postMessage({ value, count: countOf(mapping) });
      await new Promise(() => {});
    }
    const path = makeFile(pages + 1);
    const mapping = mapFileSync(path, { sharing: "private", faults: "collect", protection });
    const gate = new SharedArrayBuffer(8);
    const handle = mapping.share();
    const workers = Array.from({ length: threads }, (_, number) =>
      startPart("touch", { gate, handle, number }));
    const results = workers.map(messageOf);
    await until(() => Atomics.load(new Int32Array(gate), 0) === threads);
    fs.truncateSync(path, 0);
    Atomics.store(new Int32Array(gate), 1, 1);
    const told = await Promise.all(results);
    const values = told.map(({ value }) => value);
    const count = told.reduce((sum, { count }) => sum + count, countOf(mapping));
    return { mapping, values, count };
  }`;

test("threads that read one missing page at once all get zeros", async (t) => {
  const code = `const protection = "read";\n${race}
    const { mapping, values, count } = await play((bytes) => bytes[pageSize + 5]);
    const still = mapping.bytes[pageSize + 5];
    answer({ values, still, counted: count > 0 });
    process.exit(0);`;
  assert.deepEqual(await answerTo(t, code), { values: [0, 0, 0, 0], still: 0, counted: true });
});

test("threads that read many missing pages at once all get zeros", async (t) => {
  const code = `const protection = "read";\n${race}
    const { mapping, values, count } = await play((bytes, number) => {
      let sum = 0;
      for (let i = 0; i < bytes.length; i += pageSize) {
        sum += bytes[number % 2 === 0 ? i : bytes.length - pageSize - i];
      }
      return sum;
    });
    let sum = 0;
    for (const byte of mapping.bytes) sum += byte;
    answer({ values, sum, enough: count > pages });
    process.exit(0);`;
  const expected = { values: [0, 0, 0, 0], sum: 0, enough: true };
  assert.deepEqual(await answerTo(t, code), expected);
});

test("threads that write many missing pages at once keep what each wrote", async (t) => {
  const code = `const protection = "read-write";\n${race}
    const { mapping, values, count } = await play((bytes, number) => {
      for (let i = 0; i < bytes.length; i += pageSize) bytes[i + number] = number + 1;
      return number;
    });
    let lost = 0;
    for (let i = 0; i < mapping.byteLength; i += pageSize) {
      for (let k = 0; k < threads; k++) if (mapping.bytes[i + k] !== k + 1) lost += 1;
    }
    answer({ values, lost, enough: count > pages });
    process.exit(0);`;
  assert.deepEqual(await answerTo(t, code), { values: [0, 1, 2, 3], lost: 0, enough: true });
});

const areasMax = Number(readFileSync("/proc/sys/vm/max_map_count", "utf8"));
const scattered = 70_000;
const skip =
  areasMax > scattered * 2 && `needs vm.max_map_count below ${scattered * 2}: ${areasMax}`;

for (const [access, parity] of [
  ["read", 0],
  ["read", 1],
  ["write", 0],
  ["write", 1],
] as const) {
  test(`${scattered} scattered pages that fault on a ${access} are survived (${parity})`, {
    skip,
  }, async (t) => {
    const touch = access === "read" ? `sum += bytes[at]` : `bytes[at] = 1`;
    const code = `
      const path = join(folder, "sparse.bin");
      fs.writeFileSync(path, "");
      fs.truncateSync(path, 2 * ${scattered} * pageSize);
      const mapping = mapFileSync(path, { protection: "read-write", faults: "collect" });
      const neighbour = mapAnonymous(pageSize);
      /* Each repair adds two areas: the limit is met from both sides. */
      const odd = ${parity} === 1 && mapAnonymous(pageSize, { protection: "read" });
      neighbour.bytes.fill(9);
      fs.truncateSync(path, 0);
      const { bytes } = mapping;
      let sum = 0;
      for (let i = 0; i < ${scattered}; i++) {
        const at = 2 * i * pageSize;
        ${touch};
      }
      let fault;
      try {
        mapping.check();
      } catch (error) {
        fault = error;
      }
      const { access, reason, count } = fault;
      mapping.close();
      const after = mapAnonymous(10).bytes[0];
      const kept = neighbour.bytes.every((byte) => byte === 9);
      answer({ sum, access, reason, many: count > 30_000, after, kept });`;
    const options = { sum: 0, access, reason: "truncated", many: true, after: 0, kept: true };
    assert.deepEqual(await answerTo(t, code), options);
  });
}

const withoutAreas =
  runtimeName === "deno"
    ? "V8 in Deno needs areas of its own all the time"
    : areasMax > 200_000 && `needs vm.max_map_count of 200,000 at most: ${areasMax}`;

test("faults are survived when a process has used up its areas", {
  skip: withoutAreas,
}, async (t) => {
  const code = `
    const options = { faults: "collect" };
    const shorter = [1, 2, 3, 4].map(() => shortened(64, options));
    const none = mapAnonymous(16 * pageSize, { ...options, protection: "none" });
    const views = [...shorter, none].map((mapping) => mapping.bytes);
    const others = [];
    /* Areas that the kernel cannot join, until it has no more. */
    const full = codeOf(() => {
      for (;;) {
        const protection = others.length % 2 === 0 ? "read" : "read-write";
        others.push(mapAnonymous(1, { protection }));
      }
    });
    let sum = 0;
    for (const view of views.slice(0, -1)) {
      for (let page = 1; page < 64; page += 3) sum += view[page * pageSize];
    }
    for (let page = 0; page < 16; page += 2) views[4][page * pageSize] = page;
    for (const other of others) other.close();
    const reasons = [...shorter, none].map((mapping) => {
      try {
        mapping.check();
      } catch (fault) {
        return fault.reason;
      }
    });
    answer({ full, sum, written: views[4][14 * pageSize], reasons });`;
  const reasons = ["truncated", "truncated", "truncated", "truncated", "protected"];
  assert.deepEqual(await answerTo(t, code), { full: "ENOMEM", sum: 0, written: 14, reasons });
});
