// Machine code that a program goes on writing, without any page that can be both written and
// executed: a memory file is mapped twice, and one mapping may write where the other may execute.
//
//     node out/examples/write-xor-execute.js

import { readFileSync } from "node:fs";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";
import { functionAt } from "./machine-code.js";

/** The code of `a + b` and of `a - b`, for x86-64 and arm64. */
const operations: Readonly<Record<string, Readonly<Record<string, readonly number[]>>>> = {
  x64: { "+": [0x8d, 0x04, 0x37, 0xc3], "-": [0x89, 0xf8, 0x29, 0xf0, 0xc3] },
  arm64: {
    "+": [0x00, 0x00, 0x01, 0x0b, 0xc0, 0x03, 0x5f, 0xd6],
    "-": [0x00, 0x00, 0x01, 0x4b, 0xc0, 0x03, 0x5f, 0xd6],
  },
};

/** The permissions in the row of /proc/self/maps that begins with an address. */
function permissionsAt(address: bigint): string | undefined {
  const rows = readFileSync("/proc/self/maps", "utf8").split("\n");
  const start = `${address.toString(16).padStart(8, "0")}-`;
  return rows.find((row) => row.startsWith(start))?.split(" ")[1];
}

const codes = Object.entries(operations[process.arch] ?? {});
const length = codes.length * pageSize;
const fd = raw.memfd_create("code", raw.MFD_CLOEXEC);
raw.ftruncate(fd, length);
const writable = raw.mmap(null, length, raw.PROT_READ | raw.PROT_WRITE, raw.MAP_SHARED, fd, 0);
const executable = raw.mmap(null, length, raw.PROT_READ | raw.PROT_EXEC, raw.MAP_SHARED, fd, 0);
raw.close(fd);
console.log(`written at ${permissionsAt(writable)}, executed at ${permissionsAt(executable)}`);

const page = raw.view(writable, length);
for (const [index, [operator, code]] of codes.entries()) {
  // Each in a page of its own: the kernel makes a page that is executed for the first time known to
  // processors that keep their instructions apart, as arm64 does.
  page.set(code, index * pageSize);
  const compute = await functionAt(executable + BigInt(index * pageSize));
  console.log(`30 ${operator} 12 = ${compute(30, 12)}`);
}
raw.munmap(writable, length);
raw.munmap(executable, length);
