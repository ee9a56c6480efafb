// Builds and loads the addon of native-helper.c, for what a test must do that JavaScript cannot:
// touch and call plain addresses, make sockets. The compiler is that of the build.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { compileAddon } from "./compile.js";
import type { Cleanup } from "./temp.js";

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

const source = fileURLToPath(new URL("../../../test/helpers/native-helper.c", import.meta.url));

/** Why the addon cannot be built here; false when it can. */
export { noCompiler as whyNoHelper } from "./compile.js";

/** Builds the addon for the time of a test; returns its file, which a child process may load. */
export function buildHelper(t: Cleanup): string {
  return compileAddon(t, readFileSync(source, "utf8"));
}

/** Builds the addon and loads it into this process. */
export function loadHelper(t: Cleanup): NativeHelper {
  const helper: NativeHelper = createRequire(import.meta.url)(buildHelper(t));
  return helper;
}
