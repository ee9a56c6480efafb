// Sharing with worker threads: the same pages, not a copy; alive until the last holder lets go.

import assert from "node:assert/strict";
import test from "node:test";
import { mapAnonymous, pageSize } from "memmap";
import { answerTo } from "../guard/program.js";
import { runtimeName } from "../helpers/runtime.js";

/* What is shared: each kind of memory that a worker can be given, and how many bytes it has. */
const kinds: Readonly<Record<string, string>> = {
  "a shared file": `mapFileSync(makeFile(3), { protection: "read-write" })`,
  "a part of a file": `mapFileSync(makeFile(4),
    { protection: "read-write", offset: 99, length: 5000 })`,
  "a private file": `mapFileSync(makeFile(3), { protection: "read-write", sharing: "private" })`,
  "shared memory": `mapAnonymous(3 * pageSize, { sharing: "shared" })`,
  "private memory": `mapAnonymous(3 * pageSize)`,
};

for (const [name, source] of Object.entries(kinds)) {
  test(`a worker attaches to ${name}: both see each other's writes at once`, async (t) => {
    const code = `
      if (isMainThread) {
        const mapping = ${source};
        mapping.bytes[10] = 41;
        const worker = startPart("attach", { handle: mapping.share(), length: mapping.byteLength });
        const first = await messageOf(worker);
        const seen = mapping.bytes[11];
        mapping.bytes[12] = 43;
        worker.postMessage("look");
        const second = await messageOf(worker);
        const { protection, sharing, backing, offset } = mapping;
        const same = JSON.stringify([protection, sharing, backing, offset]) === first.facts;
        await worker.terminate();
        const length = first.length === mapping.byteLength;
        answer({ read: first.read, length, seen, second, same });
      } else {
        const mapping = attachMapping(workerData.data.handle);
        const read = mapping.bytes[10];
        mapping.bytes[11] = 42;
        const { protection, sharing, backing, offset } = mapping;
        const facts = JSON.stringify([protection, sharing, backing, offset]);
        parentPort.once("message", () => parentPort.postMessage(mapping.bytes[12]));
        parentPort.postMessage({ read, length: mapping.byteLength, facts });
      }`;
    const expected = { read: 41, length: true, seen: 42, second: 43, same: true };
    assert.deepEqual(await answerTo(t, code), expected);
  });
}

test("64 MiB that a worker attaches to are not copied", async (t) => {
  const code = `
    const fields = (address, name) => {
      let inside = false;
      for (const line of fs.readFileSync("/proc/self/smaps", "utf8").split("\\n")) {
        const header = /^([0-9a-f]+)-([0-9a-f]+) /.exec(line);
        const bound = (place) => BigInt("0x" + header[place]);
        if (header) inside = bound(1) <= address && address < bound(2);
        else if (inside && line.startsWith(name + ":")) return Number(/\\d+/.exec(line)[0]);
      }
      return 0;
    };
    if (isMainThread) {
      const length = 64 * 1024 * 1024;
      const shared = mapAnonymous(length, { sharing: "shared" });
      const own = mapAnonymous(length);
      shared.bytes.fill(1);
      own.bytes.fill(1);
      /* A mapping that nobody holds is closed by the collector, and its handle leads nowhere. */
      globalThis.kept = [shared, own];
      const worker = startPart("sum", { shared: shared.share(), own: own.share() });
      const told = await messageOf(worker);
      await worker.terminate();
      answer({ ...told, same: told.address === String(own.address), address: undefined });
    } else {
      const shared = attachMapping(workerData.data.shared);
      const own = attachMapping(workerData.data.own);
      let sum = 0;
      for (let i = 0; i < shared.bytes.length; i += pageSize) sum += shared.bytes[i] + own.bytes[i];
      const dirty = ["Private_Dirty", "Private_Clean"]
        .reduce((sum, name) => sum + fields(shared.address, name), 0);
      parentPort.postMessage({ sum, few: dirty < 1024, address: String(own.address) });
    }`;
  assert.deepEqual(await answerTo(t, code), { sum: 32_768, few: true, same: true });
});

const ways: Readonly<Record<string, string>> = {
  workerData: `new Worker(new URL(import.meta.url), { workerData: handle })`,
  postMessage: `new Worker(new URL(import.meta.url))`,
  "an environment variable": `(process.env.HANDLE = JSON.stringify(handle),
    new Worker(new URL(import.meta.url)))`,
};

for (const [way, start] of Object.entries(ways)) {
  test(`a handle reaches a worker by ${way}`, async (t) => {
    const code = `
      if (isMainThread) {
        const mapping = mapAnonymous(100, { sharing: "shared" });
        mapping.bytes[99] = 5;
        const handle = mapping.share();
        const worker = ${start};
        worker.postMessage(handle);
        answer({ value: await messageOf(worker), mine: mapping.bytes[98] });
        await worker.terminate();
      } else {
        const posted = await new Promise((resolve) => parentPort.once("message", resolve));
        const sent = workerData ?? (process.env.HANDLE ? JSON.parse(process.env.HANDLE) : posted);
        const mapping = attachMapping(sent);
        mapping.bytes[98] = 6;
        parentPort.postMessage(mapping.bytes[99]);
      }`;
    assert.deepEqual(await answerTo(t, code), { value: 5, mine: 6 });
  });
}

for (const sharing of ["shared", "private"]) {
  test(`a ${sharing} mapping lives until its last holder lets go`, async (t) => {
    const code = `
      const rows = () => fs.readFileSync("/proc/self/maps", "utf8").split("\\n")
        .filter((row) => row.includes(folder)).length;
      if (isMainThread) {
        const options = { protection: "read-write", sharing: "${sharing}" };
        const mapping = mapFileSync(makeFile(3), options);
        const view = mapping.bytes;
        const workers = [1, 2].map((number) =>
          startPart("hold", { handle: mapping.share(), number }));
        await Promise.all(workers.map(messageOf));
        mapping.close();
        const ask = (worker) => {
          const reply = messageOf(worker);
          worker.postMessage("look");
          return reply;
        };
        const afterClose = await Promise.all(workers.map(ask));
        await workers[0].terminate();
        const afterEnd = await ask(workers[1]);
        const late = codeOf(() => attachMapping(afterEnd.handle));
        const before = rows();
        await workers[1].terminate();
        await sleep(50);
        answer({ mine: view.length, values: afterClose.map(({ value }) => value),
          afterEnd: afterEnd.value, late, held: before > 0 });
      } else {
        const mapping = attachMapping(workerData.data.handle);
        mapping.bytes[0] = 10;
        parentPort.on("message", () => {
          mapping.bytes[0] += 1;
          parentPort.postMessage({ value: mapping.bytes[0] > 10, handle: mapping.share() });
        });
        parentPort.postMessage("ready");
      }`;
    const expected = { mine: 0, values: [true, true], afterEnd: true, late: "", held: true };
    assert.deepEqual(await answerTo(t, code), expected);
  });
}

test("a handle whose memory was closed by all leads to nothing", async (t) => {
  const code = `
    const mapping = mapAnonymous(10);
    const shared = mapAnonymous(10, { sharing: "shared" });
    const handles = [mapping.share(), shared.share()];
    mapping.close();
    shared.close();
    const other = mapAnonymous(10, { sharing: "shared" });
    other.bytes[0] = 9;
    answer({ codes: handles.map((handle) => codeOf(() => attachMapping(handle))) });`;
  const codes = ["ERR_MEMMAP_CLOSED", "ERR_MEMMAP_CLOSED"];
  assert.deepEqual(await answerTo(t, code), { codes });
});

test("resize() of private memory that threads hold is refused until they let go", async (t) => {
  const code = `
    if (isMainThread) {
      const mapping = mapAnonymous(pageSize);
      const worker = startPart("hold", mapping.share());
      await messageOf(worker);
      const during = codeOf(() => mapping.resize(2 * pageSize));
      const { length } = mapping.bytes;
      await worker.terminate();
      await until(() => codeOf(() => mapping.resize(2 * pageSize)) === "");
      answer({ during, length: length === pageSize, after: mapping.byteLength === 2 * pageSize });
    } else {
      /* Dropped, it would let go as soon as the collector runs. */
      const mapping = (globalThis.kept = attachMapping(workerData.data));
      parentPort.postMessage(mapping.byteLength);
      parentPort.on("message", () => {});
    }`;
  const expected = { during: "ERR_MEMMAP_PINNED", length: true, after: true };
  assert.deepEqual(await answerTo(t, code), expected);
});

const makesShared = runtimeName !== "deno";

test("sharedBuffer lets threads wait for one another, where the runtime makes one", async (t) => {
  const code = `
    if (isMainThread) {
      const mapping = mapAnonymous(pageSize, { sharing: "shared" });
      const { sharedBuffer } = mapping;
      if (sharedBuffer === undefined) {
        answer({ made: false });
      } else {
        const cells = new Int32Array(sharedBuffer);
        const worker = startPart("answer", sharedBuffer);
        const woken = Atomics.wait(cells, 0, 0, 15_000);
        Atomics.store(cells, 1, 7);
        Atomics.notify(cells, 1);
        const told = await messageOf(worker);
        const plain = new Int32Array(mapping.buffer)[2];
        await worker.terminate();
        const again = mapping.sharedBuffer === sharedBuffer;
        answer({ made: true, woken: woken !== "timed-out", told, plain, again,
          length: sharedBuffer.byteLength === mapping.byteLength });
      }
    } else {
      const cells = new Int32Array(workerData.data);
      Atomics.store(cells, 0, 1);
      Atomics.notify(cells, 0);
      const woken = Atomics.wait(cells, 1, 0, 15_000);
      cells[2] = 99;
      parentPort.postMessage([woken !== "timed-out", cells[1]]);
    }`;
  const found = await answerTo(t, code);
  if (!makesShared) return assert.deepEqual(found, { made: false });
  const rest = { told: [true, 7], plain: 99, again: true, length: true };
  assert.deepEqual(found, { made: true, woken: true, ...rest });
});

test("a sharedBuffer stays safe after close(): zeros, and a reported fault", async (t) => {
  const code = `
    const mapping = mapAnonymous(pageSize, { sharing: "shared", faults: "collect" });
    const { sharedBuffer } = mapping;
    if (sharedBuffer === undefined) {
      answer({ made: false });
    } else {
      const bytes = new Uint8Array(sharedBuffer);
      bytes.fill(3);
      mapping.close();
      const values = [bytes.length === pageSize, bytes[5]];
      let fault;
      try {
        mapping.check();
      } catch (error) {
        fault = [error.reason, error.access, error.byteOffset].join();
      }
      answer({ made: true, values, fault });
    }`;
  const found = await answerTo(t, code);
  if (!makesShared) return assert.deepEqual(found, { made: false });
  assert.deepEqual(found, { made: true, values: [true, 0], fault: "closed,read,5" });
});

test("a mapping's buffer is transferred by a structured clone, or refused whole", () => {
  using mapping = mapAnonymous(pageSize);
  mapping.bytes[0] = 5;
  const { buffer } = mapping;
  const send = () => structuredClone(buffer, { transfer: [buffer] });
  if (runtimeName === "bun") {
    assert.throws(send, { name: "DataCloneError" });
    assert.equal(mapping.bytes[0], 5);
  } else {
    assert.equal(new Uint8Array(send())[0], 5);
    assert.equal(buffer.byteLength, 0);
  }
});
