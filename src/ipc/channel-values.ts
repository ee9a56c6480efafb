/**
 * Structured values as messages, by the serializer of the platform: V8's on Node and Deno, JSC's on
 * Bun. The bytes of typed arrays are kept out of it and lie behind what it wrote, so they are
 * copied once on each side.
 *
 *     | serializer, 4 bytes | parts, 4 | length, 4 | 0 | lengths of the parts, 8 each |
 *     | what the serializer wrote ... | part ... | part ... |          each from a multiple of 8
 */
import v8 from "node:v8";
import { memmapError, wrongType } from "../errors.js";

const serializers = { v8: 1, jsc: 2 } as const;
const own: number = process.versions["bun"] === undefined ? serializers.v8 : serializers.jsc;
const headBytes = 16;
const lengthBytes = 8;

function aligned(bytes: number): number {
  return Math.ceil(bytes / 8) * 8;
}

const kinds = [
  Int8Array,
  Uint8Array,
  Uint8ClampedArray,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
  Float32Array,
  Float64Array,
  BigInt64Array,
  BigUint64Array,
  DataView,
] as const;

class Writer extends v8.DefaultSerializer {
  readonly parts: Uint8Array[] = [];

  _writeHostObject(view: ArrayBufferView): void {
    const kind = kinds.findIndex((type) => view instanceof type);
    if (kind < 0) throw wrongType("A value holds an object that cannot be sent");
    this.writeUint32(kind);
    this.writeUint32(this.parts.length);
    this.parts.push(new Uint8Array(view.buffer, view.byteOffset, view.byteLength));
  }
}

class Reader extends v8.DefaultDeserializer {
  parts: readonly Uint8Array<ArrayBuffer>[] = [];

  _readHostObject(): ArrayBufferView {
    const type = kinds[this.readUint32()];
    const part = this.parts[this.readUint32()];
    if (type === undefined || part === undefined) throw unreadable("its parts are not whole");
    if (type === DataView) return new DataView(part.buffer, part.byteOffset, part.byteLength);
    const size = "BYTES_PER_ELEMENT" in type ? type.BYTES_PER_ELEMENT : 1;
    return Reflect.construct(type, [part.buffer, part.byteOffset, part.byteLength / size]);
  }
}

function unreadable(reason: string): Error {
  return memmapError("ERR_MEMMAP_CORRUPT", `Cannot read a value from the channel: ${reason}`);
}

interface Serialized {
  readonly bytes: Uint8Array;
  readonly parts: readonly Uint8Array[];
}

function serialize(value: unknown): Serialized {
  if (own === serializers.jsc) return { bytes: v8.serialize(value), parts: [] };
  const writer = new Writer();
  writer.writeHeader();
  writer.writeValue(value);
  return { bytes: writer.releaseBuffer(), parts: writer.parts };
}

/** Bytes of a value's message. */
export function encodeValue(value: unknown): Uint8Array {
  if (value === undefined) throw wrongType(`"value" must not be undefined: that says "no more"`);
  const { bytes, parts } = serialize(value);
  const head = headBytes + lengthBytes * parts.length;
  let length = head + aligned(bytes.length);
  for (const part of parts) length += aligned(part.length);
  const message = new Uint8Array(length);
  new Uint32Array(message.buffer, 0, 3).set([own, parts.length, bytes.length]);
  new Float64Array(message.buffer, headBytes, parts.length).set(parts.map((part) => part.length));
  message.set(bytes, head);
  let offset = head + aligned(bytes.length);
  for (const part of parts) {
    message.set(part, offset);
    offset += aligned(part.length);
  }
  return message;
}

/* The parts behind what the serializer wrote; every length may have been written by anybody. */
function partsOf(message: Uint8Array<ArrayBuffer>, from: number): Uint8Array<ArrayBuffer>[] {
  const [, count = 0] = new Uint32Array(message.buffer, message.byteOffset, 3);
  if (headBytes + count * lengthBytes > message.length) throw unreadable("it has too many parts");
  const lengths = new Float64Array(message.buffer, message.byteOffset + headBytes, count);
  let offset = from;
  return [...lengths].map((length) => {
    const end = offset + length;
    if (!(Number.isInteger(length) && length >= 0 && end <= message.length)) {
      throw unreadable("a part is longer than it");
    }
    const part = message.subarray(offset, end);
    offset += aligned(length);
    return part;
  });
}

/**
 * The value in a message, whose typed arrays are views of the message's bytes.
 *
 * @throws {MemmapError} `ERR_MEMMAP_VERSION` when another engine's serializer wrote it;
 *   `ERR_MEMMAP_CORRUPT` for bytes that are none.
 */
export function decodeValue(message: Uint8Array<ArrayBuffer>): unknown {
  if (message.length < headBytes) throw unreadable("it is too short");
  const [serializer, count = 0, length = 0] = new Uint32Array(
    message.buffer,
    message.byteOffset,
    3,
  );
  if (serializer !== own) {
    const reason = "it was written by the serializer of another JavaScript engine";
    throw memmapError("ERR_MEMMAP_VERSION", `Cannot read a value from the channel: ${reason}`);
  }
  const start = headBytes + lengthBytes * count;
  const bytes = message.subarray(start, start + length);
  if (bytes.length !== length) throw unreadable("it is cut off");
  try {
    if (own === serializers.jsc) return v8.deserialize(bytes);
    const reader = new Reader(bytes);
    reader.parts = partsOf(message, start + aligned(length));
    reader.readHeader();
    return reader.readValue();
  } catch (error) {
    throw unreadable(error instanceof Error ? error.message : String(error));
  }
}
