// A closed mapping, a pinned one, and arguments that close or resize the mapping while they are
// read: arguments first, then the state.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { Mapping, mapAnonymous, mapFileSync, pageSize } from "memmap";
import { callMethod, closed, fails, rejects, wrongType } from "../helpers/bad-calls.js";
import { runSource } from "../helpers/child.js";
import { type Cleanup, tempDir } from "../helpers/temp.js";

const byteLength = 4 * pageSize;

function makeFile(t: Cleanup): string {
  const path = join(tempDir(t), "data.bin");
  writeFileSync(path, Buffer.alloc(byteLength, 5));
  return path;
}

/** Every method, with arguments that an open mapping would take; promises apart. */
const methods: readonly (readonly [string, readonly unknown[]])[] = [
  ["read", [0, 1]],
  ["read", [0, 0]],
  ["readInto", [new Uint8Array(1), 0]],
  ["write", [0, new Uint8Array(1)]],
  ["write", [0, new Uint8Array(0)]],
  ["indexOf", ["a"]],
  ["lastIndexOf", ["a"]],
  ["resize", [0]],
  ["resize", [byteLength]],
  ["pin", []],
  ["share", []],
  ["remap", []],
  ["flushSync", []],
  ["loadSync", []],
  ["lockSync", []],
  ["unlock", []],
  ["evict", []],
  ["discard", []],
  ["protect", ["read"]],
  ["advise", ["random"]],
  ["residency", []],
];
const asyncMethods = ["flush", "load", "lock"];

test("every method of a closed mapping throws or rejects, but close and check", async (t) => {
  for (const mapping of [mapAnonymous(byteLength), mapFileSync(makeFile(t)), mapAnonymous(0)]) {
    mapping.close();
    for (const [name, args] of methods) {
      await fails(() => callMethod(mapping, name, args), { ...closed, message: /closed/ }, name);
    }
    for (const name of asyncMethods) {
      await rejects(() => callMethod(mapping, name, []), closed, name);
      await rejects(() => callMethod(mapping, name, [{ offset: 1 }]), closed, name);
    }
    mapping.close();
    mapping[Symbol.dispose]();
    mapping.check();
  }
});

test("the test above knows every method of the class", () => {
  const found = new Set<string>();
  for (let type: object | null = Mapping.prototype; type !== null; ) {
    if (type === Object.prototype) break;
    for (const name of Object.getOwnPropertyNames(type)) {
      const { value } = Object.getOwnPropertyDescriptor(type, name) ?? {};
      if (typeof value === "function") found.add(name);
    }
    type = Reflect.getPrototypeOf(type);
  }
  const known = new Set([...methods.map(([name]) => name), ...asyncMethods]);
  assert.deepEqual([...found].sort(), [...known, "check", "close", "constructor"].sort());
});

test("the properties of a closed mapping can be read", (t) => {
  const path = makeFile(t);
  const mapping = mapFileSync(path, { offset: 5, protection: "read-write" });
  const { address } = mapping;
  mapping.close();
  const { bytes, buffer, offset, protection, sharing, backing } = mapping;
  assert.deepEqual([bytes.length, buffer.byteLength, mapping.byteLength], [0, 0, 0]);
  assert.deepEqual([offset, protection, sharing, backing], [5, "read-write", "shared", "file"]);
  assert.deepEqual([mapping.path, mapping.closed, mapping.address], [path, true, address]);
  assert.equal(mapping.bytes, mapping.bytes);
});

test("a bad argument is told before the mapping is found to be closed", async () => {
  const mapping = mapAnonymous(10);
  mapping.close();
  await fails(() => callMethod(mapping, "read", ["0", 1]), wrongType);
  await fails(() => callMethod(mapping, "protect", [5]), wrongType);
  await rejects(() => callMethod(mapping, "flush", [5]), wrongType);
  await fails(() => callMethod(mapping, "resize", ["1"]), wrongType);
});

test("an argument that closes the mapping while it is read meets a closed mapping", async (t) => {
  const path = makeFile(t);
  const ranged = methods.filter(
    ([name]) => !["read", "readInto", "write", "resize", "pin", "share"].includes(name),
  );
  for (const open of [() => mapAnonymous(byteLength), () => mapFileSync(path)]) {
    for (const field of ["offset", "length"]) {
      for (const [name, args] of [...ranged, ...asyncMethods.map((name) => [name, []] as const)]) {
        const mapping = open();
        const trap = {
          get [field]() {
            mapping.close();
            return 1;
          },
        };
        await fails(() => callMethod(mapping, name, [...args, trap]), closed, name);
      }
    }
    for (const field of ["wait", "invalidate", "signal"]) {
      const mapping = open();
      const trap = {
        get [field]() {
          mapping.close();
          return undefined;
        },
      };
      await fails(() => callMethod(mapping, "flush", [trap]), closed, field);
    }
  }
});

test("an argument that shortens the mapping while it is read meets the new length", async () => {
  const ranged = methods.filter(
    ([name]) => !["read", "readInto", "write", "resize", "pin", "share"].includes(name),
  );
  const expected = { name: "RangeError", code: "ERR_OUT_OF_RANGE" };
  for (const [name, args] of [...ranged, ...asyncMethods.map((name) => [name, []] as const)]) {
    using mapping = mapAnonymous(byteLength);
    const trap = {
      offset: 0,
      get length() {
        mapping.resize(10);
        return 11;
      },
    };
    await fails(() => callMethod(mapping, name, [...args, trap]), expected, name);
    assert.equal(mapping.bytes.length, 10);
  }
});

/** An array that lies about its length, and does something when it is asked. */
class LyingArray extends Uint8Array {
  #ask: () => number = () => 0;

  static of10(ask: () => number): LyingArray {
    const array = new LyingArray(10);
    array.fill(0xee);
    array.#ask = ask;
    return array;
  }

  override get length(): number {
    return this.#ask();
  }
}

test("an array that lies about its length reads and writes nothing outside the range", () => {
  using mapping = mapAnonymous(byteLength);
  mapping.bytes.fill(1);
  mapping.resize(20);
  for (const call of [
    () =>
      mapping.write(
        15,
        LyingArray.of10(() => 1),
      ),
    () =>
      mapping.readInto(
        LyingArray.of10(() => 1),
        15,
      ),
  ]) {
    assert.throws(call, { name: "RangeError", code: "ERR_OUT_OF_RANGE" }, String(call));
  }
  assert.ok(mapping.bytes.every((byte) => byte === 1));
  mapping.write(
    3,
    LyingArray.of10(() => byteLength),
  );
  assert.deepEqual([...mapping.bytes.subarray(2, 14)], [1, ...new Array(10).fill(0xee), 1]);
});

test("an array that closes the mapping when it is asked its length meets a closed mapping", () => {
  for (const use of ["write", "readInto"] as const) {
    const mapping = mapAnonymous(byteLength);
    const trap = LyingArray.of10(() => {
      mapping.close();
      return 10;
    });
    const args = use === "write" ? [0, trap] : [trap, 0];
    try {
      callMethod(mapping, use, args);
    } catch (error) {
      assert.ok(error instanceof Error && "code" in error);
      assert.equal(error.code, "ERR_MEMMAP_CLOSED");
    }
  }
});

test("while a pin is held, close and resize are refused and change nothing", () => {
  const mapping = mapAnonymous(pageSize);
  const { bytes } = mapping;
  const pins = [mapping.pin(), mapping.pin()];
  const pinned = { name: "MemmapError", code: "ERR_MEMMAP_PINNED" };
  assert.throws(() => mapping.close(), { ...pinned, message: /2 pins/ });
  assert.throws(() => mapping.resize(1), pinned);
  assert.throws(() => mapping[Symbol.dispose](), pinned);
  assert.deepEqual(
    [mapping.closed, mapping.bytes === bytes, bytes.length],
    [false, true, pageSize],
  );
  pins[0]?.[Symbol.dispose]();
  pins[0]?.[Symbol.dispose]();
  assert.throws(() => mapping.close(), { ...pinned, message: /1 pin/ });
  pins[1]?.[Symbol.dispose]();
  mapping.resize(10);
  mapping.close();
  assert.equal(mapping.closed, true);
});

test("leaving a block closes what was declared with using, also by an error", () => {
  let kept: Mapping | undefined;
  assert.throws(() => {
    using mapping = mapAnonymous(10);
    kept = mapping;
    throw new Error("left");
  }, /left/);
  assert.equal(kept?.closed, true);
});

test("the class cannot be constructed, and its methods work on mappings alone", () => {
  const expected = { name: "TypeError", code: "ERR_ILLEGAL_CONSTRUCTOR" };
  assert.throws(() => Reflect.construct(Mapping, []), expected);
  assert.throws(() => Reflect.construct(Mapping, [{}, Symbol("memmap.construct")]), expected);
  for (const [name, args] of methods) {
    const method: unknown = Reflect.get(Mapping.prototype, name);
    assert.ok(typeof method === "function");
    for (const self of [undefined, {}, Object.create(Mapping.prototype)]) {
      assert.throws(() => Reflect.apply(method, self, args), { name: "TypeError" }, name);
    }
  }
});

/*
 * The child ends by a signal of its own: Node 24 and later end with a fatal error when they exit
 * while a buffer of any addon is marked so, whether or not its mapping was closed.
 */
test("closing under a buffer that was made untransferable does not end the process", async (t) => {
  const code = `
    import { writeSync } from "node:fs";
    import * as threads from "node:worker_threads";
    import { mapAnonymous } from "memmap";
    if (typeof threads.markAsUntransferable !== "function") writeSync(1, "no such mark");
    else for (const action of ["close", "resize"]) {
      const mapping = mapAnonymous(8192);
      mapping.bytes[0] = 7;
      const { bytes } = mapping;
      threads.markAsUntransferable(mapping.buffer);
      mapping[action](100);
      bytes[0] = 8;
      const kept = mapping.closed ? 7 : mapping.bytes[0];
      writeSync(1, kept === 7 && bytes.length in { 0: 1, 8192: 1 } ? "whole " : "broken ");
    }
    process.kill(process.pid, "SIGKILL");
    await new Promise(() => setInterval(() => {}, 1000));`;
  const { signal, stdout, stderr } = await runSource(code);
  if (stdout === "no such mark") return t.skip("the runtime has no markAsUntransferable()");
  assert.deepEqual([signal, stdout, stderr], ["SIGKILL", "whole whole ", ""]);
});
