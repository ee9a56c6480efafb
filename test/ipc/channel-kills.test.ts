// Parties of channels that are killed at random moments (scripts/channel-kills.mjs) for a few
// seconds; what becomes of channels whose every holder was killed; and a full /dev/shm.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import test from "node:test";
import { answerTo } from "../guard/program.js";
import { runScript } from "../helpers/child.js";
import { start } from "./channel-program.js";

const script = new URL("../../../scripts/channel-kills.mjs", import.meta.url);

for (const kind of ["queue", "broadcast"]) {
  test(`${kind}: of 15 parties killed at random nobody takes more than it has`, {
    timeout: 120_000,
  }, async (t) => {
    const seed = Math.floor(Math.random() * 2 ** 31);
    const args = ["60", "--kills=15", `--only=${kind}`, `--seed=${seed}`];
    const { code, signal, stdout, stderr } = await runScript(script, args, { timeoutMs: 110_000 });
    for (const line of stdout.trimEnd().split("\n")) t.diagnostic(line);
    assert.deepEqual({ code, signal }, { code: 0, signal: null }, `${stdout}\n${stderr}`);
  });
}

/* The holder of a channel says that it has it, and waits to be killed. */
const holder = `
  if (part === "holder") {
    const channel = data.handle ? Channel.attach(data.handle)
      : data.makes ? Channel.create({ name: data.name }) : Channel.open(data.name);
    channel.trySend(Uint8Array.of(1));
    globalThis.kept = channel;
    passGate();
  }`;

test("a named channel goes with its last holder, also when that is killed", async (t) => {
  const code = `${start}${holder}
    if (part === undefined) {
      const name = "memmap-test-" + process.pid;
      const isThere = () => fs.existsSync("/dev/shm/" + name);
      const first = other("holder", { name, makes: true });
      await until(() => words[0] === 1);
      const second = other("holder", { name });
      await until(() => words[0] === 2);
      const taken = codeOf(() => Channel.create({ name }));
      first.kill("SIGKILL");
      await first.ended;
      const held = Channel.open(name);
      const before = { isThere: isThere(), message: [...held.tryReceive()] };
      held.close();
      second.kill("SIGKILL");
      await second.ended;
      const look = codeOf(() => Channel.open(name));
      const after = { look, isThere: isThere() };
      const fresh = Channel.create({ name });
      const isEmpty = fresh.tryReceive() === undefined && fresh.state === "open";
      fresh.close();
      answer({ taken, before, after, isEmpty, left: isThere() });
    }`;
  assert.deepEqual(await answerTo(t, code), {
    taken: "EEXIST",
    before: { isThere: true, message: [1] },
    after: { look: "ENOENT", isThere: false },
    isEmpty: true,
    left: false,
  });
});

test("who makes a channel of a name that the dead have left gets a fresh one", async (t) => {
  const code = `${start}${holder}
    if (part === undefined) {
      const name = "memmap-test-" + process.pid;
      const first = other("holder", { name, makes: true });
      await until(() => words[0] === 1);
      first.kill("SIGKILL");
      await first.ended;
      const left = fs.existsSync("/dev/shm/" + name);
      const fresh = Channel.create({ name });
      const message = fresh.tryReceive();
      fresh.close();
      answer({ left, isFresh: message === undefined, after: fs.existsSync("/dev/shm/" + name) });
    }`;
  assert.deepEqual(await answerTo(t, code), { left: true, isFresh: true, after: false });
});

test("a channel without a name goes with the processes that have it", async (t) => {
  const code = `${start}${holder}
    if (part === undefined) {
      const inode = (handle) => handle.memory.inode;
      const channel = Channel.create();
      const { handle } = channel;
      const child = other("holder", { handle });
      await until(() => words[0] === 1);
      const maps = (pid) => fs.readFileSync("/proc/" + pid + "/maps", "utf8");
      const holds = (pid) => maps(pid).includes(" " + inode(handle) + " ");
      const before = [holds("self"), holds(child.pid)];
      child.kill("SIGKILL");
      await child.ended;
      channel.close();
      const descriptors = fs.readdirSync("/proc/self/fd").filter((fd) => {
        try {
          return String(fs.statSync("/proc/self/fd/" + fd).ino) === inode(handle);
        } catch {
          return false;
        }
      });
      answer({ before, after: holds("self"), descriptors });
    }`;
  const result = await answerTo(t, code);
  assert.deepEqual(result, {
    before: [true, true],
    after: false,
    descriptors: [],
  });
});

test("a sender who comes when the death of the last is found: not the end", async (t) => {
  const code = `${start}
    import { at } from "#dist/ipc/channel-layout.js";
    const channel = Channel.create({ capacity: 1024 });
    const { handle } = channel;
    const last = Channel.attach(handle, { receives: false });
    last.sendSync(Uint8Array.of(1));
    last.close();
    const first = channel.receiveSync();
    const all = new Int32Array(SharedMemory.attach(handle.memory).map().buffer);
    all[at.lastSender] = 2; // As if it had been killed.
    const { load } = Atomics;
    let next;
    Atomics.load = (array, index) => {
      const value = load(array, index);
      if (index !== at.lastSender || next !== undefined) return value;
      next = null;
      next = Channel.attach(handle, { receives: false });
      return value;
    };
    const died = codeOf(() => channel.receiveSync({ timeoutMs: 1000 }));
    next.sendSync(Uint8Array.of(2));
    answer({ first: [...first], died, next: [...channel.receiveSync()] });`;
  const expected = { first: [1], died: "ERR_MEMMAP_PEER_DIED", next: [2] };
  assert.deepEqual(await answerTo(t, code), expected);
});

/* A mount namespace of its own, in which /dev/shm is small. */
const inSmallShm = [
  ...["-m", "--propagation", "private", "sh", "-c"],
  'mount -t tmpfs -o size=256k none /dev/shm && exec "$@"',
  "sh",
];
const canMount = spawnSync("unshare", [...inSmallShm, "true"]).status === 0;

test("a full /dev/shm is ENOSPC, and leaves nothing", {
  skip: canMount ? false : "needs unshare(1) and root",
}, async (t) => {
  const code = `${start}
    if (part === "inside") {
      const before = fs.readdirSync("/dev/shm").length;
      const refused = codeOf(() => Channel.create({ name: "memmap-large", capacity: 1 << 20 }));
      const small = Channel.create({ name: "memmap-small", capacity: 65536 });
      const again = codeOf(() => Channel.create({ name: "memmap-next", capacity: 1 << 18 }));
      small.sendSync(Uint8Array.of(1));
      const message = [...small.receiveSync()];
      const during = fs.readdirSync("/dev/shm");
      small.close();
      const blocks = fs.statfsSync("/dev/shm");
      answer({ before, refused, again, message, during, after: fs.readdirSync("/dev/shm").length,
        used: blocks.blocks - blocks.bfree });
    } else {
      const deno = globalThis.Deno ? ["run", "-A", "--no-check", "--no-lock"] : [];
      const args = [...${JSON.stringify(inSmallShm)}, process.execPath, ...deno, self, folder];
      const child = spawn("unshare", args, { env: { ...process.env, PART: "inside" },
        stdio: ["ignore", "inherit", "inherit"] });
      await new Promise((resolve) => child.on("exit", resolve));
    }`;
  assert.deepEqual(await answerTo(t, code), {
    before: 0,
    refused: "ENOSPC",
    again: "ENOSPC",
    message: [1],
    during: ["memmap-small"],
    after: 0,
    used: 0,
  });
  assert.ok(!existsSync("/dev/shm/memmap-small"));
});
