// The drivers of memmap and of its peers. A wrapper around a foreign-function interface is what the
// documents of that interface lead to: mmap(2) and its kin, called as they are, and a view.

import { closeSync, openSync } from "node:fs";
import { createRequire } from "node:module";
import { call } from "../../test/crash/way.js";
import type { Driver, Memory, Wanted } from "./driver.js";
import { memmap } from "./own-driver.js";

const pageSize = 4096;
const protections = { none: 0, read: 1, "read-write": 3 };
const flags = { shared: 1, private: 2, anonymous: 0x20, noReserve: 0x4000, hugeOf2MiB: 0x54040000 };
const mayMove = 1;

/** The arguments of mmap(2), and how many bytes of it are before the wanted ones. */
interface RawPlan {
  readonly length: number;
  readonly protection: number;
  readonly flags: number;
  readonly fd: number;
  readonly offset: number;
  readonly skipped: number;
}

function openAnd<T>(wanted: Wanted, use: (plan: RawPlan) => T): T {
  const { path, offset, byteLength } = wanted;
  const protection = protections[wanted.protection];
  const skipped = offset % pageSize;
  const rest = { length: skipped + byteLength, protection, offset: offset - skipped, skipped };
  if (path === undefined) {
    const kind = flags.private | flags.anonymous;
    const huge = wanted.isHuge ? flags.noReserve | flags.hugeOf2MiB : 0;
    return use({ ...rest, flags: kind | huge, fd: -1 });
  }
  const fd = openSync(path, wanted.protection === "read" ? "r" : "r+");
  try {
    return use({ ...rest, flags: flags.shared, fd });
  } finally {
    closeSync(fd);
  }
}

/** The calls that a foreign-function interface reaches; addresses are whatever it takes. */
interface Calls<Address> {
  map(plan: RawPlan): Address;
  unmap(place: Address, length: number): void;
  move(place: Address, from: number, to: number): Address;
  forbid(place: Address, offset: number, length: number): void;
  view(place: Address, length: number): ArrayBuffer;
}

function memoryOf<Address>(calls: Calls<Address>, place: Address, plan: RawPlan): Memory {
  const { length, skipped } = plan;
  return {
    bytes: new Uint8Array(calls.view(place, length), skipped),
    close: () => calls.unmap(place, length),
    resize: (byteLength) => {
      const grown = skipped + byteLength;
      return memoryOf(calls, calls.move(place, length, grown), { ...plan, length: grown });
    },
    forbid: (offset, byteLength) => calls.forbid(place, skipped + offset, byteLength),
  };
}

const noPin = "it has no pin";
const noUnmap = "it has no unmap";
const noShared = "it makes no SharedArrayBuffer";

/* Both foreign-function interfaces. */
const foreign = { lacks: { pinned: noPin, shared: noShared }, isFixed: false };

interface Koffi {
  load(path: null): { func(prototype: string): (...args: readonly unknown[]) => unknown };
  view(place: unknown, length: number): ArrayBuffer;
  address(place: unknown): bigint;
}

const koffi: Driver = {
  ...foreign,
  load: async (folder) => {
    const library: Koffi = createRequire(`${folder}/`)("koffi");
    const system = library.load(null);
    const mmap = system.func("void *mmap(void *, size_t, int, int, int, int64_t)");
    const munmap = system.func("int munmap(void *, size_t)");
    const mremap = system.func("void *mremap(void *, size_t, size_t, int)");
    const mprotect = system.func("int mprotect(uint64_t, size_t, int)");
    const calls: Calls<unknown> = {
      map: (plan) =>
        mapped(mmap(null, plan.length, plan.protection, plan.flags, plan.fd, plan.offset)),
      unmap: (place, length) => munmap(place, length),
      move: (place, from, to) => mapped(mremap(place, from, to, mayMove)),
      forbid: (place, offset, length) =>
        mprotect(library.address(place) + BigInt(offset), length, protections.none),
      view: (place, length) => library.view(place, length),
    };
    const mapped = (place: unknown) => {
      if (library.address(place) === 2n ** 64n - 1n) throw new Error("mmap failed");
      return place;
    };
    return { map: (wanted) => openAnd(wanted, (plan) => memoryOf(calls, calls.map(plan), plan)) };
  },
};

/* Of the functions of a node:ffi library, each takes and gives 64 bits as a bigint. */
type Function64 = (...args: readonly (bigint | number)[]) => bigint;

const nodeFfi: Driver = {
  ...foreign,
  load: async () => {
    const ffi: object = createRequire(import.meta.url)("node:ffi");
    const [word, int] = ["uint64", "int32"];
    const library = call(ffi, "dlopen", null, {
      mmap: { arguments: [word, word, int, int, int, "int64"], return: word },
      munmap: { arguments: [word, word], return: int },
      mremap: { arguments: [word, word, word, int], return: word },
      mprotect: { arguments: [word, word, int], return: int },
    });
    const functions: Readonly<Record<"mmap" | "munmap" | "mremap" | "mprotect", Function64>> =
      Reflect.get(Object(library), "functions");
    const mapped = (place: bigint) => {
      if (place === 2n ** 64n - 1n) throw new Error("mmap failed");
      return place;
    };
    const calls: Calls<bigint> = {
      map: ({ length, protection, flags: kind, fd, offset }) =>
        mapped(functions.mmap(0n, BigInt(length), protection, kind, fd, BigInt(offset))),
      unmap: (place, length) => {
        functions.munmap(place, BigInt(length));
      },
      move: (place, from, to) => mapped(functions.mremap(place, BigInt(from), BigInt(to), mayMove)),
      forbid: (place, offset, length) => {
        functions.mprotect(place + BigInt(offset), BigInt(length), protections.none);
      },
      view: (place, length) => bufferOf(call(ffi, "toArrayBuffer", place, length, false)),
    };
    return { map: (wanted) => openAnd(wanted, (plan) => memoryOf(calls, calls.map(plan), plan)) };
  },
};

function bufferOf(value: unknown): ArrayBuffer {
  if (value instanceof ArrayBuffer) return value;
  throw new TypeError("no ArrayBuffer");
}

function bytesOf(value: unknown): Uint8Array<ArrayBuffer> {
  if (value instanceof Uint8Array && value.buffer instanceof ArrayBuffer) {
    return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  }
  throw new TypeError("no Uint8Array");
}

const mmapIo: Driver = {
  lacks: {
    pinned: noPin,
    closed: noUnmap,
    close: noUnmap,
    "close-meanwhile": noUnmap,
    resized: "it has no resize",
    shared: noShared,
  },
  isFixed: true,
  load: async (folder) => {
    const library: object = createRequire(`${folder}/`)("@riaskov/mmap-io");
    const map = (wanted: Wanted) =>
      openAnd(wanted, ({ length, protection, flags: kind, fd, offset, skipped }) => {
        const buffer = call(library, "map", length, protection, kind, fd, offset);
        return { bytes: bytesOf(buffer).subarray(skipped) };
      });
    return { map };
  },
};

const bunMmap: Driver = {
  lacks: {
    ...mmapIo.lacks,
    "read-only": "all its memory may be written",
    none: "all its memory may be written",
    "huge-pool": "it maps files only",
  },
  isFixed: true,
  load: async () => {
    const bun: object = Reflect.get(globalThis, "Bun");
    const map = ({ path, offset, byteLength }: Wanted) => ({
      bytes: bytesOf(call(bun, "mmap", path, { offset, size: byteLength })),
    });
    return { map };
  },
};

/** Each library by its name. */
export const drivers = {
  memmap,
  "@riaskov/mmap-io": mmapIo,
  koffi,
  "node:ffi": nodeFfi,
  "Bun.mmap": bunMmap,
} satisfies Readonly<Record<string, Driver>>;

export type DriverName = keyof typeof drivers;
