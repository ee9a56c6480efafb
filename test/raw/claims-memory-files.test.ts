// The claims of memfd_create(2), memfd_secret(2) and shm_open(3) that no other test shows:
// docs/semantics.md has the list.

import assert from "node:assert/strict";
import {
  chmodSync,
  closeSync,
  constants,
  existsSync,
  openSync,
  readFileSync,
  readlinkSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import test from "node:test";
import { pageSize, SystemError } from "memmap";
import * as raw from "memmap/raw";
import { limitedOutput } from "../helpers/ordinary-user.js";
import { flagsAt, pageTable } from "../helpers/proc-self.js";
import { fillHugePages, whyNot } from "../helpers/root-powers.js";
import { type Cleanup, undoAfter } from "../helpers/temp.js";
import {
  faultOf,
  makeFile,
  map,
  memoryFile,
  onTmpfs,
  pages,
  pathOf,
  peek,
  refuses,
  retry,
  rw,
} from "./memory.js";

/* The flags of an open descriptor, as the kernel prints them. */
function openFlags(fd: number): number {
  const found = /^flags:\s+([0-7]+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8"));
  return Number.parseInt(found?.[1] ?? "", 8);
}

const closeOnExec = 0o2000000;

function make(t: Cleanup, name: string, flags: number): number {
  const fd = raw.memfd_create(name, flags);
  undoAfter(t, () => raw.close(fd));
  return fd;
}

interface Skip {
  skip(reason: string): void;
}

// ==== memfd_create ===============================================================================

test("a memory file begins empty, for reading and writing, and behaves as any file", (t) => {
  const fd = make(t, "claims", 0);
  const path = pathOf(fd);
  assert.equal(statSync(path).size, 0);
  assert.equal(openFlags(fd) & 3, constants.O_RDWR);
  truncateSync(path, 3 * pageSize);
  writeFileSync(path, "abc", { flag: "r+" });
  assert.equal(statSync(path).size, 3 * pageSize);
  assert.equal(readFileSync(path).toString("utf8", 0, 3), "abc");
  assert.equal(peek(map(t, pageSize, { fd }))?.[0], "a".charCodeAt(0));
});

test("the name of a memory file is for /proc alone: two may have the same", (t) => {
  const [one, two] = [make(t, "same", 0), make(t, "same", 0)];
  assert.equal(readlinkSync(pathOf(one)), "/memfd:same (deleted)");
  assert.equal(readlinkSync(pathOf(two)), "/memfd:same (deleted)");
  assert.notEqual(statSync(pathOf(one)).ino, statSync(pathOf(two)).ino);
  make(t, "x".repeat(249), 0);
  refuses(() => raw.memfd_create("x".repeat(250), 0), "EINVAL");
});

test("MFD_CLOEXEC sets close-on-exec, and unknown flags are EINVAL", (t) => {
  assert.equal(openFlags(make(t, "a", raw.MFD_CLOEXEC)) & closeOnExec, closeOnExec);
  assert.equal(openFlags(make(t, "b", 0)) & closeOnExec, 0);
  refuses(() => raw.memfd_create("c", 0x1000), "EINVAL");
});

test("without MFD_ALLOW_SEALING a memory file takes no seal", (t) => {
  const fd = make(t, "claims", raw.MFD_CLOEXEC);
  assert.equal(raw.get_seals(fd), raw.F_SEAL_SEAL);
  refuses(() => raw.add_seals(fd, raw.F_SEAL_GROW), "EPERM");
  assert.equal(raw.get_seals(make(t, "open", raw.MFD_ALLOW_SEALING)), 0);
});

test("F_SEAL_SHRINK and F_SEAL_GROW hold the length", (t) => {
  const fd = memoryFile(t, 2, raw.MFD_ALLOW_SEALING);
  const path = pathOf(fd);
  raw.add_seals(fd, raw.F_SEAL_SHRINK);
  refuses(() => truncateSync(path, pageSize), "EPERM");
  truncateSync(path, 3 * pageSize);
  raw.add_seals(fd, raw.F_SEAL_GROW);
  refuses(() => truncateSync(path, 4 * pageSize), "EPERM");
  assert.equal(statSync(path).size, 3 * pageSize);
  assert.equal(raw.get_seals(fd), raw.F_SEAL_SHRINK | raw.F_SEAL_GROW);
});

test("F_SEAL_WRITE waits for writable mappings to end, and refuses every write then", (t) => {
  const fd = memoryFile(t, 1, raw.MFD_ALLOW_SEALING);
  const address = map(t, pageSize, { fd });
  refuses(() => raw.add_seals(fd, raw.F_SEAL_WRITE), "EBUSY");
  raw.munmap(address, pageSize);
  raw.add_seals(fd, raw.F_SEAL_WRITE | raw.F_SEAL_SEAL);
  refuses(() => raw.mmap(null, pageSize, rw, raw.MAP_SHARED, fd, 0), "EPERM");
  const file = openSync(pathOf(fd), "r+");
  refuses(() => writeSync(file, "x"), "EPERM");
  closeSync(file);
  refuses(() => raw.add_seals(fd, raw.F_SEAL_GROW), "EPERM");
  const reading = map(t, pageSize, { fd, prot: raw.PROT_READ });
  refuses(() => raw.mprotect(reading, pageSize, rw), "EACCES");
});

test("F_SEAL_FUTURE_WRITE leaves the mappings that stand, and refuses others", (t) => {
  const fd = memoryFile(t, 1, raw.MFD_ALLOW_SEALING);
  const address = map(t, pageSize, { fd });
  raw.add_seals(fd, raw.F_SEAL_FUTURE_WRITE);
  raw.view(address, 1)[0] = 50;
  assert.equal(readFileSync(pathOf(fd))[0], 50);
  refuses(() => raw.mmap(null, pageSize, rw, raw.MAP_SHARED, fd, 0), "EPERM");
  const file = openSync(pathOf(fd), "r+");
  refuses(() => writeSync(file, "x"), "EPERM");
  closeSync(file);
});

test("who opens /proc/PID/fd/N of a memory file has the same memory", (t) => {
  const fd = memoryFile(t, 1);
  const other = openSync(pathOf(fd), "r+");
  const address = map(t, pageSize, { fd: other });
  closeSync(other);
  raw.view(address, 1)[0] = 50;
  assert.equal(peek(map(t, pageSize, { fd }))?.[0], 50);
});

test("a memory file goes when its last descriptor and its last mapping have gone", (t) => {
  const shmem = () => Number(/^Shmem:\s+(\d+)/m.exec(readFileSync("/proc/meminfo", "utf8"))?.[1]);
  const bytes = 64 * 2 ** 20;
  retry(() => {
    const fd = raw.memfd_create("large", raw.MFD_CLOEXEC);
    truncateSync(pathOf(fd), bytes);
    const address = map(t, bytes, { fd, flags: raw.MAP_SHARED | raw.MAP_POPULATE });
    raw.close(fd);
    const before = shmem();
    assert.equal(pageTable(address, bytes / pageSize).present, bytes / pageSize);
    raw.munmap(address, bytes);
    assert.ok(before - shmem() > bytes / 1024 / 2, `${before} to ${shmem()} kB`);
  });
});

test("MFD_HUGETLB takes the pages of the file from the pool", {
  skip: whyNot("huge-pages"),
}, async (t) => {
  const problem = await fillHugePages(t, 2);
  if (problem) return t.skip(problem);
  const fd = make(t, "huge", raw.MFD_CLOEXEC | raw.MFD_HUGETLB | raw.MFD_ALLOW_SEALING);
  const huge = 2 * 2 ** 20;
  truncateSync(pathOf(fd), huge);
  assert.equal(statSync(pathOf(fd)).blksize, huge);
  const address = map(t, huge, { fd });
  raw.view(address, 1)[0] = 7;
  assert.ok(flagsAt(address).includes("ht"));
});

test("MFD_HUGE_2MB and others say which pool; without one of that size it is ENODEV", (t) => {
  const { MFD_HUGE_64KB, MFD_HUGE_2MB, MFD_HUGE_1GB, MFD_HUGE_16GB } = raw;
  for (const bits of [MFD_HUGE_64KB, MFD_HUGE_2MB, MFD_HUGE_1GB, MFD_HUGE_16GB]) {
    const flags = raw.MFD_CLOEXEC | raw.MFD_HUGETLB | bits;
    const size = 2 ** ((bits >>> raw.MFD_HUGE_SHIFT) & raw.MFD_HUGE_MASK);
    if (existsSync(`/sys/kernel/mm/hugepages/hugepages-${size / 1024}kB`)) {
      assert.equal(statSync(pathOf(make(t, "sized", flags))).blksize, size);
    } else {
      refuses(() => raw.memfd_create("sized", flags), "ENODEV");
    }
  }
});

test("MFD_NOEXEC_SEAL takes the right to execute away for good", (t) => {
  if (!raw.accepts("MFD_NOEXEC_SEAL")) return t.skip("needs MFD_NOEXEC_SEAL");
  const plain = make(t, "plain", raw.MFD_EXEC);
  const sealed = make(t, "sealed", raw.MFD_NOEXEC_SEAL);
  assert.equal(statSync(pathOf(plain)).mode & 0o111, 0o111);
  assert.equal(statSync(pathOf(sealed)).mode & 0o111, 0);
  assert.equal(raw.get_seals(sealed) & raw.F_SEAL_EXEC, raw.F_SEAL_EXEC);
});

// ==== memfd_secret ===============================================================================

/* A secret file of so many bytes; undefined where there can be none, which skips the test. */
function makeSecret(t: Cleanup & Skip, byteLength: number): number | undefined {
  if (!raw.accepts("memfd_secret")) {
    t.skip("needs memfd_secret");
    return undefined;
  }
  const fd = raw.memfd_secret(0);
  undoAfter(t, () => raw.close(fd));
  assert.equal(statSync(pathOf(fd)).size, 0);
  raw.ftruncate(fd, byteLength);
  assert.equal(statSync(pathOf(fd)).size, byteLength);
  return fd;
}

test("a secret file begins empty, and the kernel reaches its pages by their mapping alone", (t) => {
  const fd = makeSecret(t, 2 * pageSize);
  if (fd === undefined) return;
  const address = map(t, 2 * pageSize, { fd });
  const bytes = raw.view(address, 2 * pageSize);
  bytes[5] = 50;
  assert.equal(bytes[5], 50);
  assert.equal(peek(address), undefined);
  const path = makeFile(t, new Uint8Array(1));
  writeFileSync(path, bytes); // By the addresses of the process itself: those are mapped.
  assert.equal(readFileSync(path)[5], 50);
});

test("secret memory is locked, and mapped shared alone", (t) => {
  const fd = makeSecret(t, pageSize);
  if (fd === undefined) return;
  const address = map(t, pageSize, { fd });
  assert.ok(flagsAt(address).includes("lo"));
  refuses(() => raw.mmap(null, pageSize, rw, raw.MAP_PRIVATE, fd, 0), "EINVAL");
  refuses(() => raw.memfd_secret(2), "EINVAL");
});

test("secret memory past the end of its file is a reported fault", (t) => {
  const fd = makeSecret(t, pageSize);
  if (fd === undefined) return;
  const address = map(t, 2 * pageSize, { fd });
  const bytes = raw.view(address, 2 * pageSize);
  const fault = faultOf(address, 2 * pageSize, () => assert.equal(bytes[pageSize], 0));
  assert.equal(fault.reason, "truncated");
});

test("secret memory gets a length once", (t) => {
  const fd = makeSecret(t, pageSize);
  if (fd === undefined) return;
  refuses(() => raw.ftruncate(fd, 2 * pageSize), "EINVAL");
  refuses(() => raw.ftruncate(fd, 0), "EINVAL");
});

// ==== shm_open ===================================================================================

const { O_CREAT, O_EXCL, O_RDONLY, O_RDWR, O_TRUNC } = constants;
let nameCount = 0;

/* A name that nobody has, taken away after the test. */
function newName(t: Cleanup): string {
  const name = `/memmap-claims-${process.pid}-${nameCount++}`;
  undoAfter(t, () => {
    if (existsSync(`/dev/shm${name}`)) raw.shm_unlink(name);
  });
  return name;
}

function open(t: Cleanup, name: string, flags: number): number {
  const fd = raw.shm_open(name, flags, 0o666);
  undoAfter(t, () => raw.close(fd));
  return fd;
}

test(
  "a named object begins empty, grows as zeros, and is one for all who open it",
  onTmpfs,
  (t) => {
    const name = newName(t);
    const fd = open(t, name, O_CREAT | O_RDWR);
    assert.equal(statSync(pathOf(fd)).size, 0);
    truncateSync(pathOf(fd), pageSize);
    const address = map(t, pageSize, { fd });
    assert.equal(peek(address)?.[0], 0);
    raw.view(address, 1)[0] = 50;
    assert.equal(peek(map(t, pageSize, { fd: open(t, name, O_RDWR) }))?.[0], 50);
    assert.equal(readFileSync(`/dev/shm${name}`)[0], 50);
    assert.equal(openFlags(fd) & closeOnExec, closeOnExec);
  },
);

test("O_EXCL refuses a name that stands, and without O_CREAT a name must stand", onTmpfs, (t) => {
  const name = newName(t);
  refuses(() => raw.shm_open(name, O_RDWR, 0), "ENOENT");
  open(t, name, O_CREAT | O_EXCL | O_RDWR);
  refuses(() => raw.shm_open(name, O_CREAT | O_EXCL | O_RDWR, 0o600), "EEXIST");
});

test("O_TRUNC empties an object, on Linux also when it is opened for reading", onTmpfs, (t) => {
  const name = newName(t);
  for (const flags of [O_RDWR, O_RDONLY]) {
    const fd = open(t, name, O_CREAT | O_RDWR);
    truncateSync(pathOf(fd), pageSize);
    assert.equal(statSync(pathOf(open(t, name, flags | O_TRUNC))).size, 0);
  }
});

test("an object that was opened for reading is mapped for reading alone", onTmpfs, (t) => {
  const name = newName(t);
  truncateSync(pathOf(open(t, name, O_CREAT | O_RDWR)), pageSize);
  const fd = open(t, name, O_RDONLY);
  refuses(() => raw.mmap(null, pageSize, rw, raw.MAP_SHARED, fd, 0), "EACCES");
  assert.equal(peek(map(t, pageSize, { fd, prot: raw.PROT_READ }))?.[0], 0);
});

test("the permissions of a new object are those of mode, less the umask", onTmpfs, (t) => {
  const name = newName(t);
  const fd = open(t, name, O_CREAT | O_RDWR);
  assert.equal(statSync(pathOf(fd)).mode & 0o777, 0o666 & ~process.umask());
});

test(
  "shm_unlink takes the name; what is mapped stays, and a new object has the name",
  onTmpfs,
  (t) => {
    const name = newName(t);
    const fd = open(t, name, O_CREAT | O_RDWR);
    truncateSync(pathOf(fd), pageSize);
    const address = map(t, pageSize, { fd });
    raw.view(address, 1)[0] = 50;
    raw.shm_unlink(name);
    refuses(() => raw.shm_open(name, O_RDWR, 0), "ENOENT");
    refuses(() => raw.shm_unlink(name), "ENOENT");
    assert.equal(statSync(pathOf(open(t, name, O_CREAT | O_RDWR))).size, 0);
    assert.equal(peek(address)?.[0], 50);
  },
);

test("a name is one slash and up to 255 other bytes", onTmpfs, () => {
  for (const name of ["", "/", "/a/b", "/..", "/."]) {
    assert.throws(() => raw.shm_open(name, O_CREAT | O_RDWR, 0o600), SystemError, name);
  }
  refuses(() => raw.shm_open("/a/b", O_CREAT | O_RDWR, 0o600), "EINVAL");
  refuses(() => raw.shm_open(`/${"x".repeat(256)}`, O_CREAT | O_RDWR, 0o600), "ENAMETOOLONG");
  refuses(() => raw.shm_unlink(`/${"x".repeat(256)}`), "ENAMETOOLONG");
});

test("permissions hold for who opens or unlinks an object", onTmpfs, async (t) => {
  if (process.getuid?.() !== 0) return t.skip("needs root");
  const name = newName(t);
  chmodSync(pathOf(open(t, name, O_CREAT | O_RDWR)), 0o600);
  const stdout = await limitedOutput(`
    dropRights();
    const name = ${JSON.stringify(name)};
    const code = (call) => failure(call).split(" | ")[1] ?? "taken";
    console.log(code(() => raw.shm_open(name, 2, 0)), code(() => raw.shm_unlink(name)));`);
  // A folder whose names only their owners take away answers EPERM, which the manual does not list.
  assert.match(stdout, /^EACCES (?:EACCES|EPERM)\n$/);
});

test("what a memory file lost reads as zeros in its last page", (t) => {
  const fd = memoryFile(t, 2);
  truncateSync(pathOf(fd), pageSize + 10);
  assert.deepEqual(
    [...(peek(map(t, 2 * pageSize, { fd }) + pages(1), 12) ?? [])].slice(8),
    [2, 2, 0, 0],
  );
});
