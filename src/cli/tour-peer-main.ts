/**
 * The program of the tour's other process: maps the copy, tells byte 0, waits for a byte or the
 * end of its input, and tells byte 0 again, from the same mapping and by read(2). One line of JSON
 * each.
 */
import { closeSync, openSync, readSync } from "node:fs";
import { mapFileSync } from "../index.js";
import { ClosedOutput, exitCodes, messageOf } from "./exit.js";
import { Output } from "./output.js";

const path = process.argv[2] ?? "";
const output = new Output(1, "standard output");

function readFirst(): number | undefined {
  const fd = openSync(path, "r");
  const byte = new Uint8Array(1);
  const count = readSync(fd, byte, 0, 1, 0);
  closeSync(fd);
  return count === 1 ? byte[0] : undefined;
}

function tell(answer: object): void {
  output.print(`${JSON.stringify({ pid: process.pid, ...answer })}\n`);
}

/* Whatever fails here is the tour's to tell; a tour that has ended leaves nobody to tell it to. */
try {
  using mapping = mapFileSync(path);
  const { bytes } = mapping;
  tell({ byte: bytes[0], file: readFirst() });
  readSync(0, new Uint8Array(1), 0, 1, null);
  tell({ byte: bytes[0], file: readFirst() });
} catch (error) {
  if (!(error instanceof ClosedOutput)) tellQuietly(messageOf(error));
}

function tellQuietly(message: string): void {
  try {
    tell({ error: message });
  } catch {
    process.exitCode = exitCodes.failed;
  }
}
