// Native code for tests that JavaScript cannot do by itself: a fork, a call of machine code, a
// system call that no door has. Compiled in the test; skipped where there is no compiler.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Cleanup, tempDir } from "./temp.js";

const compiler = process.env["CC"] ?? "cc";

/** Why nothing can be compiled here; false where it can. */
export const noCompiler: string | false =
  spawnSync(compiler, ["--version"]).status !== 0 && "needs a C compiler";

/* The Node-API headers of the package that the build may use, too. */
const headers = fileURLToPath(
  new URL("../../../node_modules/node-api-headers/include", import.meta.url),
);

function compile(t: Cleanup, source: string, flags: readonly string[]): string {
  const folder = tempDir(t);
  const file = join(folder, "source.c");
  const target = join(folder, flags.includes("-shared") ? "addon.node" : "program");
  writeFileSync(file, `#define _GNU_SOURCE\n${source}`);
  const args = ["-O1", "-Wall", "-Werror", "-pthread", ...flags, file, "-o", target];
  const { status, stderr } = spawnSync(compiler, args, { encoding: "utf8" });
  assert.equal(status, 0, stderr);
  return target;
}

/** Compiles an addon, which may include <node_api.h>; returns its path. */
export function compileAddon(t: Cleanup, source: string): string {
  return compile(t, source, ["-shared", "-fPIC", `-I${headers}`]);
}

/** Compiles a program; returns its path. */
export function compileProgram(t: Cleanup, source: string): string {
  return compile(t, source, []);
}
