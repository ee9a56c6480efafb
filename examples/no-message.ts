// Another program stores into a file that is mapped here, and nobody is told: neither fs.watch nor
// a wait. So the reader looks again and again, or the writer notifies. Printed is how late the
// reader knows, and what it takes of a processor to find out.
//
//     node out/examples/no-message.js [STORES]

import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { mapFileSync } from "memmap";
import { polling, read, spinning, type Way, waiting } from "./no-message/reader.js";
import { listen } from "./no-message/silence.js";
import { compile, type Kind, start } from "./no-message/writer.js";

const stores = Number(process.argv[2] ?? 30);
const folder = mkdtempSync(join(tmpdir(), "memmap-no-message-"));
const [program, file] = [join(folder, "writer"), join(folder, "shared.bin")];

/** Runs a writer, and a reader beside it that has mapped the same file. */
async function beside<T>(kind: Kind, reader: (words: Int32Array) => Promise<T>): Promise<T> {
  writeFileSync(file, new Uint8Array(16));
  using mapping = mapFileSync(file, { protection: "read-write" });
  const ended = once(start(kind, { program, file, stores }), "exit");
  const result = await reader(new Int32Array(mapping.buffer));
  await ended;
  return result;
}

async function silence(title: string, kind: Kind): Promise<void> {
  const { events, woken } = await beside(kind, (words) => listen(words, file, stores));
  console.log(`${title}: ${events} events of fs.watch; a wait was ${woken}`);
}

function printRow(title: string, columns: readonly string[]): void {
  console.log(title.padEnd(24) + columns.map((column) => column.padStart(13)).join(""));
}

async function measure(title: string, kind: Kind, way: Way): Promise<void> {
  const { delayMs, load, idleLoad } = await beside(kind, (words) => read(words, stores, way));
  const loads = [load, idleLoad].map((share) => `${(100 * share).toFixed(1)} %`);
  printRow(title, [`${delayMs.toFixed(2)} ms`, ...loads]);
}

try {
  const kind = compile(program) ? "c" : "write";
  console.log(`Another process stores ${stores} times, 12 to 22 ms apart.`);
  if (kind === "c") await silence("C, through its mapping", "c");
  await silence("fs.writeSync", "write");
  printRow("\nThe reader", ["knows after", "of one core", "when idle"]);
  await measure("looks every 10 ms", kind, polling(10));
  await measure("looks every 1 ms", kind, polling(1));
  await measure("looks without pause", kind, spinning);
  await measure("waits, and is notified", "notify", waiting);
} finally {
  rmSync(folder, { recursive: true });
}
