/**
 * A lock for one writer or many readers, as it lies in shared memory, and the protocol by which
 * they keep each other out. The picture is in rw-lock.ts.
 *
 *     reader    take a slot, look at the lock word: free, and it has the lock; else free the slot
 *     writer    take the lock word, look at the slots: all free, and it has the lock; else wait
 *
 * Each writes first and then looks, so at least one of two that come together sees the other. A
 * reader gives way, and a writer waits while it keeps new readers out.
 *
 * A writer that has the lock word marks itself as inside when the slots are free, and takes the
 * mark back before it gives the word back. Killed without the mark it has changed nothing, and the
 * lock is what it was when the writer took the word.
 */
import { memmapError } from "../errors.js";
import { errnoOf, systemError } from "../failure.js";
import { Guard, type Holdable, type LockGuard } from "./guard.js";
import { isFree, isUnrepaired } from "./lock-word.js";
import { isRecordDead, OwnedWord, type Taken } from "./owned-word.js";
import { thisThread } from "./owner.js";
import type { Place } from "./place.js";
import { freeSlot, hasSlot, isEmpty, slotCount, takeSlot } from "./reader-slots.js";
import { Sleepers } from "./sleepers.js";

/** Where the words of the lock lie. */
export const at = {
  index: 0,
  namespaceIndex: 2,
  format: 3,
  entry: 4,
  room: 5,
  drain: 6,
  insideIndex: 7,
  slots: 8,
} as const;

/** The hold of the writer; those of readers are the numbers of their slots. */
const writing = -1;

/** The lock as its tasks and guards see it. */
export class RwState implements Holdable {
  readonly place: Place;
  readonly word: OwnedWord;
  /** Readers that wait until no writer is there. */
  readonly entry: Sleepers;
  /** Readers that wait for a slot. */
  readonly room: Sleepers;
  /** The writer that waits until all readers have left. */
  readonly drain: Sleepers;
  #hint: number;

  constructor(place: Place) {
    this.place = place;
    this.word = new OwnedWord(place, at);
    this.entry = new Sleepers(place, at.entry);
    this.room = new Sleepers(place, at.room);
    this.drain = new Sleepers(place, at.drain);
    /* Far apart, so that threads do not share the lines of the processor's cache. */
    this.#hint = (thisThread().id * 17) % slotCount;
  }

  /** Takes the lock for reading; whose leaving must be waited for otherwise. */
  tryEnter(): LockGuard | Sleepers {
    if (!isFree(this.#requireUsable())) return this.entry;
    const { id, startTime } = thisThread();
    const reader = { id, startTime, hint: this.#hint };
    const slot = takeSlot(this.place.words, at.slots, reader);
    if (slot === undefined) return this.room;
    this.#hint = slot;
    const word = this.word.value;
    if (isFree(word)) return this.#guard(slot, isUnrepaired(word));
    this.#leave(slot);
    this.word.requireUsable(word);
    return this.entry;
  }

  /** Takes the lock for writing if nobody has it. */
  tryWrite(): LockGuard | undefined {
    if (!isFree(this.#requireUsable()) || !this.isDrained) return undefined;
    const taken = this.word.attempt("spin");
    if (typeof taken !== "string") return undefined;
    if (this.isDrained) return this.guardOfWriter(taken);
    this.leaveUnwritten();
    return undefined;
  }

  /** Whether no reader holds the lock. */
  get isDrained(): boolean {
    return isEmpty(this.place.words, at.slots);
  }

  /** The guard of a writer that has the lock word, when all readers have left. */
  guardOfWriter(taken: Taken): LockGuard {
    Atomics.store(this.place.words, at.insideIndex, 1);
    return this.#guard(writing, taken === "unrepaired");
  }

  /** Gives the lock word back in the state in which it was taken. */
  leaveUnwritten(): void {
    this.word.release("keep");
    this.entry.wake();
  }

  /** Takes the lock away from a writer that has died, for readers. */
  dropDeadWriter(): void {
    const { value } = this.word;
    if (!isFree(value) && this.word.orphan(value)) this.entry.wake();
  }

  /** Frees the slots of readers that have died. */
  dropDeadReaders(): void {
    const { words } = this.place;
    const { namespaceIndex } = at;
    let dropped = 0;
    for (let slot = 0; slot < slotCount; slot += 1) {
      const record = { index: at.slots + slot, startIndex: at.slots + slotCount + slot };
      const id = Atomics.load(words, record.index);
      if (id === 0 || !isRecordDead(words, { ...record, namespaceIndex }, id)) continue;
      if (freeSlot(words, at.slots, { slot, id })) dropped += 1;
    }
    if (dropped > 0) this.#tellOfLeaving();
  }

  /** Throws when a write that waits on this thread would wait for the thread itself. */
  requireOtherForWriting(): void {
    this.word.requireNotOwn();
    if (hasSlot(this.place.words, at.slots, thisThread())) throw this.#deadlock();
  }

  /** The same of a read: a writer is in the way, and waits for this thread to stop reading. */
  requireOtherForReading(): void {
    this.word.requireNotOwn();
    if (!hasSlot(this.place.words, at.slots, thisThread())) return;
    this.dropDeadWriter();
    if (!isFree(this.word.value)) throw this.#deadlock();
  }

  repaired(hold: number): void {
    if (hold === writing) {
      this.word.repaired();
      return;
    }
    const what = `Cannot recover ${this.place.label}: it is held for reading`;
    throw memmapError("ERR_MEMMAP_READ_ONLY", what);
  }

  letGo(hold: number): void {
    try {
      if (hold === writing) this.#endWriting();
      else this.#leave(hold);
    } finally {
      this.place.unpin();
    }
  }

  #endWriting(): void {
    Atomics.store(this.place.words, at.insideIndex, 0);
    this.word.release();
    this.entry.wake();
  }

  #requireUsable(): number {
    const word = this.word.value;
    this.word.requireUsable(word);
    return word;
  }

  #guard(hold: number, ownerDied: boolean): LockGuard {
    this.place.pin();
    const guard = new Guard(this, hold, ownerDied);
    try {
      this.place.requireShared();
    } catch (error) {
      guard.release();
      throw error;
    }
    return guard;
  }

  #leave(slot: number): void {
    if (!freeSlot(this.place.words, at.slots, { slot, id: thisThread().id })) {
      this.place.requireShared();
      const reason = "somebody has written over it";
      throw memmapError("ERR_MEMMAP_CORRUPT", `Cannot release ${this.place.label}: ${reason}`);
    }
    this.#tellOfLeaving();
  }

  /* The last reader to leave wakes the writer: of two that leave together one sees no other. */
  #tellOfLeaving(): void {
    if (this.drain.areThere && this.isDrained) this.drain.wake();
    this.room.wake();
  }

  #deadlock(): Error {
    const what = `Cannot wait for ${this.place.label}, which this thread holds for reading`;
    return systemError(errnoOf("EDEADLK"), { syscall: "futex", what });
  }
}
