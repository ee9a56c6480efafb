// What a child and its worker are told, as plain data.

import type { Abuse, Stage } from "../../test/crash/matrix.js";
import type { Window } from "../../test/crash/place.js";
import type { Wanted } from "./driver.js";
import type { DriverName } from "./drivers.js";

/** What a child is started with. */
export interface Orders {
  readonly driver: DriverName;
  /** Where npm has installed the library. */
  readonly installed: string;
  readonly stage: Stage;
  readonly abuse: Abuse;
  /** For the files of the mappings. */
  readonly folder: string;
  /** For all other files. */
  readonly work: string;
  /** The names of the ways to run. */
  readonly ways: readonly string[];
}

/** One cell as the worker gets it: memory in one of four forms. */
export interface Task extends Window {
  readonly way: string;
  readonly buffer: ArrayBuffer | undefined;
  readonly shared: SharedArrayBuffer | undefined;
  readonly handle: unknown;
  /** The file, where the touch leaves one. */
  readonly path: string | undefined;
  /** To be mapped by the worker itself. */
  readonly wanted: Wanted;
  /** Where the verdict goes, as its place in the list of verdicts, from 1. */
  readonly slot: SharedArrayBuffer;
}

/** What the worker is told, one after the other for each cell; each is answered by a word. */
export type Command =
  | { readonly kind: "prepare"; readonly task: Task }
  | { readonly kind: "run" }
  | { readonly kind: "exit" }
  | { readonly kind: "loop" };
