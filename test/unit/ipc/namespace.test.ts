// src/ipc/namespace.ts: as soon as two namespaces use a structure, nobody is judged any more.

import assert from "node:assert/strict";
import test from "node:test";
import { canJudge, joinNamespace } from "#dist/ipc/namespace.js";

test("users of one namespace judge each other, however many come", () => {
  const words = new Int32Array(1);
  for (let i = 0; i < 3; i += 1) joinNamespace(words, 0, 77);
  assert.ok(canJudge(words, 0, 77));
  assert.ok(!canJudge(words, 0, 78));
});

test("a user of another namespace, and one that cannot tell its own, end that for good", () => {
  for (const other of [78, 0, -5]) {
    const words = new Int32Array(1);
    joinNamespace(words, 0, 77);
    joinNamespace(words, 0, other);
    joinNamespace(words, 0, 77);
    assert.ok(![77, other].some((namespace) => canJudge(words, 0, namespace)), String(other));
  }
});

test("nobody is judged before a user has joined, nor by garbage", () => {
  assert.ok(!canJudge(new Int32Array(1), 0, 77));
  assert.ok(!canJudge(new Int32Array(1), 0, 0));
  assert.ok(!canJudge(new Int32Array([123_456]), 0, 77));
});
