// A child that has as many areas as the kernel allows, which no engine lives with for long: it does
// what its argument names, with little code and no memory of its own, and ends.

import { readFileSync, writeSync } from "node:fs";
import { pageSize, SystemError } from "memmap";
import * as raw from "memmap/raw";

const kind = raw.MAP_PRIVATE | raw.MAP_ANONYMOUS | raw.MAP_NORESERVE;
const limit = Number(readFileSync("/proc/sys/vm/max_map_count", "utf8"));
const fenceLength = limit * 2 * pageSize;
const fence = raw.mmap(null, fenceLength, raw.PROT_NONE, kind, -1, 0);

function codeOf(call: () => unknown): string {
  try {
    call();
    return "";
  } catch (error) {
    return error instanceof SystemError ? error.code : String(error);
  }
}

/* Makes a call until it is refused twice: what the library held back for this moment goes first. */
function untilRefused(call: () => unknown): void {
  for (let refusals = 0; refusals < 2; ) if (codeOf(call) === "ENOMEM") refusals++;
}

/* In one mapping every other page gets another protection, which the kernel keeps apart. */
let split = 1;
function splitNext(): void {
  raw.mprotect(fence + BigInt(split * pageSize), pageSize, raw.PROT_READ);
  split += 2;
}

/* None is of the kind of its neighbour. */
const protections = [raw.PROT_READ | raw.PROT_WRITE, raw.PROT_READ];
let made = 0;
function mapNext(): void {
  raw.mmap(null, pageSize, protections[made % 2] ?? 0, kind, -1, 0);
  made++;
}

/* Cuts a mapping of three pages, in the middle and at its edge. */
function cut(): Record<string, string> {
  const prot = raw.PROT_READ | raw.PROT_WRITE;
  const own = raw.mmap(null, 3 * pageSize, prot, kind, -1, 0);
  const cutPage = (page: number) =>
    codeOf(() => raw.munmap(own + BigInt(page * pageSize), pageSize));
  untilRefused(splitNext);
  const middle = cutPage(1);
  const kept = codeOf(() => raw.mincore(own, 3 * pageSize));
  const edge = cutPage(2);
  const again = cutPage(1);
  raw.munmap(fence, fenceLength);
  return { middle, kept, edge, again };
}

/* A cut stops at the limit, a new mapping one behind it. Says so, time and again, since threads of
 * the engine map and unmap as well; the one who counts ends this. */
function stayFull(): void {
  const clock = new Int32Array(new SharedArrayBuffer(4));
  const line = new TextEncoder().encode("full\n");
  untilRefused(splitNext);
  for (let roundsLeft = 50; roundsLeft > 0; roundsLeft--) {
    untilRefused(mapNext);
    writeSync(1, line);
    Atomics.wait(clock, 0, 0, 100);
  }
}

if (process.argv[2] === "cut") writeSync(1, `${JSON.stringify(cut())}\n`);
else if (process.argv[2] === "full") stayFull();
