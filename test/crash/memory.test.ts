// What no handler can serve: memory that the kernel does not have. It ends the process, and the
// tests show which one, where, and what could have been known before.

import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { mapAnonymous, SystemError } from "memmap";
import { type RunResult, runSource } from "../helpers/child.js";
import { takePower } from "../helpers/root-powers.js";
import { type Cleanup, needs } from "../helpers/temp.js";
import { hugePagesInPool, reasonToSkip } from "./run.js";

const mebibyte = 2 ** 20;
const limit = 400 * mebibyte;
const controller = "/sys/fs/cgroup/memory";

/** The memory group that this process is in; undefined without the controller of version 1. */
function ownGroup(): string | undefined {
  const path = /^\d+:memory:(.*)$/m.exec(readFileSync("/proc/self/cgroup", "utf8"))?.[1];
  const group = path === undefined ? undefined : join(controller, path);
  return group !== undefined && existsSync(join(group, "memory.limit_in_bytes"))
    ? group
    : undefined;
}

const base = ownGroup();
const noGroup =
  needs("root").skip ||
  (base === undefined && "needs the memory controller of control groups, version 1");

/** Makes a memory group with a limit, which goes when the test is over. */
function memoryGroup(t: Cleanup): string {
  const group = join(base ?? "", `memmap-test-${process.pid}`);
  mkdirSync(group);
  t.after(() => rmdirSync(group));
  writeFileSync(join(group, "memory.limit_in_bytes"), String(limit));
  return group;
}

/** Runs a program as a member of a memory group. */
function runIn(group: string, code: string): Promise<RunResult> {
  const join = `
    import { readFileSync, writeFileSync } from "node:fs";
    import { mapAnonymous, pageSize } from "memmap";
    const group = process.argv[2];
    writeFileSync(group + "/cgroup.procs", String(process.pid));
    const left = () => Number(readFileSync(group + "/memory.limit_in_bytes", "utf8")) -
      Number(readFileSync(group + "/memory.usage_in_bytes", "utf8"));
  `;
  return runSource(join + code, [group]);
}

test("touching more memory than there is ends that process alone", { skip: noGroup }, async (t) => {
  const group = memoryGroup(t);
  const bystander = mapAnonymous(16 * mebibyte);
  bystander.bytes.fill(7);
  const { signal, stdout } = await runIn(
    group,
    `
      const mapping = mapAnonymous(${2 * limit});
      process.on("uncaughtException", () => console.log("caught"));
      console.log("begun");
      for (let i = 0; i < mapping.byteLength; i += pageSize) mapping.bytes[i] = 1;
      console.log("ended");
    `,
  );
  assert.equal(signal, "SIGKILL");
  assert.doesNotMatch(stdout, /caught|ended/);
  assert.ok(bystander.bytes.every((byte) => byte === 7));
  bystander.close();
});

test("load() meets the limit at its own line, before the work begins", {
  skip: noGroup,
}, async (t) => {
  const group = memoryGroup(t);
  const program = (byteLength: number) => `
    const mapping = mapAnonymous(${byteLength}, { sharing: "shared" });
    mapping.loadSync();
    console.log("loaded", mapping.residency().residentCount * pageSize);
    mapping.bytes.fill(1);
    console.log("worked");
  `;
  const tooMuch = await runIn(group, program(2 * limit));
  assert.equal(tooMuch.signal, "SIGKILL");
  assert.doesNotMatch(tooMuch.stdout, /loaded/);
  const enough = await runIn(group, program(32 * mebibyte));
  assert.equal(enough.code, 0, enough.stderr);
  assert.equal(enough.stdout, `loaded ${32 * mebibyte}\nworked\n`);
});

test("what a memory group has left can be read before anything is touched", {
  skip: noGroup,
}, async (t) => {
  const group = memoryGroup(t);
  const { code, stdout, stderr } = await runIn(
    group,
    `
      const sizes = [${2 * limit}, ${32 * mebibyte}];
      const byteLength = sizes.find((size) => size + 64 * 2 ** 20 < left());
      const mapping = mapAnonymous(byteLength);
      mapping.bytes.fill(1);
      console.log(mapping.byteLength);
    `,
  );
  assert.equal(code, 0, stderr);
  assert.equal(stdout, `${32 * mebibyte}\n`);
});

const hugePage = 2 * mebibyte;

test("reserve decides whether an empty pool of huge pages is an error of the call or a fault", {
  skip: reasonToSkip("huge-pool"),
}, async (t) => {
  await takePower(t, "huge-pages");
  if (hugePagesInPool() > 0) return t.skip("needs an empty pool of huge pages");
  const hugePages = hugePage;
  assert.throws(
    () => mapAnonymous(hugePage, { hugePages }),
    (error) => error instanceof SystemError && error.code === "ENOMEM",
  );
  using mapping = mapAnonymous(hugePage, { hugePages, reserve: false, faults: "collect" });
  assert.equal(mapping.bytes[0], 0);
  assert.throws(() => mapping.check(), { code: "ERR_MEMMAP_FAULT", reason: "memory" });
});
