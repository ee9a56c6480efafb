/**
 * Makes repaired pages follow their file again, or be empty memory again. A shared mapping can be
 * made again from a page that the guard has kept; a private one of a file needs the file, by its
 * path.
 */
import { closeSync, fstatSync, openSync } from "node:fs";
import { protectionBits } from "./bits.js";
import type { MappingCore } from "./core.js";
import { memmapError } from "./errors.js";
import { fromFileSystem } from "./failure.js";
import { native } from "./native.js";
import type { Extent } from "./pages.js";

function openAgain(core: MappingCore): number {
  const identity = core.file?.identity;
  const what = `Cannot remap ${core.label}`;
  if (identity?.absolute === undefined) {
    throw memmapError("ERR_MEMMAP_UNSUPPORTED", `${what}: it was mapped without a path`);
  }
  let fd: number;
  try {
    fd = openSync(identity.absolute, "r");
  } catch (error) {
    throw fromFileSystem(error, { syscall: "open", what, path: identity.path });
  }
  const status = fstatSync(fd, { bigint: true });
  if (status.dev === identity.dev && status.ino === identity.ino) return fd;
  closeSync(fd);
  throw memmapError("ERR_MEMMAP_UNSUPPORTED", `${what}: its path names another file now`);
}

/** Makes the repaired ones of some pages again, with the protection that each should have. */
export function remapPages(core: MappingCore, pages: Extent): void {
  if (native().replaced(core.region, pages.offset, pages.length) < 0) return;
  const needsFile = core.sharing === "private" && core.backing === "file";
  const fd = needsFile ? openAgain(core) : -1;
  const fdOffset = needsFile ? core.offset - core.start : 0;
  try {
    const firstPage = Math.floor(pages.offset / core.granularity);
    const endPage = Math.ceil((pages.offset + pages.length) / core.granularity);
    for (const run of core.protections.between(firstPage, endPage)) {
      const offset = Math.max(pages.offset, run.pageIndex * core.granularity);
      const end = Math.min(
        pages.offset + pages.length,
        (run.pageIndex + run.pageCount) * core.granularity,
      );
      if (end <= offset) continue;
      const prot = protectionBits(run.value);
      const result = native().remap(core.region, offset, end - offset, prot, fd, fdOffset);
      core.check(result, "mremap", "remap");
    }
  } finally {
    if (fd >= 0) closeSync(fd);
  }
}
