/**
 * What a verb of the command is, and how its arguments are read. A verb is one file that exports
 * one {@link Verb}; main.ts lists them. Owns the messages of wrong usage.
 */
import { parseArgs } from "node:util";
import { type ExitCode, usageError } from "./exit.js";
import type { Output } from "./output.js";
import { parseSize } from "./size.js";
import { nearest, quote } from "./text.js";

/** An option of a verb. */
export interface OptionSpec {
  /** "flag" takes no value, "size" a number of bytes. */
  readonly type: "flag" | "size";
  /** What it does, with its unit and its default. */
  readonly about: string;
  readonly short?: string | undefined;
}

/** What stands in the command line behind the verb. */
export interface OperandSpec {
  /** As the usage line shows it: "FILE...", "SRC DST". */
  readonly form: string;
  readonly min: number;
  readonly max: number;
}

/** One line of a help text, with what the exit code means for this verb. */
export interface ExitNote {
  readonly code: ExitCode;
  readonly about: string;
}

/** One verb of the command. */
export interface Verb {
  readonly name: string;
  /** One line for the help of the command. */
  readonly summary: string;
  /** What it does, a paragraph each. */
  readonly about: readonly string[];
  readonly operands: OperandSpec;
  readonly options: Readonly<Record<string, OptionSpec>>;
  readonly exits: readonly ExitNote[];
  readonly examples: readonly string[];
  run(call: Call): Promise<ExitCode>;
}

/** One call of a verb. */
export interface Call {
  readonly operands: readonly string[];
  readonly values: OptionValues;
  /** Standard output. */
  readonly output: Output;
  /** Writes one line to standard error, after "memmap VERB: ". */
  readonly warn: (message: string) => void;
}

/** The options that were given. */
export class OptionValues {
  readonly #given: ReadonlyMap<string, string>;

  constructor(given: ReadonlyMap<string, string>) {
    this.#given = given;
  }

  /** Whether a flag was given. */
  flag(name: string): boolean {
    return this.#given.has(name);
  }

  /** The bytes that a size option was given; undefined without it. */
  size(name: string): number | undefined {
    const text = this.#given.get(name);
    return text === undefined ? undefined : parseSize(text, `--${name}`);
  }
}

/** The options that the command and every verb have. */
export const helpOption: OptionSpec = { type: "flag", short: "h", about: "Show this text." };

/** A command line that has been read. */
export interface ParsedLine {
  readonly operands: readonly string[];
  readonly values: OptionValues;
}

/**
 * Reads options and operands. Unknown options, missing and unwanted values are usage errors in our
 * own words, since each runtime has others.
 */
export function parseLine(
  args: readonly string[],
  options: Readonly<Record<string, OptionSpec>>,
): ParsedLine {
  const entries = Object.entries(options).map(([name, { type, short }]) => {
    const kind: { type: "boolean" | "string"; short?: string } = {
      type: type === "flag" ? "boolean" : "string",
    };
    return [name, short === undefined ? kind : { ...kind, short }] as const;
  });
  const { tokens } = parseArgs({
    args: [...args],
    options: Object.fromEntries(entries),
    allowPositionals: true,
    strict: false,
    tokens: true,
  });
  const operands: string[] = [];
  const given = new Map<string, string>();
  for (const token of tokens) {
    if (token.kind === "positional") operands.push(token.value);
    if (token.kind === "option") given.set(token.name, readValue(token, options));
  }
  return { operands, values: new OptionValues(given) };
}

interface OptionToken {
  readonly name: string;
  readonly rawName: string;
  readonly value?: string | undefined;
}

function readValue(token: OptionToken, options: Readonly<Record<string, OptionSpec>>): string {
  const spec = Object.hasOwn(options, token.name) ? options[token.name] : undefined;
  if (spec === undefined) {
    const known = nearest(token.name, Object.keys(options));
    const hint = known === undefined ? "" : `; did you mean --${known}?`;
    throw usageError(`there is no option ${quote(token.rawName)}${hint}`);
  }
  if (spec.type === "flag") {
    if (token.value === undefined) return "";
    throw usageError(`${token.rawName} takes no value, ${quote(token.value)} was given`);
  }
  if (token.value !== undefined) return token.value;
  throw usageError(`${token.rawName} needs a value`);
}

/** Checks the count of the operands. */
export function requireOperands(operands: readonly string[], spec: OperandSpec): void {
  const unwanted = operands[spec.max];
  if (unwanted !== undefined) {
    throw usageError(`${quote(unwanted)} is one operand too many, ${spec.form} is expected`);
  }
  if (operands.length < spec.min) {
    throw usageError(`${spec.form} is expected, ${operands.length} of ${spec.min} were given`);
  }
  if (operands.includes("")) throw usageError(`an operand of ${spec.form} is empty`);
}
