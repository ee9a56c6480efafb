// What the tests of locks share: places in shared memory, and words as somebody else leaves them.

import assert from "node:assert/strict";
import { type Mapping, mapAnonymous, pageSize } from "memmap";
import { thisThread } from "#dist/ipc/owner.js";
import { Place } from "#dist/ipc/place.js";
import type { Cleanup } from "../helpers/temp.js";

/** A page of shared memory, its bytes, and the words at its beginning. */
export interface Shared {
  readonly mapping: Mapping;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly words: Int32Array<ArrayBuffer>;
}

/** Maps it until the test ends. */
export function makeShared(t: Cleanup): Shared {
  const mapping = mapAnonymous(pageSize, { sharing: "shared" });
  t.after(() => {
    if (!mapping.closed) mapping.close();
  });
  return { mapping, bytes: mapping.bytes, words: new Int32Array(mapping.buffer) };
}

/** A place in it as structures have one. */
export function makePlace(t: Cleanup, byteLength = 1024): { place: Place } & Shared {
  const shared = makeShared(t);
  return { place: new Place(shared.bytes, { label: "thing", byteLength }), ...shared };
}

/** A thread that was of this process, as far as its number says, and has ended: a dead owner. */
export const dead = { id: thisThread().id, startTime: thisThread().startTime - 1 } as const;

/** A thread of this namespace that lives and is not this one. */
export const stranger = { id: 1, startTime: 0 } as const;

/** Takes the buffer of a mapping away from it, as a user may. */
export function transferAway(buffer: ArrayBuffer): void {
  /* Bun refuses to clone such a buffer; the older Node has no transfer(). */
  const transfer: unknown = Reflect.get(ArrayBuffer.prototype, "transfer");
  if (typeof transfer === "function") Reflect.apply(transfer, buffer, []);
  else structuredClone(buffer, { transfer: [buffer] });
  assert.equal(buffer.byteLength, 0);
}

/** A signal that takes no listeners, as a subclass or a patch of a user may be. */
export function brokenSignal(): AbortSignal {
  const { signal } = new AbortController();
  const addEventListener = (): void => {
    throw new Error("no listeners here");
  };
  Object.defineProperty(signal, "addEventListener", { value: addEventListener });
  return signal;
}

/** Lets the event loop turn until a condition holds. */
export async function until(condition: () => boolean): Promise<void> {
  for (let tries = 0; !condition(); tries += 1) {
    if (tries > 5000) throw new Error("it never came");
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}
