// `memmap cat`, run as its users run it: into pipes, files and full devices, with readers that are
// slow, stop early, or shorten the file meanwhile.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  closeSync,
  constants,
  createReadStream,
  openSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { runtimeName } from "../helpers/runtime.js";
import { tempDir } from "../helpers/temp.js";
import { command, fillFile, finish, memmap, sparseFile, start } from "./command.js";

/** The size of the windows in which files are mapped. */
const window = 2 ** 28;

test("cat writes files one after the other, byte for byte", async (t) => {
  const cwd = tempDir(t);
  const bytes = Buffer.from(Array.from({ length: 70_000 }, (_, i) => (i * 31) % 256));
  writeFileSync(join(cwd, "a"), bytes);
  writeFileSync(join(cwd, "b"), "b");
  writeFileSync(join(cwd, "empty"), "");
  const { code, stdout, stderr } = await memmap(["cat", "a", "empty", "b", "a"], { cwd });
  assert.deepEqual([code, stderr], [0, ""]);
  assert.ok(stdout.equals(Buffer.concat([bytes, Buffer.from("b"), bytes])));
});

test("cat takes --offset and --length of each file, and clips at its end", async (t) => {
  const cwd = tempDir(t);
  writeFileSync(join(cwd, "a"), "0123456789");
  writeFileSync(join(cwd, "b"), "abcdefghij");
  const cases: readonly [args: readonly string[], output: string][] = [
    [["a", "b", "--offset", "2", "--length", "3"], "234cde"],
    [["a", "--offset=8"], "89"],
    [["a", "--offset", "8", "--length", "1T"], "89"],
    [["a", "--offset", "10"], ""],
    [["a", "--length", "0"], ""],
    [["--length", "4", "--", "a"], "0123"],
  ];
  for (const [args, output] of cases) {
    const { code, stdout, stderr } = await memmap(["cat", ...args], { cwd });
    assert.deepEqual([code, stdout.toString(), stderr], [0, output, ""], args.join(" "));
  }
});

test("cat refuses an offset past the end and names the length", async (t) => {
  const cwd = tempDir(t);
  writeFileSync(join(cwd, "a"), "0123456789");
  const { code, stdout, stderr } = await memmap(["cat", "a", "--offset", "11"], { cwd });
  assert.deepEqual([code, stdout.length], [6, 0]);
  assert.equal(stderr, 'memmap cat: cannot begin at byte 11 of "a": it has 10 bytes\n');
});

test("cat is right to the byte across windows and beyond 4 GiB", async (t) => {
  const cwd = tempDir(t);
  const marks = { [window - 2]: "edge", [2 ** 32 - 3]: "beyond", [5 * 2 ** 30 - 3]: "end" };
  sparseFile(join(cwd, "sparse"), 5 * 2 ** 30, marks);
  for (const [place, text] of Object.entries(marks)) {
    const part = ["--offset", place, "--length", String(text.length)];
    const { code, stdout } = await memmap(["cat", "sparse", ...part], { cwd });
    assert.deepEqual([code, stdout.toString()], [0, text]);
  }
  const cross = ["--offset", String(window - 2 ** 20), "--length", "2M"];
  const { stdout } = await memmap(["cat", "sparse", ...cross], { cwd });
  assert.deepEqual([stdout.length, stdout.indexOf("edge")], [2 ** 21, 2 ** 20 - 2]);
});

test("cat writes more than one window whole", async (t) => {
  const cwd = tempDir(t);
  const size = window + 12_345;
  sparseFile(join(cwd, "a"), size, { 0: "first", [window - 2]: "edge", [size - 4]: "last" });
  const child = start(["cat", "a"], { cwd });
  const hash = createHash("sha256");
  child.stdout?.on("data", (chunk: Buffer) => hash.update(chunk));
  const { code } = await finish(child);
  const wanted = createHash("sha256");
  for await (const chunk of createReadStream(join(cwd, "a"))) wanted.update(chunk as Buffer);
  assert.deepEqual([code, hash.digest("hex")], [0, wanted.digest("hex")]);
});

test("cat reads what cannot be mapped, and says so", async () => {
  const { code, stdout, stderr } = await memmap(["cat", "/proc/self/maps"]);
  assert.equal(code, 0);
  assert.match(stdout.toString(), /^[0-9a-f]+-[0-9a-f]+ r[-w][-x]p .*\n/);
  assert.match(stdout.toString(), /\[stack\]/);
  assert.match(stderr, /^memmap cat: "\/proc\/self\/maps" is read, not mapped: [^\n]+\n$/);
});

test("cat reads a part of what cannot be mapped", async () => {
  const whole = readFileSync("/proc/version");
  for (const [offset, length] of [
    [6, 7],
    [0, 5],
    [whole.length, 5],
    [2, 100_000],
  ] as const) {
    const part = ["--offset", String(offset), "--length", String(length)];
    const { code, stdout } = await memmap(["cat", "/proc/version", ...part]);
    assert.equal(code, 0);
    assert.equal(stdout.toString(), whole.subarray(offset, offset + length).toString());
  }
  const past = await memmap(["cat", "/proc/version", "--offset", String(whole.length + 1)]);
  assert.equal(past.code, 6);
  assert.match(past.stderr, /cannot begin at byte \d+ of "\/proc\/version"/);
});

test("cat reads the standard input and pipes", async (t) => {
  const input = "0123456789";
  const part = ["--offset", "2", "--length", "3"];
  const { code, stdout, stderr } = await memmap(["cat", "-", ...part], { input });
  assert.deepEqual([code, stdout.toString()], [0, "234"]);
  assert.match(stderr, /^memmap cat: the standard input is read, not mapped: [^\n]+\n$/);
  const past = await memmap(["cat", "-", "--offset", "11"], { input });
  assert.equal(past.code, 6);
  assert.match(past.stderr, /cannot begin at byte 11 of the standard input: it has 10 bytes/);

  const cwd = tempDir(t);
  spawnSync("mkfifo", [join(cwd, "pipe")]);
  const writer = spawn("sh", ["-c", "echo through > pipe"], { cwd, stdio: "ignore" });
  const through = await memmap(["cat", "pipe"], { cwd });
  writer.kill("SIGKILL");
  assert.deepEqual([through.code, through.stdout.toString()], [0, "through\n"]);
});

test("cat goes on behind a file that fails; its exit code says that it did a part", async (t) => {
  const cwd = tempDir(t);
  writeFileSync(join(cwd, "a"), "a");
  const { code, stdout, stderr } = await memmap(["cat", "a", "missing", ".", "a"], { cwd });
  assert.deepEqual([code, stdout.toString()], [5, "aa"]);
  assert.match(stderr, /^memmap cat: cannot open "missing": no such file or directory\n/);
  assert.match(stderr, /\nmemmap cat: cannot read "\.": it is a directory\n$/);
});

test("cat ends quietly when nobody reads any more", async (t) => {
  const cwd = tempDir(t);
  sparseFile(join(cwd, "a"), 2 ** 30, {});
  for (const args of [["a"], ["/dev/zero"]]) {
    const child = start(["cat", ...args], { cwd });
    child.stdout?.once("data", () => child.stdout?.destroy());
    const { code, signal, stderr } = await finish(child);
    assert.deepEqual([code, signal], [0, null]);
    assert.match(stderr, /^(?:memmap cat: "\/dev\/zero" is read, not mapped: it is a device\n)?$/);
  }
});

test("cat tells a full device", async (t) => {
  const cwd = tempDir(t);
  fillFile(join(cwd, "a"), 1);
  const full = openSync("/dev/full", "w");
  t.after(() => closeSync(full));
  const { code, stderr } = await memmap(["cat", "a", "missing"], { cwd, output: full });
  const message = "memmap cat: cannot write to standard output: no space left on the device\n";
  assert.deepEqual([code, stderr], [6, message]);
});

test("cat writes into a file, and refuses the file it reads", async (t) => {
  const cwd = tempDir(t);
  fillFile(join(cwd, "a"), 3);
  const copy = openSync(join(cwd, "copy"), "w");
  const own = openSync(join(cwd, "a"), "a");
  t.after(() => [copy, own].forEach(closeSync));
  assert.equal((await memmap(["cat", "a"], { cwd, output: copy })).code, 0);
  assert.ok(readFileSync(join(cwd, "copy")).equals(readFileSync(join(cwd, "a"))));
  const { code, stderr } = await memmap(["cat", "a"], { cwd, output: own });
  assert.deepEqual([code, stderr], [6, 'memmap cat: "a" is also the output\n']);
  assert.equal(statSync(join(cwd, "a")).size, 3 * 2 ** 20);
});

test("cat waits for a slow reader", async (t) => {
  const cwd = tempDir(t);
  fillFile(join(cwd, "a"), 4);
  const child = start(["cat", "a"], { cwd });
  let pauses = 0;
  child.stdout?.on("data", () => {
    if (pauses++ % 16 !== 0) return;
    child.stdout?.pause();
    setTimeout(() => child.stdout?.resume(), 5);
  });
  const { code, stdout, stderr } = await finish(child);
  assert.deepEqual([code, stderr], [0, ""]);
  assert.ok(stdout.equals(readFileSync(join(cwd, "a"))));
});

test("cat waits for a reader also where writes are set not to wait", async (t) => {
  const cwd = tempDir(t);
  const path = join(cwd, "pipe");
  fillFile(join(cwd, "a"), 2);
  spawnSync("mkfifo", [path]);
  // Open for both, so that neither end waits for the other to be opened.
  const end = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  const readEnd = openSync(path, "r");
  const reader = spawn("sh", ["-c", `sleep 0.2; head -c ${2 ** 21} | sha256sum`], {
    stdio: [readEnd, "pipe", "ignore"],
  });
  const readerEnded = new Promise((resolve) => reader.on("close", resolve));
  let sum = "";
  reader.stdout?.setEncoding("latin1").on("data", (text: string) => {
    sum += text;
  });
  // As descriptor 3, since starting a process makes the first three wait again.
  const child = spawn("sh", ["-c", 'exec "$@" >&3', "sh", ...command, "cat", "a"], {
    cwd,
    stdio: ["ignore", "ignore", "pipe", end],
  });
  const result = await finish(child);
  for (const fd of [end, readEnd]) closeSync(fd);
  await readerEnded;
  if (runtimeName === "deno" && result.code !== 0) {
    // Deno does not tell how far it came, so going on would write bytes twice.
    assert.match(
      result.stderr,
      /^memmap cat: cannot write to standard output: it is set not to wa/,
    );
    return;
  }
  assert.deepEqual([result.code, result.stderr], [0, ""]);
  const wanted = createHash("sha256")
    .update(readFileSync(join(cwd, "a")))
    .digest("hex");
  assert.equal(sum.split(" ")[0], wanted);
});

test("cat tells a file that is shortened meanwhile, and no signal ends it", async (t) => {
  const cwd = tempDir(t);
  for (const length of [0, 2 ** 20 + 1]) {
    fillFile(join(cwd, "a"), 16);
    const child = start(["cat", "a"], { cwd });
    // The pipe holds far less than the file: the rest is still to be written.
    child.stdout?.once("data", () => truncateSync(join(cwd, "a"), length));
    const { code, signal, stdout, stderr } = await finish(child);
    assert.deepEqual([code, signal], [6, null], stderr);
    assert.match(
      stderr,
      /^memmap cat: "a" was shortened while it was used: it had 16,777,216 bytes/,
    );
    assert.ok(stdout.length < 2 ** 24);
  }
});
