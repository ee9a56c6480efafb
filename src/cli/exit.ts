/**
 * How the command ends: the one list of exit codes, the error that carries one, and what the failed
 * calls of the system are in plain words. A message is one line and names what could not be done.
 */

import { constants } from "node:os";

/** The exit codes of every verb. */
export const exitCodes = {
  done: 0,
  condition: 1,
  usage: 2,
  missing: 3,
  denied: 4,
  partial: 5,
  failed: 6,
} as const;

/** One of {@link exitCodes}. */
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

/** What each exit code means, for the help texts. */
export const exitMeanings: Readonly<Record<ExitCode, string>> = {
  0: "done",
  1: "a condition given with --fail-if is met",
  2: "wrong usage",
  3: "no such process or file",
  4: "not permitted",
  5: "done in part; what is missing and why is on standard error",
  6: "failed otherwise",
};

/** An error whose message is all that the user needs. */
export class CliError extends Error {
  readonly exitCode: ExitCode;

  constructor(message: string, exitCode: ExitCode) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** Nobody reads the output any more; the command ends quietly. */
export class ClosedOutput extends Error {}

/** Standard output cannot take any more: nothing else can be written either. */
export class OutputError extends CliError {}

/** The user called the command wrongly. */
export function usageError(message: string): CliError {
  return new CliError(message, exitCodes.usage);
}

/** Something went wrong that is neither usage, nor a missing file, nor a missing permission. */
export function failedError(message: string): CliError {
  return new CliError(message, exitCodes.failed);
}

/* The system's errors that a user of files meets, as the manual pages tell them. */
const phrases: ReadonlyMap<string, string> = new Map([
  ["EACCES", "permission denied"],
  ["EBUSY", "it is in use"],
  ["EDQUOT", "the disk quota is used up"],
  ["EFBIG", "the file would become too large"],
  ["EIO", "the storage failed"],
  ["EISDIR", "it is a directory"],
  ["ELOOP", "too many symbolic links"],
  ["EMFILE", "too many open files in this process"],
  ["ENAMETOOLONG", "the name is too long"],
  ["ENFILE", "too many open files in the system"],
  ["ENODEV", "this kind of file cannot be mapped"],
  ["ENOENT", "no such file or directory"],
  ["ENOMEM", "no memory or addresses left"],
  ["ENOSPC", "no space left on the device"],
  ["ENOTDIR", "a part of the path is no directory"],
  ["ENXIO", "no such device, or nobody at the other end"],
  ["EPERM", "not permitted"],
  ["EROFS", "the file system is mounted read-only"],
  ["ETXTBSY", "it is a program that runs"],
]);

/** The name of a failed call's error, where it is one. */
export function codeOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  if ("code" in error && typeof error.code === "string") return error.code;
  // Deno names some errors by their number alone.
  const number = /\(os error (\d+)\)/.exec(error.message)?.[1];
  return Object.entries(constants.errno).find(([, value]) => String(value) === number)?.[0];
}

/** The exit code that stands for the error of a failed call. */
export function exitCodeOf(error: unknown): ExitCode {
  if (error instanceof CliError) return error.exitCode;
  const code = codeOf(error);
  if (code === "ENOENT" || code === "ESRCH") return exitCodes.missing;
  return code === "EACCES" || code === "EPERM" ? exitCodes.denied : exitCodes.failed;
}

/** Why a call failed, without the names of calls and codes where plain words are known. */
export function reasonOf(error: unknown): string {
  const known = phrases.get(codeOf(error) ?? "");
  return known ?? messageOf(error);
}

/** The message of whatever was thrown, on one line. */
export function messageOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.replace(/\s*\n\s*/g, " ").trim();
}

/** The error of a failed call: `what` says what could not be done, "cannot open \"a.txt\"". */
export function callError(error: unknown, what: string): Error {
  if (error instanceof CliError || error instanceof ClosedOutput) return error;
  return new CliError(`${what}: ${reasonOf(error)}`, exitCodeOf(error));
}

/** Runs a call and gives its error the words of {@link callError}. */
export function attempt<T>(what: string, call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw callError(error, what);
  }
}

/** Waits for a call and gives its error the words of {@link callError}. */
export async function attemptAsync<T>(what: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw callError(error, what);
  }
}
