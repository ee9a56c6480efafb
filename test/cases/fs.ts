// File systems under mappings: writes whose source is a mapping of the same file, what stands past
// the end after the file was cut, swap files, and the blocks of sparse files.

import {
  constants,
  fstatSync,
  ftruncateSync,
  readFileSync,
  readSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { mapFileSync, pageSize } from "memmap";
import * as raw from "memmap/raw";
import { noCompiler } from "../helpers/compile.js";
import { ext4Folder, noExt4, noExt4Here } from "../helpers/ext4.js";
import { faultOf, mapPages, numbered, openFile, openUntilEnd } from "../helpers/raw-pages.js";
import { addSwap, whyNot } from "../helpers/root-powers.js";
import { makeArena, syscall } from "../helpers/syscalls.js";
import { tempDir } from "../helpers/temp.js";
import type { Case, CaseContext, Check } from "./case.js";

/* Where a file may stand: on the disk, or in memory. */
function openKinds(t: CaseContext, content: Uint8Array): number[] {
  const made = raw.memfd_create("case", 0);
  // Opened again by the runtime, since not every one uses descriptors that others have made.
  const fd = openUntilEnd(t, `/proc/self/fd/${made}`, "r+");
  raw.close(made);
  writeSync(fd, content, 0, content.length, 0);
  return [openFile(t, content), fd];
}

function contentOf(fd: number): Uint8Array {
  const bytes = new Uint8Array(fstatSync(fd).size);
  readSync(fd, bytes, 0, bytes.length, 0);
  return bytes;
}

/* Modes of fallocate(2), from its header. */
const punchHole = 0x02 | 0x01;
const collapseRange = 0x08;
const zeroRange = 0x10;

/** Cuts a file inside its last page in several ways; what a mapping shows past the end is zero. */
function checkTail(check: Check, t: CaseContext, folder: string): void {
  const change = (fd: number, mode: number, [from, length]: readonly [number, number]) =>
    syscall(t, "fallocate", fd, mode, from, length);
  const ways: Readonly<Record<string, (fd: number) => void>> = {
    truncated: (fd) => ftruncateSync(fd, 5 * pageSize + 77),
    "collapsed, then truncated": (fd) => {
      change(fd, collapseRange, [pageSize, pageSize]);
      ftruncateSync(fd, 3 * pageSize + 77);
    },
    "set to zeros over the end, then truncated": (fd) => {
      change(fd, zeroRange, [pageSize + 10, 8 * pageSize]);
      ftruncateSync(fd, 2 * pageSize + 77);
    },
    "punched, grown and truncated": (fd) => {
      change(fd, punchHole, [3 * pageSize, 100]);
      ftruncateSync(fd, 9 * pageSize);
      ftruncateSync(fd, 3 * pageSize + 77);
    },
  };
  for (const [name, way] of Object.entries(ways)) {
    const fd = openFile(t, numbered(6), folder);
    const early = raw.view(mapPages(t, 6, { fd }), 6 * pageSize);
    const sum = early.reduce((total, byte) => total + byte, 0);
    way(fd);
    const size = fstatSync(fd).size;
    check.equal(size % pageSize, 77, name);
    const pageCount = Math.ceil(size / pageSize);
    const late = raw.view(mapPages(t, pageCount, { fd }), pageCount * pageSize);
    for (const view of [late, early.subarray(0, pageCount * pageSize)]) {
      check.ok(
        view.subarray(size).every((byte) => byte === 0),
        `${name}: what stands past the end is zero`,
      );
    }
    check.ok(
      sum > 0 && Buffer.from(late.buffer, late.byteOffset, size).equals(contentOf(fd)),
      name,
    );
  }
}

interface SwapFile {
  readonly file: string;
  readonly fd: number;
  /** A mapping from the time before the kernel swapped to it. */
  readonly address: bigint;
}

/** All that would change a file which the kernel swaps to. */
function checkSwapFile(check: Check, t: CaseContext, { file, fd, address }: SwapFile): void {
  const source = mapPages(t, 1);
  raw.view(source, pageSize);
  const path = makeArena(t).text(file);
  const open = (flags: number) => {
    const opened = syscall(t, "openat", 0, path, flags);
    t.after(() => syscall(t, "close", opened));
    return opened;
  };
  check.refuses(() => syscall(t, "pwrite64", fd, source, 10, 0), "ETXTBSY");
  check.refuses(() => open(constants.O_WRONLY | constants.O_TRUNC), "ETXTBSY");
  check.refuses(() => {
    const direct = open(constants.O_RDWR | (constants.O_DIRECT ?? 0));
    syscall(t, "pwrite64", direct, source, pageSize, 0);
  }, "ETXTBSY");
  check.refuses(() => syscall(t, "ftruncate", fd, pageSize), "ETXTBSY");
  for (const mode of [0, punchHole, zeroRange]) {
    check.refuses(() => syscall(t, "fallocate", fd, mode, 0, 64 << 20), "ETXTBSY");
  }
  check.refuses(() => mapPages(t, 1, { fd }), "ETXTBSY");
  check.refuses(() => mapFileSync(file, { protection: "read-write" }), "ETXTBSY");
  const before = raw.view(address, pageSize).slice();
  const fault = faultOf(address, pageSize, () => raw.view(address, pageSize).fill(9));
  check.equal(fault.access, "write");
  check.deepEqual(contentOf(fd).subarray(0, pageSize), before);
}

export const fsCases: readonly Case[] = [
  {
    id: "xfstests:generic/246",
    says: "writev from a buffer and then from an untouched mapping of the same place writes both",
    skip: noCompiler,
    run: (check, t) => {
      const content = numbered(3);
      for (const fd of openKinds(t, content)) {
        const arena = makeArena(t);
        const address = mapPages(t, 3, { fd });
        const length = pageSize - 300;
        const head = arena.bytes(new Uint8Array(100).fill(200));
        const ranges = arena.words(head, 100, address + BigInt(pageSize + 200), length);
        check.equal(syscall(t, "pwritev", fd, ranges, 2, pageSize - 50, 0), 100 + length);
        const expected = content.slice();
        expected.fill(200, pageSize - 50, pageSize + 50);
        expected.fill(2, pageSize + 50, pageSize + 50 + length);
        check.deepEqual(contentOf(fd), expected);
        check.deepEqual(raw.view(address, 3 * pageSize).slice(), expected);
      }
      // A source page that is a hole of the file gives zeros, and the file ends where it should.
      const fd = openFile(t, new Uint8Array(0), tempDir(t));
      ftruncateSync(fd, pageSize);
      const arena = makeArena(t);
      const address = mapPages(t, 1, { fd });
      const ranges = arena.words(arena.bytes(new Uint8Array(10).fill(7)), 10, address + 100n, 20);
      check.equal(syscall(t, "pwritev", fd, ranges, 2, 0, 0), 30);
      check.equal(contentOf(fd).lastIndexOf(7), 9);
      check.equal(fstatSync(fd).size, pageSize);
    },
  },
  {
    id: "xfstests:generic/248",
    says: "writing to a file from a mapping of the very page that is written comes to an end",
    skip: noCompiler,
    run: (check, t) => {
      for (const fd of openKinds(t, numbered(2))) {
        const address = mapPages(t, 2, { fd });
        check.equal(syscall(t, "pwrite64", fd, address + 1000n, 500, 10), 500);
        check.equal(syscall(t, "pwrite64", fd, address, pageSize, 0), pageSize);
        // From the page that ends to the page that begins, neither of them touched before.
        const late = mapPages(t, 2, { fd });
        const middle = BigInt(pageSize - 8);
        check.equal(syscall(t, "pwrite64", fd, late + middle, 16, pageSize - 16), 16);
        // And read into it.
        check.equal(syscall(t, "pread64", fd, late, 100, 50), 100);
        const view = raw.view(late, 2 * pageSize);
        const found = view.subarray(pageSize - 16, pageSize);
        check.deepEqual([...found], [...Array(8).fill(1), ...Array(8).fill(2)]);
        check.deepEqual(contentOf(fd), view.slice());
      }
    },
  },
  {
    id: "xfstests:generic/499",
    says: "what a mapping shows past the end is zero, whatever the file was cut by (ext4)",
    skip: noCompiler || noExt4,
    run: (check, t) => checkTail(check, t, ext4Folder(t)),
  },
  {
    id: "xfstests:generic/569",
    says: "a file that the kernel swaps to is neither written, mapped for writing nor cut",
    skip: whyNot("swap") || noExt4Here || noCompiler,
    run: async (check, t) => {
      let swapFile: SwapFile | undefined;
      await addSwap(t, 8, (file) => {
        const fd = openUntilEnd(t, file, "r+");
        const address = mapPages(t, 1, { fd });
        swapFile = { file, fd, address };
      });
      check.ok(swapFile && readFileSync("/proc/swaps", "utf8").includes(swapFile.file));
      if (swapFile) checkSwapFile(check, t, swapFile);
    },
  },
  {
    id: "xfstests:generic/614",
    says: "a store through a mapping gives an empty file blocks that stat counts (ext4)",
    skip: noExt4,
    run: (check, t) => {
      const file = join(ext4Folder(t), "sparse");
      writeFileSync(file, "");
      const fd = openUntilEnd(t, file, "r+");
      ftruncateSync(fd, 64 * 1024);
      check.equal(fstatSync(fd).blocks, 0);
      const pageCount = (64 * 1024) / pageSize;
      const address = mapPages(t, pageCount, { fd });
      raw.view(address, pageCount * pageSize).fill(1);
      check.ok(fstatSync(fd).blocks > 0, "at once");
      raw.msync(address, 64 * 1024, raw.MS_SYNC);
      check.ok(fstatSync(fd).blocks >= 128, "on the disk");
    },
  },
];
