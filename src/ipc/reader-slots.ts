/**
 * Pure: the table of the readers that hold a lock, as it lies in shared memory: one slot for each
 * hold, so that a reader that dies is found and nobody loses count.
 *
 *     first                 first + 120
 *     +----+----+-- --+----+----+----+-- --+----+
 *     | id | id |     | id | st | st |     | st |     id: thread id, 0 for a free slot
 *     +----+----+-- --+----+----+----+-- --+----+     st: its start time (owner.ts)
 *
 * A slot is taken and freed in one atomic step, of its id. A start time that is not 0 was written
 * by the thread in its slot: it follows the id, and is cleared before it.
 */

/** How many readers hold a lock at the same time. */
export const slotCount = 120;

/** Takes a free slot, looking from `hint` on; undefined when there is none. */
export function takeSlot(words: Int32Array, first: number, reader: Reader): number | undefined {
  const { id, startTime, hint } = reader;
  for (let i = 0; i < slotCount; i += 1) {
    const slot = (hint + i) % slotCount;
    if (Atomics.compareExchange(words, first + slot, 0, id) !== 0) continue;
    words[first + slotCount + slot] = startTime;
    return slot;
  }
  return undefined;
}

/** Who takes a slot, and which one to try first. */
export interface Reader {
  readonly id: number;
  readonly startTime: number;
  readonly hint: number;
}

/** Frees the slot of a thread; false when it was not its own. */
export function freeSlot(words: Int32Array, first: number, { slot, id }: TakenSlot): boolean {
  words[first + slotCount + slot] = 0;
  return Atomics.compareExchange(words, first + slot, id, 0) === id;
}

/** A slot, and the thread in it. */
export interface TakenSlot {
  readonly slot: number;
  readonly id: number;
}

/** Whether no slot is taken. */
export function isEmpty(words: Int32Array, first: number): boolean {
  for (let slot = 0; slot < slotCount; slot += 1) {
    if (Atomics.load(words, first + slot) !== 0) return false;
  }
  return true;
}

/** Whether a thread has a slot. */
export function hasSlot(words: Int32Array, first: number, thread: Omit<Reader, "hint">): boolean {
  for (let slot = 0; slot < slotCount; slot += 1) {
    if (Atomics.load(words, first + slot) !== thread.id) continue;
    /* A thread that died may have had the id before. */
    const startTime = Atomics.load(words, first + slotCount + slot);
    if (startTime === 0 || startTime === thread.startTime) return true;
  }
  return false;
}
