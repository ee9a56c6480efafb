// The claims of memfd_create(2) and shm_open(3) on descriptors, owners, the right to execute, and
// what the machine forbids: docs/semantics.md has the list.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, constants, existsSync, readFileSync, statSync, truncateSync } from "node:fs";
import test from "node:test";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { cannotFork } from "../helpers/fork.js";
import { limitedOutput } from "../helpers/ordinary-user.js";
import { type Cleanup, needs, undoAfter } from "../helpers/temp.js";
import { Forked } from "./forked.js";
import { map, onTmpfs, pathOf, refuses, retry } from "./memory.js";

const { O_CREAT, O_RDONLY, O_RDWR, O_TRUNC } = constants;

function make(t: Cleanup, flags: number): number {
  const fd = raw.memfd_create("claims", raw.MFD_CLOEXEC | flags);
  undoAfter(t, () => raw.close(fd));
  return fd;
}

let nameCount = 0;

/* A name that nobody has, taken away after the test. */
function newName(t: Cleanup): string {
  const name = `/memmap-descriptors-${process.pid}-${nameCount++}`;
  undoAfter(t, () => raw.shm_unlink(name));
  return name;
}

const execSeals = needs({ kernel: "6.3" });

// ==== memfd_create ===============================================================================

test("used-up descriptors are EMFILE for memory files and names, not for mmap", async () => {
  const stdout = await limitedOutput(`
    const kind = raw.MAP_SHARED | raw.MAP_ANONYMOUS;
    raw.mmap(null, pageSize, 3, kind, -1, 0); // The guard takes a descriptor for itself, once.
    limit("nofile", 64);
    const code = (call) => failure(call).split(" | ")[1] ?? "taken";
    let first = "taken";
    const fds = [];
    while (first === "taken") first = code(() => fds.push(raw.memfd_create("many", 0)));
    const { O_CREAT, O_RDWR } = fs.constants;
    const name = code(() => raw.shm_open("/memmap-emfile-" + process.pid, O_CREAT | O_RDWR, 0o600));
    const memory = code(() => raw.mmap(null, pageSize, 3, kind, -1, 0));
    const file = code(() => raw.mmap(null, pageSize, 3, raw.MAP_SHARED, fds[0], 0));
    for (const fd of fds) raw.close(fd);
    console.log([first, name, memory, file].join());`);
  assert.equal(stdout, "EMFILE,EMFILE,taken,taken\n");
});

test("a memory file is opened with O_LARGEFILE", (t) => {
  const found = /^flags:\s+([0-7]+)$/m.exec(
    readFileSync(`/proc/self/fdinfo/${make(t, 0)}`, "utf8"),
  );
  const largeFile = process.arch === "arm64" ? 0o400000 : 0o100000;
  assert.equal(Number.parseInt(found?.[1] ?? "", 8) & largeFile, largeFile);
});

test("a memory file is inherited by fork, and by exec without MFD_CLOEXEC", {
  skip: cannotFork,
}, (t) => {
  const [kept, closed] = [raw.memfd_create("kept", 0), make(t, 0)];
  undoAfter(t, () => raw.close(kept));
  const child = new Forked(t);
  const has = (fd: number) => existsSync(`/proc/${child.pid}/fd/${fd}`);
  assert.deepEqual([has(kept), has(closed)], [true, true]);
  child.becomeOther();
  assert.deepEqual([has(kept), has(closed)], [true, false]);
});

test("MFD_HUGETLB takes a size as MAP_HUGETLB does", (t) => {
  const missing = raw.MFD_HUGETLB | (20 << raw.MAP_HUGE_SHIFT); // No pages are of 1 MiB.
  refuses(() => raw.memfd_create("claims", missing), "ENODEV");
  if (!raw.accepts("MAP_HUGE_2MB")) return t.skip("needs huge pages of 2 MiB");
  const fd = make(t, raw.MFD_HUGETLB | raw.MAP_HUGE_2MB);
  assert.equal(statSync(pathOf(fd)).blksize, 2 ** 21);
});

test(
  "F_SEAL_EXEC holds the right to execute, and ends writing where there is one",
  execSeals,
  (t) => {
    const sealed = make(t, raw.MFD_NOEXEC_SEAL);
    assert.equal(raw.get_seals(sealed), raw.F_SEAL_EXEC);
    refuses(() => chmodSync(pathOf(sealed), 0o777), "EPERM");
    chmodSync(pathOf(sealed), 0o600);
    raw.add_seals(sealed, raw.F_SEAL_GROW); // It may be sealed, also without MFD_ALLOW_SEALING.
    const running = make(t, raw.MFD_EXEC | raw.MFD_ALLOW_SEALING);
    raw.add_seals(running, raw.F_SEAL_EXEC);
    const { F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE, F_SEAL_FUTURE_WRITE } = raw;
    const writing = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE;
    assert.equal(raw.get_seals(running), raw.F_SEAL_EXEC | writing);
    refuses(() => chmodSync(pathOf(running), 0o666), "EPERM");
    refuses(() => raw.memfd_create("both", raw.MFD_EXEC | raw.MFD_NOEXEC_SEAL), "EINVAL");
  },
);

/* A process in a namespace of its own, whose setting is nobody else's. */
const inside = ["--pid", "--fork", "--mount-proc"];
const noNamespace =
  needs("root", { kernel: "6.6" }).skip ||
  (spawnSync("unshare", [...inside, "true"]).status !== 0 && "needs unshare and pid namespaces");

test("vm.memfd_noexec takes the right to execute from files that do not ask, or from all", {
  skip: noNamespace,
}, async () => {
  const stdout = await limitedOutput(`
    const [, file, value] = process.argv;
    if (value === undefined) {
      const run = globalThis.Deno ? ["run", "-A", "--no-check", "--no-lock"] : [];
      for (const each of ["0", "1", "2"]) {
        const args = [...${JSON.stringify(inside)}, process.execPath, ...run, file, each];
        const { stdout, stderr } = spawnSync("unshare", args, { encoding: "utf8" });
        console.log(stdout.trim() || stderr);
      }
    } else {
      fs.writeFileSync("/proc/sys/vm/memfd_noexec", value);
      const make = (flags) => {
        let mode = "none";
        const fail = failure(() => {
          const fd = raw.memfd_create("claims", flags);
          mode = (fs.statSync("/proc/self/fd/" + fd).mode & 0o777).toString(8);
          mode += (raw.get_seals(fd) & raw.F_SEAL_EXEC) !== 0 ? " sealed" : "";
        });
        return fail === "no error" ? mode : fail.split(" | ")[1];
      };
      const made = [make(0), make(raw.MFD_EXEC), make(raw.MFD_NOEXEC_SEAL)];
      console.log(made.join(), mapAnonymous(5, { sharing: "shared" }).bytes.length);
    }`);
  assert.deepEqual(stdout.trim().split("\n"), [
    "777,777,666 sealed 5",
    "666 sealed,777,666 sealed 5",
    "666 sealed,EACCES,666 sealed 5",
  ]);
});

// ==== shm_open ===================================================================================

test("shm_open gives the lowest descriptor that is free", onTmpfs, (t) => {
  const name = newName(t);
  retry(() => {
    const [low, high] = [make(t, 0), raw.memfd_create("high", raw.MFD_CLOEXEC)];
    raw.close(high);
    const fd = raw.shm_open(name, O_CREAT | O_RDWR, 0o600);
    undoAfter(t, () => raw.close(fd));
    assert.ok(fd <= high, `${fd} with ${low} taken and ${high} free`);
  });
});

test("a new object belongs to the user and group of who made it", {
  skip: onTmpfs.skip || needs("root").skip,
}, async (t) => {
  const name = newName(t);
  await limitedOutput(`
    dropRights();
    const { O_CREAT, O_EXCL, O_RDWR } = fs.constants;
    raw.shm_open(${JSON.stringify(name)}, O_CREAT | O_EXCL | O_RDWR, 0o600);`);
  const { uid, gid } = statSync(`/dev/shm${name}`);
  assert.deepEqual([uid, gid], [65_534, 65_534]);
});

test("the mode of a new object is taken whole, and not its nine lower bits alone", onTmpfs, (t) => {
  const fd = raw.shm_open(newName(t), O_CREAT | O_RDWR, 0o4600);
  undoAfter(t, () => raw.close(fd));
  assert.equal(statSync(pathOf(fd)).mode & 0o7777, 0o4600);
});

test("O_TRUNC of an object that may not be written is EACCES", {
  skip: onTmpfs.skip || needs("root").skip,
}, async (t) => {
  const name = newName(t);
  const fd = raw.shm_open(name, O_CREAT | O_RDWR, 0o600);
  undoAfter(t, () => raw.close(fd));
  truncateSync(pathOf(fd), pageSize);
  chmodSync(pathOf(fd), 0o444);
  const stdout = await limitedOutput(`
    dropRights();
    const open = (flags) => failure(() => raw.shm_open(${JSON.stringify(name)}, flags, 0));
    console.log(open(${O_RDONLY}), open(${O_RDONLY | O_TRUNC}).split(" | ")[1]);`);
  assert.equal(stdout, "no error EACCES\n");
  assert.equal(statSync(pathOf(fd)).size, pageSize);
  assert.ok(map(t, pageSize, { fd }) > 0n);
});
