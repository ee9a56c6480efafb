// What the threads of the model do: the ways of owned-word.ts, rw-state.ts and the waiting tasks,
// one atomic operation at a time, with the pure functions that these are made of. A plain lock
// beside them says what they may do.

import assert from "node:assert/strict";
import * as lock from "#dist/ipc/lock-word.js";
import { freeSlot, takeSlot } from "#dist/ipc/reader-slots.js";
import { announce } from "#dist/ipc/sleepers.js";
import type { Program, Steps, World } from "./lock-threads.js";

/** The words of the model: the lock word, the marks of those who sleep and of the writer that is
 * inside, the slots of readers. */
export const at = { word: 0, entry: 1, drain: 2, inside: 3, slots: 4 } as const;
/** Of the table, as large as the real one. */
export const wordCount: number = at.slots + 240;
/** As many slots as there are readers: only these are scanned step by step. */
const slotsUsed = 3;

/** The lock as it should be: who is in it, and whether a writer has died inside. */
export class PlainLock {
  readonly #world: World;
  readonly #readers = new Set<number>();
  #writer = 0;
  #isBroken = false;

  constructor(world: World) {
    this.#world = world;
  }

  #forgetDead(): void {
    for (const id of this.#readers) if (this.#world.isDead(id)) this.#readers.delete(id);
    if (this.#writer === 0 || !this.#world.isDead(this.#writer)) return;
    this.#writer = 0;
    this.#isBroken = true;
  }

  /** Somebody comes in alone; a mutex tells also of an owner that was killed before that. */
  write(id: number, ownerDied: boolean, mayTellMore: boolean): void {
    this.#forgetDead();
    assert.equal(this.#writer, 0, "there is a writer");
    assert.equal(this.#readers.size, 0, "there are readers");
    if (!mayTellMore || this.#isBroken) assert.equal(ownerDied, this.#isBroken, "an owner died");
    this.#writer = id;
  }

  recover(): void {
    this.#isBroken = false;
  }

  endWrite(): void {
    this.#writer = 0;
  }

  read(id: number, ownerDied: boolean): void {
    this.#forgetDead();
    assert.equal(this.#writer, 0, "there is a writer");
    assert.equal(ownerDied, this.#isBroken, "a writer died");
    this.#readers.add(id);
  }

  endRead(id: number): void {
    this.#readers.delete(id);
  }
}

/** What a thread has, and whose lock it is. */
export interface Party {
  readonly world: World;
  readonly plain: PlainLock;
  readonly id: number;
  /** Whether the owner says when it is inside: a writer does, the owner of a mutex does not. */
  readonly isMarked: boolean;
}

/* Takes the lock word: OwnedWord.attempt() and its sleeps. Answers whether it is unrepaired. */
function* takeWord({ world, id, isMarked }: Party): Steps<boolean> {
  const { words } = world;
  let word = 0;
  let isTaken = false;
  yield () => {
    isTaken = lock.take(words, at.word, { word: 0, thread: id, others: false });
    return isTaken;
  };
  for (let isLooking = false; !isTaken; ) {
    yield () => {
      word = Atomics.load(words, at.word);
      return word;
    };
    if (lock.isFree(word)) {
      yield () => {
        isTaken = lock.take(words, at.word, { word, thread: id, others: true });
        return isTaken;
      };
    } else if (isLooking && world.isDead(lock.holderOf(word))) {
      let wasInside = true;
      yield () => {
        wasInside = !isMarked || Atomics.load(words, at.inside) !== 0;
        return wasInside;
      };
      yield () => {
        isTaken = lock.seize(words, at.word, { word, wasInside, thread: id });
        return isTaken;
      };
      if (isTaken) return wasInside || lock.isUnrepaired(word);
    } else {
      let value: number | undefined;
      yield () => {
        value = lock.announce(words, at.word, word);
        return value;
      };
      if (value !== undefined) isLooking = (yield { index: at.word, value }) === "timed-out";
    }
  }
  return lock.isUnrepaired(word);
}

/* Gives it back: OwnedWord.release(). */
function* giveWord({ world, id }: Party, ending: lock.Ending): Steps<void> {
  let wakes: lock.Released;
  yield () => {
    wakes = lock.giveBack(world.words, at.word, { thread: id, ending });
    return wakes;
  };
  assert.notEqual(wakes, undefined, "it was not the thread's own");
  if (wakes === "none") return;
  yield () => world.notify(at.word, wakes === "one" ? 1 : 99);
}

/* Wakes who sleeps: Sleepers.wake(). */
function* wakeSleepers({ world }: Party, index: number): Steps<void> {
  let mark = 0;
  yield () => {
    mark = Atomics.load(world.words, index);
    return mark;
  };
  if ((mark & 1) === 0) return;
  let isMine = false;
  yield () => {
    isMine = Atomics.compareExchange(world.words, index, mark, mark + 1) === mark;
    return isMine;
  };
  if (isMine) yield () => world.notify(index, 99);
}

/* What a writer does inside: it can be killed in the middle. */
function* change({ world, plain, id, isMarked }: Party, ownerDied: boolean): Steps<void> {
  if (isMarked) {
    yield () => {
      Atomics.store(world.words, at.inside, 1);
      plain.write(id, ownerDied, false);
    };
  } else {
    plain.write(id, ownerDied, true);
  }
  yield () => "inside";
  if (ownerDied) {
    yield () => {
      lock.markRepaired(world.words, at.word);
      plain.recover();
    };
  }
}

/** A thread that takes a mutex, so many times. */
export function* useMutex(party: Party, times: number): Program {
  for (let i = 0; i < times; i += 1) {
    yield* change(party, yield* takeWord(party));
    party.plain.endWrite();
    yield* giveWord(party, "abandon");
  }
}

/* Whether all slots are free, looked at one by one: RwState.isDrained. */
function* isDrained({ world }: Party): Steps<boolean> {
  for (let slot = 0; slot < slotsUsed; slot += 1) {
    let taken = 0;
    yield () => {
      taken = Atomics.load(world.words, at.slots + slot);
      return taken;
    };
    if (taken !== 0) return false;
  }
  return true;
}

/* Frees the slots of the dead: RwState.dropDeadReaders(). */
function* dropDeadReaders(party: Party): Steps<void> {
  const { words } = party.world;
  for (let slot = 0; slot < slotsUsed; slot += 1) {
    const id = Atomics.load(words, at.slots + slot);
    if (id === 0 || !party.world.isDead(id)) continue;
    yield () => freeSlot(words, at.slots, { slot, id });
    yield* tellOfLeaving(party);
  }
}

/* RwState.#tellOfLeaving(): the last one wakes the writer. */
function* tellOfLeaving(party: Party): Steps<void> {
  let mark = 0;
  yield () => {
    mark = Atomics.load(party.world.words, at.drain);
    return mark;
  };
  if ((mark & 1) === 1 && (yield* isDrained(party))) yield* wakeSleepers(party, at.drain);
}

/* Waits until the readers have left: Write.#drains(). */
function* drain(party: Party): Steps<void> {
  const { words } = party.world;
  for (let isLooking = false; ; ) {
    if (yield* isDrained(party)) return;
    if (isLooking) yield* dropDeadReaders(party);
    let value = 0;
    yield () => {
      value = announce(words, at.drain);
      return value;
    };
    if (yield* isDrained(party)) return;
    isLooking = (yield { index: at.drain, value }) === "timed-out";
  }
}

/** A thread that writes under the lock for readers and writers, or gives up before. */
export function* useWriter(party: Party, giveUp: boolean): Program {
  const ownerDied = yield* takeWord(party);
  if (!giveUp) {
    yield* drain(party);
    yield* change(party, ownerDied);
    yield () => {
      Atomics.store(party.world.words, at.inside, 0);
      party.plain.endWrite();
    };
  }
  yield* giveWord(party, giveUp ? "keep" : "abandon");
  yield* wakeSleepers(party, at.entry);
}

/* Tries to come in: RwState.tryEnter(). Answers the slot. */
function* tryEnter(party: Party): Steps<number | undefined> {
  const { world, plain, id } = party;
  const { words } = world;
  let word = 0;
  let slot: number | undefined;
  const look = () => {
    word = Atomics.load(words, at.word);
    return word;
  };
  yield look;
  if (!lock.isFree(word)) return undefined;
  yield () => {
    slot = takeSlot(words, at.slots, { id, startTime: 0, hint: 0 });
    return slot;
  };
  assert.ok(slot !== undefined && slot < slotsUsed);
  yield look;
  if (lock.isFree(word)) {
    plain.read(id, lock.isUnrepaired(word));
    return slot;
  }
  yield* leave(party, slot);
  return undefined;
}

function* leave(party: Party, slot: number): Steps<void> {
  const { world, id } = party;
  yield () => freeSlot(world.words, at.slots, { slot, id });
  yield* tellOfLeaving(party);
}

/* RwState.dropDeadWriter(). */
function* dropDeadWriter(party: Party): Steps<void> {
  const { world } = party;
  const word = Atomics.load(world.words, at.word);
  if (lock.isFree(word) || !world.isDead(lock.holderOf(word))) return;
  let isDropped = false;
  let wasInside = false;
  yield () => {
    wasInside = Atomics.load(world.words, at.inside) !== 0;
    return wasInside;
  };
  yield () => {
    isDropped = lock.orphan(world.words, at.word, { word, wasInside });
    return isDropped;
  };
  if (!isDropped) return;
  yield () => world.notify(at.word, 1);
  yield* wakeSleepers(party, at.entry);
}

/** A thread that reads under it, so many times: Read.attempt() and its sleeps. */
export function* useReader(party: Party, times: number): Program {
  const { world, plain, id } = party;
  for (let i = 0; i < times; i += 1) {
    let slot = yield* tryEnter(party);
    while (slot === undefined) {
      let value = 0;
      yield () => {
        value = announce(world.words, at.entry);
        return value;
      };
      slot = yield* tryEnter(party);
      if (slot !== undefined) break;
      if ((yield { index: at.entry, value }) === "timed-out") yield* dropDeadWriter(party);
      slot = yield* tryEnter(party);
    }
    yield () => "inside";
    plain.endRead(id);
    yield* leave(party, slot);
  }
}
