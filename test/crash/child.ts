// The program that runs the cells of one stage and one abuse:
//
//     child.js STAGE ABUSE FOLDER RUNTIME SKIPPED WORK
//
// FOLDER is for the files of the mappings, WORK for everything else, the report among it. SKIPPED
// is the number of cells to leave out at the beginning: those that were over, or fatal, when an
// earlier child died.

import { runHere } from "./here.js";
import { abuses, cellsOf, exclusionOf, stages, workerStages } from "./matrix.js";
import { fillUp, makeKit } from "./place.js";
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

const [, , stageName, abuseName, folder = "", runtimeName, skipped, work = ""] = process.argv;
openReport(work);
const stage = member(stages, stageName);
const abuse = member(abuses, abuseName);
const runtime = member(runtimes, runtimeName);
const cells = cellsOf(stage, abuse)
  .filter((cell) => exclusionOf(cell, runtime) === undefined)
  .slice(Number(skipped));

const kit = makeKit(work);
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
