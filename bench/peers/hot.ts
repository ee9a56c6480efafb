// Compiles the hot loops of a thread, once, before the first of them is touched: a child that lives
// for one cell has no time for what that cell does not need.

import { warmUp } from "../../test/crash/ways-loops.js";

let isWarm = false;

/** Makes sure that a way finds its loop compiled. */
export function warmFor(way: string): void {
  if (isWarm || !way.startsWith("hot ")) return;
  warmUp();
  isWarm = true;
}
