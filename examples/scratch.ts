// Memory without a file: a large scratch space of which only the touched pages exist, given back
// page by page while the program goes on.
//
//     node out/examples/scratch.js

import { mapAnonymous, pageSize } from "memmap";

using scratch = mapAnonymous(1024 * 1024 * 1024, { reserve: false, name: "scratch" });
const resident = (): number => scratch.residency({ length: 64 * pageSize }).residentCount;

console.log(`${scratch.byteLength} bytes mapped, ${resident()} of the first 64 pages in memory`);
for (let page = 0; page < 64; page += 2) scratch.bytes[page * pageSize] = 1;
console.log(`after writing every other page: ${resident()}`);
scratch.discard({ length: 32 * pageSize });
console.log(`after discarding the first 32 pages: ${resident()}`);
console.log(`the first byte is ${scratch.bytes[0]} again`);
