// A mapping against its model (mapping-model.ts) under random sequences of operations, for all
// four kinds, on the ordinary file system and on tmpfs. Each operation is compared in what it
// gives or in how it is refused; at the end the bytes, the file as `fs` reads it, and the
// kernel's own idea of each page's protection.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import fc from "fast-check";
import { FaultError, type Mapping, pageSize } from "memmap";
import { permissionsAt } from "../helpers/proc-self.js";
import { needs, tempDir } from "../helpers/temp.js";
import { byteMax, kindOf, mapKind, place, start, type Value, variants } from "./mapping-kinds.js";
import { MappingModel } from "./mapping-model.js";
import { parameters } from "./support.js";

// ==== Operations ===============================================================================

const protections = ["none", "read", "read-write"] as const;
const advices = ["normal", "random", "sequential", "will-need", "dont-fork", "dont-dump"] as const;

/** A range by its two ends; cut to what is mapped when it comes up, but for one in eight. */
const range = fc.record({ offset: place, length: place, isCut: fc.nat(7).map((n) => n > 0) });
const data = fc.record({ range, pattern: fc.uint8Array({ minLength: 1, maxLength: 40 }) });

const operations = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant("write" as const), data }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("store" as const), data }) },
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

type Operation = Value<typeof operations>;
type Range = Value<typeof range>;
type Data = Value<typeof data>;

/** Bytes and where they go. */
interface Patch {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** A mapping, its model, and what a user would hold on to. */
interface Subject {
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
async function apply(given: Operation, subject: Subject): Promise<void> {
  const { mapping, model } = subject;
  const operation = "range" in given ? { ...given, range: cut(given.range, model) } : given;
  switch (operation.do) {
    case "write":
      return write(subject, bytesOf(operation.data, model));
    case "store":
      return store(subject, bytesOf(operation.data, model));
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
      return onPages(subject, operation.range, () => mapping.evict(operation.range));
    case "flush":
      onPages(subject, operation.range, () => mapping.flushSync(operation.range));
      return settle(subject, operation.range, () => mapping.flush(operation.range));
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
  const refusal = model.refusal(offset, bytes.length);
  const isAllowed = refusal !== undefined || model.isWritable(extent);
  outcome(isAllowed ? refusal : "ERR_MEMMAP_READ_ONLY", () => mapping.write(offset, bytes));
  if (refusal === undefined && isAllowed) model.write(offset, bytes);
}

/** Only where the model knows that the pages can be written: another store would be a signal. */
function store(subject: Subject, { offset, bytes }: Patch): void {
  const { mapping, model } = subject;
  const room = model.closed ? 0 : Math.max(0, model.byteLength - offset);
  const part = bytes.subarray(0, room);
  if (!model.isWritable({ offset, length: part.length })) return;
  for (const [i, byte] of part.entries()) mapping.bytes[offset + i] = byte;
  if (part.length > 0) model.write(offset, part);
}

function read(
  { mapping, model }: Subject,
  { do: how, range: { offset, length } }: { do: "read" | "readInto"; range: Range },
): void {
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
  const bad = model.firstUnreadable({ offset, length });
  const expected = model.bytes.slice(offset, offset + length);
  if (bad === undefined) {
    call();
  } else {
    assert.throws(call, (error) => isFault(error, mapping, bad));
    expected.fill(0xee, how === "read" ? 0 : bad - offset);
  }
  assertBytes(target, expected);
}

function isFault(error: unknown, mapping: Mapping, byteOffset: number): boolean {
  assert.ok(error instanceof FaultError, String(error));
  assert.deepEqual([error.byteOffset, error.access], [byteOffset, "read"]);
  assert.deepEqual([error.reason, error.count], ["protected", 1]);
  assert.equal(error.address, mapping.address + BigInt(byteOffset));
  return true;
}

function search({ mapping, model }: Subject, range: Range, pattern: Uint8Array): void {
  const { offset, length } = range;
  const refusal = model.refusal(offset, length);
  if (refusal !== undefined) {
    outcome(refusal, () => mapping.indexOf(pattern, range));
    outcome(refusal, () => mapping.lastIndexOf(pattern, range));
    return;
  }
  // Where a page cannot be read, a search would be a signal.
  if (model.firstUnreadable(range) !== undefined) return;
  const part = Buffer.from(model.bytes.slice(offset, offset + length));
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
  outcome(refusal, () => mapping.protect(protection, range));
  if (refusal === undefined) model.protect(protection, range);
}

function discard({ mapping, model }: Subject, range: Range): void {
  const refusal = model.refusal(range.offset, range.length);
  const { backing, sharing } = model.kind;
  const inner = model.inner(range);
  const needsWrite = backing === "anonymous" && sharing === "shared";
  const isAllowed = refusal !== undefined || !needsWrite || model.isWritable(inner);
  outcome(isAllowed ? refusal : "ERR_MEMMAP_READ_ONLY", () => {
    assert.equal(mapping.discard(range), inner.length);
    model.discard(inner);
  });
}

async function load(subject: Subject, range: Range): Promise<void> {
  const { mapping, model } = subject;
  const bad =
    model.refusal(range.offset, range.length) === undefined
      ? model.firstUnreadable(range)
      : undefined;
  if (bad === undefined) {
    onPages(subject, range, () => mapping.loadSync(range));
    return settle(subject, range, () => mapping.load(range));
  }
  assert.throws(
    () => mapping.loadSync(range),
    (error) => isFault(error, mapping, bad),
  );
  await assert.rejects(mapping.load(range), (error) => isFault(error, mapping, bad));
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

function close({ mapping, model, pins }: Subject): void {
  const { bytes } = mapping;
  for (const pin of pins.splice(0)) pin[Symbol.dispose]();
  mapping.close();
  mapping.close();
  model.pins = 0;
  model.closed = true;
  model.byteLength = 0;
  assert.deepEqual([mapping.closed, bytes.length, mapping.bytes.length], [true, 0, 0]);
}

// ==== Runs =====================================================================================

/** Compares without building a difference of thousands of lines. */
function assertBytes(actual: Uint8Array, expected: Uint8Array): void {
  if (Buffer.compare(actual, expected) === 0) return;
  const at = actual.findIndex((byte, i) => byte !== expected[i]);
  const lengths = `${actual.length} and ${expected.length} bytes`;
  assert.fail(`byte ${at} is ${actual[at]} and not ${expected[at]} (${lengths})`);
}

/** The whole content and the kernel's protections, whatever was done before. */
function assertAll({ mapping, model }: Subject): void {
  const start = Number(mapping.address % BigInt(pageSize));
  for (const [page, protection] of model.protections.entries()) {
    const letters = permissionsAt(mapping.address - BigInt(start) + BigInt(page * pageSize));
    const expected = { none: "--", read: "r-", "read-write": "rw" }[String(protection)];
    assert.equal(letters.slice(0, 2), expected, `page ${page}`);
  }
  assert.equal(mapping.byteLength, model.byteLength);
  assert.equal(
    mapping.protection,
    new Set(model.protections).size > 1 ? "mixed" : model.protections[0],
  );
  mapping.protect("read");
  assertBytes(mapping.read(0, model.byteLength), model.bytes);
  assertBytes(mapping.bytes, model.bytes);
}

/** Every run begins with bytes that differ from what a fresh page holds, where it may write. */
const first: Operation = {
  do: "write",
  data: {
    range: { offset: 0, length: byteMax, isCut: true },
    pattern: Uint8Array.of(1, 2, 3, 4, 5, 6, 7),
  },
};

for (const variant of variants) {
  const { base } = variant;
  const skip = base === undefined ? {} : needs({ fileSystem: "tmpfs", at: base });
  test(`${variant.name} behaves as its model under random operations`, skip, async (t) => {
    const path = join(base === undefined ? tempDir(t) : tempDir(t, base), "file");
    const steps = fc.array(operations, { maxLength: 40, size: "max" });
    const late = fc.array(operations, { maxLength: 5, size: "max" });
    const property = fc.asyncProperty(start, steps, late, async (numbers, before, after) => {
      const kind = kindOf(variant, numbers);
      const mapping = mapKind(kind, path);
      const subject: Subject = { mapping, model: new MappingModel(kind), pins: [] };
      try {
        await apply(first, subject);
        for (const operation of before) await apply(operation, subject);
        assertAll(subject);
      } finally {
        close(subject);
      }
      for (const operation of after) await apply(operation, subject);
      if (kind.backing === "file") assertBytes(readFileSync(path), subject.model.file);
      if (kind.sharing === "private") assertBytes(subject.model.file, kind.file);
    });
    await fc.assert(property, parameters(300));
  });
}
