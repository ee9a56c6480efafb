// System calls that fail in the middle of the raw door's calls. Each one that a call makes fails in
// its turn: the error is a documented one, the pages are as they were before or after the call,
// touches through old views end nothing, the call succeeds when it is made again, and nothing is
// left over once all is unmapped.

import assert from "node:assert/strict";
import test from "node:test";
import { rawAnswer } from "./program.js";

interface Operation {
  /** Makes what the call works on: `views`, and what it needs in `state`. */
  readonly setup: string;
  readonly act: string;
}

/* The parts of a mapping are 64 MiB each, so that one that is left over shows in the size of the
   address space, whatever the engine takes and gives back meanwhile. */
const viewed = `const { address, bytes } = makeParts(4); return { address, views: [bytes] };`;
const partly = `const address = mapParts(4);
  return { address, views: [raw.view(address + 2n * part + 5n, 10)] };`;
const bare = `return { address: mapParts(4), views: [] };`;
const target = `const { address, bytes } = makeParts(4); const other = makeParts(4);
  return { address, to: other.address, views: [bytes, other.bytes] };`;
const repaired = `const { address, bytes } = makeParts(4);
  raw.mprotect(address, 4 * length, raw.PROT_NONE);
  bytes[0]; bytes[2 * length] = 1; faults(address, 4 * length);
  return { address, views: [bytes] };`;

const operations: Readonly<Record<string, Operation>> = {
  "mmap()": {
    setup: `return { views: [], address: mapParts(1) };`,
    act: `state.made = raw.mmap(null, 2 * length, rw, kind, -1, 0);`,
  },
  "mmap(MAP_FIXED) over viewed pages": {
    setup: viewed,
    act: `raw.mmap(state.address + part, 2 * length, rw, kind | raw.MAP_FIXED, -1, 0);`,
  },
  "mmap(MAP_FIXED) of a file over viewed pages": {
    setup: viewed,
    act: `const fd = fs.openSync(path, "r");
      try { raw.mmap(state.address, 2 * pageSize, 1, raw.MAP_SHARED | raw.MAP_FIXED, fd, 0); }
      finally { fs.closeSync(fd); }`,
  },
  "munmap() of pages without a view": {
    setup: bare,
    act: `raw.munmap(state.address, 4 * length);`,
  },
  "munmap() of viewed pages": {
    setup: viewed,
    act: `raw.munmap(state.address + part, 2 * length);`,
  },
  "munmap() around a view": {
    setup: partly,
    act: `raw.munmap(state.address, 4 * length);`,
  },
  "mprotect() of repaired pages": {
    setup: repaired,
    act: `raw.mprotect(state.address, 4 * length, rw);`,
  },
  "madvise()": {
    setup: viewed,
    act: `raw.madvise(state.address, 4 * length, raw.MADV_DONTNEED);`,
  },
  "mremap() of viewed pages": {
    setup: viewed,
    act: `state.made = raw.mremap(state.address, 4 * length, 8 * length, 1);`,
  },
  "mremap(MREMAP_FIXED) of viewed pages over viewed pages": {
    setup: target,
    act: `raw.mremap(state.address, 4 * length, 4 * length, moving, state.to);`,
  },
  "mremap(MREMAP_FIXED) that shortens": {
    setup: target,
    act: `raw.mremap(state.address, 4 * length, 2 * length, moving, state.to);`,
  },
  "mremap() in its place": {
    setup: bare,
    act: `raw.mremap(state.address, 4 * length, length, 0);`,
  },
  "mremap() of pages without a view": {
    setup: bare,
    act: `state.made = raw.mremap(state.address, 4 * length, 8 * length, 1);`,
  },
  "mremap(MREMAP_DONTUNMAP)": {
    setup: viewed,
    act: `state.made = raw.mremap(state.address, 4 * length, 4 * length,
      1 | raw.MREMAP_DONTUNMAP);`,
  },
};

function program({ setup, act }: Operation): string {
  return `
    const length = 2 ** 26, part = BigInt(length);
    const path = makeFile(4);
    const names = ["mmap", "munmap", "mremap", "mprotect", "madvise"];
    const problems = new Set();
    let failures = 0;
    const mapParts = (count) =>
      raw.mmap(null, count * length, rw, kind | raw.MAP_NORESERVE, -1, 0);
    function makeParts(count) {
      const address = mapParts(count);
      return { address, bytes: raw.view(address, count * length) };
    }
    function setUp() { ${setup} }
    function run(state) { ${act} }

    /** A page of each part is touched: what cannot be had reads as zeros, and ends nothing. */
    function touchAll(state) {
      for (const view of state.views) {
        for (let i = 0; i < view.length; i += length) view[i] = view[i] + 1;
      }
      while (faults(0n, 2n ** 64n - 1n) !== 0);
    }

    /** Gives all of it back, by the addresses that the program knows. */
    function endAll(state) {
      for (const from of [state.address, state.to, state.made]) {
        for (let i = 0n; from !== undefined && i < 8n; i += 1n) {
          const code = codeOf(() => raw.munmap(from + i * part, length));
          if (!["", "ERR_MEMMAP_UNSAFE_FIXED"].includes(code)) problems.add("unmap " + code);
        }
      }
    }

    /** Whether the nth call of a name was made at all, and failed. */
    function fails(name, nth, errno) {
      const state = setUp();
      native().failCall(name, nth, errno);
      const code = codeOf(() => run(state));
      native().failCall(name, 0, 0);
      touchAll(state);
      if (code !== "") {
        failures += 1;
        if (!["ENOMEM", "EAGAIN"].includes(code)) problems.add([name, nth, code].join(" "));
        const again = codeOf(() => run(state));
        if (again !== "") problems.add([name, nth, "and again", again].join(" "));
        touchAll(state);
      }
      endAll(state);
      return code !== "";
    }

    const foreign = makeForeign(2);
    const sizes = [];
    for (let round = 0; round < 3; round++) {
      for (const name of names) {
        for (const errno of [12, 11]) {
          for (let nth = 1; nth < 12 && (fails(name, nth, errno) || nth < 6); nth++);
        }
      }
      await collect();
      sizes.push(rows().reduce((sum, { start, end }) => sum + Number(end - start), 0) / length);
    }
    // An arena of the C library is one part; two rounds that leave something leave at least two.
    const left = Math.floor(Math.max(sizes[2] - sizes[0] - 1.5, 0));
    answer({ problems: [...problems], failed: failures > 0, left, whole: foreign.isWhole() });`;
}

for (const [name, operation] of Object.entries(operations)) {
  test(`${name} survives the failure of each of its calls`, { timeout: 60_000 }, async (t) => {
    const answer = await rawAnswer(t, program(operation), { timeoutMs: 50_000 });
    assert.deepEqual(answer, { problems: [], failed: true, left: 0, whole: true });
  });
}
