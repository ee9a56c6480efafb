// docs/errors.md, the list of codes in src/errors.ts and what the library really throws are one.

import assert from "node:assert/strict";
import { constants } from "node:buffer";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import {
  attachMapping,
  FaultError,
  Mapping,
  MemmapError,
  mapAnonymous,
  mapFileSync,
  pageSize,
  SystemError,
} from "memmap";
import { Mutex } from "memmap/ipc";
import { munmap } from "memmap/raw";
import { argumentCodes, memmapCodes } from "#dist/errors.js";
import { runSource } from "./helpers/child.js";
import { type Cleanup, needs, tempDir } from "./helpers/temp.js";

const documented = readFileSync(new URL("../../docs/errors.md", import.meta.url), "utf8");

function codesOf(heading: string): string[] {
  const section = documented.split(/^## /m).find((part) => part.startsWith(heading)) ?? "";
  return [...section.matchAll(/^\| `(\w+)` \|/gm)].map((match) => match[1] ?? "");
}

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    assert.ok(error instanceof Error && "code" in error);
    return String(error.code);
  }
  return "nothing was thrown";
}

test("docs/errors.md has one row for each code of a caller's mistake", () => {
  assert.deepEqual(codesOf("Mistakes of the caller").sort(), [...argumentCodes].sort());
});

test("docs/errors.md has one row for each code of a MemmapError", () => {
  assert.deepEqual(codesOf("States").sort(), [...memmapCodes].sort());
});

const child = `
  const { mapAnonymous, mapFileSync } = await import("memmap");
  const code = (action) => { try { action(); } catch (error) { return error.code; } };
`;

/** How each code comes about; what needs a process of its own or a certain runtime is below. */
const provoked: Readonly<Record<string, (folder: string) => unknown>> = {
  ERR_INVALID_ARG_TYPE: () => Reflect.apply(mapAnonymous, undefined, ["1"]),
  ERR_INVALID_ARG_VALUE: () => mapFileSync(1, { create: true }),
  ERR_OUT_OF_RANGE: () => mapAnonymous(-1),
  ERR_ILLEGAL_CONSTRUCTOR: () => Reflect.construct(Mapping, []),
  ERR_MEMMAP_CLOSED: () => {
    const mapping = mapAnonymous(1);
    mapping.close();
    mapping.read(0, 0);
  },
  ERR_MEMMAP_PINNED: () => {
    const mapping = mapAnonymous(1);
    const pin = mapping.pin();
    try {
      mapping.close();
    } finally {
      pin[Symbol.dispose]();
      mapping.close();
    }
  },
  ERR_MEMMAP_READ_ONLY: () => {
    using mapping = mapAnonymous(1, { protection: "read" });
    mapping.write(0, new Uint8Array(1));
  },
  ERR_MEMMAP_UNSAFE_FIXED: () => {
    using mapping = mapAnonymous(1);
    munmap(mapping.address, 1);
  },
  ERR_MEMMAP_VERSION: () => {
    using mapping = mapAnonymous(1, { sharing: "shared" });
    attachMapping({ ...mapping.share(), memmap: 0 });
  },
  ERR_MEMMAP_TIMEOUT: () => {
    using mapping = mapAnonymous(Mutex.byteLength, { sharing: "shared" });
    const mutex = new Mutex(mapping.bytes);
    new Int32Array(mapping.buffer).fill(1, 0, 1);
    mutex.lockSync({ timeoutMs: 0 });
  },
  ERR_MEMMAP_OWNER_DIED: () => {
    using mapping = mapAnonymous(Mutex.byteLength, { sharing: "shared" });
    new Int32Array(mapping.buffer).fill(-1, 0, 1);
    new Mutex(mapping.bytes).lockSync();
  },
  ERR_MEMMAP_CORRUPT: () => {
    using mapping = mapAnonymous(Mutex.byteLength, { sharing: "shared" });
    mapping.bytes.fill(1);
    new Mutex(mapping.bytes);
  },
  ERR_MEMMAP_FAULT: (folder) => {
    const path = join(folder, "file");
    writeFileSync(path, new Uint8Array(100));
    using mapping = mapFileSync(path);
    writeFileSync(path, "");
    mapping.read(0, 1);
  },
};

const elsewhere = [
  "ERR_BUFFER_TOO_LARGE",
  "ERR_MEMMAP_UNSUPPORTED",
  "ERR_MEMMAP_CANNOT_TELL",
  "ERR_MEMMAP_PEER_DIED",
];

test("every code that docs/errors.md lists is provoked by a test of this file", () => {
  const all = [...argumentCodes, ...memmapCodes].sort();
  assert.deepEqual([...Object.keys(provoked), ...elsewhere].sort(), all);
});

for (const [code, provoke] of Object.entries(provoked)) {
  test(`${code} is thrown as documented`, (t) => {
    assert.equal(
      codeOf(() => provoke(tempDir(t))),
      code,
    );
  });
}

const unlimited = constants.MAX_LENGTH > 2 ** 40 && "this runtime has no such bound";

test("ERR_BUFFER_TOO_LARGE is thrown as documented", { skip: unlimited }, () => {
  assert.throws(
    () => mapAnonymous(constants.MAX_LENGTH + 1),
    (error: Error) => error instanceof RangeError && /map less/.test(error.message),
  );
  assert.equal(
    codeOf(() => mapAnonymous(constants.MAX_LENGTH + 1)),
    "ERR_BUFFER_TOO_LARGE",
  );
});

test("ERR_MEMMAP_UNSUPPORTED is thrown by the first call where there is no addon", async () => {
  const { stdout } = await runSource(`
    Object.defineProperty(process, "platform", { value: "plan9" });
    ${child}
    console.log(code(() => mapAnonymous(1)), code(() => mapFileSync("/etc/passwd")));
  `);
  assert.equal(stdout.trim(), "ERR_MEMMAP_UNSUPPORTED ERR_MEMMAP_UNSUPPORTED");
});

test("ERR_MEMMAP_CANNOT_TELL is thrown as documented", needs("root"), async () => {
  const { stdout } = await runSource(`
    ${child}
    process.setegid(65534);
    process.seteuid(65534);
    console.log(code(() => mapFileSync("/etc/passwd").residency()));
  `);
  assert.equal(stdout.trim(), "ERR_MEMMAP_CANNOT_TELL");
});

test("ERR_MEMMAP_PEER_DIED is thrown as documented", async () => {
  const { stdout } = await runSource(`
    import { mapAnonymous } from "memmap";
    console.log(JSON.stringify(mapAnonymous(1, { sharing: "shared" }).share()));
  `);
  assert.throws(() => attachMapping(JSON.parse(stdout)), {
    name: "MemmapError",
    code: "ERR_MEMMAP_PEER_DIED",
    message: /process \d+ has ended/,
  });
});

test("ERR_MEMMAP_PINNED is thrown by the resize of private memory that others hold", () => {
  using mapping = mapAnonymous(10);
  const attached = attachMapping(mapping.share());
  for (const held of [mapping, attached]) {
    assert.equal(
      codeOf(() => held.resize(20)),
      "ERR_MEMMAP_PINNED",
    );
  }
  attached.close();
  mapping.resize(20);
  assert.equal(mapping.byteLength, 20);
});

/** The words of the first column of the first table below a heading of docs/errors.md. */
function firstColumn(heading: string): string[] {
  const section = documented.slice(documented.indexOf(heading));
  const table = /(?:^\|.*\n)+/m.exec(section)?.[0] ?? "";
  return [...table.matchAll(/^\| `"(\w+)"` \|/gm)].map((match) => match[1] ?? "");
}

test("docs/errors.md has one row for each reason that a fault can have now", () => {
  const source = readFileSync(new URL("../../src/errors.ts", import.meta.url), "utf8");
  const declared = /FaultReason = ([^;]+);/.exec(source)?.[1] ?? "";
  const reasons = [...declared.matchAll(/"(\w+)"/g)].map((match) => match[1] ?? "");
  // What serves pages by itself is not there yet.
  const known = reasons.filter((reason) => reason !== "source");
  assert.deepEqual(firstColumn("## Faults").sort(), known.sort());
});

/** What a method throws at the second page of a file of two, which was touched and is gone. */
function touchedFault(t: Cleanup, use: (mapping: Mapping) => unknown): unknown {
  const path = join(tempDir(t), "file");
  writeFileSync(path, new Uint8Array(2 * pageSize));
  const mapping = mapFileSync(path, { faults: "collect", protection: "read-write" });
  t.after(() => mapping.close());
  writeFileSync(path, new Uint8Array(pageSize));
  for (let i = 0; i < 1000; i++) assert.equal(mapping.bytes[pageSize + 5 + i], 0);
  mapping.bytes[pageSize + 7] = 1;
  try {
    use(mapping);
  } catch (error) {
    mapping.check();
    return error;
  }
  return undefined;
}

test("each method that docs/errors.md names tells the faults of bytes, once", (t) => {
  const two = new Uint8Array(2);
  for (const [use, byteOffset, access] of [
    [(mapping) => mapping.check(), pageSize + 5, "read"],
    [(mapping) => mapping.flushSync(), pageSize + 5, "read"],
    [(mapping) => mapping.read(pageSize - 1, 2), pageSize, "read"],
    [(mapping) => mapping.readInto(two, pageSize - 1), pageSize, "read"],
    [(mapping) => mapping.write(pageSize - 1, two), pageSize, "write"],
    [(mapping) => mapping.loadSync(), pageSize, "read"],
  ] as readonly [(mapping: Mapping) => unknown, number, string][]) {
    const error = touchedFault(t, use);
    assert.ok(error instanceof FaultError, String(use));
    const told = [error.byteOffset, error.access, error.reason, error.count];
    assert.deepEqual(told, [byteOffset, access, "truncated", 2], String(use));
  }
});

test("a failed call is a SystemError with the fields of Node's own", () => {
  const path = "/nonexistent/file";
  assert.throws(
    () => mapFileSync(path),
    (error) => {
      assert.ok(error instanceof SystemError && error instanceof MemmapError);
      assert.deepEqual({ ...error }, { code: "ENOENT", errno: -2, syscall: "open", path });
      return true;
    },
  );
});

test("a FaultError names address, byte, access, reason and path", (t) => {
  const path = join(tempDir(t), "file");
  writeFileSync(path, new Uint8Array(20_000));
  using mapping = mapFileSync(path, { offset: 10 });
  writeFileSync(path, new Uint8Array(5000));
  assert.throws(
    () => mapping.read(0, 15_000),
    (error) => {
      assert.ok(error instanceof FaultError && error instanceof MemmapError);
      const { byteOffset, address, access, reason, count } = error;
      assert.equal(byteOffset, 8192 - 10);
      assert.equal(address, mapping.address + BigInt(byteOffset));
      const rest = { access, reason, count, path: error.path };
      assert.deepEqual(rest, { access: "read", reason: "truncated", count: 1, path });
      return true;
    },
  );
});
