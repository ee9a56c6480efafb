// What only root can do to the machine, for the time of a test: huge pages, swap, mounts, settings
// of the kernel. Each of these belongs to one test at a time, in whatever process it runs, and is
// put back when the test ends. A test asks for them in its options: `skip: whyNot("swap")`.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Cleanup, needs, tempDir, undoAfter } from "./temp.js";

/** What a test may ask for. */
export type Power = "huge-pages" | "swap" | "loop" | "sysctl" | "cgroup";

/** How long a test waits for another one to give a power back. */
const WAIT_MS_MAX = 120_000;

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}

/* Makes the folder that stands for a power, or takes it over from a process that has died. */
function tryTake(folder: string): boolean {
  try {
    mkdirSync(folder);
    writeFileSync(join(folder, "pid"), String(process.pid));
    return true;
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
  }
  try {
    const pid = Number(readFileSync(join(folder, "pid"), "utf8"));
    if (pid > 0 && !isAlive(pid)) rmSync(folder, { recursive: true, force: true });
  } catch {
    // Its holder is just making it, or giving it back.
  }
  return false;
}

/** Waits until a power belongs to this test alone; it is given back after the test. */
export async function takePower(t: Cleanup, power: Power): Promise<void> {
  const folder = join(tmpdir(), `memmap-test-power-${power}`);
  const end = Date.now() + WAIT_MS_MAX;
  while (!tryTake(folder)) {
    assert.ok(Date.now() < end, `another test holds ${folder}`);
    await sleep(50);
  }
  undoAfter(t, () => rmSync(folder, { recursive: true, force: true }));
}

/** Why a power is not to be had here; false when it is. */
export function whyNot(power: Power): string | false {
  const { skip } = needs("root");
  if (skip) return skip;
  if (power === "huge-pages" && !/^HugePages_Total:/m.test(readFileSync("/proc/meminfo", "utf8"))) {
    return "needs a kernel with huge pages";
  }
  if (power === "loop" && spawnSync("mkfs.ext4", ["-V"]).status === null) return "needs mkfs.ext4";
  if (power === "swap" && spawnSync("mkswap", ["--version"]).status === null) return "needs mkswap";
  return false;
}

/** Sets a file of the kernel for the time of the test: "vm/overcommit_memory". */
export function setKernel(t: Cleanup, name: string, value: string): void {
  const file = `/proc/sys/${name}`;
  const before = readFileSync(file, "utf8");
  undoAfter(t, () => writeFileSync(file, before));
  writeFileSync(file, value);
}

/** Takes huge pages of 2 MiB into the pool; why they are not to be had, or false. */
export async function fillHugePages(t: Cleanup, pageCount: number): Promise<string | false> {
  await takePower(t, "huge-pages");
  setKernel(t, "vm/nr_hugepages", String(pageCount));
  const found = Number(readFileSync("/proc/sys/vm/nr_hugepages", "utf8"));
  return found >= pageCount ? false : `the kernel has ${found} of ${pageCount} huge pages`;
}

/** The same of another size of page. */
export async function fillPool(
  t: Cleanup,
  byteLength: number,
  pageCount: number,
): Promise<string | false> {
  await takePower(t, "huge-pages");
  const file = `/sys/kernel/mm/hugepages/hugepages-${byteLength / 1024}kB/nr_hugepages`;
  const before = readFileSync(file, "utf8");
  undoAfter(t, () => writeFileSync(file, before));
  writeFileSync(file, String(pageCount));
  const found = Number(readFileSync(file, "utf8"));
  return found >= pageCount ? false : `the kernel has ${found} of ${pageCount} huge pages`;
}

function run(command: string, ...args: string[]): void {
  const { status, stderr } = spawnSync(command, args, { encoding: "utf8" });
  assert.equal(status, 0, `${command} ${args.join(" ")}: ${stderr}`);
}

/** Swaps to a file of its own for the time of the test; `prepare` sees the file before that. */
export async function addSwap(
  t: Cleanup,
  mebibytes: number,
  prepare: (file: string) => void = () => {},
): Promise<void> {
  await takePower(t, "swap");
  const file = join(tempDir(t), "swap");
  writeFileSync(file, new Uint8Array(mebibytes * 2 ** 20), { mode: 0o600 });
  run("mkswap", file);
  prepare(file);
  run("swapon", file);
  undoAfter(t, () => run("swapoff", file));
}

/** The file systems that a test can mount from a file. */
export type LoopKind = "ext4" | "ext4-1k" | "xfs" | "btrfs";

const makers: Readonly<Record<LoopKind, readonly [string, ...string[]]>> = {
  ext4: ["mkfs.ext4", "-q", "-F"],
  "ext4-1k": ["mkfs.ext4", "-q", "-F", "-b", "1024"],
  xfs: ["mkfs.xfs", "-q", "-f"],
  btrfs: ["mkfs.btrfs", "-q", "-f"],
};

/** Why such a file system cannot be mounted here; false when it can. */
export function whyNoLoop(kind: LoopKind): string | false {
  const [maker] = makers[kind];
  const { skip } = needs("root");
  return skip || (spawnSync(maker, ["-V"]).status === null && `needs ${maker}`);
}

/** Mounts a new file system for the time of the test; returns its folder. */
export function mountLoop(t: Cleanup, kind: LoopKind, mebibytes = 320): string {
  const folder = tempDir(t);
  const [maker, ...args] = makers[kind];
  const image = join(folder, "image");
  const place = join(folder, "mounted");
  run("truncate", "-s", `${mebibytes}M`, image);
  run(maker, ...args, image);
  mkdirSync(place);
  run("mount", "-o", "loop", image, place);
  undoAfter(t, () => run("umount", place));
  return place;
}

/** Makes a file a block device for the time of the test; returns the device. */
export function attachLoop(t: Cleanup, image: string): string {
  const args = ["--find", "--show", image];
  const { status, stdout, stderr } = spawnSync("losetup", args, { encoding: "utf8" });
  assert.equal(status, 0, `losetup ${image}: ${stderr}`);
  const device = stdout.trim();
  undoAfter(t, () => run("losetup", "--detach", device));
  return device;
}

/** Mounts a file system without a device ("tmpfs", "hugetlbfs", "overlay"); returns its folder. */
export function mountPlain(t: Cleanup, type: string, options = ""): string {
  const place = join(tempDir(t), "mounted");
  mkdirSync(place);
  run("mount", "-t", type, ...(options === "" ? [] : ["-o", options]), "none", place);
  undoAfter(t, () => run("umount", place));
  return place;
}

/* The groups of control (cgroups) of this process that can count memory, the older kind first. */
function memoryGroups(): { folder: string; limit: string }[] {
  const lines = readFileSync("/proc/self/cgroup", "utf8").split("\n");
  const pathOf = (pattern: RegExp) => lines.map((line) => pattern.exec(line)?.[1]).find(Boolean);
  const [older, newer] = [pathOf(/^\d+:memory:(.*)$/), pathOf(/^0::(.*)$/)];
  return [
    { folder: `/sys/fs/cgroup/memory${older ?? ""}`, limit: "memory.limit_in_bytes" },
    { folder: `/sys/fs/cgroup${newer ?? ""}`, limit: "memory.max" },
  ];
}

/**
 * Makes a group of processes that may use so much memory together, inside the group of this
 * process; it goes after the test. Whoever writes its number to `cgroup.procs` in its folder
 * joins it. Undefined where the kernel or the place of this process allows no such group.
 */
export function makeMemoryGroup(t: Cleanup, bytesMax: number): string | undefined {
  for (const { folder, limit } of memoryGroups()) {
    const own = join(folder, `memmap-test-${process.pid}-${Date.now()}`);
    try {
      mkdirSync(own);
    } catch {
      continue;
    }
    undoAfter(t, () => rmdirSync(own));
    try {
      writeFileSync(join(own, limit), String(bytesMax), { flag: "r+" });
      return own;
    } catch {
      // A group that does not count memory has no such file.
    }
  }
  return undefined;
}
