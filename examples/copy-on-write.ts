// Works on a file without changing it: a private mapping copies a page when it is first written,
// and only that page. The change is seen here and nowhere else.
//
//     node out/examples/copy-on-write.js FILE

import { readFileSync } from "node:fs";
import { mapFileSync } from "memmap";

function firstBytes(bytes: Uint8Array): string {
  return JSON.stringify(Buffer.from(bytes.subarray(0, 12)).toString("latin1"));
}

const [file] = process.argv.slice(2);
if (file === undefined) {
  console.error("usage: copy-on-write FILE");
  process.exitCode = 2;
} else {
  using draft = mapFileSync(file, { protection: "read-write", sharing: "private" });
  using other = mapFileSync(file);
  for (let i = 0; i < Math.min(12, draft.byteLength); i += 1) draft.bytes[i] = 0x2a;
  console.log(`the private mapping reads ${firstBytes(draft.bytes)}`);
  console.log(`another mapping reads     ${firstBytes(other.bytes)}`);
  console.log(`the file reads            ${firstBytes(readFileSync(file))}`);
}
