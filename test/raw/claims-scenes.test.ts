// The claims of mmap(2) and mprotect(2) that need a scene of their own: another process that holds
// a lock, a user without rights, a process of another personality. docs/semantics.md has the list.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, closeSync, openSync, readFileSync, writeSync } from "node:fs";
import test from "node:test";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { compileProgram, noCompiler } from "../helpers/compile.js";
import { limitedOutput } from "../helpers/ordinary-user.js";
import { areaAt, pageTable, permissionsAt, smapsAt, statusBytes } from "../helpers/proc-self.js";
import { fillHugePages, whyNot } from "../helpers/root-powers.js";
import { syscallAddon } from "../helpers/syscalls.js";
import { type Cleanup, needs, undoAfter } from "../helpers/temp.js";
import {
  anonymous,
  faultOf,
  makeFile,
  map,
  memoryFile,
  numbered,
  onExt4,
  openUntilEnd,
  pages,
  peek,
  refuses,
  rw,
} from "./memory.js";
import { rawAnswer } from "./program.js";

/* Locks the whole of the file that it is given for writing, says so, and stays. */
const locker = `
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
int main(int argc, char **argv) {
  struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  int fd = open(argv[argc - 1], O_RDWR);
  if (fd < 0 || fcntl(fd, F_SETLK, &whole) != 0) return 1;
  puts("locked");
  fflush(stdout);
  (void)!read(0, &whole, 1);
  return 0;
}
`;

async function lockByAnother(t: Cleanup, path: string): Promise<void> {
  const child = spawn(compileProgram(t, locker), [path], { stdio: ["pipe", "pipe", "inherit"] });
  undoAfter(t, () => child.stdin.end());
  const [line] = await once(child.stdout, "data");
  assert.equal(String(line), "locked\n");
}

test("a file that another process has locked is mapped: no lock is mandatory since Linux 5.15", {
  skip: noCompiler || needs({ kernel: "5.15" }).skip,
}, async (t) => {
  const path = makeFile(t, numbered(1));
  chmodSync(path, 0o2644); // Set-group-ID without execution asked for mandatory locks.
  await lockByAnother(t, path);
  const address = map(t, pageSize, { fd: openUntilEnd(t, path) });
  raw.view(address, 1)[0] = 50;
  assert.equal(readFileSync(path)[0], 50);
});

test("MAP_DENYWRITE is no ETXTBSY for a file that is open for writing", (t) => {
  const path = makeFile(t, numbered(1));
  const writer = openUntilEnd(t, path, "r+");
  const reader = openUntilEnd(t, path, "r");
  const flags = raw.MAP_PRIVATE | raw.MAP_DENYWRITE;
  const address = map(t, pageSize, { fd: reader, flags, prot: raw.PROT_READ });
  writeSync(writer, Buffer.from([50]), 0, 1, 0);
  assert.equal(peek(address)?.[0], 50);
  closeSync(openSync(path, "r+"));
});

test("an ordinary user gets huge pages from the pool, by mmap and by memfd_create", {
  skip: whyNot("huge-pages"),
}, async (t) => {
  const problem = await fillHugePages(t, 4);
  if (problem) return t.skip(problem);
  assert.equal(readFileSync("/proc/sys/vm/hugetlb_shm_group", "utf8"), "0\n");
  const stdout = await limitedOutput(`
    dropRights();
    if (process.getgid() === 0) throw new Error("still of the group that may");
    const huge = 2 ** 21;
    const flags = raw.MAP_PRIVATE | raw.MAP_ANONYMOUS | raw.MAP_HUGETLB | raw.MAP_HUGE_2MB;
    const address = raw.mmap(null, huge, 3, flags, -1, 0);
    raw.view(address, huge)[5] = 50;
    const fd = raw.memfd_create("huge", raw.MFD_HUGETLB | raw.MFD_HUGE_2MB);
    const ofFile = raw.mmap(null, huge, 3, raw.MAP_SHARED, fd, 0);
    console.log(raw.view(address, huge)[5], ofFile > 0n);`);
  assert.equal(stdout, "50 true\n");
});

test("MAP_POPULATE and MAP_LOCKED succeed where not all can come, mlock does not", (t) => {
  const fd = openUntilEnd(t, makeFile(t, numbered(1)));
  const length = 3 * pageSize;
  const populated = map(t, length, { fd, flags: raw.MAP_SHARED | raw.MAP_POPULATE });
  assert.equal(pageTable(populated, 3).present, 1);
  const before = statusBytes("VmLck");
  const locked = map(t, length, { fd, flags: raw.MAP_SHARED | raw.MAP_LOCKED });
  assert.equal(pageTable(locked, 3).present, 1);
  assert.equal(statusBytes("VmLck"), before + length);
  refuses(() => raw.mlock(populated, length), "ENOMEM");
});

test("PROT_READ implies PROT_EXEC in a process whose personality says so", {
  skip: noCompiler,
}, async (t) => {
  const stdout = await limitedOutput(
    `
    import { createRequire } from "node:module";
    const { call } = createRequire(import.meta.url)(process.argv[2]);
    const flags = raw.MAP_PRIVATE | raw.MAP_ANONYMOUS;
    const at = (address) => {
      const maps = fs.readFileSync("/proc/self/maps", "utf8");
      const start = address.toString(16).padStart(8, "0");
      const line = new RegExp("^" + start + "-\\\\S+ (\\\\S+)", "m");
      return line.exec(maps)?.[1];
    };
    const make = (prot) => raw.mmap(null, pageSize, prot, flags, -1, 0);
    const before = at(make(raw.PROT_READ));
    const now = call("personality", 0xffffffffn);
    call("personality", BigInt(now) | 0x0400000n); // READ_IMPLIES_EXEC
    const none = make(raw.PROT_NONE);
    const found = [at(none)];
    raw.mprotect(none, pageSize, raw.PROT_READ | raw.PROT_WRITE);
    found.push(at(none), at(make(raw.PROT_READ)));
    call("personality", BigInt(now));
    console.log(before, ...found);`,
    [syscallAddon(t)],
  );
  assert.equal(stdout, "r--p ---p rwxp r-xp\n");
});

test("PROT_EXEC alone forbids reading where the processor has protection keys", (t) => {
  const hasKeys = /\bospke\b/.test(readFileSync("/proc/cpuinfo", "utf8"));
  const address = map(t, pageSize);
  const bytes = raw.view(address, pageSize);
  bytes[0] = 50;
  raw.mprotect(address, pageSize, raw.PROT_EXEC);
  assert.equal(permissionsAt(address), "--xp");
  if (hasKeys) {
    assert.notEqual(smapsAt(address, "ProtectionKey"), "0");
    const fault = faultOf(address, pageSize, () => assert.equal(bytes[0], 0));
    assert.equal(fault.reason, "protected");
  }
  raw.mprotect(address, pageSize, rw);
  assert.equal(bytes[0], 50);
});

test("PROT_SEM changes nothing, and PROT_SAO is EINVAL where it is none", (t) => {
  const [sem, sao] = [8, 0x10];
  const address = map(t, pageSize);
  raw.mprotect(address, pageSize, raw.PROT_READ | sem);
  assert.equal(permissionsAt(address), "r--p");
  assert.equal(permissionsAt(map(t, pageSize, { prot: raw.PROT_READ | sem })), "r--p");
  if (process.arch === "arm64") return; // The number is that of PROT_BTI there.
  refuses(() => raw.mprotect(address, pageSize, raw.PROT_READ | sao), "EINVAL");
  assert.equal(permissionsAt(map(t, pageSize, { prot: raw.PROT_READ | sao })), "r--p");
});

test("the offset of memory without a file is ignored, if it is whole pages", (t) => {
  for (const type of [raw.MAP_PRIVATE, raw.MAP_SHARED]) {
    const flags = type | raw.MAP_ANONYMOUS;
    assert.equal(peek(map(t, pageSize, { flags, offset: 5 * pageSize }))?.[0], 0);
    refuses(() => raw.mmap(null, pageSize, rw, flags, -1, 5), "EINVAL");
  }
});

test("MAP_FIXED past all addresses is ENOMEM", () => {
  const flags = anonymous | raw.MAP_FIXED;
  for (const address of [2n ** 56n, 2n ** 64n - pages(1)]) {
    refuses(() => raw.mmap(address, pageSize, rw, flags, -1, 0), "ENOMEM");
  }
});

test("MAP_32BIT is ignored with MAP_FIXED", (t) => {
  if (raw.MAP_32BIT === undefined) return t.skip("needs x86-64");
  const place = map(t, pageSize);
  assert.ok(place >= 2n ** 32n);
  const flags = anonymous | raw.MAP_FIXED | raw.MAP_32BIT;
  assert.equal(raw.mmap(place, pageSize, rw, flags, -1, 0), place);
});

test("MAP_SYNC with MAP_SHARED is ignored in memory, and EOPNOTSUPP on ext4", onExt4, (t) => {
  const flags = raw.MAP_SHARED | raw.MAP_SYNC;
  const address = map(t, pageSize, { fd: memoryFile(t, 1), flags });
  assert.equal(peek(address)?.[0], 1);
  const fd = openUntilEnd(t, makeFile(t, numbered(1)));
  for (const type of [raw.MAP_SHARED, raw.MAP_PRIVATE]) {
    const call = () => raw.mmap(null, pageSize, rw, type | raw.MAP_SYNC, fd, 0);
    refuses(call, "EOPNOTSUPP"); // Against the manual.
  }
});

test("the size of huge pages is the binary logarithm in six upper bits", () => {
  assert.equal(raw.MAP_HUGE_2MB, 21 * 2 ** raw.MAP_HUGE_SHIFT);
  assert.equal(raw.MAP_HUGE_1GB, 30 * 2 ** raw.MAP_HUGE_SHIFT);
  const missing = 20 * 2 ** raw.MAP_HUGE_SHIFT; // No processor has pages of 1 MiB.
  const flags = anonymous | raw.MAP_HUGETLB | missing;
  refuses(() => raw.mmap(null, pageSize, rw, flags, -1, 0), "EINVAL");
  refuses(() => raw.memfd_create("huge", raw.MFD_HUGETLB | missing), "ENODEV");
});

test("a mapping starts at the address that mmap returns, with MAP_GROWSDOWN too", (t) => {
  const address = map(t, 2 * pageSize, { flags: anonymous | raw.MAP_GROWSDOWN });
  assert.equal(areaAt(address)?.start, address);
  const fd = memoryFile(t, 1);
  assert.equal(areaAt(map(t, pageSize, { fd }))?.name, "/memfd:memmap-test (deleted)");
});

test("of threads that map one free address with NOREPLACE one succeeds", async (t) => {
  const code = `
    const count = 500;
    const [gate, places] = workerData?.data ?? [new SharedArrayBuffer(4), new SharedArrayBuffer(8)];
    const waiting = new Int32Array(gate), place = new BigUint64Array(places);
    /** Which of the pages this thread got. */
    function take() {
      Atomics.add(waiting, 0, 1);
      while (Atomics.load(waiting, 0) < 3);
      const there = kind | raw.MAP_FIXED_NOREPLACE;
      const mapPage = (i) => raw.mmap(place[0] + BigInt(i) * page, pageSize, rw, there, -1, 0);
      const codes = Array.from({ length: count }, (_, i) => codeOf(() => mapPage(i)));
      return codes.flatMap((code, i) => (code === "" ? [i] : code === "EEXIST" ? [] : [code]));
    }
    if (!isMainThread) {
      parentPort.postMessage(take());
      await forever();
    }
    place[0] = mapPages(count);
    const workers = [1, 2].map(() => startPart("take", [gate, places]));
    const results = workers.map(messageOf);
    while (Atomics.load(waiting, 0) < 2) await sleep(1);
    raw.munmap(place[0], count * pageSize); // Not before: threads that begin map much.
    const got = [take(), ...(await Promise.all(results))].flat();
    await Promise.all(workers.map((worker) => worker.terminate()));
    answer({ twice: got.length - new Set(got).size, odd: got.filter((i) => typeof i !== "number"),
      some: got.length > count / 2 });`;
  assert.deepEqual(await rawAnswer(t, code), { twice: 0, odd: [], some: true });
});
