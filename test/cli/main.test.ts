// The command itself: help, version, wrong usage, exit codes, and the words its errors are made of.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { exitCodes, exitMeanings } from "#dist/cli/exit.js";
import { parseSize } from "#dist/cli/size.js";
import {
  enumerate,
  formatClock,
  formatCount,
  formatSize,
  nearest,
  plural,
  shorten,
  wrap,
} from "#dist/cli/text.js";
import { needs, tempDir } from "../helpers/temp.js";
import { cannotRunOrdinary, memmap } from "./command.js";

const verbs = ["tour", "cat", "copy"];

/** An error is one line, begins with the command, and shows no code of the program. */
function assertOneLine(stderr: string): void {
  assert.match(stderr, /^memmap(?: \w+)?: [^\n]+\n$/);
  assert.doesNotMatch(stderr, /\bat .*:\d+:\d+|node:internal|\.js\b/);
}

test("memmap --help lists every verb and every exit code", async () => {
  for (const option of ["--help", "-h"]) {
    const { code, stdout, stderr } = await memmap([option]);
    const text = stdout.toString();
    assert.deepEqual([code, stderr], [0, ""]);
    for (const verb of verbs) assert.match(text, new RegExp(`^  ${verb} +\\w`, "m"));
    for (const exit of Object.values(exitCodes)) {
      assert.ok(
        text.includes(`  ${exit}  ${exitMeanings[exit].split(";")[0]}`),
        `exit code ${exit}`,
      );
    }
    assert.ok(text.split("\n").every((line) => line.length <= 80));
  }
});

test("memmap --version prints the version of the package", async () => {
  const manifest = fileURLToPath(new URL("../../../package.json", import.meta.url));
  const { version } = JSON.parse(readFileSync(manifest, "utf8")) as { version: string };
  const { code, stdout } = await memmap(["--version"]);
  assert.deepEqual([code, stdout.toString()], [0, `memmap ${version}\n`]);
});

for (const verb of verbs) {
  test(`memmap ${verb} --help has a usage line, options, exit codes and an example`, async () => {
    const { code, stdout, stderr } = await memmap([verb, "--help"]);
    const text = stdout.toString();
    assert.deepEqual([code, stderr], [0, ""]);
    assert.ok(text.startsWith(`Usage: memmap ${verb} `));
    for (const part of ["Options:\n", "  -h, --help", "Exit codes:\n", "Example"]) {
      assert.ok(text.includes(part), part);
    }
    assert.match(text, new RegExp(`^  memmap ${verb} \\S`, "m"));
    assert.ok(text.split("\n").every((line) => line.length <= 80));
  });
}

test("wrong usage is one line and exit code 2", async () => {
  const cases: readonly [args: readonly string[], message: RegExp][] = [
    [[], /a verb is missing.*tour, cat, copy/],
    [["tuor"], /no verb "tuor"; did you mean tour\?/],
    [["cpoy", "a", "b"], /no verb "cpoy"; did you mean copy\?/],
    [["--versoin"], /no option "--versoin"; did you mean --version\?/],
    [["cat"], /FILE\.\.\. is expected, 0 of 1/],
    [["copy", "a"], /SRC DST is expected, 1 of 2/],
    [["copy", "a", "b", "c"], /"c" is one operand too many/],
    [["tour", "a", "b"], /"b" is one operand too many/],
    [["cat", ""], /an operand of FILE\.\.\. is empty/],
    [["cat", "--ofset", "1", "x"], /no option "--ofset"; did you mean --offset\?/],
    [["cat", "x", "--offset"], /--offset needs a value/],
    [["cat", "x", "--help=yes"], /--help takes no value/],
    [["cat", "x", "--offset", "-5"], /--offset must be a number of bytes.*"-5"/],
    [["cat", "x", "--length", "10KB"], /--length must be a number of bytes.*"10KB"/],
    [["cat", "x", "--length", "1.5"], /--length must be a number of bytes/],
    [["cat", "x", "--length", "9P"], /--length must be a number of bytes/],
    [["cat", "x", "--length", "999999999T"], /--length must be at most 9007199254740991/],
    [["ca\nt"], /no verb "ca\\nt"/],
  ];
  for (const [args, message] of cases) {
    const { code, stdout, stderr } = await memmap(args);
    assert.deepEqual([code, stdout.toString()], [2, ""], args.join(" "));
    assertOneLine(stderr);
    assert.match(stderr, message);
  }
});

test("what is missing is exit code 3, for every verb", async (t) => {
  const cwd = tempDir(t);
  for (const args of [
    ["tour", "no\nfile"],
    ["cat", "nofile"],
    ["copy", "nofile", "b"],
  ]) {
    const { code, stderr } = await memmap(args, { cwd });
    assert.equal(code, 3, stderr);
    assertOneLine(stderr);
    assert.match(stderr, /no(?:\\n)?file": no such file or directory/);
  }
});

test("what is not permitted is exit code 4, for every verb", needs("root"), async (t) => {
  const reason = await cannotRunOrdinary();
  if (reason !== false) return t.skip(reason);
  const cwd = tempDir(t);
  writeFileSync(join(cwd, "secret"), "secret", { mode: 0o600 });
  spawnSync("chmod", ["755", cwd]);
  for (const args of [
    ["tour", "secret"],
    ["cat", "secret"],
    ["copy", "secret", "b"],
  ]) {
    const { code, stderr } = await memmap(args, { cwd, ordinary: true });
    assert.equal(code, 4, stderr);
    assertOneLine(stderr);
    assert.match(stderr, /permission denied/);
  }
});

test("sizes are digits with K, M, G or T behind", () => {
  const sizes: readonly [string, number][] = [
    ["0", 0],
    ["4096", 4096],
    ["64K", 65_536],
    ["64k", 65_536],
    ["1M", 2 ** 20],
    ["5GiB", 5 * 2 ** 30],
    ["2T", 2 ** 41],
  ];
  for (const [text, bytes] of sizes) assert.equal(parseSize(text, "--offset"), bytes);
  for (const text of ["", "K", "1KB", "-1", "+1", "1e3", "0x10", " 1", "1 K", "1P", "NaN"]) {
    assert.throws(() => parseSize(text, "--offset"), { exitCode: exitCodes.usage }, text);
  }
});

test("numbers and prose are printed in one way", () => {
  assert.deepEqual([0, 999, 1000, 1_234_567].map(formatCount), ["0", "999", "1,000", "1,234,567"]);
  assert.deepEqual([1, 1023, 1024, 2 ** 20 - 1, 5 * 2 ** 30].map(formatSize), [
    "1 byte",
    "1,023 bytes",
    "1.0 KiB",
    "1.0 MiB",
    "5.0 GiB",
  ]);
  assert.deepEqual([0, 7, 61, 3723].map(formatClock), ["0:00", "0:07", "1:01", "1:02:03"]);
  assert.deepEqual([plural(1, "page"), plural(2, "page")], ["1 page", "2 pages"]);
  assert.deepEqual([["a"], ["a", "b"], ["a", "b", "c"]].map(enumerate), [
    "a",
    "a and b",
    "a, b and c",
  ]);
  assert.equal(shorten("/a/long/path", 8), "...path".padStart(8, "/").replace("/...", ".../"));
  assert.deepEqual(wrap("aa bb cc", { width: 7, indent: 2 }), ["  aa bb", "  cc"]);
  assert.equal(nearest("CAT", verbs), "cat");
  assert.equal(nearest("x", []), undefined);
});
