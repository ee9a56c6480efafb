/**
 * Tells of faults that nobody collects. Owns the list of this environment's mappings that may still
 * fault: the open ones, and closed ones with a buffer out of reach.
 *
 * The guard calls back on the event loop after a repair. A fault that no method has collected by
 * the next turn goes to `onfault`, or else is thrown where only `process.on("uncaughtException")`
 * can see it. What is left when the environment ends is told then. Nothing here keeps a mapping or
 * the event loop alive; a view keeps its mapping, so that its faults have somebody to go to.
 */
import { isMainThread } from "node:worker_threads";
import type { MappingCore } from "./core.js";
import type { FaultError } from "./errors.js";
import { systemError } from "./failure.js";
import { collectFault, hasFault, takeOrphan } from "./fault.js";
import { native } from "./native.js";

const watched = new Set<WeakRef<MappingCore>>();
const references = new WeakMap<MappingCore, WeakRef<MappingCore>>();
const owners = new WeakMap<ArrayBufferLike, MappingCore>();
const emptied = new WeakSet<ArrayBufferLike>();
const waiting = new Set<MappingCore>();
const forgotten = new FinalizationRegistry<WeakRef<MappingCore>>((reference) => {
  watched.delete(reference);
});

/* Tells one mapping's faults, unless somebody has collected them meanwhile. */
function tell(core: MappingCore): void {
  waiting.delete(core);
  if (core.collecting > 0) return;
  const fault = collectFault(core);
  if (fault === undefined) return;
  const { onfault } = core;
  if (onfault === null) throw fault;
  onfault(fault);
}

/** Tells at the next turn, so that the code that made the fault may collect it first. */
export function tellSoon(core: MappingCore): void {
  if (core.faults === "collect" || core.collecting > 0 || waiting.has(core)) return;
  if (!hasFault(core)) return;
  waiting.add(core);
  setImmediate(tell, core);
}

function lookAt(moment: "fault" | "end"): void {
  for (const reference of watched) {
    const core = reference.deref();
    if (core !== undefined) tellSoon(core);
  }
  for (const orphan of orphans(moment === "end")) setImmediate(tellOrphan, orphan);
}

function look(): void {
  lookAt("fault");
}

/* Nothing is under way any more: what is left of this environment's ranges has no mapping, though
   the collector may not have told yet. */
function lookBeforeExit(): void {
  lookAt("end");
}

/* The faults of ranges whose mapping objects are gone. */
function* orphans(atTheEnd: boolean): Generator<FaultError> {
  for (;;) {
    const fault = takeOrphan(atTheEnd);
    if (fault === undefined) return;
    yield fault;
  }
}

function tellOrphan(fault: FaultError): void {
  throw fault;
}

const isWorkerOfDeno = process.versions["deno"] !== undefined && !isMainThread;

function uncaughtListeners(): NodeJS.UncaughtExceptionListener[] {
  return process.listeners("uncaughtException");
}

/* Deno loses what an exit listener throws in a worker, which has no other last moment. */
function losesThrown(): boolean {
  return isWorkerOfDeno && uncaughtListeners().length === 0;
}

/* Whether faults stay with the guard, which gives them to the others when the environment ends. */
function isLeft(core: MappingCore): boolean {
  return losesThrown() && core.onfault === null && core.uncollected === undefined;
}

/* Gives what is left to `onfault`; returns what nobody wants to hear, and what listeners threw. */
function collectAll(): unknown[] {
  const untold: unknown[] = [];
  for (const reference of watched) {
    const core = reference.deref();
    if (core?.faults !== "throw" || isLeft(core)) continue;
    const fault = collectFault(core);
    if (fault === undefined) continue;
    try {
      const { onfault } = core;
      if (onfault === null) untold.push(fault);
      else onfault(fault);
    } catch (error) {
      untold.push(error);
    }
  }
  return losesThrown() ? untold : [...untold, ...orphans(true)];
}

/*
 * What nobody has collected when the environment ends goes to whoever listens: what is thrown from
 * here is thrown out of process.exit(), which an error that somebody hears would then undo. Where
 * nobody listens, several faults cannot all be thrown: each but the last is printed. An explicit
 * exit code does not give way to an error, so it is set.
 */
function lookAtTheEnd(): void {
  const untold = collectAll().map((error) =>
    error instanceof Error ? error : new Error(String(error)),
  );
  const listeners = uncaughtListeners();
  for (const error of listeners.length > 0 ? untold : []) {
    for (const listener of listeners) listener(error, "uncaughtException");
  }
  const last = untold.pop();
  if (last === undefined || listeners.length > 0) return;
  process.exitCode = 1;
  for (const error of untold) process.stderr.write(`${error.stack}\n`);
  throw last;
}

/* Marks the listeners of every copy of memmap in the process: they do not go behind one another. */
const mark = Symbol.for("memmap.exit");
Object.defineProperty(lookAtTheEnd, mark, { value: true });

function isMarked(listener: unknown): boolean {
  return typeof listener === "function" && mark in listener;
}

/* What other listeners do at the end is looked at as well: ours goes behind each new one. */
function standLast(): void {
  process.removeListener("exit", lookAtTheEnd);
  process.on("exit", lookAtTheEnd);
}

/* Some runtimes put other handlers in our place when a program listens to the signals. */
function guardAgain(event: string | symbol, listener: unknown): void {
  if (event === "exit" && !isMarked(listener)) queueMicrotask(standLast);
  if (event === "SIGBUS" || event === "SIGSEGV") queueMicrotask(() => native().assertGuard());
}

let listening = false;

/** Hears of faults from now on, also of those that no mapping object is there for. */
export function listen(): void {
  if (listening) return;
  const result = native().onFaults(look);
  if (result < 0) {
    throw systemError(result, { syscall: "sigaction", what: "Cannot guard mappings" });
  }
  process.on("newListener", guardAgain);
  process.on("removeListener", guardAgain);
  /* What an exit listener throws is lost in a worker of Bun that ends by itself. */
  process.on("beforeExit", lookBeforeExit);
  process.on("exit", lookAtTheEnd);
  listening = true;
}

/**
 * Watches a mapping from its first view on; the buffer keeps it for as long as it can be touched.
 */
export function watch(core: MappingCore, buffer: ArrayBufferLike): void {
  owners.set(buffer, core);
  if (references.has(core)) return;
  listen();
  const reference = new WeakRef(core);
  references.set(core, reference);
  watched.add(reference);
  forgotten.register(core, reference, core);
}

/** A buffer without memory keeps no mapping; some runtimes keep such buffers for long. */
export function release(buffer: ArrayBufferLike): void {
  owners.delete(buffer);
  emptied.add(buffer);
}

/** The mapping whose memory a buffer holds, or held; "emptied" for one that holds none any more. */
export function ownerOf(buffer: ArrayBufferLike): MappingCore | "emptied" | undefined {
  return owners.get(buffer) ?? (emptied.has(buffer) ? "emptied" : undefined);
}

/**
 * Tells what a mapping leaves when it is closed; watches it no longer when no buffer can reach it.
 */
export function closed(core: MappingCore): void {
  const reference = references.get(core);
  if (reference === undefined) return;
  tellSoon(core);
  if (core.escaped.length > 0) return;
  watched.delete(reference);
  forgotten.unregister(core);
}
