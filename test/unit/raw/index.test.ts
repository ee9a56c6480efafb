// src/raw/index.ts: the door has exactly these names, and they are those of the files behind it.

import assert from "node:assert/strict";
import test from "node:test";
import * as raw from "memmap/raw";
import * as accepts from "#dist/raw/accepts.js";
import * as constants from "#dist/raw/constants.js";
import * as descriptors from "#dist/raw/descriptors.js";
import * as index from "#dist/raw/index.js";
import * as mappings from "#dist/raw/mappings.js";
import * as pages from "#dist/raw/pages.js";

const calls: readonly string[] = [
  ...["accepts", "add_seals", "cachestat", "check", "close", "ftruncate", "get_seals", "madvise"],
  ...["memfd_create", "memfd_secret", "mincore", "mlock", "mlock2", "mlockall", "mmap"],
  ...["mprotect", "mremap", "mseal", "msync", "munlock", "munlockall", "munmap", "pidfd_open"],
  ...["process_madvise", "remap_file_pages", "shm_open", "shm_unlink", "view"],
];

const families: Readonly<Record<string, string>> = {
  PROT: "NONE READ WRITE EXEC GROWSDOWN GROWSUP SEM SAO BTI MTE",
  MAP:
    "SHARED PRIVATE SHARED_VALIDATE DROPPABLE TYPE FIXED FIXED_NOREPLACE ANONYMOUS ANON FILE " +
    "32BIT ABOVE4G GROWSDOWN DENYWRITE EXECUTABLE LOCKED NORESERVE POPULATE NONBLOCK STACK " +
    "HUGETLB SYNC UNINITIALIZED HUGE_SHIFT HUGE_MASK HUGE_16KB HUGE_64KB HUGE_512KB HUGE_1MB " +
    "HUGE_2MB HUGE_8MB HUGE_16MB HUGE_32MB HUGE_256MB HUGE_512MB HUGE_1GB HUGE_2GB HUGE_16GB",
  MS: "ASYNC INVALIDATE SYNC",
  MADV:
    "NORMAL RANDOM SEQUENTIAL WILLNEED DONTNEED FREE REMOVE DONTFORK DOFORK MERGEABLE " +
    "UNMERGEABLE HUGEPAGE NOHUGEPAGE DONTDUMP DODUMP WIPEONFORK KEEPONFORK COLD PAGEOUT " +
    "POPULATE_READ POPULATE_WRITE DONTNEED_LOCKED COLLAPSE GUARD_INSTALL GUARD_REMOVE HWPOISON " +
    "SOFT_OFFLINE",
  MCL: "CURRENT FUTURE ONFAULT",
  MLOCK: "ONFAULT",
  MREMAP: "MAYMOVE FIXED DONTUNMAP",
  MFD:
    "CLOEXEC ALLOW_SEALING HUGETLB NOEXEC_SEAL EXEC HUGE_SHIFT HUGE_MASK HUGE_64KB HUGE_512KB " +
    "HUGE_1MB HUGE_2MB HUGE_8MB HUGE_16MB HUGE_32MB HUGE_256MB HUGE_512MB HUGE_1GB HUGE_2GB " +
    "HUGE_16GB",
  F: "SEAL_SEAL SEAL_SHRINK SEAL_GROW SEAL_WRITE SEAL_FUTURE_WRITE SEAL_EXEC",
};

test("the door holds exactly these calls and constants", () => {
  const names = Object.entries(families).flatMap(([family, words]) =>
    words.split(" ").map((word) => `${family}_${word}`),
  );
  assert.deepEqual(Object.keys(raw).sort(), [...calls, ...names].sort());
});

test("each name of the door is the one of the file that owns it, by either way in", () => {
  const owned = { ...accepts, ...constants, ...descriptors, ...mappings, ...pages };
  assert.deepEqual({ ...raw }, owned);
  assert.deepEqual({ ...index }, owned);
});

test("calls are functions, constants whole numbers or undefined", () => {
  for (const [name, value] of Object.entries(raw)) {
    if (calls.includes(name)) assert.equal(typeof value, "function", name);
    else assert.ok(value === undefined || Number.isInteger(value), name);
  }
});
