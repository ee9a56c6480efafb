// What a language may do with a mapping, on the core door: read-only memory, wrong options, lengths
// left out, closing twice, garbage collection, moves, searches, new lengths, advice.

import { closeSync, openSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Mapping, mapAnonymous, mapFileSync, pageSize } from "memmap";
import * as raw from "memmap/raw";
import { answerTo } from "../guard/program.js";
import { areaAt, areasNamed, descriptorsNamed, permissionsAt } from "../helpers/proc-self.js";
import { anonymous, pages, reserve, rw } from "../helpers/raw-pages.js";
import { tempDir } from "../helpers/temp.js";
import type { Case, CaseContext, Check } from "./case.js";

/* Bytes that tell their place: byte i is i modulo 251. */
function pattern(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => i % 251);
}

function makeFile(t: CaseContext, content: Uint8Array): string {
  const path = join(tempDir(t), "data.bin");
  writeFileSync(path, content);
  return path;
}

/* Whether the file still has this content, read by the file system. */
function isUnchanged(path: string, content: Uint8Array): boolean {
  return readFileSync(path).equals(Buffer.from(content));
}

function checkReadOnly(check: Check, t: CaseContext): void {
  const content = pattern(2 * pageSize + 100);
  const path = makeFile(t, content);
  const ways: Readonly<Record<string, (mapping: Mapping) => void>> = {
    index: ({ bytes }) => {
      bytes[3] = 99;
    },
    slice: ({ bytes }) => bytes.set([1, 2, 3], pageSize),
    fill: ({ bytes }) => bytes.fill(7, 10, 20),
    "move inside": ({ bytes }) => bytes.copyWithin(0, 100, 200),
    "view of another type": ({ buffer }) => new DataView(buffer).setUint32(8, 0xffff_ffff),
  };
  for (const [name, way] of Object.entries(ways)) {
    using mapping = mapFileSync(path, { faults: "collect" });
    check.equal(permissionsAt(mapping.address), "r--s");
    way(mapping);
    check.refuses(() => mapping.check(), "ERR_MEMMAP_FAULT");
    check.ok(isUnchanged(path, content), name);
  }
  using mapping = mapFileSync(path, { faults: "collect" });
  check.refuses(() => mapping.write(0, new Uint8Array([1])), "ERR_MEMMAP_READ_ONLY");
  check.refuses(() => mapping.resize(4 * pageSize), "ERR_OUT_OF_RANGE");
  check.refuses(() => mapping.protect("read-write"), "EACCES");
  mapping.check();
  check.ok(isUnchanged(path, content));
  check.equal(permissionsAt(mapping.address), "r--s");
}

function checkConflicts(check: Check, t: CaseContext): void {
  // What is looked at first does not exist: a system call would say so, or would make it.
  const missing = join(tempDir(t), "missing");
  const refused = (options: Record<string, unknown>, ...codes: string[]) =>
    check.refuses(() => Reflect.apply(mapFileSync, undefined, [missing, options]), ...codes);
  const value = "ERR_INVALID_ARG_VALUE";
  refused({ protection: "read", grow: true, length: 10, create: true }, value);
  refused({ protection: "read", create: true }, value);
  refused({ sharing: "private", grow: true, length: 10, create: true }, value);
  refused({ exclusive: true }, value);
  refused({ protection: "write", create: true }, value);
  refused({ protection: 3, create: true }, value, "ERR_INVALID_ARG_TYPE");
  refused({ sharing: "both", create: true }, value);
  check.refuses(() => mapFileSync(0, { create: true }), value);
  check.equal(statSync(missing, { throwIfNoEntry: false }), undefined);
  check.refuses(() => mapFileSync(missing), "ENOENT");
}

/* Maps a page exactly there, where a hole may have been taken by another thread meanwhile. */
function mapThere(address: bigint): boolean {
  try {
    return raw.mmap(address, pageSize, rw, anonymous | raw.MAP_FIXED_NOREPLACE, -1, 0) === address;
  } catch {
    return false;
  }
}

function checkDoubleClose(check: Check): void {
  let reused = 0;
  for (let round = 0; round < 5; round++) {
    const mapping = mapAnonymous(pageSize);
    const { address } = mapping;
    mapping.close();
    // Never viewed, so the addresses are free; who has them now must not lose them.
    const isTaken = mapThere(address);
    mapping.close();
    mapping[Symbol.dispose]();
    if (!isTaken) continue;
    reused += 1;
    check.equal(permissionsAt(address), "rw-p");
    raw.munmap(address, pageSize);
  }
  check.ok(reused > 0, "the addresses were never free");
  let inside: Mapping | undefined;
  check.refuses(() => {
    using mapping = mapAnonymous(pageSize);
    inside = mapping;
    mapping.bytes[0] = 1;
    throw Object.assign(new Error("inside"), { code: "EIN" });
  }, "EIN");
  check.equal(inside?.closed, true);
  check.equal(inside?.bytes.length, 0);
  inside?.close();
}

/* Ten mapped bytes in the middle of a file: all moves inside them, and moves that leave them. */
function checkMoves(check: Check, t: CaseContext): void {
  const content = pattern(300);
  const path = makeFile(t, content);
  using mapping = mapFileSync(path, { protection: "read-write", offset: 100, length: 10 });
  const model = content.slice(100, 110);
  for (let to = -1; to <= 11; to++) {
    for (let from = -1; from <= 11; from++) {
      for (let count = 0; count <= 11; count++) {
        const move = () => mapping.write(to, mapping.read(from, count));
        const isInside = from >= 0 && to >= 0 && Math.max(from, to) + count <= 10;
        if (!isInside) {
          check.refuses(move, "ERR_OUT_OF_RANGE");
        } else {
          move();
          model.copyWithin(to, from, from + count);
        }
        // The array clamps and never leaves its bytes either.
        mapping.bytes.copyWithin(to, from, from + count);
        model.copyWithin(to, from, from + count);
      }
    }
    check.deepEqual([...mapping.bytes], [...model]);
    mapping.bytes.set(content.subarray(100, 110));
    model.set(content.subarray(100, 110));
  }
  mapping.flushSync();
  check.ok(isUnchanged(path, content), "bytes outside were touched, or those inside are wrong");
}

/* A mapping whose next page nobody may touch; undefined where the hint was not taken. */
function mapBeforeGap(t: CaseContext): { mapping: Mapping; gap: bigint } | undefined {
  const place = reserve(t, 2);
  raw.munmap(place, pageSize);
  const mapping = mapAnonymous(pageSize, { at: place, faults: "collect" });
  t.after(() => mapping.close());
  return mapping.address === place ? { mapping, gap: place + pages(1) } : undefined;
}

function checkSearch(check: Check, t: CaseContext): void {
  let found = mapBeforeGap(t);
  for (let tries = 0; tries < 5 && found === undefined; tries++) found = mapBeforeGap(t);
  check.ok(found, "no mapping before a gap");
  if (found === undefined) return;
  const { mapping, gap } = found;
  check.equal(permissionsAt(gap), "---p");
  const last = pageSize - 3;
  mapping.bytes.set([1, 2, 3], last);
  const whole = new Uint8Array(pageSize).fill(9);
  for (const method of ["indexOf", "lastIndexOf"] as const) {
    check.equal(mapping[method](new Uint8Array([1, 2, 3])), last);
    check.equal(mapping[method](new Uint8Array([1, 2, 3, 0])), -1, "it would end in the gap");
    check.equal(mapping[method](new Uint8Array([3, 0])), -1);
    check.equal(mapping[method](3), pageSize - 1);
    check.equal(mapping[method]("\u0001\u0002", { offset: last, length: 2 }), last);
    check.equal(mapping[method](whole), -1);
    check.equal(mapping[method](new Uint8Array(2 * pageSize)), -1, "longer than the mapping");
  }
  mapping.check();
  raw.check(gap, pageSize);
}

function checkAdvice(check: Check, t: CaseContext): void {
  using mapping = mapFileSync(makeFile(t, pattern(2 * pageSize + 10)));
  const size = mapping.byteLength;
  const refused = (range: Record<string, unknown>, code: string) =>
    check.refuses(() => Reflect.apply(mapping.advise, mapping, ["normal", range]), code);
  refused({ offset: size + 1 }, "ERR_OUT_OF_RANGE");
  refused({ offset: size, length: 1 }, "ERR_OUT_OF_RANGE");
  refused({ offset: -1 }, "ERR_OUT_OF_RANGE");
  refused({ length: -1 }, "ERR_OUT_OF_RANGE");
  refused({ offset: 1, length: size }, "ERR_OUT_OF_RANGE");
  refused({ length: Number.MAX_SAFE_INTEGER }, "ERR_OUT_OF_RANGE");
  refused({ length: 2 ** 64 }, "ERR_OUT_OF_RANGE");
  refused({ offset: 0.5 }, "ERR_OUT_OF_RANGE");
  refused({ offset: "0" }, "ERR_INVALID_ARG_TYPE");
  refused({ length: null }, "ERR_INVALID_ARG_TYPE");
  check.refuses(
    () => Reflect.apply(mapping.advise, mapping, ["nonsense"]),
    "ERR_INVALID_ARG_VALUE",
  );
  // The end of the bytes is no end of a page, and a length left out means up to there.
  mapping.advise("random", { offset: pageSize });
  check.equal(permissionsAt(mapping.address), "r--s");
  const flags = /^VmFlags:.* rr /m;
  const smaps = readFileSync("/proc/self/smaps", "utf8").split(/^(?=[0-9a-f]+-)/m);
  const entryAt = (address: bigint) =>
    smaps.find((entry) => entry.startsWith(`${address.toString(16)}-`)) ?? "";
  check.ok(!flags.test(entryAt(mapping.address)), "the first page was advised on");
  check.ok(flags.test(entryAt(mapping.address + pages(1))), "the others were not");
}

function checkDescriptor(check: Check, t: CaseContext): void {
  const content = pattern(pageSize + 50);
  const path = makeFile(t, content);
  const fd = openSync(path, "r+");
  using mapping = mapFileSync(fd, { protection: "read-write", length: 100 });
  closeSync(fd);
  check.deepEqual(descriptorsNamed(path), [], "a duplicate was kept");
  check.ok(areasNamed(path).length > 0);
  mapping.bytes[5] = 200;
  mapping.flushSync();
  check.equal(readFileSync(path)[5], 200);
  // Without a descriptor the file cannot be made longer; inside its bytes none is needed.
  check.refuses(() => mapping.resize(pageSize + 51), "ERR_OUT_OF_RANGE", "EBADF");
  check.equal(statSync(path).size, pageSize + 50);
  mapping.resize(pageSize + 50);
  check.equal(mapping.bytes[pageSize + 49], content[pageSize + 49]);
}

export const apiCases: readonly Case[] = [
  {
    id: "cpython:test_access_parameter#read",
    says: "every way of writing to a read-only mapping is an error, and the file stays as it was",
    run: checkReadOnly,
  },
  {
    id: "cpython:test_access_parameter#conflict",
    says: "options that contradict one another and unknown modes are refused before a system call",
    run: checkConflicts,
  },
  {
    id: "cpython:test_entire_file",
    says: "a length left out maps the whole file",
    run: (check, t) => {
      const content = pattern(64 * 1024);
      using mapping = mapFileSync(makeFile(t, content));
      check.equal(mapping.byteLength, 64 * 1024);
      check.equal(mapping.bytes.length, 64 * 1024);
      const area = areaAt(mapping.address);
      check.equal(area && area.end - area.start, 65_536n);
      check.ok(Buffer.from(content).equals(mapping.bytes));
    },
  },
  {
    id: "cpython:test_double_close",
    says: "closing again is no error and unmaps nothing of others; a scope left by an error closes",
    run: checkDoubleClose,
  },
  {
    id: "cpython:test_weakref",
    says: "a mapping that nobody holds is unmapped by the garbage collector",
    run: async (check, t) => {
      const code = `
        const path = makeFile(3);
        const rows = () => fs.readFileSync("/proc/self/maps", "utf8").split(path).length - 1;
        const count = () => [mapFileSync(path), mapFileSync(path)].map((m) => m.bytes[0]).length;
        const made = count();
        const before = rows();
        const collect = globalThis.gc ?? (() => Bun.gc(true));
        while (rows() > 0) {
          collect();
          await sleep(5);
        }
        answer({ made, before, after: rows() });`;
      const answer = await answerTo(t, code, { exposeGc: true });
      check.deepEqual(answer, { made: 2, before: 2, after: 0 });
    },
  },
  {
    id: "cpython:test_move",
    says: "moving bytes inside a mapping takes overlaps, and never leaves the mapped bytes",
    run: checkMoves,
  },
  {
    id: "cpython:test_find_does_not_access_beyond_buffer",
    says: "a search at the end of a mapping reads nothing behind it",
    run: checkSearch,
  },
  {
    id: "cpython:test_resize_up_private_anonymous_mapping",
    says: "private anonymous memory made longer keeps its bytes, and has zeros behind them",
    run: (check) => {
      using mapping = mapAnonymous(pageSize + 5);
      mapping.bytes.fill(7);
      mapping.resize(5 * pageSize);
      check.equal(mapping.byteLength, 5 * pageSize);
      check.ok(mapping.bytes.subarray(0, pageSize + 5).every((byte) => byte === 7));
      check.ok(mapping.bytes.subarray(pageSize + 5).every((byte) => byte === 0));
      for (const page of [0, 4]) {
        check.equal(permissionsAt(mapping.address + pages(page)), "rw-p");
      }
    },
  },
  {
    id: "cpython:test_madvise#args",
    says: "advice on bytes that are not there, or on no bytes at all, is refused by the language",
    run: checkAdvice,
  },
  {
    id: "cpython:test_trackfd_parameter",
    says: "a mapping holds no descriptor: it outlives the file's, and cannot make the file longer",
    run: checkDescriptor,
  },
];
