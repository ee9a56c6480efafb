// What memfd_secret(2) takes for flags, which is not what its manual page says.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { SystemError } from "memmap";
import * as raw from "memmap/raw";

/* The same on all machines that memmap runs on. */
const closeOnExec = 0o2000000;

function whyNone(): string | false {
  try {
    raw.close(raw.memfd_secret(0));
    return false;
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    return `needs a kernel with secret memory: ${error.code}`;
  }
}

test("secret memory takes O_CLOEXEC, and refuses FD_CLOEXEC", { skip: whyNone() }, (t) => {
  const fd = raw.memfd_secret(closeOnExec);
  t.after(() => raw.close(fd));
  const flags = /^flags:\s+([0-7]+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8"))?.[1];
  assert.notEqual(Number.parseInt(flags ?? "0", 8) & closeOnExec, 0);
  assert.throws(() => raw.memfd_secret(1), { code: "EINVAL" });
});
