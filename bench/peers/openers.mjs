// How each library maps memory, in one form: map({ path, length, protection, huge }) gives bytes
// and, where the library has one, unmap(). What a library cannot do throws `Cannot`. Only what is
// asked for is loaded: each runtime and folder has other libraries.

import { openSync } from "node:fs";
import { createRequire } from "node:module";

/** What a library has no way to do. */
export class Cannot extends Error {}

const PROTECTIONS = { none: 0, read: 1, "read-write": 3 };
const SHARED = 1;
const PRIVATE = 2;
const ANONYMOUS = 0x20;
const NORESERVE = 0x4000;
const HUGE_2_MIB = 0x40000 | (21 << 26);

/** The arguments of mmap(2) behind the address. */
function rawArguments({ path, length, protection, huge }) {
  const flags = huge ? PRIVATE | ANONYMOUS | NORESERVE | HUGE_2_MIB : SHARED;
  const fd = huge ? -1 : openSync(path, protection === "read" ? "r" : "r+");
  return { length, prot: PROTECTIONS[protection], flags, fd };
}

const openers = {
  async memmap() {
    const { mapAnonymous, mapFileSync } = await import("memmap");
    return ({ path, length, protection, huge }) => {
      const mapping = huge
        ? mapAnonymous(length, { hugePages: 2 ** 21, reserve: false, faults: "collect" })
        : mapFileSync(path, { length, faults: "collect", protection });
      const { bytes } = mapping;
      return { bytes, unmap: () => mapping.close(), check: () => mapping.check() };
    };
  },
  async "@riaskov/mmap-io"(folder) {
    const mmap = createRequire(`${folder}/`)("@riaskov/mmap-io");
    return (wanted) => {
      const { length, prot, flags, fd } = rawArguments(wanted);
      return { bytes: mmap.map(length, prot, flags, fd, 0) };
    };
  },
  async koffi(folder) {
    const koffi = createRequire(`${folder}/`)("koffi");
    const library = koffi.load(null);
    const mmap = library.func("void *mmap(void *, size_t, int, int, int, int64_t)");
    const munmap = library.func("int munmap(void *, size_t)");
    return (wanted) => {
      const { length, prot, flags, fd } = rawArguments(wanted);
      const place = mmap(null, length, prot, flags, fd, 0);
      const bytes = new Uint8Array(koffi.view(place, length));
      return { bytes, unmap: () => munmap(place, length) };
    };
  },
  async "node:ffi"() {
    const ffi = createRequire(import.meta.url)("node:ffi");
    const { functions } = ffi.dlopen(null, {
      mmap: {
        arguments: ["uint64", "uint64", "int32", "int32", "int32", "int64"],
        return: "uint64",
      },
      munmap: { arguments: ["uint64", "uint64"], return: "int32" },
    });
    return (wanted) => {
      const { length, prot, flags, fd } = rawArguments(wanted);
      const place = functions.mmap(0n, BigInt(length), prot, flags, fd, 0n);
      const bytes = new Uint8Array(ffi.toArrayBuffer(place, length, false));
      return { bytes, unmap: () => functions.munmap(place, BigInt(length)) };
    };
  },
  async "Bun.mmap"() {
    return ({ path, protection, huge }) => {
      if (huge) throw new Cannot("it maps files only");
      if (protection !== "read-write") throw new Cannot("all its memory may be written");
      return { bytes: globalThis.Bun.mmap(path) };
    };
  },
};

/** The names of the libraries. */
export const names = Object.keys(openers);

/** Loads a library; `folder` is where npm has installed it. */
export function load(name, folder) {
  return openers[name](folder);
}
