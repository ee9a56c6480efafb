// Does one thing to the memory of one library, and says what came of it, if it still can:
//
//     abuse.mjs LIBRARY ABUSE PATH INSTALLED
//
// PATH is a file of eight pages that may be harmed; on a full disk, one without a page of its own.

import { readFileSync, truncateSync } from "node:fs";
import { promisify } from "node:util";
import zlib from "node:zlib";
import { Cannot, load } from "./openers.mjs";

const PAGE = 4096;
const LENGTH = 8 * PAGE;
const [, , library, abuse, path, installed] = process.argv;
const map = await load(library, installed);

/** What a library that can tell says about it. */
function told(memory) {
  try {
    memory.check?.();
    return "";
  } catch (error) {
    return `, FaultError "${error.reason}"`;
  }
}

function unmapped() {
  const memory = map({ path, length: LENGTH, protection: "read-write" });
  if (memory.unmap === undefined) throw new Cannot("it has no unmap");
  memory.unmap();
  return memory;
}

const abuses = {
  truncate() {
    const memory = map({ path, length: LENGTH, protection: "read-write" });
    truncateSync(path, PAGE);
    const byte = memory.bytes[5 * PAGE];
    return `read ${byte}${told(memory)}`;
  },
  async "truncate-zlib"() {
    const memory = map({ path, length: LENGTH, protection: "read-write" });
    truncateSync(path, PAGE);
    await promisify(zlib.deflate)(memory.bytes);
    return `compressed${told(memory)}`;
  },
  "read-only"() {
    const memory = map({ path, length: LENGTH, protection: "read" });
    memory.bytes[5 * PAGE] = 99;
    const kept =
      readFileSync(path)[5 * PAGE] === 99 ? "the file has changed" : "the file is as before";
    return `${kept}${told(memory)}`;
  },
  none() {
    const memory = map({ path, length: LENGTH, protection: "none" });
    return `read ${memory.bytes[5 * PAGE]}${told(memory)}`;
  },
  unmapped() {
    const memory = unmapped();
    return `read ${memory.bytes[5 * PAGE]}${told(memory)}`;
  },
  alias() {
    const stale = unmapped();
    const other = map({ path, length: LENGTH, protection: "read-write" });
    other.bytes[5 * PAGE] = 42;
    stale.bytes[5 * PAGE + 1] = 99;
    const isAlias = stale.bytes[5 * PAGE] === 42 || other.bytes[5 * PAGE + 1] === 99;
    return isAlias ? "WRONG: reads and writes the next mapping" : "the next mapping is untouched";
  },
  "disk-full"() {
    const memory = map({ path, length: LENGTH, protection: "read-write" });
    memory.bytes[5 * PAGE] = 1;
    return `written${told(memory)}`;
  },
  "huge-pool"() {
    const memory = map({ path, length: 2 ** 21, protection: "read-write", huge: true });
    memory.bytes[0] = 1;
    return `written${told(memory)}`;
  },
};

try {
  console.log(await abuses[abuse]());
} catch (error) {
  console.log(error instanceof Cannot ? `- (${error.message})` : `error: ${error.message}`);
}
