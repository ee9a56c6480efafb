/**
 * Pure: which protection each page of a mapping has, as runs of equal pages.
 *
 *     runs   | read          | none | read-write      |
 *     pages  0               4      6                 11 = pageCount
 *
 * Invariants: runs are in order, none is empty, neighbours differ, and the last ends at
 * `pageCount`; with no pages there are no runs.
 */

/** Pages `[pageIndex, pageIndex + pageCount)` that share one value. */
export interface PageRun<T> {
  readonly pageIndex: number;
  readonly pageCount: number;
  readonly value: T;
}

/** One value for each page, stored as runs. */
export class PageRuns<T extends string> {
  #runs: readonly PageRun<T>[];

  constructor(pageCount: number, value: T) {
    this.#runs = pageCount === 0 ? [] : [{ pageIndex: 0, pageCount, value }];
  }

  get pageCount(): number {
    const last = this.#runs.at(-1);
    return last === undefined ? 0 : last.pageIndex + last.pageCount;
  }

  /** The runs in order. */
  runs(): readonly PageRun<T>[] {
    return this.#runs;
  }

  /** The value of one page, or undefined past the end. */
  at(pageIndex: number): T | undefined {
    return this.#runs.find((run) => pageIndex < run.pageIndex + run.pageCount)?.value;
  }

  /** The value that all pages share, "mixed" when they do not, undefined when there are none. */
  summary(): T | "mixed" | undefined {
    return this.#runs.length > 1 ? "mixed" : this.#runs[0]?.value;
  }

  /** Gives `pageCount` pages from `pageIndex` on another value. They must lie inside. */
  set(run: PageRun<T>): void {
    const end = run.pageIndex + run.pageCount;
    this.#runs = merge([...this.#between(0, run.pageIndex), run, ...this.#between(end, Infinity)]);
  }

  /** Cuts pages off the end, or adds pages like the last one. */
  resize(pageCount: number): void {
    const kept = this.#between(0, pageCount);
    const last = this.#runs.at(-1);
    const have = this.pageCount;
    if (pageCount > have && last !== undefined) {
      kept.push({ pageIndex: have, pageCount: pageCount - have, value: last.value });
    }
    this.#runs = merge(kept);
  }

  #between(first: number, end: number): PageRun<T>[] {
    const parts: PageRun<T>[] = [];
    for (const run of this.#runs) {
      const pageIndex = Math.max(first, run.pageIndex);
      const pageCount = Math.min(end, run.pageIndex + run.pageCount) - pageIndex;
      if (pageCount > 0) parts.push({ pageIndex, pageCount, value: run.value });
    }
    return parts;
  }
}

function merge<T extends string>(runs: readonly PageRun<T>[]): readonly PageRun<T>[] {
  const merged: PageRun<T>[] = [];
  for (const run of runs) {
    if (run.pageCount === 0) continue;
    const last = merged.at(-1);
    if (last === undefined || last.value !== run.value) merged.push(run);
    else merged[merged.length - 1] = { ...last, pageCount: last.pageCount + run.pageCount };
  }
  return merged;
}
