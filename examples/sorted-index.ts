// Looks a key up in a file of sorted records by binary search. Only the pages that the search
// touches are read, about twenty of them for a million records.
//
//     node out/examples/sorted-index.js FILE make COUNT
//     node out/examples/sorted-index.js FILE get KEY
//
//     a record   | key: float64 | value: float64 |   little-endian, sorted by key

import { mapFileSync } from "memmap";

const recordLength = 16;

function make(file: string, count: number): void {
  const length = count * recordLength;
  using index = mapFileSync(file, { create: true, grow: true, length });
  const records = new Float64Array(index.buffer);
  for (let i = 0; i < count; i += 1) records.set([i * 3, i * i], i * 2);
  index.flushSync();
  console.log(`${count} records in ${index.byteLength} bytes`);
}

function get(file: string, key: number): number | undefined {
  using index = mapFileSync(file);
  // The kernel need not read ahead for a search that jumps.
  index.advise("random");
  const records = new Float64Array(index.buffer);
  let low = 0;
  let high = records.length / 2;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if ((records[middle * 2] ?? 0) < key) low = middle + 1;
    else high = middle;
  }
  return records[low * 2] === key ? records[low * 2 + 1] : undefined;
}

const [file, verb, number] = process.argv.slice(2);
if (file === undefined || number === undefined || (verb !== "make" && verb !== "get")) {
  console.error("usage: sorted-index FILE make COUNT | sorted-index FILE get KEY");
  process.exitCode = 2;
} else if (verb === "make") {
  make(file, Number(number));
} else {
  console.log(get(file, Number(number)) ?? "no such key");
}
