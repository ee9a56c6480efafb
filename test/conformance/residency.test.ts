// mincore(2): which pages are in memory, as a bitmap and as runs, and who is told the truth.

import assert from "node:assert/strict";
import { chmodSync, chownSync, closeSync, fsyncSync, openSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { type Mapping, mapAnonymous, mapFileSync, pageSize } from "memmap";
import { limitedOutput, ordinaryUid } from "../helpers/ordinary-user.js";
import { type Cleanup, needs, tempDir } from "../helpers/temp.js";

/** A file in storage, so that its pages can leave memory. */
function makeFile(t: Cleanup, byteLength: number): string {
  const folder = tempDir(t);
  chmodSync(folder, 0o755);
  const path = join(folder, "data.bin");
  writeFileSync(path, Buffer.alloc(byteLength, 5));
  const fd = openSync(path, "r");
  fsyncSync(fd);
  closeSync(fd);
  return path;
}

/** The kernel takes idle pages away at any time, so the touch is repeated before each look. */
function eventually(touch: () => void, isTrue: () => boolean): void {
  for (let i = 0; i < 50; i++) {
    touch();
    if (isTrue()) return;
  }
  assert.fail("the pages never were as expected");
}

function bitmap(mapping: Mapping): string {
  const residency = mapping.residency();
  let text = "";
  for (let i = 0; i < residency.pageCount; i++) text += residency.isResident(i) ? "1" : "0";
  return text;
}

test("residency of anonymous memory is the touched pages, as a bitmap and as runs", () => {
  using mapping = mapAnonymous(8 * pageSize);
  assert.equal(mapping.residency().residentCount, 0);
  const touch = () => {
    for (const page of [1, 2, 6]) mapping.bytes[page * pageSize] = 1;
  };
  eventually(touch, () => bitmap(mapping) === "01100010");
  eventually(touch, () => mapping.residency().residentCount === 3);
  touch();
  const residency = mapping.residency();
  assert.deepEqual([residency.pageSize, residency.pageCount], [pageSize, 8]);
  assert.deepEqual(
    [...residency.runs()],
    [
      { pageIndex: 0, pageCount: 1, resident: false },
      { pageIndex: 1, pageCount: 2, resident: true },
      { pageIndex: 3, pageCount: 3, resident: false },
      { pageIndex: 6, pageCount: 1, resident: true },
      { pageIndex: 7, pageCount: 1, resident: false },
    ],
  );
});

test("pages of a range are counted from the first page that it touches", () => {
  using mapping = mapAnonymous(8 * pageSize);
  const touch = () => {
    mapping.bytes[3 * pageSize] = 1;
  };
  const ask = () => mapping.residency({ offset: 3 * pageSize - 1, length: 2 });
  eventually(touch, () => ask().isResident(1));
  assert.equal(ask().pageCount, 2);
  assert.equal(ask().isResident(0), false);
  assert.throws(() => ask().isResident(2), { name: "RangeError", code: "ERR_OUT_OF_RANGE" });
});

test("an evicted file is not resident, and touching it brings pages back", (t) => {
  const path = makeFile(t, 64 * pageSize);
  using mapping = mapFileSync(path);
  const loadAndEvict = () => {
    mapping.loadSync();
    mapping.evict();
  };
  eventually(loadAndEvict, () => mapping.residency().residentCount === 0);
  eventually(
    () => mapping.loadSync(),
    () => mapping.residency().residentCount === 64,
  );
});

test("a page of a file is resident for every mapping of it, whoever brought it there", (t) => {
  const path = makeFile(t, 16 * pageSize);
  using one = mapFileSync(path);
  using two = mapFileSync(path);
  eventually(
    () => one.loadSync(),
    () => two.residency().residentCount === 16,
  );
});

const asks = `
  const truth = (mapping) => {
    mapping.loadSync();
    return mapping.residency().residentCount;
  };
  dropRights();
  assert.notEqual(process.getuid(), 0);
`;

test(
  "an ordinary user is refused for a file it neither owns nor may write",
  needs("root"),
  async (t) => {
    const path = makeFile(t, 8 * pageSize);
    chmodSync(path, 0o644);
    const output = await limitedOutput(
      `${asks}
    const mapping = mapFileSync(process.argv[2]);
    console.log(failure(() => truth(mapping)));
    console.log(failure(() => mapFileSync(process.argv[2], { sharing: "private" }).residency()));`,
      [path],
    );
    const expected = /^(MemmapError \| ERR_MEMMAP_CANNOT_TELL \| .*\n){2}$/;
    assert.match(output, expected);
  },
);

test(
  "an ordinary user is told of a file it owns, and of its own memory",
  needs("root"),
  async (t) => {
    const path = makeFile(t, 8 * pageSize);
    chmodSync(path, 0o400);
    chownSync(path, ordinaryUid, ordinaryUid);
    const output = await limitedOutput(
      `${asks}
    console.log(truth(mapFileSync(process.argv[2])));
    console.log(truth(mapAnonymous(8 * pageSize)), truth(mapAnonymous(9, { sharing: "shared" })));`,
      [path],
    );
    assert.equal(output, "8\n8 1\n");
  },
);

test("an ordinary user is told of a file it may write", needs("root"), async (t) => {
  const path = makeFile(t, 8 * pageSize);
  chmodSync(path, 0o666);
  const output = await limitedOutput(
    `${asks}
    console.log(truth(mapFileSync(process.argv[2])));
    console.log(truth(mapFileSync(process.argv[2], { protection: "read-write" })));`,
    [path],
  );
  assert.equal(output, "8\n8\n");
});

test(
  "who gave up the rights after mapping is not told what it could be told before",
  needs("root"),
  async (t) => {
    const path = makeFile(t, 8 * pageSize);
    const output = await limitedOutput(
      `const mapping = mapFileSync(process.argv[2]);
    mapping.loadSync();
    console.log(mapping.residency().residentCount);
    dropRights();
    console.log(failure(() => mapping.residency()));`,
      [path],
    );
    assert.match(output, /^8\nMemmapError \| ERR_MEMMAP_CANNOT_TELL \|/);
  },
);
