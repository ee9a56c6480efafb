// All ways of touching memory, each with a name of its own.

import type { Way } from "./way.js";
import { arrayWays } from "./ways-arrays.js";
import { bufferWays } from "./ways-buffer.js";
import { ioWays } from "./ways-io.js";
import { loopWays } from "./ways-loops.js";
import { moduleWays } from "./ways-node.js";

export const ways: readonly Way[] = [
  ...loopWays,
  ...arrayWays,
  ...bufferWays,
  ...moduleWays,
  ...ioWays,
];

/** The way of that name. */
export function wayNamed(name: string): Way {
  const found = ways.find((way) => way.name === name);
  if (found === undefined) throw new Error(`no way of touching is named ${name}`);
  return found;
}
