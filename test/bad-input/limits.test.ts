// Limits that are reached: of the process and of the system. Each is a SystemError that names its
// bound, nothing of the failed call is left, and the process goes on.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { mapAnonymous } from "memmap";
import { limitedOutput, runLimited } from "../helpers/ordinary-user.js";
import { takePower } from "../helpers/root-powers.js";
import { runtimeName } from "../helpers/runtime.js";
import { needs, tempDir } from "../helpers/temp.js";

const addressLimit = `
  const size = Number(/VmSize:\\s+(\\d+)/.exec(fs.readFileSync("/proc/self/status", "utf8"))[1]);
  limit("as", size * 1024 + 2 ** 30);
`;

test("an address space that is full is ENOMEM and names RLIMIT_AS", async () => {
  const output = await limitedOutput(`${addressLimit}
    const before = fs.readFileSync("/proc/self/maps", "utf8").split("\\n").length;
    for (const sharing of ["private", "shared"]) {
      console.log(failure(() => mapAnonymous(2 ** 31, { sharing })));
    }
    for (let i = 0; i < 100; i++) failure(() => mapAnonymous(2 ** 31, { sharing: "shared" }));
    const after = fs.readFileSync("/proc/self/maps", "utf8").split("\\n").length;
    const objects = fs.readdirSync("/proc/self/fd").filter((fd) => {
      try { return fs.readlinkSync("/proc/self/fd/" + fd).includes("memfd:memmap"); }
      catch { return false; }
    });
    const mapping = mapAnonymous(2 ** 20);
    mapping.bytes.fill(1);
    console.log(after - before < 50, objects.length, mapping.bytes[2 ** 20 - 1]);`);
  const [own, shared, rest] = output.split("\n");
  for (const line of [own, shared]) {
    assert.match(line ?? "", /^SystemError \| ENOMEM \| mmap \| .*RLIMIT_AS is \d+ bytes/);
  }
  assert.equal(rest, "true 0 1");
});

test("a resize into an address space that is full changes nothing", async () => {
  const output = await limitedOutput(`${addressLimit}
    for (const sharing of ["private", "shared"]) {
      const mapping = mapAnonymous(8192, { sharing });
      const { bytes, address } = mapping;
      bytes.fill(7);
      console.log(failure(() => mapping.resize(2 ** 31)).split(" | ").slice(0, 3).join());
      console.log(mapping.bytes === bytes, bytes.every((byte) => byte === 7), bytes.length);
      console.log(mapping.address === address);
      mapping.resize(16384);
      console.log(mapping.read(8191, 2).join());
    }`);
  const one = "SystemError,ENOMEM,mremap\ntrue true 8192\ntrue\n7,0\n";
  assert.equal(output, one + one);
});

/* Node tells of a buffer that has ended when its event loop goes round, and not before. */
const goRound = "await new Promise((resolve) => setTimeout(resolve, 1));";

test("addresses that are kept back after close are given up when they are needed", async () => {
  const output = await limitedOutput(`${addressLimit}
    for (let i = 0; i < 40; i++) {
      const mapping = mapAnonymous(i % 2 === 0 ? 2 ** 28 : 4096);
      mapping.bytes[0] = 1;
      mapping.close();
      ${goRound}
    }
    console.log("mapped");`);
  assert.equal(output, "mapped\n");
});

test("addresses that are kept back are given up for a resize that needs them", async () => {
  const output = await limitedOutput(`${addressLimit}
    const mapping = mapAnonymous(4096);
    mapping.bytes[0] = 7;
    for (let i = 0; i < 20; i++) {
      mapping.resize(2 ** 28);
      mapping.bytes[2 ** 28 - 1] = 7;
      mapping.resize(4096);
      ${goRound}
    }
    console.log("resized", mapping.bytes[0]);`);
  assert.equal(output, "resized 7\n");
});

/** How many areas a process may have, or why that number is not to be reached. */
function areasMax(): number | string {
  if (runtimeName === "deno") return "V8 in Deno needs areas of its own all the time";
  const max = Number(readFileSync("/proc/sys/vm/max_map_count", "utf8"));
  return max <= 200_000 ? max : `vm.max_map_count is ${max}`;
}

/*
 * At this limit an engine that needs memory for itself ends the process. So the child goes the way
 * of a failing call once before, for its code to be compiled, and leaves the limit at once.
 */
const fillAreas = `
  const held = [];
  function fill() {
    for (;;) held.push(mapAnonymous(1, { protection: held.length % 2 ? "read" : "none" }));
  }
  function errorAt(call) {
    let found;
    try { call(); } catch (error) { found = error; }
    for (let i = 0; i < 2000 && held.length > 0; i++) held.pop().close();
    return found;
  }
  errorAt(() => mapAnonymous(2 ** 31, { hugePages: 2 ** 30 }));
  for (let i = 0; i < 3000; i++) held.push(mapAnonymous(1));
  errorAt(() => held[0].protect("nothing"));
  const tell = (error) =>
    console.log([error.constructor.name, error.code, error.syscall, error.message].join(" | "));
`;

test("too many areas are ENOMEM and name vm.max_map_count; closing makes room", async (t) => {
  const max = areasMax();
  if (typeof max === "string") return t.skip(max);
  const output = await limitedOutput(`${fillAreas}
    const error = errorAt(fill);
    tell(error);
    console.log(held.length > ${max} / 2);
    const mapping = mapAnonymous(4096);
    mapping.bytes[0] = 1;
    for (const mapping of held) mapping.close();
    console.log(mapping.bytes[0]);`);
  const [error, many, rest] = output.split("\n");
  const expected = new RegExp(
    `^SystemError \\| ENOMEM \\| mmap \\| .*vm\\.max_map_count is ${max}`,
  );
  assert.match(error ?? "", expected);
  assert.deepEqual([many, rest], ["true", "1"]);
});

test("protecting a part where areas are used up is ENOMEM and protects nothing", async (t) => {
  const max = areasMax();
  if (typeof max === "string") return t.skip(max);
  const output = await limitedOutput(`${fillAreas}
    const mapping = mapAnonymous(8 * 4096);
    mapping.bytes.fill(7);
    mapping.protect("read-write", { offset: 4096, length: 4096 });
    const middle = { offset: 4096, length: 4096 };
    const rows = () => fs.readFileSync("/proc/self/maps", "utf8").split("\\n").length - 1;
    const one = () => held.push(mapAnonymous(1, { protection: held.length % 2 ? "read" : "none" }));
    for (let room; (room = ${max} - rows()) > 150; ) {
      for (let more = Math.ceil(room / 2); more > 0; more--) one(); // The engine takes some too.
    }
    const error = errorAt(() => {
      for (;;) {
        mapping.protect("read", middle); // Takes two areas more, which a mapping does not.
        mapping.protect("read-write", middle);
        one();
      }
    });
    tell(error);
    console.log(mapping.protection, mapping.bytes.every((byte) => byte === 7));
    mapping.write(4096, Buffer.from([8]));`);
  const [error, rest] = output.split("\n");
  assert.match(error ?? "", /^SystemError \| ENOMEM \| mprotect \| .*vm\.max_map_count is \d+/);
  assert.equal(rest, "read-write true");
});

test("a resize that needs more areas than there are changes nothing", async () => {
  const output = await limitedOutput(`
    const max = Number(fs.readFileSync("/proc/sys/vm/max_map_count", "utf8"));
    const count = () => fs.readFileSync("/proc/self/maps", "utf8").split("\\n").length - 1;
    const mappings = ["private", "shared"].map((sharing) => {
      const mapping = mapAnonymous(6001 * 4096, { sharing });
      mapping.bytes.fill(7);
      for (let i = 1; i < 6000; i += 2) {
        mapping.protect("read", { offset: i * 4096, length: 4096 });
      }
      return mapping;
    });
    const room = max - count() - 1000;
    const held = [];
    while (held.length < room) {
      held.push(mapAnonymous(1, { protection: held.length % 2 ? "read" : "none" }));
    }
    for (const mapping of mappings) {
      const { bytes, address } = mapping;
      const before = count();
      console.log(failure(() => mapping.resize(6002 * 4096)).split(" | ").slice(0, 2).join());
      console.log(mapping.byteLength / 4096, mapping.address === address, mapping.bytes === bytes);
      console.log(bytes.every((byte) => byte === 7), count() - before < 100);
      console.log(failure(() => mapping.write(4096, Buffer.from([1]))).slice(0, 37));
      mapping.write(6000 * 4096, Buffer.from([1]));
    }
    for (const mapping of held) mapping.close();`);
  const refused = "MemmapError | ERR_MEMMAP_READ_ONLY |";
  const one = `SystemError,ENOMEM\n6001 true true\ntrue true\n${refused} \n`;
  assert.equal(output, one + one);
});

test("used-up descriptors are EMFILE where a mapping needs one, and only there", async (t) => {
  const path = join(tempDir(t), "data.bin");
  writeFileSync(path, "content");
  const output = await limitedOutput(
    `const fd = fs.openSync(process.argv[2], "r+");
    console.log(failure(() => mapAnonymous(10, { sharing: "shared" })));
    limit("nofile", fs.readdirSync("/proc/self/fd").length + 30);
    const fill = [];
    try { for (;;) fill.push(fs.openSync("/dev/null")); } catch {}
    console.log(failure(() => mapAnonymous(10, { sharing: "shared" })));
    console.log(failure(() => mapFileSync(process.argv[2])));
    const kept = mapFileSync(fd);
    console.log(failure(() => mapAnonymous(10)), kept.byteLength);
    console.log(failure(() => mapFileSync(fd, { grow: true, length: 8192 })));
    fs.closeSync(fill[0]);
    const rows = fs.readFileSync("/proc/self/maps", "utf8").split(process.argv[2]).length;
    console.log(rows - 1, fs.fstatSync(fd).size);
    kept.close();`,
    [path],
  );
  const [free, memory, file, rest, growing, left] = output.split("\n");
  assert.equal(free, "no error");
  assert.match(memory ?? "", /^SystemError \| EMFILE \| memfd_create \|/);
  assert.match(file ?? "", /^SystemError \| EMFILE \| open \|/);
  assert.equal(rest, "no error 7");
  assert.match(growing ?? "", /^SystemError \| EMFILE \| fcntl \|/);
  assert.equal(left, "1 7", "the mapping that holds no descriptor is all that is left");
});

test("without a descriptor for the guard a first mapping is EMFILE", async () => {
  const output = await limitedOutput(`
    limit("nofile", fs.readdirSync("/proc/self/fd").length + 30);
    const fill = [];
    try { for (;;) fill.push(fs.openSync("/dev/null")); } catch {}
    const kind = raw.MAP_PRIVATE | raw.MAP_ANONYMOUS;
    console.log(failure(() => mapAnonymous(10)));
    console.log(failure(() => raw.mmap(null, 10, raw.PROT_READ, kind, -1, 0)));
    for (const fd of fill) fs.closeSync(fd);
    console.log(failure(() => mapAnonymous(10)));`);
  const [core, door, next] = output.split("\n");
  assert.match(core ?? "", /^SystemError \| EMFILE \|/);
  assert.match(door ?? "", /^SystemError \| EMFILE \| mmap \|/);
  assert.equal(next, "no error");
});

const ownFiles = runtimeName === "deno" && "Deno writes longer files of its own as it exits";

test("a file size limit is EFBIG and no signal, and the file keeps its length", {
  skip: ownFiles,
}, async (t) => {
  const path = join(tempDir(t), "data.bin");
  writeFileSync(path, "content");
  const { code, signal, stdout, stderr } = await runLimited(
    `limit("fsize", 2 ** 20);
    console.log(failure(() => mapFileSync(process.argv[2], { grow: true, length: 2 ** 21 })));
    console.log(fs.statSync(process.argv[2]).size);
    const mapping = mapFileSync(process.argv[2], { grow: true, length: 8192 });
    console.log(failure(() => mapping.resize(2 ** 21)), mapping.byteLength);
    const memory = mapAnonymous(8192, { sharing: "shared" });
    console.log(failure(() => memory.resize(2 ** 21)), memory.byteLength);
    console.log(failure(() => mapAnonymous(2 ** 21, { sharing: "shared" })));`,
    [path],
  );
  assert.deepEqual([signal ?? code, stderr], [0, ""], `on ${runtimeName}`);
  const lines = stdout.split("\n");
  assert.match(lines[0] ?? "", /^SystemError \| EFBIG \| fallocate \|/);
  assert.equal(lines[1], "7");
  assert.match(lines[2] ?? "", /^SystemError \| EFBIG \| fallocate .* 8192$/);
  assert.match(lines[3] ?? "", /^SystemError \| EFBIG \| ftruncate .* 8192$/);
  assert.match(lines[4] ?? "", /^SystemError \| EFBIG \| memfd_create \|/);
});

test(
  "huge pages that are not there are ENOMEM, and the message names the pool",
  needs("root"),
  async (t) => {
    await takePower(t, "huge-pages");
    const pool = readFileSync("/proc/sys/vm/nr_hugepages", "utf8").trim();
    if (pool !== "0") return t.skip(`there are ${pool} huge pages`);
    for (const sharing of ["private", "shared"] as const) {
      assert.throws(() => mapAnonymous(2 ** 30, { hugePages: 2 ** 21, sharing }), {
        name: "SystemError",
        code: "ENOMEM",
        message: /huge/,
      });
    }
  },
);

test("a huge page size that the machine does not have is the kernel's error", () => {
  for (const sharing of ["private", "shared"] as const) {
    assert.throws(
      () => mapAnonymous(1, { hugePages: 2 ** 40, sharing }),
      (error) => {
        assert.ok(error instanceof Error && "code" in error);
        assert.equal(error.name, "SystemError");
        assert.match(String(error.code), /^(EINVAL|ENODEV|ENOMEM)$/);
        return true;
      },
    );
  }
});
