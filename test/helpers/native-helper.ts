// Builds and loads the addon of native-helper.c, for what a test must do that JavaScript cannot:
// touch and call plain addresses, make sockets. The compiler is that of the build.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Cleanup, tempDir } from "./temp.js";

/** The functions of the addon; a failure is a negative errno. */
export interface NativeHelper {
  /** Adds 1 to the byte at an address and tells what it holds then. */
  touch(address: bigint): number;
  /** Calls the machine code at an address as `int (*)(int, int)`. */
  call(address: bigint, a: number, b: number): number;
  /** A packet socket on the loopback device, with a ring for what it receives. */
  packetRing(blockSize: number, blockCount: number): number;
  /** A datagram socket: 0 is of the Unix kind, 1 of UDP. */
  socket(kind: 0 | 1): number;
  /** Sends a datagram to this machine. */
  send(text: string): number;
}

const compiler = process.env["CC"] ?? "cc";
const root = fileURLToPath(new URL("../../../", import.meta.url));

/** Why the addon cannot be built here; false when it can. */
export const whyNoHelper: string | false =
  spawnSync(compiler, ["--version"]).status === 0 ? false : "needs a C compiler";

/** Builds the addon for the time of a test; returns its file, which a child process may load. */
export function buildHelper(t: Cleanup): string {
  const file = join(tempDir(t), "helper.node");
  const headers = join(root, "node_modules/node-api-headers/include");
  const source = join(root, "test/helpers/native-helper.c");
  const flags = ["-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared"];
  const args = [...flags, `-I${headers}`, source, "-o", file];
  const { status, stderr } = spawnSync(compiler, args, { encoding: "utf8" });
  assert.equal(status, 0, stderr);
  return file;
}

/** Builds the addon and loads it into this process. */
export function loadHelper(t: Cleanup): NativeHelper {
  const helper: NativeHelper = createRequire(import.meta.url)(buildHelper(t));
  return helper;
}
