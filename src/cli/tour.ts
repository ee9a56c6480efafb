/**
 * The verb `tour`: walks through mapping on the user's own file. Each step does something, measures
 * it, and says what it means only where the measurement shows it.
 */
import { release } from "node:os";
import { pageSize } from "../index.js";
import { type ExitCode, exitCodes } from "./exit.js";
import { formatSize, plural } from "./text.js";
import { showAnonymous } from "./tour-anonymous.js";
import { TemporaryCopy, TourFile } from "./tour-file.js";
import { showLayout } from "./tour-layout.js";
import { showMapping, showPaging } from "./tour-paging.js";
import { Peer } from "./tour-peer.js";
import { Report } from "./tour-report.js";
import { showClosing, showCopyOnWrite, showSharing } from "./tour-writing.js";
import type { Call, Verb } from "./verb.js";

/** The verb `tour`. */
export const tour: Verb = {
  name: "tour",
  summary: "Walks through memory mapping on a file of yours, measured as it goes.",
  about: [
    "Shows what memory mapping is on FILE, in seven steps: the mapping and its row in " +
      "/proc/self/maps, demand paging, copy-on-write, sharing with another process, anonymous " +
      "memory, the address space, and closing. Each step says which call of C it is, does it, " +
      "and prints what was measured; what does not come out as expected is said.",
    "FILE is only read, and checked at the end. What is written goes to a temporary copy of its " +
      "first MiB at most, in the system's folder for such files (TMPDIR), removed at the end. An " +
      "empty file and one of many GiB will do as well.",
  ],
  operands: { form: "FILE", min: 1, max: 1 },
  options: {},
  exits: [
    { code: exitCodes.done, about: "the tour is done and FILE is as it was" },
    { code: exitCodes.usage, about: "wrong usage" },
    { code: exitCodes.missing, about: "no such file" },
    { code: exitCodes.denied, about: "not permitted" },
    { code: exitCodes.partial, about: "the tour is done, but somebody changed FILE meanwhile" },
    { code: exitCodes.failed, about: "anything else: FILE is no regular file or cannot be mapped" },
  ],
  examples: ["memmap tour README.md"],
  run: runTour,
};

function runtimeName(): string {
  const { versions } = process;
  if (versions["bun"] !== undefined) return `Bun ${versions["bun"]}`;
  if (versions["deno"] !== undefined) return `Deno ${versions["deno"]}`;
  return `Node ${versions.node}`;
}

async function runTour({ operands: [path = ""], output }: Call): Promise<ExitCode> {
  const report = new Report(output);
  using file = new TourFile(path);
  using copy = new TemporaryCopy(file);
  const pages = Math.ceil(file.size / pageSize);
  report.say(
    `A tour of ${file.name}: ${plural(file.size, "byte")}` +
      `${file.size < 1024 ? "" : ` (${formatSize(file.size)})`}, ` +
      `${plural(pages, "page")} of ${plural(pageSize, "byte")}.`,
  );
  report.say(
    `Every number is measured in this run: process ${process.pid}, ${runtimeName()}, ` +
      `Linux ${release()}. Your file is only read; what is written goes to ${copy.describe(file)}.`,
  );
  const mapping = showMapping(file, report);
  showPaging(mapping, file, report);
  // Started only now: a process that has just forked faults at pages it had before.
  using peer = new Peer(copy.path);
  showCopyOnWrite(copy, report);
  await showSharing(copy, peer, report);
  showAnonymous(report);
  showLayout(file, mapping, report);
  showClosing(copy, report);
  return showUnchanged(file, report);
}

function showUnchanged(file: TourFile, report: Report): ExitCode {
  const unchanged = file.isUnchanged();
  report.say("");
  const what = `${plural(file.size, "byte")}, changed ${file.changed}, sha256 of ${file.sample}`;
  if (unchanged) {
    report.say(`Your file is as it was: ${what} ${file.hash}..., before and after.`);
    return exitCodes.done;
  }
  report.say(
    `Your file was changed during the tour, and not by it, which opened it for reading only. It ` +
      `had ${what} ${file.hash}... before.`,
  );
  return exitCodes.partial;
}
