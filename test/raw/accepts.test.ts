// accepts() against the running kernel: each constant of the raw door is tried in a call of its own
// that does what the constant is for, and each call is made for what it is there for, and not as
// the probe that accepts() makes.

import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import test from "node:test";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { mapRaw, memoryFile, privateMemory, readWrite } from "../helpers/raw-memory.js";
import { type Cleanup, needs, undoAfter } from "../helpers/temp.js";

const constants: ReadonlyMap<string, unknown> = new Map(
  Object.entries(raw).filter(([name]) => /^[A-Z]/.test(name)),
);

function isName(name: string): name is raw.ConstantName {
  return constants.has(name);
}

/** The constants of a family that this processor has. */
function family(prefix: string): [name: raw.ConstantName, value: number][] {
  const found: [raw.ConstantName, number][] = [];
  for (const [name, value] of constants) {
    if (name.startsWith(prefix) && isName(name) && typeof value === "number") {
      found.push([name, value]);
    }
  }
  assert.ok(found.length > 0, prefix);
  return found;
}

/** The code with which a call fails; undefined when it does not. */
function codeOf(call: () => unknown): string | undefined {
  try {
    call();
    return undefined;
  } catch (error) {
    assert.ok(error instanceof Error && "code" in error, String(error));
    return String(error.code);
  }
}

test("accepts() is false for every constant that this processor does not have", () => {
  for (const [name, value] of constants) {
    if (value !== undefined || !isName(name)) continue;
    assert.equal(raw.accepts(name), false, name);
  }
});

test("accepts() of a flag of mmap agrees with MAP_SHARED_VALIDATE, which refuses others", (t) => {
  const fd = memoryFile(t, pageSize);
  const validate = raw.MAP_SHARED_VALIDATE;
  // What is no flag, what is refused for a file, and what needs an address or a pool of its own.
  const left =
    /^MAP_(TYPE|SHARED|PRIVATE|SHARED_VALIDATE|DROPPABLE|FILE|HUGE.*|FIXED.*|ANON.*|SYNC)$/;
  for (const [name, value] of family("MAP_")) {
    if (left.test(name)) continue;
    const code = codeOf(() => mapRaw(t, { prot: raw.PROT_READ, flags: validate | value, fd }));
    // A growing mapping of a file is refused for what it is, so the flag is known.
    const isKnown = code === undefined || (name === "MAP_GROWSDOWN" && code === "EINVAL");
    if (name === "MAP_UNINITIALIZED") {
      assert.ok(isKnown && !raw.accepts(name), "known, and of no effect on such a kernel");
    } else {
      assert.equal(raw.accepts(name), isKnown, `${name}: ${code}`);
    }
  }
});

test("accepts() of the kinds of mapping and of places agrees with mappings of that kind", (t) => {
  const fd = memoryFile(t, pageSize);
  const base = mapRaw(t);
  const anonymous = raw.MAP_ANONYMOUS;
  const over = { addr: base, flags: privateMemory | raw.MAP_FIXED_NOREPLACE };
  const plans: readonly [raw.ConstantName, () => unknown, string?][] = [
    ["MAP_SHARED", () => mapRaw(t, { flags: raw.MAP_SHARED, fd })],
    ["MAP_PRIVATE", () => mapRaw(t, { flags: raw.MAP_PRIVATE, fd })],
    ["MAP_SHARED_VALIDATE", () => mapRaw(t, { flags: raw.MAP_SHARED_VALIDATE, fd })],
    ["MAP_DROPPABLE", () => mapRaw(t, { flags: raw.MAP_DROPPABLE | anonymous })],
    ["MAP_ANONYMOUS", () => mapRaw(t, { flags: raw.MAP_PRIVATE | anonymous })],
    ["MAP_ANON", () => mapRaw(t, { flags: raw.MAP_PRIVATE | raw.MAP_ANON })],
    ["MAP_FILE", () => mapRaw(t, { flags: raw.MAP_PRIVATE | raw.MAP_FILE, fd })],
    ["MAP_FIXED", () => mapRaw(t, { addr: base, flags: privateMemory | raw.MAP_FIXED })],
    ["MAP_FIXED_NOREPLACE", () => mapRaw(t, over), "EEXIST"],
  ];
  for (const [name, call, expected] of plans) {
    assert.equal(raw.accepts(name), codeOf(call) === expected, name);
  }
  assert.throws(() => raw.accepts("MAP_SYNC"), { code: "ERR_MEMMAP_CANNOT_TELL" });
});

test("accepts() of a size of huge pages agrees with mappings of such pages", () => {
  const pools = readdirSync("/sys/kernel/mm/hugepages");
  for (const [name, value] of family("MAP_HUGE_")) {
    if (!/^MAP_HUGE_\d/.test(name)) continue;
    const byteLength = 2 ** (value >>> raw.MAP_HUGE_SHIFT);
    assert.equal(raw.accepts(name), pools.includes(`hugepages-${byteLength / 1024}kB`), name);
    // Reserved pages are taken when mapping: without them it is ENOMEM, and a size that is none is
    // EINVAL. Nothing is mapped for more than a moment.
    const flags = privateMemory | raw.MAP_HUGETLB | raw.MAP_NORESERVE | value;
    const code = codeOf(() => {
      raw.munmap(raw.mmap(null, byteLength, raw.PROT_NONE, flags, -1, 0), byteLength);
    });
    assert.equal(raw.accepts(name), code !== "EINVAL", `${name}: ${code}`);
  }
});

/** Memory that each advice is tried on: some are for files alone, some for private memory. */
function adviceTargets(t: Cleanup): bigint[] {
  const length = 2 ** 22;
  const fd = memoryFile(t, length);
  const targets = [mapRaw(t, { length }), mapRaw(t, { length, flags: raw.MAP_SHARED, fd })];
  // Where nothing stands MADV_COLLAPSE finds nothing to collapse, which is EINVAL as well.
  for (const target of targets) {
    const bytes = raw.view(target, length);
    for (let offset = 0; offset < length; offset += 2 ** 16) bytes[offset] = 1;
  }
  return targets;
}

test("accepts() of an advice agrees with madvise on memory of two kinds", (t) => {
  const length = 2 ** 22;
  for (const [name, value] of family("MADV_")) {
    const isAccepted = raw.accepts(name);
    // Where the kernel knows them they take memory of the machine out of use.
    if (isAccepted && /HWPOISON|SOFT_OFFLINE/.test(name)) continue;
    const codes = adviceTargets(t).map((target) =>
      codeOf(() => raw.madvise(target, length, value)),
    );
    const isKnown = codes.some((code) => code !== "EINVAL");
    assert.equal(isAccepted, isKnown, `${name}: ${codes.join(", ")}`);
  }
});

test("accepts() of a flag of memory files agrees with memfd_create", () => {
  for (const [name, value] of family("MFD_")) {
    // A size is one of the pages of the pool, and how it is written is neither a flag nor a size.
    const isSize = /^MFD_HUGE_\d/.test(name);
    if (name.startsWith("MFD_HUGE_") && !isSize) continue;
    const flags = isSize ? raw.MFD_HUGETLB | value : value;
    const code = codeOf(() => raw.close(raw.memfd_create(name, flags)));
    const isPoolless = name === "MFD_HUGETLB" && readdirSync("/sys/kernel/mm").length === 0;
    assert.equal(raw.accepts(name), code === undefined && !isPoolless, `${name}: ${code}`);
  }
});

test("accepts() of a seal agrees with what get_seals() shows after sealing", (t) => {
  for (const [name, value] of family("F_SEAL_")) {
    const fd = memoryFile(t, pageSize, raw.MFD_CLOEXEC | raw.MFD_ALLOW_SEALING);
    const code = codeOf(() => raw.add_seals(fd, value));
    assert.equal(raw.accepts(name), code === undefined, `${name}: ${code}`);
    if (code === undefined) assert.equal(raw.get_seals(fd) & value, value, name);
  }
});

test("accepts() of a protection agrees with mmap and mprotect", (t) => {
  const growing = mapRaw(t, { flags: privateMemory | raw.MAP_GROWSDOWN });
  for (const [name, value] of family("PROT_")) {
    if (name === "PROT_GROWSUP") continue;
    const target = name === "PROT_GROWSDOWN" ? growing : mapRaw(t, { prot: value });
    const code = codeOf(() => raw.mprotect(target, pageSize, value));
    assert.equal(raw.accepts(name), code === undefined, `${name}: ${code}`);
  }
});

test("accepts() of flags of mremap, mlock2 and msync agrees with calls that use them", (t) => {
  const page = mapRaw(t, { flags: raw.MAP_SHARED, fd: memoryFile(t, pageSize) });
  const move = (flags: number) => () => {
    const from = raw.mmap(null, pageSize, readWrite, privateMemory, -1, 0);
    const to = raw.mmap(null, pageSize, readWrite, privateMemory, -1, 0);
    raw.munmap(raw.mremap(from, pageSize, pageSize, flags, to), pageSize);
    raw.munmap(from, pageSize);
    raw.munmap(to, pageSize);
  };
  const { MREMAP_MAYMOVE, MREMAP_FIXED, MREMAP_DONTUNMAP } = raw;
  const plans: readonly [raw.ConstantName, () => unknown][] = [
    ["MREMAP_MAYMOVE", move(MREMAP_MAYMOVE)],
    ["MREMAP_FIXED", move(MREMAP_MAYMOVE | MREMAP_FIXED)],
    ["MREMAP_DONTUNMAP", move(MREMAP_MAYMOVE | MREMAP_DONTUNMAP)],
    ["MLOCK_ONFAULT", () => raw.mlock2(page, pageSize, raw.MLOCK_ONFAULT)],
    ["MS_ASYNC", () => raw.msync(page, pageSize, raw.MS_ASYNC)],
    ["MS_SYNC", () => raw.msync(page, pageSize, raw.MS_SYNC)],
  ];
  for (const [name, call] of plans)
    assert.equal(raw.accepts(name), codeOf(call) === undefined, name);
  // The page is locked now, which is what this flag is refused for: so it is known.
  const invalidate = codeOf(() => raw.msync(page, pageSize, raw.MS_SYNC | raw.MS_INVALIDATE));
  assert.deepEqual([raw.accepts("MS_INVALIDATE"), invalidate], [true, "EBUSY"]);
});

test("accepts() of the flags of mlockall agrees with mlockall", needs("root"), () => {
  for (const [name, value] of family("MCL_")) {
    // Not MCL_FUTURE alone: what the engine allocates next would have to be locked.
    const flags = name === "MCL_CURRENT" ? value | raw.MCL_ONFAULT : raw.MCL_CURRENT | value;
    if (name === "MCL_FUTURE") continue;
    const code = codeOf(() => raw.mlockall(flags));
    raw.munlockall();
    assert.equal(raw.accepts(name), code === undefined, `${name}: ${code}`);
  }
});

/** Calls that do what each system call is for. */
function uses(t: Cleanup): [raw.CallName, () => unknown][] {
  const page = mapRaw(t);
  const fd = memoryFile(t, pageSize);
  const shared = mapRaw(t, { flags: raw.MAP_SHARED, fd });
  const inPlace = () => raw.mremap(page, pageSize, pageSize, 0);
  const advise = () => {
    const pidfd = raw.pidfd_open(process.pid, 0);
    undoAfter(t, () => raw.close(pidfd));
    raw.process_madvise(pidfd, [{ addr: page, length: pageSize }], raw.MADV_COLD, 0);
  };
  return [
    ["mmap", () => mapRaw(t)],
    ["munmap", () => raw.munmap(raw.mmap(null, 1, raw.PROT_NONE, privateMemory, -1, 0), 1)],
    ["mprotect", () => raw.mprotect(page, pageSize, readWrite)],
    ["msync", () => raw.msync(shared, pageSize, raw.MS_SYNC)],
    ["madvise", () => raw.madvise(page, pageSize, raw.MADV_NORMAL)],
    ["mincore", () => raw.mincore(page, pageSize)],
    ["mremap", inPlace],
    ["mlock", () => raw.mlock(page, pageSize)],
    ["mlock2", () => raw.mlock2(page, pageSize, raw.MLOCK_ONFAULT)],
    ["munlock", () => raw.munlock(page, pageSize)],
    ["munlockall", () => raw.munlockall()],
    ["memfd_create", () => raw.close(raw.memfd_create("accepts", raw.MFD_CLOEXEC))],
    ["memfd_secret", () => raw.close(raw.memfd_secret(0))],
    ["pidfd_open", () => raw.close(raw.pidfd_open(process.pid, 0))],
    ["cachestat", () => raw.cachestat(fd, { off: 0, len: 0 }, 0)],
    ["remap_file_pages", () => raw.remap_file_pages(shared, pageSize, 0, 0, 0)],
    ["process_madvise", advise],
    // Sealed memory stays for as long as the process.
    ["mseal", () => raw.mseal(raw.mmap(null, 1, raw.PROT_READ, privateMemory, -1, 0), pageSize, 0)],
  ];
}

test("accepts() of a call agrees with what the call does", needs("root"), (t) => {
  for (const [name, call] of uses(t)) {
    const code = codeOf(call);
    assert.equal(raw.accepts(name), code === undefined, `${name}: ${code}`);
    if (code !== undefined) assert.equal(code, "ENOSYS", name);
  }
});

test("accepts() answers for every system call of the door", () => {
  const others = /^(accepts|check|view|shm_open|shm_unlink|add_seals|get_seals|close|ftruncate)$/;
  for (const [name, value] of Object.entries(raw)) {
    if (typeof value !== "function" || others.test(name)) continue;
    assert.equal(typeof Reflect.apply(raw.accepts, undefined, [name]), "boolean", name);
  }
});

test("accepts() refuses a name that is no constant", () => {
  const ask = () => Reflect.apply(raw.accepts, undefined, ["MAP_NOTHING"]);
  assert.throws(ask, { code: "ERR_INVALID_ARG_VALUE" });
  assert.throws(() => Reflect.apply(raw.accepts, undefined, [1]), { code: "ERR_INVALID_ARG_TYPE" });
});
