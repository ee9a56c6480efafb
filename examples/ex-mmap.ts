// Maps a page of a text file, prints it, and waits for a `q` on standard input, so that the mapping
// can be seen with `pmap PID` meanwhile. The calls are those of the manual.
//
//     node out/examples/ex-mmap.js [FILE]                 (message.txt without a name)

import { closeSync, openSync } from "node:fs";
import { pageSize, SystemError } from "memmap";
import { MAP_PRIVATE, mmap, munmap, PROT_READ, view } from "memmap/raw";

/** Opens a file for reading; undefined, with its errno told, when that fails. */
function open(file: string): number | undefined {
  try {
    return openSync(file, "r");
  } catch (error) {
    if (!(error instanceof Error && "errno" in error && "code" in error)) throw error;
    console.error(`error occurred in open(): ${Math.abs(Number(error.errno))} (${error.code})`);
    return undefined;
  }
}

async function waitForQ(): Promise<void> {
  for await (const chunk of process.stdin) {
    if (String(chunk).includes("q")) return;
  }
}

async function show(fd: number): Promise<void> {
  const address = mmap(null, pageSize, PROT_READ, MAP_PRIVATE, fd, 0);
  closeSync(fd); // The mapping stays.
  const bytes = view(address, pageSize);

  // The rest of the last page of a file is zeros; a file of whole pages has no zero behind it, and
  // the view ends there all the same.
  let length = 0;
  while (bytes[length] !== undefined && bytes[length] !== 0) length += 1;
  console.log(new TextDecoder().decode(bytes.subarray(0, length)).trimEnd());
  console.log(`behind the page: ${bytes[pageSize]}`);
  try {
    view(address + BigInt(pageSize), 1);
  } catch (error) {
    console.log(`no view there either: ${error instanceof Error && "code" in error && error.code}`);
  }

  console.log(`0x${address.toString(16)} of process ${process.pid}: see \`pmap ${process.pid}\``);
  await waitForQ();
  munmap(address, pageSize);
  console.log("unmapped");
}

const fd = open(process.argv[2] ?? "message.txt");
if (fd === undefined) process.exitCode = 1;
else {
  await show(fd).catch((error: unknown) => {
    if (!(error instanceof SystemError)) throw error;
    console.error(`error occurred in mmap(): ${-error.errno} (${error.code})`);
    process.exitCode = 1;
  });
}
