// Repaired pages: read() throws for each until remap() makes it follow the file again, for shared
// and private mappings, parts, unaligned offsets, pages without access, and anonymous memory.

import assert from "node:assert/strict";
import test from "node:test";
import { type Answer, answerTo } from "./program.js";

/* Lets a file of 8 pages lose all but one, faults on some, and lets it grow back otherwise. */
const grownBack = `
  function damage(options, touch = [2, 3, 5]) {
    const path = makeFile(8);
    const mapping = mapFileSync(path, { faults: "collect", ...options });
    fs.truncateSync(path, pageSize);
    for (const page of touch) mapping.bytes[page * pageSize];
    codeOf(() => mapping.check());
    return { path, mapping };
  }
  function grow(path) {
    const fd = fs.openSync(path, "r+");
    fs.writeSync(fd, Buffer.alloc(7 * pageSize, 77), 0, 7 * pageSize, pageSize);
    fs.closeSync(fd);
  }
  const bytesAt = (mapping, pages) => pages.map((page) => mapping.bytes[page * pageSize]);
  const reads = (mapping, pages) =>
    pages.map((page) => codeOf(() => mapping.read(page * pageSize, 1)));`;

const fault = "ERR_MEMMAP_FAULT";

for (const sharing of ["shared", "private"]) {
  test(`remap() of a ${sharing} mapping shows a file that has grown back`, async (t) => {
    const code = `${grownBack}
      const { path, mapping } = damage({ sharing: "${sharing}" });
      const gone = reads(mapping, [2, 3, 4, 5]);
      grow(path);
      const still = reads(mapping, [2, 3, 4, 5, 2]);
      const stale = bytesAt(mapping, [2, 3, 5]);
      mapping.remap();
      const back = bytesAt(mapping, [0, 1, 2, 3, 4, 5, 7]);
      const read = reads(mapping, [1, 2, 3, 4, 5]);
      const permissions = fs.readFileSync("/proc/self/maps", "utf8").split("\\n")
        .filter((row) => row.includes(path)).map((row) => row.slice(26, 30));
      answer({ gone, still, stale, back, read, told: codeOf(() => mapping.check()) });`;
    const expected = {
      gone: [fault, fault, fault, fault],
      still: [fault, fault, "", fault, fault],
      stale: [0, 0, 0],
      back: [1, 77, 77, 77, 77, 77, 77],
      read: ["", "", "", "", ""],
      told: "",
    };
    assert.deepEqual(await answerTo(t, code), expected);
  });

  test(`remap() of a part of a ${sharing} mapping leaves the rest repaired`, async (t) => {
    const code = `${grownBack}
      const { path, mapping } = damage({ sharing: "${sharing}", protection: "read-write" });
      grow(path);
      mapping.remap({ offset: 3 * pageSize + 5, length: 10 });
      const part = reads(mapping, [2, 3, 5]);
      mapping.remap({ offset: 0, length: 0 });
      const none = reads(mapping, [2, 3, 5]);
      mapping.bytes[3 * pageSize] = 8;
      mapping.remap({ offset: 4 * pageSize });
      const rest = reads(mapping, [2, 3, 5]);
      mapping.remap();
      const bytes = bytesAt(mapping, [2, 3, 5]);
      const inFile = fs.readFileSync(path)[3 * pageSize];
      answer({ part, none, rest, bytes, inFile });`;
    const expected = {
      part: [fault, "", fault],
      none: [fault, "", fault],
      rest: [fault, "", ""],
      bytes: [77, 8, 77],
      inFile: sharing === "shared" ? 8 : 77,
    };
    assert.deepEqual(await answerTo(t, code), expected);
  });

  test(`remap() of a ${sharing} mapping at an unaligned offset finds its bytes`, async (t) => {
    const code = `${grownBack}
      const base = pageSize + 100;
      const options = { sharing: "${sharing}", offset: base, length: 5 * pageSize };
      const { path, mapping } = damage(options, [1, 3]);
      const gone = reads(mapping, [1, 3]);
      const fd = fs.openSync(path, "r+");
      const content = Buffer.alloc(8 * pageSize, 1);
      for (let i = 0; i < content.length; i += 1) content[i] = i % 251;
      fs.writeSync(fd, content, 0, content.length, 0);
      mapping.remap();
      let wrong = 0;
      for (let i = 0; i < mapping.byteLength; i++) {
        if (mapping.bytes[i] !== (base + i) % 251) wrong += 1;
      }
      answer({ gone, wrong, read: reads(mapping, [1, 3]) });`;
    assert.deepEqual(await answerTo(t, code), { gone: [fault, fault], wrong: 0, read: ["", ""] });
  });
}

test("remap() makes repaired pages writable again where the mapping is", async (t) => {
  const code = `${grownBack}
    const { path, mapping } = damage({ protection: "read-write" });
    mapping.bytes[2 * pageSize] = 9;
    grow(path);
    const absorbed = [mapping.bytes[2 * pageSize], fs.readFileSync(path)[2 * pageSize]];
    mapping.remap();
    const lost = mapping.bytes[2 * pageSize];
    mapping.bytes[2 * pageSize] = 10;
    answer({ absorbed, lost, now: fs.readFileSync(path)[2 * pageSize] });`;
  assert.deepEqual(await answerTo(t, code), { absorbed: [9, 77], lost: 77, now: 10 });
});

test("a write to a read-only page is absorbed until remap(), the file untouched", async (t) => {
  const code = `
    const path = makeFile(3);
    const mapping = mapFileSync(path, { faults: "collect" });
    mapping.bytes[pageSize + 1] = 200;
    let fault;
    try {
      mapping.check();
    } catch (error) {
      fault = fieldsOf(error);
    }
    const { access, reason, byteOffset, count } = fault;
    const seen = [mapping.bytes[pageSize], mapping.bytes[pageSize + 1]];
    const inFile = fs.readFileSync(path)[pageSize + 1];
    const read = codeOf(() => mapping.read(pageSize, 1));
    mapping.remap();
    const after = [mapping.bytes[pageSize], mapping.bytes[pageSize + 1]];
    mapping.bytes[pageSize + 1] = 201;
    answer({ fault: { access, reason, byteOffset, count }, seen, inFile, read, after,
      again: codeOf(() => mapping.check()) });`;
  const found = await answerTo(t, code);
  assert.deepEqual(found, {
    fault: { access: "write", reason: "protected", byteOffset: 4096 + 1, count: 1 },
    seen: [2, 200],
    inFile: 2,
    read: fault,
    after: [2, 2],
    again: fault,
  });
});

for (const sharing of ["shared", "private"]) {
  test(`"none" pages of ${sharing} anonymous memory come back with "read-write"`, async (t) => {
    const code = `
      const mapping = mapAnonymous(4 * pageSize, { sharing: "${sharing}", faults: "collect" });
      mapping.bytes.fill(6);
      mapping.protect("none", { offset: pageSize, length: 2 * pageSize });
      const hidden = mapping.bytes[pageSize];
      let fault;
      try {
        mapping.check();
      } catch (error) {
        fault = [error.reason, error.access, error.byteOffset / pageSize].join();
      }
      mapping.protect("read-write");
      mapping.remap();
      const { bytes } = mapping;
      const after = [0, 1, 2, 3].map((page) => bytes[page * pageSize]);
      bytes[pageSize] = 1;
      const wrote = [bytes[pageSize], codeOf(() => mapping.check()), mapping.read(pageSize, 1)[0]];
      answer({ hidden, fault, after, wrote });`;
    const { hidden, fault: told, wrote, after: found }: Answer = await answerTo(t, code);
    assert.deepEqual(
      { hidden, told, wrote },
      { hidden: 0, told: "protected,read,1", wrote: [1, "", 1] },
    );
    assert.deepEqual(found, [6, 6, 6, 6]);
  });
}

test("remap() gives each page the protection it had been given", async (t) => {
  const code = `${grownBack}
    const { path, mapping } = damage({ protection: "read-write" }, [1, 2, 3, 4]);
    mapping.protect("read", { offset: 2 * pageSize, length: pageSize });
    mapping.protect("none", { offset: 3 * pageSize, length: pageSize });
    grow(path);
    mapping.remap();
    const rows = fs.readFileSync("/proc/self/maps", "utf8").split("\\n");
    const at = (page) => rows.find((row) => {
      const [range] = row.split(" ");
      const [start, end] = range.split("-").map((text) => BigInt("0x" + text));
      const address = mapping.address + BigInt(page * pageSize);
      return start <= address && address < end;
    }).split(" ")[1];
    answer({ permissions: [1, 2, 3, 4, 5].map(at) });`;
  const permissions = ["rw-s", "r--s", "---s", "rw-s", "rw-s"];
  assert.deepEqual(await answerTo(t, code), { permissions });
});

test("remap() of a private mapping whose path leads elsewhere is refused", async (t) => {
  const code = `${grownBack}
    const codes = {};
    const { path, mapping } = damage({ sharing: "private" });
    fs.renameSync(path, path + ".old");
    codes.removed = codeOf(() => mapping.remap());
    fs.writeFileSync(path, Buffer.alloc(8 * pageSize, 66));
    codes.replaced = codeOf(() => mapping.remap());
    codes.stillZero = mapping.bytes[2 * pageSize];
    const fd = fs.openSync(path, "r");
    const byNumber = mapFileSync(fd, { sharing: "private", faults: "collect" });
    fs.truncateSync(path, 0);
    byNumber.bytes[pageSize];
    codes.number = codeOf(() => byNumber.remap());
    const sharedOne = damage({});
    fs.unlinkSync(sharedOne.path);
    codes.shared = codeOf(() => sharedOne.mapping.remap());
    codes.closed = codeOf(() => { mapping.close(); mapping.remap(); });
    answer(codes);`;
  const codes: Answer = await answerTo(t, code);
  assert.deepEqual(codes, {
    removed: "ENOENT",
    replaced: "ERR_MEMMAP_UNSUPPORTED",
    stillZero: 0,
    number: "ERR_MEMMAP_UNSUPPORTED",
    shared: "",
    closed: "ERR_MEMMAP_CLOSED",
  });
});

test("a FaultError has all its fields, and says them as JSON", async (t) => {
  const code = `
    const path = makeFile(4);
    const mapping = mapFileSync(path, { faults: "collect", offset: 100 });
    fs.truncateSync(path, 0);
    const place = 2 * pageSize + 11;
    mapping.bytes[place];
    let error;
    try {
      mapping.check();
    } catch (caught) {
      error = caught;
    }
    const is = [error instanceof FaultError, error instanceof MemmapError, error instanceof Error,
      !(error instanceof SystemError)];
    const own = Object.keys(error).sort();
    const address = error.address === mapping.address + BigInt(place);
    const json = JSON.parse(JSON.stringify(error));
    const sameJson = json.address === "0x" + error.address.toString(16) && json.path === path;
    const anonymous = mapAnonymous(1, { protection: "none", faults: "collect" });
    anonymous.bytes[0];
    let second;
    try {
      anonymous.check();
    } catch (caught) {
      second = caught;
    }
    answer({ is, own, address, sameJson, fields: { ...fieldsOf(error), path: error.path === path },
      message: error.message.replace(path, "PATH"), noPath: "path" in second });`;
  const own = ["access", "address", "byteOffset", "code", "count", "path", "reason"];
  assert.deepEqual(await answerTo(t, code), {
    is: [true, true, true, true],
    own,
    address: true,
    sameJson: true,
    fields: {
      name: "FaultError",
      code: fault,
      byteOffset: 2 * 4096 + 11,
      access: "read",
      reason: "truncated",
      count: 1,
      path: true,
    },
    message: 'Cannot read byte 8203 of "PATH": the file ends before it',
    noPath: false,
  });
});
