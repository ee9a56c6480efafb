// A log that is appended to through memory. The file grows in steps, with its space allocated for
// real, so that a full disk is an error of resize() and never a lost entry.
//
//     node out/examples/append-log.js FILE ENTRY...
//
//     the file   | length: 8 bytes | entry \n | entry \n | ... | zeros to the end of the step |

import { mapFileSync } from "memmap";

const headerLength = 8;
const step = 65_536;

const [file, ...entries] = process.argv.slice(2);
if (file === undefined) {
  console.error("usage: append-log FILE ENTRY...");
  process.exitCode = 2;
} else {
  using log = mapFileSync(file, { create: true, grow: true });
  if (log.byteLength === 0) log.resize(step);
  const used = (): number => Number(new DataView(log.buffer).getBigUint64(0, true));

  for (const entry of entries) {
    const bytes = new TextEncoder().encode(`${entry}\n`);
    const end = headerLength + used();
    while (end + bytes.length > log.byteLength) log.resize(log.byteLength + step);
    log.write(end, bytes);
    // The length is stored last: who reads the log never sees half an entry.
    new DataView(log.buffer).setBigUint64(0, BigInt(used() + bytes.length), true);
  }
  await log.flush({ length: headerLength + used() });
  process.stdout.write(log.read(headerLength, used()));
}
