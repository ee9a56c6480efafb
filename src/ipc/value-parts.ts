/**
 * Pure: takes the bytes of typed arrays out of a value, for a serializer that knows no other way to
 * keep them out (JSC's), and puts them back.
 *
 *     { a: 1, b: Float64Array(900) }
 *
 *     goes as  [marker, [8], { a: 1, b: Uint8Array(marker, 0, 0) }]       and 7200 bytes beside it
 *
 * In the copy that is serialized a small view of the marker buffer stands for each array; where it
 * begins and ends says which one. Serializers keep it that views lie in one buffer, and no view of
 * a user lies in the marker, so nothing can be taken for what it is not.
 *
 * Invariant: where a value holds an object whose inside cannot be walked, nothing is taken out:
 * half of the references to an object would lead to a copy.
 */

/** The typed arrays, by the numbers that stand for them in messages. */
export const viewKinds: readonly ViewKind[] = [
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
  ...float16(),
];

type ViewKind = abstract new (buffer: ArrayBuffer, ...place: number[]) => ArrayBufferView;

/* Young engines alone have it. */
function float16(): ViewKind[] {
  const found: unknown = Reflect.get(globalThis, "Float16Array");
  return isViewKind(found) ? [found] : [];
}

function isViewKind(value: unknown): value is ViewKind {
  return typeof value === "function";
}

/** The number of a view's type; -1 for one that is not known. */
export function kindOf(view: ArrayBufferView): number {
  return viewKinds.findIndex((kind) => view instanceof kind);
}

/** The bytes of a view. */
export function bytesOf(view: ArrayBufferView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

/** A view of some bytes; undefined for a type that this engine does not know. */
export function viewOf(kind: number, bytes: Uint8Array<ArrayBuffer>): ArrayBufferView | undefined {
  const type = viewKinds[kind];
  if (type === undefined) return undefined;
  const { buffer, byteOffset, byteLength } = bytes;
  const size = "BYTES_PER_ELEMENT" in type ? Number(type.BYTES_PER_ELEMENT) : 1;
  const made: unknown = Reflect.construct(type, [buffer, byteOffset, byteLength / size]);
  return ArrayBuffer.isView(made) ? made : undefined;
}

/** A value without its typed arrays. */
export interface Parted {
  /** What the serializer gets. */
  readonly value: readonly [marker: ArrayBuffer, kinds: readonly number[], value: unknown];
  readonly parts: readonly Uint8Array[];
}

/** Shorter arrays stay where they are: to take them out would cost more. */
const partMin = 512;

/* Objects with nothing inside that is an object of the user's. */
const leaves = new Set(
  ["Date", "RegExp", "Error", "Boolean", "Number", "String", "BigInt", "ArrayBuffer"].map(
    (name) => `[object ${name}]`,
  ),
);

function tagOf(value: object): string {
  return Object.prototype.toString.call(value);
}

/* The marker's halves: a view begins in the first, and is at most as long as the second. */
const half = 64;
/** More arrays than that stay where they are. */
const partsMax = half * half;

/* A way through a value that may be deep or lead back to itself: what is inside comes later. */
class Walk {
  readonly #known = new Map<object, object>();
  readonly #later: (() => void)[] = [];
  readonly #leaf: (value: object) => object | undefined;

  /** @param leaf What stands for an object; undefined to walk it. */
  constructor(leaf: (value: object) => object | undefined) {
    this.#leaf = leaf;
  }

  /** A copy of a value, and then of all that is inside. */
  copy(value: unknown): unknown {
    const made = this.#copy(value);
    for (let next = this.#later.pop(); next !== undefined; next = this.#later.pop()) next();
    return made;
  }

  #copy(value: unknown): unknown {
    if (typeof value !== "object" || value === null) return value;
    const known = this.#known.get(value);
    if (known !== undefined) return known;
    const made = this.#leaf(value) ?? this.#inside(value);
    this.#known.set(value, made);
    return made;
  }

  #inside(value: object): object {
    if (value instanceof Map) return this.#map(value);
    if (value instanceof Set) return this.#set(value);
    const copy = Array.isArray(value) ? new Array<unknown>(value.length) : {};
    this.#later.push(() => {
      for (const key of Object.keys(value)) {
        const item = this.#copy(Reflect.get(value, key));
        const rights = { writable: true, enumerable: true, configurable: true };
        Object.defineProperty(copy, key, { value: item, ...rights });
      }
    });
    return copy;
  }

  #map(value: ReadonlyMap<unknown, unknown>): object {
    const copy = new Map<unknown, unknown>();
    const add = (item: unknown, key: unknown): unknown =>
      copy.set(this.#copy(key), this.#copy(item));
    this.#later.push(() => Map.prototype.forEach.call(value, add));
    return copy;
  }

  #set(value: ReadonlySet<unknown>): object {
    const copy = new Set<unknown>();
    this.#later.push(() => Set.prototype.forEach.call(value, (item) => copy.add(this.#copy(item))));
    return copy;
  }
}

/* Whether the walk may go inside; what has no inside stays, and anything else ends the matter. */
function kindOfObject(value: object): "inside" | "leaf" | "unknown" {
  const tag = tagOf(value);
  const isPlain = tag === "[object Object]" || Array.isArray(value);
  if (isPlain || value instanceof Map || value instanceof Set) return "inside";
  return leaves.has(tag) ? "leaf" : "unknown";
}

/** Takes typed arrays out; undefined where there is nothing to gain, or no way to do it right. */
export function takeParts(value: unknown): Parted | undefined {
  const marker = new ArrayBuffer(2 * half);
  const kinds: number[] = [];
  const parts: Uint8Array[] = [];
  let isKnown = true;
  const copy = new Walk((found) => {
    if (!ArrayBuffer.isView(found)) {
      const kind = kindOfObject(found);
      if (kind === "unknown") isKnown = false;
      return kind === "inside" && isKnown ? undefined : found;
    }
    const kind = kindOf(found);
    const number = parts.length;
    if (found.byteLength < partMin || kind < 0 || number === partsMax) return found;
    kinds.push(kind);
    parts.push(bytesOf(found));
    return new Uint8Array(marker, Math.floor(number / half), number % half);
  }).copy(value);
  return isKnown && parts.length > 0 ? { value: [marker, kinds, copy], parts } : undefined;
}

/** Puts them back; undefined for what {@link takeParts} has not made. */
export function putParts(
  from: unknown,
  parts: readonly Uint8Array<ArrayBuffer>[],
): { readonly value: unknown } | undefined {
  const [marker, kinds, value]: unknown[] = Array.isArray(from) ? from : [];
  if (!(marker instanceof ArrayBuffer && Array.isArray(kinds))) return undefined;
  let isWhole = true;
  const whole = new Walk((found) => {
    if (!ArrayBuffer.isView(found)) return kindOfObject(found) === "inside" ? undefined : found;
    if (found.buffer !== marker) return found;
    const number = found.byteOffset * half + found.byteLength;
    const bytes = parts[number];
    const view = bytes === undefined ? undefined : viewOf(Number(kinds[number]), bytes);
    if (view === undefined) isWhole = false;
    return view ?? found;
  }).copy(value);
  return isWhole ? { value: whole } : undefined;
}
