/**
 * The state of one mapping, shared by everything that acts on it. Owns the native region, the view
 * over it, the pins and the waiting promises; knows nothing of the options that made it.
 *
 *     region     |  page  |  page  |  page  |  page  |      whole pages of `granularity` bytes
 *                     |<------ byteLength ------>|
 *     start ----------^                                     the first byte that was asked for
 *
 * Invariants: `start < granularity`; the region is never empty, also when `byteLength` is 0; the
 * view is made on first use and replaced by resize; after close nothing touches the region again.
 */
import { type FaultError, memmapError, tooLarge } from "./errors.js";
import { systemError } from "./failure.js";
import { gather } from "./fault.js";
import { type Backing, isWritable, type Protection, type Sharing } from "./flags.js";
import { type NativeRegion, native } from "./native.js";
import { PageRuns } from "./page-runs.js";
import { type Extent, innerPages, touchedPages } from "./pages.js";
import { Pending } from "./pending.js";
import type { FileFacts } from "./source.js";

/** What a mapping is made of. */
export interface CoreInit {
  readonly region: NativeRegion;
  readonly start: number;
  readonly byteLength: number;
  readonly offset: number;
  readonly protection: Protection;
  readonly sharing: Sharing;
  readonly backing: Backing;
  readonly granularity: number;
  /** The file behind it; undefined for anonymous memory. */
  readonly file: FileFacts | undefined;
  /** The file may be made longer through the descriptor that the region keeps. */
  readonly growable: boolean;
  /** Whether faults that nobody collects are told, or only kept. */
  readonly faults: "throw" | "collect";
}

/** The user and group that a process acts as, on which the truth of mincore(2) depends. */
interface Identity {
  readonly uid: number;
  readonly gid: number;
}

function identity(): Identity {
  return { uid: process.geteuid?.() ?? -1, gid: process.getegid?.() ?? -1 };
}

const transfer: unknown = Reflect.get(ArrayBuffer.prototype, "transfer");

/**
 * Takes the memory away from a buffer and whatever views it. On engines with `transfer()` the
 * memory is moved to a buffer of our own first, because detaching a buffer that a user has marked
 * untransferable ends the process there. False when the buffer no longer held the memory, or the
 * runtime will not give it up now: then the addresses stay covered until the engine is done.
 */
function detach(buffer: ArrayBuffer): boolean {
  if (typeof transfer !== "function") return native().detach(buffer);
  try {
    native().detach(Reflect.apply(transfer, buffer, []));
    return true;
  } catch {
    return false;
  }
}

/** The state of one mapping. */
export class MappingCore {
  readonly offset: number;
  readonly sharing: Sharing;
  readonly backing: Backing;
  readonly granularity: number;
  readonly start: number;
  readonly file: FileFacts | undefined;
  readonly growable: boolean;
  readonly faults: "throw" | "collect";
  readonly pending: Pending = new Pending();
  /** Waits on words of the memory, which a resize ends as well. */
  readonly waits: Pending = new Pending();
  readonly protections: PageRuns<Protection>;
  region: NativeRegion;
  byteLength: number;
  closed = false;
  /** Counts up whenever the memory goes to another region or is closed: old views have ended. */
  generation = 0;
  pins = 0;
  /** Called with a fault that nobody collected. */
  onfault: ((fault: FaultError) => void) | null = null;
  /** Calls under way that will collect the faults: nobody else is told meanwhile. */
  collecting = 0;
  /** The oldest fault that nobody collected, of those that were taken from the native side. */
  uncollected: FaultError | undefined;
  /** Regions that were closed or resized away while a buffer over them was out of reach. */
  readonly escaped: NativeRegion[] = [];
  #bytes: Uint8Array<ArrayBuffer> | undefined;
  #sharedBuffer: SharedArrayBuffer | undefined;
  readonly #mappedAs: Identity = identity();
  /** The protection it was mapped with. */
  readonly firstProtection: Protection;
  /** Others may hold the same memory: what lies behind a new end is theirs as well. */
  isShared = false;

  constructor(init: CoreInit) {
    this.region = init.region;
    this.start = init.start;
    this.byteLength = init.byteLength;
    this.offset = init.offset;
    this.sharing = init.sharing;
    this.backing = init.backing;
    this.granularity = init.granularity;
    this.file = init.file;
    this.growable = init.growable;
    this.faults = init.faults;
    this.firstProtection = init.protection;
    this.protections = new PageRuns(this.pageCount(init.byteLength), init.protection);
  }

  get path(): string | undefined {
    return this.file?.identity.path;
  }

  get address(): bigint {
    return native().address(this.region) + BigInt(this.start);
  }

  get protection(): Protection | "mixed" {
    return this.protections.summary() ?? this.firstProtection;
  }

  /** What the mapping is called in messages. */
  get label(): string {
    return this.path === undefined ? `the ${this.backing} mapping` : JSON.stringify(this.path);
  }

  /** The pages of the region that hold `byteLength` bytes; at least one. */
  pageCount(byteLength: number): number {
    return Math.max(1, Math.ceil((this.start + byteLength) / this.granularity));
  }

  /** Throws when the mapping is closed; called after every argument has been read. */
  requireOpen(action: string): void {
    native().assertGuard();
    if (!this.closed) return;
    throw memmapError("ERR_MEMMAP_CLOSED", `Cannot ${action} ${this.label}: it is closed`);
  }

  /** Throws when the mapping is pinned. */
  requireUnpinned(action: string): void {
    if (this.pins === 0) return;
    throw memmapError(
      "ERR_MEMMAP_PINNED",
      `Cannot ${action} ${this.label}: ${this.pins} pins or locks hold it`,
    );
  }

  /** Throws when a byte of some pages, in bytes of the region, may not be written. */
  requireWritable(pages: Extent, action: string): void {
    const end = pages.offset + pages.length;
    const firstPage = Math.floor(pages.offset / this.granularity);
    const endPage = Math.max(firstPage + 1, Math.ceil(end / this.granularity));
    for (const run of this.protections.between(firstPage, endPage)) {
      const first = run.pageIndex * this.granularity;
      const inside = first < end && first + run.pageCount * this.granularity > pages.offset;
      if (!inside || isWritable(run.value)) continue;
      throw memmapError(
        "ERR_MEMMAP_READ_ONLY",
        `Cannot ${action} ${this.label}: the protection of its page ${run.pageIndex} is ` +
          JSON.stringify(run.value),
      );
    }
  }

  /** The whole pages that an extent of the mapping touches, in bytes of the region. */
  touched(extent: Extent, pageSize: number = this.granularity): Extent {
    return touchedPages({ offset: this.start + extent.offset, length: extent.length }, pageSize);
  }

  /** The whole pages inside an extent of the mapping, in bytes of the region. */
  inner(extent: Extent): Extent {
    const inside = { offset: this.start + extent.offset, length: extent.length };
    return innerPages(inside, this.granularity);
  }

  /** Throws the error of a failed call on the mapping, and passes everything else on. */
  check(result: number, syscall: string, what: string): number {
    if (result >= 0) return result;
    throw systemError(result, { syscall, what: `Cannot ${what} ${this.label}`, path: this.path });
  }

  /** Whether mincore(2) answers about this mapping to this user truthfully. */
  get tellsResidency(): boolean {
    if (this.file === undefined || this.file.kind !== "file") return true;
    const now = identity();
    if (now.uid === this.file.ownerUid) return true;
    return this.file.mayWrite && now.uid === this.#mappedAs.uid && now.gid === this.#mappedAs.gid;
  }

  /** The bytes, as a view that is made on first use. */
  get bytes(): Uint8Array<ArrayBuffer> {
    this.#bytes ??= new Uint8Array(this.#newBuffer());
    return this.#bytes;
  }

  /** The bytes as shared memory, where the runtime can make that; made on first use. */
  get sharedBuffer(): SharedArrayBuffer | undefined {
    if (this.#sharedBuffer !== undefined || !native().canShare()) return this.#sharedBuffer;
    if (this.closed || this.byteLength === 0) return new SharedArrayBuffer(0);
    const buffer = native().view(this.region, this.start, this.byteLength, true);
    if (typeof buffer === "number") throw this.#viewFailure(buffer);
    this.onView?.(buffer);
    this.#sharedBuffer = buffer;
    return buffer;
  }

  /** Called with each new buffer over the memory. */
  onView: ((buffer: ArrayBufferLike) => void) | undefined;
  /** Called with each buffer from which the memory was taken. */
  onDetach: ((buffer: ArrayBufferLike) => void) | undefined;

  #newBuffer(): ArrayBuffer {
    if (this.closed || this.byteLength === 0) return new ArrayBuffer(0);
    const buffer = native().view(this.region, this.start, this.byteLength, false);
    if (typeof buffer !== "number") {
      this.onView?.(buffer);
      return buffer;
    }
    throw this.#viewFailure(buffer);
  }

  #viewFailure(errno: number): Error {
    const what = `Cannot view ${this.byteLength} bytes of ${this.label}`;
    if (native().errnoNames[String(-errno)] === "ENOMEM") {
      const ways = "map a range, or use read() and write()";
      return tooLarge(`${what}: the runtime cannot hold them; ${ways}`);
    }
    const reason = "the runtime takes no external memory; use read() and write()";
    return memmapError("ERR_MEMMAP_UNSUPPORTED", `${what}: ${reason}`);
  }

  /** Whether a buffer is the one over the memory as it is now. */
  isCurrent(buffer: ArrayBufferLike): boolean {
    return buffer === this.#bytes?.buffer || buffer === this.#sharedBuffer;
  }

  #endWaits(how: string): void {
    const message = `Cannot wait for ${this.label}: it was ${how} meanwhile`;
    this.waits.rejectAll(memmapError("ERR_MEMMAP_CLOSED", message));
  }

  /** Goes on with another region; the old one is closed and its views end. */
  replaceRegion(region: NativeRegion, byteLength: number): void {
    gather(this);
    native().adopt(region, this.region);
    this.#closeRegion();
    this.region = region;
    if (this.faults === "collect") native().quiet(region);
    this.byteLength = byteLength;
    this.protections.resize(this.pageCount(byteLength));
    this.#endWaits("resized");
  }

  /** Closes for good; a second call does nothing. */
  close(): void {
    if (this.closed) return;
    gather(this);
    this.closed = true;
    this.#closeRegion();
    this.byteLength = 0;
    this.pending.rejectAll(
      memmapError("ERR_MEMMAP_CLOSED", `Cannot wait for ${this.label}: it was closed meanwhile`),
    );
    this.#endWaits("closed");
  }

  /* Its faults are still told when views of it live on. */
  #closeRegion(): void {
    this.generation += 1;
    const isViewed = this.#bytes !== undefined || this.#sharedBuffer !== undefined;
    const detached = this.#endView();
    native().close(this.region, detached);
    if (isViewed && !detached) this.escaped.push(this.region);
  }

  /* Whether no JavaScript object can reach the memory any more. Shared memory stays in reach. */
  #endView(): boolean {
    const bytes = this.#bytes;
    const isShared = this.#sharedBuffer !== undefined;
    this.#bytes = undefined;
    this.#sharedBuffer = undefined;
    if (bytes === undefined || bytes.length === 0) return false;
    const { buffer } = bytes;
    const detached = detach(buffer);
    if (detached) this.onDetach?.(buffer);
    return detached && !isShared;
  }
}
