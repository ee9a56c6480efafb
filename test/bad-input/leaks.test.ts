// Every sort of failing call, some hundred times over: as many descriptors and areas afterwards as
// before.

import { closeSync, mkdirSync, openSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { mapAnonymous, mapFile, mapFileSync, pageSize } from "memmap";
import { callUntyped, closed, leavesNothing, outOfRange, wrongType } from "../helpers/bad-calls.js";
import { type Cleanup, tempDir } from "../helpers/temp.js";

function makeFile(t: Cleanup): string {
  const path = join(tempDir(t), "data.bin");
  writeFileSync(path, Buffer.alloc(4 * pageSize, 5));
  return path;
}

function system(code: string): { name: string; code: string } {
  return { name: "SystemError", code };
}

const huge = 2 ** 46;

test("arguments that are refused leave nothing behind", async (t) => {
  const path = makeFile(t);
  await leavesNothing(() => callUntyped(mapFileSync, undefined, [path, 5]), wrongType);
  await leavesNothing(() => callUntyped(mapFile, undefined, [path, { offset: "0" }]), wrongType);
  await leavesNothing(() => callUntyped(mapAnonymous, undefined, ["1"]), wrongType);
});

test("ranges past the end of a file leave nothing behind", async (t) => {
  const path = makeFile(t);
  await leavesNothing(() => mapFileSync(path, { length: 2 ** 20 }), outOfRange);
  await leavesNothing(() => mapFile(path, { offset: 2 ** 20 }), outOfRange);
  const fresh = join(tempDir(t), "new.bin");
  await leavesNothing(() => mapFileSync(fresh, { create: true, length: 10 }), outOfRange);
  await leavesNothing(() => mapFile(fresh, { create: true, length: 10 }), outOfRange);
});

test("files that cannot be mapped leave nothing behind", async (t) => {
  const folder = join(tempDir(t), "folder");
  mkdirSync(folder);
  await leavesNothing(() => mapFileSync(folder), system("ENODEV"));
  await leavesNothing(() => mapFile(folder), system("ENODEV"));
  await leavesNothing(() => mapFileSync("/proc/self/status"), {
    name: "SystemError",
    code: /^(ENODEV|EIO)$/,
  });
  await leavesNothing(() => mapFileSync(join(folder, "missing")), system("ENOENT"));
  await leavesNothing(() => mapFile(join(folder, "missing")), system("ENOENT"));
});

test("protections that the descriptor forbids leave nothing behind", async (t) => {
  const fd = openSync(makeFile(t), "r");
  t.after(() => closeSync(fd));
  const options = { protection: "read-write" } as const;
  await leavesNothing(() => mapFileSync(fd, options), system("EACCES"));
  await leavesNothing(() => mapFile(fd, options), system("EACCES"));
  await leavesNothing(() => mapFile(fd, { ...options, populate: true }), system("EACCES"));
});

test("memory that cannot be had leaves nothing behind", async () => {
  const expected = { name: "SystemError", code: /^(ENOMEM|EINVAL)$/ };
  const sizes = { hugePages: 2 ** 21 };
  for (const sharing of ["private", "shared"] as const) {
    await leavesNothing(() => mapAnonymous(2 ** 31, { ...sizes, sharing }), expected);
  }
});

test("maps and resizes that are too large leave nothing behind", async (t) => {
  const path = makeFile(t);
  const expected = { code: /^(ERR_BUFFER_TOO_LARGE|ENOMEM|EFBIG|ENOSPC|EINVAL)$/ };
  using own = mapAnonymous(10);
  using shared = mapAnonymous(10, { sharing: "shared" });
  using file = mapFileSync(path, { grow: true });
  const name = (call: () => unknown): string => {
    try {
      call();
    } catch (error) {
      if (error instanceof Error) return error.name;
    }
    return "no error";
  };
  for (const call of [
    () => mapAnonymous(huge * 2),
    () => mapAnonymous(huge * 2, { sharing: "shared" }),
    () => mapFileSync(path, { grow: true, length: huge * 2 }),
    () => own.resize(huge * 2),
    () => shared.resize(huge * 2),
    () => file.resize(huge * 2),
  ]) {
    await leavesNothing(call, { ...expected, name: name(call) });
  }
});

test("a missing page leaves nothing behind when it is asked for again and again", async (t) => {
  const path = makeFile(t);
  using mapping = mapFileSync(path, { protection: "read-write" });
  truncateSync(path, pageSize);
  const expected = { name: "FaultError", code: "ERR_MEMMAP_FAULT" };
  await leavesNothing(() => mapping.read(pageSize, 10), expected);
  await leavesNothing(() => mapping.write(pageSize, new Uint8Array(10)), expected);
  await leavesNothing(() => mapping.load(), expected);
  await leavesNothing(() => mapping.loadSync(), expected);
});

test("calls on a closed or a shorter mapping leave nothing behind", async () => {
  const mapping = mapAnonymous(pageSize);
  for (const call of [
    () => mapping.read(pageSize, 1),
    () => mapping.flush({ offset: pageSize + 1 }),
    () => mapping.lock({ length: pageSize + 1 }),
  ]) {
    await leavesNothing(call, outOfRange);
  }
  mapping.close();
  await leavesNothing(() => mapping.read(0, 1), closed);
  await leavesNothing(() => mapping.flush(), closed);
  await leavesNothing(() => mapping.resize(1), closed);
});

test("kinds of memory that the system does not have leave nothing behind", async (t) => {
  const path = makeFile(t);
  const options = { synchronous: true, protection: "read-write" } as const;
  await leavesNothing(() => mapFileSync(path, options), system("EOPNOTSUPP"));
  await leavesNothing(() => mapFile(path, options), system("EOPNOTSUPP"));
  await leavesNothing(() => mapAnonymous(1, { hugePages: 2 ** 40 }), {
    name: "SystemError",
    code: /^(EINVAL|ENOMEM|ENODEV)$/,
  });
});
