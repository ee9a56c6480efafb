// resize() and remap() under failing calls: they move pages, so that a failure in the midst of
// them would lose the most. After each failure the mapping is what it was, to the last byte that
// counts.

import assert from "node:assert/strict";
import test from "node:test";
import { answerTo } from "../guard/program.js";
import { failureProgram, type Operation } from "./program.js";

/* The kinds of mappings that resize() treats differently, with room to grow and to shrink. */
const kinds: Readonly<Record<string, string>> = {
  "private memory": `mapAnonymous(8 * pageSize)`,
  "shared memory": `mapAnonymous(8 * pageSize, { sharing: "shared" })`,
  "large private memory": `mapAnonymous(length)`,
  "a shared file": `mapFileSync(path, { protection: "read-write", length: 8 * pageSize })`,
  "a private file": `mapFileSync(path, { protection: "read-write", sharing: "private",
    length: 8 * pageSize })`,
  "a part of a file": `mapFileSync(path, { protection: "read-write", offset: 100,
    length: 8 * pageSize })`,
  "a file that may grow": `mapFileSync(makeFile(8), { grow: true })`,
};

const content = `
  const { mapping } = state;
  const { bytes } = mapping;
  for (const page of [0, 3, 7]) {
    assert.equal(bytes[page * pageSize + 9], 40 + page, "page " + page);
  }`;

const setupOf = (source: string, damage = ""): string => `
  const mapping = ${source};
  for (const page of [0, 3, 7]) mapping.bytes[page * pageSize + 9] = 40 + page;
  ${damage}
  return { mapping };`;

const changes: Readonly<Record<string, string>> = {
  longer: `state.mapping.resize(16 * pageSize);`,
  shorter: `state.mapping.resize(2 * pageSize + 77);`,
};

const mixed = `mapping.protect("read", { offset: pageSize, length: 2 * pageSize });`;

const operations: Record<string, Operation> = {};
for (const [kind, source] of Object.entries(kinds)) {
  for (const [way, act] of Object.entries(changes)) {
    operations[`resize() of ${kind}, ${way}`] = { setup: setupOf(source), act, intact: content };
  }
}
for (const sharing of ["shared", "private"]) {
  const source = `mapAnonymous(8 * pageSize, { sharing: "${sharing}" })`;
  operations[`resize() of ${sharing} memory of mixed protection`] = {
    setup: setupOf(source, mixed),
    act: changes["longer"] ?? "",
    intact: content,
  };
  operations[`remap() of a ${sharing} file`] = {
    setup: `const own = makeFile(8);
      const mapping = mapFileSync(own, { faults: "collect", sharing: "${sharing}" });
      fs.truncateSync(own, pageSize);
      mapping.bytes[2 * pageSize]; mapping.bytes[5 * pageSize];
      fs.writeFileSync(own, Buffer.alloc(8 * pageSize, 3));
      codeOf(() => mapping.check());
      return { mapping };`,
    act: `const { mapping } = state;
      mapping.remap();
      assert.equal(mapping.bytes[2 * pageSize], 3, "not the file");
      assert.equal(mapping.bytes[5 * pageSize], 3, "not the file");`,
  };
}

for (const [name, operation] of Object.entries(operations)) {
  test(`${name} survives the failure of each of its calls`, async (t) => {
    const code = `const path = makeFile(20);\n${failureProgram(operation)}`;
    const { odd, failed } = await answerTo(t, code, { exposeGc: true });
    assert.deepEqual(odd, []);
    assert.notEqual(failed, 0, "no failure was met");
  });
}
