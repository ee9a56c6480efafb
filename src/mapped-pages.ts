/**
 * What can be asked of the pages of a mapping without waiting for storage: protection, advice,
 * eviction, residency. The middle part of class Mapping, between memory.ts and mapping.ts.
 *
 * The kernel knows whole pages only. A range here has any alignment; each method says whether it
 * acts on every page that the range touches, or on the whole pages inside it.
 */
import { adviceNumber, protectionBits } from "./bits.js";
import { memmapError, wrongType, wrongValue } from "./errors.js";
import { requireOriginal } from "./fault.js";
import { type Advice, advices, type Protection, protections } from "./flags.js";
import { core, MappedMemory } from "./memory.js";
import { constant, native, pageSize } from "./native.js";
import { type ByteRange, checkRange, type Extent } from "./pages.js";
import { Residency } from "./residency.js";
import { asByteRange, asOneOf } from "./validate.js";

/** Checks a range of an open mapping. @internal */
export const extentOf: unique symbol = Symbol("memmap.extentOf");
/** The whole pages of a range of an open mapping, in bytes of its region. @internal */
export const pagesOf: unique symbol = Symbol("memmap.pagesOf");

/** The pages of a mapping. */
export abstract class MappedPages extends MappedMemory {
  /**
   * The advice that the running kernel accepts, of all that {@link advise} knows.
   *
   * @returns The accepted words.
   * @throws {MemmapError} `ERR_MEMMAP_UNSUPPORTED` where memmap does not run.
   *
   * @example
   * ```ts
   * import { Mapping } from "memmap";
   *
   * console.log(Mapping.supportedAdvice().has("populate-read"));
   * ```
   */
  static supportedAdvice(): ReadonlySet<Advice> {
    return new Set(advices.filter((advice) => native().adviceSupported(adviceNumber(advice))));
  }

  /**
   * Gives memory back and keeps the content.
   *
   * Clean file pages leave memory, changed private pages go to swap where there is any; what cannot
   * be given back stays. Of a shared mapping the page tables go as well, so that its pages no
   * longer count as this process's. Acts on every page that the range touches.
   *
   * @param range Default everywhere.
   * @throws {TypeError} {RangeError} For a bad range.
   * @throws {SystemError} `EINVAL` for locked pages.
   * @throws {MemmapError} `ERR_MEMMAP_CLOSED`.
   *
   * **Platform** Linux 5.4 (MADV_PAGEOUT); before that shared mappings only. Follows madvise(2).
   *
   * @example
   * ```ts
   * import { mapFileSync } from "memmap";
   *
   * using mapping = mapFileSync("data.bin");
   * mapping.loadSync();
   * mapping.evict();
   * ```
   */
  evict(range?: ByteRange): void {
    const { offset, length } = this[pagesOf](range, "evict");
    if (length === 0) return;
    const { region, sharing } = this[core];
    const pageOut = adviceNumber("page-out");
    if (native().adviceSupported(pageOut)) {
      this[core].check(native().advise(region, offset, length, pageOut), "madvise", "evict");
    }
    if (sharing === "private") return;
    const drop = constant("MADV_DONTNEED");
    this[core].check(native().advise(region, offset, length, drop), "madvise", "evict");
  }

  /**
   * Throws away the content of whole pages.
   *
   * Afterwards the pages read as the manual says: private file pages as the file, anonymous memory
   * as zeros, and shared anonymous memory as zeros for everybody who maps it. A shared file mapping
   * only forgets its pages; the file keeps what was written. Bytes outside the range are never
   * lost: acts on the whole pages inside it.
   *
   * @param range Default everywhere.
   * @returns How many bytes were thrown away.
   * @throws {TypeError} {RangeError} For a bad range.
   * @throws {SystemError} `EINVAL` for locked pages.
   * @throws {MemmapError} `ERR_MEMMAP_READ_ONLY` for shared anonymous memory without write
   *   permission, `ERR_MEMMAP_CLOSED`.
   *
   * **Platform** Linux. Follows madvise(2), MADV_DONTNEED and MADV_REMOVE.
   *
   * @example
   * ```ts
   * import { mapAnonymous } from "memmap";
   *
   * using mapping = mapAnonymous(2 * 4096);
   * mapping.bytes.fill(1);
   * console.log(mapping.discard({ length: 5000 }), mapping.bytes[0], mapping.bytes[4096]);
   * ```
   */
  discard(range?: ByteRange): number {
    const part = asByteRange(range);
    const extent = this[extentOf](part, "discard");
    const { offset, length } = this[core].inner(extent);
    if (length === 0) return 0;
    const everywhere = this[core].backing === "anonymous" && this[core].sharing === "shared";
    if (everywhere) this[core].requireWritable({ offset, length }, "discard");
    if (everywhere) requireOriginal(this[core], extent, "write");
    const advice = constant(everywhere ? "MADV_REMOVE" : "MADV_DONTNEED");
    const result = native().advise(this[core].region, offset, length, advice);
    this[core].check(result, "madvise", "discard");
    native().forget(this[core].region, offset, length);
    return length;
  }

  /**
   * Changes what may be done with the bytes.
   *
   * Acts on every page that the range touches, with all bytes of these pages.
   *
   * @param protection The new protection.
   * @param range Default everywhere.
   * @throws {TypeError} {RangeError} For a bad protection or range.
   * @throws {SystemError} `EACCES` where the file was not opened for writing.
   * @throws {MemmapError} `ERR_MEMMAP_CLOSED`.
   *
   * **Platform** Linux. Follows mprotect(2).
   *
   * @example
   * ```ts
   * import { mapAnonymous } from "memmap";
   *
   * using mapping = mapAnonymous(4096);
   * mapping.bytes[0] = 1;
   * mapping.protect("read");
   * ```
   */
  protect(protection: Protection, range?: ByteRange): void {
    const value = asOneOf(protection, "protection", protections);
    const { offset, length } = this[pagesOf](range, "protect");
    if (length === 0) return;
    const { region, granularity } = this[core];
    const result = native().protect(region, offset, length, protectionBits(value));
    this[core].check(result, "mprotect", `protect ${JSON.stringify(value)}`);
    const run = { pageIndex: offset / granularity, pageCount: length / granularity, value };
    this[core].protections.set(run);
  }

  /**
   * Tells the kernel how the pages will be used.
   *
   * Only advice that loses no data; see `discard()` and `evict()` for the rest. Acts on every page
   * that the range touches.
   *
   * @param advice The manual's name in kebab-case: "will-need", "random", "dont-fork" ...
   * @param range Default everywhere.
   * @throws {TypeError} {RangeError} For an unknown advice or a bad range.
   * @throws {SystemError} `EINVAL` where the kernel does not take it for this memory; see
   *   {@link supportedAdvice}.
   * @throws {MemmapError} `ERR_MEMMAP_CLOSED`.
   *
   * **Platform** Linux; each advice since its own kernel. Follows madvise(2).
   *
   * @example
   * ```ts
   * import { mapFileSync } from "memmap";
   *
   * using index = mapFileSync("data.bin");
   * index.advise("random");
   * ```
   */
  advise(advice: Advice, range?: ByteRange): void {
    const value = asAdvice(advice);
    const { offset, length } = this[pagesOf](range, "advise");
    if (length === 0) return;
    const result = native().advise(this[core].region, offset, length, adviceNumber(value));
    this[core].check(result, "madvise", `advise "${value}" for`);
  }

  /**
   * Which pages are in memory.
   *
   * For a file that is whether the page is in the page cache, whoever brought it there.
   *
   * @param range Default everywhere; every page it touches is counted, the first as page 0.
   * @returns The answer at this moment; pages come and go.
   * @throws {TypeError} {RangeError} For a bad range.
   * @throws {MemmapError} `ERR_MEMMAP_CANNOT_TELL` for a file that this user neither owns nor may
   *   write, where the kernel answers "all" instead of the truth; `ERR_MEMMAP_CLOSED`.
   *
   * **Platform** Linux. Follows mincore(2).
   *
   * @example
   * ```ts
   * import { mapFileSync } from "memmap";
   *
   * using mapping = mapFileSync("data.bin");
   * const { residentCount, pageCount } = mapping.residency();
   * console.log(`${residentCount} of ${pageCount} pages are in memory`);
   * ```
   */
  residency(range?: ByteRange): Residency {
    const part = asByteRange(range);
    const extent = this[extentOf](part, "ask the residency of");
    if (!this[core].tellsResidency) {
      throw memmapError(
        "ERR_MEMMAP_CANNOT_TELL",
        `Cannot tell which pages of ${this[core].label} are in memory: the kernel tells only who ` +
          "owns the file or may write it",
      );
    }
    const { offset, length } = this[core].touched(extent, pageSize);
    const vector = new Uint8Array(length / pageSize);
    const result = native().residency(this[core].region, offset, vector);
    this[core].check(result, "mincore", "ask the residency of");
    return new Residency(vector, pageSize);
  }

  /** The state is looked at here, after every argument has been read. @internal */
  [extentOf](range: ByteRange, action: string): Extent {
    this[core].requireOpen(action);
    return checkRange(range, this[core].byteLength, action);
  }

  /** @internal */
  [pagesOf](range: ByteRange | undefined, action: string): Extent {
    const part = asByteRange(range);
    return this[core].touched(this[extentOf](part, action));
  }
}

function asAdvice(advice: unknown): Advice {
  if (typeof advice !== "string") throw wrongType(`"advice" must be a string`);
  const known = advices.find((word) => word === advice);
  if (known !== undefined) return known;
  const hint = /^(dont-need|free|remove|guard-install)$/.test(advice)
    ? "it loses data: use discard(), or evict() to keep the content"
    : `one of ${advices.join(", ")} is expected`;
  throw wrongValue(`Cannot advise ${JSON.stringify(advice)}: ${hint}`);
}
