// The classic of the textbooks: maps a file and writes the mapping to standard output. The bytes go
// from the page cache to the pipe or terminal; no buffer of the program lies in between.
//
//     node out/examples/mmapcopy.js FILE

import { writeSync } from "node:fs";
import { mapFileSync } from "memmap";

function mmapcopy(file: string): void {
  using mapping = mapFileSync(file, { sharing: "private" });
  let written = 0;
  while (written < mapping.byteLength) {
    written += writeSync(1, mapping.bytes, written);
  }
}

const [file] = process.argv.slice(2);
if (file === undefined || process.argv.length !== 3) {
  console.error("usage: mmapcopy FILE");
  process.exitCode = 2;
} else {
  mmapcopy(file);
}
