// `memmap tour`: what it prints is compared with what can be known from outside, on files of every
// size; the file stays as it was, and nothing is left behind however the tour ends.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { pageSize } from "memmap";
import { gapAround, layoutOf } from "#dist/cli/layout.js";
import { viewMax } from "#dist/limits.js";
import { parseMaps } from "#dist/proc-maps.js";
import { type Cleanup, needs, tempDir } from "../helpers/temp.js";
import {
  type CommandOptions,
  type CommandResult,
  cannotRunOrdinary,
  finish,
  memmap,
  sparseFile,
  start,
} from "./command.js";

const titles = [
  "1. A mapping",
  "2. Demand paging",
  "3. Copy-on-write",
  "4. A shared write",
  "5. Anonymous memory",
  "6. The address space",
  "7. Closing",
];

/** A folder for the file and one for what the tour leaves behind. */
function folders(t: Cleanup): { cwd: string; temporary: string } {
  const cwd = tempDir(t);
  const temporary = join(cwd, "temporary");
  mkdirSync(temporary);
  for (const folder of [cwd, temporary]) chmodSync(folder, 0o777);
  return { cwd, temporary };
}

/**
 * Runs the tour. Other threads of the runtime may take a gap or fault in between, which the tour
 * tells; what is never as expected in three tours is a mistake.
 */
async function runTour(
  place: { cwd: string; temporary: string },
  options: CommandOptions = {},
): Promise<string> {
  let result: CommandResult | undefined;
  for (let i = 0; i < 3; i += 1) {
    const env = { TMPDIR: place.temporary };
    result = await memmap(["tour", "file"], { cwd: place.cwd, env, ...options });
    assert.deepEqual([result.code, result.signal, result.stderr], [0, null, ""]);
    if (!result.stdout.includes("NOT as expected")) break;
  }
  const text = result?.stdout.toString() ?? "";
  assert.doesNotMatch(text, /NOT as expected/, text);
  assert.doesNotMatch(text, /undefined|NaN|\? /, text);
  for (const title of titles) assert.ok(text.includes(`\n${title}`), title);
  assert.ok(
    text.split("\n").every((line) => line.length <= 100),
    text,
  );
  assert.ok(text.trimEnd().split("\n").length <= 75, text);
  assert.deepEqual(readdirSync(place.temporary), []);
  return text;
}

/** The value that the tour prints beside a label. */
function shown(text: string, label: string): string {
  const line = text.split("\n").find((each) => each.startsWith(`   ${label} `));
  return line?.slice(label.length + 3).trim() ?? `no line "${label}"`;
}

test("tour measures each step on an ordinary file, and leaves it untouched", async (t) => {
  const place = folders(t);
  const path = join(place.cwd, "file");
  writeFileSync(path, `${"memory mapping\n".repeat(600)}end`);
  const content = readFileSync(path);
  const before = statSync(path, { bigint: true });
  const text = await runTour(place);
  const pages = Math.ceil(content.length / pageSize);
  const kB = pageSize / 1024;

  assert.match(text, new RegExp(`^A tour of "file": 9,003 bytes \\(8\\.8 KiB\\), ${pages} page`));
  const row = new RegExp(`^ {3}[0-9a-f]+-[0-9a-f]+ r--s 00000000 \\S+ ${before.ino} `, "m");
  assert.match(text, row);
  assert.match(
    shown(text, "page faults of this thread"),
    /^[1-9]\d* minor, \d+ major|[1-9]\d* major/,
  );
  assert.match(shown(text, "resident in this process (Rss)"), /^0 kB -> [1-9]\d* kB$/);
  assert.equal(
    shown(text, "first 16 bytes"),
    '"memory mapping.m" through memory; read(2) gives the same',
  );
  const anonymous = shown(text, "memory of no file (Anonymous)");
  assert.equal(anonymous, `0 kB -> ${kB} kB of the private mapping`);
  assert.equal(shown(text, "byte 0, private mapping"), "0x6d -> 0x37");
  const other = shown(text, "byte 0, the other mapping");
  assert.equal(other, "0x6d -> 0x6d, the file by read(2) 0x6d");
  assert.equal(shown(text, "byte 0 in the other process"), "0x6d -> 0x37, by its read(2) 0x37");
  assert.ok(text.trimEnd().split("\n").length <= 70, text);
  assert.equal(
    shown(text, "resident (Rss)"),
    `0 kB, after the writes ${3 * kB} kB, after reading ${3 * kB} kB`,
  );
  assert.match(shown(text, "words that are not zero"), /^3 of 16,777,216/);
  assert.equal(shown(text, "rows there after closing"), "none");
  assert.equal(shown(text, "length of the view"), "9,003 bytes -> 0 bytes");
  assert.equal(shown(text, "byte 9,002 of the view"), "0x3e -> nothing");
  assert.equal(shown(text, "byte 9,002 of the file"), "0x64 -> 0x3e");

  const after = statSync(path, { bigint: true });
  assert.ok(readFileSync(path).equals(content));
  assert.deepEqual(
    [after.size, after.mtimeNs, after.ctimeNs],
    [before.size, before.mtimeNs, before.ctimeNs],
  );
});

test("tour works on an empty file", async (t) => {
  const place = folders(t);
  writeFileSync(join(place.cwd, "file"), "");
  const text = await runTour(place);
  assert.match(text, /An empty file has no byte to touch/);
  assert.match(text, /goes to a temporary file of [\d,]+ bytes, all zero/);
  assert.equal(shown(text, "the same for step 1's mapping"), "no row: its addresses are free");
});

test("tour works on a file of one byte", async (t) => {
  const place = folders(t);
  writeFileSync(join(place.cwd, "file"), "x");
  const text = await runTour(place);
  assert.match(text, /^A tour of "file": 1 byte, 1 page of/);
  assert.equal(shown(text, "first 1 byte"), '"x" through memory; read(2) gives the same');
  assert.equal(shown(text, "byte 0 of the file"), "0x22 -> 0x78");
});

test("tour works on a file of 5 GiB, with a copy of its beginning only", async (t) => {
  const place = folders(t);
  const size = 5 * 2 ** 30;
  sparseFile(join(place.cwd, "file"), size, { 0: "begin", [size - 3]: "end" });
  const text = await runTour(place);
  assert.match(text, /temporary copy of the\s+first 1,048,576 bytes/);
  const bounded = /This runtime can view at most 4\.0 GiB at once/.test(text);
  assert.equal(bounded, viewMax < size);
  const mapped = Math.min(size, viewMax).toLocaleString("en-US");
  assert.ok(shown(text, "time to open and map").endsWith(` for ${mapped} bytes`));
  assert.match(text, /sha256 of the\s+first\s+and\s+the\s+last\s+1,048,576\s+bytes/);
});

test("tour works on a file that the user may only read", needs("root"), async (t) => {
  const reason = await cannotRunOrdinary();
  if (reason !== false) return t.skip(reason);
  const place = folders(t);
  writeFileSync(join(place.cwd, "file"), "only to be read", { mode: 0o444 });
  const text = await runTour(place, { ordinary: true });
  assert.match(shown(text, "in the page cache (mincore)"), /^not told to a user/);
});

test("tour refuses what is no regular file", async (t) => {
  const { cwd, temporary } = folders(t);
  spawnSync("mkfifo", [join(cwd, "pipe")]);
  for (const [file, kind] of [
    [".", "a directory"],
    ["pipe", "a pipe"],
    ["/dev/null", "a device"],
  ] as const) {
    const { code, stdout, stderr } = await memmap(["tour", file], {
      cwd,
      env: { TMPDIR: temporary },
    });
    assert.deepEqual([code, stdout.length], [6, 0]);
    assert.equal(stderr, `memmap tour: cannot tour "${file}": it is ${kind}, not a regular file\n`);
  }
  const proc = await memmap(["tour", "/proc/version"], { env: { TMPDIR: temporary } });
  assert.equal(proc.code, 6);
  assert.match(
    proc.stderr,
    /^memmap tour: cannot tour "\/proc\/version": the kernel cannot map it/,
  );
  assert.deepEqual(readdirSync(temporary), []);
});

test("tour tells a folder for temporary files that is not there", async (t) => {
  const { cwd } = folders(t);
  writeFileSync(join(cwd, "file"), "x");
  const { code, stderr } = await memmap(["tour", "file"], { cwd, env: { TMPDIR: "/no/folder" } });
  assert.equal(code, 3);
  assert.match(stderr, /^memmap tour: cannot make a temporary copy in "\/no\/folder": no such/);
});

/** Starts tours and acts at their first output, until one of them was still going on. */
async function interrupt(
  t: Cleanup,
  act: (place: { cwd: string; pid: number }) => void,
): Promise<{ temporary: string; result: CommandResult }> {
  for (let i = 0; i < 5; i += 1) {
    const place = folders(t);
    const { cwd, temporary } = place;
    writeFileSync(join(cwd, "file"), "x".repeat(20_000));
    const child = start(["tour", "file"], { cwd, env: { TMPDIR: temporary } });
    child.stdout?.once("data", () => act({ cwd, pid: child.pid ?? 0 }));
    const result = await finish(child);
    if (result.code !== 0) return { temporary, result };
  }
  throw new Error("every tour was over before it was interrupted");
}

for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  test(`tour ends by ${name} and leaves nothing behind`, async (t) => {
    const { temporary, result } = await interrupt(t, ({ pid }) => process.kill(pid, name));
    assert.deepEqual([result.code, result.signal, result.stderr], [null, name, ""]);
    assert.deepEqual(readdirSync(temporary), []);
  });
}

test("tour says when somebody else changes the file meanwhile", async (t) => {
  const { temporary, result } = await interrupt(t, ({ cwd }) => {
    appendFileSync(join(cwd, "file"), "!");
  });
  assert.equal(result.code, 5);
  assert.match(result.stdout.toString(), /Your file was changed during the tour, and not by it/);
  assert.deepEqual(readdirSync(temporary), []);
});

test("tour ends quietly when nobody reads any more", async (t) => {
  const { cwd, temporary } = folders(t);
  writeFileSync(join(cwd, "file"), "x");
  const child = start(["tour", "file"], { cwd, env: { TMPDIR: temporary } });
  child.stdout?.destroy();
  const { code, signal, stderr } = await finish(child);
  assert.deepEqual([code, signal, stderr], [0, null, ""]);
  assert.deepEqual(readdirSync(temporary), []);
});

test("layoutOf() finds the parts of a process, gapAround() the gap of a mapping", () => {
  const rows = parseMaps(
    [
      "00400000-00500000 r-xp 00000000 08:01 1 /bin/program",
      "00500000-00501000 rw-p 00100000 08:01 1 /bin/program",
      "01000000-01100000 rw-p 00000000 00:00 0 [heap]",
      "3e0000000000-3e0000010000 rw-p 00000000 00:00 0 ",
      "7f0000000000-7f0000001000 r-xp 00000000 08:01 2 /lib/libc.so.6",
      "7f0000001000-7f0000002000 rw-p 00000000 08:01 2 /lib/libc.so.6",
      "7f0000010000-7f0000011000 r-xp 00000000 08:01 1 /bin/program",
      "7ff000000000-7ff000021000 rw-p 00000000 00:00 0 [stack]",
      "7ff000030000-7ff000032000 r-xp 00000000 00:00 0 [vdso]",
    ].join("\n"),
  );
  const layout = layoutOf(rows, "/bin/program");
  const starts = Object.entries(layout).map(([name, area]) => [
    name,
    typeof area === "object" ? area.start.toString(16) : area,
  ]);
  assert.deepEqual(Object.fromEntries(starts), {
    text: "400000",
    data: "500000",
    heap: "1000000",
    libraries: "7f0000000000",
    mappings: "7f0000000000",
    elsewhere: "3e0000000000",
    stack: "7ff000000000",
    vdso: "7ff000030000",
    libraryCount: 1,
  });
  assert.deepEqual([layout.mappings?.rowCount, layout.mappings?.byteLength], [3, 0x3000n]);
  const gap = gapAround(rows, { start: 0x7f0000008000n, end: 0x7f0000009000n });
  assert.deepEqual([gap?.start, gap?.end], [0x7f0000002000n, 0x7f0000010000n]);
  assert.equal(gapAround(rows, { start: 0x7f0000001000n, end: 0x7f0000009000n }), undefined);
});
