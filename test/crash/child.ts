// The program that runs the cells of one stage and one abuse:
//
//     child.js STAGE ABUSE FOLDER RUNTIME SKIPPED WORK
//
// FOLDER is for the files of the mappings, WORK for everything else, the report among it. SKIPPED
// is the number of cells to leave out at the beginning: those that were over, or fatal, when an
// earlier child died.

import { closeSync, openSync, statfsSync, unlinkSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { runHere } from "./here.js";
import { abuses, cellsOf, exclusionOf, stages, workerStages } from "./matrix.js";
import { neighboursDone, openReport } from "./report.js";
import { runThere } from "./there.js";
import { runtimes } from "./way.js";
import { makeWasm, trapWorks } from "./ways-io.js";
import { warmUp } from "./ways-loops.js";

function member<T extends string>(list: readonly T[], value: string | undefined): T {
  const found = list.find((one) => one === value);
  if (found === undefined) throw new Error(`${value} is none of ${list.join(", ")}`);
  return found;
}

/* More than the tmpfs of this abuse has. */
const freeBytesMax = 64 * 2 ** 20;

/* Takes every free page of a small file system. A large one is somebody's disk: this program was
   started by hand, without the tmpfs that its parent mounts. */
function fillUp(folder: string): void {
  const { bavail, bsize } = statfsSync(folder);
  if (bavail * bsize > freeBytesMax) throw new Error(`${folder} is no small file system`);
  const fd = openSync(join(folder, `filler-${process.pid}`), "w");
  try {
    for (;;) writeSync(fd, Buffer.alloc(65_536));
  } catch (error) {
    if (!(error instanceof Error) || Reflect.get(error, "code") !== "ENOSPC") throw error;
  } finally {
    closeSync(fd);
  }
}

const [, , stageName, abuseName, folder = "", runtimeName, skipped, work = ""] = process.argv;
openReport(work);
const stage = member(stages, stageName);
const abuse = member(abuses, abuseName);
const runtime = member(runtimes, runtimeName);
const cells = cellsOf(stage, abuse)
  .filter((cell) => exclusionOf(cell, runtime) === undefined)
  .slice(Number(skipped));

const scratch = join(work, `scratch-${process.pid}`);
writeFileSync(scratch, Buffer.alloc(8192, 0x42));
const kit = {
  heap: new Uint8Array(8192).fill(0x41),
  folder: work,
  fd: openSync(scratch, "r+"),
};
unlinkSync(scratch);
warmUp();
const wasm = makeWasm();
if (!trapWorks(wasm)) throw new Error("WebAssembly does not trap before anything is mapped");

const prepareDisk = () => {
  if (abuse === "disk-full") fillUp(folder);
};
const run = workerStages.includes(stage) ? runThere : runHere;
const places = await run(cells, { folder, kit, prepareDisk });
neighboursDone(places.filter((place) => place.adjacent).length, places.length);
if (!trapWorks(wasm)) throw new Error("WebAssembly does not trap any more");
