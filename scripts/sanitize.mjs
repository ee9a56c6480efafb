// Looks for mistakes of the native side with the tools that see them:
//
//   node scripts/sanitize.mjs [native] [threads] [suite] [valgrind] [arm64] [analyze]
//
// Without a name it runs them all:
//
//   native    test/native/*.c with AddressSanitizer and UndefinedBehaviorSanitizer, no JavaScript
//   threads   the same program with ThreadSanitizer
//   suite     the unit, property and life tests on this Node, with the addon under Address- and
//             UndefinedBehaviorSanitizer
//   valgrind  the C program under memcheck
//   arm64     which instructions read and which write, told from their faults under qemu
//   analyze   the compiler's own analysis of native/*.c
//
// A tool that is not installed is skipped with the reason; a finding is the exit code 1.

import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

process.chdir(dirname(dirname(fileURLToPath(import.meta.url))));

const hostCompiler = process.env.CC || "cc";
const work = "build/sanitize";

/** The files of native/ that need no JavaScript engine to link; test/native/notices.c stands in for
 * the few functions that notice.c calls. */
const PURE = [
  ...[
    "area",
    "copy",
    "guard",
    "handler",
    "lift",
    "move",
    "notice",
    "raw",
    "region",
    "replaced",
    "retire",
  ],
  "sys",
].map((name) => `native/${name}.c`);

/** A tool that this machine does not have: the mode is skipped with this reason. */
class Missing extends Error {}

/** A sanitizer's own handlers would stand before the guard's, and in the way of a real crash. */
const noHandlers = "handle_segv=0:handle_sigbus=0:handle_abort=0";

const MODES = {
  native: runNative,
  threads: runThreads,
  suite: runSuite,
  valgrind: runValgrind,
  arm64: runArm64,
  analyze,
};

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !(name in MODES));
if (unknown.length > 0) {
  console.error(`sanitize: no mode ${unknown.join(", ")}: ${Object.keys(MODES).join(", ")}`);
  process.exit(2);
}
mkdirSync(work, { recursive: true });
for (const name of wanted.length > 0 ? wanted : Object.keys(MODES)) {
  console.log(`\n==== sanitize: ${name}`);
  try {
    const passed = MODES[name]();
    console.log(`sanitize: ${name} ${passed ? "passed" : "failed"}`);
    if (!passed) process.exitCode = 1;
  } catch (error) {
    if (!(error instanceof Missing)) throw error;
    console.log(`sanitize: ${name} skipped: ${error.message}`);
  }
}

// ==== The C program ============================================================================

/** Compiles test/native and what it tests; returns the path of the program. */
function buildProgram(name, flags, compiler = hostCompiler) {
  const tests = readdirSync("test/native").filter((file) => file.endsWith(".c"));
  const target = join(work, name);
  const args = [
    ...["-std=c11", "-D_GNU_SOURCE", "-DNAPI_VERSION=8", "-O1", "-g", "-pthread"],
    ...["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"],
    "-fno-omit-frame-pointer",
    "-fno-sanitize-recover=all", // A finding ends the program.
    "-Wl,--wrap=mm_sys_mremap,--wrap=mm_guard_add", // The tests let the kernel refuse.
    `-I${headerFolder()}`,
    ...flags,
    ...tests.map((file) => join("test/native", file)),
    ...PURE,
    ...["-o", target],
  ];
  const { status, stderr, error } = spawnSync(compiler, args, { encoding: "utf8" });
  if (error) throw new Missing(`no C compiler: ${compiler}`);
  if (/cannot find (-l|lib)(a|t|ub)san|unsupported option '-fsanitize/.test(stderr)) {
    throw new Missing(`${compiler} has no ${flags.join(" ")}`);
  }
  if (status !== 0) throw new Error(`${compiler} failed:\n${stderr}`);
  return resolve(target);
}

function runNative() {
  const program = buildProgram("native", ["-fsanitize=address,undefined"]);
  return run(program, [], { env: { ...process.env, ASAN_OPTIONS: noHandlers } });
}

/** ThreadSanitizer knows fixed places for memory only: addresses must not be randomized. */
function runThreads() {
  const program = buildProgram("threads", ["-fsanitize=thread"]);
  if (spawnSync("setarch", ["-R", "true"]).status !== 0) {
    throw new Missing("`setarch -R` is not installed or not allowed here");
  }
  return run("setarch", ["-R", program], { env: { ...process.env, TSAN_OPTIONS: noHandlers } });
}

function runValgrind() {
  if (!has("valgrind")) throw new Missing("valgrind is not installed");
  const program = buildProgram("valgrind", []);
  const options = ["--quiet", "--error-exitcode=1", "--leak-check=full"];
  const suppressions = "--suppressions=test/native/valgrind.supp";
  return run("valgrind", [...options, suppressions, program, "without-moves-and-faults"]);
}

/** Linked as a whole, so that the emulator needs no libraries of the other processor. */
function runArm64() {
  const [emulator, compiler] = ["qemu-aarch64-static", "aarch64-linux-gnu-gcc"];
  for (const tool of [emulator, compiler]) {
    if (!has(tool)) throw new Missing(`${tool} is not installed`);
  }
  libraryOf(compiler, "libc.a");
  const program = buildProgram("arm64", ["-static"], compiler);
  return run(emulator, [program, "accesses"]);
}

/** GCC's analysis of every file; -Werror makes a finding fail. */
function analyze() {
  const probe = spawnSync(hostCompiler, ["-fanalyzer", "-E", "-x", "c", "/dev/null"]);
  if (probe.status !== 0) throw new Missing(`${hostCompiler} has no -fanalyzer`);
  const files = readdirSync("native").filter((file) => file.endsWith(".c"));
  const common = ["-std=c11", "-D_GNU_SOURCE", "-DNAPI_VERSION=8", "-O2", `-I${headerFolder()}`];
  const checks = ["-fanalyzer", "-Wall", "-Wextra", "-Werror", "-c", "-o", "/dev/null"];
  return files
    .map((file) => run(hostCompiler, [...common, ...checks, join("native", file)]))
    .every(Boolean);
}

// ==== The addon in Node ========================================================================

/** A copy of the package with the sanitized addon in it, so that the ordinary one stays. */
function runSuite() {
  const node = process.execPath;
  const list = "address,undefined";
  /* It must be there before Node loads the addon. */
  const library = libraryOf(hostCompiler, "libasan.so");
  if (!run(node, ["scripts/build.mjs", "--tests"])) return false;
  if (!run(node, ["scripts/build.mjs", `--sanitize=${list}`])) return false;
  const copy = join(work, "package");
  rmSync(copy, { recursive: true, force: true });
  for (const part of ["dist", "out", "src", "test", "docs", "package.json"]) {
    if (existsSync(part)) cpSync(part, join(copy, part), { recursive: true });
  }
  symlinkSync(resolve("node_modules"), join(copy, "node_modules"));
  const built = `build/sanitize-${list.replaceAll(",", "-")}`;
  const [addon] = readdirSync(built).filter((file) => file.endsWith(".node"));
  cpSync(join(built, addon), join(copy, "dist/addon", addon));
  const tests = ["unit", "unit/ipc", "property", "native"].flatMap((folder) => {
    const place = join(copy, "out/test", folder);
    const names = readdirSync(place).filter((file) => file.endsWith(".test.js"));
    return names.map((name) => join("out/test", folder, name));
  });
  const env = {
    ...process.env,
    LD_PRELOAD: library,
    // Node itself keeps memory until its end; the tests look for crashes and bad accesses.
    ASAN_OPTIONS: `detect_leaks=0:abort_on_error=1:allocator_may_return_null=1:${noHandlers}`,
    UBSAN_OPTIONS: "print_stacktrace=1:halt_on_error=1",
  };
  return run(node, ["--test", "--test-concurrency=2", "--test-reporter=spec", ...tests], {
    cwd: copy,
    env,
  });
}

/** The path of a library that comes with a compiler. */
function libraryOf(compiler, name) {
  const { stdout } = spawnSync(compiler, [`-print-file-name=${name}`], { encoding: "utf8" });
  const path = stdout?.trim() ?? "";
  if (!path.startsWith("/")) throw new Missing(`${compiler} has no ${name}`);
  return path;
}

// ==== Tools ====================================================================================

/** Where node_api.h lies: with the running Node where it brings it, else in the npm package. */
function headerFolder() {
  const folders = [
    join(dirname(dirname(process.execPath)), "include/node"),
    "node_modules/node-api-headers/include",
  ];
  const found = folders.find((folder) => existsSync(join(folder, "node_api.h")));
  if (!found) throw new Error("node_api.h not found: run `npm install` first");
  return found;
}

function has(command) {
  return spawnSync(command, ["--version"]).error === undefined;
}

/** Runs a command with its output shown; returns whether it ended well. */
function run(command, args, options = {}) {
  const { status, signal } = spawnSync(command, args, {
    stdio: "inherit",
    timeout: 600_000,
    ...options,
  });
  if (signal) console.error(`sanitize: ended by ${signal}: ${command}`);
  return status === 0;
}
