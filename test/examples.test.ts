// Each program of examples/ does what its first lines say, on real files and in a process of its
// own.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, extname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { pageSize } from "memmap";
import { SharedMemory, wait } from "memmap/ipc";
import { attachCurrent, controlBytes, publish } from "../examples/shared-dataset/current.js";
import { type RunResult, runScript, startScript } from "./helpers/child.js";
import { noCompiler } from "./helpers/compile.js";
import { areasOf } from "./helpers/proc-self.js";
import { tempDir } from "./helpers/temp.js";

const compiled = new URL("../examples/", import.meta.url);
const sources = fileURLToPath(new URL("../../examples/", import.meta.url));
const tried = new Set<string>();

async function run(name: string, ...args: string[]): Promise<RunResult> {
  tried.add(`${name}.ts`);
  return await runScript(new URL(`${name}.js`, compiled), args);
}

function outputOf(result: RunResult): string {
  assert.equal(result.stderr, "");
  assert.equal(result.code, 0);
  return result.stdout;
}

test("mmapcopy writes a file to standard output, and tells its usage", async (t) => {
  const file = join(tempDir(t), "message.txt");
  const content = "Hello, mapped world!\n".repeat(20_000);
  writeFileSync(file, content);
  assert.equal(outputOf(await run("mmapcopy", file)), content);

  const wrong = await run("mmapcopy");
  assert.equal(wrong.code, 2);
  assert.equal(wrong.stderr.trim(), "usage: mmapcopy FILE");
});

test("mmapcopy writes nothing for an empty file", async (t) => {
  const file = join(tempDir(t), "empty");
  writeFileSync(file, "");
  assert.equal(outputOf(await run("mmapcopy", file)), "");
});

test("grep prints the lines that hold a text, also the first and the last", async (t) => {
  const file = join(tempDir(t), "lines.txt");
  writeFileSync(file, "map one\nnothing\nthe map, the map\nlast map");
  assert.equal(outputOf(await run("grep", "map", file)), "map one\nthe map, the map\nlast map\n");
  assert.equal((await run("grep", "absent", file)).code, 1);
  assert.equal((await run("grep")).code, 2);
});

test("shared-counter loses no addition of two processes", async () => {
  const output = outputOf(await run("shared-counter"));
  assert.equal(output, "2 processes added 200000 in all: the counter says 200000\n");
});

test("copy-on-write changes its own mapping and nothing else", async (t) => {
  const file = join(tempDir(t), "message.txt");
  writeFileSync(file, "Hello, mapped world!\n");
  const lines = outputOf(await run("copy-on-write", file))
    .trim()
    .split("\n");
  assert.deepEqual(
    lines.map((line) => line.slice(line.indexOf('"'))),
    ['"************"', '"Hello, mappe"', '"Hello, mappe"'],
  );
  assert.equal(readFileSync(file, "utf8"), "Hello, mapped world!\n");
});

test("append-log keeps what earlier runs appended, past the first step", async (t) => {
  const file = join(tempDir(t), "log");
  assert.equal(outputOf(await run("append-log", file, "one", "two")), "one\ntwo\n");
  const long = "x".repeat(70_000);
  const output = outputOf(await run("append-log", file, long));
  assert.equal(output, `one\ntwo\n${long}\n`);
  assert.equal(readFileSync(file).readBigUInt64LE(0), BigInt(output.length));
});

test("residency shows a strip of the file with its counts", async (t) => {
  const file = join(tempDir(t), "data.bin");
  writeFileSync(file, Buffer.alloc(256 * 1024, 1));
  assert.match(outputOf(await run("residency", file, "16")), /^\[[#+.]{16}\] \d+ of \d+ pages/);
  assert.equal((await run("residency")).code, 2);
});

test("sorted-index finds a key among many, and none that is not there", async (t) => {
  const file = join(tempDir(t), "index.bin");
  const made = outputOf(await run("sorted-index", file, "make", "100000"));
  assert.equal(made, "100000 records in 1600000 bytes\n");
  assert.equal(outputOf(await run("sorted-index", file, "get", "299997")), `${99_999 ** 2}\n`);
  assert.equal(outputOf(await run("sorted-index", file, "get", "4")), "no such key\n");
});

test("scratch takes only the pages that are written, and gives them back", async () => {
  const lines = outputOf(await run("scratch"))
    .trim()
    .split("\n");
  assert.deepEqual(lines, [
    "1073741824 bytes mapped, 0 of the first 64 pages in memory",
    "after writing every other page: 32",
    "after discarding the first 32 pages: 16",
    "the first byte is 0 again",
  ]);
});

test("ex-mmap prints a page of a file, and pmap shows its row until a q comes", async (t) => {
  const file = join(tempDir(t), "message.txt");
  writeFileSync(file, "Hello, mapped world!\n");
  tried.add("ex-mmap.ts");
  const child = startScript(new URL("ex-mmap.js", compiled), [file]);
  const ended = once(child, "close");
  let output = "";
  for await (const chunk of child.stdout?.setEncoding("utf8") ?? []) {
    output += chunk;
    if (!/see `pmap/.test(output) || output.includes("unmapped")) continue;
    assert.match(output, /^Hello, mapped world!\nbehind the page: undefined\n/);
    assert.match(output, /no view there either: ERR_MEMMAP_UNSAFE_FIXED\n0x[0-9a-f]+ of process/);
    const pid = Number(/process (\d+)/.exec(output)?.[1]);
    const area = areasOf(pid).find(({ name }) => name === file);
    assert.equal(area?.permissions, "r--p");
    assert.equal(area.end - area.start, BigInt(pageSize));
    const pmap = spawnSync("pmap", [String(pid)], { encoding: "utf8" });
    if (pmap.error === undefined) {
      assert.match(pmap.stdout, new RegExp(` ${pageSize / 1024}K r---- message\\.txt`));
    }
    child.stdin?.end("wait\nq\n");
  }
  assert.deepEqual(await ended, [0, null]);
  assert.match(output, /\nunmapped\n$/);
});

test("ex-mmap ends cleanly behind a file of exactly a page", async (t) => {
  const file = join(tempDir(t), "message.txt");
  writeFileSync(file, "x".repeat(pageSize));
  const output = outputOf(await run("ex-mmap", file));
  assert.ok(output.startsWith(`${"x".repeat(pageSize)}\nbehind the page: undefined\n`));
});

test("ex-mmap prints the errno of a missing file, and of what cannot be mapped", async (t) => {
  const folder = tempDir(t);
  const missing = await run("ex-mmap", join(folder, "missing.txt"));
  assert.deepEqual([missing.code, missing.stdout], [1, ""]);
  assert.equal(missing.stderr, "error occurred in open(): 2 (ENOENT)\n");
  const other = await run("ex-mmap", folder);
  assert.deepEqual([other.code, other.stdout], [1, ""]);
  assert.equal(other.stderr, "error occurred in mmap(): 19 (ENODEV)\n");
});

test("shared-dataset saves memory, and no worker sees two versions at once", async () => {
  const [workers, mebibytes] = [3, 64];
  const output = outputOf(await run("shared-dataset", String(workers), String(mebibytes)));
  const rows = [...output.matchAll(/^.+? +[\d.]+ +([\d.]+) +(\d)$/gm)];
  const [copied = 0, shared = 0, both = 0, after = 0] = rows.map(([, pss]) => Number(pss));
  assert.ok(copied - shared >= (workers - 1) * mebibytes * 0.8, output);
  assert.ok(both - shared >= mebibytes * 0.8 && both - after >= mebibytes * 0.8, output);
  const objects = rows.map(([, , count]) => Number(count)); // The control block is one of them.
  assert.deepEqual(objects, [0, 2, 3, 2], output);

  const counts = /^(\d+) answers of version 1, (\d+) of version 2, none of a mixture$/m.exec(
    output,
  );
  const [first = 0, second = 0] = (counts ?? []).slice(1).map(Number);
  assert.equal(first + second, 301 * workers, output);
  // What was asked before a slow question of version 1, and after all had read version 2.
  assert.ok(first >= 101 * workers && second >= 100 * workers, output);
});

test("shared-dataset has a whole version, wherever its writer is killed", async (t) => {
  using block = SharedMemory.create({ byteLength: controlBytes });
  using mapping = block.map();
  const control = new Int32Array(mapping.buffer);
  // Versions that can be told apart by their length: each is as long as its number modulo 7.
  using first = SharedMemory.create({ byteLength: 1 });
  publish(control, first);
  const file = join(tempDir(t, fileURLToPath(compiled)), "writer.mjs");
  const code = `
    import { SharedMemory } from "memmap/ipc";
    import { publish } from ${JSON.stringify(new URL("shared-dataset/current.js", compiled))};
    const mapping = SharedMemory.attach(JSON.parse(process.argv[2])).map();
    const control = new Int32Array(mapping.buffer);
    const objects = Array.from({ length: 7 }, (_, i) => SharedMemory.create({ byteLength: i }));
    for (;;) publish(control, objects[(control[0] + 1) % 7]);`;
  writeFileSync(file, code);
  for (let kills = 0; kills < 3; kills += 1) {
    const before = Atomics.load(control, 0);
    const writer = startScript(file, [JSON.stringify(block.handle)]);
    const ended = once(writer, "exit");
    while (Atomics.load(control, 0) === before) await wait(control, 0, before);
    for (let reads = 0; reads < 100; reads += 1) {
      const { version, memory } = attachCurrent(control);
      assert.equal(memory.byteLength, version % 7);
      memory.close();
    }
    writer.kill("SIGKILL");
    await ended;
    const code = "ERR_MEMMAP_PEER_DIED"; // So the handle is whole, and is that of the writer.
    assert.throws(() => attachCurrent(control), { code });
  }
});

test("no-message shows that nobody is told of a store, and what it costs to look", async () => {
  const output = outputOf(await run("no-message", "8"));
  const [above = "", below = ""] = output.split("\n\n");
  const told = above.split("\n").slice(1);
  const rows = below.trimEnd().split("\n").slice(1);
  const written = told.pop();
  const silent = "C, through its mapping: 0 events of fs.watch; a wait was never woken";
  assert.deepEqual(told, noCompiler ? [] : [silent]);
  // A write by a call is told to those who watch, but not to those who wait.
  assert.match(written ?? "", /^fs\.writeSync: [1-9]\d* events .* a wait was never woken$/);
  assert.deepEqual(
    rows.map((row) => row.replace(/ {2,}.*/, "")),
    ["looks every 10 ms", "looks every 1 ms", "looks without pause", "waits, and is notified"],
  );
  for (const row of rows) assert.match(row, / {2}\d+\.\d\d ms( +\d+\.\d %){2}$/);
});

const whyNoCode = !["x64", "arm64"].includes(process.arch) && "needs machine code for this CPU";

test("machine-code runs what it wrote", { skip: whyNoCode }, async () => {
  assert.equal(outputOf(await run("machine-code")), "30 + 12 = 42\n");
  assert.equal(outputOf(await run("machine-code", "-5", "7")), "-5 + 7 = 2\n");
});

test("write-xor-execute runs code that no page may both hold and change", {
  skip: whyNoCode,
}, async () => {
  assert.deepEqual(
    outputOf(await run("write-xor-execute"))
      .trim()
      .split("\n"),
    ["written at rw-s, executed at r-xs", "30 + 12 = 42", "30 - 12 = 18"],
  );
});

test("every example was run, and none is longer than 60 lines, a part of one 80", () => {
  const names = readdirSync(sources, { recursive: true, encoding: "utf8" }).filter(
    (name) => extname(name) !== "",
  );
  const programs = names.filter((name) => dirname(name) === "." && extname(name) === ".ts");
  assert.deepEqual([...tried].sort(), programs.sort());
  for (const name of names) {
    const lines = readFileSync(join(sources, name), "utf8").trimEnd().split("\n");
    const limit = programs.includes(name) ? 60 : 80;
    assert.ok(lines.length <= limit, `${name} has ${lines.length} lines`);
  }
});
