// The safety contract on raw addresses, each promise with a program that would end, or change
// memory of others, without it: views whose pages go, memory of others, what only looks like a
// hole, and the kinds of pages that refuse a touch. Failures in the middle of calls are in
// failures.test.ts, threads in threads.test.ts.

import assert from "node:assert/strict";
import test from "node:test";
import { needs } from "../helpers/temp.js";
import { rawAnswer } from "./program.js";

// ---- Views whose pages go ----

test("the addresses of an unmapped page stay reserved until its view has gone", async (t) => {
  const code = `
    let { address, bytes } = makePages(3);
    raw.munmap(address, 3 * pageSize);
    const kept = each(address, 3);
    const read = bytes[pageSize];
    bytes[2 * pageSize] = 9;
    const told = faults(address, 3 * pageSize);
    const again = Array.from({ length: 50 }, () => mapPages(3));
    const size = 3n * page;
    const isOther = again.every((other) => other + size <= address || address + size <= other);
    for (const other of again) raw.munmap(other, 3 * pageSize);
    bytes = undefined;
    answer({ kept, read, told, isOther, freed: await freed(address) });`;
  const { kept, ...rest } = await rawAnswer(t, code);
  assert.deepEqual(kept, ["---p", "---p", "---p"]);
  assert.deepEqual(rest, { read: 0, told: [2, "closed"], isOther: true, freed: true });
});

test("a part without a view goes at once, on both sides of one", async (t) => {
  const code = `
    const address = mapPages(5);
    const bytes = raw.view(address + 2n * page + 7n, 10);
    raw.munmap(address, 5 * pageSize);
    answer({ pages: each(address, 5), length: bytes.length });`;
  const answer = await rawAnswer(t, code);
  assert.deepEqual(answer, { pages: ["", "", "---p", "", ""], length: 10 });
});

for (const [flags, name] of [
  ["raw.MREMAP_MAYMOVE", "to where there is room"],
  ["moving", "to a fixed place"],
  ["raw.MREMAP_MAYMOVE | raw.MREMAP_DONTUNMAP", "leaving empty pages"],
] as const) {
  test(`mremap() of viewed pages ${name} never frees their addresses`, async (t) => {
    const code = `
      const { address, bytes } = makePages(2);
      const flags = ${flags};
      const keeps = (flags & raw.MREMAP_DONTUNMAP) !== 0;
      const length = keeps ? 2 * pageSize : 8 * pageSize;
      // So that it cannot grow where it is; something may stand there already.
      codeOf(() => raw.mmap(address + 2n * page, 4096, 0, kind | raw.MAP_FIXED_NOREPLACE, -1, 0));
      const target = flags & raw.MREMAP_FIXED ? mapPages(8) : 0n;
      const to = raw.mremap(address, 2 * pageSize, length, flags, target);
      const moved = raw.view(to, length);
      const old = each(address, 2);
      const content = [moved[0], moved[pageSize]];
      const read = bytes[0];
      faults(address, 2 * pageSize);
      answer({ isOther: to !== address, content, old, read });`;
    const rest = name === "leaving empty pages" ? "rw-p" : "---p";
    const answer = await rawAnswer(t, code);
    assert.deepEqual(answer, { isOther: true, content: [1, 2], old: [rest, rest], read: 0 });
  });
}

test("MAP_FIXED over viewed pages shows the new ones, and stays under the guard", async (t) => {
  const code = `
    const { address, bytes } = makePages(3);
    raw.mmap(address + page, pageSize, raw.PROT_NONE, kind | raw.MAP_FIXED, -1, 0);
    const read = bytes[pageSize];
    const told = faults(address, 3 * pageSize);
    raw.mmap(address + page, pageSize, rw, kind | raw.MAP_FIXED, -1, 0);
    bytes[pageSize] = 7;
    answer({ read, told, now: [bytes[0], bytes[pageSize], bytes[2 * pageSize]] });`;
  const answer = await rawAnswer(t, code);
  assert.deepEqual(answer, { read: 0, told: [1, "protected"], now: [1, 7, 3] });
});

test("a page that was put aside comes back after mremap(), too", async (t) => {
  const code = `
    const { address, bytes } = makePages(1, kind, raw.PROT_NONE);
    const hidden = bytes[0];
    faults(address, pageSize);
    const to = raw.mremap(address, pageSize, pageSize, moving, mapPages(1));
    raw.mprotect(to, pageSize, rw);
    answer({ hidden, content: raw.view(to, 1)[0] });`;
  assert.deepEqual(await rawAnswer(t, code), { hidden: 0, content: 1 });
});

test("a view that moves on to another buffer keeps its addresses", async (t) => {
  const code = `
    const { address, bytes } = makePages(1);
    const { buffer } = bytes;
    const clone = () => structuredClone(buffer, { transfer: [buffer] }); // for Node 20
    const moved = new Uint8Array(buffer.transfer === undefined ? clone() : buffer.transfer());
    raw.munmap(address, pageSize);
    await collect();
    answer({ page: at(address), read: moved[0], told: faults(address, pageSize) });`;
  const answer = await rawAnswer(t, code);
  assert.deepEqual(answer, { page: "---p", read: 0, told: [1, "closed"] });
});

test("what no runtime can view is an error, and the memory stays", async (t) => {
  const code = `
    const address = raw.mmap(null, 2n ** 40n, 0, kind | raw.MAP_NORESERVE, -1, 0);
    const codes = [2n ** 33n, 2n ** 40n].map((length) => codeOf(() => raw.view(address, length)));
    const lengths = [2n ** 64n - 1n, 2n ** 64n - address];
    const wraps = lengths.map((n) => codeOf(() => raw.view(address, n)));
    answer({ codes, wraps, page: at(address) });`;
  const { codes, wraps, page } = await rawAnswer(t, code);
  assert.ok(Array.isArray(codes) && Array.isArray(wraps));
  for (const found of codes) assert.match(String(found), /^(ERR_BUFFER_TOO_LARGE)?$/);
  for (const found of wraps) {
    assert.match(String(found), /^ERR_(MEMMAP_UNSAFE_FIXED|BUFFER_TOO_LARGE)$/);
  }
  assert.equal(page, "---p");
});

// ---- Memory of others ----

test("no call changes memory that others mapped", async (t) => {
  const code = `
    const { mapping, address, isWhole } = makeForeign(4);
    const ours = mapPages(4);
    const shared = raw.mmap(null, 4 * pageSize, rw, raw.MAP_SHARED | raw.MAP_ANONYMOUS, -1, 0);
    const pidfd = raw.pidfd_open(process.pid, 0);
    const ranges = [{ addr: ours, length: 4096 }, { addr: address, length: 4096 }];
    const calls = {
      mmap: () => raw.mmap(address + page, 4096, rw, kind | raw.MAP_FIXED, -1, 0),
      munmap: () => raw.munmap(address + page, 4096),
      mprotect: () => raw.mprotect(address, 4096, 0),
      dontneed: () => raw.madvise(address, 4096, raw.MADV_DONTNEED),
      unknown: () => raw.madvise(address, 4096, 200),
      process_madvise: () => raw.process_madvise(pidfd, ranges, raw.MADV_DONTNEED, 0),
      mlock: () => raw.mlock(address + 1n, 1),
      mlock2: () => raw.mlock2(address, 4096, raw.MLOCK_ONFAULT),
      remap_file_pages: () => raw.remap_file_pages(address + 5n, 4096, 0, 0, 0),
      view: () => raw.view(address, 1),
      from: () => raw.mremap(address, 4096, 4096, moving, ours),
      to: () => raw.mremap(ours, 4096, 4096, moving, address),
      copy: () => raw.mremap(shared, 0, 4096, moving, address + page),
    };
    if (raw.accepts("MADV_GUARD_INSTALL")) calls.mseal = () => raw.mseal(address, 4096, 0);
    const found = Object.entries(calls).map(([name, call]) => [name, codeOf(call)]);
    const wrong = found.filter(([, code]) => code !== "ERR_MEMMAP_UNSAFE_FIXED");
    const kept = codeOf(() => raw.mmap(address, 4096, rw, kind | raw.MAP_FIXED_NOREPLACE, -1, 0));
    answer({ wrong, kept, whole: isWhole(), permissions: each(address, 4) });`;
  const answer = await rawAnswer(t, code);
  const permissions = ["rw-p", "rw-p", "rw-p", "rw-p"];
  assert.deepEqual(answer, { wrong: [], kept: "EEXIST", whole: true, permissions });
});

test("the stack keeps the addresses that it may grow into", async (t) => {
  const code = `
    const low = rows().find(({ line }) => line.endsWith("[stack]")).start;
    const below = low - 4n * page;
    const place = mapPages(1);
    const deep = (level) => (level === 0 ? 0 : 1 + deep(level - 1));
    const far = below - 0x140000n;
    const hints = [raw.mmap(far, pageSize, rw, kind, -1, 0)];
    const { address } = mapAnonymous(pageSize, { at: far });
    const to = raw.mremap(place, pageSize, pageSize, 1 | raw.MREMAP_DONTUNMAP, far);
    hints.push(address, to);
    const fixed = codeOf(() => raw.mmap(below, pageSize, rw, kind | raw.MAP_FIXED, -1, 0));
    const flags = kind | raw.MAP_FIXED_NOREPLACE;
    const kept = codeOf(() => raw.mmap(below, pageSize, rw, flags, -1, 0));
    const moved = codeOf(() => raw.mremap(place, pageSize, pageSize, moving, below));
    const nothing = codeOf(() => raw.munmap(below, pageSize));
    let depth = 0;
    const fall = () => { depth += 1; fall(); };
    let end = "";
    try { fall(); } catch (error) { end = error.name; }
    const taken = hints.filter((hint) => hint === far).length;
    const isDeep = depth > 1000 && deep(1000) === 1000;
    answer({ fixed, kept, moved, nothing, taken, end, deep: isDeep });`;
  const codes = { fixed: "ERR_MEMMAP_UNSAFE_FIXED", kept: "EEXIST", nothing: "" };
  const expected = { ...codes, moved: "ERR_MEMMAP_UNSAFE_FIXED", taken: 0, end: "RangeError" };
  assert.deepEqual(await rawAnswer(t, code), { ...expected, deep: true });
});

test("huge pages move whole, and over nothing of others", async (t) => {
  const code = `
    const huge = 2n ** 21n;
    const flags = kind | raw.MAP_HUGETLB | raw.MAP_HUGE_2MB | raw.MAP_NORESERVE;
    let from;
    try {
      from = raw.mmap(null, 2n * huge, rw, flags, -1, 0);
    } catch (error) {
      answer({ skip: error.code });
      process.exit(0);
    }
    // Two huge pages of room, with somebody else's page in the second half of the first.
    const room = raw.mmap(null, 4n * huge, 0, kind | raw.MAP_NORESERVE, -1, 0);
    const target = (room / huge + 1n) * huge;
    raw.munmap(room, 4n * huge);
    const other = mapAnonymous(pageSize, { at: target + huge / 2n });
    other.write(0, Buffer.alloc(pageSize, 0x5a));
    const refused = codeOf(() => raw.mremap(from, 4096, 4096, moving, target));
    const isThere = other.address === target + huge / 2n;
    const whole = isThere && other.read(0, pageSize).every((b) => b === 0x5a);
    other.close();
    const to = raw.mremap(from, 4096, 4096, moving, target);
    const left = [at(from), at(from + huge), at(to + huge - page)];
    raw.munmap(to, huge);
    answer({ refused, whole, left, after: at(to) });`;
  const answer = await rawAnswer(t, code);
  if (answer["skip"] !== undefined) {
    t.skip(`needs huge pages of 2 MiB: ${answer["skip"]}`);
    return;
  }
  const left = ["", "rw-p", "rw-p"];
  assert.deepEqual(answer, { refused: "ERR_MEMMAP_UNSAFE_FIXED", whole: true, left, after: "" });
});

test("close() closes what the door has made, and no other descriptor", async (t) => {
  const code = `
    const path = makeFile(1);
    const fd = raw.memfd_create("own", raw.MFD_CLOEXEC);
    codeOf(() => fs.closeSync(fd)); // which Deno refuses
    const other = fs.openSync(path);
    const reused = other === fd;
    const stale = codeOf(() => raw.close(fd));
    const numbers = Array.from({ length: 64 }, (_, i) => codeOf(() => raw.close(i)));
    const all = numbers.every((code) => code === "EBADF");
    const made = [raw.memfd_create("own", 0), raw.pidfd_open(process.pid, 0)];
    for (const fd of made) raw.close(fd);
    const again = made.map((fd) => codeOf(() => raw.close(fd)));
    const open = fs.fstatSync(other).size === pageSize;
    answer({ stale: reused ? stale : "EBADF", all, again, open });`;
  const answer = await rawAnswer(t, code);
  assert.deepEqual(answer, { stale: "EBADF", all: true, again: ["EBADF", "EBADF"], open: true });
});

// ---- Pages that refuse a touch in a way of their own ----

const refusing = {
  "a guard page": `raw.madvise(address, pageSize, raw.MADV_GUARD_INSTALL);`,
  "a page that may only be executed": `raw.mprotect(address, pageSize, raw.PROT_EXEC);`,
  "a page that nobody may touch": `raw.mprotect(address, pageSize, raw.PROT_NONE);`,
};

for (const [name, change] of Object.entries(refusing)) {
  const needed = name === "a guard page" ? needs({ kernel: "6.13" }) : {};
  test(`a touch of ${name} is a fault that is told`, needed, async (t) => {
    const code = `
      const { address, bytes } = makePages(2);
      ${change}
      const read = bytes[0];
      bytes[1] = 5;
      const told = faults(address, pageSize);
      answer({ zero: read === 0 || read === 1, told, next: bytes[pageSize] });`;
    const { told, ...rest } = await rawAnswer(t, code);
    assert.deepEqual(rest, { zero: true, next: 2 });
    assert.ok(Array.isArray(told) && told[0] > 0 && told[1] === "protected", JSON.stringify(told));
  });
}

test("memory at address 0 is guarded like other memory", needs("root"), async (t) => {
  const code = `
    let address;
    try {
      address = raw.mmap(0n, 2 * pageSize, 0, kind | raw.MAP_FIXED, -1, 0);
    } catch (error) {
      answer({ skip: error.code });
      process.exit(0);
    }
    const bytes = raw.view(page, 10);
    const read = bytes[0];
    const told = faults(0n, 2 * pageSize);
    raw.munmap(0n, 2 * pageSize);
    answer({ address: String(address), none: codeOf(() => raw.view(0n, 1)), read, told });`;
  const answer = await rawAnswer(t, code);
  if (answer["skip"] !== undefined) {
    t.skip(`the kernel maps nothing at address 0: ${answer["skip"]}`);
    return;
  }
  const none = "ERR_MEMMAP_UNSAFE_FIXED";
  assert.deepEqual(answer, { address: "0", none, read: 0, told: [1, "protected"] });
});

// ---- Seals ----

test(
  "memory under a view is not sealed, and sealed memory is not viewed",
  needs({ kernel: "6.10" }),
  async (t) => {
    const code = `
    const { address, bytes } = makePages(2);
    const sealed = mapPages(2);
    const refused = codeOf(() => raw.mseal(address, 2 * pageSize, 0));
    bytes[0] = 3;
    raw.mseal(sealed, 2 * pageSize, 0);
    const calls = [
      () => raw.view(sealed + page, 1),
      () => raw.munmap(sealed, pageSize),
      () => raw.mprotect(sealed, pageSize, 0),
      () => raw.mmap(sealed, pageSize, rw, kind | raw.MAP_FIXED, -1, 0),
      () => raw.mremap(sealed, pageSize, pageSize, moving, mapPages(1)),
    ];
    answer({ refused, codes: calls.map(codeOf), still: [at(sealed), bytes[0]] });`;
    assert.deepEqual(await rawAnswer(t, code), {
      refused: "ERR_MEMMAP_PINNED",
      codes: ["ERR_MEMMAP_UNSUPPORTED", "EPERM", "EPERM", "EPERM", "EPERM"],
      still: ["rw-p", 3],
    });
  },
);
