// Shows which parts of a file are in memory, whoever brought them there: # all, + some, . none.
//
//     node out/examples/residency.js FILE [COLUMNS]

import { mapFileSync } from "memmap";

function strip(file: string, columns: number): string {
  using mapping = mapFileSync(file);
  const residency = mapping.residency();
  const { pageCount, residentCount, pageSize } = residency;
  let line = "";
  for (let column = 0; column < Math.min(columns, pageCount); column += 1) {
    const first = Math.floor((column * pageCount) / Math.min(columns, pageCount));
    const end = Math.floor(((column + 1) * pageCount) / Math.min(columns, pageCount));
    let resident = 0;
    for (let page = first; page < end; page += 1) {
      resident += residency.isResident(page) ? 1 : 0;
    }
    line += resident === 0 ? "." : resident === end - first ? "#" : "+";
  }
  return `[${line}] ${residentCount} of ${pageCount} pages of ${pageSize} bytes`;
}

const [file, columns = "60"] = process.argv.slice(2);
if (file === undefined) {
  console.error("usage: residency FILE [COLUMNS]");
  process.exitCode = 2;
} else {
  console.log(strip(file, Number(columns)));
}
