// The calls with few cases: remap_file_pages, mseal and memfd_secret.

import { createRequire } from "node:module";
import { constants } from "node:os";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { answerOf } from "../guard/program.js";
import { runSource } from "../helpers/child.js";
import { compileAddon, noCompiler } from "../helpers/compile.js";
import {
  firstBytes,
  mapPages,
  numbered,
  openFile,
  pages,
  reserve,
  retry,
} from "../helpers/raw-pages.js";
import type { Case } from "./case.js";

const remapping: readonly Case[] = [
  {
    id: "ltp:remap_file_pages02",
    says: "private pages, a hole, a range past the mapping, a protection, a page past all: refused",
    run: (check, t) => {
      const fd = openFile(t, numbered(2));
      const shared = mapPages(t, 2, { fd });
      const own = mapPages(t, 2, { flags: raw.MAP_PRIVATE, fd });
      const length = pageSize;
      check.refuses(() => raw.remap_file_pages(own, length, 0, 1, 0), "EINVAL");
      check.refuses(() => raw.remap_file_pages(shared, length, raw.PROT_READ, 1, 0), "EINVAL");
      check.refuses(() => raw.remap_file_pages(shared, length, 0, 1n << 51n, 0), "EOVERFLOW");
      retry(() => {
        const place = reserve(t, 4);
        const beforeHole = mapPages(t, 1, { fd, at: place + pages(1) });
        raw.munmap(place + pages(2), pageSize);
        const hole = place + pages(2);
        check.refuses(() => raw.remap_file_pages(hole, length, 0, 1, 0), "EINVAL");
        check.refuses(() => raw.remap_file_pages(beforeHole, 2 * length, 0, 0, 0), "EINVAL");
      });
      check.deepEqual(firstBytes(shared, 2), [1, 2]);
      raw.remap_file_pages(shared, length, 0, 1, 0);
      check.deepEqual(firstBytes(shared, 2), [2, 2]);
    },
  },
];

/* pkey_mprotect(2) has no door here: with the key -1 it is mprotect(2) under another number. */
const keyAddon = `
#include <node_api.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static napi_value protect(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2], result;
  uint64_t address;
  int64_t length;
  bool lossless;
  napi_get_cb_info(env, info, &count, arguments, NULL, NULL);
  napi_get_value_bigint_uint64(env, arguments[0], &address, &lossless);
  napi_get_value_int64(env, arguments[1], &length);
  long answer = syscall(SYS_pkey_mprotect, (uintptr_t)address, (size_t)length, PROT_NONE, -1);
  napi_create_int32(env, answer == 0 ? 0 : errno, &result);
  return result;
}

NAPI_MODULE_INIT() {
  napi_value function;
  (void)exports;
  napi_create_function(env, "protect", NAPI_AUTO_LENGTH, protect, NULL, &function);
  return function;
}
`;

/* Seals cannot be taken back, so this runs in a child. */
const prelude = `
  import * as fs from "node:fs";
  import { createRequire } from "node:module";
  import { constants } from "node:os";
  import { pageSize } from "memmap";
  import * as raw from "memmap/raw";
  const at = (page) => BigInt(page) * BigInt(pageSize);
  const kind = raw.MAP_PRIVATE | raw.MAP_ANONYMOUS;
  const rw = raw.PROT_READ | raw.PROT_WRITE;
  const codeOf = (call) => {
    try {
      call();
      return "";
    } catch (error) {
      return String(error.code);
    }
  };
  const answer = (value) => fs.writeSync(1, JSON.stringify(value) + "\\n");`;

const sealed = `${prelude}
  const protectWithKey = createRequire(import.meta.url)(process.argv[2]);
  const address = raw.mmap(null, 4 * pageSize, rw, kind, -1, 0);
  const mem = fs.openSync("/proc/self/mem", "r+");
  const put = (value) => fs.writeSync(mem, new Uint8Array([value]), 0, 1, Number(address));
  const byte = new Uint8Array(1);
  put(7);
  raw.mprotect(address, 4 * pageSize, raw.PROT_READ);
  const other = raw.mmap(null, 4 * pageSize, rw, kind, -1, 0);
  raw.mseal(address, 4 * pageSize, 0);
  const moves = raw.MREMAP_MAYMOVE | raw.MREMAP_FIXED;
  const calls = {
    mprotect: () => raw.mprotect(address, pageSize, rw),
    munmap: () => raw.munmap(address, pageSize),
    shrink: () => raw.mremap(address, 4 * pageSize, pageSize, 0),
    move: () => raw.mremap(address, 4 * pageSize, 4 * pageSize, moves, other),
    moveOver: () => raw.mremap(other, 4 * pageSize, 4 * pageSize, moves, address),
    mapOver: () => raw.mmap(address, pageSize, rw, kind | raw.MAP_FIXED, -1, 0),
    discard: () => raw.madvise(address, pageSize, raw.MADV_DONTNEED),
  };
  const found = Object.entries(calls).map(([name, call]) => [name, codeOf(call)]);
  const key = protectWithKey(address, pageSize) === constants.errno.EPERM;
  fs.readSync(mem, byte, 0, 1, Number(address));
  const row = fs.readFileSync("/proc/self/maps", "utf8").split("\\n")
    .find((line) => line.startsWith(address.toString(16) + "-")) ?? "";
  const end = BigInt("0x" + row.split(/[- ]/)[1]) - address;
  answer({ ...Object.fromEntries(found), key, byte: byte[0], pages: Number(end / at(1)) });`;

const partly = `${prelude}
  const found = [2 * pageSize - 1, 2 * pageSize + 1].map((length) => {
    const address = raw.mmap(null, 4 * pageSize, rw, kind, -1, 0);
    raw.mseal(address, length, 0);
    return [0, 1, 2, 3].map((page) =>
      codeOf(() => raw.mprotect(address + at(page), pageSize, raw.PROT_READ)));
  });
  answer({ shorter: found[0], longer: found[1] });`;

const withoutSeals = !raw.accepts("MAP_DROPPABLE") && "needs Linux 6.11";

const sealing: readonly Case[] = [
  {
    id: "ltp:mseal01",
    says: "sealed pages cannot be protected, unmapped, moved, replaced or thrown away",
    skip: noCompiler || withoutSeals,
    run: async (check, t) => {
      const found = answerOf(await runSource(sealed, [compileAddon(t, keyAddon)]));
      for (const call of ["mprotect", "munmap", "shrink", "move", "mapOver", "discard"]) {
        check.equal(found[call], "EPERM", call);
      }
      check.equal(found["moveOver"], "EPERM");
      check.equal(found["key"], true);
      check.equal(found["byte"], 7);
      check.equal(found["pages"], 4);
    },
  },
  {
    id: "ksft-mm:mseal_test:test_seal_mprotect_unalign_len",
    says: "a length is rounded up to whole pages, and no page more is sealed",
    skip: withoutSeals,
    run: async (check) => {
      const found = answerOf(await runSource(partly));
      check.deepEqual(found["shorter"], ["EPERM", "EPERM", "", ""]);
      check.deepEqual(found["longer"], ["EPERM", "EPERM", "EPERM", ""]);
    },
  },
];

/* Some runtimes do not read or write through descriptors that they did not open. */
const fileAddon = `
#include <node_api.h>
#include <errno.h>
#include <unistd.h>

static napi_value use(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument, result, element;
  int fd;
  char bytes[8] = {0};
  napi_get_cb_info(env, info, &count, &argument, NULL, NULL);
  napi_get_value_int32(env, argument, &fd);
  napi_create_array(env, &result);
  for (uint32_t i = 0; i < 5; i++) {
    errno = 0;
    long answer = i == 0   ? ftruncate(fd, getpagesize())
                  : i == 1 ? read(fd, bytes, sizeof bytes)
                  : i == 2 ? write(fd, bytes, sizeof bytes)
                  : i == 3 ? pread(fd, bytes, sizeof bytes, 0)
                           : pwrite(fd, bytes, sizeof bytes, 0);
    napi_create_int32(env, answer < 0 ? errno : 0, &element);
    napi_set_element(env, result, i, element);
  }
  return result;
}

NAPI_MODULE_INIT() {
  napi_value function;
  (void)exports;
  napi_create_function(env, "use", NAPI_AUTO_LENGTH, use, NULL, &function);
  return function;
}
`;

const secrets: readonly Case[] = [
  {
    id: "ksft-mm:memfd_secret:file_apis",
    says: "a secret memory file can be neither read nor written through its descriptor",
    skip: noCompiler,
    run: (check, t) => {
      let fd: number;
      try {
        fd = raw.memfd_secret(0);
      } catch (error) {
        t.skip(`needs a kernel with memfd_secret: ${String(error)}`);
        return;
      }
      t.after(() => raw.close(fd));
      const useFile = createRequire(import.meta.url)(compileAddon(t, fileAddon));
      const { EINVAL, ESPIPE } = constants.errno;
      check.deepEqual(useFile(fd), [0, EINVAL, EINVAL, ESPIPE, ESPIPE]);
      const address = mapPages(t, 1, { fd });
      raw.view(address, 1)[0] = 5;
      check.deepEqual([...raw.view(address, 2)], [5, 0]);
      check.deepEqual(useFile(fd).slice(1), [EINVAL, EINVAL, ESPIPE, ESPIPE]);
    },
  },
];

export const otherCallsCases: readonly Case[] = [...remapping, ...sealing, ...secrets];
