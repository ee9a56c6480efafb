// How much of a file the page cache holds.

import { spawnSync } from "node:child_process";
import { fsyncSync, truncateSync, writeFileSync, writeSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { descriptors } from "../helpers/proc-self.js";
import { needs, tempDir } from "../helpers/temp.js";
import type { Case, CaseContext, Check } from "./case.js";
import * as memory from "./memory.js";

const { bytes } = memory;

const skip = needs({ kernel: "6.5" }).skip;
const whole = { off: 0, len: 0 };

/** O_PATH, which node:fs does not name: the same number on x86-64 and arm64. */
const O_PATH = 0o10000000;

/** All pages that the cache has, or had. */
function seen({ nr_cache, nr_evicted }: raw.CacheStat): number {
  return nr_cache + nr_evicted;
}

function countOnDisk(check: Check, t: CaseContext): void {
  for (const pageCount of [1, 2, 16, 256, 8192]) {
    const path = memory.makeFile(t, new Uint8Array(0));
    const fd = memory.open(t, path, "r+");
    writeSync(fd, new Uint8Array(bytes(pageCount)).fill(1));
    const written = raw.cachestat(fd, { off: 0, len: bytes(pageCount) }, 0);
    check.equal(seen(written), pageCount);
    fsyncSync(fd);
    const synced = raw.cachestat(fd, whole, 0);
    check.equal(seen(synced), pageCount);
    check.equal(synced.nr_dirty, 0);
  }
}

function countInMemory(check: Check, t: CaseContext): void {
  const fd = memory.memoryFile(t, new Uint8Array(0));
  const pageCount = 64;
  truncateSync(`/proc/self/fd/${fd}`, bytes(2 * pageCount));
  check.equal(seen(raw.cachestat(fd, whole, 0)), 0);
  writeFileSync(`/proc/self/fd/${fd}`, new Uint8Array(bytes(pageCount)).fill(1), { flag: "r+" });
  check.equal(seen(raw.cachestat(fd, whole, 0)), pageCount);
  const middle = raw.cachestat(fd, { off: bytes(16), len: bytes(8) }, 0);
  check.equal(seen(middle), 8);
  const end = raw.cachestat(fd, { off: bytes(pageCount - 4), len: bytes(8) }, 0);
  check.equal(seen(end), 4);
}

/** A descriptor of a socket: of a server that waits, on every runtime. */
async function openSocket(t: CaseContext): Promise<number> {
  const known = new Set(descriptors().values());
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(join(tempDir(t), "socket"), resolve));
  t.after(() => server.close());
  const found = [...descriptors()].find(
    ([, name]) => !known.has(name) && name.startsWith("socket:"),
  );
  return found?.[0] ?? -1;
}

async function countNothing(check: Check, t: CaseContext): Promise<void> {
  const folder = tempDir(t);
  const fifo = join(folder, "fifo");
  check.equal(spawnSync("mkfifo", [fifo]).status, 0);
  const pipe = memory.open(t, fifo, "r+");
  writeSync(pipe, "abc");
  const files = [
    pipe,
    await openSocket(t),
    memory.open(t, "/dev/zero", "r"),
    memory.open(t, "/proc/self/maps", "r"),
    memory.open(t, folder, "r"),
  ];
  for (const fd of files) {
    check.deepEqual(raw.cachestat(fd, whole, 0), {
      nr_cache: 0,
      nr_dirty: 0,
      nr_writeback: 0,
      nr_evicted: 0,
      nr_recently_evicted: 0,
    });
  }
  const path = memory.open(t, memory.makeFile(t, memory.numbered(1)), O_PATH);
  check.refuses(() => raw.cachestat(path, whole, 0), "EBADF");
  check.refuses(() => raw.cachestat(-1, whole, 0), "EBADF");
}

export const cachestatCases: readonly Case[] = [
  {
    id: "ltp:cachestat01",
    says: "written pages of a file on disk are in the cache, and not dirty after fsync",
    skip: skip || needs({ fileSystem: "ext4", at: tmpdir() }).skip,
    run: countOnDisk,
  },
  {
    id: "ltp:cachestat02",
    says: "written pages of a memory file are in the cache, and counted by range",
    skip,
    run: countInMemory,
  },
  {
    id: "ltp:cachestat03#3",
    says: "flags are refused",
    skip,
    run(check, t) {
      const fd = memory.memoryFile(t, new Uint8Array(pageSize));
      check.refuses(() => raw.cachestat(fd, whole, -1), "EINVAL");
      check.refuses(() => raw.cachestat(fd, whole, 1), "EINVAL");
    },
  },
  {
    id: "ltp:cachestat04",
    says: "what has no page cache counts nothing, and a mere path is no descriptor",
    skip,
    run: countNothing,
  },
];
