// `memmap copy`, run as its users run it, and caught in the middle: stopped processes, real
// signals, a real full disk. What is looked at afterwards is the folder: the old DST, the whole
// copy, or nothing, and never a temporary file.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { progressLine } from "#dist/cli/progress.js";
import { runtimeName } from "../helpers/runtime.js";
import { type Cleanup, needs, tempDir } from "../helpers/temp.js";
import {
  cannotRunOrdinary,
  command,
  fillFile,
  finish,
  leftovers,
  memmap,
  sparseFile,
  start,
  stopCopy,
} from "./command.js";

function read(path: string, place: number, length: number): string {
  const fd = openSync(path, "r");
  const bytes = Buffer.alloc(length);
  return bytes.toString("latin1", 0, readSync(fd, bytes, 0, length, place));
}

test("copy makes a whole copy without a word", async (t) => {
  const cwd = tempDir(t);
  const bytes = Buffer.from(Array.from({ length: 70_001 }, (_, i) => (i * 31) % 256));
  writeFileSync(join(cwd, "a"), bytes);
  writeFileSync(join(cwd, "one"), "1");
  writeFileSync(join(cwd, "empty"), "");
  for (const name of ["a", "one", "empty"]) {
    const { code, stdout, stderr } = await memmap(["copy", name, "copy"], { cwd });
    assert.deepEqual([code, stdout.length, stderr], [0, 0, ""]);
    assert.ok(readFileSync(join(cwd, "copy")).equals(readFileSync(join(cwd, name))), name);
  }
  assert.deepEqual(leftovers(cwd), []);
});

test("copy keeps holes, and is right to the byte beyond 4 GiB", async (t) => {
  const cwd = tempDir(t);
  const size = 5 * 2 ** 30 + 1;
  const marks = { 5: "a", [2 ** 28 - 2]: "edge", [2 ** 32 - 3]: "beyond", [size - 4]: "last" };
  sparseFile(join(cwd, "a"), size, marks);
  const { code, stderr } = await memmap(["copy", "a", "b"], { cwd });
  assert.deepEqual([code, stderr], [0, ""]);
  const [source, copy] = [statSync(join(cwd, "a")), statSync(join(cwd, "b"))];
  assert.equal(copy.size, size);
  for (const [place, text] of Object.entries(marks)) {
    assert.equal(read(join(cwd, "b"), Number(place), text.length), text);
  }
  if (source.blocks * 512 < 2 ** 20) assert.ok(copy.blocks <= source.blocks + 64, "holes stay");
});

test("copy of nothing but a hole is a hole", async (t) => {
  const cwd = tempDir(t);
  sparseFile(join(cwd, "a"), 5 * 2 ** 30, {});
  assert.equal((await memmap(["copy", "a", "b"], { cwd })).code, 0);
  assert.equal(statSync(join(cwd, "b")).size, 5 * 2 ** 30);
  assert.ok(statSync(join(cwd, "b")).blocks <= statSync(join(cwd, "a")).blocks + 64);
});

test("copy goes over windows of data without a gap", async (t) => {
  const cwd = tempDir(t);
  fillFile(join(cwd, "a"), 260);
  assert.equal((await memmap(["copy", "a", "b"], { cwd })).code, 0);
  assert.equal(spawnSync("cmp", ["a", "b"], { cwd }).status, 0);
});

test("copy gives a new file the permissions of SRC less the umask", async (t) => {
  const cwd = tempDir(t);
  writeFileSync(join(cwd, "a"), "a");
  chmodSync(join(cwd, "a"), 0o4757);
  const [file, ...before] = command;
  const line = ["-c", 'umask 027; exec "$@"', "sh", file, ...before, "copy", "a", "b"];
  assert.equal(spawnSync("sh", line, { cwd }).status, 0);
  assert.equal(statSync(join(cwd, "b")).mode & 0o7777, 0o750);
});

test("copy leaves an existing file its permissions and its owner", needs("root"), async (t) => {
  const cwd = tempDir(t);
  writeFileSync(join(cwd, "a"), "new");
  writeFileSync(join(cwd, "b"), "old");
  spawnSync("chown", ["65534:65534", join(cwd, "b")]);
  chmodSync(join(cwd, "b"), 0o604);
  assert.equal((await memmap(["copy", "a", "b"], { cwd })).code, 0);
  const { mode, uid, gid } = statSync(join(cwd, "b"));
  assert.deepEqual([mode & 0o7777, uid, gid], [0o604, 65_534, 65_534]);
  assert.equal(readFileSync(join(cwd, "b"), "utf8"), "new");
});

test("copy goes into a directory under the name of SRC, and follows links", async (t) => {
  const cwd = tempDir(t);
  writeFileSync(join(cwd, "a"), "new");
  writeFileSync(join(cwd, "old"), "old");
  mkdirSync(join(cwd, "folder"));
  symlinkSync("old", join(cwd, "link"));
  symlinkSync("../later", join(cwd, "folder/dangling"));
  for (const [dst, made] of [
    ["folder", "folder/a"],
    ["link", "old"],
    ["folder/dangling", "later"],
  ] as const) {
    const { code, stderr } = await memmap(["copy", "a", dst], { cwd });
    assert.deepEqual([code, stderr], [0, ""]);
    assert.equal(readFileSync(join(cwd, made), "utf8"), "new");
  }
  assert.ok(lstatSync(join(cwd, "link")).isSymbolicLink());
  assert.ok(lstatSync(join(cwd, "folder/dangling")).isSymbolicLink());
});

test("copy refuses to copy a file onto itself, by whatever name", async (t) => {
  const cwd = tempDir(t);
  writeFileSync(join(cwd, "a"), "a");
  linkSync(join(cwd, "a"), join(cwd, "hard"));
  symlinkSync("a", join(cwd, "soft"));
  for (const [src, dst] of [
    ["a", "a"],
    ["a", "hard"],
    ["a", "soft"],
    ["soft", "a"],
    ["a", "."],
  ] as const) {
    const { code, stderr } = await memmap(["copy", src, dst], { cwd });
    assert.equal(code, 6);
    assert.match(
      stderr,
      /^memmap copy: cannot copy "\w+" onto itself: "[^"]+" is the same file\n$/,
    );
  }
  assert.equal(readFileSync(join(cwd, "a"), "utf8"), "a");
});

test("copy refuses what is no place for a copy", async (t) => {
  const cwd = tempDir(t);
  writeFileSync(join(cwd, "a"), "a");
  mkdirSync(join(cwd, "folder/a"), { recursive: true });
  spawnSync("mkfifo", [join(cwd, "pipe")]);
  symlinkSync("loop", join(cwd, "loop"));
  const cases: readonly [dst: string, code: number, message: RegExp][] = [
    ["/dev/null", 6, /it is a device, not a regular file/],
    ["pipe", 6, /it is a pipe, not a regular file/],
    ["folder", 6, /"folder\/a": it is a directory/],
    ["loop", 6, /too many symbolic links/],
    ["new/", 3, /"new\/" is no directory/],
    ["no/file", 3, /cannot create a file in "no": no such file or directory/],
    ["a/b", 6, /a part of the path is no directory/],
    ["x".repeat(300), 6, /the name is too long/],
  ];
  for (const [dst, exit, message] of cases) {
    const { code, stderr } = await memmap(["copy", "a", dst], { cwd });
    assert.equal(code, exit, stderr);
    assert.match(stderr, /^memmap copy: [^\n]+\n$/);
    assert.match(stderr, message);
  }
  const folder = await memmap(["copy", "folder", "b"], { cwd });
  assert.equal(folder.stderr, 'memmap copy: cannot read "folder": it is a directory\n');
  assert.deepEqual(leftovers(cwd), []);
});

test("copy refuses a file it may not write, also in a folder it may write", async (t) => {
  const reason = await cannotRunOrdinary();
  if (reason !== false) return t.skip(reason);
  const cwd = tempDir(t);
  chmodSync(cwd, 0o777);
  writeFileSync(join(cwd, "a"), "a");
  writeFileSync(join(cwd, "b"), "b", { mode: 0o644 });
  mkdirSync(join(cwd, "closed"), { mode: 0o755 });
  for (const dst of ["b", "closed/b"]) {
    const { code, stderr } = await memmap(["copy", "a", dst], { cwd, ordinary: true });
    assert.equal(code, 4, stderr);
    assert.match(stderr, /permission denied\n$/);
  }
  assert.equal(readFileSync(join(cwd, "b"), "utf8"), "b");
});

test("copy reads what cannot be mapped, and says so", async (t) => {
  const cwd = tempDir(t);
  const { code, stderr } = await memmap(["copy", "/proc/version", "version"], { cwd });
  assert.equal(code, 0);
  assert.match(stderr, /^memmap copy: "\/proc\/version" is read, not mapped: [^\n]+\n$/);
  assert.ok(readFileSync(join(cwd, "version")).equals(readFileSync("/proc/version")));
  const pipe = 'head -c 3000000 /dev/zero | tr "\\0" x | "$@"';
  const line = ["-c", pipe, "sh", ...command, "copy", "/dev/stdin", "piped"];
  assert.equal(spawnSync("sh", line, { cwd }).status, 0);
  assert.equal(readFileSync(join(cwd, "piped"), "latin1"), "x".repeat(3_000_000));
});

// ==== In the middle ============================================================================

/**
 * Starts a copy of a large file, and does something to it while it stands still in the middle. A
 * copy that was too quick to be caught is tried again.
 */
async function disturb(
  t: Cleanup,
  act: (place: { cwd: string; pid: number }) => void,
): Promise<{ cwd: string; result: Awaited<ReturnType<typeof finish>> }> {
  for (let size = 128; size <= 2048; size *= 2) {
    const cwd = tempDir(t);
    fillFile(join(cwd, "a"), size);
    writeFileSync(join(cwd, "b"), "as before");
    const child = start(["copy", "a", "b"], { cwd });
    const ended = finish(child);
    const pid = await stopCopy(cwd, child);
    const [name = ""] = leftovers(cwd);
    const isEarly = pid !== undefined && statSync(join(cwd, name)).blocks * 512 < size * 2 ** 19;
    if (isEarly) act({ cwd, pid });
    if (pid !== undefined) process.kill(pid, "SIGCONT");
    const result = await ended;
    if (isEarly) return { cwd, result };
    rmSync(join(cwd, "a"));
  }
  throw new Error("no copy could be caught in the middle");
}

function assertAsBefore(cwd: string): void {
  assert.deepEqual(leftovers(cwd), []);
  assert.equal(readFileSync(join(cwd, "b"), "utf8"), "as before");
}

for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  test(`copy ends by ${name} in the middle with everything as before`, async (t) => {
    const { cwd, result } = await disturb(t, ({ pid }) => process.kill(pid, name));
    assert.deepEqual([result.code, result.signal, result.stderr], [null, name, ""]);
    assertAsBefore(cwd);
  });
}

test("copy tells a source that vanishes in the middle", async (t) => {
  const { cwd, result } = await disturb(t, (place) => rmSync(join(place.cwd, "a")));
  assert.equal(result.code, 6);
  assert.equal(result.stderr, 'memmap copy: "a" vanished: it was removed while it was used\n');
  assertAsBefore(cwd);
});

for (const length of [0, 2 ** 27 - 1]) {
  test(`copy tells a source that is shortened to ${length} bytes in the middle`, async (t) => {
    const { cwd, result } = await disturb(t, (place) => truncateSync(join(place.cwd, "a"), length));
    assert.deepEqual([result.code, result.signal], [6, null]);
    assert.match(result.stderr, /^memmap copy: "a" was shortened while it was used: [^\n]+\n$/);
    assertAsBefore(cwd);
  });
}

test("copy never shows a half-written file, even when it is killed", async (t) => {
  const { cwd, result } = await disturb(t, ({ pid }) => process.kill(pid, "SIGKILL"));
  assert.equal(result.signal, "SIGKILL");
  assert.equal(readFileSync(join(cwd, "b"), "utf8"), "as before");
});

test("copy tells a full disk and leaves everything as before", needs("root"), async (t) => {
  const cwd = tempDir(t);
  const disk = join(cwd, "disk");
  mkdirSync(disk);
  const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=4m", "memmap-test", disk]);
  if (mounted.status !== 0) return t.skip("needs the right to mount a tmpfs");
  try {
    fillFile(join(cwd, "a"), 16);
    writeFileSync(join(disk, "b"), "as before");
    for (const dst of ["disk/b", "disk/new"]) {
      const { code, stderr } = await memmap(["copy", "a", dst], { cwd });
      const message = `memmap copy: cannot write "${dst}": no space left on the device\n`;
      assert.deepEqual([code, stderr], [6, message]);
    }
    assert.deepEqual(readdirSync(disk), ["b"]);
    assertAsBefore(disk);
  } finally {
    spawnSync("umount", [disk]);
  }
});

test("copy tells a file that passes the limit of sizes, and cleans up", async (t) => {
  const cwd = tempDir(t);
  // A limit far above what the runtime may write for itself.
  fillFile(join(cwd, "a"), 64);
  const [file, ...before] = command;
  const line = ["-c", 'ulimit -f 65536; exec "$@"', "sh", file, ...before, "copy", "a", "b"];
  const { status, signal, stderr } = spawnSync("sh", line, { cwd, encoding: "utf8" });
  assert.equal(stderr, 'memmap copy: cannot write "b": the file would become too large\n');
  // Deno may act on the signal after all, when it has told the error and exits.
  if (runtimeName !== "deno" || status !== null) assert.equal(status, 6);
  else assert.equal(signal, "SIGXFSZ");
  assert.deepEqual(readdirSync(cwd), ["a"]);
});

// ==== Progress =================================================================================

test("progress tells percent, sizes, speed and the time left", () => {
  const state = { done: 3 * 2 ** 28, total: 2 ** 30, moved: 3 * 2 ** 28, elapsedMs: 3000 };
  assert.equal(progressLine(state), " 75%  768.0 MiB of 1.0 GiB  256.0 MiB/s  ETA 0:01");
  const none = { done: 0, total: 2 ** 30, moved: 0, elapsedMs: 1000 };
  assert.equal(progressLine(none), "  0%  0 bytes of 1.0 GiB  0.0 MiB/s  ETA ?");
  const whole = { done: 2 ** 30, total: 2 ** 30, moved: 2 ** 29, elapsedMs: 1000 };
  const line = "100%  1.0 GiB of 1.0 GiB  512.0 MiB/s  bringing it to storage";
  assert.equal(progressLine(whole), line);
});

/** Copies on a terminal, held up for a second in the middle; undefined when it did not go on. */
async function copyOnTerminal(
  cwd: string,
): Promise<Awaited<ReturnType<typeof finish>> | undefined> {
  const quoted = [...command, "copy", "a", "b"].map((word) => `'${word}'`).join(" ");
  const child = spawn("script", ["-qec", quoted, "/dev/null"], { cwd, stdio: "pipe" });
  const ended = finish(child);
  const pid = await stopCopy(cwd, child);
  if (pid === undefined) return undefined;
  await new Promise((resolve) => setTimeout(resolve, 1200));
  const waking = setInterval(() => wake([child.pid, pid]), 50);
  const limit = setTimeout(() => {
    process.kill(pid, "SIGKILL");
    child.kill("SIGKILL");
  }, 8000);
  const result = await ended;
  clearInterval(waking);
  clearTimeout(limit);
  return result.code === 0 ? result : undefined;
}

/** Lets stopped processes go on; those that have ended meanwhile are left alone. */
function wake(pids: readonly (number | undefined)[]): void {
  for (const pid of pids) {
    try {
      if (pid !== undefined) process.kill(pid, "SIGCONT");
    } catch {
      // It has ended.
    }
  }
}

test("copy shows its progress on a terminal when it lasts, and takes it away", async (t) => {
  if (spawnSync("script", ["--version"]).status !== 0) return t.skip("needs script(1)");
  const cwd = tempDir(t);
  fillFile(join(cwd, "a"), 128);
  // script(1) stands still with what it runs, and does not always notice that it should go on.
  let shown = await copyOnTerminal(cwd);
  for (let tries = 1; shown === undefined && tries < 5; tries += 1)
    shown = await copyOnTerminal(cwd);
  assert.ok(shown !== undefined, "a copy on a terminal ended");
  const { code, stdout } = shown;
  assert.equal(code, 0);
  assert.ok(existsSync(join(cwd, "b")));
  const text = stdout.toString();
  const line = /^\r *\d+% {2}[\d.]+ \w+ of 128\.0 MiB {2}[\d.]+ MiB\/s {2}(?:ETA [\d:?]+|bringing)/;
  assert.match(text, line);
  assert.ok(text.endsWith("\r\u001b[K"), JSON.stringify(text));
});
