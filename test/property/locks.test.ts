// The protocols of the locks, as the pure files have them, against a plain lock: threads that are
// simulated go on in every order, and are killed between any two of their steps.

import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import { arrive, arriveLast, withdraw } from "#dist/ipc/barrier-word.js";
import {
  type Party,
  PlainLock,
  useMutex,
  useReader,
  useWriter,
  wordCount,
} from "./lock-programs.js";
import { type Limits, type Program, runAtRandom, runInEveryWay, World } from "./lock-threads.js";
import { parameters } from "./support.js";

type Part = (party: Omit<Party, "isMarked">) => Program;

const mutex: Part = (party) => useMutex({ ...party, isMarked: false }, 1);
const mutexTwice: Part = (party) => useMutex({ ...party, isMarked: false }, 2);
const reader: Part = (party) => useReader({ ...party, isMarked: true }, 1);
const readerTwice: Part = (party) => useReader({ ...party, isMarked: true }, 2);
const writer: Part = (party) => useWriter({ ...party, isMarked: true }, false);
const quitter: Part = (party) => useWriter({ ...party, isMarked: true }, true);

function makeWorld(parts: readonly Part[]): World {
  const world = new World(wordCount);
  const plain = new PlainLock(world);
  for (const part of parts) world.add((id) => part({ world, plain, id }));
  return world;
}

const small: readonly [string, readonly Part[], Limits][] = [
  ["a mutex of two threads, one may die", [mutex, mutexTwice], { deathsMax: 1 }],
  ["a mutex of three threads", [mutex, mutex, mutex], { deathsMax: 0, switchesMax: 6 }],
  ["a reader and a writer, one may die", [reader, writer], { deathsMax: 1 }],
  /* Without the bound they come to a million and a half states, which take minutes. */
  ["two readers and a writer", [reader, reader, writer], { deathsMax: 0, switchesMax: 5 }],
  ["a reader and a writer that gives up", [readerTwice, quitter], { deathsMax: 0 }],
];

for (const [title, parts, limits] of small) {
  test(`in every order: ${title}`, (t) => {
    const states = runInEveryWay(() => makeWorld(parts), limits);
    t.diagnostic(`${states} states`);
    assert.ok(states > 100);
  });
}

/* What the scheduler chooses, and who takes part. */
const choices = fc.array(fc.nat({ max: 10_000 }), { maxLength: 250 });

test("at random: a mutex of several threads, of which some die", () => {
  const crowds = fc.array(fc.constantFrom(mutex, mutexTwice), { minLength: 2, maxLength: 5 });
  fc.assert(
    fc.property(crowds, choices, fc.nat({ max: 3 }), (parts, order, deathsMax) => {
      runAtRandom(makeWorld(parts), order, deathsMax);
    }),
    parameters(1500),
  );
});

test("at random: readers and writers, of which some die and some give up", () => {
  const readers = fc.array(fc.constantFrom(reader, readerTwice), { minLength: 1, maxLength: 3 });
  const writing = fc.constantFrom(writer, writer, quitter);
  const writers = fc.array(writing, { minLength: 1, maxLength: 3 });
  const crowds = fc.tuple(readers, writers).map((both) => both.flat());
  fc.assert(
    fc.property(crowds, choices, fc.nat({ max: 2 }), (parts, order, deathsMax) => {
      runAtRandom(makeWorld(parts), order, deathsMax);
    }),
    parameters(1500),
  );
});

/* A barrier, and how it should be. */
interface Arrivals {
  readonly words: Int32Array;
  readonly size: number;
  readonly waiting: number;
  readonly phase: number;
}

/* One move at a barrier, against what it should do. */
function moveAt(before: Arrivals, move: string): Arrivals {
  const { words, size, waiting, phase } = before;
  const isLast = waiting === size - 1;
  const next = (phase + 1) & 0xffff;
  if (move === "withdraw") {
    assert.equal(withdraw(words, 0, phase), true);
    assert.equal(withdraw(words, 0, next), false);
    return { ...before, waiting: Math.max(0, waiting - 1) };
  }
  if (move === "last") assert.equal(arriveLast(words, 0, size), isLast);
  else assert.deepEqual(arrive(words, 0, size), { phase, isLast });
  if (isLast) return { ...before, waiting: 0, phase: next };
  return move === "last" ? before : { ...before, waiting: waiting + 1 };
}

test("at random: arrivals and withdrawals at a barrier, against a count of who is there", () => {
  const moves = fc.array(fc.constantFrom("arrive", "last", "withdraw"));
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 6 }), fc.nat(0xffff), moves, (size, first, all) => {
      const words = new Int32Array([first << 16]);
      let arrivals: Arrivals = { words, size, waiting: 0, phase: first };
      for (const move of all) {
        arrivals = moveAt(arrivals, move);
        assert.equal(words[0], (arrivals.phase << 16) | arrivals.waiting);
      }
    }),
    parameters(500),
  );
});
