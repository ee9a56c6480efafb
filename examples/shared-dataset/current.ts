// Which version of shared data is the current one, and where it is: a control block of two slots,
// replaced atomically by one writer under the eyes of any number of readers.
//
//     word 0          the current version, from 1 on; 0: none yet. Readers wait on it
//     words 16-79     the handle of an even version, as JSON, filled up with spaces
//     words 80-143    the handle of an odd version
//
// The writer fills the slot that nobody reads, then stores the version: killed at any moment, it
// leaves the version before, whole. A reader copies the slot and looks at the version again: while
// it stands, the writer is busy with the other slot. All words go through Atomics, in one order.

import { notify, SharedMemory } from "memmap/ipc";

const slotWords = 64;

/** The length of a control block, which begins as zeros. */
export const controlBytes = 4 * (16 + 2 * slotWords);

function slotOf(control: Int32Array, version: number): Int32Array {
  const start = 16 + (version % 2) * slotWords;
  return control.subarray(start, start + slotWords);
}

/** Makes the memory the current version, and tells the readers. */
export function publish(control: Int32Array, memory: SharedMemory): number {
  const version = Atomics.load(control, 0) + 1;
  const text = JSON.stringify(memory.handle).padEnd(4 * slotWords);
  if (text.length > 4 * slotWords) throw new RangeError(`No room for the handle ${text}`);
  const words = new Int32Array(slotWords);
  new TextEncoder().encodeInto(text, new Uint8Array(words.buffer));
  const slot = slotOf(control, version);
  for (const [i, word] of words.entries()) Atomics.store(slot, i, word);
  Atomics.store(control, 0, version);
  notify(control, 0);
  return version;
}

/** Attaches to the current version. */
export function attachCurrent(control: Int32Array): { version: number; memory: SharedMemory } {
  for (;;) {
    const version = Atomics.load(control, 0);
    const slot = slotOf(control, version);
    const words = Int32Array.from(slot.keys(), (i) => Atomics.load(slot, i));
    if (Atomics.load(control, 0) !== version) continue; // Replaced while it was copied.
    try {
      const handle = JSON.parse(new TextDecoder().decode(words));
      return { version, memory: SharedMemory.attach(handle) };
    } catch (error) {
      // A version may end between the look at its handle and the attaching: only if it is replaced.
      if (Atomics.load(control, 0) === version) throw error;
    }
  }
}
