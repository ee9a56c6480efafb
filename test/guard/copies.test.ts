// One guard for the process, however often the addon is loaded: in many workers, and from two
// copies of the package. Each copy must serve its own faults, whichever came first and whoever
// ends first.

import assert from "node:assert/strict";
import { cpSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { type Cleanup, tempDir } from "../helpers/temp.js";
import { answerOf, answerTo, runProgramIn } from "./program.js";

const dist = fileURLToPath(new URL("../../../dist", import.meta.url));

/** Two more copies of the built package, by the paths of their doors. */
function copies(t: Cleanup): { folder: string; doors: string[] } {
  const folder = tempDir(t);
  const doors = ["a", "b"].map((name) => {
    const home = join(folder, name);
    mkdirSync(home);
    writeFileSync(join(home, "package.json"), `{ "type": "module" }`);
    cpSync(dist, join(home, "dist"), { recursive: true });
    return join(home, "dist/index.js");
  });
  return { folder, doors };
}

const tools = `
  const doorsOf = () => process.argv.slice(3);
  const signs = () =>
    fs.readFileSync("/proc/self/maps", "utf8").split("\\n").filter((row) =>
      row.includes("/memfd:memmap-guard")).length;

  /** Lets a copy of the library serve a fault; the fault must be told to that copy alone. */
  function serve(door) {
    const path = makeFile(3);
    const mapping = door.mapFileSync(path, { faults: "collect" });
    fs.truncateSync(path, pageSize);
    const zero = mapping.bytes[pageSize] + mapping.bytes[2 * pageSize];
    let count = 0;
    try {
      mapping.check();
    } catch (error) {
      if (error instanceof door.FaultError) count = error.count;
    }
    return zero === 0 && count === 2 ? "served" : "zero " + zero + ", count " + count;
  }`;

test("two copies of the package use one guard, and each serves its faults", async (t) => {
  const { folder, doors } = copies(t);
  const code = `${tools}
    const a = await import(doorsOf()[0]);
    const b = await import(doorsOf()[1]);
    const before = signs();
    const served = [serve(a), serve(b), serve(a), serve({ mapFileSync, FaultError }), serve(b)];
    answer({ before, served: [...new Set(served)], after: signs() });`;
  for (const order of [doors, [...doors].reverse()]) {
    const result = await runProgramIn([folder, ...order], code);
    assert.deepEqual(answerOf(result), { before: 0, served: ["served"], after: 1 });
  }
});

test("a copy that a worker brought serves others after the worker has ended", async (t) => {
  const { folder, doors } = copies(t);
  const code = `${tools}
    if (isMainThread) {
      const worker = startPart("copy", doorsOf()[0]);
      const inWorker = await messageOf(worker);
      const b = await import(doorsOf()[1]);
      const during = serve(b);
      await worker.terminate();
      const later = [serve(b), serve({ mapFileSync, FaultError })];
      const second = startPart("copy", doorsOf()[0]);
      later.push(await messageOf(second), serve(b));
      await second.terminate();
      answer({ inWorker, during, later: [...new Set(later)], signs: signs() });
    } else {
      parentPort.postMessage(serve(await import(workerData.data)));
    }`;
  const result = await runProgramIn([folder, ...doors], code);
  const expected = { inWorker: "served", during: "served", later: ["served"], signs: 1 };
  assert.deepEqual(answerOf(result), expected);
});

test("many workers load the addon at once and share one guard", async (t) => {
  const code = `${tools}
    if (isMainThread) {
      const workers = Array.from({ length: 8 }, () => startPart("serve"));
      const served = await Promise.all(workers.map(messageOf));
      const mine = serve({ mapFileSync, FaultError });
      await Promise.all(workers.map((worker) => worker.terminate()));
      const last = serve({ mapFileSync, FaultError });
      answer({ served: [...new Set([...served, mine, last])], signs: signs() });
    } else {
      parentPort.postMessage(serve({ mapFileSync, FaultError }));
    }`;
  assert.deepEqual(await answerTo(t, code), { served: ["served"], signs: 1 });
});

test("a worker that maps first and ends leaves the guard to the others", async (t) => {
  const code = `${tools}
    if (isMainThread) {
      const worker = startPart("serve");
      const first = await messageOf(worker);
      await worker.terminate();
      answer({ served: [first, serve({ mapFileSync, FaultError })], signs: signs() });
    } else {
      parentPort.postMessage(serve({ mapFileSync, FaultError }));
    }`;
  assert.deepEqual(await answerTo(t, code), { served: ["served", "served"], signs: 1 });
});

test("a fault is told once to the copy that mapped, also by the uncaught way", async (t) => {
  const { folder, doors } = copies(t);
  const code = `${tools}
    const a = await import(doorsOf()[0]);
    const b = await import(doorsOf()[1]);
    const told = [];
    process.on("uncaughtException", (error) => {
      told.push([error instanceof a.FaultError, error instanceof b.FaultError, error.count]);
    });
    const ofA = a.mapAnonymous(pageSize, { protection: "none" });
    const ofB = b.mapAnonymous(2 * pageSize, { protection: "none" });
    const zero = ofA.bytes[0] + ofB.bytes[0] + ofB.bytes[pageSize];
    await until(() => told.length >= 2);
    await sleep(20);
    told.sort((left, right) => left[2] - right[2]);
    answer({ zero, told });`;
  const result = await runProgramIn([folder, ...doors], code);
  const told = [
    [true, false, 1],
    [false, true, 2],
  ];
  assert.deepEqual(answerOf(result), { zero: 0, told });
});
