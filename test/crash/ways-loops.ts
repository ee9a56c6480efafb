// Touches by plain JavaScript: loops that run once, and loops that the engine has compiled on
// ordinary memory before they meet the bad page. Each hot function is made for one kind of array,
// so that the compiled code holds no check that would lead it back to the interpreter.

import { content, now, type View, type Way } from "./way.js";

type Loop = (view: View) => number;

/** The length is fixed when the loop is made: a detached view is met at each step. */
function loopsOver(length: number): Readonly<Record<string, Loop>> {
  return { sum: (view) => sumBytes(view, length), fill: (view) => fillBytes(view, length) };
}

function sumBytes(view: View, length: number): number {
  let sum = 0;
  for (let i = 0; i < length; i++) sum += view[i] ?? 0;
  return sum;
}

function fillBytes(view: View, length: number): number {
  for (let i = 0; i < length; i++) view[i] = i;
  return length;
}

function addBytes(view: View, length: number): number {
  for (let i = 0; i < length; i++) view[i] = (view[i] ?? 0) + 1;
  return length;
}

function sumDoubles(view: Float64Array, length: number): number {
  let sum = 0;
  for (let i = 0; i < length; i++) sum += view[i] ?? 0;
  return sum;
}

function fillDoubles(view: Float64Array, length: number): number {
  for (let i = 0; i < length; i++) view[i] = i * 0.5;
  return length;
}

function sumWords(view: Int32Array, length: number): number {
  let sum = 0;
  for (let i = 0; i < length; i++) sum = (sum + (view[i] ?? 0)) | 0;
  return sum;
}

function fillWords(view: Int32Array, length: number): number {
  for (let i = 0; i < length; i++) view[i] = i;
  return length;
}

function sumBigs(view: BigInt64Array, length: number): bigint {
  let sum = 0n;
  for (let i = 0; i < length; i++) sum = BigInt.asIntN(64, sum + (view[i] ?? 0n));
  return sum;
}

function fillBigs(view: BigInt64Array, length: number): number {
  for (let i = 0; i < length; i++) view[i] = 5n;
  return length;
}

function sumFields(view: DataView, length: number): number {
  let sum = 0;
  for (let i = 0; i + 8 <= length; i += 8) {
    sum += view.getUint32(i, true) + view.getInt16(i + 4) + view.getFloat32(i + 4);
  }
  return sum;
}

function fillFields(view: DataView, length: number): number {
  for (let i = 0; i + 8 <= length; i += 8) view.setFloat64(i, i, true);
  return length;
}

function sumAtomics(view: Int32Array, length: number): number {
  let sum = 0;
  for (let i = 0; i < length; i++) sum = (sum + Atomics.load(view, i)) | 0;
  return sum;
}

function fillAtomics(view: Int32Array, length: number): number {
  for (let i = 0; i < length; i++) Atomics.store(view, i, i);
  return length;
}

function addAtomics(view: Int32Array, length: number): number {
  for (let i = 0; i < length; i++) Atomics.add(view, i, 1);
  return length;
}

/** Runs each hot loop on ordinary memory often enough to be compiled; once in each thread. */
export function warmUp(): void {
  const memory = new ArrayBuffer(8192);
  const bytes = new Uint8Array(memory);
  const doubles = new Float64Array(memory);
  const words = new Int32Array(memory);
  const bigs = new BigInt64Array(memory);
  const fields = new DataView(memory);
  for (let round = 0; round < 40; round++) {
    fillBytes(bytes, 8192);
    addBytes(bytes, 8192);
    sumBytes(bytes, 8192);
    fillDoubles(doubles, 1024);
    sumDoubles(doubles, 1024);
    fillWords(words, 2048);
    sumWords(words, 2048);
    fillBigs(bigs, 1024);
    sumBigs(bigs, 1024);
    fillFields(fields, 8192);
    sumFields(fields, 8192);
    fillAtomics(words, 2048);
    sumAtomics(words, 2048);
    addAtomics(words, 2048);
  }
}

/* A function that the engine has never seen runs in its interpreter. */
function cold(body: string): Loop {
  const made: unknown = new Function("view", "length", body);
  if (typeof made !== "function") throw new Error("no function was made");
  return (view) => Number(Reflect.apply(made, undefined, [view, view.length]));
}

const doublesOf = (view: View) => new Float64Array(view.buffer, view.byteOffset, view.length / 8);
const wordsOf = (view: View) => new Int32Array(view.buffer, view.byteOffset, view.length / 4);
const bigsOf = (view: View) => new BigInt64Array(view.buffer, view.byteOffset, view.length / 8);
const fieldsOf = (view: View) => new DataView(view.buffer, view.byteOffset, view.length);

const read = now("read");
const write = now("write");
const update = now("update");

/* Some engines look before they store, so that a store of Atomics is an update here. */
const hot: readonly Way[] = [
  read("hot loop reading bytes", (view) => {
    const loops = loopsOver(view.length);
    return () => loops["sum"]?.(view);
  }),
  write("hot loop writing bytes", (view) => {
    const loops = loopsOver(view.length);
    return () => loops["fill"]?.(view);
  }),
  update("hot loop adding to bytes", (view) => {
    const { length } = view;
    return () => addBytes(view, length);
  }),
  read("hot loop reading Float64Array", (view) => {
    const doubles = doublesOf(view);
    const { length } = doubles;
    return () => sumDoubles(doubles, length);
  }),
  write("hot loop writing Float64Array", (view) => {
    const doubles = doublesOf(view);
    const { length } = doubles;
    return () => fillDoubles(doubles, length);
  }),
  read("hot loop reading Int32Array", (view) => {
    const words = wordsOf(view);
    const { length } = words;
    return () => sumWords(words, length);
  }),
  write("hot loop writing Int32Array", (view) => {
    const words = wordsOf(view);
    const { length } = words;
    return () => fillWords(words, length);
  }),
  read("hot loop reading BigInt64Array", (view) => {
    const bigs = bigsOf(view);
    const { length } = bigs;
    return () => sumBigs(bigs, length);
  }),
  write("hot loop writing BigInt64Array", (view) => {
    const bigs = bigsOf(view);
    const { length } = bigs;
    return () => fillBigs(bigs, length);
  }),
  read("hot loop of DataView gets", (view) => {
    const fields = fieldsOf(view);
    const { length } = view;
    return () => sumFields(fields, length);
  }),
  write("hot loop of DataView sets", (view) => {
    const fields = fieldsOf(view);
    const { length } = view;
    return () => fillFields(fields, length);
  }),
  read("hot loop of Atomics.load", (view) => {
    const words = wordsOf(view);
    const { length } = words;
    return () => sumAtomics(words, length);
  }),
  update("hot loop of Atomics.store", (view) => {
    const words = wordsOf(view);
    const { length } = words;
    return () => fillAtomics(words, length);
  }),
  update("hot loop of Atomics.add", (view) => {
    const words = wordsOf(view);
    const { length } = words;
    return () => addAtomics(words, length);
  }),
];

const once: readonly Way[] = [
  read("cold loop reading bytes", (view) => {
    const loop = cold("let s = 0; for (let i = 0; i < length; i++) s += view[i]; return s;");
    return () => loop(view);
  }),
  write("cold loop writing bytes", (view) => {
    const loop = cold("for (let i = 0; i < length; i++) view[i] = 7; return length;");
    return () => loop(view);
  }),
  update("cold loop adding to bytes", (view) => {
    const loop = cold("for (let i = 0; i < length; i++) view[i] += 7; return length;");
    return () => loop(view);
  }),
  read("one element read", (view) => () => view[4096]),
  write("one element written", (view) => () => {
    view[4097] = 1;
  }),
];

type Getter = (fields: DataView) => unknown;

const getters: readonly (readonly [string, Getter])[] = [
  ["getInt8", (fields) => fields.getInt8(4100)],
  ["getUint16", (fields) => fields.getUint16(4100)],
  ["getInt32", (fields) => fields.getInt32(4100, true)],
  ["getFloat32", (fields) => fields.getFloat32(4100)],
  ["getFloat64 across two pages", (fields) => fields.getFloat64(4092)],
  ["getBigUint64", (fields) => fields.getBigUint64(4100)],
];

const setters: readonly (readonly [string, Getter])[] = [
  ["setInt8", (fields) => fields.setInt8(4100, 1)],
  ["setUint16", (fields) => fields.setUint16(4100, 1)],
  ["setInt32", (fields) => fields.setInt32(4100, 1)],
  ["setFloat32", (fields) => fields.setFloat32(4100, 1)],
  ["setFloat64 across two pages", (fields) => fields.setFloat64(4092, 1)],
  ["setBigUint64", (fields) => fields.setBigUint64(4100, 1n)],
];

type Atomic = (words: Int32Array) => unknown;

/* What a word of the file holds: on arm64 only an exchange that takes place writes. */
const unchanged = content * 0x01010101;

const atomics: readonly (readonly [string, Atomic])[] = [
  ["add", (words) => Atomics.add(words, 9, 1)],
  ["sub", (words) => Atomics.sub(words, 9, 1)],
  ["and", (words) => Atomics.and(words, 9, 1)],
  ["or", (words) => Atomics.or(words, 9, 1)],
  ["xor", (words) => Atomics.xor(words, 9, 1)],
  ["exchange", (words) => Atomics.exchange(words, 9, 1)],
  ["compareExchange", (words) => Atomics.compareExchange(words, 9, unchanged, 1)],
];

/** Loops, DataView and Atomics. */
export const loopWays: readonly Way[] = [
  ...once,
  ...hot,
  ...getters.map(([name, get]) =>
    read(`DataView.${name}`, (view) => {
      const fields = fieldsOf(view);
      return () => get(fields);
    }),
  ),
  ...setters.map(([name, set]) =>
    write(`DataView.${name}`, (view) => {
      const fields = fieldsOf(view);
      return () => set(fields);
    }),
  ),
  read("Atomics.load", (view) => {
    const words = wordsOf(view);
    return () => Atomics.load(words, 9);
  }),
  update("Atomics.store", (view) => {
    const words = wordsOf(view);
    return () => Atomics.store(words, 9, 1);
  }),
  ...atomics.map(([name, change]) =>
    update(`Atomics.${name}`, (view) => {
      const words = wordsOf(view);
      return () => change(words);
    }),
  ),
  update("Atomics.add of 64 bits", (view) => {
    const bigs = bigsOf(view);
    return () => Atomics.add(bigs, 9, 1n);
  }),
];
