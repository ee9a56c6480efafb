// Transparent huge pages that are made on demand, by MADV_COLLAPSE.

import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { smapsBytesAt } from "../helpers/proc-self.js";
import type { Case, CaseContext, Check } from "./case.js";
import * as memory from "./memory.js";

const hugeBytes = 2 ** 21;
const pageCount = hugeBytes / pageSize;
const skip = !raw.accepts("MADV_COLLAPSE") && "needs transparent huge pages and Linux 6.1";

/** As many addresses as a huge page has, at which one may lie. */
function mapHuge(t: CaseContext): bigint {
  return memory.mapAligned(t, hugeBytes, hugeBytes);
}

/** The same with the pages of a file. */
function mapFile(t: CaseContext, fd: number, prot: number): bigint {
  return memory.map(t, pageCount, { fd, prot, at: mapHuge(t) });
}

function content(): Uint8Array {
  return memory.numbered(pageCount);
}

function isContent(address: bigint): boolean {
  return Buffer.compare(raw.view(address, hugeBytes), content()) === 0;
}

function collapseOwn(check: Check, t: CaseContext): void {
  const address = mapHuge(t);
  raw.view(address, hugeBytes).set(content());
  if (!memory.isAlwaysHuge()) check.equal(smapsBytesAt(address, "AnonHugePages"), 0);
  memory.collapse(address, hugeBytes);
  check.equal(smapsBytesAt(address, "AnonHugePages"), hugeBytes);
  check.ok(isContent(address));

  const refused = mapHuge(t);
  raw.madvise(refused, hugeBytes, raw.MADV_NOHUGEPAGE);
  raw.view(refused, hugeBytes).set(content());
  check.refuses(() => memory.collapse(refused, hugeBytes), "EINVAL");
  check.ok(isContent(refused));
}

function collapseShared(check: Check, t: CaseContext): void {
  const address = mapFile(t, memory.memoryFile(t, content()), memory.rw);
  check.ok(isContent(address));
  memory.collapse(address, hugeBytes);
  check.equal(smapsBytesAt(address, "ShmemPmdMapped"), hugeBytes);
  check.ok(isContent(address));
}

function collapseFile(check: Check, t: CaseContext): void {
  const fd = memory.open(t, memory.makeFile(t, content()), "r");
  const address = mapFile(t, fd, raw.PROT_READ | raw.PROT_EXEC);
  check.ok(isContent(address));
  try {
    memory.collapse(address, hugeBytes);
    check.equal(smapsBytesAt(address, "FilePmdMapped"), hugeBytes);
  } catch (error) {
    // Most kernels are built without huge pages for files on disk.
    check.ok(error instanceof Error && "code" in error && error.code === "EINVAL", String(error));
  }
  check.ok(isContent(address));
}

export const transparentHugeCases: readonly Case[] = [
  {
    id: "ksft-mm:khugepaged:collapse_full",
    says: "pages that are all there become a huge one with their content, unless that is unwanted",
    skip,
    run(check, t) {
      collapseOwn(check, t);
      collapseShared(check, t);
      collapseFile(check, t);
    },
  },
  {
    id: "ksft-mm:khugepaged:collapse_empty",
    says: "of pages that nobody touched no huge one is made",
    skip,
    run(check, t) {
      const address = mapHuge(t);
      check.refuses(() => memory.collapse(address, hugeBytes), "EINVAL");
      check.equal(smapsBytesAt(address, "AnonHugePages"), 0);
    },
  },
  {
    id: "ksft-mm:khugepaged:madvise_collapse_existing_thps",
    says: "making a huge page of one that is huge succeeds",
    skip,
    run(check, t) {
      const address = mapHuge(t);
      raw.view(address, hugeBytes).set(content());
      for (let i = 0; i < 2; i++) {
        memory.collapse(address, hugeBytes);
        check.equal(smapsBytesAt(address, "AnonHugePages"), hugeBytes);
        check.ok(isContent(address));
      }
    },
  },
];
