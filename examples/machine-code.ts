// Writes machine code that adds two numbers into a page, makes the page executable, and calls it
// through the foreign function interface of the runtime: koffi on Node, or that of Bun or Deno.
//
//     node out/examples/machine-code.js [A B]

import { fileURLToPath } from "node:url";
import { pageSize } from "memmap";
import * as raw from "memmap/raw";

type Binary = (a: number, b: number) => number;

/** `lea eax, [rdi + rsi]; ret` for x86-64, `add w0, w0, w1; ret` for arm64. */
const add: Readonly<Record<string, readonly number[]>> = {
  x64: [0x8d, 0x04, 0x37, 0xc3],
  arm64: [0x00, 0x00, 0x01, 0x0b, 0xc0, 0x03, 0x5f, 0xd6],
};

/** What is used of bun:ffi and of Deno, whose types are not installed. */
interface BunFfi {
  CFunction(plan: { ptr: bigint; args: string[]; returns: string }): Binary;
}
interface Deno {
  readonly UnsafePointer: { create(address: bigint): object };
  readonly UnsafeFnPointer: new (pointer: object, definition: object) => { call: Binary };
}

/** The machine code at an address as a function of two numbers. */
export async function functionAt(address: bigint): Promise<Binary> {
  if ("Bun" in globalThis) {
    const name: string = "bun:ffi";
    const ffi: BunFfi = await import(name);
    return ffi.CFunction({ ptr: address, args: ["i32", "i32"], returns: "i32" });
  }
  if ("Deno" in globalThis) {
    const deno: Deno = Reflect.get(globalThis, "Deno");
    const definition = { parameters: ["i32", "i32"], result: "i32" };
    const pointer = new deno.UnsafeFnPointer(deno.UnsafePointer.create(address), definition);
    return (a, b) => pointer.call(a, b);
  }
  const { default: koffi } = await import("koffi");
  koffi.load(null); // Its first library gives it the stack that it calls on.
  const type = koffi.proto("int32_t", ["int32_t", "int32_t"]);
  return (a, b) => koffi.call(address, type, a, b);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const code = add[process.arch];
  if (code === undefined) throw new Error(`No machine code for ${process.arch}`);
  const kind = raw.MAP_PRIVATE | raw.MAP_ANONYMOUS;
  const address = raw.mmap(null, pageSize, raw.PROT_READ | raw.PROT_WRITE, kind, -1, 0);
  raw.view(address, code.length).set(code);
  raw.mprotect(address, pageSize, raw.PROT_READ | raw.PROT_EXEC); // No longer writable.
  const [a = 30, b = 12] = process.argv.slice(2).map(Number);
  const sum = await functionAt(address);
  console.log(`${a} + ${b} = ${sum(a, b)}`);
  raw.munmap(address, pageSize);
}
