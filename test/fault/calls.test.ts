// Every system call of every operation fails once, with each of five errors: the error is a
// documented one, nothing is left over, the mapping is what it was, and the operation succeeds
// when tried again.

import assert from "node:assert/strict";
import test from "node:test";
import { answerTo } from "../guard/program.js";
import { failureProgram, type Operation } from "./program.js";

const shared = `mapAnonymous(length, { sharing: "shared" })`;

function onMapping(source: string, act: string): Operation {
  const setup = `const mapping = ${source};
    mapping.bytes[0] = 5; mapping.bytes[mapping.byteLength - 1] = 6;
    return { mapping };`;
  return { setup, act };
}

const writable = `mapFileSync(path, { protection: "read-write" })`;
const none = `return {};`;

const operations: Readonly<Record<string, Operation>> = {
  "mapFileSync()": { setup: none, act: `return mapFileSync(path)` },
  "mapFile()": { setup: none, act: `return await mapFile(path)` },
  "mapFile({ populate })": { setup: none, act: `return await mapFile(path, { populate: true })` },
  "mapFile({ name, hugePages })": {
    setup: none,
    act: `return mapAnonymous(length, { name: "name", hugePages: "transparent" })`,
  },
  "mapFileSync({ grow })": {
    setup: `const grown = makeFile(2); return { grown };`,
    act: `return mapFileSync(state.grown, { grow: true, length: 8 * pageSize })`,
    intact: `assert.equal(fs.statSync(state.grown).size, 2 * pageSize);`,
  },
  "mapFile({ create, grow })": {
    setup: `const made = join(folder, "made"); fs.rmSync(made, { force: true }); return { made };`,
    act: `return await mapFile(state.made, { create: true, grow: true, length: 8 * pageSize })`,
    intact: `assert.equal(fs.existsSync(state.made), false);`,
  },
  "mapAnonymous() of private memory": { setup: none, act: `return mapAnonymous(length)` },
  "mapAnonymous() of shared memory": { setup: none, act: `return ${shared}` },
  "flushSync()": onMapping(writable, `state.mapping.flushSync()`),
  "flush()": onMapping(writable, `await state.mapping.flush()`),
  "loadSync()": onMapping(writable, `state.mapping.loadSync()`),
  "load()": onMapping(writable, `await state.mapping.load()`),
  "lockSync() and unlock()": onMapping(
    writable,
    `state.mapping.lockSync({ length: 10 }); state.mapping.unlock();`,
  ),
  "lock()": onMapping(writable, `await state.mapping.lock({ length: 10 })`),
  "evict()": onMapping(writable, `state.mapping.evict()`),
  "discard() of private memory": onMapping(
    `mapAnonymous(length)`,
    `state.mapping.discard({ offset: 2 * pageSize, length: 4 * pageSize })`,
  ),
  "discard() of shared memory": onMapping(
    shared,
    `state.mapping.discard({ offset: 2 * pageSize, length: 4 * pageSize })`,
  ),
  "protect() of all": onMapping(writable, `state.mapping.protect("read")`),
  "protect() of a part": onMapping(
    shared,
    `state.mapping.protect("none", { offset: pageSize, length: pageSize })`,
  ),
  "advise()": onMapping(writable, `state.mapping.advise("random")`),
  "residency()": onMapping(writable, `state.mapping.residency()`),
  "read()": onMapping(writable, `assert.equal(state.mapping.read(0, 9 * pageSize)[0], 5)`),
  "readInto()": onMapping(writable, `state.mapping.readInto(new Uint8Array(pageSize), 9)`),
  "write()": onMapping(writable, `state.mapping.write(pageSize, new Uint8Array(5 * pageSize))`),
  "indexOf()": onMapping(
    writable,
    `assert.equal(state.mapping.indexOf(6), 6 * pageSize - pageSize)`,
  ),
  "close()": onMapping(shared, `state.mapping.close()`),
  "share() and attachMapping() of shared memory": onMapping(
    shared,
    `return attachMapping(state.mapping.share())`,
  ),
  "share() and attachMapping() of private memory": onMapping(
    `mapAnonymous(length)`,
    `return attachMapping(state.mapping.share())`,
  ),
  "attachMapping() by the descriptor": onMapping(
    shared,
    `return attachMapping({ ...state.mapping.share(), id: 0 })`,
  ),
};

const rest = `const path = makeFile(20);`;

for (const [name, operation] of Object.entries(operations)) {
  test(`${name} survives the failure of each of its calls`, async (t) => {
    const code = `${rest}\n${failureProgram(operation)}`;
    const { odd } = await answerTo(t, code, { exposeGc: true });
    assert.deepEqual(odd, []);
  });
}
