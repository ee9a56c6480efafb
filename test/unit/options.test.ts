// src/options.ts: defaults, contradictions, and each field read exactly once.

import assert from "node:assert/strict";
import test from "node:test";
import { type MapFileOptions, type MapOptions, pageSize } from "memmap";
import { MemmapError } from "#dist/errors.js";
import { byteMax, viewMax } from "#dist/limits.js";
import { native } from "#dist/native.js";
import { readAnonymous, readFileOptions, requireViewable } from "#dist/options.js";
import { hasCode } from "./support.js";

const wrongType = hasCode(TypeError, "ERR_INVALID_ARG_TYPE");
const wrongValue = hasCode(TypeError, "ERR_INVALID_ARG_VALUE");
const outOfRange = hasCode(RangeError, "ERR_OUT_OF_RANGE");

/** Reads options whose types are wrong on purpose. */
function readLoosely(options: object): unknown {
  return Reflect.apply(readFileOptions, undefined, [options, "path"]);
}

test("readAnonymous() gives private memory that can be written", () => {
  const { byteLength, plan } = readAnonymous(10, undefined);
  assert.equal(byteLength, 10);
  assert.deepEqual(plan, {
    protection: "read-write",
    sharing: "private",
    prot: 3,
    flags: 0,
    hint: 0n,
    hugePageSize: 0,
    transparent: false,
    droppable: false,
    faults: "throw",
    waits: false,
    name: undefined,
  });
});

test("readFileOptions() gives the whole file, shared and for reading", () => {
  const plan = readFileOptions(undefined, "path");
  const { protection, sharing, offset, length, create, exclusive, mode, grow, synchronous } = plan;
  assert.deepEqual([protection, sharing, plan.prot, plan.flags], ["read", "shared", 1, 0]);
  assert.deepEqual([offset, length, mode], [0, undefined, 0o666]);
  assert.deepEqual([create, exclusive, grow, synchronous], [false, false, false, false]);
});

test("an option that is undefined is an option that is left out", () => {
  const none: MapFileOptions = {
    protection: undefined,
    sharing: undefined,
    faults: undefined,
    populate: undefined,
    lock: undefined,
    reserve: undefined,
    hugePages: undefined,
    at: undefined,
    stack: undefined,
    growsDown: undefined,
    low32: undefined,
    droppable: undefined,
    name: undefined,
    offset: undefined,
    length: undefined,
    create: undefined,
    exclusive: undefined,
    mode: undefined,
    grow: undefined,
    synchronous: undefined,
  };
  assert.deepEqual(readFileOptions(none, "path"), readFileOptions({}, "path"));
});

test("faults are told unless they are to be collected", () => {
  assert.equal(readFileOptions({}, "path").faults, "throw");
  assert.equal(readFileOptions({ faults: "throw" }, "path").faults, "throw");
  assert.equal(readAnonymous(1, { faults: "collect" }).plan.faults, "collect");
});

test("create and grow mean that the file is written", () => {
  for (const options of [{ create: true }, { grow: true }]) {
    assert.equal(readFileOptions(options, "path").protection, "read-write");
    const executed = { ...options, protection: "read-write-execute" } as const;
    assert.equal(readFileOptions(executed, "path").prot, 7);
  }
});

test("each flag of mmap has its option, and false is the same as nothing but for reserve", () => {
  const { constants } = native();
  const flags: readonly [MapOptions, MapOptions, string][] = [
    [{ populate: true }, { populate: false }, "MAP_POPULATE"],
    [{ lock: true }, { lock: false }, "MAP_LOCKED"],
    [{ reserve: false }, { reserve: true }, "MAP_NORESERVE"],
    [{ stack: true }, { stack: false }, "MAP_STACK"],
    [{ growsDown: true }, { growsDown: false }, "MAP_GROWSDOWN"],
  ];
  for (const [on, off, name] of flags) {
    assert.equal(readAnonymous(1, on).plan.flags, constants[name], name);
    assert.equal(readAnonymous(1, off).plan.flags, 0, name);
  }
  const low = constants["MAP_32BIT"];
  if (low === undefined) {
    const refused = hasCode(MemmapError, "ERR_MEMMAP_UNSUPPORTED", /MAP_32BIT/);
    assert.throws(() => readAnonymous(1, { low32: true }), refused);
  } else {
    assert.equal(readAnonymous(1, { low32: true }).plan.flags, low);
  }
  assert.equal(readAnonymous(1, { populate: true }).plan.waits, true);
  assert.equal(readAnonymous(1, { lock: true }).plan.waits, true);
});

test("huge pages are asked for by a word or by their size", () => {
  const { MAP_HUGETLB = 0, MAP_HUGE_SHIFT = 0 } = native().constants;
  assert.equal(readAnonymous(1, { hugePages: "transparent" }).plan.transparent, true);
  for (const [size, log] of [
    [2 ** 21, 21],
    [2 ** 30, 30],
    [2 ** 34, 34],
  ] as const) {
    const { flags, hugePageSize } = readAnonymous(1, { hugePages: size }).plan;
    assert.equal(hugePageSize, size);
    assert.equal(flags >>> 0, (MAP_HUGETLB | (log << MAP_HUGE_SHIFT)) >>> 0);
  }
  assert.throws(() => readAnonymous(1, { hugePages: 3 * pageSize }), outOfRange);
  assert.throws(() => readAnonymous(1, { hugePages: pageSize / 2 }), outOfRange);
  assert.throws(() => readLoosely({ hugePages: "huge" }), wrongValue);
  assert.throws(() => readLoosely({ hugePages: true }), wrongType);
});

test("at is a hint, rounded down to a page", () => {
  assert.equal(readAnonymous(1, { at: 0x10_0fffn }).plan.hint, 0x10_0000n);
  assert.equal(readAnonymous(1, { at: 2n ** 64n - 1n }).plan.hint % BigInt(pageSize), 0n);
  assert.throws(() => readAnonymous(1, { at: -1n }), outOfRange);
  assert.throws(() => readLoosely({ at: 0 }), wrongType);
});

test("a name is 1 to 64 characters that the kernel takes", () => {
  for (const name of ["a", "x".repeat(64), "a b-c.d/e:f(g)"]) {
    assert.equal(readAnonymous(1, { name }).plan.name, name);
  }
  for (const name of [
    "",
    "x".repeat(65),
    "a\n",
    "a\n\n",
    "ä",
    "a\0",
    "[a",
    "a]",
    "a\\",
    "a$",
    "a`",
  ]) {
    assert.throws(() => readAnonymous(1, { name }), wrongValue, JSON.stringify(name));
  }
  assert.throws(() => readLoosely({ name: 1 }), wrongType);
});

test("options that contradict each other are refused with both names", () => {
  const cases: readonly [MapFileOptions, "path" | "descriptor", RegExp][] = [
    [{ create: true }, "descriptor", /"create" needs a path/],
    [{ exclusive: true }, "path", /"exclusive" needs "create"/],
    [{ create: true, protection: "read" }, "path", /"create" contradicts "protection" "read"/],
    [{ grow: true, protection: "none" }, "path", /"grow" contradicts "protection" "none"/],
    [{ grow: true, sharing: "private" }, "path", /"grow" contradicts "sharing" private/],
    [{ create: true, sharing: "private" }, "path", /"create" contradicts "sharing"/],
    [{ synchronous: true, sharing: "private" }, "path", /"synchronous" contradicts "sharing"/],
    [{ droppable: true }, "path", /"droppable" memory is anonymous/],
  ];
  for (const [options, location, words] of cases) {
    const refused = hasCode(TypeError, "ERR_INVALID_ARG_VALUE", words);
    assert.throws(() => readFileOptions(options, location), refused);
  }
  assert.throws(() => readAnonymous(1, { droppable: true, sharing: "shared" }), wrongValue);
  assert.ok(readFileOptions({ grow: true }, "descriptor").grow);
});

test("offset, length and mode have their bounds", () => {
  assert.equal(readFileOptions({ offset: byteMax }, "path").offset, byteMax);
  assert.throws(() => readFileOptions({ offset: byteMax + 1 }, "path"), outOfRange);
  assert.throws(() => readFileOptions({ offset: byteMax, length: 1 }, "path"), outOfRange);
  assert.throws(() => readFileOptions({ mode: 0o10000 }, "path"), outOfRange);
  assert.equal(readFileOptions({ mode: 0o7777 }, "path").mode, 0o7777);
  const tooLarge = hasCode(RangeError, "ERR_BUFFER_TOO_LARGE", /map (a range|less)/);
  // Where views have no bound of their own, the bound of all numbers comes first.
  const refused = viewMax < byteMax ? tooLarge : outOfRange;
  assert.throws(() => readFileOptions({ length: viewMax + 1 }, "path"), refused);
  assert.throws(() => readAnonymous(viewMax + 1, undefined), tooLarge);
  assert.throws(() => readAnonymous(Number.MAX_SAFE_INTEGER, undefined), tooLarge);
  assert.equal(requireViewable(viewMax), undefined);
});

test("every option of the wrong type is refused by its name", () => {
  const booleans = "populate lock reserve stack growsDown low32 droppable create exclusive grow";
  for (const name of `${booleans} synchronous`.split(" ")) {
    const refused = hasCode(TypeError, "ERR_INVALID_ARG_TYPE", new RegExp(`"${name}"`));
    for (const value of [1, null, "true"]) {
      assert.throws(() => readLoosely({ [name]: value }), refused, name);
    }
  }
  for (const name of ["offset", "length", "mode"]) {
    const refused = hasCode(TypeError, "ERR_INVALID_ARG_TYPE", new RegExp(`"${name}"`));
    for (const value of [1n, null, "1"]) {
      assert.throws(() => readLoosely({ [name]: value }), refused, name);
    }
  }
  for (const name of ["protection", "sharing", "faults"]) {
    assert.throws(() => readLoosely({ [name]: "write" }), wrongValue);
    assert.throws(() => readLoosely({ [name]: 3 }), wrongType);
  }
});

test("each option is read once", () => {
  const reads = new Map<string | symbol, number>();
  const options = new Proxy(
    {},
    {
      get(_, name) {
        reads.set(name, (reads.get(name) ?? 0) + 1);
        return undefined;
      },
    },
  );
  readFileOptions(options, "path");
  assert.equal(reads.size, 20, [...reads.keys()].map(String).join(" "));
  for (const [name, count] of reads) assert.equal(count, 1, String(name));
});

test("options are an object, and an error in a getter reaches the caller", () => {
  for (const value of [null, 1, "read", [], () => {}]) {
    const call = () => Reflect.apply(readAnonymous, undefined, [1, value]);
    assert.throws(call, wrongType);
  }
  const error = new Error("mine");
  const options = {
    get sharing(): "shared" {
      throw error;
    },
  };
  assert.throws(() => readAnonymous(1, options), error);
});
