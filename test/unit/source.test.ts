// src/source.ts: what is taken for a source, how it is opened, and that nothing of the caller's
// is closed or removed.

import assert from "node:assert/strict";
import {
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { pathToFileURL } from "node:url";
import { SystemError } from "#dist/errors.js";
import {
  currentSize,
  describe,
  describeSync,
  nameOf,
  type OpenPlan,
  openFile,
  openFileSync,
  pathOf,
  readSource,
} from "#dist/source.js";
import { descriptorsNamed, holdings } from "../helpers/proc-self.js";
import { tempDir } from "../helpers/temp.js";
import { hasCode, patternFile } from "./support.js";

const reading: OpenPlan = { writable: false, create: false, exclusive: false, mode: 0o666 };
const creating: OpenPlan = { ...reading, writable: true, create: true };

test("readSource() takes paths as text, URL or bytes, and descriptors", () => {
  const named = { kind: "path", name: "/a b" };
  const text = readSource("/a b");
  assert.deepEqual(text, { ...named, path: "/a b" });
  assert.deepEqual(readSource(pathToFileURL("/a b")), text);
  const bytes = readSource(Buffer.from("/a b"));
  assert.ok(bytes.kind === "path" && typeof bytes.path !== "string");
  assert.equal(Buffer.from(bytes.path).toString(), "/a b");
  assert.equal(nameOf(bytes), '"/a b"');
  assert.deepEqual(readSource(3), { kind: "descriptor", fd: 3 });
  assert.deepEqual(readSource({ fd: 3, other: 1 }), { kind: "descriptor", fd: 3 });
  assert.equal(nameOf(readSource(3)), "descriptor 3");
  assert.deepEqual([pathOf(readSource("/a")), pathOf(readSource(3))], ["/a", undefined]);
});

test("readSource() keeps bytes that are no UTF-8, and its own copy of them", (t) => {
  const folder = tempDir(t);
  const path = Buffer.concat([Buffer.from(`${folder}/`), Buffer.of(0xff, 0xfe)]);
  writeFileSync(path, "content");
  const source = Buffer.from(path);
  const location = readSource(source);
  source.fill(0);
  const file = openFileSync(location, reading);
  assert.equal(fstatSync(file.fd).size, 7);
  file.close("mapped");
});

test("readSource() refuses what is no path and no descriptor", () => {
  const type = hasCode(TypeError, "ERR_INVALID_ARG_TYPE");
  for (const source of [undefined, null, true, 1n, {}, [], () => {}, { fd: "3" }, { fd: null }]) {
    assert.throws(() => readSource(source), type);
  }
  const range = hasCode(RangeError, "ERR_OUT_OF_RANGE", /"fd"/);
  for (const fd of [-1, 0.5, Number.NaN, 2 ** 31]) {
    assert.throws(() => readSource(fd), range);
    assert.throws(() => readSource({ fd }), range);
  }
  const value = hasCode(TypeError, "ERR_INVALID_ARG_VALUE");
  for (const source of ["/a\0b", Buffer.from("/a\0b"), new URL("http://a/b")]) {
    assert.throws(() => readSource(source), value);
  }
  assert.throws(() => readSource(new URL("file:///a%00b")), value);
});

test("openFileSync() and openFile() open for reading alone, or for both", async (t) => {
  const path = patternFile(t, 10);
  const location = readSource(path);
  for (const [writable, flags] of [
    [false, 0],
    [true, 2],
  ] as const) {
    const plan = { ...reading, writable };
    for (const file of [openFileSync(location, plan), await openFile(location, plan)]) {
      assert.equal(accessOf(file.fd) & 3, flags);
      assert.equal(file.created, false);
      file.close("failed");
      assert.ok(existsSync(path), "a file that was there is never removed");
    }
  }
  assert.deepEqual(descriptorsNamed(path), []);
});

/** How a descriptor was opened, as the kernel tells them. */
function accessOf(fd: number): number {
  const info = readFileSync(`/proc/self/fdinfo/${fd}`, "utf8");
  return Number.parseInt(/^flags:\s+(\d+)/m.exec(info)?.[1] ?? "", 8);
}

test("create makes a file or opens an existing one, which exclusive refuses", async (t) => {
  const folder = tempDir(t);
  for (const open of [openFileSync, openFile]) {
    const path = join(folder, open.name);
    const location = readSource(path);
    const made = await open(location, { ...creating, mode: 0o600 });
    made.close("mapped");
    assert.equal(made.created, true);
    assert.equal(statSync(path).mode & 0o777, 0o600);
    const again = await open(location, { ...creating, mode: 0o644 });
    again.close("failed");
    assert.equal(again.created, false);
    assert.equal(statSync(path).mode & 0o777, 0o600);
    const refused = hasCode(SystemError, "EEXIST", /it exists already, open$/);
    await assert.rejects(async () => open(location, { ...creating, exclusive: true }), refused);
  }
  assert.deepEqual(descriptorsNamed(folder), []);
});

test("a file that was made for nothing is removed, and another of its name is not", (t) => {
  const path = join(tempDir(t), "file");
  const location = readSource(path);
  openFileSync(location, creating).close("failed");
  assert.equal(existsSync(path), false);
  const renamed = openFileSync(location, creating);
  renameSync(path, `${path}-moved`);
  writeFileSync(path, "another's");
  renamed.close("failed");
  assert.equal(statSync(path).size, 9);
  const gone = openFileSync(readSource(`${path}-gone`), creating);
  unlinkSync(`${path}-gone`);
  gone.close("failed");
  assert.deepEqual(descriptorsNamed(path), []);
});

test("a descriptor of the caller is neither opened nor closed", (t) => {
  const path = patternFile(t, 10);
  const fd = openSync(path, "r");
  t.after(() => closeSync(fd));
  const before = holdings().descriptors;
  const file = openFileSync(readSource(fd), reading);
  assert.equal(file.fd, fd);
  file.close("failed");
  file.close("mapped");
  assert.equal(holdings().descriptors, before);
  assert.equal(fstatSync(fd).size, 10);
});

test("a file that cannot be opened is a SystemError of open with its path", async (t) => {
  const folder = tempDir(t);
  symlinkSync("loop", join(folder, "loop"));
  const cases: readonly [path: string, code: string][] = [
    [join(folder, "absent"), "ENOENT"],
    [join(folder, "absent/file"), "ENOENT"],
    ["/proc/self/maps/file", "ENOTDIR"],
    [join(folder, "loop"), "ELOOP"],
    [join(folder, "x".repeat(300)), "ENAMETOOLONG"],
    ["", "ENOENT"],
  ];
  for (const [path, code] of cases) {
    const check = (error: unknown): true => {
      hasCode(SystemError, code, /^E[A-Z]+: Cannot open ".*" to map it: .*, open$/)(error);
      assert.ok(error instanceof SystemError);
      assert.equal(error.path, path);
      assert.ok(error.errno < 0);
      return true;
    };
    assert.throws(() => openFileSync(readSource(path), reading), check);
    await assert.rejects(openFile(readSource(path), reading), check);
  }
  const folderForWriting = { ...reading, writable: true };
  const isFolder = hasCode(SystemError, "EISDIR");
  assert.throws(() => openFileSync(readSource(folder), folderForWriting), isFolder);
});

test("describeSync() and describe() tell files, devices and the rest apart", async (t) => {
  const path = patternFile(t, 12345);
  const folder = join(tempDir(t), "folder");
  mkdirSync(folder);
  for (const [place, kind, size] of [
    [path, "file", 12345],
    ["/dev/zero", "device", 0],
    [folder, "other", undefined],
    ["/proc/self/status", "file", 0],
  ] as const) {
    const file = openFileSync(readSource(place), reading);
    const facts = describeSync(file);
    assert.deepEqual(await describe(file), facts);
    file.close("mapped");
    assert.equal(facts.kind, kind, place);
    if (size !== undefined) assert.equal(facts.size, size);
    const { dev, ino } = statSync(place, { bigint: true });
    assert.deepEqual([facts.identity.dev, facts.identity.ino], [dev, ino]);
    assert.equal(facts.identity.path, place);
  }
});

test("describeSync() of a descriptor that is not open is EBADF", async () => {
  const file = openFileSync(readSource(2 ** 31 - 1), reading);
  const refused = hasCode(SystemError, "EBADF", /descriptor 2147483647: .* not open/);
  assert.throws(() => describeSync(file), refused);
  await assert.rejects(describe(file), refused);
});

test("currentSize() asks the path as long as it names the same file", (t) => {
  const path = patternFile(t, 100);
  const file = openFileSync(readSource(path), reading);
  const { identity } = describeSync(file);
  file.close("mapped");
  assert.equal(currentSize(identity), 100);
  truncateSync(path, 50);
  assert.equal(currentSize(identity), 50);
});
