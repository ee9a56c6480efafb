// Programs in children that use the raw door, with what they all need: the door itself, rows of
// /proc/self/maps, and memory that somebody else has mapped.

import { type Answer, answerTo } from "../guard/program.js";
import type { RunOptions } from "../helpers/child.js";
import type { Cleanup } from "../helpers/temp.js";

const prelude = `
import * as raw from "memmap/raw";
import { native } from "#dist/native.js";
const page = BigInt(pageSize);
const rw = raw.PROT_READ | raw.PROT_WRITE;
const kind = raw.MAP_PRIVATE | raw.MAP_ANONYMOUS;
const moving = raw.MREMAP_MAYMOVE | raw.MREMAP_FIXED;

/** Pages of the raw door; the first byte of each is its number from 1 on. */
function makePages(count, flags = kind, prot = rw) {
  const address = raw.mmap(null, count * pageSize, rw, flags, -1, 0);
  const bytes = raw.view(address, count * pageSize);
  for (let i = 0; i < count; i++) bytes[i * pageSize] = i + 1;
  if (prot !== rw) raw.mprotect(address, count * pageSize, prot);
  return { address, bytes };
}

/** Pages without a view. */
function mapPages(count, flags = kind) {
  return raw.mmap(null, count * pageSize, rw, flags, -1, 0);
}

function rows() {
  return fs.readFileSync("/proc/self/maps", "utf8").split("\\n").filter(Boolean).map((line) => {
    const [range, permissions] = line.split(" ");
    const [start, end] = range.split("-").map((text) => BigInt("0x" + text));
    return { start, end, permissions, line };
  });
}

/** The permissions of a page as the kernel writes them; "" for none. */
function at(address) {
  return rows().find(({ start, end }) => start <= address && address < end)?.permissions ?? "";
}

/** The permissions of each of some pages. */
function each(address, count) {
  return Array.from({ length: count }, (_, i) => at(address + BigInt(i) * page));
}

/** Lets the engine give up what nobody holds, and tell of it. */
async function collect() {
  for (let i = 0; i < 3; i++) {
    globalThis.gc?.();
    globalThis.Bun?.gc(true);
    await sleep(20);
  }
}

/** Keeps a worker until it is terminated. */
function forever() {
  parentPort.on("message", () => {});
  return new Promise(() => {});
}

/** Waits until the engine has let a view go whose page is then free, for some seconds at most. */
async function freed(address) {
  for (let i = 0; i < 100 && at(address) !== ""; i++) {
    await collect();
    native().releaseRetired(); // what is kept for a time of grace only
  }
  return at(address) === "";
}

/** Takes what a range has faulted: the number of faults and the reason of the oldest. */
function faults(address, length) {
  try {
    raw.check(address, length);
    return 0;
  } catch (error) {
    return [error.count, error.reason];
  }
}

/** Memory of another door, filled with a pattern. */
function makeForeign(pages) {
  const mapping = mapAnonymous(pages * pageSize);
  mapping.bytes.fill(0x5a);
  const isWhole = () => mapping.bytes.every((byte) => byte === 0x5a);
  return { mapping, address: mapping.address, isWhole };
}
`;

/** Runs such a program, which must end well, and returns what it has answered. */
export function rawAnswer(t: Cleanup, code: string, options: RunOptions = {}): Promise<Answer> {
  return answerTo(t, `${prelude}\n${code}`, { exposeGc: true, ...options });
}
