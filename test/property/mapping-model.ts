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

  /** The visible bytes. */
  get bytes(): Uint8Array {
    return this.#pages.subarray(this.#start, this.#start + this.byteLength);
  }

  /** The protection of each page. */
  get protections(): readonly Protection[] {
    return this.#protections;
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
  }

  /** The extent of the whole pages inside an extent, in bytes of the mapping. */
  inner({ offset, length }: Extent): Extent {
    const first = Math.ceil((this.#start + offset) / pageSize) * pageSize;
    const end = Math.floor((this.#start + offset + length) / pageSize) * pageSize;
    return { offset: first - this.#start, length: Math.max(0, end - first) };
  }

  discard(extent: Extent): void {
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
    this.byteLength = byteLength;
    const pages = this.#fresh(this.pageCount);
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
    if (extent.length === 0) return undefined;
    const [first, last] = this.#touched(extent);
    for (let page = first; page <= last; page++) {
      const protection = this.#protections[page];
      if (protection === undefined || !isBad(protection)) continue;
      return Math.max(extent.offset, page * pageSize - this.#start);
    }
    return undefined;
  }
}
