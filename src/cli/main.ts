#!/usr/bin/env node
/**
 * The command `memmap`: finds the verb, runs it, and turns whatever it throws into one line on
 * standard error and an exit code. Owns the table of verbs; each verb is a file of its own.
 */
import { readFileSync } from "node:fs";
import { cat } from "./cat.js";
import { copy } from "./copy.js";
import {
  ClosedOutput,
  type ExitCode,
  exitCodeOf,
  exitCodes,
  messageOf,
  usageError,
} from "./exit.js";
import { commandHelp, verbHelp } from "./help.js";
import { Output } from "./output.js";
import { nearest, quote } from "./text.js";
import { tour } from "./tour.js";
import { helpOption, type OptionSpec, parseLine, requireOperands, type Verb } from "./verb.js";

/** The verbs in the order of the help text. */
const verbs: readonly Verb[] = [tour, cat, copy];

const commandOptions: Readonly<Record<string, OptionSpec>> = {
  help: helpOption,
  version: { type: "flag", about: "Show the version." },
};

const output = new Output(1, "standard output");

function version(): string {
  const file = new URL("../../package.json", import.meta.url);
  const manifest: unknown = JSON.parse(readFileSync(file, "utf8"));
  const known = typeof manifest === "object" && manifest !== null && "version" in manifest;
  return known ? String(manifest.version) : "unknown";
}

/* A line that cannot be told any more is not worth another error. */
function tell(line: string): void {
  try {
    new Output(2, "standard error").print(`${line}\n`);
  } catch {}
}

function runCommand(args: readonly string[]): ExitCode {
  const { values } = parseLine(args, commandOptions);
  if (values.flag("help")) output.print(commandHelp(verbs, commandOptions));
  else if (values.flag("version")) output.print(`memmap ${version()}\n`);
  else {
    const names = verbs.map((verb) => verb.name).join(", ");
    throw usageError(`a verb is missing: one of ${names}; \`memmap --help\` tells more`);
  }
  return exitCodes.done;
}

async function runVerb(verb: Verb, args: readonly string[]): Promise<ExitCode> {
  const { operands, values } = parseLine(args, { ...verb.options, help: helpOption });
  if (values.flag("help")) {
    output.print(verbHelp(verb));
    return exitCodes.done;
  }
  requireOperands(operands, verb.operands);
  const warn = (message: string): void => tell(`memmap ${verb.name}: ${message}`);
  return await verb.run({ operands, values, output, warn });
}

async function main(args: readonly string[]): Promise<ExitCode> {
  const [name, ...rest] = args[0] === "help" ? [...args.slice(1), "--help"] : args;
  const verb = verbs.find((each) => each.name === name);
  try {
    if (verb !== undefined) return await runVerb(verb, rest);
    if (name === undefined || name.startsWith("-"))
      return runCommand(name === undefined ? rest : [name, ...rest]);
    const meant = nearest(
      name,
      verbs.map((each) => each.name),
    );
    throw usageError(
      `there is no verb ${quote(name)}; did you mean ${meant}? \`memmap --help\` lists them`,
    );
  } catch (error) {
    if (error instanceof ClosedOutput) return exitCodes.done;
    tell(`memmap${verb === undefined ? "" : ` ${verb.name}`}: ${messageOf(error)}`);
    return exitCodeOf(error);
  }
}

process.exitCode = await main(process.argv.slice(2));
