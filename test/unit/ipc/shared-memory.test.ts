// src/ipc/shared-memory.ts: objects that are made, mapped, named to others, grown and let go. What
// there is is asked of the kernel: /dev/shm, /proc/self/fd, seals, another process.

import assert from "node:assert/strict";
import {
  existsSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  truncateSync,
} from "node:fs";
import test from "node:test";
import { Worker } from "node:worker_threads";
import { FaultError, MemmapError, pageSize, SystemError } from "memmap";
import { SharedMemory, type SharedMemoryHandle } from "memmap/ipc";
import { F_SEAL_SEAL, F_SEAL_SHRINK, get_seals } from "memmap/raw";
import { runSource } from "../../helpers/child.js";
import { limitedOutput } from "../../helpers/ordinary-user.js";
import { runtimeName } from "../../helpers/runtime.js";
import { needs } from "../../helpers/temp.js";

let names = 0;

/** A name that nobody else has. */
function newName(): string {
  names += 1;
  return `memmap-test-ipc-${process.pid}-${names}`;
}

/** The descriptor behind an object, which its handle names. */
function descriptorOf(memory: SharedMemory): number {
  return memory.handle.fd;
}

/** What JSON makes of a handle. */
function sent(handle: SharedMemoryHandle): SharedMemoryHandle {
  return JSON.parse(JSON.stringify(handle));
}

test("an object without a name is zeros, and shared by all its mappings", () => {
  using memory = SharedMemory.create({ byteLength: 3 * pageSize + 5 });
  using one = memory.map();
  using two = memory.map({ protection: "read" });
  assert.equal(memory.byteLength, 3 * pageSize + 5);
  assert.deepEqual(
    [one.byteLength, one.backing, one.sharing],
    [3 * pageSize + 5, "anonymous", "shared"],
  );
  assert.ok(one.bytes.every((byte) => byte === 0));
  one.bytes[3 * pageSize + 4] = 9;
  assert.equal(two.bytes[3 * pageSize + 4], 9);
});

test("an object without a name cannot be made shorter, and takes no other seals", () => {
  using memory = SharedMemory.create({ byteLength: pageSize });
  const path = `/proc/self/fd/${descriptorOf(memory)}`;
  assert.equal(get_seals(descriptorOf(memory)), F_SEAL_SHRINK | F_SEAL_SEAL);
  assert.throws(() => truncateSync(path, 0), { code: "EPERM" });
  using open = SharedMemory.create({ byteLength: pageSize, sealed: false });
  assert.equal(get_seals(descriptorOf(open)), F_SEAL_SEAL);
  truncateSync(`/proc/self/fd/${descriptorOf(open)}`, 0);
  assert.equal(open.byteLength, 0);
});

test("a range of an object is mapped by offset and length", () => {
  using memory = SharedMemory.create({ byteLength: 10 * pageSize });
  using whole = memory.map();
  using part = memory.map({ offset: pageSize + 1, length: 10 });
  part.bytes.fill(3);
  assert.deepEqual([...whole.read(pageSize, 12)], [0, ...new Array(10).fill(3), 0]);
  assert.throws(() => memory.map({ offset: 10 * pageSize, length: 1 }), {
    code: "ERR_OUT_OF_RANGE",
    message: /of the shared memory:/,
  });
});

test("an object grows for everybody, and mappings show it after resize()", () => {
  using memory = SharedMemory.create({ byteLength: 10 });
  using other = SharedMemory.attach(sent(memory.handle));
  using mapping = memory.map();
  other.grow(2 * pageSize);
  assert.equal(memory.byteLength, 2 * pageSize);
  mapping.resize(2 * pageSize);
  mapping.bytes[2 * pageSize - 1] = 1;
  assert.equal(other.map().bytes[2 * pageSize - 1], 1);
  assert.throws(() => memory.grow(10), { code: "ERR_OUT_OF_RANGE" });
  memory.grow(2 * pageSize);
  assert.equal(memory.byteLength, 2 * pageSize);
});

test("an empty object maps to empty bytes, and can grow", () => {
  using memory = SharedMemory.create({ byteLength: 0 });
  using mapping = memory.map();
  assert.equal(mapping.bytes.length, 0);
  memory.grow(1);
  assert.equal(memory.map().byteLength, 1);
});

test("a named object that /dev/shm has no room for is ENOSPC, and nothing is left", () => {
  const name = newName();
  const before = readdirSync("/proc/self/fd").length;
  assert.throws(
    () => SharedMemory.create({ byteLength: 2 ** 50, name }),
    (error) => error instanceof SystemError && /^(ENOSPC|ENOMEM|EFBIG)$/.test(error.code),
  );
  assert.ok(readdirSync("/proc/self/fd").length <= before);
  assert.ok(!existsSync(`/dev/shm/${name}`));
  using small = SharedMemory.create({ byteLength: 8, name });
  assert.throws(
    () => small.grow(2 ** 50),
    (error) => error instanceof SystemError,
  );
  assert.equal(small.byteLength, 8);
});

test("a named object is opened by its name, and the name goes with its last holder", () => {
  const name = newName();
  const made = SharedMemory.create({ byteLength: 100, name: `/${name}`, mode: 0o640 });
  const opened = SharedMemory.open(name);
  assert.deepEqual([made.name, opened.name], [name, name]);
  assert.equal(statSync(`/dev/shm/${name}`).mode & 0o777, 0o640);
  using mapping = made.map();
  assert.deepEqual([mapping.backing, mapping.path], ["file", `/dev/shm/${name}`]);
  mapping.bytes[99] = 5;
  assert.equal(opened.map().bytes[99], 5);
  made.close();
  assert.ok(existsSync(`/dev/shm/${name}`), "somebody holds it");
  opened.close();
  assert.ok(!existsSync(`/dev/shm/${name}`), "nobody holds it");
  assert.equal(mapping.bytes[99], 5, "a mapping lives by itself");
});

test("a persistent name stays, until it is unlinked", () => {
  const name = newName();
  SharedMemory.create({ byteLength: 8, name, persistent: true }).close();
  assert.ok(existsSync(`/dev/shm/${name}`));
  using again = SharedMemory.open(name);
  SharedMemory.unlink(name);
  assert.equal(again.byteLength, 8);
  assert.throws(() => SharedMemory.open(name), { code: "ENOENT" });
  assert.throws(() => SharedMemory.unlink(name), { code: "ENOENT" });
});

test("an object that another program made is opened, and never removed", () => {
  const name = newName();
  SharedMemory.create({ byteLength: 8, name, persistent: true }).close(); // As plain shm_open does.
  const { mode } = statSync(`/dev/shm/${name}`);
  assert.equal(mode & 0o7000, 0, "nothing marks it");
  SharedMemory.open(name).close();
  assert.ok(existsSync(`/dev/shm/${name}`));
  SharedMemory.unlink(name);
});

test("create refuses a name that is held, and openOrCreate opens it", () => {
  const name = newName();
  using first = SharedMemory.openOrCreate({ byteLength: 16, name });
  assert.throws(() => SharedMemory.create({ byteLength: 8, name }), { code: "EEXIST" });
  using second = SharedMemory.openOrCreate({ byteLength: 8, name });
  assert.equal(second.byteLength, 16);
  first.map().bytes[0] = 1;
  assert.equal(second.map().bytes[0], 1);
});

test("what a killed process leaves is nobody's: it is not found, and made anew", async () => {
  for (const next of ["open", "create", "openOrCreate"] as const) {
    const name = newName();
    const { signal } = await runSource(`
      import { SharedMemory } from "memmap/ipc";
      globalThis.kept = SharedMemory.create({ byteLength: 4096, name: ${JSON.stringify(name)} });
      kept.map().bytes[0] = 1;
      process.kill(process.pid, "SIGKILL");`);
    assert.equal(signal, "SIGKILL");
    assert.ok(existsSync(`/dev/shm/${name}`), "a kill leaves the name");
    if (next === "open") {
      assert.throws(() => SharedMemory.open(name), { code: "ENOENT" });
    } else {
      using memory = SharedMemory[next]({ byteLength: 8, name });
      assert.deepEqual([...memory.map().bytes], new Array(8).fill(0));
    }
    assert.ok(!existsSync(`/dev/shm/${name}`), next);
  }
});

test("of many that open or create one name, all get the same object", async () => {
  const name = JSON.stringify(newName());
  const code = `
    import { SharedMemory } from "memmap/ipc";
    const memory = SharedMemory.openOrCreate({ byteLength: 64, name: ${name} });
    const counter = new Int32Array(memory.map().buffer, 0, 1);
    Atomics.add(counter, 0, 1);
    while (Atomics.load(counter, 0) < 4) await new Promise((resolve) => setTimeout(resolve, 5));
    console.log(memory.handle.inode);
    memory.close();`;
  const runs = await Promise.all(Array.from({ length: 4 }, () => runSource(code)));
  assert.equal(new Set(runs.map(({ stdout }) => stdout)).size, 1, JSON.stringify(runs));
  assert.match(runs[0]?.stdout ?? "", /^\d+\n$/);
});

test("a handle attaches in another process, through an environment variable", async () => {
  using memory = SharedMemory.create({ byteLength: pageSize });
  using mapping = memory.map();
  mapping.bytes[1] = 7;
  const { stdout, code } = await runSource(
    `import { SharedMemory } from "memmap/ipc";
     const memory = SharedMemory.attach(JSON.parse(process.env.HANDLE));
     const { bytes } = memory.map();
     bytes[0] = bytes[1] + 1;
     console.log(memory.byteLength);`,
    [],
    { env: { HANDLE: JSON.stringify(memory.handle) } },
  );
  assert.deepEqual([stdout.trim(), code], [String(pageSize), 0]);
  assert.equal(mapping.bytes[0], 8);
});

const noInheritance =
  runtimeName === "deno" && "Deno passes no descriptor on that it does not know";

test("a child that inherits the descriptor attaches when its parent has gone", {
  skip: noInheritance,
}, async () => {
  const code = `
    import { spawn } from "node:child_process";
    import { fileURLToPath } from "node:url";
    import { SharedMemory } from "memmap/ipc";
    const { HANDLE } = process.env;
    if (HANDLE === undefined) {
      const memory = SharedMemory.create({ byteLength: 8 });
      memory.map().bytes[0] = 7;
      const env = { ...process.env, HANDLE: JSON.stringify(memory.handle) };
      const stdio = ["ignore", "inherit", "inherit", memory.handle.fd];
      spawn(process.execPath, [fileURLToPath(import.meta.url)], { env, stdio }).unref();
      process.exit(0);
    }
    const { pid } = JSON.parse(HANDLE);
    const isAlive = () => { try { return process.kill(pid, 0); } catch { return false; } };
    while (isAlive() && process.ppid === pid) await new Promise((done) => setTimeout(done, 2));
    console.log(SharedMemory.attach(JSON.parse(HANDLE)).map().bytes[0]);`;
  const { stdout, stderr } = await runSource(code);
  assert.deepEqual([stdout, stderr], ["7\n", ""]);
});

test("a handle attaches in a worker, by postMessage", async () => {
  using memory = SharedMemory.create({ byteLength: 8 });
  const url = new URL(import.meta.resolve("memmap/ipc"));
  const worker = new Worker(
    `const { workerData, parentPort } = require("node:worker_threads");
     import(${JSON.stringify(url.href)}).then(({ SharedMemory }) => {
       const memory = SharedMemory.attach(workerData);
       memory.map().bytes[0] = 6;
       parentPort.postMessage("done");
     });`,
    { eval: true, workerData: memory.handle },
  );
  await new Promise((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
  });
  await worker.terminate();
  assert.equal(memory.map().bytes[0], 6);
});

test("a handle of what is closed, of the dead, or changed on its way is an error", async () => {
  const memory = SharedMemory.create({ byteLength: 8 });
  const { handle } = memory;
  assert.throws(() => SharedMemory.attach({ ...handle, inode: "1" }), {
    code: "ERR_MEMMAP_CLOSED",
  });
  assert.throws(() => SharedMemory.attach({ ...handle, pid: 0 }), { code: "ERR_OUT_OF_RANGE" });
  assert.throws(() => SharedMemory.attach({ ...handle, startTime: "1" }), {
    code: "ERR_MEMMAP_PEER_DIED",
  });
  assert.throws(() => SharedMemory.attach({ ...handle, sharedMemory: 99 }), {
    code: "ERR_MEMMAP_VERSION",
  });
  for (const field of ["pid", "startTime", "fd", "device", "inode", "name"] as const) {
    assert.throws(
      () => Reflect.apply(SharedMemory.attach, SharedMemory, [{ ...handle, [field]: {} }]),
      TypeError,
    );
  }
  for (const value of [null, undefined, 1, "x", {}, []]) {
    assert.throws(() => Reflect.apply(SharedMemory.attach, SharedMemory, [value]), TypeError);
  }
  memory.close();
  assert.throws(() => SharedMemory.attach(handle), { code: "ERR_MEMMAP_CLOSED" });
});

test("another user can neither open nor attach what is not permitted", needs("root"), async () => {
  const name = newName();
  using named = SharedMemory.create({ byteLength: 8, name, mode: 0o600 });
  using plain = SharedMemory.create({ byteLength: 8 });
  using readable = SharedMemory.create({ byteLength: 8, name: newName(), mode: 0o644 });
  const output = await limitedOutput(`
    import { SharedMemory } from "memmap/ipc";
    dropRights();
    console.log(failure(() => SharedMemory.open(${JSON.stringify(name)})));
    console.log(failure(() => SharedMemory.attach(${JSON.stringify(plain.handle)})));
    const readable = SharedMemory.open(${JSON.stringify(readable.name)});
    console.log(readable.map().protection);
    console.log(failure(() => readable.grow(4096)));
    console.log(failure(() => readable.map({ protection: "read-write" })));`);
  const lines = output.trim().split("\n");
  assert.match(lines[0] ?? "", /^SystemError \| EACCES \| shm_open/);
  assert.match(lines[1] ?? "", /^SystemError \| (EACCES|EPERM) \| open/);
  assert.equal(lines[2], "read");
  assert.match(lines[3] ?? "", /^MemmapError \| ERR_MEMMAP_READ_ONLY/);
  assert.match(lines[4] ?? "", /EACCES/);
  assert.equal(named.byteLength, 8);
});

test("a peer that shortens a named object leaves zeros and a FaultError, not a signal", () => {
  const name = newName();
  using memory = SharedMemory.create({ byteLength: 2 * pageSize, name });
  using mapping = memory.map({ faults: "collect" });
  mapping.bytes.fill(1);
  truncateSync(`/dev/shm/${name}`, pageSize);
  assert.equal(mapping.bytes[pageSize], 0);
  assert.throws(
    () => mapping.check(),
    (error) => error instanceof FaultError && error.reason === "truncated",
  );
});

test("close lets go of the descriptor, and all else throws afterwards", () => {
  const memory = SharedMemory.create({ byteLength: 8 });
  const fd = descriptorOf(memory);
  assert.match(readlinkSync(`/proc/self/fd/${fd}`), /memmap:shared/);
  memory.close();
  memory.close();
  assert.equal(memory.closed, true);
  assert.equal(memory.byteLength, 0);
  const objects = readdirSync("/proc/self/fd").map((entry) => {
    try {
      return readlinkSync(`/proc/self/fd/${entry}`);
    } catch {
      return "";
    }
  });
  assert.ok(!objects.some((target) => target.includes("memmap:shared")), objects.join("\n"));
  for (const call of [() => memory.map(), () => memory.grow(9), () => memory.handle]) {
    assert.throws(
      call,
      (error) => error instanceof MemmapError && error.code === "ERR_MEMMAP_CLOSED",
    );
  }
});

test("a worker that ends leaves no descriptor of its objects", async () => {
  const url = new URL(import.meta.resolve("memmap/ipc"));
  const count = () => readFileSync("/proc/self/maps", "utf8").split("memmap:shared").length - 1;
  const before = count();
  const worker = new Worker(
    `import(${JSON.stringify(url.href)}).then(({ SharedMemory }) => {
       globalThis.kept = Array.from({ length: 20 }, () => SharedMemory.create({ byteLength: 8 }));
       setInterval(() => {}, 1000);
       require("node:worker_threads").parentPort.postMessage("made");
     });`,
    { eval: true },
  );
  await new Promise((resolve) => worker.once("message", resolve));
  assert.equal(count(), before + 20);
  await worker.terminate();
  for (let tries = 0; tries < 100 && count() > before; tries += 1) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.equal(count(), before);
});

test("options and names that mean nothing are a mistake of the caller, and make nothing", () => {
  const name = newName();
  const make = (options: unknown) => () =>
    Reflect.apply(SharedMemory.create, SharedMemory, [options]);
  for (const options of [
    undefined,
    null,
    1,
    {},
    { byteLength: "1" },
    { byteLength: 8, name: 1 },
    { byteLength: 8, name: "" },
    { byteLength: 8, name: "a/b" },
    { byteLength: 8, name: ".." },
    { byteLength: 8, name: "a\0b" },
    { byteLength: 8, name: "x".repeat(256) },
    { byteLength: 8, name, sealed: true },
    { byteLength: 8, persistent: true },
    { byteLength: 8, mode: 0o600 },
    { byteLength: 8, name, mode: "600" },
  ]) {
    assert.throws(make(options), TypeError, JSON.stringify(options));
  }
  for (const byteLength of [-1, 1.5, Number.NaN, 2 ** 53]) {
    assert.throws(make({ byteLength }), { code: "ERR_OUT_OF_RANGE" });
  }
  assert.throws(make({ byteLength: 8, name, mode: 0o1000 }), { code: "ERR_OUT_OF_RANGE" });
  assert.throws(() => Reflect.construct(SharedMemory, []), { code: "ERR_ILLEGAL_CONSTRUCTOR" });
  assert.ok(!existsSync(`/dev/shm/${name}`));
});
