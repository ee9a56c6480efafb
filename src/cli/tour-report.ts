/**
 * How the tour prints: steps with a heading, prose, and measured values beside what they measure.
 */
import type { Output } from "./output.js";
import { columnsMax, wrap } from "./text.js";

const indent = 3;
const labelWidth = 32;

/** Where the tour prints. */
export class Report {
  readonly #output: Output;
  #steps = 0;

  constructor(output: Output) {
    this.#output = output;
  }

  /** The columns that a value has beside its label. */
  get valueWidth(): number {
    return columnsMax - indent - labelWidth;
  }

  /** Prints prose at the margin. */
  say(text: string): void {
    this.#print(wrap(text));
  }

  /** Begins a step; `call` is what C calls it. */
  step(title: string, call: string): void {
    this.#steps += 1;
    const heading = `${this.#steps}. ${title}`;
    const gap = Math.max(2, columnsMax - heading.length - call.length);
    this.#print(["", heading + " ".repeat(gap) + call]);
  }

  /** Prints prose of a step. */
  tell(text: string): void {
    this.#print(wrap(text, { indent }));
  }

  /** Prints a measured value. */
  show(label: string, value: string): void {
    const lines = wrap(value, { indent: indent + labelWidth });
    const first = " ".repeat(indent) + label.padEnd(labelWidth) + (lines[0] ?? "").trimStart();
    this.#print([first.trimEnd(), ...lines.slice(1)]);
  }

  /** Prints a line as it is, after the indentation of a step. */
  line(text: string): void {
    this.#print([" ".repeat(indent) + text]);
  }

  /** Says what was measured where it is what the step is about, and else what came instead. */
  conclude(measured: boolean, expected: string, otherwise: string): void {
    this.tell(measured ? `=> ${expected}` : `=> NOT as expected: ${otherwise}`);
  }

  #print(lines: readonly string[]): void {
    this.#output.print(`${lines.join("\n")}\n`);
  }
}

/** A value before and after. */
export function change(before: string | number, after: string | number, unit = ""): string {
  const suffix = unit === "" ? "" : ` ${unit}`;
  return `${before}${suffix} -> ${after}${suffix}`;
}

/** One byte as it is written in C. */
export function hex(byte: number | undefined): string {
  return byte === undefined ? "nothing" : `0x${byte.toString(16).padStart(2, "0")}`;
}

/** An address without its prefix, as in /proc/PID/maps. */
export function at(address: bigint): string {
  return address.toString(16).padStart(12, "0");
}
