// The law of the project as an ordinary test: each rule reads every file that git knows or would
// add, and lists what breaks it as `file:line: what`. That the rules of text can fail is shown
// below them, each with a sample that breaks it.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, lstatSync, readFileSync } from "node:fs";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { runtimeName } from "./helpers/runtime.js";
import * as rules from "./helpers/tidy-rules.js";

/** The files of src/ that may call the addon; all others go through one of these. */
const NATIVE_USERS: readonly string[] = [
  "src/attach.ts",
  "src/bits.ts",
  "src/cli/sparse.ts",
  "src/core.ts",
  "src/failure.ts",
  "src/fault.ts",
  "src/handle.ts",
  "src/index.ts",
  "src/ipc/memory-name.ts",
  "src/ipc/memory-object.ts",
  "src/ipc/owner.ts",
  "src/ipc/shared-memory.ts",
  "src/ipc/wait.ts",
  "src/map.ts",
  "src/mapped-pages.ts",
  "src/mapping.ts",
  "src/memory.ts",
  "src/options.ts",
  "src/raw/accepts.ts",
  "src/raw/answer.ts",
  "src/raw/constants.ts",
  "src/raw/descriptors.ts",
  "src/raw/mappings.ts",
  "src/raw/pages.ts",
  "src/remap.ts",
  "src/resize.ts",
  "src/source.ts",
  "src/watch.ts",
];

process.chdir(fileURLToPath(new URL("../../", import.meta.url)));

const files = checkoutFiles();
const skip =
  runtimeName !== "node"
    ? "needs node: the files are the same on every runtime"
    : files.length === 0 && "needs a git checkout";

const sources = files.filter((file) => /^src\/.*\.ts$/.test(file.path));

const TEXT_RULES: readonly [name: string, rule: rules.Rule][] = [
  ["no line of code passes 100 columns", rules.longLines],
  ["no file is longer than one sitting reads", rules.longFiles],
  ["no function passes 70 lines", rules.longFunctions],
  ["nothing is left for later", rules.unfinished],
  ["nothing hides from the type checker or the linter", rules.typeEscapes],
  ["no test is skipped without a reason or runs alone", rules.silentSkips],
  ["each file says first what it owns", rules.missingHeaders],
  ["no file holds a place of one machine", rules.machinePlaces],
  ["only src/native.ts loads the addon, and src needs no package", rules.addonLoads],
  ["imports point down: command, doors, core", rules.importDirections],
  ["pure files import neither the system nor the addon", rules.impurities],
  ["doors hold names only", rules.doorLogic],
];

for (const [name, rule] of TEXT_RULES) {
  test(name, { skip }, () => assertNone(files.flatMap(rule)));
}

test("the files that call the addon are those named here", { skip }, () => {
  // Types alone may be imported by all: they are gone at run time.
  const calls = /^(?:import|export) (?!type\b)[^;"]*"\.[./]*\/native\.js"/m;
  const users = sources.filter((file) => calls.test(file.text)).map((file) => file.path);
  assert.deepEqual(users.sort(), [...NATIVE_USERS].sort());
});

test("the page arithmetic is pure", { skip }, () => {
  const pure = files.filter(rules.isPure).map((file) => file.path);
  assert.ok(pure.includes("src/pages.ts"), `pure files: ${pure.join(", ")}`);
});

test("package.json has no dependency, and exact versions of its tools", { skip }, () => {
  for (const file of ["package.json", "runtimes/package.json"]) {
    const manifest = readManifest(file);
    assert.equal(manifest.dependencies, undefined, `${file}: dependencies`);
    assert.equal(manifest.peerDependencies, undefined, `${file}: peerDependencies`);
    const tools = { ...manifest.devDependencies, ...manifest.optionalDependencies };
    const loose = Object.entries(tools).filter(
      ([, version]) => !/^(?:npm:.+@)?\d+\.\d+\.\d+$/.test(version),
    );
    assert.deepEqual(loose, [], `${file}: versions that are not exact`);
  }
  const own = readManifest("package.json");
  assert.equal(own.optionalDependencies, undefined, "package.json: optionalDependencies");
});

test("package.json points at files that the build makes", { skip }, () => {
  const manifest = readManifest("package.json");
  const targets = [manifest.exports, manifest.bin].flatMap(stringsIn);
  assert.ok(targets.length >= 3, "exports and bin name their files");
  assert.deepEqual(
    targets.filter((target) => !existsSync(target)),
    [],
  );
});

test("lock files hold no addresses", { skip }, () => {
  for (const file of ["package-lock.json", "runtimes/package-lock.json"]) {
    assert.ok(!readFileSync(file, "utf8").includes('"resolved"'), `${file} holds addresses`);
  }
});

test("every document is linked from README.md or ARCHITECTURE.md", { skip }, () => {
  const entrances = ["README.md", "ARCHITECTURE.md"].map(textOf).join("\n");
  const documents = files.map((file) => file.path).filter((path) => /^docs\/.*\.md$/.test(path));
  assertNone(documents.filter((path) => !entrances.includes(`(${path}`)));
});

test("the code map of ARCHITECTURE.md names each source file, and no other", { skip }, () => {
  const map = textOf("ARCHITECTURE.md");
  if (map === "") return;
  const named = new Set(map.match(/\b(?:src|native)\/[\w/-]+\.(?:ts|c|h)\b/g));
  const present = files
    .map((file) => file.path)
    .filter((path) => /^(?:src|native)\/.*\.(?:ts|c|h)$/.test(path));
  assert.deepEqual([...named].sort(), present.sort());
});

// ==== Each rule of text fails on a sample that breaks it =======================================

/** For each rule: a path, a text that passes, a text that does not, and the line of the finding. */
const SAMPLES: readonly [rules.Rule, path: string, good: string, bad: string, line: number][] = [
  [rules.longLines, "src/a.ts", `${"é".repeat(100)}\n`, `\n${"x".repeat(101)}\n`, 2],
  [rules.longFiles, "src/a.ts", "x\n".repeat(400), "x\n".repeat(401), 401],
  [rules.longFiles, "native/a.c", "x\n".repeat(700), "x\n".repeat(701), 701],
  [rules.longFunctions, "src/a.ts", script(70), script(71), 3],
  [rules.longFunctions, "native/a.c", c(70), c(71), 3],
  [rules.unfinished, "a.md", "done\n", `// ${["TO", "DO"].join("")}: later\n`, 1],
  [rules.typeEscapes, "src/a.ts", "// as any\nlet any = 1;\n", "\nlet a: any;\n", 2],
  [rules.typeEscapes, "test/a.ts", "let a = b as c;\n", "b as unknown as c;\n", 1],
  [rules.typeEscapes, "test/a.ts", "// ignore\n", `// biome-${"ignore"} lint\n`, 1],
  [rules.silentSkips, "test/a.ts", 't.skip("no disk");\n', 'test.skip("name", () => {});\n', 1],
  [rules.silentSkips, "test/a.ts", "{ skip: reason }\n", 'it.only("name", () => {});\n', 1],
  [rules.missingHeaders, "src/cli/a.ts", "#!/usr/bin/env node\n// Owns a.\n", "let a;\n", 1],
  [rules.machinePlaces, "a.md", "below /proc/self\n", `in /ro${"ot"}/file\n`, 1],
  [rules.addonLoads, "src/a.ts", 'import "node:fs";\n', 'import a from "left-pad";\n', 1],
  [rules.addonLoads, "src/a.ts", "// a.node\n", "const a = createRequire(b);\n", 1],
  [rules.importDirections, "src/ipc/a.ts", 'from "../map.js"', 'from "../pager/b.js"', 1],
  [rules.importDirections, "src/a.ts", 'from "./map.js"', '\nfrom "./cli/main.js"', 2],
  [rules.impurities, "src/a.ts", "// Pure: a.\n", '// Pure: a.\nimport b from "node:fs";\n', 2],
  [rules.impurities, "src/a.ts", '// b.\nfrom "node:fs"', '/* Pure: a. */\nfrom "./native.js"', 2],
  [rules.doorLogic, "src/index.ts", '// A.\nexport { a } from "./a.js";\n', "let a = 1;\n", 1],
];

for (const [rule, path, good, bad, line] of SAMPLES) {
  const name = TEXT_RULES.find(([, named]) => named === rule)?.[0];
  test(`a sample in ${path} breaks: ${name}`, { skip }, () => {
    assert.deepEqual(rule({ path, text: good }), []);
    const [finding = "no finding", ...others] = rule({ path, text: bad });
    assert.ok(finding.startsWith(`${path}:${line}: `), finding);
    assert.deepEqual(others, []);
  });
}

/** A TypeScript function of so many lines that starts at line 3 and has a header of three. */
function script(count: number): string {
  return `\n\nfunction a(\n  b: number,\n): void {\n${"  if (b) {\n  }\n".repeat(40)}`
    .split("\n")
    .slice(0, count + 1)
    .concat("}", "")
    .join("\n");
}

/** A C function of so many lines that starts at line 3. */
function c(count: number): string {
  const body = "    x();\n".repeat(count - 5);
  return `int a;\n\nstatic int b(int x,\n             int y) {\n${body}    goto fail;\nfail:\n}\n`;
}

// ==== The checkout =============================================================================

/** The text files that git knows or would add; none outside a checkout. */
function checkoutFiles(): rules.TextFile[] {
  const list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
  const { status, stdout } = spawnSync("git", list, { encoding: "utf8" });
  if (status !== 0) return [];
  return stdout
    .split("\0")
    .filter((path) => path !== "" && lstatSync(path, { throwIfNoEntry: false })?.isFile())
    .map((path) => ({ path, text: readFileSync(path, "utf8") }))
    .filter((file) => !file.text.includes("\0"));
}

function textOf(path: string): string {
  return files.find((file) => file.path === path)?.text ?? "";
}

interface Manifest {
  readonly dependencies?: unknown;
  readonly peerDependencies?: unknown;
  readonly devDependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly exports?: unknown;
  readonly bin?: unknown;
}

function readManifest(path: string): Manifest {
  return JSON.parse(readFileSync(path, "utf8")) as Manifest;
}

/** All strings below a JSON value. */
function stringsIn(value: unknown): string[] {
  if (typeof value === "string") return [value];
  return typeof value === "object" && value !== null ? Object.values(value).flatMap(stringsIn) : [];
}

function assertNone(findings: readonly rules.Finding[]): void {
  if (findings.length > 0) assert.fail(`${findings.length} places:\n${findings.join("\n")}`);
}
