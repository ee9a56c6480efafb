// The claims of mmap(2) and munmap(2) that no other test shows: docs/semantics.md has the list. The
// flags have tests of their own.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { closeSync, openSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { limitedOutput } from "../helpers/ordinary-user.js";
import { areaAt, permissionsAt } from "../helpers/proc-self.js";
import { fillHugePages, mountPlain, whyNot } from "../helpers/root-powers.js";
import { runtimeName } from "../helpers/runtime.js";
import { needs, tempDir, undoAfter } from "../helpers/temp.js";
import {
  anonymous,
  faultOf,
  makeFile,
  map,
  mappedBytes,
  memoryFile,
  numbered,
  onExt4,
  openUntilEnd,
  pages,
  peek,
  refuses,
  rw,
} from "./memory.js";

function mapAnything(addr: bigint | null, length: number | bigint, flags = 0): bigint {
  return raw.mmap(addr, length, rw, anonymous | flags, -1, 0);
}

// ==== mmap =======================================================================================

test("mmap refuses a length of 0, and lengths that no address space holds", () => {
  refuses(() => mapAnything(null, 0), "EINVAL");
  refuses(() => mapAnything(null, 2n ** 62n), "ENOMEM");
  refuses(() => mapAnything(null, 2n ** 64n - 1n), "ENOMEM");
});

test("mmap makes whole pages of any length", (t) => {
  const address = map(t, pageSize + 1, { flags: raw.MAP_SHARED | raw.MAP_ANONYMOUS });
  const area = areaAt(address);
  assert.equal(address % BigInt(pageSize), 0n);
  assert.deepEqual([area?.start, area?.end], [address, address + pages(2)]);
});

test("mmap shows the bytes of the file from the offset on", (t) => {
  const path = makeFile(t, numbered(3));
  const fd = openUntilEnd(t, path);
  const address = map(t, pageSize, { fd, offset: 2 * pageSize });
  assert.equal(peek(address)?.[0], 3);
  const area = areaAt(address);
  assert.deepEqual([area?.offset, area?.name], [pages(2), path]);
  assert.equal(area?.inode, BigInt(statSync(path).ino));
});

test("a fixed address inside a page is EINVAL, and inside the last page too", (t) => {
  const address = map(t, pageSize);
  const end = 2n ** 64n;
  for (const at of [address + 1n, end - 1n, end - 9n, end - 14n, end - 524n, end - 4095n]) {
    for (const fixed of [raw.MAP_FIXED, raw.MAP_FIXED_NOREPLACE]) {
      // The kernel answers with the address itself there, which reads as any error at all.
      refuses(() => mapAnything(at, pageSize, fixed), "EINVAL");
    }
  }
  refuses(() => mapAnything(end - 4096n, pageSize, raw.MAP_FIXED), "ENOMEM");
});

test("an offset that is not whole pages is EINVAL, a negative one EOVERFLOW", (t) => {
  const fd = openUntilEnd(t, makeFile(t, numbered(2)));
  const mapAt = (offset: number) => raw.mmap(null, pageSize, rw, raw.MAP_SHARED, fd, offset);
  refuses(() => mapAt(1), "EINVAL");
  refuses(() => mapAt(pageSize - 1), "EINVAL");
  refuses(() => mapAt(-pageSize), "EOVERFLOW");
});

test("an address without MAP_FIXED is a hint, which a used address does not take", (t) => {
  const used = map(t, 4 * pageSize);
  raw.view(used, 1)[0] = 7;
  const beside = map(t, pageSize, { at: used });
  assert.ok(beside < used || beside >= used + pages(4));
  assert.equal(peek(used)?.[0], 7);
  raw.munmap(used, 4 * pageSize);
  const taken = map(t, pageSize, { at: used + 5n });
  assert.equal(taken % BigInt(pageSize), 0n);
});

test("a hint below the lowest address is raised to it", (t) => {
  const address = map(t, pageSize, { at: 1n });
  assert.ok(address >= BigInt(pageSize));
  assert.notEqual(permissionsAt(address), "");
});

test("flags without SHARED, PRIVATE or another type are EINVAL", () => {
  refuses(() => raw.mmap(null, pageSize, rw, raw.MAP_ANONYMOUS, -1, 0), "EINVAL");
});

test("the protection must not go beyond what the descriptor was opened for", (t) => {
  const path = makeFile(t, numbered(1));
  const mapAs = (prot: number, flags: number, fd: number) => {
    raw.munmap(raw.mmap(null, pageSize, prot, flags, fd, 0), pageSize);
  };
  const reading = openUntilEnd(t, path, "r");
  const writing = openSync(path, "a");
  undoAfter(t, () => closeSync(writing));
  refuses(() => mapAs(rw, raw.MAP_SHARED, reading), "EACCES");
  mapAs(rw, raw.MAP_PRIVATE, reading);
  for (const flags of [raw.MAP_SHARED, raw.MAP_PRIVATE]) {
    refuses(() => mapAs(raw.PROT_READ, flags, writing), "EACCES");
    refuses(() => mapAs(raw.PROT_NONE, flags, writing), "EACCES");
  }
});

test("a file that is for appending only has no shared writable mapping", needs("root"), (t) => {
  const path = makeFile(t, numbered(1));
  if (spawnSync("chattr", ["+a", path]).status !== 0) return t.skip("needs chattr and its files");
  undoAfter(t, () => spawnSync("chattr", ["-a", path]));
  try {
    const fd = openSync(path, "as+");
    const mapIt = () => raw.mmap(null, pageSize, rw, raw.MAP_SHARED, fd, 0);
    refuses(mapIt, "EACCES");
    closeSync(fd);
  } finally {
    spawnSync("chattr", ["-a", path]);
  }
});

test("a descriptor that is none is EBADF, a folder is ENODEV on Linux, and not EACCES", (t) => {
  const folder = openSync(tempDir(t), "r");
  undoAfter(t, () => closeSync(folder));
  const mapIt = (fd: number) => raw.mmap(null, pageSize, raw.PROT_READ, raw.MAP_SHARED, fd, 0);
  refuses(() => mapIt(-1), "EBADF");
  refuses(() => mapIt(1_000_000), "EBADF");
  refuses(() => mapIt(folder), "ENODEV");
});

test("no executable mapping of a file where nothing may be executed", {
  skip: whyNot("loop"),
}, (t) => {
  const path = join(mountPlain(t, "tmpfs", "noexec"), "data.bin");
  writeFileSync(path, numbered(1));
  const fd = openSync(path, "r");
  const mapAs = (prot: number) => raw.mmap(null, pageSize, prot, raw.MAP_PRIVATE, fd, 0);
  const address = mapAs(raw.PROT_READ);
  refuses(() => raw.mprotect(address, pageSize, raw.PROT_READ | raw.PROT_EXEC), "EACCES");
  raw.munmap(address, pageSize);
  refuses(() => mapAs(raw.PROT_READ | raw.PROT_EXEC), "EPERM");
  closeSync(fd);
});

test("a file that is sealed against writing has no shared writable mapping: EPERM", (t) => {
  const fd = memoryFile(t, 1, raw.MFD_ALLOW_SEALING);
  raw.add_seals(fd, raw.F_SEAL_WRITE);
  refuses(() => raw.mmap(null, pageSize, rw, raw.MAP_SHARED, fd, 0), "EPERM");
  raw.view(map(t, pageSize, { fd, flags: raw.MAP_PRIVATE }), 1)[0] = 5;
  assert.equal(peek(map(t, pageSize, { fd, prot: raw.PROT_READ }))?.[0], 1);
});

test("RLIMIT_DATA bounds private writable memory, and no other", async () => {
  const stdout = await limitedOutput(`
    const { PROT_READ, PROT_WRITE, MAP_SHARED, MAP_PRIVATE, MAP_ANONYMOUS } = raw;
    const size = 2 ** 33;
    const status = fs.readFileSync("/proc/self/status", "utf8");
    limit("data", Number(/VmData:\\s+(\\d+)/.exec(status)[1]) * 1024 + 2 ** 32);
    const map = (prot, type) => {
      raw.munmap(raw.mmap(null, size, prot, type | MAP_ANONYMOUS, -1, 0), size);
    };
    console.log(failure(() => map(PROT_READ | PROT_WRITE, MAP_PRIVATE)).split(" | ")[1]);
    console.log(failure(() => map(PROT_READ, MAP_PRIVATE)));
    console.log(failure(() => map(PROT_READ | PROT_WRITE, MAP_SHARED)));`);
  assert.deepEqual(stdout.trim().split("\n"), ["ENOMEM", "no error", "no error"]);
});

test("memory for writing alone can be read on this processor, and says so nowhere", (t) => {
  const address = map(t, pageSize, { prot: raw.PROT_WRITE });
  const bytes = raw.view(address, pageSize);
  bytes[3] = 5;
  assert.equal(bytes[3], 5);
  raw.check(address, pageSize);
  assert.equal(permissionsAt(address), "-w-p");
});

test("a store into memory for reading is a reported fault, and changes nothing below", (t) => {
  const path = makeFile(t, numbered(1));
  const fd = openUntilEnd(t, path);
  const address = map(t, pageSize, { fd, prot: raw.PROT_READ });
  const fault = faultOf(address, pageSize, () => {
    raw.view(address, pageSize)[8] = 5;
  });
  assert.deepEqual([fault.reason, fault.access, fault.byteOffset], ["protected", "write", 8]);
  assert.equal(peek(map(t, pageSize, { fd }), 9)?.[8], 1);
});

test("mmap moves the file's time of access on", onExt4, (t) => {
  const path = makeFile(t, numbered(1));
  utimesSync(path, 1000, 2000);
  map(t, pageSize, { fd: openUntilEnd(t, path), prot: raw.PROT_READ });
  const { atimeMs } = statSync(path);
  if (atimeMs === 1_000_000) return t.skip("the file system keeps no times of access");
  assert.ok(atimeMs > 2_000_000);
});

// ==== munmap =====================================================================================

test("munmap takes an address of a whole page, and a length that is not 0", (t) => {
  const address = map(t, 2 * pageSize);
  refuses(() => raw.munmap(address + 1n, pageSize), "EINVAL");
  refuses(() => raw.munmap(address, 0), "EINVAL");
  refuses(() => raw.munmap(address, 2n ** 64n - 1n), "EINVAL");
  assert.equal(mappedBytes(address, 2 * pageSize), pages(2));
});

test("a touch of what was unmapped under a view is a reported fault and zeros", (t) => {
  const address = map(t, pageSize);
  const bytes = raw.view(address, pageSize).fill(7);
  raw.munmap(address, pageSize);
  const fault = faultOf(address, pageSize, () => assert.equal(bytes[5], 0));
  assert.deepEqual([fault.reason, fault.address], ["closed", address + 5n]);
});

const tooMany = {
  skip: runtimeName === "deno" && "V8 in Deno needs areas of its own all the time",
};

test(
  "unmapping the middle of an area is ENOMEM when there may be no more areas",
  tooMany,
  async () => {
    const stdout = await limitedOutput(`
    const bound = Number(fs.readFileSync("/proc/sys/vm/max_map_count", "utf8"));
    const page = BigInt(pageSize);
    const flags = raw.MAP_PRIVATE | raw.MAP_ANONYMOUS;
    const whole = raw.mmap(null, 3 * pageSize, raw.PROT_READ, flags, -1, 0);
    const many = raw.mmap(null, 2 * bound * pageSize, raw.PROT_NONE, flags, -1, 0);
    let error = "no error";
    for (let i = 1; i < 2 * bound && error === "no error"; i += 2) {
      error = failure(() => raw.mprotect(many + BigInt(i) * page, pageSize, raw.PROT_READ));
    }
    // The failed call may have left room for an area or two; each of these takes one.
    let middle = "no error";
    for (let i = 3; i < 5000 && middle === "no error"; i += 2) {
      middle = failure(() => raw.munmap(many + page * BigInt(2 * bound - i), pageSize));
    }
    raw.munmap(many, 2 * bound * pageSize);
    raw.munmap(whole + page, pageSize);
    console.log([error, middle].map((text) => text.split(" | ")[1]).join());`);
    assert.equal(stdout.trim(), "ENOMEM,ENOMEM");
  },
);

test("huge pages are mapped and unmapped in whole huge pages", {
  skip: whyNot("huge-pages"),
}, async (t) => {
  const problem = await fillHugePages(t, 2);
  if (problem) return t.skip(problem);
  const huge = 2 * 2 ** 20;
  const fd = raw.memfd_create("huge", raw.MFD_CLOEXEC | raw.MFD_HUGETLB);
  undoAfter(t, () => raw.close(fd));
  refuses(() => raw.mmap(null, huge, rw, raw.MAP_SHARED, fd, pageSize), "EINVAL");
  const address = raw.mmap(
    null,
    1,
    rw,
    raw.MAP_PRIVATE | raw.MAP_ANONYMOUS | raw.MAP_HUGETLB,
    -1,
    0,
  );
  assert.equal(mappedBytes(address, huge), BigInt(huge));
  refuses(() => raw.munmap(address, pageSize), "EINVAL");
  refuses(() => raw.munmap(address + pages(1), huge), "EINVAL");
  raw.munmap(address, huge);
  assert.equal(mappedBytes(address, huge), 0n);
});
