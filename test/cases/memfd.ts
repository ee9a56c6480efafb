// Memory files: their names, their flags, and what seals forbid.

import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { runSource } from "../helpers/child.js";
import { runtimeName } from "../helpers/runtime.js";
import { needs } from "../helpers/temp.js";
import type { Case, CaseContext, Check } from "./case.js";
import * as memory from "./memory.js";

/** A memory file of so many pages that may be sealed, until the test ends. */
function sealable(t: CaseContext, pageCount: number): number {
  return memory.memoryFile(t, memory.numbered(pageCount), raw.MFD_ALLOW_SEALING);
}

function sizeOf(fd: number): number {
  return memory.statOf(fd).size;
}

function refuseFlags(check: Check): void {
  const known = raw.MFD_CLOEXEC | raw.MFD_ALLOW_SEALING;
  for (const flags of [0x20, 0x100, 0x1000, ~raw.MFD_CLOEXEC, 0x80000000, known | 0x40]) {
    check.refuses(() => raw.memfd_create("flags", flags), "EINVAL");
  }
  for (const flags of [0, raw.MFD_CLOEXEC, known]) {
    const fd = raw.memfd_create("flags", flags);
    check.equal(sizeOf(fd), 0);
    raw.close(fd);
  }
}

function truncateUnderSeal(check: Check, t: CaseContext): void {
  const fd = sealable(t, 2);
  raw.add_seals(fd, raw.F_SEAL_GROW);
  const size = 2 * pageSize;
  check.refuses(() => fs.truncateSync(`/proc/self/fd/${fd}`, size + 1), "EPERM");
  fs.truncateSync(`/proc/self/fd/${fd}`, size);
  check.equal(sizeOf(fd), size);
  fs.truncateSync(`/proc/self/fd/${fd}`, pageSize);
  check.equal(sizeOf(fd), pageSize);
  check.refuses(() => fs.truncateSync(`/proc/self/fd/${fd}`, size), "EPERM");
  check.equal(sizeOf(fd), pageSize);
}

/** How the kernel makes huge pages of memory files: one setting for all. */
function hugeMemoryFiles(): string {
  try {
    const text = fs.readFileSync("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "utf8");
    return /\[(\w+)\]/.exec(text)?.[1] ?? "never";
  } catch {
    return "never"; // A kernel without transparent huge pages.
  }
}

function writeOverSealedEnd(check: Check, t: CaseContext): void {
  const fd = sealable(t, 1);
  raw.add_seals(fd, raw.F_SEAL_GROW);
  const quarter = pageSize / 4;
  const file = memory.reopen(t, fd, "r+");
  const write = () =>
    fs.writeSync(file, new Uint8Array(pageSize).fill(9), 0, pageSize, 3 * quarter);
  const isCut = hugeMemoryFiles() === "never";
  // Deno goes on with the rest of a short write, which is refused then.
  if (isCut && runtimeName !== "deno") check.equal(write(), quarter, "not a short write");
  else check.refuses(write, "EPERM");
  const content = fs.readFileSync(`/proc/self/fd/${fd}`);
  check.deepEqual([content[3 * quarter - 1], content[3 * quarter]], [1, isCut ? 9 : 1]);
  check.equal(sizeOf(fd), pageSize);
}

function sealWhileMapped(check: Check, t: CaseContext): void {
  const seal = (fd: number) => () => raw.add_seals(fd, raw.F_SEAL_WRITE);
  for (const prot of [memory.rw, raw.PROT_READ]) {
    const fd = sealable(t, 1);
    const address = memory.map(t, 1, { fd, prot });
    check.refuses(seal(fd), "EBUSY"); // One that is read-only can become writable.
    check.equal(raw.get_seals(fd), 0);
    raw.munmap(address, pageSize);
    seal(fd)();
    check.equal(raw.get_seals(fd), raw.F_SEAL_WRITE);
  }
  const fd = sealable(t, 1);
  const own = memory.map(t, 1, { fd, flags: raw.MAP_PRIVATE });
  seal(fd)();
  raw.view(own, 1)[0] = 77;
  check.equal(memory.peek(own), 77);
  const file = memory.reopen(t, fd, "r+");
  check.refuses(() => fs.writeSync(file, "x"), "EPERM");
}

function nameAppears(check: Check): void {
  for (const name of ["case-name", ""]) {
    const fd = raw.memfd_create(name, raw.MFD_CLOEXEC);
    check.equal(fs.readlinkSync(`/proc/self/fd/${fd}`), `/memfd:${name} (deleted)`);
    raw.close(fd);
  }
}

function limitName(check: Check): void {
  check.refuses(() => raw.memfd_create("x".repeat(2047), 0), "EINVAL");
  check.refuses(() => raw.memfd_create("x".repeat(250), 0), "EINVAL");
  for (const name of ["x".repeat(249), ""]) {
    const fd = raw.memfd_create(name, 0);
    check.ok(fs.readlinkSync(`/proc/self/fd/${fd}`).startsWith(`/memfd:${name}`));
    raw.close(fd);
  }
}

/* Opens the memory file of the parent, reads it, and writes its second byte. */
const opener = `
  import { closeSync, openSync, readSync, writeSync } from "node:fs";
  const fd = openSync(process.argv[2], "r+");
  const bytes = new Uint8Array(4);
  readSync(fd, bytes, 0, 4, 0);
  writeSync(fd, new Uint8Array([77]), 0, 1, 1);
  closeSync(fd);
  console.log(bytes.join());`;

const sealCases: readonly Case[] = [
  {
    id: "gvisor:memfd.cc:SealingDisabledByDefault",
    says: "a memory file takes no seals unless it was made for them",
    run(check, t) {
      const fd = memory.memoryFile(t, memory.numbered(1));
      check.equal(raw.get_seals(fd), raw.F_SEAL_SEAL);
      check.refuses(() => raw.add_seals(fd, raw.F_SEAL_SHRINK), "EPERM");
      fs.truncateSync(`/proc/self/fd/${fd}`, 0);
      check.equal(sizeOf(fd), 0);
    },
  },
  {
    id: "gvisor:memfd.cc:SealGrowWithTruncate",
    says: "a file that must not grow can be made shorter, and not longer again",
    run: truncateUnderSeal,
  },
  {
    id: "gvisor:memfd.cc:SealGrowPartialWriteTruncated",
    says: "a write over the end of a file that must not grow is cut, or refused as a whole",
    run: writeOverSealedEnd,
  },
  {
    id: "gvisor:memfd.cc:SealWriteWithOutstandingWritbleMapping",
    says: "a file cannot be sealed against writing while shared memory could write it",
    run: sealWhileMapped,
  },
  {
    id: "gvisor:memfd.cc:TmpfsFilesHaveSealSeal",
    says: "an ordinary file on tmpfs takes no seals, and one on disk does not know them",
    skip: needs({ fileSystem: "tmpfs", at: "/dev/shm" }).skip,
    run(check, t) {
      const path = memory.makeFile(t, memory.numbered(1), "/dev/shm");
      const fd = memory.open(t, path, "r+");
      check.equal(raw.get_seals(fd), raw.F_SEAL_SEAL);
      check.refuses(() => raw.add_seals(fd, raw.F_SEAL_SHRINK), "EPERM");
      if (needs({ fileSystem: "ext4", at: tmpdir() }).skip !== false) return;
      const onDisk = memory.open(t, memory.makeFile(t, memory.numbered(1), tmpdir()), "r+");
      check.refuses(() => raw.get_seals(onDisk), "EINVAL");
    },
  },
];

export const memfdCases: readonly Case[] = [
  {
    id: "gvisor:memfd.cc:Name",
    says: "the name shows in the link of the descriptor, as one of a deleted file",
    run: nameAppears,
  },
  {
    id: "ltp:memfd_create02#name",
    says: "a name has at most 249 bytes, and may have none",
    run: limitName,
  },
  {
    id: "ltp:memfd_create02#flags",
    says: "unknown flags are refused",
    run: refuseFlags,
  },
  {
    id: "ksft:memfd_test:test_create#exec",
    says: "a file cannot be executable and never executable at once",
    skip: needs({ kernel: "6.3" }).skip,
    run(check) {
      const both = raw.MFD_EXEC | raw.MFD_NOEXEC_SEAL;
      check.refuses(() => raw.memfd_create("both", both), "EINVAL");
      for (const [flags, mode] of [
        [raw.MFD_EXEC, 0o111],
        [raw.MFD_NOEXEC_SEAL, 0],
      ] as const) {
        const fd = raw.memfd_create("one", flags);
        check.equal(memory.statOf(fd).mode & 0o111, mode);
        raw.close(fd);
      }
    },
  },
  ...sealCases,
  {
    id: "gvisor:memfd.cc:OtherProcessCanOpenFromProcfs",
    says: "another process opens the same object through the descriptor in /proc",
    async run(check, t) {
      const fd = memory.memoryFile(t, Uint8Array.of(1, 2, 3, 4));
      const link = `/proc/${process.pid}/fd/${fd}`;
      const { stdout, stderr } = await runSource(opener, [link]);
      check.equal(stdout, "1,2,3,4\n", stderr);
      const bytes = new Uint8Array(4);
      fs.readSync(memory.reopen(t, fd, "r"), bytes, 0, 4, 0);
      check.deepEqual([...bytes], [1, 77, 3, 4]);
      const own = fs.openSync(link, "r");
      check.equal(fs.fstatSync(own).ino, memory.statOf(fd).ino);
      fs.closeSync(own);
    },
  },
];
