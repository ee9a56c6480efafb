/**
 * The step of the tour on memory that no file stands behind.
 */
import { type Mapping, mapAnonymous, pageSize } from "../index.js";
import { rowUse } from "./self.js";
import { formatCount, formatSize, plural } from "./text.js";
import { change, type Report } from "./tour-report.js";

const byteLength = 64 * 2 ** 20;
const touches = 3;

/* A huge page would come whole at the first touch and hide what is shown here. */
function forbidHugePages(mapping: Mapping): void {
  try {
    mapping.advise("no-huge-page");
  } catch {
    // A kernel without huge pages does not know the advice.
  }
}

function countNonZero(bytes: Uint8Array): number {
  let count = 0;
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  for (const word of words) if (word !== 0) count += 1;
  return count;
}

/** Anonymous memory: zeros, and no page before it is written. */
export function showAnonymous(report: Report): void {
  report.step(
    "Anonymous memory: zeros that cost nothing until written",
    "MAP_PRIVATE | MAP_ANONYMOUS",
  );
  report.tell(
    `${formatSize(byteLength)} with no file behind them: a byte is written in ${touches} pages, ` +
      "then all is read.",
  );
  using mapping = mapAnonymous(byteLength, { name: "tour" });
  forbidHugePages(mapping);
  const { bytes } = mapping;
  const before = rowUse(mapping.address)?.resident ?? Number.NaN;
  for (let i = 0; i < touches; i += 1) bytes[i * 1000 * pageSize] = 1;
  const touched = rowUse(mapping.address)?.resident ?? Number.NaN;
  const nonZero = countNonZero(bytes);
  const read = rowUse(mapping.address)?.resident ?? Number.NaN;
  report.show(
    "resident (Rss)",
    `${before} kB, after the writes ${touched} kB, after reading ${read} kB`,
  );
  report.show(
    "words that are not zero",
    `${nonZero} of ${formatCount(byteLength / 4)}, of 4 bytes each`,
  );
  const grown = ((touched - before) * 1024) / pageSize;
  report.conclude(
    grown === touches && nonZero === touches && read === touched,
    `${plural(touches, "write")} took ${plural(grown, "page")}; ` +
      "all else reads as zeros and has none.",
    `${plural(grown, "page")} came by writing, ${change(touched, read, "kB")} by reading.`,
  );
}
