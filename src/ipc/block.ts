/**
 * How everything in shared memory waits: a bounded spin, then the kernel's wait in slices. Between
 * two slices the task looks whether whoever it waits for is dead, and whether a wake was lost with
 * somebody who was killed before passing it on. So a second is the longest that either can cost.
 *
 *     try ... try     park: say that we sleep, try     sleep     look: as park, and who has died?
 *     |-- spin ---|                                   slice                                    ...
 */
import { setImmediate } from "node:timers";
import { memmapError } from "../errors.js";
import { asOptionalSignal, asOptions, asTimeout, asTimeoutSync } from "../validate.js";
import type { Place } from "./place.js";
import { type Keeper, waitKept, waitSync } from "./wait.js";

/** How long a synchronous call waits; a `signal` is refused, since none could end it. */
export interface BlockSyncOptions {
  /** Milliseconds, fractions too; by default without an end. 0 only tries. */
  readonly timeoutMs?: number | undefined;
}

/** How long an asynchronous call waits. */
export interface BlockOptions extends BlockSyncOptions {
  /** Ends the wait early. */
  readonly signal?: AbortSignal | undefined;
}

/** Where a task is on its way: see the picture above. */
export type Stage = "spin" | "park" | "look";

/** What something is called in messages. */
export interface Named {
  readonly place: Place;
  /** What cannot be done when the time is over: "lock". */
  readonly action: string;
}

/** Something that may have to wait. */
export interface Task<T> extends Named {
  /** Where to sleep, as the last try left it: a word, and the value that it has meanwhile. */
  index: number;
  value: number;
  /** Tries; undefined when it must wait. */
  attempt(stage: Stage): T | undefined;
  /** Called when the task ends without success: passes on what it was told, leaves what it has. */
  giveUp(): void;
  /** How often to try before a synchronous sleep. */
  readonly spins?: number | undefined;
  /** How often to let the event loop turn before an asynchronous one. */
  readonly turns?: number | undefined;
  /** How often to try in each of these turns; by default once. */
  readonly triesInTurn?: number | undefined;
  readonly keeper?: Keeper | undefined;
}

/** How often is tried before a synchronous sleep, where the task does not say it: microseconds. */
const spinsOfLock = 200;
/** The same before an asynchronous one, with a turn of the event loop between two tries. */
const turnsOfLock = 4;
/** The first sleep is short, so that the death of an owner is found soon; then they get longer. */
const slicesMs = [20, 100, 250] as const;

function sliceOf(count: number, rest: number): number {
  return Math.min(rest, slicesMs[Math.min(count, slicesMs.length - 1)] ?? 250);
}

const pauseOfEngine: unknown = Reflect.get(Atomics, "pause");

/** Tells the processor that this thread spins, where the engine can. */
export const relax: () => void =
  typeof pauseOfEngine === "function" ? () => Reflect.apply(pauseOfEngine, Atomics, []) : () => {};

/** The error of something that was not done in its time: what is left of a limit is rounded up. */
export function timedOut(task: Named, timeoutMs: number): Error {
  const what = `Cannot ${task.action} ${task.place.label}`;
  return memmapError("ERR_MEMMAP_TIMEOUT", `${what}: not within ${Math.ceil(timeoutMs)} ms`);
}

/* What the other side was told goes on to others; where the memory is gone there is nobody. */
function giveUp(task: Task<unknown>): void {
  if (!task.place.isClosed) task.giveUp();
}

/** Reads the options of a synchronous call. */
export function readTimeout(options: BlockSyncOptions | undefined): number {
  return asTimeoutSync(asOptions(options));
}

/** The options of an asynchronous call, read. */
export interface Limits {
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
  /** The time limit as the user gave it, when `timeoutMs` is what is left of it. */
  readonly givenMs?: number | undefined;
}

/** Reads the options of an asynchronous call. */
export function readLimits(options: BlockOptions | undefined): Limits {
  const given = asOptions(options);
  const timeoutMs = asTimeout(given.timeoutMs, "options.timeoutMs");
  const signal = asOptionalSignal(given.signal, "options.signal");
  return { timeoutMs, signal, givenMs: timeoutMs };
}

/** Waits on this thread until a task succeeds. */
export function blockSync<T>(task: Task<T>, timeoutMs: number): T {
  const spins = timeoutMs === 0 ? 0 : (task.spins ?? spinsOfLock);
  const end = performance.now() + timeoutMs;
  let stage: Stage = timeoutMs === 0 ? "look" : "park";
  try {
    for (let i = 0; i < spins; i += 1) {
      const value = task.attempt("spin");
      if (value !== undefined) return value;
      relax();
    }
    for (let slices = 0; ; slices += 1) {
      const value = task.attempt(stage);
      if (value !== undefined) return value;
      const rest = end - performance.now();
      if (rest <= 0) throw timedOut(task, timeoutMs);
      const slice = { timeoutMs: sliceOf(slices, rest) };
      const answer = waitSync(task.place.words, task.index, task.value, slice);
      stage = answer === "timed-out" ? "look" : "park";
    }
  } catch (error) {
    giveUp(task);
    throw error;
  }
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/* Lets the event loop turn a few times: what is waited for often comes soon. */
async function spin<T>(task: Task<T>, signal: AbortSignal | undefined): Promise<T | undefined> {
  for (let turns = task.turns ?? turnsOfLock; turns > 0; turns -= 1) {
    for (let tries = task.triesInTurn ?? 1; tries > 0; tries -= 1) {
      const value = task.attempt("spin");
      if (value !== undefined) return value;
    }
    await turn();
    signal?.throwIfAborted();
  }
  return task.attempt("spin");
}

/* A resize of the mapping ends the waits on its words, and the structure is at another address. */
function hasMoved(error: unknown, task: Task<unknown>): boolean {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return code === "ERR_MEMMAP_CLOSED" && !task.place.isClosed;
}

async function sleep(task: Task<unknown>, timeoutMs: number, limits: Limits): Promise<Stage> {
  const { words } = task.place;
  const options = { timeoutMs, signal: limits.signal };
  try {
    const answer = await waitKept(words, task.index, task.value, options, task.keeper);
    return answer === "timed-out" ? "look" : "park";
  } catch (error) {
    if (hasMoved(error, task)) return "park";
    throw error;
  }
}

/** Waits until a task succeeds, without blocking the event loop. */
export async function block<T>(task: Task<T>, limits: Limits): Promise<T> {
  const { timeoutMs, signal, givenMs = timeoutMs } = limits;
  signal?.throwIfAborted();
  const end = performance.now() + timeoutMs;
  let stage: Stage = timeoutMs === 0 ? "look" : "park";
  try {
    const soon = timeoutMs > 0 ? await spin(task, signal) : task.attempt("spin");
    if (soon !== undefined) return soon;
    for (let slices = 0; ; slices += 1) {
      const value = task.attempt(stage);
      if (value !== undefined) return value;
      const rest = end - performance.now();
      if (rest <= 0) throw timedOut(task, givenMs);
      stage = await sleep(task, sliceOf(slices, rest), limits);
    }
  } catch (error) {
    giveUp(task);
    throw error;
  }
}
