// What a file can be that the raw door maps: regular files on each file system, memory, devices,
// and what has no memory to map. Each shows its content, or the error of the manual. Sockets are
// in sockets.test.ts.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { areaAt } from "../helpers/proc-self.js";
import { mapRaw, memoryFile, readWrite } from "../helpers/raw-memory.js";
import { attachLoop, mountLoop, mountPlain, whyNoLoop, whyNot } from "../helpers/root-powers.js";
import { type Cleanup, needs, tempDir, undoAfter } from "../helpers/temp.js";

const { MAP_PRIVATE, MAP_SHARED, PROT_EXEC, PROT_READ } = raw;

/** Opens a file until the test ends. */
function open(t: Cleanup, path: string, flags: string | number): number {
  const fd = openSync(path, flags);
  undoAfter(t, () => closeSync(fd));
  return fd;
}

function fileSystemOf(path: string): string {
  return spawnSync("stat", ["-f", "-c", "%T", path], { encoding: "utf8" }).stdout.trim();
}

/** Opens a file for a moment, to write one byte. */
function writeByte(path: string, byte: number, offset: number): void {
  const fd = openSync(path, "r+");
  writeSync(fd, Buffer.from([byte]), 0, 1, offset);
  closeSync(fd);
}

/** A file of a page and a half: shared and private, and the rest of its last page. */
function showsFile(t: Cleanup, folder: string): void {
  const path = join(folder, "data.bin");
  const byteLength = 1.5 * pageSize;
  writeFileSync(path, Buffer.alloc(byteLength, 5));
  const fd = openSync(path, "r+");
  const length = 2 * pageSize;
  const shared = mapRaw(t, { length, flags: MAP_SHARED, fd });
  const own = mapRaw(t, { length, flags: MAP_PRIVATE, fd });
  closeSync(fd);
  const bytes = raw.view(shared, length);
  assert.equal(areaAt(shared)?.inode, BigInt(statSync(path).ino));
  assert.deepEqual([bytes[0], bytes[byteLength - 1], bytes[byteLength]], [5, 5, 0]);
  assert.ok(bytes.subarray(byteLength).every((byte) => byte === 0));

  bytes[0] = 9;
  raw.view(own, length)[1] = 7;
  writeByte(path, 8, 2);
  bytes[byteLength + 10] = 1; // behind the end: not of the file
  raw.msync(shared, length, raw.MS_SYNC);
  assert.deepEqual([...bytes.subarray(0, 4)], [9, 5, 8, 5]);
  const content = readFileSync(path);
  assert.deepEqual([content.length, ...content.subarray(0, 4)], [byteLength, 9, 5, 8, 5]);
}

test("a file on ext4 is mapped: shared, private and its last page", {
  skip: whyNoLoop("ext4"),
}, (t) => {
  const folder = mountLoop(t, "ext4");
  assert.equal(fileSystemOf(folder), "ext2/ext3");
  showsFile(t, folder);
});

test("a file on ext4 with blocks of 1 KiB is mapped in pages all the same", {
  skip: whyNoLoop("ext4-1k"),
}, (t) => {
  showsFile(t, mountLoop(t, "ext4-1k"));
});

test("a file on xfs is mapped: shared, private and its last page", {
  skip: whyNoLoop("xfs"),
}, (t) => {
  const folder = mountLoop(t, "xfs");
  assert.equal(fileSystemOf(folder), "xfs");
  showsFile(t, folder);
});

test("a file on btrfs is mapped: shared, private and its last page", {
  skip: whyNoLoop("btrfs"),
}, (t) => {
  const folder = mountLoop(t, "btrfs");
  assert.equal(fileSystemOf(folder), "btrfs");
  showsFile(t, folder);
});

const onMemory = needs({ fileSystem: "tmpfs", at: "/dev/shm" });

test("a file on tmpfs is mapped: shared, private and its last page", onMemory, (t) => {
  showsFile(t, tempDir(t, "/dev/shm"));
});

const whyNoOverlay =
  needs("root").skip ||
  (!readFileSync("/proc/filesystems", "utf8").includes("overlay") && "needs overlayfs");

/** An overlay over one file of fives in its lower folder. */
function mountOverlay(t: Cleanup): string {
  const base = mountPlain(t, "tmpfs");
  for (const name of ["lower", "upper", "work"]) mkdirSync(join(base, name));
  writeFileSync(join(base, "lower", "below.bin"), Buffer.alloc(pageSize, 5));
  const [lower, upper, work] = ["lower", "upper", "work"].map((name) => join(base, name));
  return mountPlain(t, "overlay", `lowerdir=${lower},upperdir=${upper},workdir=${work}`);
}

test("a file on overlayfs is mapped: shared, private and its last page", {
  skip: whyNoOverlay,
}, (t) => {
  const folder = mountOverlay(t);
  assert.equal(fileSystemOf(folder), "overlayfs");
  showsFile(t, folder);
});

test("a mapping of a lower file of overlayfs does not follow the copy that a writer makes", {
  skip: whyNoOverlay,
}, (t) => {
  const path = join(mountOverlay(t), "below.bin");
  const before = mapRaw(t, { prot: PROT_READ, flags: MAP_SHARED, fd: open(t, path, "r") });
  assert.equal(raw.view(before, 1)[0], 5);
  writeByte(path, 9, 0);
  const after = mapRaw(t, { prot: PROT_READ, flags: MAP_SHARED, fd: open(t, path, "r") });
  assert.deepEqual([raw.view(before, 1)[0], raw.view(after, 1)[0]], [5, 9]);
});

test("a memory file is mapped, and sealed against writing it is not for shared writing", (t) => {
  const fd = memoryFile(t, pageSize, raw.MFD_CLOEXEC | raw.MFD_ALLOW_SEALING);
  const shared = mapRaw(t, { flags: MAP_SHARED, fd });
  raw.view(shared, 1)[0] = 9;
  assert.equal(readFileSync(`/proc/self/fd/${fd}`)[0], 9);
  assert.match(areaAt(shared)?.name ?? "", /^\/memfd:memmap test/);
  raw.munmap(shared, pageSize);
  raw.view(mapRaw(t, { flags: MAP_PRIVATE, fd }), 1)[0] = 1;
  raw.add_seals(fd, raw.F_SEAL_WRITE);
  assert.throws(() => mapRaw(t, { flags: MAP_SHARED, fd }), { code: "EPERM", syscall: "mmap" });
  const reader = mapRaw(t, { prot: PROT_READ, flags: MAP_SHARED, fd });
  assert.equal(raw.view(reader, 1)[0], 9);
});

test("POSIX shared memory is mapped by its name, and the mapping outlives the name", (t) => {
  const name = `/memmap-test-${process.pid}`;
  const flags = constants.O_CREAT | constants.O_EXCL | constants.O_RDWR;
  const one = raw.shm_open(name, flags, 0o600);
  const other = raw.shm_open(name, constants.O_RDWR, 0);
  writeFileSync(`/dev/shm${name}`, Buffer.alloc(pageSize, 5));
  const first = mapRaw(t, { flags: MAP_SHARED, fd: one });
  const second = mapRaw(t, { flags: MAP_SHARED, fd: other });
  raw.close(one);
  raw.close(other);
  raw.view(first, 1)[0] = 9;
  assert.equal(readFileSync(`/dev/shm${name}`)[0], 9);
  raw.shm_unlink(name);
  assert.deepEqual([...raw.view(second, 2)], [9, 5]);
  assert.match(areaAt(first)?.name ?? "", /\(deleted\)$/);
});

test("/dev/zero is mapped as zeros: two mappings of it have nothing in common", (t) => {
  const fd = open(t, "/dev/zero", "r+");
  for (const flags of [MAP_SHARED, MAP_PRIVATE]) {
    const [one, other] = [mapRaw(t, { flags, fd }), mapRaw(t, { flags, fd })];
    assert.ok(raw.view(one, pageSize).every((byte) => byte === 0));
    raw.view(one, 1)[0] = 9;
    assert.equal(raw.view(other, 1)[0], 0);
  }
  const again = mapRaw(t, { flags: MAP_SHARED, fd });
  assert.equal(raw.view(again, 1)[0], 0);
});

test("a block device is mapped as its bytes, and a write reaches them", {
  skip: whyNot("loop"),
}, (t) => {
  const image = join(tempDir(t), "image");
  writeFileSync(image, Buffer.alloc(2 ** 20, 5));
  const device = attachLoop(t, image);
  const fd = openSync(device, "r+");
  const address = raw.mmap(null, pageSize, readWrite, MAP_SHARED, fd, pageSize);
  closeSync(fd);
  assert.equal(raw.view(address, 1)[0], 5);
  raw.view(address, 1)[0] = 9;
  raw.msync(address, pageSize, raw.MS_SYNC);
  raw.munmap(address, pageSize);
  assert.equal(readFileSync(image)[pageSize], 9);
});

test("devices without memory are ENODEV", (t) => {
  for (const path of ["/dev/null", "/dev/full", "/dev/urandom"]) {
    const fd = open(t, path, "r");
    const map = () => mapRaw(t, { prot: PROT_READ, flags: MAP_SHARED, fd });
    assert.throws(map, { name: "SystemError", code: "ENODEV", syscall: "mmap" }, path);
  }
});

test("a folder is ENODEV", (t) => {
  const fd = open(t, tempDir(t), "r");
  for (const flags of [MAP_SHARED, MAP_PRIVATE]) {
    const map = () => mapRaw(t, { prot: PROT_READ, flags, fd });
    assert.throws(map, { code: "ENODEV", syscall: "mmap" });
  }
});

test("a pipe is ENODEV, and its end for writing EACCES", (t) => {
  const path = join(tempDir(t), "pipe");
  assert.equal(spawnSync("mkfifo", [path]).status, 0);
  const both = open(t, path, constants.O_RDWR);
  const reader = open(t, path, constants.O_RDONLY | constants.O_NONBLOCK);
  const writer = open(t, path, constants.O_WRONLY | constants.O_NONBLOCK);
  const map = (fd: number) => () => mapRaw(t, { prot: PROT_READ, flags: MAP_SHARED, fd });
  assert.throws(map(both), { code: "ENODEV", syscall: "mmap" });
  assert.throws(map(reader), { code: "ENODEV", syscall: "mmap" });
  assert.throws(map(writer), { code: "EACCES", syscall: "mmap" });
});

test("files of /proc are ENODEV or EIO, but for those that lead to other files", (t) => {
  for (const path of ["/proc/self/maps", "/proc/self/mem", "/proc/self/environ"]) {
    const map = () => mapRaw(t, { prot: PROT_READ, flags: MAP_PRIVATE, fd: open(t, path, "r") });
    assert.throws(map, { code: "ENODEV", syscall: "mmap" }, path);
  }
  const map = () => {
    mapRaw(t, { prot: PROT_READ, flags: MAP_PRIVATE, fd: open(t, "/proc/cpuinfo", "r") });
  };
  assert.throws(map, (error) => {
    return error instanceof Error && "code" in error && /^(EIO|ENODEV)$/.test(String(error.code));
  });
  const program = mapRaw(t, {
    prot: PROT_READ,
    flags: MAP_PRIVATE,
    fd: open(t, "/proc/self/exe", "r"),
  });
  assert.deepEqual([...raw.view(program, 4)], [...Buffer.from("\x7fELF")]);
});

test("how a file was opened bounds its mappings: EACCES and EBADF", (t) => {
  const path = join(tempDir(t), "data.bin");
  writeFileSync(path, Buffer.alloc(pageSize, 5));
  const reader = open(t, path, "r");
  const writer = open(t, path, constants.O_WRONLY);
  const map = (plan: { fd: number; flags: number; prot?: number }) => () => mapRaw(t, plan);
  assert.throws(map({ fd: reader, flags: MAP_SHARED }), { code: "EACCES", syscall: "mmap" });
  raw.view(mapRaw(t, { fd: reader, flags: MAP_PRIVATE }), 1)[0] = 9;
  for (const flags of [MAP_SHARED, MAP_PRIVATE]) {
    assert.throws(map({ fd: writer, flags }), { code: "EACCES" });
    assert.throws(map({ fd: writer, flags, prot: PROT_READ }), { code: "EACCES" });
  }
  const closed = openSync(path, "r");
  closeSync(closed);
  const missing = raw.memfd_create("closed", 0);
  raw.close(missing);
  assert.throws(map({ fd: missing, flags: MAP_PRIVATE }), { code: "EBADF", syscall: "mmap" });
});

test("a file where nothing may be executed is EPERM with PROT_EXEC", needs("root"), (t) => {
  const path = join(mountPlain(t, "tmpfs", "noexec"), "code.bin");
  writeFileSync(path, Buffer.alloc(pageSize));
  const fd = openSync(path, "r");
  const map = () => mapRaw(t, { prot: PROT_READ | PROT_EXEC, flags: MAP_PRIVATE, fd });
  assert.throws(map, { code: "EPERM", syscall: "mmap" });
  const address = raw.mmap(null, pageSize, PROT_READ, MAP_PRIVATE, fd, 0);
  closeSync(fd);
  const change = () => raw.mprotect(address, pageSize, PROT_READ | PROT_EXEC);
  assert.throws(change, { code: "EACCES", syscall: "mprotect" });
  raw.munmap(address, pageSize);
});

/** The code of a failure; undefined for a call that does not fail. */
function codeOf(call: () => unknown): string | undefined {
  try {
    call();
    return undefined;
  } catch (error) {
    return error instanceof Error && "code" in error ? String(error.code) : String(error);
  }
}

test("physical memory is a permitted page, or the refusal of the kernel", needs("root"), (t) => {
  const path = join(tempDir(t), "mem");
  assert.equal(spawnSync("mknod", [path, "c", "1", "1"]).status, 0);
  const refused = codeOf(() => closeSync(openSync(path, "r")));
  if (refused !== undefined) {
    // No such driver; locked down; a folder where devices do not count.
    assert.match(refused, /^(ENXIO|EPERM|EACCES)$/);
    return;
  }
  const fd = open(t, path, "r");
  const offset = 0xf_0000; // the firmware's, on a PC
  const expected = Buffer.alloc(16);
  const readCode = codeOf(() => readSync(fd, expected, 0, 16, offset));
  const plan = { prot: PROT_READ, flags: MAP_SHARED, fd, offset };
  const mapCode = codeOf(() => mapRaw(t, plan));
  if (mapCode === undefined) {
    const bytes = raw.view(mapRaw(t, plan), 16);
    if (readCode === undefined) assert.deepEqual([...bytes], [...expected]);
    raw.check(mapRaw(t, plan), pageSize);
  } else {
    assert.match(mapCode, /^(EPERM|EINVAL|EAGAIN)$/);
  }
});
