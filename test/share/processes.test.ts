// Sharing with other processes of the same user: files by their path, memory objects through the
// process that shares them; what leads to another object, or nowhere, is refused.

import assert from "node:assert/strict";
import test from "node:test";
import { answerTo } from "../guard/program.js";
import { ordinaryUid } from "../helpers/ordinary-user.js";
import { needs } from "../helpers/temp.js";

/* A sharer starts this same file again with the handle, and hears what that process answers. */
const attacher = `
  import { spawn, spawnSync } from "node:child_process";
  import { fileURLToPath } from "node:url";
  const self = fileURLToPath(import.meta.url);
  const runtimeArgs = globalThis.Deno === undefined ? [] : ["run", "-A", "--no-check", "--no-lock"];
  /** Runs this file with a handle in another process and returns what it answers. */
  function elsewhere(handle, options = {}) {
    const env = { ...process.env, HANDLE: JSON.stringify(handle), ROLE: options.role ?? "attach" };
    const { stdout, stderr, status, signal } = spawnSync(
      process.execPath, [...runtimeArgs, self, folder, options.argument ?? ""],
      { env, encoding: "utf8" });
    try {
      return JSON.parse(stdout);
    } catch {
      return { status, signal, stdout, stderr };
    }
  }
  if (process.env.ROLE === "attach") {
    const result = {};
    try {
      const mapping = attachMapping(JSON.parse(process.env.HANDLE));
      result.read = mapping.bytes[3];
      result.length = mapping.byteLength;
      result.facts = [mapping.protection, mapping.sharing, mapping.backing, mapping.offset].join();
      if (mapping.protection === "read-write") mapping.bytes[4] = 77;
      mapping.close();
    } catch (error) {
      result.code = error.code;
      result.name = error.constructor.name;
    }
    answer(result);
    process.exit(0);
  }`;

const kinds: Readonly<Record<string, readonly [source: string, facts: string]>> = {
  "a file": [`mapFileSync(makeFile(3), { protection: "read-write" })`, "read-write,shared,file,0"],
  "a part of a file": [
    `mapFileSync(makeFile(3), { protection: "read-write", offset: 99, length: 5000 })`,
    "read-write,shared,file,99",
  ],
  "a file that may grow": [
    `mapFileSync(makeFile(3), { grow: true, length: 5 * pageSize })`,
    "read-write,shared,file,0",
  ],
  "shared memory": [
    `mapAnonymous(3 * pageSize, { sharing: "shared" })`,
    "read-write,shared,anonymous,0",
  ],
  "named shared memory": [
    `mapAnonymous(3 * pageSize, { sharing: "shared", name: "a name" })`,
    "read-write,shared,anonymous,0",
  ],
};

for (const [name, [source, facts]] of Object.entries(kinds)) {
  test(`another process attaches to ${name}: both see each other's writes`, async (t) => {
    const code = `${attacher}
      const mapping = ${source};
      mapping.bytes[3] = 33;
      const seen = elsewhere(mapping.share());
      answer({ ...seen, length: seen.length === mapping.byteLength, mine: mapping.bytes[4] });`;
    assert.deepEqual(await answerTo(t, code), { read: 33, length: true, facts, mine: 77 });
  });
}

test("a read-only file is attached to read-only", async (t) => {
  const code = `${attacher}
    const mapping = mapFileSync(makeFile(1));
    answer(elsewhere(mapping.share()));`;
  const expected = { read: 1, length: 4096, facts: "read,shared,file,0" };
  assert.deepEqual(await answerTo(t, code), expected);
});

test("memory is attached to after the sharer has closed its descriptor", async (t) => {
  const code = `${attacher}
    const mapping = mapAnonymous(pageSize, { sharing: "shared" });
    mapping.bytes[3] = 9;
    /* As if it held none: the kernel's list of its areas is the way that is left. */
    const seen = elsewhere({ ...mapping.share(), fd: -1 });
    answer({ read: seen.read, code: seen.code ?? "", mine: mapping.bytes[4] });`;
  const { read, code: told, mine } = await answerTo(t, code);
  /* /proc/PID/map_files may be closed to ordinary users: refused clearly, never another object. */
  if (told === "") assert.deepEqual({ read, mine }, { read: 9, mine: 77 });
  else assert.match(String(told), /^(EPERM|EACCES|ERR_MEMMAP_CLOSED)$/);
});

test("an attached mapping stays when its sharer closes and ends", async (t) => {
  const code = `${attacher}
    if (process.env.ROLE === "share") {
      const mapping = (globalThis.kept = mapAnonymous(pageSize, { sharing: "shared" }));
      mapping.bytes[3] = 21;
      fs.writeSync(1, JSON.stringify(mapping.share()) + "\\n");
      process.stdin.once("data", () => process.exit(0));
    } else {
      const env = { ...process.env, ROLE: "share" };
      const sharer = spawn(process.execPath, [...runtimeArgs, self, folder], { env });
      sharer.stderr.pipe(process.stderr);
      const text = await new Promise((resolve) => sharer.stdout.once("data", resolve));
      const handle = JSON.parse(String(text));
      const mapping = attachMapping(handle);
      const before = mapping.bytes[3];
      sharer.stdin.write("end\\n");
      await new Promise((resolve) => sharer.once("close", resolve));
      const after = mapping.bytes[3];
      const second = attachMapping(mapping.share()).bytes[3];
      answer({ before, after, second, late: codeOf(() => attachMapping(handle)) });
      process.exit(0);
    }`;
  const expected = { before: 21, after: 21, second: 21, late: "ERR_MEMMAP_PEER_DIED" };
  assert.deepEqual(await answerTo(t, code), expected);
});

test("a private mapping is refused to another process", async (t) => {
  const code = `${attacher}
    const codes = [mapAnonymous(10), mapFileSync(makeFile(1), { sharing: "private" })]
      .map((mapping) => elsewhere(mapping.share()).code);
    answer({ codes });`;
  const codes = ["ERR_MEMMAP_UNSUPPORTED", "ERR_MEMMAP_UNSUPPORTED"];
  assert.deepEqual(await answerTo(t, code), { codes });
});

test("a replaced path, a reused process number and a closed mapping lead to errors", async (t) => {
  const code = `${attacher}
    const codes = {};
    const file = mapFileSync(makeFile(1));
    const handle = file.share();
    const copy = handle.path + ".old";
    fs.renameSync(handle.path, copy);
    fs.writeFileSync(handle.path, Buffer.alloc(pageSize, 66));
    file.close();
    codes.replaced = elsewhere(handle);
    const memory = mapAnonymous(pageSize, { sharing: "shared" });
    const good = memory.share();
    codes.reused = elsewhere({ ...good, startTime: "1" });
    codes.other = elsewhere({ ...good, inode: "1" });
    memory.close();
    codes.closed = elsewhere(good);
    const reuse = mapAnonymous(pageSize, { sharing: "shared" });
    reuse.bytes[3] = 13;
    codes.reusedNumber = elsewhere(good);
    answer(Object.fromEntries(Object.entries(codes).map(([key, { code }]) => [key, code])));`;
  assert.deepEqual(await answerTo(t, code), {
    replaced: "ERR_MEMMAP_CLOSED",
    reused: "ERR_MEMMAP_PEER_DIED",
    other: "ERR_MEMMAP_CLOSED",
    closed: "ERR_MEMMAP_CLOSED",
    reusedNumber: "ERR_MEMMAP_CLOSED",
  });
});

test("a file handle outlives its process while the file stands at its path", async (t) => {
  const code = `${attacher}
    if (process.env.ROLE === "share") {
      answer(mapFileSync(join(folder, "stays.bin"), { protection: "read-write" }).share());
    } else {
      fs.writeFileSync(join(folder, "stays.bin"), Buffer.alloc(pageSize, 4));
      const handle = elsewhere(null, { role: "share" });
      const found = attachMapping(handle).bytes[0];
      fs.unlinkSync(handle.path);
      answer({ found, late: codeOf(() => attachMapping(handle)) });
    }`;
  assert.deepEqual(await answerTo(t, code), { found: 4, late: "ERR_MEMMAP_PEER_DIED" });
});

test("process.send() carries a handle", async (t) => {
  const code = `
    import { fork } from "node:child_process";
    import { fileURLToPath } from "node:url";
    if (process.send !== undefined && process.env.ROLE === "child") {
      process.once("message", (handle) => {
        const mapping = attachMapping(handle);
        mapping.bytes[1] = mapping.bytes[0] + 1;
        process.send(mapping.share(), () => process.exit(0));
      });
    } else {
      const mapping = mapAnonymous(100, { sharing: "shared" });
      mapping.bytes[0] = 50;
      const env = { ...process.env, ROLE: "child" };
      const child = fork(fileURLToPath(import.meta.url), [folder], { env });
      child.send(mapping.share());
      const handle = await new Promise((resolve) => child.once("message", resolve));
      await new Promise((resolve) => child.once("exit", resolve));
      answer({ seen: mapping.bytes[1], pid: handle.pid === child.pid });
      process.exit(0);
    }`;
  assert.deepEqual(await answerTo(t, code), { seen: 51, pid: true });
});

test("another user is refused what permissions forbid", needs("root"), async (t) => {
  const code = `${attacher}
    if (process.env.ROLE === "other") {
      process.setgroups?.([]);
      process.setgid(${ordinaryUid});
      process.setuid(${ordinaryUid});
      const [file, memory, open] = JSON.parse(process.env.HANDLE).map((handle) =>
        codeOf(() => attachMapping(handle)));
      answer({ file, memory, open, uid: process.getuid() });
    } else {
      const [secret, open] = [makeFile(1), makeFile(1)];
      fs.chmodSync(secret, 0o600);
      fs.chmodSync(open, 0o644);
      fs.chmodSync(folder, 0o755);
      const memory = mapAnonymous(10, { sharing: "shared" });
      const mappings = [mapFileSync(secret), memory, mapFileSync(open)];
      answer(elsewhere(mappings.map((mapping) => mapping.share()), { role: "other" }));
    }`;
  const { file, memory, open, uid } = await answerTo(t, code);
  assert.deepEqual({ open, uid }, { open: "", uid: ordinaryUid });
  assert.match(String(file), /^(EACCES|EPERM)$/);
  assert.match(String(memory), /^(EACCES|EPERM)$/);
});

test("a spawned child inherits neither mapping nor descriptor", async (t) => {
  const code = `
    import { spawnSync } from "node:child_process";
    const memory = mapAnonymous(pageSize, { sharing: "shared", name: "inherited" });
    const file = mapFileSync(makeFile(2), { grow: true, length: 4 * pageSize });
    const own = mapAnonymous(pageSize, { name: "inherited" });
    const zero = shortened(2, { faults: "collect" }).bytes[pageSize];
    const held = fs.readdirSync("/proc/self/fd").filter((fd) => {
      try {
        return /memmap|data-/.test(fs.readlinkSync("/proc/self/fd/" + fd));
      } catch {
        return false;
      }
    }).length;
    const script = "cat /proc/self/maps; ls -l /proc/self/fd";
    const { stdout } = spawnSync("sh", ["-c", script], { encoding: "utf8" });
    const rows = stdout.split("\\n").filter((row) => /memmap|inherited|data-/.test(row));
    answer({ held, rows, heap: stdout.includes("[stack]") });`;
  assert.deepEqual(await answerTo(t, code), { held: 2, rows: [], heap: true });
});
