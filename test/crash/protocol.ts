// What the thread that mapped and the worker that touches say to each other.

import type { MappingHandle } from "memmap";
import type { Abuse } from "./matrix.js";
import type { SeenFault } from "./outcome.js";
import type { Outcome } from "./touch.js";

/** One cell as the worker gets it: memory in one of three forms. */
export interface Task {
  readonly way: string;
  readonly windowStart: number;
  readonly buffer: ArrayBuffer | undefined;
  readonly shared: SharedArrayBuffer | undefined;
  readonly handle: MappingHandle | undefined;
}

/** What the worker is started with. */
export interface Orders {
  readonly folder: string;
  readonly abuse: Abuse;
}

/** What the worker is told. */
export type Command =
  | { readonly kind: "prepare"; readonly tasks: readonly Task[] }
  | { readonly kind: "run"; readonly index: number }
  | { readonly kind: "exit" }
  | { readonly kind: "loop" };

/** What the worker answers. */
export type Answer =
  /** With the address of the first byte of each mapping that the worker has attached to. */
  | { readonly kind: "ready"; readonly addresses: readonly (bigint | undefined)[] }
  | {
      readonly kind: "done";
      readonly index: number;
      readonly outcome: Outcome;
      readonly faults: readonly SeenFault[];
    }
  /** The first round is over; the faults of each task that does not wait. */
  | { readonly kind: "looping"; readonly faults: readonly (readonly SeenFault[])[] };
