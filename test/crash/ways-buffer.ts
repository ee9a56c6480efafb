// Touches by the methods of Buffer and by what turns bytes into text and back.

import { isAscii, isUtf8, transcode } from "node:buffer";
import { StringDecoder } from "node:string_decoder";
import { asBuffer, now, type Way } from "./way.js";

type Use = (buffer: Buffer<ArrayBufferLike>, heap: Buffer<ArrayBufferLike>) => unknown;

const readers: Readonly<Record<string, Use>> = {
  "copy to heap": (buffer, heap) => buffer.copy(heap),
  "indexOf a string": (buffer) => buffer.indexOf("needle that is not there"),
  "indexOf a number": (buffer) => buffer.indexOf(0xfe),
  "indexOf a Buffer": (buffer) => buffer.indexOf(Buffer.from([0xfe, 0xfd])),
  lastIndexOf: (buffer) => buffer.lastIndexOf("needle"),
  includes: (buffer) => buffer.includes("needle"),
  compare: (buffer, heap) => buffer.compare(Buffer.from(heap).fill(5)),
  "Buffer.compare": (buffer, heap) => Buffer.compare(heap, buffer),
  equals: (buffer) => buffer.equals(Buffer.alloc(buffer.length, 5)),
  "toString utf8": (buffer) => buffer.toString(),
  "toString latin1": (buffer) => buffer.toString("latin1"),
  "toString ascii": (buffer) => buffer.toString("ascii"),
  "toString hex": (buffer) => buffer.toString("hex"),
  "toString base64": (buffer) => buffer.toString("base64"),
  "toString base64url": (buffer) => buffer.toString("base64url"),
  "toString utf16le": (buffer) => buffer.toString("utf16le"),
  readUInt8: (buffer) => buffer.readUInt8(4200),
  readUInt32LE: (buffer) => buffer.readUInt32LE(4200),
  readInt32BE: (buffer) => buffer.readInt32BE(4200),
  readUIntBE: (buffer) => buffer.readUIntBE(4200, 6),
  readDoubleLE: (buffer) => buffer.readDoubleLE(4092),
  readFloatBE: (buffer) => buffer.readFloatBE(4200),
  readBigUInt64LE: (buffer) => buffer.readBigUInt64LE(4200),
  "Buffer.from": (buffer) => Buffer.from(buffer),
  "Buffer.concat": (buffer, heap) => Buffer.concat([heap, buffer, heap]),
  "Buffer.alloc filled with it": (buffer) => Buffer.alloc(10_000, buffer),
  toJSON: (buffer) => buffer.toJSON(),
  isUtf8: (buffer) => isUtf8(buffer),
  isAscii: (buffer) => isAscii(buffer),
  transcode: (buffer) => transcode(buffer, "latin1", "utf16le"),
  StringDecoder: (buffer) => new StringDecoder("utf8").write(Buffer.from(buffer)),
};

const text = "text to be written, long enough to be more than a word ".repeat(100);

const writers: Readonly<Record<string, Use>> = {
  "heap.copy into it": (buffer, heap) => heap.copy(buffer),
  "write utf8": (buffer) => buffer.write(text),
  "write text of several bytes a letter": (buffer) => buffer.write("ä€".repeat(1000)),
  "write latin1": (buffer) => buffer.write(text, "latin1"),
  "write ascii": (buffer) => buffer.write(text, "ascii"),
  "write hex": (buffer) => buffer.write("abcd".repeat(500), "hex"),
  "write base64": (buffer) => buffer.write("abcd".repeat(500), "base64"),
  "write utf16le": (buffer) => buffer.write(text, "utf16le"),
  "fill a string": (buffer) => buffer.fill("ab"),
  "fill a number": (buffer) => buffer.fill(9),
};

/* The methods that write a number may look at the element first. */
const updaters: Readonly<Record<string, Use>> = {
  writeUInt8: (buffer) => buffer.writeUInt8(3, 4200),
  writeUInt32LE: (buffer) => buffer.writeUInt32LE(3, 4200),
  writeInt16BE: (buffer) => buffer.writeInt16BE(3, 4200),
  writeUIntLE: (buffer) => buffer.writeUIntLE(3, 4200, 6),
  writeDoubleBE: (buffer) => buffer.writeDoubleBE(3, 4092),
  writeFloatLE: (buffer) => buffer.writeFloatLE(3, 4200),
  writeBigInt64LE: (buffer) => buffer.writeBigInt64LE(3n, 4200),
  swap16: (buffer) => buffer.swap16(),
  swap32: (buffer) => buffer.swap32(),
  swap64: (buffer) => buffer.swap64(),
  "copy onto itself": (buffer) => buffer.copy(buffer, 7),
};

function waysOf(uses: Readonly<Record<string, Use>>, make: ReturnType<typeof now>): Way[] {
  return Object.entries(uses).map(([name, use]) =>
    make(/^(?:Buffer|is|trans|String)/.test(name) ? name : `Buffer: ${name}`, (view, kit) => {
      const buffer = asBuffer(view);
      const heap = Buffer.from(kit.heap);
      return () => use(buffer, heap);
    }),
  );
}

const read = now("read");

const encodings: readonly string[] = ["utf-8", "utf-16le", "latin1"];

/** Buffer, TextDecoder, TextEncoder. */
export const bufferWays: readonly Way[] = [
  ...waysOf(readers, read),
  ...waysOf(writers, now("write")),
  ...waysOf(updaters, now("update")),
  ...encodings.map((encoding) =>
    read(`TextDecoder ${encoding}`, (view) => {
      const decoder = new TextDecoder(encoding);
      return () => decoder.decode(view);
    }),
  ),
  now("write")("TextEncoder.encodeInto", (view) => {
    const encoder = new TextEncoder();
    return () => encoder.encodeInto(text, view);
  }),
  now("write")("TextEncoder.encodeInto, several bytes a letter", (view) => {
    const encoder = new TextEncoder();
    return () => encoder.encodeInto("€uro".repeat(900), view);
  }),
];
