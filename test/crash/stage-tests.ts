// One test for each stage and abuse: all ways of touching, in a child process of its own.

import assert from "node:assert/strict";
import test from "node:test";
import { takePower } from "../helpers/root-powers.js";
import { abuses, cellsOf, exclusionOf, type Stage } from "./matrix.js";
import { hugePagesInPool, reasonToSkip, runCells, runtime } from "./run.js";

/* Some runtimes give a test five seconds otherwise. */
const timeout = 300_000;

/** Defines the tests of some stages. */
export function testStages(stages: readonly Stage[]): void {
  const skips = new Map(abuses.map((abuse) => [abuse, reasonToSkip(abuse)]));
  for (const stage of stages) {
    for (const abuse of abuses) {
      const cells = cellsOf(stage, abuse);
      if (cells.length === 0) continue;
      const reasons = cells.map((cell) => exclusionOf(cell, runtime));
      const excluded = reasons.every((reason) => reason !== undefined) && reasons[0];
      const skip = excluded || (skips.get(abuse) ?? false);
      test(`crash matrix: ${stage}, ${abuse}`, { skip, timeout }, async (t) => {
        if (abuse === "huge-pool") {
          await takePower(t, "huge-pages");
          if (hugePagesInPool() > 0) return t.skip("needs an empty pool of huge pages");
        }
        const { passed, problems, wanted, adjacent, all } = await runCells(t, stage, abuse);
        t.diagnostic(`cells passed: ${passed.length} of ${wanted.length}`);
        assert.equal(problems.join("\n"), "");
        assert.deepEqual([...passed].sort(), [...wanted].sort());
        const isBeside = !["huge-pool", "close-meanwhile"].includes(abuse) && stage !== "resized";
        if (!isBeside) return;
        assert.ok(adjacent * 2 > all, `only ${adjacent} of ${all} stood between their neighbours`);
      });
    }
  }
}
