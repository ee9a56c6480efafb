// What a process and the machine can have of memory: addresses, areas, and promises of pages.

import { readFileSync } from "node:fs";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { answerOf } from "../guard/program.js";
import { startScript } from "../helpers/child.js";
import { runLimited } from "../helpers/ordinary-user.js";
import { anonymous, peek, rw } from "../helpers/raw-pages.js";
import { setKernel, takePower, whyNot } from "../helpers/root-powers.js";
import type { Case, CaseContext, Check } from "./case.js";

/* The limit on addresses is what the child has now and some more; the same request meets both. What
 * is left must do for the engine, which takes addresses for itself at any time, or else ends. */
const addresses = `
  const mebibyte = 2 ** 20;
  const sizeNow = () =>
    1024 * Number(/VmSize:\\s+(\\d+)/.exec(fs.readFileSync("/proc/self/status", "utf8"))[1]);
  const kind = raw.MAP_PRIVATE | raw.MAP_ANONYMOUS;
  const tryWith = (more) => {
    limit("as", sizeNow() + more * mebibyte);
    try {
      raw.munmap(raw.mmap(null, 500 * mebibyte, raw.PROT_NONE, kind, -1, 0), 500 * mebibyte);
      return "";
    } catch (error) {
      return error.code;
    }
  };
  let roomy = "";
  for (let triesLeft = 5; triesLeft > 0; triesLeft--) if ((roomy = tryWith(700)) === "") break;
  const narrow = tryWith(200);
  fs.writeSync(1, JSON.stringify({ roomy, narrow }) + "\\n");`;

/* The rows of a process, but for the page of the kernel that stands in none of its counts. */
function rowsOf(pid: number): number {
  const rows = readFileSync(`/proc/${pid}/maps`, "utf8").trimEnd().split("\n");
  return rows.filter((row) => !row.endsWith("[vsyscall]")).length;
}

/* What a child that has all areas it can get was seen to have, up to the first right count. */
async function countAtLimit(limit: number): Promise<number[]> {
  /* An engine may die for want of areas, before or after it has been counted. */
  const child = startScript(new URL("./area-limit.js", import.meta.url), ["full"]);
  const counts: number[] = [];
  child.stdout?.on("data", () => {
    const { pid, exitCode, signalCode, killed } = child;
    if (pid === undefined || exitCode !== null || signalCode !== null || killed) return;
    counts.push(rowsOf(pid));
    if (counts.at(-1) === limit + 1) child.kill("SIGKILL");
  });
  await new Promise((resolve) => child.on("close", resolve));
  return counts;
}

function kibibytes(field: string): number {
  const found = new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(
    readFileSync("/proc/meminfo", "utf8"),
  );
  return Number(found?.[1]);
}

/* Maps so much memory that may be written, touches both ends, and gives it back. */
function mapAndTouch(byteLength: number): void {
  const length = Math.ceil(byteLength / pageSize) * pageSize;
  const address = raw.mmap(null, length, rw, anonymous, -1, 0);
  try {
    const end = address + BigInt(length - 1);
    raw.view(address, 1)[0] = 1;
    raw.view(end, 1)[0] = 2;
    if (peek(address)[0] !== 1 || peek(end)[0] !== 2) throw new Error("it holds something else");
  } finally {
    raw.munmap(address, length);
  }
}

async function checkOvercommit(check: Check, t: CaseContext): Promise<void> {
  await takePower(t, "sysctl");
  const all = 1024 * (kibibytes("MemTotal") + kibibytes("SwapTotal"));
  // So much more than there is that no other process is refused while the limit counts, which is
  // then also used up by what was mapped without a promise of pages.
  setKernel(t, "vm/overcommit_ratio", "10000");
  setKernel(t, "vm/overcommit_memory", "0");
  mapAndTouch(all / 2);
  check.refuses(() => mapAndTouch(2 * all), "ENOMEM");

  setKernel(t, "vm/overcommit_memory", "1");
  for (const length of [all / 2, all, 2 * all]) mapAndTouch(length);

  setKernel(t, "vm/overcommit_memory", "2");
  const limit = 1024 * kibibytes("CommitLimit");
  check.ok(limit > all, "the ratio was not taken");
  mapAndTouch(limit / 4);
  check.refuses(() => mapAndTouch(limit), "ENOMEM");
}

export const limitsCases: readonly Case[] = [
  {
    id: "gvisor:mmap.cc:ExceedLimitAS",
    says: "a request of 500 MiB fails when 200 MiB of addresses are left, and not when 700 MiB are",
    run: async (check) => {
      const found = answerOf(await runLimited(addresses));
      check.deepEqual(found, { roomy: "", narrow: "ENOMEM" });
    },
  },
  {
    id: "ltp:max_map_count",
    says: "a process may have one area more than vm.max_map_count, and not two",
    run: async (check) => {
      const limit = Number(readFileSync("/proc/sys/vm/max_map_count", "utf8"));
      const counts: number[] = [];
      for (let triesLeft = 3; triesLeft > 0 && counts.at(-1) !== limit + 1; triesLeft--) {
        counts.push(...(await countAtLimit(limit)));
      }
      check.equal(counts.at(-1), limit + 1, counts.join());
      check.equal(Math.max(...counts), limit + 1);
    },
  },
  {
    id: "ltp:overcommit_memory",
    says: "vm.overcommit_memory refuses twice the memory, or nothing, or what passes the limit",
    skip: whyNot("sysctl"),
    run: checkOvercommit,
  },
];
