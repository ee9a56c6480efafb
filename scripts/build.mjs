// Builds the package: the addon from native/*.c, dist/ from src/, and with --tests out/ from test/,
// bench/ and examples/. Does nothing that is already done, removes output whose source is gone, and
// needs only Node, a C compiler and the installed devDependencies.
//
//   node scripts/build.mjs [--tests] [--sanitize=address,undefined]
//
// --sanitize builds only the addon, into build/sanitize-<list>/, beside the ordinary one.

import { spawn } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
process.chdir(root);

/** An error whose message is all that the reader needs: printed as one line, without a stack. */
class BuildError extends Error {}

const { values } = parseArgs({
  options: { tests: { type: "boolean", default: false }, sanitize: { type: "string" } },
});

try {
  if (values.sanitize !== undefined) {
    await buildAddon(values.sanitize);
  } else {
    // The compilers do not need one another: the addon and the types are made side by side.
    await settleAll([buildAddon(), buildLibrary()]);
    if (values.tests) await buildTests();
  }
} catch (error) {
  if (!(error instanceof BuildError)) throw error;
  console.error(`build: ${error.message}`);
  process.exitCode = 1;
}

// ==== The addon ================================================================================

/**
 * Compiles each changed C file to an object and links them, when anything changed at all.
 * A change of the header, of this script or of the command line makes everything new.
 */
async function buildAddon(sanitize) {
  if (process.platform !== "linux") {
    console.log(`build: no addon for ${process.platform} yet, only Linux has one: skipped`);
    return;
  }
  const work = sanitize ? `build/sanitize-${sanitize.replaceAll(",", "-")}` : "build/native";
  const target = join(sanitize ? work : "dist/addon", `${addonName()}.node`);
  const compiler = process.env.CC || "cc";
  const flags = compileFlags(sanitize);
  mkdirSync(work, { recursive: true });
  mkdirSync(dirname(target), { recursive: true });
  forgetObjectsOfAnotherCommand(work, [compiler, ...flags].join(" "));

  const sources = list("native", ".c");
  if (sources.length === 0) throw new BuildError("native/ holds no C file");
  const objects = sources.map((source) => join(work, `${basename(source, ".c")}.o`));
  // What is linked must not outlive a source: nothing else would tell that it is out of date.
  if (removeStrays(work, ".o", objects) > 0) rmSync(target, { force: true });
  const shared = [...list("native", ".h"), "scripts/build.mjs"];
  const compiling = sources
    .map((source, i) => ({ source, object: objects[i] }))
    .filter(({ source, object }) => !isFresh(object, [source, ...shared]))
    .map(({ source, object }) => run(compiler, [...flags, "-c", source, "-o", object]));
  await settleAll(compiling);
  if (compiling.length === 0 && isFresh(target, objects)) return;
  await run(compiler, [...linkFlags(sanitize), ...objects, "-o", target]);
  console.log(`build: ${target}`);
}

/** The name of the addon file: platform and architecture as Node names them, and the C library. */
function addonName() {
  // The network part of the report would look up host names, which can take seconds.
  process.report.excludeNetwork = true;
  const isGnu = process.report.getReport().header.glibcVersionRuntime !== undefined;
  return `${process.platform}-${process.arch}-${isGnu ? "gnu" : "musl"}`;
}

/** The flags of each compiler call, each with its reason. */
function compileFlags(sanitize) {
  return [
    "-std=c11", // The language of native/; extensions are asked for by name below.
    "-D_GNU_SOURCE", // memfd_create, mremap, gettid and the MAP_ and MADV_ names of Linux.
    "-DNAPI_VERSION=8", // The oldest Node-API that has all we use: one binary for all runtimes.
    "-O2",
    "-g", // Line numbers in a debugger and in sanitizer reports; costs nothing at run time.
    "-fPIC", // The addon is a shared object.
    "-fvisibility=hidden", // Two copies of the package in one process must not see each other.
    // A warning is an error: what the compiler finds odd is mended, not scrolled past.
    "-Wall",
    "-Wextra",
    "-Wconversion", // A length that silently loses bits is how memory gets overrun.
    "-Wshadow",
    "-Werror",
    "-fstack-protector-strong", // A buffer overrun on the stack ends in a report, not in a jump.
    "-fstack-clash-protection", // A large frame touches each page: none can step over a guard.
    ...(process.arch === "x64" ? ["-fcf-protection"] : []), // Indirect jumps reach only targets.
    ...(process.arch === "arm64" ? ["-mbranch-protection=standard"] : []), // The same, and PAC.
    ...(sanitize
      ? // A finding ends the process, so that a test fails; frame pointers give whole stacks.
        [`-fsanitize=${sanitize}`, "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
      : // Checked libc calls. Not with sanitizers, which replace the same functions. Undefined
        // first, because some distributions define it themselves and -Werror would object.
        ["-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"]),
    `-I${headerFolder()}`,
  ];
}

/** The flags of the link. Never `nodlopen`: loading through dlopen is what an addon is for. */
function linkFlags(sanitize) {
  return [
    "-shared",
    "-pthread",
    "-Wl,-z,relro,-z,now", // All symbols bound at load, then the table is read-only.
    "-Wl,-z,noexecstack", // No object may ask for an executable stack.
    ...(sanitize ? [`-fsanitize=${sanitize}`] : []),
  ];
}

/** Where node_api.h lies: with the running Node where it brings it, else in the npm package. */
function headerFolder() {
  const folders = [
    join(dirname(dirname(realpathSync(process.execPath))), "include/node"),
    join(root, "node_modules/node-api-headers/include"),
  ];
  const folder = folders.find((folder) => existsSync(join(folder, "node_api.h")));
  if (!folder) throw new BuildError("node_api.h not found: run `npm install` first");
  return folder;
}

/** Empties the folder of objects when the last build used another compiler or other flags. */
function forgetObjectsOfAnotherCommand(work, command) {
  const record = join(work, "command.txt");
  if (existsSync(record) && readFileSync(record, "utf8") === command) return;
  removeStrays(work, ".o", []);
  writeFileSync(record, command);
}

// ==== TypeScript ===============================================================================

async function buildLibrary() {
  if (await compile("tsconfig.json", { from: ["src"], to: "dist" })) console.log("build: dist/");
  // npm sets this bit when it installs the package, but a clone runs its own command directly.
  if (existsSync("dist/cli/main.js")) chmodSync("dist/cli/main.js", 0o755);
}

async function buildTests() {
  const from = ["test", "bench", "examples"];
  if (await compile("tsconfig.test.json", { from, to: "out" })) console.log("build: out/");
}

/**
 * Runs tsc for one project unless each output is newer than each input; returns whether it ran.
 * The record of success is a file of its own: a failed build must fail again, not look done.
 */
async function compile(project, { from, to }) {
  const sources = from.flatMap((folder) => list(folder, ".ts"));
  if (sources.length === 0) throw new BuildError(`${from.join(", ")}: no TypeScript file`);
  const base = from.length === 1 ? from[0] : ".";
  const kinds = to === "dist" ? [".js", ".d.ts"] : [".js"];
  const stems = sources.map((source) => join(to, relative(base, source).replace(/\.ts$/, "")));
  const outputs = stems.flatMap((stem) => kinds.map((kind) => stem + kind));
  // What is compiled is removed with its source; other files in the folder are not tsc's.
  for (const folder of from) {
    for (const kind of kinds) removeStrays(join(to, relative(base, folder)), kind, outputs);
  }
  const record = `build/${project}.done`;
  const configs = ["tsconfig.json", project, "package-lock.json", "scripts/build.mjs"];
  const types = to === "dist" ? [] : list("dist", ".d.ts");
  const isDone = isFresh(record, [...sources, ...configs, ...types]) && outputs.every(existsSync);
  // The list of sources is part of the record: a removed file leaves no newer file behind.
  if (isDone && readFileSync(record, "utf8") === sources.join("\n")) return false;
  const tsc = "node_modules/typescript/bin/tsc";
  if (!existsSync(tsc)) throw new BuildError("TypeScript not found: run `npm install` first");
  // Written first and named after success: a source saved while tsc runs is newer than the record.
  rmSync(record, { force: true });
  mkdirSync(dirname(record), { recursive: true });
  writeFileSync(`${record}.new`, sources.join("\n"));
  await run(process.execPath, [tsc, "-p", project]);
  renameSync(`${record}.new`, record);
  return true;
}

// ==== Files and processes ======================================================================

/** The files below `folder` that end in `extension`, sorted; none when there is no such folder. */
function list(folder, extension) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true })
    .filter((name) => name.endsWith(extension))
    .map((name) => join(folder, name))
    .sort();
}

/** Removes the files below `folder` that end in `extension` and are not wanted; returns a count. */
function removeStrays(folder, extension, wanted) {
  const strays = list(folder, extension).filter((file) => !wanted.includes(file));
  for (const stray of strays) rmSync(stray);
  return strays.length;
}

/** Whether `file` exists and none of `inputs` was changed after it was made. */
function isFresh(file, inputs) {
  if (!existsSync(file)) return false;
  const made = statSync(file).mtimeMs;
  return inputs.every((input) => statSync(input).mtimeMs <= made);
}

/** Runs a command to its end with its output shown; a failure is a BuildError. */
function run(command, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: "inherit" });
    child.on("error", (error) => {
      const hint = "install one (Debian: apt-get install gcc) or set CC";
      const missing = `no C compiler: \`${command}\` not found, ${hint}`;
      reject(new BuildError(error.code === "ENOENT" ? missing : error.message));
    });
    child.on("exit", (code, signal) => {
      if (code === 0) resolve();
      else reject(new BuildError(`${basename(command)} failed (${signal ?? `exit code ${code}`})`));
    });
  });
}

/** Waits for all, so that no compiler is still writing when the first failure is reported. */
async function settleAll(promises) {
  const results = await Promise.allSettled(promises);
  const failed = results.find((result) => result.status === "rejected");
  if (failed) throw failed.reason;
}
