// src/ipc/line.ts: calls go one after the other, in their order, and leave early when they must.

import assert from "node:assert/strict";
import test from "node:test";
import { Line } from "#dist/ipc/line.js";
import { brokenSignal } from "../../ipc/lock-support.js";

const forever = { timeoutMs: Number.POSITIVE_INFINITY, signal: undefined };

test("one is in, and the others follow in the order in which they came", async () => {
  const line = new Line();
  assert.ok(line.tryEnter());
  assert.ok(!line.tryEnter());
  const order: number[] = [];
  const waits = [1, 2, 3].map(async (number) => {
    assert.equal(await line.enter(forever, true), true);
    order.push(number);
    assert.ok(!line.tryEnter(), "whoever waits is before us");
    line.leave();
  });
  assert.deepEqual(order, []);
  line.leave();
  await Promise.all(waits);
  assert.deepEqual(order, [1, 2, 3]);
  assert.ok(line.tryEnter());
});

test("whoever gives up is out of the line: by time, by a signal, before or meanwhile", async () => {
  const line = new Line();
  line.tryEnter();
  assert.equal(await line.enter({ timeoutMs: 0, signal: undefined }, true), false);
  assert.equal(await line.enter({ timeoutMs: 5, signal: undefined }, true), false);
  const gone = AbortSignal.abort("gone");
  await assert.rejects(line.enter({ ...forever, signal: gone }, true), (e) => e === "gone");
  const controller = new AbortController();
  const aborted = line.enter({ timeoutMs: 10_000, signal: controller.signal }, false);
  const last = line.enter(forever, true);
  controller.abort("enough");
  await assert.rejects(aborted, (error) => error === "enough");
  line.leave();
  assert.equal(await last, true);
});

test("a line that is dissolved lets everybody in", async () => {
  const line = new Line();
  line.tryEnter();
  const waits = [line.enter(forever, true), line.enter({ ...forever, timeoutMs: 1e12 }, true)];
  line.dissolve();
  assert.deepEqual(await Promise.all(waits), [true, true]);
});

test("whoever brings a signal that takes no listener never stands in the line", async () => {
  const line = new Line();
  line.tryEnter();
  const limits = { timeoutMs: 1000, signal: brokenSignal() };
  await assert.rejects(line.enter(limits, true), /no listeners here/);
  line.leave();
  assert.ok(line.tryEnter(), "nobody was let in who is not there");
});
