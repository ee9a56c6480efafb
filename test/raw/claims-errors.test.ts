// Errors of the manual that only a machine in need gives, or one with failing memory: no test makes
// a machine fail. Here the call fails as the kernel would, and the door tells it as it is.

import assert from "node:assert/strict";
import test from "node:test";
import { mapAnonymous, pageSize, SystemError } from "memmap";
import * as raw from "memmap/raw";
import { native } from "#dist/native.js";
import { permissionsAt } from "../helpers/proc-self.js";
import { anonymous, map, peek, rw } from "./memory.js";

const errnos: Readonly<Record<string, number>> = {
  EIO: 5,
  EAGAIN: 11,
  ENOMEM: 12,
  EBUSY: 16,
  ENFILE: 23,
  EHWPOISON: 133,
};

/** The error of a call of which the kernel's answer is given here. */
function errorOf(syscall: string, code: string, call: () => unknown): unknown {
  native().failCall(syscall, 1, errnos[code] ?? 0);
  try {
    call();
  } catch (error) {
    return error;
  } finally {
    native().failCall(syscall, 0, 0);
  }
  return undefined;
}

function fails(syscall: string, code: string, call: () => unknown): void {
  const error = errorOf(syscall, code, call);
  assert.ok(error instanceof SystemError, `${syscall} ${code}: ${String(error)}`);
  const { errno } = error;
  assert.deepEqual([error.code, error.syscall, errno], [code, syscall, -(errnos[code] ?? 0)]);
}

test("ENFILE and ENOMEM of mmap and memfd_create are told as they are", (t) => {
  map(t, pageSize); // The first mapping of a process makes calls of its own.
  const flags = raw.MAP_SHARED | raw.MAP_ANONYMOUS;
  for (const code of ["ENFILE", "ENOMEM", "EAGAIN"]) {
    fails("mmap", code, () => raw.mmap(null, pageSize, rw, flags, -1, 0));
  }
  for (const code of ["ENFILE", "ENOMEM"]) {
    fails("memfd_create", code, () => mapAnonymous(pageSize, { sharing: "shared" }));
  }
});

test("EAGAIN and ENOMEM of calls on pages are told as they are, and nothing has changed", (t) => {
  const address = map(t, pageSize, { flags: anonymous });
  raw.view(address, 1)[0] = 7;
  fails("mprotect", "ENOMEM", () => raw.mprotect(address, pageSize, raw.PROT_READ));
  fails("mlock", "EAGAIN", () => raw.mlock(address, pageSize));
  fails("munlock", "EAGAIN", () => raw.munlock(address, pageSize));
  fails("mincore", "EAGAIN", () => raw.mincore(address, pageSize));
  assert.deepEqual([permissionsAt(address), peek(address)?.[0]], ["rw-p", 7]);
});

test("errors of advice that a machine in need gives are told as they are", (t) => {
  const address = map(t, pageSize, { flags: anonymous });
  const errors: readonly [number, string][] = [
    [raw.MADV_WILLNEED, "EIO"],
    [raw.MADV_WILLNEED, "ENOMEM"],
    [raw.MADV_POPULATE_READ, "EHWPOISON"],
    [raw.MADV_POPULATE_WRITE, "ENOMEM"],
    [raw.MADV_COLLAPSE, "EBUSY"],
    [raw.MADV_COLLAPSE, "ENOMEM"],
    [raw.MADV_SOFT_OFFLINE, "EBUSY"],
    [raw.MADV_SOFT_OFFLINE, "EIO"],
    [raw.MADV_DONTFORK, "EAGAIN"],
  ];
  for (const [advice, code] of errors) {
    fails("madvise", code, () => raw.madvise(address, pageSize, advice));
  }
});
