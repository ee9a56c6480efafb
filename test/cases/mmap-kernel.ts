// What the kernel does with mapped pages: system calls that touch them, access times, full disks,
// populating, dropping, running what they hold, and sharing them with a child.

import { spawnSync } from "node:child_process";
import {
  closeSync,
  fstatSync,
  ftruncateSync,
  futimesSync,
  openSync,
  readSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { answerOf } from "../guard/program.js";
import { type RunResult, runSource } from "../helpers/child.js";
import { compileAddon, noCompiler } from "../helpers/compile.js";
import { areaAt, pageTable } from "../helpers/proc-self.js";
import {
  faultOf,
  mapPages,
  numbered,
  openFile,
  openUntilEnd,
  pages,
  rw,
} from "../helpers/raw-pages.js";
import { makeMemoryGroup, mountLoop, takePower, whyNoLoop } from "../helpers/root-powers.js";
import { needs, tempDir } from "../helpers/temp.js";
import type { Case, CaseContext } from "./case.js";

const { MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE } = raw;
const half = pageSize / 2;

/* Two pages over a file of half a page: the second one is behind its end. */
function behindTheEnd(t: CaseContext, flags: number): Uint8Array {
  const fd = openFile(t, numbered(1).subarray(0, half));
  return raw.view(mapPages(t, 2, { flags, fd }) + pages(1), pageSize);
}

const calls: readonly Case[] = [
  {
    id: "gvisor:mmap.cc:InternalSigBus",
    says: "a write(2) from a page behind the end of the file fails, without a signal",
    run: (check, t) => {
      const bytes = behindTheEnd(t, MAP_PRIVATE);
      const path = join(tempDir(t), "pipe");
      check.equal(spawnSync("mkfifo", [path]).status, 0);
      const pipe = openUntilEnd(t, path, "r+");
      check.refuses(() => writeSync(pipe, bytes, 0, 16), "EFAULT");
    },
  },
  {
    id: "gvisor:mmap.cc:InternalSigBusZeroing",
    says: "a read(2) into a page behind the end of the file fails, without a signal",
    run: (check, t) => {
      const bytes = behindTheEnd(t, MAP_SHARED);
      const zero = openUntilEnd(t, "/dev/zero", "r");
      check.refuses(() => readSync(zero, bytes, 0, 16, null), "EFAULT");
    },
  },
];

const files: readonly Case[] = [
  {
    id: "posix:mmap/13-1",
    says: "the time of access of a file moves between its mapping and its unmapping",
    skip: needs({ fileSystem: "ext4", at: tmpdir() }).skip,
    run: (check, t) => {
      const hourAgo = new Date(Date.now() - 3_600_000);
      const makeOld = () => {
        const fd = openFile(t, numbered(1));
        futimesSync(fd, hourAgo, hourAgo);
        return fd;
      };
      const isUsed = (fd: number) => fstatSync(fd).atimeMs > hourAgo.getTime() + 1000;
      const control = makeOld();
      readSync(control, new Uint8Array(1), 0, 1, 0);
      if (!isUsed(control)) {
        t.skip("needs a file system that keeps times of access");
        return;
      }
      const fd = makeOld();
      check.ok(!isUsed(fd));
      const address = mapPages(t, 1, { fd });
      const bytes = raw.view(address, pageSize);
      bytes[0] = (bytes[1] ?? 0) + 1;
      raw.munmap(address, pageSize);
      check.ok(isUsed(fd));
    },
  },
  {
    id: "ltp:mmap16",
    says: "a store into a part of a file for which the disk has no space left is a fault",
    skip: whyNoLoop("ext4-1k"),
    run: async (check, t) => {
      await takePower(t, "loop");
      const folder = mountLoop(t, "ext4-1k", 8);
      const fd = openSync(join(folder, "data"), "w+");
      writeSync(fd, numbered(1).subarray(0, half / 4));
      const old = raw.mmap(null, pageSize, rw, MAP_SHARED, fd, 0);
      raw.view(old, pageSize)[0] = 2;
      const rest = openSync(join(folder, "rest"), "w");
      const fill = (bytes: Uint8Array) => {
        for (;;) writeSync(rest, bytes);
      };
      for (const size of [2 ** 20, 1024]) {
        check.refuses(() => fill(new Uint8Array(size)), "ENOSPC");
      }
      ftruncateSync(fd, 4 * pageSize);
      const address = raw.mremap(old, pageSize, 4 * pageSize, raw.MREMAP_MAYMOVE);
      const bytes = raw.view(address, 4 * pageSize);
      for (const place of [half, 2 * pageSize]) {
        const fault = faultOf(address, 4 * pageSize, () => {
          bytes[place] = 1;
        });
        check.equal(fault.access, "write");
        check.equal(fault.address, address + BigInt(place));
        const byte = new Uint8Array(1);
        readSync(fd, byte, 0, 1, place);
        check.equal(byte[0], 0);
      }
      raw.munmap(address, 4 * pageSize);
      for (const file of [fd, rest]) closeSync(file);
    },
  },
  {
    id: "gvisor:mmap.cc:MapPopulate",
    says: "populating never fails, also not where the file ends before the mapping",
    run: (check, t) => {
      const whole = openFile(t, numbered(2));
      const short = openFile(t, numbered(1).subarray(0, half));
      for (const sharing of [MAP_SHARED, MAP_PRIVATE]) {
        for (const prot of [PROT_READ, PROT_WRITE, rw]) {
          const plan = { prot, flags: sharing | raw.MAP_POPULATE };
          const full = mapPages(t, 2, { ...plan, fd: whole });
          check.equal(pageTable(full, 2).present, 2);
          const partial = mapPages(t, 2, { ...plan, fd: short });
          check.equal(areaAt(partial)?.end, partial + pages(2));
          check.equal(pageTable(partial, 2).present, 1);
        }
      }
    },
  },
];

const droppable = `
  import * as fs from "node:fs";
  import { pageSize } from "memmap";
  import * as raw from "memmap/raw";
  const length = 128 * 2 ** 20;
  fs.writeFileSync(process.argv[2] + "/cgroup.procs", String(process.pid));
  const flags = raw.MAP_DROPPABLE | raw.MAP_ANONYMOUS;
  const address = raw.mmap(null, length, raw.PROT_READ | raw.PROT_WRITE, flags, -1, 0);
  const bytes = raw.view(address, length).fill(0x6b);
  const resident = raw.mincore(address, length).reduce((sum, state) => sum + (state & 1), 0);
  let zero = 0;
  let other = 0;
  for (let i = 0; i < length; i += pageSize) {
    if (bytes[i] === 0) zero++;
    else if (bytes[i] !== 0x6b) other++;
  }
  fs.writeSync(1, JSON.stringify({ total: length / pageSize, resident, zero, other }) + "\\n");`;

const dropping: readonly Case[] = [
  {
    id: "ltp:mmap22",
    says: "pages that may be dropped are, as zeros, and nobody is killed for want of memory",
    skip: needs("root").skip || (!raw.accepts("MAP_DROPPABLE") && "needs Linux 6.11"),
    run: async (check, t) => {
      await takePower(t, "cgroup");
      const group = makeMemoryGroup(t, 64 * 2 ** 20);
      if (group === undefined) {
        t.skip("needs a group of control that counts memory");
        return;
      }
      const found = answerOf(await runSource(droppable, [group]));
      check.ok(Number(found["resident"]) < Number(found["total"]), JSON.stringify(found));
      check.ok(Number(found["zero"]) > 0, JSON.stringify(found));
      check.equal(found["other"], 0);
    },
  },
];

/* call(address): what a function there returns. fork(): the child's number; it only waits. */
const addon = `
#include <node_api.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <unistd.h>

static napi_value call(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument, result;
  uint64_t address;
  bool lossless;
  napi_get_cb_info(env, info, &count, &argument, NULL, NULL);
  napi_get_value_bigint_uint64(env, argument, &address, &lossless);
  char *code = (char *)(uintptr_t)address;
  __builtin___clear_cache(code, code + 16);
  napi_create_int32(env, ((int (*)(void))(uintptr_t)address)(), &result);
  return result;
}

static napi_value fork_here(napi_env env, napi_callback_info info) {
  napi_value result;
  (void)info;
  pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) pause();
  }
  napi_create_int32(env, child, &result);
  return result;
}

NAPI_MODULE_INIT() {
  napi_value function;
  napi_create_function(env, "call", NAPI_AUTO_LENGTH, call, NULL, &function);
  napi_set_named_property(env, exports, "call", function);
  napi_create_function(env, "fork", NAPI_AUTO_LENGTH, fork_here, NULL, &function);
  napi_set_named_property(env, exports, "fork", function);
  return exports;
}
`;

const prelude = `
  import * as fs from "node:fs";
  import { createRequire } from "node:module";
  import { pageSize } from "memmap";
  import * as raw from "memmap/raw";
  const native = createRequire(import.meta.url)(process.argv[2]);
  const kind = raw.MAP_PRIVATE | raw.MAP_ANONYMOUS;
  const rw = raw.PROT_READ | raw.PROT_WRITE;
  const answer = (value) => fs.writeSync(1, JSON.stringify(value) + "\\n");`;

/* A function that returns 42. */
const machineCode: Readonly<Record<string, readonly number[]>> = {
  x64: [0xb8, 42, 0, 0, 0, 0xc3],
  arm64: [0x40, 0x05, 0x80, 0x52, 0xc0, 0x03, 0x5f, 0xd6],
};

const runsCode = `${prelude}
  const [more, ...code] = JSON.parse(process.argv[3]);
  const address = raw.mmap(null, pageSize, rw | more, kind, -1, 0);
  raw.view(address, pageSize).set(code);
  answer({ returned: native.call(address) });`;

const forks = `${prelude}
  const address = raw.mmap(null, 2 * pageSize, rw, kind, -1, 0);
  const bytes = raw.view(address, 2 * pageSize).fill(1);
  const child = native.fork();
  const pipe = fs.openSync(process.argv[3], "r+");
  const got = new Uint8Array(pageSize);
  const send = () => {
    fs.writeSync(pipe, bytes.subarray(0, pageSize));
    fs.readSync(pipe, got, 0, pageSize, null);
    return got.reduce((sum, byte) => sum + byte, 0);
  };
  const before = send();
  fs.readSync(fs.openSync("/dev/zero", "r"), bytes, 0, 2 * pageSize, null);
  const after = send();
  const memory = fs.openSync("/proc/" + child + "/mem", "r");
  fs.readSync(memory, got, 0, pageSize, Number(address));
  const other = got.reduce((sum, byte) => sum + byte, 0);
  process.kill(child, "SIGKILL");
  answer({ before, after, other });`;

const quiet = { env: { BUN_CRASH_REPORT_URL: "", BUN_ENABLE_CRASH_REPORTING: "0" } };

function runCode(path: string, more: number): Promise<RunResult> {
  const code = JSON.stringify([more, ...(machineCode[process.arch] ?? [])]);
  return runSource(runsCode, [path, code], quiet);
}

const children: readonly Case[] = [
  {
    id: "gvisor:mmap.cc:ProtExec",
    says: "code in an executable page runs; without that permission the process ends",
    skip: noCompiler || (machineCode[process.arch] === undefined && "needs x86-64 or arm64"),
    run: async (check, t) => {
      const path = compileAddon(t, addon);
      check.deepEqual(answerOf(await runCode(path, raw.PROT_EXEC)), { returned: 42 });
      const { code, signal, stdout } = await runCode(path, 0);
      check.ok(code !== 0 && signal !== "SIGKILL", `${code} ${signal}`);
      check.equal(stdout.includes("returned"), false);
    },
  },
  {
    id: "gvisor:mmap.cc:AccessCOWInvalidatesCachedSegments",
    says: "what the kernel stores into pages shared with a child goes to this process's copy",
    skip: noCompiler,
    run: async (check, t) => {
      const pipe = join(tempDir(t), "pipe");
      check.equal(spawnSync("mkfifo", [pipe]).status, 0);
      const found = answerOf(await runSource(forks, [compileAddon(t, addon), pipe]));
      check.deepEqual(found, { before: pageSize, after: 0, other: pageSize });
    },
  },
];

export const mmapKernelCases: readonly Case[] = [...calls, ...files, ...dropping, ...children];
