// Prints the lines of a file that contain a text. The file is searched where it lies, so a file
// larger than the heap costs no more memory than a small one.
//
//     node out/examples/grep.js TEXT FILE

import { mapFileSync } from "memmap";

function* linesWith(text: string, file: string): Generator<string> {
  using mapping = mapFileSync(file);
  const decoder = new TextDecoder();
  let from = 0;
  while (from < mapping.byteLength) {
    const hit = mapping.indexOf(text, { offset: from });
    if (hit < 0) return;
    const start = mapping.lastIndexOf("\n", { length: hit }) + 1;
    const lineFeed = mapping.indexOf("\n", { offset: hit });
    const end = lineFeed < 0 ? mapping.byteLength : lineFeed;
    yield decoder.decode(mapping.read(start, end - start));
    from = end + 1;
  }
}

const [text, file] = process.argv.slice(2);
if (text === undefined || text === "" || file === undefined) {
  console.error("usage: grep TEXT FILE");
  process.exitCode = 2;
} else {
  let count = 0;
  for (const line of linesWith(text, file)) {
    console.log(line);
    count += 1;
  }
  if (count === 0) process.exitCode = 1;
}
