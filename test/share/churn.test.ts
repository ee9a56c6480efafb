// Workers that exit or are terminated in the middle of anything harm nobody, and leave nothing:
// the areas and descriptors of the process return to what they were.

import assert from "node:assert/strict";
import test from "node:test";
import { answerTo } from "../guard/program.js";
import { runtimeName } from "../helpers/runtime.js";

/* What a worker is in the middle of when it is ended; each loops until then. */
const loops: Readonly<Record<string, string>> = {
  flush: `await mapping.flush();`,
  flushSync: `mapping.bytes[5] += 1; mapping.flushSync();`,
  load: `await mapping.load();`,
  lock: `await mapping.lock({ length: pageSize }); mapping.unlock();`,
  resize: `own.resize((own.byteLength % (8 * pageSize)) + pageSize); own.bytes[0] += 1;`,
  faults: `const late = shortened(3, { faults: "collect" });
    late.bytes[pageSize]; late.bytes[2 * pageSize]; late.close();`,
  "untold faults": `none.bytes[0]; none.remap(); codeOf(() => none.check());`,
  attach: `const again = attachMapping(workerData.data); again.bytes[1] += 1; again.close();`,
  map: `const one = mapAnonymous(pageSize, { sharing: "shared" }); one.bytes[0] = 1; one.close();`,
  "keep and drop": `mapAnonymous(4 * pageSize).bytes[1] = 2; mapFileSync(file).bytes[0];`,
};

/* What a worker opened by node:fs is closed with it on Node alone, also in the midst of a call. */
const tracksFiles = runtimeName === "node";

const counts = `
  const counts = () => ({
    rows: fs.readFileSync("/proc/self/maps", "utf8").split("\\n")
      .filter((row) => /memfd:memmap(?!:guard)|data-/.test(row)).length,
    fds: fs.readdirSync("/proc/self/fd").filter((fd) => {
      try {
        const name = fs.readlinkSync("/proc/self/fd/" + fd);
        return /memfd:memmap(?!:guard)/.test(name) || (${tracksFiles} && name.includes("data-"));
      } catch {
        return false;
      }
    }).length,
  });`;

/* Deno now and then never ends a job of the pool whose worker was terminated: its mapping stays. */
const endsLate: ReadonlySet<string> = new Set(["flush", "load", "lock"]);

function assertFewer(after: unknown, before: unknown): void {
  const rows = [after, before].map((counts) => Number(Reflect.get(Object(counts), "rows")));
  const [now = 0, then = 0] = rows;
  assert.ok(now <= then + rounds / 2, `${now} areas after, ${then} before`);
}

const rounds = runtimeName === "bun" ? 6 : 8;

for (const [name, loop] of Object.entries(loops)) {
  for (const end of ["terminate", "exit"]) {
    test(`a worker that ends by ${end} in a loop of ${name} harms nobody`, async (t) => {
      const code = `${counts}
        if (isMainThread) {
          const { native } = await import("#dist/native.js");
          const mapping = mapFileSync(makeFile(64), { protection: "read-write" });
          const own = mapAnonymous(4 * pageSize);
          own.bytes.fill(7);
          const before = counts();
          for (let i = 0; i < ${rounds}; i++) {
            const worker = startPart("${end}", mapping.share());
            const ended = new Promise((resolve) => worker.once("exit", resolve));
            await messageOf(worker);
            if ("${end}" === "terminate") {
              if (i % 2 === 1) await sleep(i);
              await worker.terminate();
            } else {
              worker.postMessage("end");
            }
            await ended;
          }
          /* A worker may end a moment after its exit was told, and what it held with it. */
          for (let i = 0; i < 100 && counts().rows > before.rows; i++) {
            await sleep(20);
            globalThis.Bun?.gc(true);
            globalThis.gc?.();
            native().releaseRetired();
          }
          answer({ before, after: counts(), kept: [mapping.bytes[pageSize], own.bytes[3]] });
          process.exit(0);
        } else {
          const mapping = attachMapping(workerData.data);
          const own = mapAnonymous(pageSize);
          const none = mapAnonymous(pageSize, { protection: "none", faults: "collect" });
          const file = makeFile(2);
          let ending = false;
          parentPort.once("message", () => { ending = true; });
          parentPort.postMessage("ready");
          for (let i = 0; ; i++) {
            ${loop}
            if (i % 16 === 0) await turn();
            if (ending && i > 20) process.exit(0);
          }
        }`;
      const found = await answerTo(t, code, { exposeGc: true });
      const { before, after } = found;
      if (runtimeName === "deno" && endsLate.has(name)) assertFewer(after, before);
      else assert.deepEqual(after, before);
      assert.deepEqual(found["kept"], [2, 7]);
    });
  }
}
