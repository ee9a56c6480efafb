// A worker of shared-dataset.ts: answers questions from the current version of the table. Each is
// answered from the version on which it began; a version is unmapped after its last answer.

import type { Mapping } from "memmap";
import { SharedMemory, type SharedMemoryHandle, wait } from "memmap/ipc";
import { attachCurrent } from "./current.js";
import { build, type Question, requireWhole, sumOf } from "./table.js";

/** Where the control block is; without one, the worker makes a table of its own. */
export type Plan = { readonly byteLength: number; readonly control?: SharedMemoryHandle };

/** A worker has read all of a version, has begun a slow answer from it, or has unmapped it. */
export type State = { readonly kind: "ready" | "begun" | "closed"; readonly version: number };
export type Answer = {
  readonly version: number;
  readonly question: Question;
  readonly sum: number;
};

interface Version {
  readonly version: number;
  readonly mapping: Mapping | undefined;
  readonly words: Int32Array;
  /** The questions that are being answered from it. */
  readonly open: Set<Promise<void>>;
}

function tell(message: State | Answer): void {
  process.send?.(message);
}

/** Answers until the primary disconnects. */
export async function work({ byteLength, control: handle }: Plan): Promise<void> {
  process.on("disconnect", () => process.exit());
  using block = handle && SharedMemory.attach(handle).map(); // Bun's Atomics.load is a store, too.
  const control = new Int32Array(block?.buffer ?? new ArrayBuffer(8));
  let current = block ? attach(control) : alone(byteLength);
  process.on("message", (question: Question) => {
    const { open } = current;
    const answered = answer(current, question, control).finally(() => open.delete(answered));
    open.add(answered);
  });
  tell({ kind: "ready", version: current.version });
  while (block) {
    const old = current;
    while (Atomics.load(control, 0) === old.version) await wait(control, 0, old.version);
    current = attach(control);
    tell({ kind: "ready", version: current.version });
    await Promise.all(old.open);
    old.mapping?.close();
    tell({ kind: "closed", version: old.version });
  }
}

function attach(control: Int32Array): Version {
  const { version, memory } = attachCurrent(control);
  const mapping = memory.map({ protection: "read" });
  memory.close(); // The mapping holds the memory by itself.
  const words = new Int32Array(mapping.buffer);
  requireWhole(words, version);
  return { version, mapping, words, open: new Set() };
}

function alone(byteLength: number): Version {
  const words = new Int32Array(byteLength / 4);
  build(words, 1);
  requireWhole(words, 1);
  return { version: 1, mapping: undefined, words, open: new Set() };
}

async function answer(from: Version, question: Question, control: Int32Array): Promise<void> {
  const middle = (question.from + question.to) >>> 1;
  const lower = sumOf(from.words, question.from, middle);
  if (question.isSlow) tell({ kind: "begun", version: from.version });
  while (question.isSlow && Atomics.load(control, 1) === 0) await wait(control, 1, 0);
  const sum = (lower + sumOf(from.words, middle, question.to)) | 0;
  tell({ version: from.version, question, sum });
}
