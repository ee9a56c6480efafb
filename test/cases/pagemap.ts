// The page table as /proc/PID/pagemap and its scan show it. The scans track writes by userfaultfd.

import { closeSync, openSync, readSync } from "node:fs";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { noCompiler } from "../helpers/compile.js";
import { limitedOutput } from "../helpers/ordinary-user.js";
import { mapPages, pages } from "../helpers/raw-pages.js";
import { syscallAddon } from "../helpers/syscalls.js";
import { needs } from "../helpers/temp.js";
import type { Case, CaseContext, Check } from "./case.js";
import { waiting } from "./waiting.js";

/* The entries of some pages. */
function entriesOf(address: bigint, pageCount: number): bigint[] {
  const entries = new BigUint64Array(pageCount);
  const fd = openSync("/proc/self/pagemap", "r");
  const position = Number(address / BigInt(pageSize)) * 8;
  readSync(fd, new Uint8Array(entries.buffer), 0, entries.byteLength, position);
  closeSync(fd);
  return [...entries];
}

function isPresent(entry: bigint | undefined): boolean {
  return entry !== undefined && entry >> 63n === 1n;
}

function frameOf(entry: bigint | undefined): bigint {
  return (entry ?? 0n) & (2n ** 55n - 1n);
}

/* A process without rights may look at its own pages again once it may be dumped. */
const limited = `
  const { createRequire } = await import("node:module");
  const addon = createRequire(import.meta.url)(process.argv[2]);
  const kind = raw.MAP_PRIVATE | raw.MAP_ANONYMOUS;
  const address = raw.mmap(null, pageSize, raw.PROT_READ | raw.PROT_WRITE, kind, -1, 0);
  raw.view(address, 1)[0] = 1;
  dropRights();
  addon.syscall("prctl", 4n, 1n); // PR_SET_DUMPABLE
  const entry = new BigUint64Array(1);
  const fd = fs.openSync("/proc/self/pagemap", "r");
  const position = Number(address / BigInt(pageSize)) * 8;
  fs.readSync(fd, new Uint8Array(entry.buffer), 0, 8, position);
  console.log(JSON.stringify([String(entry[0] >> 63n), String(entry[0] & (2n ** 55n - 1n))]));`;

async function checkPresent(check: Check, t: CaseContext): Promise<void> {
  const address = mapPages(t, 3);
  const view = raw.view(address, 3 * pageSize);
  // Huge pages would bring in the neighbours, too.
  raw.madvise(address, 3 * pageSize, raw.MADV_NOHUGEPAGE);
  check.deepEqual(entriesOf(address, 3).map(isPresent), [false, false, false]);
  view[0] = 1;
  check.equal(view[pageSize], 0);
  const [written, read, untouched] = entriesOf(address, 3);
  check.deepEqual([written, read, untouched].map(isPresent), [true, true, false]);
  if (!needs("root").skip) {
    check.ok(frameOf(written) > 0n && frameOf(read) > 0n, "no frames for root");
    check.ok(frameOf(written) !== frameOf(read));
    check.equal(frameOf(untouched), 0n);
  }
  raw.munmap(address + pages(2), pageSize);
  const output = await limitedOutput(limited, [syscallAddon(t)]);
  check.deepEqual(JSON.parse(output), ["1", "0"]);
}

export const pagemapCases: readonly Case[] = [
  {
    id: "man:proc_pid_pagemap(5)#present",
    says: "pages that were read or written are present, others not; frames are told to root alone",
    skip: noCompiler,
    run: checkPresent,
  },
  waiting(
    "ksft-mm:pagemap_ioctl:fresh",
    "a scan finds nothing in fresh memory, all of it once filled, and nothing after a reset",
  ),
  waiting(
    "ksft-mm:pagemap_ioctl:pattern",
    "a scan after writing every other page finds as many ranges of one page each",
  ),
  waiting(
    "ksft-mm:pagemap_ioctl:max_pages",
    "a scan with a limit of pages stops there, and the next one goes on behind it",
  ),
  waiting(
    "ksft-mm:pagemap_ioctl:masks",
    "the masks of a scan choose pages by having all bits, any of them, or lacking them",
  ),
  waiting(
    "ksft-mm:pagemap_ioctl:mprotect",
    "a new place and a new protection lose nothing of what was written",
  ),
  waiting(
    "ksft-mm:pagemap_ioctl:transact",
    "of many threads' writes a scan that resets loses none",
  ),
];
