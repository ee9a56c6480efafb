// What nobody else wants is taken and given back without a system call: counted by strace(1) in a
// program that does it some times and one that does it many times.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { runProgramIn } from "../guard/program.js";
import { needs, tempDir } from "../helpers/temp.js";

const hasStrace = spawnSync("strace", ["-f", "-o", "/dev/null", "true"]).status === 0;
const { skip } = needs("node");

/* A program that calls itself under strace, so that it runs as every other program of the tests. */
const code = `
  import { spawnSync } from "node:child_process";
  import { fileURLToPath } from "node:url";
  import { Barrier, Mutex, RwLock, Semaphore, SharedEvent, SharedMemory } from "memmap/ipc";
  const [, , , kind, times, traced] = process.argv;
  if (traced !== "traced") {
    const self = fileURLToPath(import.meta.url);
    const strace = ["-f", "-qq", "-o", join(folder, "calls-" + kind + "-" + times)];
    const { status } = spawnSync("strace",
      [...strace, process.execPath, self, folder, kind, times, "traced"], { stdio: "inherit" });
    answer({ status });
  } else {
    const path = join(folder, "file");
    const mapping = kind === "file"
      ? mapFileSync(path, { create: true, length: 8192, grow: true })
      : SharedMemory.create({ byteLength: 8192 }).map();
    const at = (offset) => mapping.bytes.subarray(offset);
    const mutex = new Mutex(at(0));
    const semaphore = new Semaphore(at(64));
    const event = new SharedEvent(at(128));
    const barrier = Barrier.create(at(192), 1);
    const rwLock = new RwLock(at(1024));
    semaphore.release(1);
    for (let i = 0; i < Number(times); i += 1) {
      mutex.lockSync().release();
      rwLock.readSync().release();
      rwLock.writeSync().release();
      semaphore.acquireSync().release();
      event.set();
      event.waitSync();
      event.reset();
      barrier.arriveSync();
      if (kind === "calls") fs.fstatSync(0);
    }
  }`;

for (const kind of ["memory", "file", "calls"]) {
  const title = {
    memory: "locks in shared memory make no system call when nobody waits",
    file: "nor do locks in a mapped file",
    calls: "the count sees one system call more in each turn",
  }[kind];
  test(title ?? kind, { skip: skip || (hasStrace ? false : "needs strace(1)") }, async (t) => {
    const folder = tempDir(t);
    const counts: number[] = [];
    for (const times of ["200", "3200"]) {
      const result = await runProgramIn([folder, kind, times], code);
      assert.match(result.stdout, /"status":0/, result.stderr);
      const calls = readFileSync(join(folder, `calls-${kind}-${times}`), "latin1");
      counts.push(calls.split("\n").length);
    }
    const [few = 0, many = 0] = counts;
    t.diagnostic(`${few} and ${many} system calls`);
    /* The engine makes some of its own, by its moods. */
    if (kind === "calls") assert.ok(many - few >= 3000, `${few}, ${many}`);
    else assert.ok(many - few < 1500, `${few}, ${many}`);
  });
}
