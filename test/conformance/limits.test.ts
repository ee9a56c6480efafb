// Space and addresses: a full disk is found when the file is made longer and not when a byte is
// touched; memory that is only reserved costs nothing; what runs out is the kernel's error.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmdirSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { mapAnonymous, mapFile, mapFileSync } from "memmap";
import { descriptorsNamed, smapsBytesAt, statusBytes } from "../helpers/proc-self.js";
import { type Cleanup, needs, tempDir } from "../helpers/temp.js";

const mib = 2 ** 20;

/** A file system of its own with little space; undefined where none can be mounted. */
function smallDisk(t: Cleanup, byteLength: number): string | undefined {
  const folder = mkdtempSync(join(tmpdir(), "memmap-disk-"));
  const options = ["-t", "tmpfs", "-o", `size=${byteLength}`, "tmpfs", folder];
  const mounted = spawnSync("mount", options).status === 0;
  t.after(() => {
    // Refused while anything of it is mapped or open: then a test has left something behind.
    const { status, stderr } = spawnSync("umount", [folder], { encoding: "utf8" });
    if (mounted && status !== 0) spawnSync("umount", ["-l", folder]);
    rmdirSync(folder);
    assert.ok(!mounted || status === 0, stderr);
  });
  return mounted ? folder : undefined;
}

test(
  "a full disk is ENOSPC when the file is to grow, and the file keeps its length",
  needs("root"),
  async (t) => {
    const disk = smallDisk(t, 4 * mib);
    if (disk === undefined) return t.skip("no file system can be mounted");
    const path = join(disk, "data.bin");
    writeFileSync(path, "content");
    const expected = { name: "SystemError", code: "ENOSPC", syscall: "fallocate", path };
    const options = { grow: true, length: 16 * mib };
    assert.throws(() => mapFileSync(path, options), expected);
    await assert.rejects(mapFile(path, options), expected);
    assert.equal(readFileSync(path, "utf8"), "content");
    using mapping = mapFileSync(path, { grow: true, length: mib });
    mapping.bytes[mib - 1] = 1;
    assert.throws(() => mapping.resize(16 * mib), { ...expected, syscall: "fallocate" });
    assert.deepEqual([mapping.bytes.length, mapping.bytes[mib - 1]], [mib, 1]);
    assert.equal(statSync(path).size, mib);
  },
);

test("a file that was made and could not grow is taken away again", needs("root"), async (t) => {
  const disk = smallDisk(t, mib);
  if (disk === undefined) return t.skip("no file system can be mounted");
  const path = join(disk, "new.bin");
  const options = { create: true, grow: true, length: 16 * mib };
  assert.throws(() => mapFileSync(path, options), { code: "ENOSPC" });
  assert.equal(existsSync(path), false);
  await assert.rejects(mapFile(path, options), { code: "ENOSPC" });
  assert.equal(existsSync(path), false);
  assert.equal(descriptorsNamed(path).length, 0);
});

test(
  "space that grow has given is there: a disk that is full afterwards does not matter",
  needs("root"),
  (t) => {
    const disk = smallDisk(t, 4 * mib);
    if (disk === undefined) return t.skip("no file system can be mounted");
    using mapping = mapFileSync(join(disk, "own.bin"), {
      create: true,
      grow: true,
      length: 2 * mib,
    });
    assert.throws(() => writeFileSync(join(disk, "other.bin"), Buffer.alloc(8 * mib)));
    mapping.bytes.fill(1);
    mapping.flushSync();
    assert.equal(mapping.bytes[2 * mib - 1], 1);
  },
);

test("memory is taken when it is written, not when it is mapped", () => {
  const before = statusBytes("VmRSS");
  using mapping = mapAnonymous(2 ** 31, { reserve: false });
  assert.equal(mapping.bytes.length, 2 ** 31);
  assert.equal(mapping.bytes[2 ** 31 - 1], 0);
  assert.ok(statusBytes("VmRSS") - before < 64 * mib);
  mapping.bytes[2 ** 30] = 1;
  assert.ok(smapsBytesAt(mapping.address, "Rss") < 16 * mib);
});

test("a large file takes no memory before it is touched", (t) => {
  const path = join(tempDir(t), "sparse.bin");
  writeFileSync(path, "");
  spawnSync("truncate", ["-s", "3G", path]);
  const before = statusBytes("VmRSS");
  using mapping = mapFileSync(path);
  assert.equal(mapping.bytes.length, 3 * 2 ** 30);
  assert.equal(smapsBytesAt(mapping.address, "Rss"), 0);
  assert.ok(statusBytes("VmRSS") - before < 64 * mib);
});
