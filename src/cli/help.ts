/**
 * Pure: the help texts of the command and of its verbs.
 */
import { exitCodes, exitMeanings } from "./exit.js";
import { wrap } from "./text.js";
import { helpOption, type OptionSpec, type Verb } from "./verb.js";

const width = 80;

/* A column of words and what they mean, the meaning wrapped beside the words. */
function table(rows: readonly (readonly [string, string])[]): string[] {
  const column = Math.max(...rows.map(([word]) => word.length)) + 4;
  return rows.flatMap(([word, about]) =>
    wrap(about, { width, indent: column }).map((line, i) =>
      i === 0 ? `  ${word}`.padEnd(column) + line.trimStart() : line,
    ),
  );
}

function optionWords(name: string, { type, short }: OptionSpec): string {
  const words = short === undefined ? `--${name}` : `-${short}, --${name}`;
  return type === "size" ? `${words} N` : words;
}

function optionRows(options: Readonly<Record<string, OptionSpec>>): [string, string][] {
  return Object.entries(options).map(([name, spec]) => [optionWords(name, spec), spec.about]);
}

/** The usage line of a verb. */
export function usageLine(verb: Verb): string {
  const options = Object.entries(verb.options).map(
    ([name, spec]) => ` [${optionWords(name, spec)}]`,
  );
  return `memmap ${verb.name} ${verb.operands.form}${options.join("")}`;
}

/** The help text of a verb. */
export function verbHelp(verb: Verb): string {
  const lines = [
    `Usage: ${usageLine(verb)}`,
    ...verb.about.flatMap((paragraph) => ["", ...wrap(paragraph, { width })]),
    "",
    "Options:",
    ...table(optionRows({ ...verb.options, help: helpOption })),
    "",
    "Exit codes:",
    ...table(verb.exits.map(({ code, about }) => [String(code), about])),
    "",
    verb.examples.length === 1 ? "Example:" : "Examples:",
    ...verb.examples.map((example) => `  ${example}`),
  ];
  return `${lines.join("\n")}\n`;
}

/** The help text of the command. */
export function commandHelp(
  verbs: readonly Verb[],
  options: Readonly<Record<string, OptionSpec>>,
): string {
  const lines = [
    "Usage: memmap VERB ARGUMENT... [OPTION...]",
    "",
    ...wrap("Maps files into memory, writes and copies them from there, and shows what happens.", {
      width,
    }),
    "",
    "Verbs:",
    ...table(verbs.map((verb) => [verb.name, verb.summary])),
    "",
    "Options:",
    ...table(optionRows(options)),
    "",
    "Exit codes:",
    ...table(Object.values(exitCodes).map((code) => [String(code), exitMeanings[code]])),
    "",
    "Example:",
    "  memmap tour README.md",
    "",
    "`memmap VERB --help` tells more about a verb.",
  ];
  return `${lines.join("\n")}\n`;
}
