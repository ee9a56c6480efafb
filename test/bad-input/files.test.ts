// Sources that cannot be mapped: missing, of the wrong kind, without permission, or opened in a way
// that contradicts the protection. Each is a SystemError in Node's shape, and none blocks.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { constants as system } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { type MapFileOptions, MemmapError, mapFile, mapFileSync, SystemError } from "memmap";
import { fails, wrongValue } from "../helpers/bad-calls.js";
import { runSource } from "../helpers/child.js";
import { limitedOutput, ordinaryUid } from "../helpers/ordinary-user.js";
import { type Cleanup, needs, tempDir } from "../helpers/temp.js";

const writable = { protection: "read-write" } as const;

function makeFile(t: Cleanup): string {
  const path = join(tempDir(t), "data.bin");
  writeFileSync(path, "content");
  return path;
}

interface Failure {
  readonly code: string;
  readonly syscall: string;
  readonly path?: string;
}

/** Demands one SystemError, in Node's shape, of both ways to map. */
async function systemFails(
  source: string | number,
  options: MapFileOptions,
  expected: Failure,
): Promise<void> {
  const check = (error: unknown): true => {
    assert.ok(error instanceof SystemError, String(error));
    assert.ok(error instanceof MemmapError);
    const { code, syscall, path, errno, name, message } = error;
    assert.deepEqual({ code, syscall, path }, { path: undefined, ...expected }, message);
    assert.equal(name, "SystemError");
    const numbers: Readonly<Record<string, number>> = system.errno;
    assert.equal(errno, -(numbers[expected.code] ?? 0), "errno is the negative number");
    assert.ok(message.startsWith(`${code}: `) && message.endsWith(`, ${syscall}`), message);
    return true;
  };
  assert.throws(() => mapFileSync(source, options), check);
  const promise = mapFile(source, options);
  await assert.rejects(promise, check);
}

test("a missing file and a missing folder are ENOENT", async (t) => {
  const folder = tempDir(t);
  const path = join(folder, "missing");
  await systemFails(path, {}, { code: "ENOENT", syscall: "open", path });
  await systemFails(path, writable, { code: "ENOENT", syscall: "open", path });
  await systemFails(path, { grow: true, length: 1 }, { code: "ENOENT", syscall: "open", path });
  const deep = join(path, "file");
  await systemFails(deep, { create: true }, { code: "ENOENT", syscall: "open", path: deep });
  assert.equal(existsSync(path), false);
  await systemFails("", {}, { code: "ENOENT", syscall: "open", path: "" });
});

test("paths that lead nowhere are the kernel's errors", async (t) => {
  const file = makeFile(t);
  const below = join(file, "x");
  await systemFails(below, {}, { code: "ENOTDIR", syscall: "open", path: below });
  const long = join(tempDir(t), "a".repeat(300));
  await systemFails(long, {}, { code: "ENAMETOOLONG", syscall: "open", path: long });
  const loop = join(tempDir(t), "loop");
  symlinkSync("loop", loop);
  await systemFails(loop, {}, { code: "ELOOP", syscall: "open", path: loop });
});

test("a folder is refused for reading, for writing, and as a descriptor", async (t) => {
  const path = join(tempDir(t), "folder");
  mkdirSync(path);
  await systemFails(path, {}, { code: "ENODEV", syscall: "mmap", path });
  await systemFails(path, { length: 0 }, { code: "ENODEV", syscall: "mmap", path });
  await systemFails(path, writable, { code: "EISDIR", syscall: "open", path });
  const fd = openSync(path, "r");
  t.after(() => closeSync(fd));
  await systemFails(fd, {}, { code: "ENODEV", syscall: "mmap" });
});

test("a named pipe is refused at once, with and without a writer", async (t) => {
  const path = join(tempDir(t), "pipe");
  if (spawnSync("mkfifo", [path]).status !== 0) return t.skip("no mkfifo");
  const code = `
    import { mapFile, mapFileSync } from "memmap";
    const path = process.argv[2];
    const tell = (error) => console.log(error.name, error.code, error.syscall);
    for (const options of [{}, { length: 10 }, { protection: "read-write" }]) {
      try { mapFileSync(path, options); } catch (error) { tell(error); }
      await mapFile(path, options).catch(tell);
    }
    const options = { grow: true, length: 10 };
    try { mapFileSync(path, options); } catch (error) { console.log(error.name); }`;
  const { signal, stdout, stderr } = await runSource(code, [path], { timeoutMs: 20_000 });
  assert.equal(signal, null, "it hung");
  assert.equal(stderr, "");
  assert.equal(stdout, `${"SystemError ENODEV mmap\n".repeat(6)}SystemError\n`);
});

test("a socket and the ends of a pipe are refused", async (t) => {
  const path = join(tempDir(t), "socket");
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(path, resolve));
  await systemFails(path, {}, { code: "ENXIO", syscall: "open", path });
  await new Promise((resolve) => server.close(resolve));
  const code = `
    import { mapFileSync } from "memmap";
    for (const fd of [0, 1]) {
      try { mapFileSync(fd, { length: 10 }); } catch (error) {
        console.error(error.name, error.syscall, error.code);
      }
    }`;
  const { stderr } = await runSource(code);
  assert.match(stderr, /^(SystemError mmap (ENODEV|EACCES)\n){2}$/);
});

test("devices and kernel files that cannot be mapped are ENODEV, EIO or EACCES", () => {
  for (const [path, options] of [
    ["/dev/null", { length: 4096 }],
    ["/dev/tty", { length: 4096 }],
    ["/proc/self/maps", {}],
    ["/proc/self/maps", { length: 0 }],
    ["/sys/kernel/mm/transparent_hugepage/enabled", {}],
  ] as const) {
    assert.throws(
      () => mapFileSync(path, options),
      (error) => {
        assert.ok(error instanceof SystemError);
        assert.match(error.code, /^(ENODEV|EIO|EACCES|ENXIO)$/, `${path}: ${error.message}`);
        return true;
      },
    );
  }
});

test("a descriptor that is not open, or opened for nothing, is EBADF", async (t) => {
  const path = makeFile(t);
  const fd = openSync(path, "r");
  closeSync(fd);
  await systemFails(2 ** 31 - 1, {}, { code: "EBADF", syscall: "fstat" });
  await systemFails(999_999, { length: 0 }, { code: "EBADF", syscall: "fstat" });
  const nothing = openSync(path, 0o10000000); // O_PATH, which node:fs has no name for
  t.after(() => closeSync(nothing));
  await systemFails(nothing, {}, { code: "EBADF", syscall: "mmap" });
});

test("a descriptor opened for reading gives private writing and no shared one", async (t) => {
  const fd = openSync(makeFile(t), "r");
  t.after(() => closeSync(fd));
  await systemFails(fd, writable, { code: "EACCES", syscall: "mmap" });
  using own = mapFileSync(fd, { ...writable, sharing: "private" });
  own.bytes[0] = 1;
  using shared = mapFileSync(fd);
  assert.throws(() => shared.protect("read-write"), { code: "EACCES", syscall: "mprotect" });
});

test("a descriptor opened for writing only gives no mapping at all", async (t) => {
  const fd = openSync(makeFile(t), constants.O_WRONLY);
  t.after(() => closeSync(fd));
  for (const protection of ["none", "read", "read-write"] as const) {
    for (const sharing of ["shared", "private"] as const) {
      await systemFails(fd, { protection, sharing }, { code: "EACCES", syscall: "mmap" });
    }
  }
});

test("a file cannot be made or made longer through a descriptor that forbids it", async (t) => {
  const path = makeFile(t);
  const fd = openSync(path, "r");
  t.after(() => closeSync(fd));
  await fails(() => mapFileSync(fd, { create: true }), wrongValue);
  await systemFails(fd, { grow: true, length: 100 }, { code: "EBADF", syscall: "fallocate" });
  assert.equal(readFileSync(path, "utf8"), "content");
});

test("a program that runs cannot be mapped for shared writing", async (t) => {
  const path = join(tempDir(t), "program");
  copyFileSync("/bin/sleep", path);
  const child = spawn(path, ["60"]);
  t.after(() => child.kill());
  await once(child, "spawn");
  await systemFails(path, writable, { code: "ETXTBSY", syscall: "open", path });
  using own = mapFileSync(path, { ...writable, sharing: "private" });
  assert.equal(Buffer.from(own.bytes.subarray(1, 4)).toString(), "ELF");
});

test("a file without permission is EACCES for an ordinary user", needs("root"), async (t) => {
  const folder = tempDir(t);
  chmodSync(folder, 0o755);
  const paths = ["unreadable", "unwritable"].map((name) => join(folder, name));
  for (const path of paths) writeFileSync(path, "content");
  chmodSync(paths[0] ?? "", 0o600);
  chmodSync(paths[1] ?? "", 0o644);
  const output = await limitedOutput(
    `dropRights();
    const [unreadable, unwritable] = process.argv.slice(2);
    const writable = { protection: "read-write" };
    console.log(failure(() => mapFileSync(unreadable)));
    console.log(await mapFile(unreadable).catch((error) => error.code));
    console.log(failure(() => mapFileSync(unwritable, writable)));
    console.log(failure(() => mapFileSync(unwritable, { grow: true, length: 100 })));
    console.log(failure(() => mapFileSync(unwritable + ".new", { create: true })));
    const own = mapFileSync(unwritable, { ...writable, sharing: "private" });
    own.bytes[0] = 1;
    console.log(Buffer.from(own.bytes).toString().slice(1));`,
    paths,
  );
  const lines = output.trimEnd().split("\n");
  const refusal = /^SystemError \| EACCES \| open \| /;
  assert.equal(lines.length, 6);
  for (const index of [0, 2, 3, 4]) assert.match(lines[index] ?? "", refusal);
  assert.deepEqual([lines[1], lines[5]], ["EACCES", "ontent"]);
  assert.equal(readFileSync(paths[1] ?? "", "utf8"), "content");
});

test(
  "an owner who may not read a file may not map it for writing either",
  needs("root"),
  async (t) => {
    const path = makeFile(t);
    chownSync(path, ordinaryUid, ordinaryUid);
    chmodSync(path, 0o200);
    chmodSync(join(path, ".."), 0o755);
    const output = await limitedOutput(
      `dropRights();
    console.log(failure(() => mapFileSync(process.argv[2], { protection: "read-write" })));
    const fd = fs.openSync(process.argv[2], fs.constants.O_WRONLY);
    console.log(failure(() => mapFileSync(fd, { protection: "read-write" })));`,
      [path],
    );
    assert.match(output, /^SystemError \| EACCES \| open .*\nSystemError \| EACCES \| mmap /);
  },
);
