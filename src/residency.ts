/**
 * Pure: the answer of `Mapping.residency()`, over the vector that mincore(2) fills: one byte a
 * page, of which the lowest bit says that the page is in memory.
 */
import { outOfRange } from "./errors.js";
import { asInteger } from "./validate.js";

/** Neighbouring pages that are all in memory, or all not. */
export interface ResidencyRun {
  /** The first page, counted from the first page that the asked range touches. */
  readonly pageIndex: number;
  /** How many pages. */
  readonly pageCount: number;
  /** Whether they were in memory. */
  readonly resident: boolean;
}

/** Which pages of a range were in memory at the moment of the question. */
export class Residency {
  /** Bytes in a page. */
  readonly pageSize: number;
  /** How many pages the range touches. */
  readonly pageCount: number;
  /** How many of them were in memory. */
  readonly residentCount: number;
  readonly #vector: Uint8Array;

  constructor(vector: Uint8Array, pageSize: number) {
    this.#vector = vector;
    this.pageSize = pageSize;
    this.pageCount = vector.length;
    let count = 0;
    for (const page of vector) count += page & 1;
    this.residentCount = count;
  }

  /**
   * Whether one page was in memory.
   *
   * @param pageIndex Counted from the first page that the range touches, from 0.
   * @throws {TypeError} `ERR_INVALID_ARG_TYPE` for what is no number.
   * @throws {RangeError} `ERR_OUT_OF_RANGE` past the last page.
   */
  isResident(pageIndex: number): boolean {
    const index = asInteger(pageIndex, "pageIndex");
    const page = this.#vector[index];
    if (page !== undefined) return (page & 1) === 1;
    throw outOfRange(
      `Cannot tell the residency of page ${index}: the range has ${this.pageCount} pages`,
    );
  }

  /** The pages as runs, in order; they cover the range without a gap. */
  *runs(): Generator<ResidencyRun, void, undefined> {
    let pageIndex = 0;
    while (pageIndex < this.pageCount) {
      const resident = this.isResident(pageIndex);
      let end = pageIndex + 1;
      while (end < this.pageCount && this.isResident(end) === resident) end += 1;
      yield { pageIndex, pageCount: end - pageIndex, resident };
      pageIndex = end;
    }
  }
}
