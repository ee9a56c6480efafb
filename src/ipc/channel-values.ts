/**
 * Structured values as messages, by the serializer of the platform: V8's on Node and Deno, JSC's on
 * Bun. The bytes of typed arrays are kept out of it and lie behind what it wrote, so they are
 * copied once on each side: into the ring, and out of it.
 *
 *     | serializer, 4 bytes | parts, 4 | length, 4 | 0 | lengths of the parts, 8 each |
 *     | what the serializer wrote ... | part ... | part ... |          each from a multiple of 8
 */
import v8 from "node:v8";
import { memmapError, wrongType } from "../errors.js";
import type { Written } from "./channel-sending.js";
import { bytesOf, kindOf, putParts, takeParts, viewOf } from "./value-parts.js";

const serializers = { v8: 1, jsc: 2 } as const;
const own: number = process.versions["bun"] === undefined ? serializers.v8 : serializers.jsc;
const headBytes = 16;
const lengthBytes = 8;

function aligned(bytes: number): number {
  return Math.ceil(bytes / 8) * 8;
}

class Writer extends v8.DefaultSerializer {
  readonly parts: Uint8Array[] = [];

  _writeHostObject(view: ArrayBufferView): void {
    const kind = kindOf(view);
    if (kind < 0) throw new DOMException("An object could not be cloned.", "DataCloneError");
    this.writeUint32(kind);
    this.writeUint32(this.parts.length);
    this.parts.push(bytesOf(view));
  }
}

class Reader extends v8.DefaultDeserializer {
  parts: readonly Uint8Array<ArrayBuffer>[] = [];

  _readHostObject(): ArrayBufferView {
    const kind = this.readUint32();
    const part = this.parts[this.readUint32()];
    const view = part && viewOf(kind, part);
    if (view === undefined) throw wrongType("its parts are not whole");
    return view;
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
  if (own === serializers.jsc) {
    const parted = takeParts(value);
    if (parted === undefined) return { bytes: v8.serialize(value), parts: [] };
    return { bytes: v8.serialize(parted.value), parts: parted.parts };
  }
  const writer = new Writer();
  writer.writeHeader();
  try {
    writer.writeValue(value);
  } catch (error) {
    throw isCloneError(error) ? new DOMException(error.message, "DataCloneError") : error;
  }
  return { bytes: writer.releaseBuffer(), parts: writer.parts };
}

/* V8's serializer has Node throw a plain error, where its structured clone has a DOMException. */
function isCloneError(error: unknown): error is Error {
  const isPlain = error instanceof Error && Object.getPrototypeOf(error) === Error.prototype;
  return isPlain && error.message.endsWith("could not be cloned.");
}

interface Segment {
  readonly from: number;
  readonly bytes: Uint8Array;
  /** As it was: an array that is transferred or made shorter meanwhile has less. */
  readonly length: number;
}

/* A value on its way: its pieces, which are put together only in the ring. */
class ValueMessage implements Written {
  length = 0;
  readonly #segments: Segment[] = [];

  add(bytes: Uint8Array): void {
    this.#segments.push({ from: this.length, bytes, length: bytes.length });
    this.length += aligned(bytes.length);
  }

  copyTo(target: Uint8Array, offset: number): void {
    const end = offset + target.length;
    for (const { from, bytes, length } of this.#segments) {
      if (bytes.length !== length) throw wrongType("A typed array has changed while it was sent");
      const [first, last] = [Math.max(from, offset), Math.min(from + length, end)];
      if (first < last) target.set(bytes.subarray(first - from, last - from), first - offset);
      const [gap, next] = [Math.max(from + length, offset), Math.min(from + aligned(length), end)];
      if (gap < next) target.fill(0, gap - offset, next - offset);
    }
  }
}

/**
 * The message of a value.
 *
 * @throws {DOMException} `DataCloneError` for what cannot be cloned.
 */
export function encodeValue(value: unknown): Written {
  if (value === undefined) throw wrongType(`"value" must not be undefined: that says "no more"`);
  const { bytes, parts } = serialize(value);
  const head = new ArrayBuffer(headBytes + lengthBytes * parts.length);
  new Uint32Array(head, 0, 3).set([own, parts.length, bytes.length]);
  new Float64Array(head, headBytes).set(parts.map((part) => part.length));
  const message = new ValueMessage();
  for (const piece of [new Uint8Array(head), bytes, ...parts]) message.add(piece);
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
  const parts = partsOf(message, start + aligned(length));
  try {
    return read(bytes, parts);
  } catch (error) {
    throw unreadable(error instanceof Error ? error.message : String(error));
  }
}

function read(bytes: Uint8Array, parts: readonly Uint8Array<ArrayBuffer>[]): unknown {
  if (own === serializers.jsc) {
    const found: unknown = v8.deserialize(bytes);
    if (parts.length === 0) return found;
    const whole = putParts(found, parts);
    if (whole === undefined) throw wrongType("its parts are not whole");
    return whole.value;
  }
  const reader = new Reader(bytes);
  reader.parts = parts;
  reader.readHeader();
  return reader.readValue();
}
