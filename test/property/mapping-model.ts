// The model of a mapping: plain arrays and the rules of the contract, without a system call. It
// knows what each operation gives and what it must refuse, for every kind of mapping.

import { type Protection, pageSize } from "memmap";

/** What a mapping is made of; everything else follows from it. */
export interface Kind {
  readonly backing: "anonymous" | "file";
  readonly sharing: "shared" | "private";
  readonly grow: boolean;
  readonly protection: "read" | "read-write";
  /** Where in the file it begins; 0 for anonymous memory. */
  readonly offset: number;
  readonly byteLength: number;
  /** The file before it was mapped; empty for anonymous memory. */
  readonly file: Uint8Array;
}

/** A part of the mapping whose both ends are known and inside. */
interface Extent {
  readonly offset: number;
  readonly length: number;
}

/** A page that the guard has put in the place of one that forbade an access. */
interface Repaired {
  readonly protection: Protection;
  readonly bytes: Uint8Array;
}

/** The faults that nobody has collected: the oldest, and how many. */
export interface Faults {
  readonly byteOffset: number;
  readonly access: "read" | "write";
  count: number;
}

/** The content and the state of a mapping. */
export class MappingModel {
  readonly kind: Kind;
  readonly #start: number;
  /** Whole pages, as the kernel has them; of a shared file a copy that `write` keeps right. */
  #pages: Uint8Array;
  #protections: Protection[];
  file: Uint8Array;
  byteLength: number;
  pins = 0;
  closed = false;
  /** What stands in the place of a page, by its index; `#pages` has what stood there. */
  #repaired = new Map<number, Repaired>();
  #faults: Faults | undefined;

  constructor(kind: Kind) {
    this.kind = kind;
    this.#start = kind.offset % pageSize;
    this.file = kind.file.slice();
    this.byteLength = kind.byteLength;
    this.#pages = this.#fresh(this.pageCount);
    this.#protections = Array.from({ length: this.pageCount }, () => kind.protection);
  }

  get pageCount(): number {
    return Math.max(1, Math.ceil((this.#start + this.byteLength) / pageSize));
  }

  /** The bytes of the mapping itself, whatever stands in their place. */
  get bytes(): Uint8Array {
    return this.#pages.subarray(this.#start, this.#start + this.byteLength);
  }

  /** What a look at the bytes shows, of all that can be looked at. */
  get shown(): Uint8Array {
    const pages = this.#pages.slice();
    for (const [page, { bytes }] of this.#repaired) pages.set(bytes, page * pageSize);
    return pages.subarray(this.#start, this.#start + this.byteLength);
  }

  /** The faults so far, which are collected by that. */
  collect(): Faults | undefined {
    const faults = this.#faults;
    this.#faults = undefined;
    return faults;
  }

  get hasFaults(): boolean {
    return this.#faults !== undefined;
  }

  /** The protection that each page should have. */
  get protections(): readonly Protection[] {
    return this.#protections;
  }

  /** The protection that a page has now. */
  protectionNow(page: number): Protection | undefined {
    return this.#repaired.get(page)?.protection ?? this.#protections[page];
  }

  /** The code that an operation on a range must be refused with, before it looks at the pages. */
  refusal(offset: number, length: number): string | undefined {
    if (this.closed) return "ERR_MEMMAP_CLOSED";
    return offset + length > this.byteLength ? "ERR_OUT_OF_RANGE" : undefined;
  }

  /** The first byte of an extent that cannot be read, or undefined. */
  firstUnreadable({ offset, length }: Extent): number | undefined {
    return this.#firstByte({ offset, length }, (protection) => protection === "none");
  }

  /** The first byte of an extent on a page that was repaired, or undefined. */
  firstRepaired(extent: Extent): number | undefined {
    return this.#first(extent, (page) => this.#repaired.has(page));
  }

  /** Whether a look at each byte of an extent is no fault. */
  isShown(extent: Extent): boolean {
    return this.#first(extent, (page) => this.protectionNow(page) === "none") === undefined;
  }

  /** Touches one byte directly, as JavaScript does. */
  touch(offset: number, byte?: number): void {
    const at = this.#start + offset;
    const page = Math.floor(at / pageSize);
    const now = this.protectionNow(page);
    if (byte === undefined ? now === "none" : now !== "read-write")
      this.#repair(page, offset, byte);
    if (byte === undefined) return;
    const repaired = this.#repaired.get(page);
    if (repaired === undefined) this.write(offset, Uint8Array.of(byte));
    else repaired.bytes[at % pageSize] = byte;
  }

  #repair(page: number, byteOffset: number, byte: number | undefined): void {
    const access = byte === undefined ? "read" : "write";
    if (this.#faults === undefined) this.#faults = { byteOffset, access, count: 1 };
    else this.#faults.count += 1;
    const first = page * pageSize;
    const before = this.#repaired.get(page)?.bytes ?? this.#pages.slice(first, first + pageSize);
    const bytes = this.protectionNow(page) === "none" ? new Uint8Array(pageSize) : before;
    const protection = access === "read" ? "read" : "read-write";
    this.#repaired.set(page, { protection, bytes });
  }

  /** The pages of an extent are made again. */
  remap(extent: Extent): void {
    if (extent.length === 0) return;
    const [first, last] = this.#touched(extent);
    for (let page = first; page <= last; page++) this.#repaired.delete(page);
  }

  /** Whether each byte of an extent can be written. */
  isWritable(extent: Extent): boolean {
    return this.#firstByte(extent, (protection) => protection !== "read-write") === undefined;
  }

  write(offset: number, bytes: Uint8Array): void {
    this.bytes.set(bytes, offset);
    const { backing, sharing } = this.kind;
    if (backing === "file" && sharing === "shared") this.file.set(bytes, this.kind.offset + offset);
  }

  protect(protection: Protection, extent: Extent): void {
    if (extent.length === 0) return;
    const [first, last] = this.#touched(extent);
    this.#protections.fill(protection, first, last + 1);
    for (const [page, { bytes }] of this.#repaired) {
      if (page >= first && page <= last) this.#repaired.set(page, { protection, bytes });
    }
  }

  /** The extent of the whole pages inside an extent, in bytes of the mapping. */
  inner({ offset, length }: Extent): Extent {
    const first = Math.ceil((this.#start + offset) / pageSize) * pageSize;
    const end = Math.floor((this.#start + offset + length) / pageSize) * pageSize;
    return { offset: first - this.#start, length: Math.max(0, end - first) };
  }

  /** What was written to a repaired page belongs to nobody: shared mappings do not keep it. */
  evict(extent: Extent): void {
    if (this.kind.sharing === "shared") this.#empty(extent);
  }

  /* The repaired pages of an extent are zeros again. */
  #empty(extent: Extent): void {
    if (extent.length === 0) return;
    const [first, last] = this.#touched(extent);
    for (const [page, { bytes }] of this.#repaired) {
      if (page >= first && page <= last) bytes.fill(0);
    }
  }

  discard(extent: Extent): void {
    this.#empty(extent);
    const { backing, sharing } = this.kind;
    if (backing === "file" && sharing === "shared") return;
    const first = this.#start + extent.offset;
    const fresh = this.#fresh(this.pageCount).subarray(first, first + extent.length);
    this.#pages.set(fresh, first);
  }

  /** Whether a resize may be done, by the code it is refused with. */
  resizeRefusal(byteLength: number): string | undefined {
    if (this.closed) return "ERR_MEMMAP_CLOSED";
    if (this.pins > 0) return "ERR_MEMMAP_PINNED";
    const { backing, grow, offset } = this.kind;
    const isPast = backing === "file" && !grow && offset + byteLength > this.file.length;
    return isPast && byteLength > this.byteLength ? "ERR_OUT_OF_RANGE" : undefined;
  }

  resize(byteLength: number): void {
    const { backing, sharing, offset } = this.kind;
    if (backing === "file" && offset + byteLength > this.file.length) {
      const longer = new Uint8Array(offset + byteLength);
      longer.set(this.file);
      this.file = longer;
    }
    const kept =
      backing === "anonymous" ? Math.min(this.byteLength, byteLength) : this.#pages.length;
    const old = this.#pages.subarray(0, kept);
    const isShorter = byteLength < this.byteLength;
    // What is behind continues the last page, as it was mapped.
    const isContinued = !isShorter && sharing === "private";
    if (isContinued) this.#repaired.delete(this.pageCount - 1);
    this.byteLength = byteLength;
    const pages = this.#fresh(this.pageCount);
    this.#resizeRepaired(isShorter);
    // A shared file has its bytes in the file; all others take theirs along.
    if (backing === "anonymous" || sharing === "private") {
      pages.set(old.subarray(0, Math.min(old.length, pages.length)));
    }
    this.#pages = pages;
    const last = this.#protections.at(-1) ?? this.kind.protection;
    this.#protections = Array.from(
      { length: this.pageCount },
      (_, page) => this.#protections[page] ?? last,
    );
  }

  /* Shared pages are doubled from the memory itself; private ones are moved as they are. */
  #resizeRepaired(isShorter: boolean): void {
    const end = this.#start + this.byteLength;
    for (const [page, { bytes, protection }] of this.#repaired) {
      const isGone = this.kind.sharing === "shared" || page >= this.pageCount;
      if (isGone) this.#repaired.delete(page);
      const rest = end - page * pageSize;
      if (isGone || this.kind.backing === "file" || !isShorter || rest >= pageSize) continue;
      // Behind the new end anonymous memory is zero, for which the page is made writable meanwhile.
      bytes.fill(0, Math.max(0, rest));
      const wanted = this.#protections[page] ?? protection;
      const next = wanted === "read-write" ? protection : wanted;
      this.#repaired.set(page, { bytes, protection: next });
    }
  }

  /** Pages that nobody has written: zeros, or the file. */
  #fresh(pageCount: number): Uint8Array {
    const pages = new Uint8Array(pageCount * pageSize);
    const first = this.kind.offset - this.#start;
    pages.set(this.file.subarray(first, first + pages.length));
    return pages;
  }

  #touched({ offset, length }: Extent): [first: number, last: number] {
    const end = this.#start + offset + length - 1;
    return [Math.floor((this.#start + offset) / pageSize), Math.floor(end / pageSize)];
  }

  #firstByte(extent: Extent, isBad: (protection: Protection) => boolean): number | undefined {
    return this.#first(extent, (page) => {
      const protection = this.#protections[page];
      return protection !== undefined && isBad(protection);
    });
  }

  #first(extent: Extent, isBad: (page: number) => boolean): number | undefined {
    if (extent.length === 0) return undefined;
    const [first, last] = this.#touched(extent);
    for (let page = first; page <= last; page++) {
      if (!isBad(page)) continue;
      return Math.max(extent.offset, page * pageSize - this.#start);
    }
    return undefined;
  }
}
