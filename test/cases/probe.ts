// What this kernel was found to do where manuals are silent, or say something else: unknown bits,
// address 0, the end of a file, private copies, page-out, seals, other processes.

import {
  closeSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { noCompiler } from "../helpers/compile.js";
import { ext4Folder, noExt4 } from "../helpers/ext4.js";
import { limitedOutput } from "../helpers/ordinary-user.js";
import { pageTable, permissionsAt } from "../helpers/proc-self.js";
import {
  anonymous,
  faultOf,
  mapPages,
  numbered,
  openFile,
  openUntilEnd,
  pages,
  peek,
  rw,
} from "../helpers/raw-pages.js";
import { mountPlain, takePower } from "../helpers/root-powers.js";
import { makeArena, syscall } from "../helpers/syscalls.js";
import { needs, tempDir } from "../helpers/temp.js";
import type { Case, CaseContext, Check } from "./case.js";
import { checkRemoteAdvice } from "./probe-remote.js";

const { MAP_PRIVATE, PROT_NONE, PROT_READ } = raw;

/* Hole and KEEP_SIZE, of fallocate(2). */
const punchHole = 0x02 | 0x01;

/* A memory file that the runtime has opened: not every one uses descriptors of others. */
function memoryFile(t: CaseContext, content: Uint8Array, flags = 0): number {
  const made = raw.memfd_create("case", flags);
  const fd = openUntilEnd(t, `/proc/self/fd/${made}`, "r+");
  raw.close(made);
  writeSync(fd, content, 0, content.length, 0);
  return fd;
}

function fill(byte: number, length = pageSize): Uint8Array {
  return new Uint8Array(length).fill(byte);
}

/* A byte stored past the end, and what stands there once the file is a page long. */
function byteBehindEnd(t: CaseContext, fd: number): number | undefined {
  const view = raw.view(mapPages(t, 1, { fd }), pageSize);
  view[100] = 77;
  ftruncateSync(fd, pageSize);
  return view[100];
}

/* Tries to make a mapping a fixed buffer of an io_uring. */
function registerBuffer(t: CaseContext, address: bigint): number {
  const arena = makeArena(t);
  const ring = syscall(t, "io_uring_setup", 1, arena.room(128).address);
  try {
    return syscall(t, "io_uring_register", ring, 0, arena.words(address, pageSize), 1);
  } finally {
    syscall(t, "close", ring);
  }
}

/* Why no io_uring can be made; false where one can. */
function whyNoRing(): string | false {
  try {
    const setting = readFileSync("/proc/sys/kernel/io_uring_disabled", "utf8").trim();
    return setting !== "0" && "needs io_uring, which is disabled here";
  } catch {
    return "needs a kernel with io_uring since 6.6";
  }
}

async function checkZero(check: Check): Promise<void> {
  const code = `
    const flags = raw.MAP_PRIVATE | raw.MAP_ANONYMOUS | raw.MAP_FIXED;
    const map = () => raw.mmap(0n, pageSize, raw.PROT_READ, flags, -1, 0);
    const address = map();
    const [row] = fs.readFileSync("/proc/self/maps", "utf8").split("\\n");
    raw.mprotect(address, pageSize, raw.PROT_NONE);
    const [after] = fs.readFileSync("/proc/self/maps", "utf8").split("\\n");
    raw.munmap(address, pageSize);
    const [end] = fs.readFileSync("/proc/self/maps", "utf8").split("\\n");
    dropRights();
    const refusal = failure(map);
    console.log(JSON.stringify({ address: String(address), row, after, end, refusal }));`;
  const { address, row, after, end, refusal } = JSON.parse(await limitedOutput(code));
  check.equal(address, "0");
  const range = `^0+-0*${pageSize.toString(16)}`;
  check.match(row, new RegExp(`${range} r--p`));
  check.match(after, new RegExp(`${range} ---p`));
  check.ok(!new RegExp(range).test(end), end);
  check.match(refusal, /^SystemError \| EPERM \| mmap/);
}

async function checkPageOut(check: Check, t: CaseContext): Promise<void> {
  await takePower(t, "swap");
  if (readFileSync("/proc/swaps", "utf8").trimEnd().split("\n").length > 1) {
    return t.skip("needs a machine that does not swap");
  }
  const address = mapPages(t, 4, { fd: memoryFile(t, numbered(4)) });
  raw.view(address, 4 * pageSize).fill(1);
  check.equal(pageTable(address, 4).present, 4);
  // Pages that another processor holds in a batch are passed over, so it is asked again.
  for (let tries = 0; tries < 50 && pageTable(address, 4).present > 0; tries++) {
    raw.madvise(address, 4 * pageSize, raw.MADV_PAGEOUT);
    await sleep(10);
  }
  check.equal(pageTable(address, 4).present, 0);
  check.deepEqual(
    [...raw.mincore(address, 4 * pageSize)].map((byte) => byte & 1),
    [1, 1, 1, 1],
  );
  check.ok(raw.view(address, 4 * pageSize).every((byte) => byte === 1));
}

/** What cachestat and mincore say of a file that was just written. */
function checkOverlay(check: Check, t: CaseContext): void {
  const base = tempDir(t);
  const [lower, upper, work] = ["lower", "upper", "work"].map((name) => {
    mkdirSync(join(base, name));
    return join(base, name);
  });
  const path = join(
    mountPlain(t, "overlay", `lowerdir=${lower},upperdir=${upper},workdir=${work}`),
    "data.bin",
  );
  writeFileSync(path, numbered(4));
  const fd = openSync(path, "r");
  const address = raw.mmap(null, 4 * pageSize, PROT_READ, MAP_PRIVATE, fd, 0);
  const counts = raw.cachestat(fd, { off: 0, len: 0 }, 0);
  const resident = [...raw.mincore(address, 4 * pageSize)];
  raw.munmap(address, 4 * pageSize);
  closeSync(fd);
  check.deepEqual(Object.values(counts), [0, 0, 0, 0, 0]);
  check.deepEqual(resident, [1, 1, 1, 1]);
  const below = openSync(join(upper ?? "", "data.bin"), "r");
  check.equal(raw.cachestat(below, { off: 0, len: 0 }, 0).nr_cache, 4, "the file underneath");
  closeSync(below);
}

function checkForcedWrites(check: Check, t: CaseContext): void {
  const memory = openUntilEnd(t, "/proc/self/mem", "r+");
  const source = makeArena(t).bytes(new Uint8Array([5, 6, 7]));
  const write = (address: bigint) => syscall(t, "pwrite64", memory, source, 3, address);
  for (const prot of [PROT_READ, PROT_NONE]) {
    const address = mapPages(t, 1, { prot });
    check.equal(write(address + 10n), 3);
    check.deepEqual(peek(address + 9n, 5), [0, 5, 6, 7, 0]);
    check.equal(permissionsAt(address)[1], "-");
  }
  const fd = openFile(t, numbered(1));
  const own = mapPages(t, 1, { fd, prot: PROT_READ, flags: MAP_PRIVATE });
  check.equal(write(own), 3);
  check.deepEqual(peek(own, 3), [5, 6, 7], "a copy");
  const shared = mapPages(t, 1, { fd, prot: PROT_READ });
  check.deepEqual(peek(shared, 3), [1, 1, 1], "the file does not change");
  check.refuses(() => write(shared), "EIO");
  check.deepEqual(peek(shared, 3), [1, 1, 1]);
}

const pageEnds: readonly Case[] = [
  {
    id: "probe:tmpfs-tail-leak",
    says: "a byte stored past the end becomes the file's when it grows: in memory, not on ext4",
    skip: noExt4,
    run: (check, t) => {
      check.equal(byteBehindEnd(t, memoryFile(t, fill(1, 5))), 77);
      if (!needs({ fileSystem: "tmpfs", at: "/dev/shm" }).skip) {
        check.equal(byteBehindEnd(t, openFile(t, fill(1, 5), "/dev/shm")), 77);
      }
      check.equal(byteBehindEnd(t, openFile(t, fill(1, 5), ext4Folder(t))), 0);
    },
  },
  {
    id: "probe:private-sees-writes",
    says: "a private page shows what is written to the file until it is stored to, and never again",
    run: (check, t) => {
      for (const fd of [openFile(t, fill(1)), memoryFile(t, fill(1))]) {
        const view = raw.view(mapPages(t, 1, { fd, flags: MAP_PRIVATE }), pageSize);
        writeSync(fd, fill(2, 10), 0, 10, 0);
        check.equal(view[0], 2, "never touched before");
        writeSync(fd, fill(3, 10), 0, 10, 0);
        check.equal(view[0], 3, "read before");
        view[pageSize - 1] = 9;
        writeSync(fd, fill(4, 10), 0, 10, 0);
        check.equal(view[0], 3, "stored to");
      }
    },
  },
  {
    id: "probe:private-punch",
    says: "a private copy of a page outlives a hole in the file, but not a file that was cut",
    skip: noCompiler,
    run: (check, t) => {
      for (const fd of [openFile(t, numbered(2)), memoryFile(t, numbered(2))]) {
        const address = mapPages(t, 2, { fd, flags: MAP_PRIVATE });
        const view = raw.view(address, 2 * pageSize);
        view[0] = 9;
        syscall(t, "fallocate", fd, punchHole, 0, 2 * pageSize);
        check.equal(view[0], 9);
        check.equal(view[1], 1, "copied with the page");
        check.equal(view[pageSize], 0, "no copy");
        ftruncateSync(fd, 0);
        const fault = faultOf(address, pageSize, () => check.equal(view[0], 0));
        check.equal(fault.reason, "truncated");
      }
    },
  },
  {
    id: "probe:populate-past-eof",
    says: "POPULATE_READ past the end of the file fails, and has brought in the pages before it",
    skip: needs({ kernel: "5.14" }).skip,
    run: (check, t) => {
      for (const fd of [openFile(t, numbered(2)), memoryFile(t, numbered(2))]) {
        const address = mapPages(t, 4, { fd });
        const populate = (count: number) =>
          raw.madvise(address, count * pageSize, raw.MADV_POPULATE_READ);
        check.refuses(() => populate(4), "EFAULT");
        check.equal(pageTable(address, 2).present, 2);
        check.equal(pageTable(address + pages(2), 2).present, 0);
        populate(2);
      }
    },
  },
  {
    id: "probe:read-straddle-eof",
    says: "read(2) into pages of which the second lies past the end of their file is short",
    skip: noCompiler,
    run: (check, t) => {
      const zero = openUntilEnd(t, "/dev/zero", "r");
      const source = openFile(t, fill(8, 2 * pageSize));
      for (const fd of [openFile(t, numbered(1)), memoryFile(t, numbered(1))]) {
        const address = mapPages(t, 2, { fd });
        check.equal(syscall(t, "read", zero, address, 2 * pageSize), pageSize);
        check.deepEqual(peek(address + pages(1) - 2n, 2), [0, 0]);
        check.equal(syscall(t, "pread64", source, address, 2 * pageSize, 0), pageSize);
        check.deepEqual(peek(address + pages(1) - 2n, 2), [8, 8]);
        check.refuses(() => syscall(t, "read", zero, address + pages(1), pageSize), "EFAULT");
        raw.check(address, 2 * pageSize);
      }
    },
  },
];

export const probeCases: readonly Case[] = [
  {
    id: "probe:mmap-flag3-file",
    says: "SHARED and PRIVATE together are SHARED_VALIDATE: a file is mapped shared",
    run: (check, t) => {
      for (const fd of [openFile(t, numbered(1)), memoryFile(t, numbered(1))]) {
        const address = mapPages(t, 1, { fd, flags: raw.MAP_SHARED | MAP_PRIVATE });
        const other = mapPages(t, 1, { fd });
        check.equal(permissionsAt(address), "rw-s");
        raw.view(address, 1)[0] = 55;
        check.equal(peek(other)[0], 55);
      }
    },
  },
  {
    id: "probe:mmap-prot-unknown",
    says: "an unknown bit of protection is nothing to mmap, and an error to mprotect",
    run: (check, t) => {
      const address = mapPages(t, 1, { prot: PROT_READ | 0x100, flags: anonymous });
      check.equal(permissionsAt(address), "r--p");
      check.refuses(() => raw.mprotect(address, pageSize, rw | 0x100), "EINVAL");
      check.equal(permissionsAt(address), "r--p");
      raw.mprotect(address, pageSize, rw);
      check.equal(permissionsAt(address), "rw-p");
    },
  },
  {
    id: "probe:mmap-zero-root",
    says: "address 0 is an address where root asks for it, and refused to others",
    skip: needs("root").skip,
    run: checkZero,
  },
  ...pageEnds,
  {
    id: "probe:shmem-pageout-without-swap",
    says: "page-out of a memory file without swap empties the page table, and frees nothing",
    skip: needs({ kernel: "5.4" }).skip,
    run: checkPageOut,
  },
  {
    id: "probe:cachestat-overlayfs",
    says: "cachestat of a file on overlayfs counts nothing, although its pages are in memory",
    skip: needs("root", { kernel: "6.5" }).skip,
    run: checkOverlay,
  },
  {
    id: "probe:iouring-fixed-file-map",
    says: "a shared mapping of a file on ext4 is no fixed buffer of io_uring; memory is",
    skip: noCompiler || noExt4 || whyNoRing(),
    run: (check, t) => {
      check.equal(registerBuffer(t, mapPages(t, 1)), 0);
      check.equal(registerBuffer(t, mapPages(t, 1, { fd: memoryFile(t, numbered(1)) })), 0);
      const fd = openFile(t, numbered(1), ext4Folder(t));
      check.equal(registerBuffer(t, mapPages(t, 1, { fd, flags: MAP_PRIVATE })), 0);
      const shared = mapPages(t, 1, { fd });
      check.refuses(() => registerBuffer(t, shared), "EFAULT", "EOPNOTSUPP");
    },
  },
  {
    id: "probe:seal-exec-implies-write",
    says: "F_SEAL_EXEC on executable memory seals writing too: a writable mapping forbids it",
    skip: !raw.accepts("F_SEAL_EXEC") && "needs a kernel with F_SEAL_EXEC",
    run: (check, t) => {
      const fd = memoryFile(t, numbered(1), raw.MFD_ALLOW_SEALING | raw.MFD_EXEC);
      const address = mapPages(t, 1, { fd });
      check.refuses(() => raw.add_seals(fd, raw.F_SEAL_EXEC), "EBUSY");
      check.equal(raw.get_seals(fd), 0);
      raw.munmap(address, pageSize);
      raw.add_seals(fd, raw.F_SEAL_EXEC);
      const { F_SEAL_EXEC, F_SEAL_FUTURE_WRITE, F_SEAL_GROW, F_SEAL_SHRINK, F_SEAL_WRITE } = raw;
      const writing = F_SEAL_FUTURE_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_WRITE;
      check.equal(raw.get_seals(fd), F_SEAL_EXEC | writing);
      check.refuses(() => mapPages(t, 1, { fd }), "EPERM");
    },
  },
  {
    id: "probe:process_madvise-remote-set",
    says: "another process takes WILLNEED, COLD, PAGEOUT and COLLAPSE alone; oneself takes any",
    skip: needs("root", { kernel: "6.13" }).skip,
    run: checkRemoteAdvice,
  },
  {
    id: "probe:proc-mem-shared-ro",
    says: "/proc/self/mem writes a private page by force, and no shared one that is read-only",
    skip: noCompiler,
    run: checkForcedWrites,
  },
];
