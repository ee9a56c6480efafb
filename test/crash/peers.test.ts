// The comparison with other libraries (bench/peers) works: a few of its cells with memmap, with a
// peer that this checkout has, and with Python; and the document has a table of all cells.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import type { DriverName } from "../../bench/peers/drivers.js";
import { pythonCellCount, runPython } from "../../bench/peers/python.js";
import { type Result, runGroup } from "../../bench/peers/run.js";
import { readVerdicts, section } from "../../bench/peers/tables.js";
import { deaths, verdicts } from "../../bench/peers/verdict.js";
import { runtimeName } from "../helpers/runtime.js";
import { type Cleanup, tempDir } from "../helpers/temp.js";
import { type Abuse, allCells, type Stage } from "./matrix.js";
import { runtime } from "./run.js";

const root = fileURLToPath(new URL("../../../", import.meta.url));

interface Group {
  readonly stage: Stage;
  readonly abuse: Abuse;
  readonly only: readonly string[];
}

function foldersOf(t: Cleanup): { folder: string; work: string } {
  const work = tempDir(t);
  const folder = join(work, "place");
  mkdirSync(folder);
  return { folder, work };
}

/** What became of each way, by its name. */
function byWay(results: readonly Result[]): Readonly<Record<string, string>> {
  return Object.fromEntries(results.map(({ way, verdict }) => [way, verdict]));
}

async function run(t: Cleanup, driver: DriverName, group: Group) {
  const peer = { driver, runtime, binary: process.execPath, installed: root };
  return byWay(await runGroup(peer, group, foldersOf(t)));
}

const only = ["one element read", "deflate", "fs.writeSync"];

test("the comparison tells an error from right bytes and from an empty view", async (t) => {
  const truncated = { stage: "mapped", abuse: "truncate-part", only } as const;
  assert.deepEqual(await run(t, "memmap", truncated), {
    "one element read": "told",
    deflate: "told",
    "fs.writeSync": "told",
  });
  const deleted = { stage: "mapped", abuse: "delete", only } as const;
  assert.deepEqual(await run(t, "memmap", deleted), {
    "one element read": "right",
    deflate: "right",
    "fs.writeSync": "right",
  });
  const closed = { stage: "attached", abuse: "close", only: ["one element read"] } as const;
  assert.deepEqual(await run(t, "memmap", closed), { "one element read": "right" });
  const empty = { stage: "closed", abuse: "delete", only: ["one element read"] } as const;
  assert.deepEqual(await run(t, "memmap", empty), { "one element read": "empty" });
});

const noKoffi =
  runtimeName !== "node"
    ? "needs node: on the others, koffi is not what they are compared with"
    : !existsSync(join(root, "node_modules/koffi")) && "needs koffi, which npm installs";

test("the comparison goes on behind a cell that kills", { skip: noKoffi }, async (t) => {
  const truncated = { stage: "mapped", abuse: "truncate-part", only } as const;
  assert.deepEqual(await run(t, "koffi", truncated), {
    "one element read": "SIGBUS",
    deflate: "SIGBUS",
    "fs.writeSync": "told",
  });
  const closed = { stage: "closed", abuse: "delete", only: ["one element read"] } as const;
  assert.deepEqual(await run(t, "koffi", closed), { "one element read": "SIGSEGV" });
});

test("the comparison finds foreign bytes, and what there is not", { skip: noKoffi }, async (t) => {
  const element = ["one element read", "one element written"];
  const closed = { stage: "mapped", abuse: "close", only: element } as const;
  assert.deepEqual(await run(t, "koffi", closed), {
    "one element read": "wrong",
    "one element written": "wrong",
  });
  const pinned = { stage: "pinned", abuse: "delete", only: ["one element read"] } as const;
  assert.deepEqual(await run(t, "koffi", pinned), { "one element read": "cannot" });
});

const noPython = spawnSync("python3", ["--version"]).status !== 0 && "needs python3";

test("the comparison runs Python's own ways", { skip: noPython }, async (t) => {
  const ways = ["slice", "index +=", "os.write"];
  const verdictsOf = async (stage: Stage, abuse: Abuse) =>
    byWay(await runPython({ stage, abuse, only: ways }, foldersOf(t)));
  assert.deepEqual(await verdictsOf("mapped", "truncate-zero"), {
    slice: "SIGBUS",
    "index +=": "SIGBUS",
    "os.write": "told",
  });
  assert.deepEqual(await verdictsOf("closed", "delete"), {
    slice: "told",
    "index +=": "told",
    "os.write": "told",
  });
  assert.deepEqual(await verdictsOf("exiting", "delete"), {
    slice: "right",
    "index +=": "right",
    "os.write": "right",
  });
});

test("docs/safety.md compares as many cells as the matrix has", () => {
  const document = readFileSync(join(root, "docs/safety.md"), "utf8");
  const part = /<!-- peers -->\n([\s\S]*?)\n<!-- end -->/.exec(document)?.[1] ?? "";
  const columns = readVerdicts(part);
  assert.ok(columns.length >= 5, `${columns.length} columns`);
  for (const { title, all, verdicts: counts } of columns) {
    const sum = Object.values(counts).reduce((total, count) => total + count, 0);
    assert.equal(sum, all, `${title}: the sum of its cells`);
    const wanted = title.includes("Python") ? pythonCellCount() : allCells().length;
    assert.equal(all, wanted ?? all, `${title}: all cells`);
    if (!title.includes("memmap")) continue;
    for (const bad of [...deaths, "wrong", "hung"] as const) assert.equal(counts[bad], 0, bad);
  }
});

test("the tables of a comparison can be read back", () => {
  const results = verdicts.map((verdict, i): Result => {
    const reason = verdict === "cannot" ? "it has no such thing" : undefined;
    return { stage: "mapped", abuse: "close", way: `way ${i}`, verdict, reason };
  });
  const text = section([{ title: "it 1.0", results, minutes: 1 }]);
  const [column] = readVerdicts(text);
  assert.deepEqual(column, {
    title: "it 1.0",
    all: verdicts.length,
    verdicts: Object.fromEntries(verdicts.map((verdict) => [verdict, 1])),
  });
  assert.match(text, /`mapped` \| 3 of 9/);
  assert.match(text, /it has no such thing \(1\)/);
});
