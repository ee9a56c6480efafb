// The kill test of scripts/ipc-kills.mjs with a few kills: locks are recovered, and nothing that
// was done under them is lost.

import assert from "node:assert/strict";
import test from "node:test";
import { runScript } from "../helpers/child.js";

const script = new URL("../../../scripts/ipc-kills.mjs", import.meta.url);

for (const [who, args] of [
  ["processes", []],
  ["workers", ["--workers"]],
] as const) {
  test(`twenty ${who} are killed while they lock, and the others go on`, async (t) => {
    const seed = Math.floor(Math.random() * 2 ** 31);
    const all = ["20", "--kills=20", `--seed=${seed}`, ...args];
    const { code, signal, stdout, stderr } = await runScript(script, all, { timeoutMs: 50_000 });
    for (const line of stdout.trimEnd().split("\n")) t.diagnostic(line);
    assert.deepEqual({ code, signal }, { code: 0, signal: null }, `${stdout}\n${stderr}`);
    const counts = JSON.parse(stdout.trimEnd().split("\n").at(-1) ?? "");
    assert.ok(counts.kills > 0 && counts.kills <= 20, `${counts.kills} kills`);
    assert.ok(counts.mutex.changes > counts.kills, "there was something to lose");
  });
}
