// Named shared memory: who makes an object, how long it lives, and which names it may have.

import * as fs from "node:fs";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { runSource } from "../helpers/child.js";
import { limitedOutput } from "../helpers/ordinary-user.js";
import { runtimeName } from "../helpers/runtime.js";
import { needs } from "../helpers/temp.js";
import type { Case, CaseContext, Check } from "./case.js";
import * as memory from "./memory.js";

const { O_CREAT, O_EXCL, O_RDONLY, O_RDWR } = fs.constants;
const create = O_CREAT | O_EXCL | O_RDWR;

/** Distinguishes the names of one process. */
let nameCount = 0;

/** A name that nobody has; it is free again after the test. */
function newName(t: CaseContext): string {
  const name = `/memmap-case-${process.pid}-${nameCount++}`;
  t.after(() => fs.rmSync(`/dev/shm${name}`, { force: true }));
  return name;
}

/** Opens an object until the test ends. */
function open(t: CaseContext, name: string, oflag: number): number {
  const fd = raw.shm_open(name, oflag, 0o666);
  t.after(() => raw.close(fd));
  return fd;
}

/** A new object of one page; its descriptor is open until the test ends. */
function makePage(t: CaseContext, name: string): number {
  const fd = open(t, name, create);
  fs.truncateSync(`/proc/self/fd/${fd}`, pageSize);
  return fd;
}

function keepsWithoutReference(check: Check, t: CaseContext): void {
  const name = newName(t);
  const fd = raw.shm_open(name, create, 0o600);
  fs.truncateSync(`/proc/self/fd/${fd}`, pageSize);
  const address = raw.mmap(null, pageSize, memory.rw, raw.MAP_SHARED, fd, 0);
  raw.view(address, 3).set([1, 2, 3]);
  raw.munmap(address, pageSize);
  raw.close(fd);
  const again = memory.map(t, 1, { fd: open(t, name, O_RDONLY), prot: raw.PROT_READ });
  check.deepEqual([...raw.view(again, 4)], [1, 2, 3, 0]);
}

function keepsWhileOpen(check: Check, t: CaseContext): void {
  const name = newName(t);
  const fd = makePage(t, name);
  const address = raw.mmap(null, pageSize, memory.rw, raw.MAP_SHARED, fd, 0);
  raw.view(address, 3).set([1, 2, 3]);
  raw.munmap(address, pageSize);
  raw.shm_unlink(name);
  check.refuses(() => raw.shm_open(name, O_RDWR, 0), "ENOENT");
  check.deepEqual([...raw.view(memory.map(t, 1, { fd }), 4)], [1, 2, 3, 0]);
}

function makesAnother(check: Check, t: CaseContext): void {
  const name = newName(t);
  const fd = makePage(t, name);
  const old = memory.map(t, 1, { fd });
  raw.view(old, 1)[0] = 7;
  raw.shm_unlink(name);
  const other = makePage(t, name);
  check.ok(memory.statOf(other).ino !== memory.statOf(fd).ino);
  const address = memory.map(t, 1, { fd: other });
  check.equal(memory.peek(address), 0);
  raw.view(address, 1)[0] = 8;
  check.deepEqual([memory.peek(old), memory.peek(address)], [7, 8]);
}

function refuseNames(check: Check): void {
  for (const name of ["", "/", "a/b", "/a/b", "//a/b", "/memmap-case/", "/../tmp/a"]) {
    check.refuses(() => raw.shm_open(name, create, 0o600), "EINVAL");
    // Some C libraries say of every name that there can be no object of it.
    check.refuses(() => raw.shm_unlink(name), "EINVAL", "ENOENT");
  }
  // They are folders: some C libraries leave them to the kernel, which does not make them again.
  for (const name of [".", "..", "/.", "/.."]) {
    check.refuses(() => raw.shm_open(name, O_RDWR, 0), "EINVAL");
    check.refuses(() => raw.shm_open(name, create, 0o600), "EINVAL", "EEXIST");
    check.refuses(() => raw.shm_unlink(name), "EINVAL", "EISDIR");
  }
}

function refuseLongNames(check: Check, t: CaseContext): void {
  const stem = newName(t);
  const longest = stem.padEnd(256, "x");
  raw.close(raw.shm_open(longest, create, 0o600));
  raw.shm_unlink(longest);
  for (const oflag of [create, O_RDWR]) {
    check.refuses(() => raw.shm_open(`${longest}x`, oflag, 0o600), "ENAMETOOLONG");
  }
  check.refuses(() => raw.shm_unlink(`${longest}x`), "ENAMETOOLONG");
  // Longer than any path: glibc says that it is no name, and of no object.
  const endless = stem.padEnd(4200, "x");
  check.refuses(() => raw.shm_open(endless, create, 0o600), "ENAMETOOLONG", "EINVAL");
  check.refuses(() => raw.shm_unlink(endless), "ENAMETOOLONG", "ENOENT");
}

/* Tries to make each of a number of objects, and tells which it made. */
const racer = `
  import { constants } from "node:fs";
  import * as raw from "memmap/raw";
  const [stem, count] = process.argv.slice(2);
  const flags = constants.O_CREAT | constants.O_EXCL | constants.O_RDWR;
  const made = [];
  for (let i = 0; i < Number(count); i++) {
    try {
      raw.close(raw.shm_open(stem + i, flags, 0o600));
      made.push(i);
    } catch (error) {
      if (error.code !== "EEXIST") throw error;
    }
  }
  console.log(JSON.stringify(made));`;

async function race(check: Check, t: CaseContext): Promise<void> {
  const count = 300;
  const stem = `${newName(t)}-`;
  t.after(() => {
    for (let i = 0; i < count; i++) fs.rmSync(`/dev/shm${stem}${i}`, { force: true });
  });
  const racers = [1, 2, 3].map(() => runSource(racer, [stem, String(count)]));
  const made = (await Promise.all(racers)).flatMap(({ stdout, stderr }) => {
    check.equal(stderr, "");
    const own: number[] = JSON.parse(stdout);
    return own;
  });
  check.deepEqual(
    made.sort((a, b) => a - b),
    Array.from({ length: count }, (_, i) => i),
  );
}

async function refuseOtherUser(check: Check, t: CaseContext): Promise<void> {
  const name = newName(t);
  const fd = makePage(t, name);
  const output = await limitedOutput(
    `dropRights();
    console.log(failure(() => raw.shm_unlink(process.argv[2])));`,
    [name],
  );
  check.match(output, /^SystemError \| EACCES \| shm_unlink \|/);
  const again = open(t, name, O_RDWR);
  check.equal(memory.statOf(again).ino, memory.statOf(fd).ino);
}

const lifeCases: readonly Case[] = [
  {
    id: "posix:shm_open/28-1",
    says: "content stays with the name when nobody has the object open or mapped",
    run: keepsWithoutReference,
  },
  {
    id: "posix:shm_open/28-3",
    says: "content stays without a name as long as a descriptor is open",
    run: keepsWhileOpen,
  },
  {
    id: "posix:shm_unlink/5-1",
    says: "a name that was unlinked names another object when it is made again",
    run: makesAnother,
  },
  {
    id: "posix:shm_unlink/9-1",
    says: "another user cannot unlink an object, which stays as it was",
    skip: needs("root").skip,
    run: refuseOtherUser,
  },
];

const nameCases: readonly Case[] = [
  {
    id: "posix:shm_open/37-1",
    says: "a name without a name in it, or with a folder, is refused",
    run: refuseNames,
  },
  {
    id: "posix:shm_open/39-1",
    says: "a name longer than 255 bytes is refused",
    run: refuseLongNames,
  },
  {
    id: "posix:shm_open/41-1",
    says: "a name that nobody made is not found",
    run(check, t) {
      const name = newName(t);
      check.refuses(() => raw.shm_open(name, O_RDWR, 0o600), "ENOENT");
      check.refuses(() => raw.shm_unlink(name), "ENOENT");
    },
  },
];

const openCases: readonly Case[] = [
  {
    id: "posix:shm_open/11-1",
    says: "the descriptor is closed on exec",
    run(check, t) {
      const fd = open(t, newName(t), create);
      const info = fs.readFileSync(`/proc/self/fdinfo/${fd}`, "utf8");
      check.equal(
        Number.parseInt(/flags:\s+(\d+)/.exec(info)?.[1] ?? "", 8) & 0o2000000,
        0o2000000,
      );
    },
  },
  {
    id: "posix:shm_open/13-1",
    says: "an object that is open for reading cannot be made longer, whatever its mode",
    run(check, t) {
      const fd = open(t, newName(t), O_CREAT | O_EXCL | O_RDONLY);
      const file = runtimeName === "deno" ? memory.reopen(t, fd, "r") : fd;
      check.refuses(() => fs.ftruncateSync(file, pageSize), "EINVAL");
      check.equal(memory.statOf(fd).size, 0);
    },
  },
  {
    id: "posix:shm_open/21-1",
    says: "a new object has no bytes",
    run(check, t) {
      check.equal(memory.statOf(open(t, newName(t), create)).size, 0);
    },
  },
  {
    id: "posix:shm_open/22-1",
    says: "an object that exists is not made again",
    run(check, t) {
      const name = newName(t);
      makePage(t, name);
      check.refuses(() => raw.shm_open(name, create, 0o600), "EEXIST");
      check.equal(memory.statOf(open(t, name, O_RDWR)).size, pageSize);
    },
  },
  {
    id: "posix:shm_open/23-1",
    says: "of several processes that make the same objects each object is made by one",
    run: race,
  },
];

export const shmCases: readonly Case[] = [...openCases, ...lifeCases, ...nameCases];
