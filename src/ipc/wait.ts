/**
 * Wait and notify on the words of shared memory: futex(2), across processes and workers. Owns the
 * waits of this environment that have not settled.
 *
 *     waitSync   slices of the kernel's wait, on this thread
 *     wait       a waiter of the native side; its end comes through the event loop
 *     notify     one call
 *
 * A beat looks once a second whether the pages of waiting words are still there, since the kernel
 * tells nobody that they have gone; it also keeps the process alive while something waits.
 */
import { clearInterval, clearTimeout, setInterval, setTimeout } from "node:timers";
import { errnoName, errnoOf, systemError } from "../failure.js";
import { requireOriginal } from "../fault.js";
import { native } from "../native.js";
import { asInteger, asOptionalSignal, asOptions, asTimeout, asTimeoutSync } from "../validate.js";
import { asElement, asValue, failureOf, locate, type Word } from "./word.js";

/** How a wait ended. */
export type WaitResult = "ok" | "not-equal" | "timed-out";

/** How long {@link waitSync} waits. */
export interface WaitSyncOptions {
  /** Milliseconds, fractions too; by default without an end. 0 only looks. */
  readonly timeoutMs?: number | undefined;
}

/** How long {@link wait} waits. */
export interface WaitOptions extends WaitSyncOptions {
  /** Ends the wait early. */
  readonly signal?: AbortSignal | undefined;
}

/** What decides whether a wait keeps the process alive, also while it goes on. */
export interface Keeper {
  readonly keepsAlive: boolean;
}

/** The longest time that this thread spends in the kernel at once: then its end is looked for. */
const sliceMs = 100;
/** How often the pages of waiting words are looked at. */
const beatMs = 1000;
/** The longest time that a timer of the runtime takes. */
const timerMaxMs = 2 ** 31 - 1;
/** More waiters than there can be. */
const everyWaiter = 2 ** 31 - 1;

/**
 * Waits on this thread until somebody notifies a word, while it holds a value.
 *
 * Returns at once when the word holds another value. A wake may come without a reason, as with
 * every futex: look at the word, and wait again. The thread is in the kernel for at most 100 ms at
 * once, so that `worker.terminate()` and `process.exit()` take effect; a notify that comes between
 * two of these waits is noticed by the word that has changed, so change it before you notify.
 *
 * @param array Over a shared mapping: `new Int32Array(mapping.buffer)`.
 * @param index Of the word in the array.
 * @param value The value to wait on, of 32 bits.
 * @param options For how long; see {@link WaitSyncOptions}.
 * @returns "ok" when woken; "not-equal" when the word held another value; "timed-out".
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE` also for memory that is not a shared mapping.
 * @throws {RangeError} `ERR_OUT_OF_RANGE` also for a word whose address is no multiple of 4.
 * @throws {MemmapError} `ERR_MEMMAP_CLOSED`.
 * @throws {FaultError} When the file no longer has the page of the word.
 *
 * **Platform** Linux. Follows futex(2).
 *
 * @example
 * ```ts
 * import { SharedMemory, waitSync } from "memmap/ipc";
 *
 * using memory = SharedMemory.create({ byteLength: 4096 });
 * const words = new Int32Array(memory.map().buffer);
 * console.log(waitSync(words, 0, 1)); // "not-equal": the word is 0
 * console.log(waitSync(words, 0, 0, { timeoutMs: 5 })); // "timed-out": nobody notifies
 * ```
 */
export function waitSync(
  array: Int32Array,
  index: number,
  value: number,
  options?: WaitSyncOptions,
): WaitResult {
  const element = asElement(array, index);
  const expected = asValue(value);
  const timeoutMs = asTimeoutSync(asOptions(options));
  const word = locate(element, "wait on");
  const end = performance.now() + timeoutMs;
  let rest = timeoutMs;
  for (let slice = 0; ; slice += 1) {
    const answer = waitOnce(word, expected, Math.max(0, Math.min(sliceMs, rest)));
    /* What differs only later has changed while we waited. */
    if (answer === "not-equal" && slice > 0) return "ok";
    if (answer === "ok" || answer === "not-equal") return answer;
    rest = end - performance.now();
    if (answer === "timed-out" && rest <= 0) return "timed-out";
    requireOriginal(word.core, { offset: word.byteOffset, length: 4 }, "read");
  }
}

function waitOnce(word: Word, value: number, timeoutMs: number): WaitResult | "again" {
  const answer = native().futexWait(word.core.region, word.offset, value, timeoutMs);
  return resultOf(word, answer);
}

/* What the kernel answered, by its names. */
function resultOf(word: Word, answer: number): WaitResult | "again" {
  if (answer >= 0) return "ok";
  const name = errnoName(answer);
  if (name === "EAGAIN") return "not-equal";
  if (name === "ETIMEDOUT") return "timed-out";
  if (name === "EINTR") return "again";
  throw failureOf(word, answer, "wait on");
}

/**
 * Notifies waiters of a word, of every process and thread, synchronous and asynchronous ones alike.
 *
 * Change the word first: a waiter that comes between looks at the value.
 *
 * @param array Over a shared mapping.
 * @param index Of the word in the array.
 * @param count How many waiters at most, the longest waiting first; by default all.
 * @returns How many were woken.
 * @throws {TypeError} {RangeError} {MemmapError} {FaultError} As {@link waitSync}.
 *
 * **Platform** Linux. Follows futex(2).
 *
 * @example
 * ```ts
 * import { notify, SharedMemory, wait } from "memmap/ipc";
 *
 * using memory = SharedMemory.create({ byteLength: 4096 });
 * using mapping = memory.map();
 * const words = new Int32Array(mapping.buffer);
 * const woken = wait(words, 0, 0);
 * Atomics.store(words, 0, 1);
 * notify(words, 0);
 * console.log(await woken); // "ok", or "not-equal" when the value came first
 * ```
 */
export function notify(array: Int32Array, index: number, count?: number): number {
  const element = asElement(array, index);
  const most = count === undefined ? everyWaiter : asInteger(count, "count");
  const word = locate(element, "notify");
  const wanted = Math.min(most, everyWaiter);
  if (wanted === 0) return 0;
  const woken = native().futexWake(word.core.region, word.offset, wanted);
  if (woken >= 0) return woken;
  throw failureOf(word, woken, "notify");
}

/* ---- without blocking ---------------------------------------------------------------------- */

interface Waiter {
  readonly word: Word;
  readonly keeper: Keeper | undefined;
  readonly settle: (answer: number) => void;
  /** Why it was cancelled by us: its page has gone. */
  failure: Error | undefined;
}

const waiters = new Map<number, Waiter>();
let isListening = false;
let beat: ReturnType<typeof setInterval> | undefined;
/** Below this number none is free on the native side. */
let lowestFree = 0;

/**
 * As {@link waitSync}, without blocking the event loop and without a thread for each wait.
 *
 * Each notify wakes exactly as many waits as it counts. The process stays alive while one waits,
 * with or without a timeout. A wait that was woken in the moment of its timeout or abort resolves
 * with "ok", so no notify is lost to one that gives up; closing the mapping, and the end of a
 * worker, end its waits whatever comes.
 *
 * @param array Over a shared mapping.
 * @param index Of the word in the array.
 * @param value The value to wait on, of 32 bits.
 * @param options For how long, and a signal; see {@link WaitOptions}.
 * @returns "ok" when woken; "not-equal" when the word held another value; "timed-out". Rejects with
 *   `signal.reason` when aborted.
 * @throws {TypeError} {RangeError} {FaultError} As {@link waitSync}.
 * @throws {MemmapError} `ERR_MEMMAP_CLOSED`, also when the mapping is closed or resized meanwhile.
 * @throws {SystemError} `EAGAIN`, `ENOMEM` where there is no thread or memory for the wait.
 *
 * **Platform** Linux. Follows futex(2) and io_uring(7); before Linux 6.7, and where io_uring is
 * forbidden, each wait has a thread with a small stack.
 *
 * @example
 * ```ts
 * import { SharedMemory, wait } from "memmap/ipc";
 *
 * using memory = SharedMemory.create({ byteLength: 4096 });
 * using mapping = memory.map();
 * const words = new Int32Array(mapping.buffer);
 * console.log(await wait(words, 0, 0, { timeoutMs: 5 })); // "timed-out"
 * ```
 */
export function wait(
  array: Int32Array,
  index: number,
  value: number,
  options?: WaitOptions,
): Promise<WaitResult> {
  return waitKept(array, index, value, options);
}

/** As {@link wait}, for a structure that decides whether its waits keep the process alive. */
export async function waitKept(
  array: Int32Array,
  index: number,
  value: number,
  options?: WaitOptions,
  keeper?: Keeper,
): Promise<WaitResult> {
  const element = asElement(array, index);
  const expected = asValue(value);
  const given = asOptions(options);
  const timeoutMs = asTimeout(given.timeoutMs, "options.timeoutMs");
  const signal = asOptionalSignal(given.signal, "options.signal");
  signal?.throwIfAborted();
  const word = locate(element, "wait on");
  if (timeoutMs === 0) {
    const answer = waitOnce(word, expected, 0);
    return answer === "again" ? "timed-out" : answer;
  }
  listenToWaits();
  const { slot, ended } = begin(word, expected, keeper);
  let takeBack: (() => void) | undefined;
  try {
    /* What a signal of the user throws ends the wait, like everything below. */
    takeBack = startLimits(slot, timeoutMs, signal);
    const answer = await word.core.waits.wait(undefined, () => ended);
    if (errnoName(answer) === "ECANCELED") {
      signal?.throwIfAborted();
      return "timed-out";
    }
    const result = resultOf(word, answer);
    return result === "again" ? "ok" : result;
  } finally {
    takeBack?.();
    if (waiters.has(slot)) native().waitCancel(slot);
  }
}

interface Begun {
  readonly slot: number;
  /** What the kernel answered; the wait keeps its number until then. */
  readonly ended: Promise<number>;
}

function begin(word: Word, value: number, keeper: Keeper | undefined): Begun {
  const slot = native().waitStart(word.core.region, word.offset, value, lowestFree);
  if (slot < 0) {
    const what = `Cannot wait on byte ${word.byteOffset} of ${word.core.label}`;
    throw systemError(slot, { syscall: "pthread_create", what, path: word.core.path });
  }
  lowestFree = slot + 1;
  const ended = new Promise<number>((resolve, reject) => {
    const waiter: Waiter = { word, keeper, settle, failure: undefined };
    function settle(answer: number): void {
      const { failure } = waiter;
      if (failure !== undefined && errnoName(answer) === "ECANCELED") reject(failure);
      else resolve(answer);
    }
    waiters.set(slot, waiter);
  });
  beat ??= setInterval(lookAtPages, beatMs);
  updateKeeping();
  return { slot, ended };
}

/** Looks again which waits keep the process alive. */
export function updateKeeping(): void {
  for (const { keeper } of waiters.values()) {
    if (keeper?.keepsAlive === false) continue;
    beat?.ref();
    return;
  }
  beat?.unref();
}

function listenToWaits(): void {
  if (isListening) return;
  const result = native().onWaits(takeEnded);
  if (result < 0) throw systemError(result, { syscall: "futex", what: "Cannot wait" });
  isListening = true;
}

function takeEnded(): void {
  const ended = native().takeWaits() ?? [];
  for (let i = 0; i + 1 < ended.length; i += 2) {
    const [slot = 0, answer = 0] = ended.slice(i, i + 2);
    lowestFree = Math.min(lowestFree, slot);
    const waiter = waiters.get(slot);
    waiters.delete(slot);
    waiter?.settle(answer);
  }
  if (waiters.size > 0) {
    updateKeeping();
    return;
  }
  clearInterval(beat);
  beat = undefined;
}

/* Cancels a wait when its time is over or its signal aborts; returns what takes both back. */
function startLimits(slot: number, timeoutMs: number, signal: AbortSignal | undefined): () => void {
  const cancel = (): void => {
    if (waiters.has(slot)) native().waitCancel(slot);
  };
  const end = performance.now() + timeoutMs;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const arm = (): void => {
    const rest = end - performance.now();
    if (rest <= 0) cancel();
    else timer = setTimeout(arm, Math.min(Math.ceil(rest), timerMaxMs)).unref();
  };
  signal?.addEventListener("abort", cancel, { once: true });
  if (timeoutMs !== Number.POSITIVE_INFINITY) arm();
  return () => {
    clearTimeout(timer);
    signal?.removeEventListener("abort", cancel);
  };
}

/* Ends the waits whose pages the file no longer has: nobody could notify them. */
function lookAtPages(): void {
  const bytes = new Uint8Array(4);
  for (const [slot, waiter] of waiters) {
    if (waiter.failure !== undefined || waiter.word.core.closed) continue;
    waiter.failure = lost(waiter.word, bytes);
    if (waiter.failure !== undefined) native().waitCancel(slot);
  }
}

function lost(word: Word, bytes: Uint8Array): Error | undefined {
  const { core, byteOffset, offset } = word;
  try {
    requireOriginal(core, { offset: byteOffset, length: 4 }, "read");
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
  const copied = native().read(core.region, offset, bytes);
  if (copied === bytes.length) return undefined;
  return failureOf(word, errnoOf("EFAULT"), "wait on");
}
