// Handles come from outside: whatever stands in one is an error with a documented code or a
// working mapping, never a crash and never foreign memory.

import assert from "node:assert/strict";
import test from "node:test";
import { answerTo } from "../guard/program.js";

/* Tries handles and answers the codes that are not documented, the mappings made from wrong values,
   and what was left over. */
const tries = `
  const documented = new Set(["ERR_INVALID_ARG_TYPE", "ERR_INVALID_ARG_VALUE", "ERR_OUT_OF_RANGE",
    "ERR_BUFFER_TOO_LARGE", "ERR_MEMMAP_CLOSED", "ERR_MEMMAP_PEER_DIED", "ERR_MEMMAP_UNSUPPORTED",
    "ERR_MEMMAP_VERSION", "ENOENT", "EACCES", "EPERM", "ENODEV", "EISDIR", "EINVAL", "ENOMEM",
    "ENXIO", "ELOOP", "ENAMETOOLONG", "ENOTDIR", "EBADF", "EAGAIN", "EOVERFLOW"]);
  const odd = [];
  let attached = 0;
  function attempt(handle, label) {
    try {
      const mapping = attachMapping(handle);
      attached += 1;
      /* What was let through must be safe to use from end to end. */
      const { bytes } = mapping;
      let sum = 0;
      for (let i = 0; i < bytes.length; i += pageSize) sum += bytes[i];
      if (bytes.length > 0) sum += bytes[bytes.length - 1];
      mapping.close();
      return "attached";
    } catch (error) {
      if (!documented.has(error.code)) odd.push(label + ": " + (error.code ?? error.stack));
      return error.code;
    }
  }
  const counts = () => ({
    fds: fs.readdirSync("/proc/self/fd").length,
    rows: fs.readFileSync("/proc/self/maps", "utf8").split("\\n")
      .filter((row) => /memfd:memmap|data-/.test(row)).length,
  });`;

const values = `[undefined, null, true, false, 0, -1, 1, 1.5, 2 ** 31, 2 ** 32, 2 ** 53, 1e308, NaN,
  Infinity, -Infinity, 10n, "", "0", "x", "-1", "/", "/proc/self/mem", "\\0", "../..",
  "9".repeat(400),
  [], {}, () => {}, Symbol("s"), new Uint8Array(4)]`;

test("each field of a handle may hold anything without a crash", async (t) => {
  const code = `${tries}
    const path = makeFile(3);
    const kept = [
      mapFileSync(path, { protection: "read-write" }),
      mapFileSync(path, { sharing: "private" }),
      mapAnonymous(3 * pageSize, { sharing: "shared" }),
      mapAnonymous(3 * pageSize),
    ];
    const before = counts();
    for (const mapping of kept) {
      const good = mapping.share();
      for (const field of Object.keys(good)) {
        for (const value of ${values}) {
          attempt({ ...good, [field]: value }, field + "=" + String(value).slice(0, 20));
          /* The same from another process: the memory itself is not at hand there. */
          const far = { ...good, pid: 1, startTime: "1", [field]: value };
          attempt(far, "far " + field + "=" + String(value).slice(0, 20));
        }
        const { [field]: left, ...rest } = good;
        attempt(rest, "without " + field);
      }
    }
    answer({ odd, some: attached > 0, same: JSON.stringify(before) === JSON.stringify(counts()),
      content: kept[0].bytes[pageSize] });`;
  assert.deepEqual(await answerTo(t, code), { odd: [], some: true, same: true, content: 2 });
});

test("random combinations of wrong fields do not crash", async (t) => {
  const code = `${tries}
    let state = Number(process.env.SEED ?? 12345);
    const random = (below) => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    const path = makeFile(3);
    const kept = [mapFileSync(path, { protection: "read-write" }),
      mapAnonymous(9, { sharing: "shared" }), mapAnonymous(3 * pageSize)];
    const before = counts();
    const values = ${values};
    for (let i = 0; i < 3000; i++) {
      const handle = { ...kept[random(kept.length)].share() };
      const fields = Object.keys(handle);
      for (let k = 0; k <= random(4); k++) {
        const other = kept[random(kept.length)].share();
        const field = fields[random(fields.length)];
        handle[field] = random(2) === 0 ? values[random(values.length)] : other[field];
      }
      attempt(handle, JSON.stringify(handle, (key, value) =>
        typeof value === "bigint" ? String(value) : value));
    }
    answer({ odd, same: JSON.stringify(before) === JSON.stringify(counts()) });`;
  assert.deepEqual(await answerTo(t, code), { odd: [], same: true });
});

test("what is no handle is refused, and another form by its version", async (t) => {
  const code = `${tries}
    const good = mapAnonymous(1, { sharing: "shared" }).share();
    const nothing = ${values}.map((value) => attempt(value, "whole"));
    const versions = [0, 2, 1000].map((memmap) => attempt({ ...good, memmap }, "version"));
    const wrongType = attempt({ ...good, memmap: "1" }, "version");
    const mine = { ...good, get memmap() { throw new RangeError("mine"); } };
    const throwing = codeOf(() => attachMapping(mine));
    const proxy = new Proxy(good, { ownKeys() { throw new SyntaxError("mine"); } });
    const kinds = (codes) => [...new Set(codes)].sort();
    answer({ odd, nothing: kinds(nothing), versions: kinds(versions), wrongType, throwing,
      proxied: codeOf(() => attachMapping(proxy)) });`;
  const { nothing, ...rest } = await answerTo(t, code);
  assert.deepEqual(rest, {
    odd: [],
    versions: ["ERR_MEMMAP_VERSION"],
    wrongType: "ERR_INVALID_ARG_VALUE",
    throwing: "RangeError",
    proxied: "SyntaxError",
  });
  for (const code of [nothing].flat()) assert.match(String(code), /^ERR_INVALID_ARG_(TYPE|VALUE)$/);
});

test("getters of a handle that close or resize the mapping do no harm", async (t) => {
  const code = `${tries}
    const ends = [];
    for (const act of ["close", "resize"]) {
      for (const field of ["memmap", "pid", "id", "byteLength", "range"]) {
        const mapping = mapAnonymous(3 * pageSize, { sharing: "shared" });
        const good = mapping.share();
        const handle = { ...good };
        Object.defineProperty(handle, field, {
          enumerable: true,
          get() {
            if (act === "close") mapping.close();
            else mapping.resize(pageSize);
            return good[field];
          },
        });
        ends.push(attempt(handle, act + " in " + field));
        mapping.close();
      }
    }
    answer({ odd, ends: [...new Set(ends)].sort() });`;
  const { odd, ends } = await answerTo(t, code);
  assert.deepEqual(odd, []);
  for (const end of [ends].flat()) assert.match(String(end), /^(ERR_|attached)/);
});
