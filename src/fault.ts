/**
 * Why a page could not be had: asks the kernel and the file, and makes the {@link FaultError}.
 */
import type { MappingCore } from "./core.js";
import { type FaultAccess, FaultError, type FaultReason } from "./errors.js";
import { errnoName, systemError } from "./failure.js";
import { native, pageSize } from "./native.js";
import { roundDown } from "./pages.js";
import { currentSize } from "./source.js";

/** A byte that could not be read or written. */
export interface FaultPlace {
  /** Bytes from the first byte of the mapping. */
  readonly byteOffset: number;
  readonly access: FaultAccess;
}

function reasonOf(core: MappingCore, place: FaultPlace): FaultReason | undefined {
  const page = roundDown(core.start + place.byteOffset, pageSize);
  const answer = native().probe(core.region, page, pageSize, place.access === "write");
  if (answer === 0) return undefined;
  const code = errnoName(answer);
  const protection = core.protections.at(Math.floor(page / core.granularity));
  if (code === "EINVAL" || protection === "none") return "protected";
  if (code === "ENOMEM") return "memory";
  if (code === "EHWPOISON") return "io";
  if (core.file === undefined) return "memory";
  /* A file that nobody can find any more was most likely made shorter, not damaged. */
  const size = currentSize(core.file.identity) ?? 0;
  return core.offset + place.byteOffset < size ? "io" : "truncated";
}

const clauses: Readonly<Record<FaultReason, string>> = {
  truncated: "the file ends before it",
  protected: "its protection forbids it",
  closed: "the mapping was closed",
  memory: "there is no memory for it",
  io: "the storage did not give it",
  source: "its source did not give it",
};

/**
 * The error of a byte that could not be served.
 *
 * When the page can be had at the second look, the other side of the copy was at fault: then the
 * error is a `SystemError` with `EFAULT`.
 */
export function faultAt(core: MappingCore, place: FaultPlace): Error {
  const what = `Cannot ${place.access} byte ${place.byteOffset} of ${core.label}`;
  const reason = reasonOf(core, place);
  if (reason === undefined) {
    const errno = Object.entries(native().errnoNames).find(([, name]) => name === "EFAULT");
    return systemError(-Number(errno?.[0]), { syscall: "process_vm_readv", what, path: core.path });
  }
  return new FaultError(`${what}: ${clauses[reason]}`, {
    address: core.address + BigInt(place.byteOffset),
    byteOffset: place.byteOffset,
    access: place.access,
    reason,
    count: 1,
    path: core.path,
  });
}
