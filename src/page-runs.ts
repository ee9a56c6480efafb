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
  #runs: PageRun<T>[] = [];

  constructor(pageCount: number, value: T) {
    if (pageCount > 0) this.#runs.push({ pageIndex: 0, pageCount, value });
  }

  get pageCount(): number {
    const last = this.#runs.at(-1);
    return last === undefined ? 0 : last.pageIndex + last.pageCount;
  }

  /** The runs in order, as they are now. */
  runs(): readonly PageRun<T>[] {
    return [...this.#runs];
  }

  /** The value of one page, or undefined past the end. */
  at(pageIndex: number): T | undefined {
    return this.#runs[this.#indexAt(pageIndex)]?.value;
  }

  /** The value that all pages share, "mixed" when they do not, undefined when there are none. */
  summary(): T | "mixed" | undefined {
    return this.#runs.length > 1 ? "mixed" : this.#runs[0]?.value;
  }

  /** The runs that hold a page of `[first, end)`, in order. */
  *between(first: number, end: number): Generator<PageRun<T>> {
    for (let index = this.#indexAt(first); index < this.#runs.length; index += 1) {
      const run = this.#runs[index];
      if (run === undefined || run.pageIndex >= end) return;
      yield run;
    }
  }

  /** Gives `pageCount` pages from `pageIndex` on another value. They must lie inside. */
  set({ pageIndex, pageCount, value }: PageRun<T>): void {
    if (pageCount === 0) return;
    const end = pageIndex + pageCount;
    /* One run before and one behind are looked at as well: the new one may continue them. */
    const from = Math.max(0, this.#indexAt(pageIndex) - 1);
    const to = Math.min(this.#runs.length, this.#indexAt(end - 1) + 2);
    const old = this.#runs.slice(from, to);
    const made = [
      ...old.map((run) => cut(run, 0, pageIndex)),
      { pageIndex, pageCount, value },
      ...old.map((run) => cut(run, end, Infinity)),
    ];
    this.#runs.splice(from, to - from, ...merge(made));
  }

  /** Cuts pages off the end, or adds pages like the last one. */
  resize(pageCount: number): void {
    const last = this.#runs.at(-1);
    if (last === undefined) return;
    const runs = this.#runs.map((run) => cut(run, 0, pageCount));
    const added = pageCount - this.pageCount;
    if (added > 0) runs.push({ pageIndex: this.pageCount, pageCount: added, value: last.value });
    this.#runs = merge(runs);
  }

  /* The index of the run that holds a page: the first that ends behind it; one too many past the
     end. */
  #indexAt(pageIndex: number): number {
    let low = 0;
    let high = this.#runs.length;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      const run = this.#runs[middle];
      if (run !== undefined && run.pageIndex + run.pageCount <= pageIndex) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/* The part of a run that lies in `[first, end)`; it may have no pages. */
function cut<T>(
  { pageIndex, pageCount, value }: PageRun<T>,
  first: number,
  end: number,
): PageRun<T> {
  const from = Math.max(first, pageIndex);
  const to = Math.min(end, pageIndex + pageCount);
  return { pageIndex: from, pageCount: Math.max(0, to - from), value };
}

function merge<T extends string>(runs: readonly PageRun<T>[]): PageRun<T>[] {
  const merged: PageRun<T>[] = [];
  for (const run of runs) {
    if (run.pageCount === 0) continue;
    const last = merged.at(-1);
    if (last === undefined || last.value !== run.value) merged.push(run);
    else merged[merged.length - 1] = { ...last, pageCount: last.pageCount + run.pageCount };
  }
  return merged;
}
