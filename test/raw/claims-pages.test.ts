// The claims of mprotect(2), msync(2), mlock(2) and mincore(2) that no other test shows:
// docs/semantics.md has the list.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { limitedOutput, runLimited } from "../helpers/ordinary-user.js";
import { areaAt, flagsAt, permissionsAt, statusBytes } from "../helpers/proc-self.js";
import { needs } from "../helpers/temp.js";
import {
  anonymous,
  faultOf,
  firstBytes,
  makeFile,
  map,
  numbered,
  openUntilEnd,
  pages,
  peek,
  refuses,
  retry,
} from "./memory.js";

/* Three pages whose middle one is a hole. */
function withHole(t: Parameters<typeof map>[0]): bigint {
  const address = map(t, 3 * pageSize, { flags: raw.MAP_SHARED | raw.MAP_ANONYMOUS });
  raw.munmap(address + pages(1), pageSize);
  return address;
}

// ==== mprotect ===================================================================================

test("mprotect changes every page that its range touches, from an aligned address", (t) => {
  const address = map(t, 3 * pageSize);
  refuses(() => raw.mprotect(address + 1n, 1, raw.PROT_READ), "EINVAL");
  raw.mprotect(address, pageSize + 1, raw.PROT_READ);
  const found = [0, 1, 2].map((page) => permissionsAt(address + pages(page)));
  assert.deepEqual(found, ["r--p", "r--p", "rw-p"]);
  raw.mprotect(address, 0, raw.PROT_NONE);
  assert.equal(permissionsAt(address), "r--p");
});

test("what the protection forbids is a reported fault, until it allows it again", (t) => {
  const address = map(t, pageSize);
  const bytes = raw.view(address, pageSize).fill(7);
  raw.mprotect(address, pageSize, raw.PROT_NONE);
  const fault = faultOf(address, pageSize, () => assert.equal(bytes[9], 0));
  assert.deepEqual([fault.reason, fault.byteOffset], ["protected", 9]);
  raw.mprotect(address, pageSize, raw.PROT_READ);
  assert.equal(peek(address)?.[0], 7);
});

test("mprotect of a shared mapping of a file that was opened for reading is EACCES", (t) => {
  const fd = openUntilEnd(t, makeFile(t, numbered(1)), "r");
  const address = map(t, pageSize, { fd, prot: raw.PROT_READ });
  refuses(() => raw.mprotect(address, pageSize, raw.PROT_READ | raw.PROT_WRITE), "EACCES");
  assert.equal(permissionsAt(address), "r--s");
});

test("mprotect refuses both directions of growth, and bits that it does not know", (t) => {
  const address = map(t, pageSize);
  const both = raw.PROT_GROWSDOWN | raw.PROT_GROWSUP;
  refuses(() => raw.mprotect(address, pageSize, raw.PROT_READ | both), "EINVAL");
  refuses(() => raw.mprotect(address, pageSize, 0x40), "EINVAL");
  refuses(() => raw.mprotect(address, pageSize, raw.PROT_READ | raw.PROT_GROWSDOWN), "EINVAL");
});

test("PROT_GROWSDOWN protects down to the beginning of memory that grows down", (t) => {
  const address = map(t, 4 * pageSize, { flags: anonymous | raw.MAP_GROWSDOWN });
  raw.mprotect(address + pages(2), pageSize, raw.PROT_READ | raw.PROT_GROWSDOWN);
  const found = [0, 1, 2, 3].map((page) => permissionsAt(address + pages(page)));
  assert.deepEqual(found, ["r--p", "r--p", "r--p", "rw-p"]);
});

test("mprotect over a hole is ENOMEM, and has changed what stands before it", (t) => {
  retry(() => {
    const address = withHole(t);
    refuses(() => raw.mprotect(address, 3 * pageSize, raw.PROT_READ), "ENOMEM");
    assert.equal(permissionsAt(address), "r--s");
    assert.equal(permissionsAt(address + pages(2)), "rw-s");
  });
});

// ==== msync ======================================================================================

test("msync refuses both ways to write at once, unknown flags and unaligned addresses", (t) => {
  const address = map(t, pageSize, { fd: openUntilEnd(t, makeFile(t, numbered(1))) });
  refuses(() => raw.msync(address, pageSize, raw.MS_SYNC | raw.MS_ASYNC), "EINVAL");
  refuses(() => raw.msync(address, pageSize, 0x100), "EINVAL");
  refuses(() => raw.msync(address + 1n, pageSize, raw.MS_SYNC), "EINVAL");
});

test("msync without a way is taken on Linux, and one with MS_INVALIDATE loses nothing", (t) => {
  const path = makeFile(t, numbered(1));
  const address = map(t, pageSize, { fd: openUntilEnd(t, path) });
  raw.view(address, 1)[0] = 50;
  raw.msync(address, pageSize, 0);
  raw.msync(address, pageSize, raw.MS_SYNC | raw.MS_INVALIDATE);
  raw.msync(address, 0, raw.MS_SYNC);
  assert.deepEqual([peek(address)?.[0], readFileSync(path)[0]], [50, 50]);
});

test("msync over a hole is ENOMEM", (t) => {
  retry(() => refuses(() => raw.msync(withHole(t), 3 * pageSize, raw.MS_SYNC), "ENOMEM"));
});

test("MS_INVALIDATE on locked pages is EBUSY", (t) => {
  const address = map(t, pageSize, { fd: openUntilEnd(t, makeFile(t, numbered(1))) });
  raw.mlock(address, pageSize);
  refuses(() => raw.msync(address, pageSize, raw.MS_SYNC | raw.MS_INVALIDATE), "EBUSY");
  raw.msync(address, pageSize, raw.MS_SYNC);
});

// ==== mlock ======================================================================================

test("mlock takes any address and locks the pages that its range touches", (t) => {
  const address = map(t, 3 * pageSize);
  const before = statusBytes("VmLck");
  raw.mlock(address + BigInt(pageSize - 1), 2);
  assert.equal(statusBytes("VmLck"), before + 2 * pageSize);
  assert.ok(flagsAt(address + pages(1)).includes("lo"));
  assert.ok(!flagsAt(address + pages(2)).includes("lo"));
});

test("raw locks do not add up, and end with munlock, munmap or a mapping over them", (t) => {
  const address = map(t, 3 * pageSize);
  const before = statusBytes("VmLck");
  raw.mlock(address, 3 * pageSize);
  raw.mlock(address, 3 * pageSize);
  raw.munlock(address, pageSize);
  assert.equal(statusBytes("VmLck"), before + 2 * pageSize);
  raw.munlock(address, pageSize);
  raw.munmap(address + pages(1), pageSize);
  assert.equal(statusBytes("VmLck"), before + pageSize);
  map(t, pageSize, { at: address + pages(2), flags: anonymous | raw.MAP_FIXED });
  assert.equal(statusBytes("VmLck"), before);
});

test("mlock refuses holes, sums that overflow, and mlock2 flags that it does not know", (t) => {
  retry(() => {
    const address = withHole(t);
    refuses(() => raw.mlock(address, 3 * pageSize), "ENOMEM");
    assert.ok(flagsAt(address).includes("lo")); // What stands before the hole is locked.
    refuses(() => raw.munlock(address, 3 * pageSize), "ENOMEM");
  });
  const address = map(t, pageSize);
  refuses(() => raw.mlock(address, 2n ** 64n - pages(1)), "EINVAL");
  refuses(() => raw.mlock2(address, pageSize, 2), "EINVAL");
  assert.ok(!flagsAt(address).includes("lo"));
});

const lockingAll = `
  const status = () => fs.readFileSync("/proc/self/status", "utf8");
  const locked = () => /VmLck:\\s+(\\d+)/.exec(status())[1] > 0;
  const { MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT } = raw;
  const size = 8 * pageSize;
  const map = () => {
    const flags = raw.MAP_PRIVATE | raw.MAP_ANONYMOUS;
    const address = raw.mmap(null, size, raw.PROT_READ | raw.PROT_WRITE, flags, -1, 0);
    const lines = fs.readFileSync("/proc/self/smaps", "utf8").split("\\n");
    let inside = false;
    for (const line of lines) {
      const [, start, end] = /^([0-9a-f]+)-([0-9a-f]+) /.exec(line) ?? [];
      if (start) inside = BigInt("0x" + start) <= address && address < BigInt("0x" + end);
      if (inside && line.startsWith("VmFlags:")) return line.includes(" lo");
    }
  };
  const code = (flags) => failure(() => raw.mlockall(flags)).split(" | ")[1];
  const found = [0, MCL_ONFAULT, 64].map(code);
  found.push(locked());
  raw.mlockall(MCL_CURRENT | MCL_ONFAULT);
  found.push(locked(), map());
  raw.mlockall(MCL_FUTURE | MCL_ONFAULT);
  found.push(map());
  raw.mlockall(MCL_CURRENT | MCL_ONFAULT);
  found.push(map());
  raw.munlockall();
  found.push(locked(), map());
  console.log(found.join());`;

test(
  "mlockall takes what is mapped, what will be, and ends by munlockall",
  needs("root"),
  async () => {
    // An engine that gets no memory while all of it is locked ends, as is documented.
    let result = await runLimited(lockingAll);
    for (let triesLeft = 3; result.signal !== null && triesLeft > 0; triesLeft--) {
      result = await runLimited(lockingAll);
    }
    const refused = "EINVAL,EINVAL,EINVAL,false";
    const expected = `${refused},true,false,true,false,false,false\n`;
    assert.equal(result.stdout, expected, `${result.signal} ${result.stderr}`);
  },
);

test("an ordinary user locks raw memory up to RLIMIT_MEMLOCK", async () => {
  const stdout = await limitedOutput(`
    limit("memlock", 65536);
    dropRights();
    const { MAP_PRIVATE, MAP_ANONYMOUS, MAP_LOCKED } = raw;
    const map = (flags) => raw.mmap(null, 65536 * 2, 3, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    const code = (call) => failure(call).split(" | ")[1] ?? "taken";
    const address = map(0);
    const found = [code(() => raw.mlock(address, 65536 * 2)), code(() => map(MAP_LOCKED))];
    found.push(code(() => raw.mlockall(raw.MCL_CURRENT)), code(() => raw.mlock(address, 65536)));
    found.push(code(() => raw.mremap(address, 65536, 65536 * 2, raw.MREMAP_MAYMOVE)));
    console.log(found.join());`);
  assert.equal(stdout.trim(), "ENOMEM,EAGAIN,ENOMEM,taken,EAGAIN");
});

// ==== mincore ====================================================================================

test("mincore has a byte for each page that holds a byte of the range", (t) => {
  const address = map(t, 4 * pageSize);
  raw.view(address, 4 * pageSize)[2 * pageSize] = 1;
  const lowest = (length: number) => [...raw.mincore(address, length)].map((byte) => byte & 1);
  assert.deepEqual(lowest(4 * pageSize), [0, 0, 1, 0]);
  assert.deepEqual(lowest(2 * pageSize + 1), [0, 0, 1]);
  assert.deepEqual(lowest(0), []);
});

test("mincore refuses an unaligned address, holes, and what passes all addresses", (t) => {
  const address = map(t, pageSize);
  refuses(() => raw.mincore(address + 1n, pageSize), "EINVAL");
  refuses(() => raw.mincore(address, 2n ** 47n), "ENOMEM");
  retry(() => refuses(() => raw.mincore(withHole(t), 3 * pageSize), "ENOMEM"));
});

test("mincore tells of private copies by themselves, and of the file for the rest", (t) => {
  const fd = openUntilEnd(t, makeFile(t, numbered(3)));
  const address = map(t, 3 * pageSize, { fd, flags: raw.MAP_PRIVATE });
  raw.view(address, 1)[0] = 50;
  assert.deepEqual(
    [...raw.mincore(address, 3 * pageSize)].map((byte) => byte & 1),
    [1, 1, 1],
  );
  assert.deepEqual(firstBytes(address, 3), [50, 2, 3]);
  assert.equal(areaAt(address)?.permissions, "rw-p");
});
