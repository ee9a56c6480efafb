// The soak of scripts/soak.mjs for ten seconds: its counts return to the base line.

import assert from "node:assert/strict";
import test from "node:test";
import { runScript } from "../helpers/child.js";

const script = new URL("../../../scripts/soak.mjs", import.meta.url);

test("after ten seconds of everything at once the counts are back", {
  timeout: 60_000,
}, async (t) => {
  const seed = Math.floor(Math.random() * 2 ** 31);
  const args = ["10", `--seed=${seed}`];
  const result = await runScript(script, args, { timeoutMs: 50_000, exposeGc: true });
  const { code, signal, stdout, stderr } = result;
  for (const line of stdout.trimEnd().split("\n")) t.diagnostic(line);
  assert.deepEqual({ code, signal }, { code: 0, signal: null }, `${stdout}\n${stderr}`);
});
