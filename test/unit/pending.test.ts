// src/pending.ts: a waiting promise settles by whichever comes first, and leaves nothing behind.

import assert from "node:assert/strict";
import test from "node:test";
import { Pending } from "#dist/pending.js";

/** A signal whose listeners are counted. */
function countedSignal(): {
  readonly signal: AbortSignal;
  readonly listeners: () => number;
  readonly abort: (reason: unknown) => void;
} {
  const controller = new AbortController();
  const { signal } = controller;
  let count = 0;
  const { addEventListener, removeEventListener } = signal;
  signal.addEventListener = (...args: Parameters<typeof addEventListener>): void => {
    count += 1;
    Reflect.apply(addEventListener, signal, args);
  };
  signal.removeEventListener = (...args: Parameters<typeof removeEventListener>): void => {
    count -= 1;
    Reflect.apply(removeEventListener, signal, args);
  };
  return { signal, listeners: () => count, abort: (reason) => controller.abort(reason) };
}

/** A call that returns when it is told to. */
function heldCall(): {
  readonly start: () => Promise<number>;
  readonly finish: (value: number) => void;
  readonly fail: (reason: unknown) => void;
} {
  let settle: { resolve: (value: number) => void; reject: (reason: unknown) => void } | undefined;
  const promise = new Promise<number>((resolve, reject) => {
    settle = { resolve, reject };
  });
  return {
    start: () => promise,
    finish: (value) => settle?.resolve(value),
    fail: (reason) => settle?.reject(reason),
  };
}

/** The reason a promise rejects with, which need not be an error. */
function reasonOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => assert.fail("it fulfilled"),
    (reason: unknown) => reason,
  );
}

test("Pending.wait() fulfils and rejects with the call, and leaves no listener", async () => {
  const pending = new Pending();
  const { signal, listeners } = countedSignal();
  const good = heldCall();
  const waiting = pending.wait(signal, good.start);
  assert.equal(listeners(), 1);
  good.finish(5);
  assert.equal(await waiting, 5);
  assert.equal(listeners(), 0);
  const bad = heldCall();
  const reason = new Error("bad");
  bad.fail(reason);
  await assert.rejects(pending.wait(signal, bad.start), reason);
  assert.equal(listeners(), 0);
});

test("Pending.wait() with an aborted signal rejects and does not begin", async () => {
  const reason = { any: "reason" };
  const pending = new Pending();
  const wait = pending.wait(AbortSignal.abort(reason), () => assert.fail("the call was begun"));
  assert.equal(await reasonOf(wait), reason);
});

test("Pending.wait() rejects at once when the signal aborts meanwhile", async () => {
  const pending = new Pending();
  const { signal, listeners, abort } = countedSignal();
  const call = heldCall();
  const waiting = pending.wait(signal, call.start);
  abort("stop");
  assert.equal(await reasonOf(waiting), "stop");
  assert.equal(listeners(), 0);
  // What the call says later, and a later close, find nobody waiting.
  call.fail(new Error("late"));
  pending.rejectAll(new Error("closed"));
  await new Promise((resolve) => setImmediate(resolve));
});

test("Pending.wait() fulfils when the signal aborts after the call has returned", async () => {
  const pending = new Pending();
  const { signal, abort } = countedSignal();
  const call = heldCall();
  const waiting = pending.wait(signal, call.start);
  call.finish(7);
  await waiting;
  abort("late");
  assert.equal(await waiting, 7);
});

test("Pending.rejectAll() rejects every waiting promise once, and those to come not", async () => {
  const pending = new Pending();
  const { signal, listeners } = countedSignal();
  const calls = Array.from({ length: 100 }, heldCall);
  const waiting = calls.map((call, i) => pending.wait(i < 10 ? signal : undefined, call.start));
  assert.equal(listeners(), 10);
  const reason = new Error("closed");
  pending.rejectAll(reason);
  const results = await Promise.allSettled(waiting);
  assert.ok(results.every((result) => result.status === "rejected" && result.reason === reason));
  assert.equal(listeners(), 0);
  for (const call of calls) call.finish(1);
  const next = heldCall();
  const after = pending.wait(undefined, next.start);
  next.finish(2);
  assert.equal(await after, 2);
});

test("Pending.rejectAll() lets the reactions to it wait again", async () => {
  const pending = new Pending();
  const first = heldCall();
  const second = heldCall();
  const chained = pending
    .wait(undefined, first.start)
    .catch(() => pending.wait(undefined, second.start));
  pending.rejectAll(new Error("closed"));
  second.finish(3);
  assert.equal(await chained, 3);
});

test("Pending.wait() without a signal leaves nothing to reject after the call", async () => {
  const pending = new Pending();
  const call = heldCall();
  const waiting = pending.wait(undefined, call.start);
  call.finish(1);
  await waiting;
  pending.rejectAll(new Error("closed"));
  assert.equal(await waiting, 1);
});
