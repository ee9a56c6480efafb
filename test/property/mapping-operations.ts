// The operations of the property test of mappings: how each is drawn, done, and compared with the
// model in what it gives, or in how it is refused.

import assert from "node:assert/strict";
import fc from "fast-check";
import { FaultError, type Mapping } from "memmap";
import { place, type Value } from "./mapping-kinds.js";
import type { Faults, MappingModel } from "./mapping-model.js";

const protections = ["none", "read", "read-write"] as const;
const advices = ["normal", "random", "sequential", "will-need", "dont-fork", "dont-dump"] as const;

/** A range by its two ends; cut to what is mapped when it comes up, but for one in eight. */
const range = fc.record({ offset: place, length: place, isCut: fc.nat(7).map((n) => n > 0) });
const data = fc.record({ range, pattern: fc.uint8Array({ minLength: 1, maxLength: 40 }) });

export const operations = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant("write" as const), data }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("store" as const), data }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("look" as const), range }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("check" as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("remap" as const), range }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("read" as const), range }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("readInto" as const), range }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("search" as const), range, data }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("protect" as const),
      protection: fc.constantFrom(...protections),
      range,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("advise" as const),
      advice: fc.constantFrom(...advices),
      range,
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("discard" as const), range }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("evict" as const), range }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("flush" as const), range }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("load" as const), range }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("resize" as const), length: place }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom("pin" as const, "unpin" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("close while pinned" as const) }) },
);

export type Operation = Value<typeof operations>;
type Range = Value<typeof range>;
type Data = Value<typeof data>;

/** Bytes and where they go. */
interface Patch {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** A mapping, its model, and what a user would hold on to. */
export interface Subject {
  readonly mapping: Mapping;
  readonly model: MappingModel;
  readonly pins: Disposable[];
}

/** The bytes of an operation: its pattern, repeated over its range. */
function bytesOf({ range, pattern }: Data, model: MappingModel): Patch {
  const { offset, length } = cut(range, model);
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = pattern[i % pattern.length] ?? 0;
  return { offset, bytes };
}

/** The range as it is asked for now. */
function cut({ offset, length, isCut }: Range, { byteLength }: MappingModel): Range {
  if (!isCut) return { offset, length, isCut };
  const first = Math.min(offset, byteLength);
  return { offset: first, length: Math.min(length, byteLength - first), isCut };
}

/** Does an operation and checks what it gives, or with which code it is refused. */
export async function apply(given: Operation, subject: Subject): Promise<void> {
  const { mapping, model } = subject;
  const operation = "range" in given ? { ...given, range: cut(given.range, model) } : given;
  switch (operation.do) {
    case "write":
      return write(subject, bytesOf(operation.data, model));
    case "store":
      return store(subject, bytesOf(operation.data, model));
    case "look":
      return look(subject, operation.range);
    case "check":
      return check(subject);
    case "remap":
      return remap(subject, operation.range);
    case "read":
    case "readInto":
      return read(subject, operation);
    case "search":
      return search(subject, operation.range, operation.data.pattern.subarray(0, 3));
    case "protect":
      return protect(subject, operation);
    case "discard":
      return discard(subject, operation.range);
    case "advise":
      return onPages(subject, operation.range, () =>
        mapping.advise(operation.advice, operation.range),
      );
    case "evict":
      return evict(subject, operation.range);
    case "flush":
      return flush(subject, operation.range);
    case "load":
      return load(subject, operation.range);
    case "resize":
      return resize(subject, operation.length);
    case "pin":
      return outcome(model.closed ? "ERR_MEMMAP_CLOSED" : undefined, () => {
        subject.pins.push(mapping.pin());
        model.pins += 1;
      });
    case "unpin":
      if (subject.pins.length > 0) model.pins -= 1;
      return subject.pins.pop()?.[Symbol.dispose]();
    case "close while pinned":
      return model.pins > 0 ? outcome("ERR_MEMMAP_PINNED", () => mapping.close()) : undefined;
  }
}

/** Calls, and demands the error of that code, or none. */
function outcome(code: string | undefined, call: () => void): void {
  if (code === undefined) call();
  else
    assert.throws(
      call,
      (error) => error instanceof Error && "code" in error && error.code === code,
    );
}

/** An operation on pages that keeps the content and is refused only for its range. */
function onPages({ model }: Subject, { offset, length }: Range, call: () => void): void {
  outcome(model.refusal(offset, length), call);
}

/** The same, for what waits for storage. */
async function settle(
  { model }: Subject,
  { offset, length }: Range,
  call: () => Promise<void>,
): Promise<void> {
  const code = model.refusal(offset, length);
  if (code === undefined) await call();
  else await assert.rejects(call, { code });
}

function write(subject: Subject, { offset, bytes }: Patch): void {
  const { mapping, model } = subject;
  const extent = { offset, length: bytes.length };
  const call = (): void => mapping.write(offset, bytes);
  const refusal = model.refusal(offset, bytes.length);
  const isAllowed = refusal !== undefined || model.isWritable(extent);
  const bad = refusal === undefined && isAllowed ? model.firstRepaired(extent) : undefined;
  if (bad !== undefined) {
    assert.throws(call, faultAt(subject, bad, "write"));
    return;
  }
  outcome(isAllowed ? refusal : "ERR_MEMMAP_READ_ONLY", call);
  if (refusal === undefined && isAllowed) model.write(offset, bytes);
}

/** Stores byte by byte, also where it is forbidden. */
function store({ mapping, model }: Subject, { offset, bytes }: Patch): void {
  const room = model.closed ? 0 : Math.max(0, model.byteLength - offset);
  const view = mapping.bytes;
  for (const [i, byte] of bytes.subarray(0, room).entries()) {
    view[offset + i] = byte;
    model.touch(offset + i, byte);
  }
}

/** Looks byte by byte, also where it is forbidden, and then as a whole. */
function look({ mapping, model }: Subject, { offset, length }: Range): void {
  const end = model.closed ? 0 : Math.min(offset + length, model.byteLength);
  const view = mapping.bytes;
  const found = new Uint8Array(Math.max(0, end - offset));
  for (let i = offset; i < end; i++) {
    found[i - offset] = view[i] ?? 0xee;
    model.touch(i);
  }
  assertBytes(found, model.shown.subarray(offset, Math.max(offset, end)));
}

/** Nothing, or the oldest of the faults with their count; they are collected by that. */
function check({ mapping, model }: Subject): void {
  const faults = model.collect();
  const call = (): void => mapping.check();
  if (faults === undefined) call();
  else assert.throws(call, (error) => isFault(error, faults));
}

function remap({ mapping, model }: Subject, range: Range): void {
  const refusal = model.refusal(range.offset, range.length);
  outcome(refusal, () => mapping.remap(range));
  if (refusal === undefined) model.remap(range);
}

function evict(subject: Subject, range: Range): void {
  const { mapping, model } = subject;
  onPages(subject, range, () => mapping.evict(range));
  if (model.refusal(range.offset, range.length) === undefined) model.evict(range);
}

async function flush(subject: Subject, range: Range): Promise<void> {
  const { mapping, model } = subject;
  if (model.refusal(range.offset, range.length) === undefined) {
    const faults = model.collect();
    const call = (): void => mapping.flushSync(range);
    if (faults === undefined) call();
    else assert.throws(call, (error) => isFault(error, faults));
  }
  return settle(subject, range, () => mapping.flush(range));
}

function read(
  subject: Subject,
  { do: how, range: { offset, length } }: { do: "read" | "readInto"; range: Range },
): void {
  const { mapping, model } = subject;
  const target = new Uint8Array(length).fill(0xee);
  const call = (): void => {
    if (how === "read") target.set(mapping.read(offset, length));
    else mapping.readInto(target, offset);
  };
  const refusal = model.refusal(offset, length);
  if (refusal !== undefined) {
    outcome(refusal, call);
    return;
  }
  const expected = model.bytes.slice(offset, offset + length);
  const replaced = model.firstRepaired({ offset, length });
  const bad = model.firstUnreadable({ offset, length });
  if (replaced !== undefined) {
    assert.throws(call, faultAt(subject, replaced, "read"));
    expected.fill(0xee);
  } else if (bad === undefined) {
    call();
  } else {
    assert.throws(call, (error) => isFault(error, { byteOffset: bad, access: "read", count: 1 }));
    expected.fill(0xee, how === "read" ? 0 : bad - offset);
  }
  assertBytes(target, expected);
}

function isFault(error: unknown, expected: Faults): boolean {
  assert.ok(error instanceof FaultError, String(error));
  const { byteOffset, access, count } = error;
  assert.deepEqual({ byteOffset, access, count }, { ...expected });
  assert.equal(error.reason, "protected");
  return true;
}

/** The error of a repaired byte, which takes along what nobody had collected. */
function faultAt(
  { mapping, model }: Subject,
  byteOffset: number,
  access: "read" | "write",
): (error: unknown) => boolean {
  const count = Math.max(1, model.collect()?.count ?? 1);
  return (error) => {
    isFault(error, { byteOffset, access, count });
    return error instanceof FaultError && error.address === mapping.address + BigInt(byteOffset);
  };
}

function search({ mapping, model }: Subject, range: Range, pattern: Uint8Array): void {
  const { offset, length } = range;
  const refusal = model.refusal(offset, length);
  if (refusal !== undefined) {
    outcome(refusal, () => mapping.indexOf(pattern, range));
    outcome(refusal, () => mapping.lastIndexOf(pattern, range));
    return;
  }
  // Which bytes of a page a search touches, and in which order, is the runtime's.
  if (!model.isShown(range)) return;
  const part = Buffer.from(model.shown.slice(offset, offset + length));
  const place = (found: number): number => (found < 0 ? -1 : offset + found);
  assert.equal(mapping.indexOf(pattern, range), place(part.indexOf(pattern)));
  assert.equal(mapping.lastIndexOf(pattern, range), place(part.lastIndexOf(pattern)));
}

function protect(
  { mapping, model }: Subject,
  { protection, range }: { protection: (typeof protections)[number]; range: Range },
): void {
  const { backing, sharing, grow } = model.kind;
  const isReadOnlyFile = backing === "file" && sharing === "shared" && !grow;
  const forbids = isReadOnlyFile && model.kind.protection === "read";
  let refusal = model.refusal(range.offset, range.length);
  if (forbids && protection === "read-write" && range.length > 0) refusal ??= "EACCES";
  // Where the file forbids it, the kernel has changed the repaired pages before it comes to that.
  const isPart = refusal === "EACCES" && model.firstRepaired(range) !== undefined;
  if (isPart) return;
  outcome(refusal, () => mapping.protect(protection, range));
  if (refusal === undefined) model.protect(protection, range);
}

function discard(subject: Subject, range: Range): void {
  const { mapping, model } = subject;
  const refusal = model.refusal(range.offset, range.length);
  const { backing, sharing } = model.kind;
  const inner = model.inner(range);
  const isForAll = backing === "anonymous" && sharing === "shared" && inner.length > 0;
  const isAllowed = refusal !== undefined || !isForAll || model.isWritable(inner);
  const isWhole = refusal === undefined && isAllowed && isForAll;
  const bad = isWhole ? model.firstRepaired(range) : undefined;
  if (bad !== undefined) {
    assert.throws(() => mapping.discard(range), faultAt(subject, bad, "write"));
    return;
  }
  outcome(isAllowed ? refusal : "ERR_MEMMAP_READ_ONLY", () => {
    assert.equal(mapping.discard(range), inner.length);
    model.discard(inner);
  });
}

async function load(subject: Subject, range: Range): Promise<void> {
  const { mapping, model } = subject;
  const isRefused = model.refusal(range.offset, range.length) !== undefined;
  const replaced = isRefused ? undefined : model.firstRepaired(range);
  const bad = isRefused ? undefined : (replaced ?? model.firstUnreadable(range));
  if (bad === undefined) {
    onPages(subject, range, () => mapping.loadSync(range));
    return settle(subject, range, () => mapping.load(range));
  }
  const once = { byteOffset: bad, access: "read", count: 1 } as const;
  const first = replaced === undefined ? undefined : faultAt(subject, bad, "read");
  assert.throws(() => mapping.loadSync(range), first ?? ((error) => isFault(error, once)));
  await assert.rejects(mapping.load(range), (error) => isFault(error, once));
}

function resize({ mapping, model }: Subject, length: number): void {
  const refusal = model.resizeRefusal(length);
  const { bytes, address } = mapping;
  const isSame = refusal !== undefined || length === model.byteLength;
  outcome(refusal, () => mapping.resize(length));
  if (isSame) {
    assert.equal(mapping.bytes, bytes);
    assert.equal(mapping.address, address);
    return;
  }
  model.resize(length);
  assert.equal(bytes.length, 0, "the old view ended");
  assert.equal(mapping.bytes.length, length);
}

/** Closes for good; what was not collected can be asked for still. */
export function close({ mapping, model, pins }: Subject): void {
  const { bytes } = mapping;
  for (const pin of pins.splice(0)) pin[Symbol.dispose]();
  mapping.close();
  mapping.close();
  model.pins = 0;
  model.closed = true;
  model.byteLength = 0;
  assert.deepEqual([mapping.closed, bytes.length, mapping.bytes.length], [true, 0, 0]);
  check({ mapping, model, pins });
  mapping.check();
}

/** Compares without building a difference of thousands of lines. */
export function assertBytes(actual: Uint8Array, expected: Uint8Array): void {
  if (Buffer.compare(actual, expected) === 0) return;
  const at = actual.findIndex((byte, i) => byte !== expected[i]);
  const lengths = `${actual.length} and ${expected.length} bytes`;
  assert.fail(`byte ${at} is ${actual[at]} and not ${expected[at]} (${lengths})`);
}
