// src/ipc/block.ts: in which order a task tries, sleeps and looks, and how it ends.

import assert from "node:assert/strict";
import test from "node:test";
import { MemmapError, pageSize } from "memmap";
import {
  block,
  blockSync,
  readLimits,
  readTimeout,
  type Stage,
  type Task,
} from "#dist/ipc/block.js";
import { notify } from "#dist/ipc/wait.js";
import type { Cleanup } from "../../helpers/temp.js";
import { makePlace, until } from "../../ipc/lock-support.js";
import { hasCode } from "../support.js";

/* A task that waits for its word to become 7. */
function makeTask(t: Cleanup, more: Partial<Task<string>> = {}) {
  const { place, words, mapping } = makePlace(t);
  const log: (Stage | "gave up")[] = [];
  const task: Task<string> = {
    place,
    action: "have",
    index: 0,
    value: 0,
    attempt(stage) {
      log.push(stage);
      return Atomics.load(place.words, 0) === 7 ? "seven" : undefined;
    },
    giveUp: () => log.push("gave up"),
    spins: 3,
    turns: 2,
    ...more,
  };
  return { task, log, words, mapping };
}

const limits = (timeoutMs = Number.POSITIVE_INFINITY, signal?: AbortSignal) =>
  readLimits({ timeoutMs, signal });
const timeout = hasCode(MemmapError, "ERR_MEMMAP_TIMEOUT", /^Cannot have the thing at byte 0 of/);

test("a task that succeeds while it spins never sleeps", async (t) => {
  const { task, log, words } = makeTask(t);
  words[0] = 7;
  assert.equal(blockSync(task, 100), "seven");
  assert.equal(await block(task, limits()), "seven");
  assert.deepEqual(log, ["spin", "spin"]);
});

test("it spins so often, parks, and looks after each sleep that nobody ended", async (t) => {
  const { task, log } = makeTask(t);
  /* On a machine that is busy the time may be over before the first sleep. */
  const expected = /^spin,spin,spin,park,(?:look,){0,3}gave up$/;
  assert.throws(() => blockSync(task, 60), timeout);
  assert.match(log.join(), expected);
  log.length = 0;
  await assert.rejects(block(task, limits(60)), timeout);
  assert.match(log.join(), expected);
});

test("it sleeps in slices, and looks between them", async (t) => {
  for (const run of [
    (task: Task<string>) => block(task, limits(150)),
    async (task: Task<string>) => blockSync(task, 150),
  ]) {
    const { task, log } = makeTask(t);
    await assert.rejects(run(task), timeout);
    const looks = log.filter((stage) => stage === "look").length;
    assert.ok(looks >= 1 && looks <= 4, log.join());
  }
});

test("without time it looks once", async (t) => {
  const { task, log } = makeTask(t);
  assert.throws(() => blockSync(task, 0), timeout);
  assert.deepEqual(log, ["look", "gave up"]);
  log.length = 0;
  await assert.rejects(block(task, limits(0)), timeout);
  assert.deepEqual(log, ["spin", "look", "gave up"]);
});

test("a wake makes it park again, not look", async (t) => {
  const { task, log, words } = makeTask(t);
  const ended = block(task, limits());
  await until(() => log.includes("park"));
  Atomics.store(words, 0, 7);
  notify(words, 0);
  assert.equal(await ended, "seven");
  assert.ok(!log.includes("gave up"));
});

test("an abort ends it with the reason, at each of its stages", async (t) => {
  const reason = new Error("enough");
  const aborted = makeTask(t);
  await assert.rejects(block(aborted.task, limits(100, AbortSignal.abort(reason))), reason);
  assert.deepEqual(aborted.log, [], "it has not begun");
  const spinning = makeTask(t);
  const controller = new AbortController();
  const ended = assert.rejects(block(spinning.task, limits(1000, controller.signal)), reason);
  controller.abort(reason);
  await ended;
  assert.deepEqual(spinning.log, ["spin", "gave up"]);
  const sleeping = makeTask(t);
  const later = new AbortController();
  const over = assert.rejects(block(sleeping.task, limits(1000, later.signal)), reason);
  await until(() => sleeping.log.includes("park"));
  later.abort(reason);
  await over;
  assert.equal(sleeping.log.at(-1), "gave up");
});

test("what a try throws ends it, after it has given up", async (t) => {
  for (const [at, stage] of ["spin", "park"].entries()) {
    const { task, log } = makeTask(t);
    const attempt = task.attempt.bind(task);
    task.attempt = (now) => {
      attempt(now);
      if (now === stage) throw new Error("broken");
      return undefined;
    };
    assert.throws(() => blockSync(task, 100), /broken/);
    assert.deepEqual(log.slice(3 * at), [stage, "gave up"]);
    await assert.rejects(block(task, limits()), /broken/);
    assert.deepEqual(log.slice(-2), [stage, "gave up"]);
  }
});

test("a resize lets it go on; after close() there is nobody to tell", async (t) => {
  const { task, log, mapping } = makeTask(t);
  const ended = block(task, limits());
  await until(() => log.includes("park"));
  await new Promise((resolve) => setTimeout(resolve, 5));
  mapping.resize(2 * pageSize);
  await new Promise((resolve) => setTimeout(resolve, 5));
  mapping.close();
  await assert.rejects(ended, hasCode(MemmapError, "ERR_MEMMAP_CLOSED"));
  assert.ok(log.filter((stage) => stage === "park").length >= 2, log.join());
  assert.ok(!log.includes("gave up"));
});

test("options are read by their names, and refused by them", () => {
  assert.equal(readTimeout(undefined), Number.POSITIVE_INFINITY);
  assert.equal(readTimeout({ timeoutMs: 1.5 }), 1.5);
  assert.throws(() => readTimeout({ timeoutMs: -1 }), /options\.timeoutMs/);
  assert.throws(() => Reflect.apply(readTimeout, undefined, [5]), TypeError);
  const { signal } = new AbortController();
  const forever = Number.POSITIVE_INFINITY;
  const read = { timeoutMs: forever, givenMs: forever, signal };
  assert.deepEqual(readLimits({ signal }), read);
  const useless = hasCode(TypeError, "ERR_INVALID_ARG_VALUE", /no effect on a call that blocks/);
  assert.throws(() => Reflect.apply(readTimeout, undefined, [{ signal }]), useless);
  assert.equal(Reflect.apply(readTimeout, undefined, [{ signal: undefined }]), forever);
  assert.throws(() => Reflect.apply(readLimits, undefined, [{ signal: 1 }]), /options\.signal/);
});

test("the message tells the time that was given, not what was left of it", async (t) => {
  const { task } = makeTask(t);
  const message = /: not within 50 ms$/;
  const rest = { ...limits(50), timeoutMs: 0.25 };
  await assert.rejects(block(task, rest), hasCode(MemmapError, "ERR_MEMMAP_TIMEOUT", message));
  const short = hasCode(MemmapError, "ERR_MEMMAP_TIMEOUT", /: not within 1 ms$/);
  assert.throws(() => blockSync(task, 0.125), short);
});
