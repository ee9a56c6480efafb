// A folder for each test that wants one, and the conditions under which a test can run at all. A
// test that cannot run here is skipped with a reason, never passed in silence.

import { mkdtempSync, readFileSync, realpathSync, rmSync } from "node:fs";
import { release, tmpdir } from "node:os";
import { join } from "node:path";
import { emulatedName, runtimeName } from "./runtime.js";

/** The part of a test's context that cleaning up needs. */
export interface Cleanup {
  after(fn: () => void): void;
}

/* What each test still has to undo, the last thing at the end. */
const undoing = new WeakMap<Cleanup, (() => void)[]>();

/**
 * Undoes something after the test, and before whatever was set up earlier: a file system is
 * unmounted before its folder goes. Runtimes differ in the order of what `after()` is given.
 */
export function undoAfter(t: Cleanup, undo: () => void): void {
  const known = undoing.get(t);
  if (known !== undefined) {
    known.push(undo);
    return;
  }
  const steps = [undo];
  undoing.set(t, steps);
  t.after(() => {
    undoing.delete(t);
    undoAll(steps);
  });
}

/* Takes all steps back, also behind one that fails; the first failure is told. */
function undoAll(steps: (() => void)[]): void {
  const failures: unknown[] = [];
  for (let step = steps.pop(); step !== undefined; step = steps.pop()) {
    try {
      step();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
}

/** Makes an empty folder below `base` (the system's own by default), removed after the test. */
export function tempDir(t: Cleanup, base: string = tmpdir()): string {
  const folder = mkdtempSync(join(realpathSync(base), "memmap-test-"));
  undoAfter(t, () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** What a test may need of the place it runs in. */
export type Need =
  | "root"
  | "nonroot"
  /** That the kernel doubles shared memory, by mremap(2) with an old size of 0. */
  | "doubling"
  | typeof runtimeName
  | { readonly kernel: string }
  | { readonly fileSystem: string; readonly at: string };

/**
 * The options of a test that has needs, as in `test("...", needs("root"), (t) => {})`: `skip` holds
 * the reason of the first need that is not met, or false.
 */
export function needs(...wanted: readonly Need[]): { skip: string | false } {
  return { skip: wanted.map(reasonToSkip).find((reason) => reason !== false) ?? false };
}

function reasonToSkip(need: Need): string | false {
  if (typeof need === "string") return reasonOfWord(need);
  if ("kernel" in need) return isKernelSince(need.kernel) ? false : `needs Linux ${need.kernel}`;
  const found = fileSystemAt(need.at);
  return found === need.fileSystem
    ? false
    : `needs ${need.fileSystem} at ${need.at}, which is ${found ?? "not mounted"}`;
}

function reasonOfWord(need: string): string | false {
  const isRoot = process.getuid?.() === 0;
  switch (need) {
    case "root":
      return isRoot ? false : "needs root";
    case "nonroot":
      return isRoot ? "needs a user that is not root" : false;
    case "doubling":
      return emulatedName ? "needs a kernel that is not emulated" : false;
    default:
      return need === runtimeName ? false : `needs ${need}`;
  }
}

/** Whether the running kernel is of version `major.minor` or newer. */
function isKernelSince(wanted: string): boolean {
  const [major = 0, minor = 0] = release().split(".").map(Number.parseFloat);
  const [wantedMajor = 0, wantedMinor = 0] = wanted.split(".").map(Number);
  return major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);
}

/** The type of the file system that holds a path, as /proc/self/mounts names it. */
function fileSystemAt(path: string): string | undefined {
  let found: { place: string; type: string } | undefined;
  for (const line of readFileSync("/proc/self/mounts", "utf8").split("\n")) {
    const [, place = "", type = ""] = line.split(" ");
    const isAbove = place === "/" || path === place || path.startsWith(`${place}/`);
    // Of two mounts at one place the later one covers the earlier.
    if (isAbove && place.length >= (found?.place.length ?? 0)) found = { place, type };
  }
  return found?.type;
}
