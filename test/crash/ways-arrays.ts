// Touches by the built-in methods of typed arrays, and by what the language itself does with them.

import { call, now, type View, type Way } from "./way.js";

const read = now("read");
const write = now("write");
const update = now("update");

type Use = (view: View, heap: Uint8Array<ArrayBuffer>) => unknown;

const doublesOf = (view: View) => new Float64Array(view.buffer, view.byteOffset, view.length / 8);
const wordsOf = (view: View) => new Int32Array(view.buffer, view.byteOffset, view.length / 4);

const readers: Readonly<Record<string, Use>> = {
  "heap.set(view)": (view, heap) => heap.set(view),
  "heap.set(view.subarray())": (view, heap) => heap.set(view.subarray(8, 4200), 1),
  slice: (view) => view.slice(),
  at: (view) => view.at(4100),
  indexOf: (view) => view.indexOf(0xfe),
  lastIndexOf: (view) => view.lastIndexOf(0xfe),
  includes: (view) => view.includes(0xfe),
  join: (view) => view.join(","),
  "view.toString()": (view) => view.toString(),
  map: (view) => view.map((byte) => byte + 1),
  filter: (view) => view.filter((byte) => byte > 3),
  every: (view) => view.every((byte) => byte < 256),
  some: (view) => view.some((byte) => byte > 255),
  find: (view) => view.find((byte) => byte > 255),
  findIndex: (view) => view.findIndex((byte) => byte > 255),
  forEach: (view) => view.forEach(() => {}),
  reduce: (view) => view.reduce((sum, byte) => sum + byte, 0),
  reduceRight: (view) => view.reduceRight((sum, byte) => sum + byte, 0),
  values: (view) => Math.max(...view.values()),
  entries: (view) => [...view.entries()].length,
  "new Uint8Array(view)": (view) => new Uint8Array(view),
  "new Float32Array(view)": (view) => new Float32Array(view),
  "Uint8Array.from": (view) => Uint8Array.from(view),
  "Uint8Array.from with a function": (view) => Uint8Array.from(view, (byte) => byte * 2),
  "Array.from": (view) => Array.from(view),
  "spread into an array": (view) => [...view],
  "spread into arguments": (view) => Math.max(...view),
  "String.fromCharCode.apply": (view) => Reflect.apply(String.fromCharCode, null, view),
  destructuring: (view) => {
    const [first, ...rest] = view;
    return rest.length + (first ?? 0);
  },
  "JSON.stringify": (view) => JSON.stringify(view),
  "Object.entries": (view) => Object.entries(view).length,
  "for of": (view) => {
    let sum = 0;
    for (const byte of view) sum += byte;
    return sum;
  },
};

const newReaders: Readonly<Record<string, Use>> = {
  toReversed: (view) => call(view, "toReversed"),
  toSorted: (view) => call(view, "toSorted"),
  with: (view) => call(view, "with", 3, 4),
  findLast: (view) => call(view, "findLast", (byte: number) => byte > 255),
};

const writers: Readonly<Record<string, Use>> = {
  fill: (view) => view.fill(0x33),
  "fill with zeros": (view) => view.fill(0),
  "view.set(heap)": (view, heap) => view.set(heap),
  "view.set(array)": (view) => view.set(new Array<number>(5000).fill(3)),
  "view.subarray().set(heap)": (view, heap) => view.subarray(8).set(heap.subarray(0, 4200)),
  "Float64Array.fill": (view) => doublesOf(view).fill(1.5),
  "Int32Array.set of floats": (view) => wordsOf(view).set(new Float64Array(1500).fill(2.5)),
  "Object.assign": (view) => Object.assign(view, [1, 2, 3]),
  "Reflect.set": (view) => Reflect.set(view, 4200, 3),
  "Object.defineProperty": (view) =>
    Object.defineProperty(view, 10, {
      value: 5,
      writable: true,
      enumerable: true,
      configurable: true,
    }),
};

const updaters: Readonly<Record<string, Use>> = {
  copyWithin: (view) => view.copyWithin(0, 4096),
  "copyWithin, overlapping": (view) => view.copyWithin(100, 0, 5000),
  reverse: (view) => view.reverse(),
  sort: (view) => {
    /* Equal elements need not be moved, and so are not always written. */
    view[0] = 1;
    return view.sort();
  },
  "sort with a function": (view) => {
    view[0] = 1;
    return view.subarray(0, 300).sort((a, b) => b - a);
  },
  "Float64Array.sort": (view) => {
    const doubles = doublesOf(view);
    doubles[0] = 1;
    return doubles.sort();
  },
  "Int32Array.reverse": (view) => wordsOf(view).reverse(),
  "++ of an element": (view) => {
    view[4300] = (view[4300] ?? 0) + 1;
  },
};

function waysOf(uses: Readonly<Record<string, Use>>, make: typeof read): Way[] {
  return Object.entries(uses).map(([name, use]) =>
    make(
      name.includes("(") || name.includes(" ") ? name : `view.${name}`,
      (view, { heap }) =>
        () =>
          use(view, heap),
    ),
  );
}

/** Methods of typed arrays and constructs of the language. */
export const arrayWays: readonly Way[] = [
  ...waysOf(readers, read),
  ...waysOf(newReaders, read),
  ...waysOf(writers, write),
  ...waysOf(updaters, update),
  read("ArrayBuffer.slice", (view) => () => {
    const { byteOffset, length } = view;
    return view.buffer.slice(byteOffset, byteOffset + length);
  }),
];
