/**
 * The verb `cat`: writes files to standard output from windows of a mapping, so that write(2) takes
 * the bytes from the page cache and no copy is made in this process.
 */
import { fstatSync, openSync } from "node:fs";
import type { Mapping } from "../index.js";
import {
  attempt,
  ClosedOutput,
  codeOf,
  type ExitCode,
  exitCodeOf,
  exitCodes,
  failedError,
  messageOf,
  OutputError,
} from "./exit.js";
import { InputFile, windowBytes } from "./input-file.js";
import type { Output } from "./output.js";
import { plural, quote } from "./text.js";
import type { Call, Verb } from "./verb.js";

/* How much is copied at a time where it must be. */
const checkedBytes = 2 ** 20;

/** Which bytes of each file. */
interface Part {
  readonly offset: number;
  /** Undefined: to the end. */
  readonly length: number | undefined;
}

/** The verb `cat`. */
export const cat: Verb = {
  name: "cat",
  summary: "Writes files to standard output, straight from a mapping.",
  about: [
    "Writes the bytes of each FILE to standard output. The file is mapped, a window of 256 MiB " +
      "at a time, and write(2) takes the bytes from there: nothing is copied inside the process " +
      "(only Deno has output of its own, into which a MiB at a time is copied).",
    "What cannot be mapped (a pipe, a device, a file of /proc; - is the standard input) is read " +
      "the ordinary way, and standard error says so.",
    "Sizes are bytes: 4096, or with K, M, G, T for powers of 1024. A pipe that is closed early " +
      "ends the command quietly.",
  ],
  operands: { form: "FILE...", min: 1, max: Number.POSITIVE_INFINITY },
  options: {
    offset: {
      type: "size",
      about: "Begin N bytes behind the start of each FILE. Default 0. Past its end is an error.",
    },
    length: {
      type: "size",
      about: "Write at most N bytes of each FILE, fewer where it ends before. Default: to its end.",
    },
  },
  exits: [
    { code: 0, about: "everything was written, or the reader had enough" },
    { code: 2, about: "wrong usage" },
    { code: 3, about: "no such file" },
    { code: 4, about: "not permitted" },
    { code: 5, about: "some of several files were written; standard error names the others" },
    {
      code: 6,
      about: "anything else: a full disk, a file shortened meanwhile, --offset past the end",
    },
  ],
  examples: ["memmap cat /proc/self/maps", "memmap cat disk.img --offset 1M --length 512 | xxd"],
  run: runCat,
};

/* As with cat(1), a file that fails does not keep the others from being written. */
async function runCat(call: Call): Promise<ExitCode> {
  const { operands, values, warn } = call;
  const part = { offset: values.size("offset") ?? 0, length: values.size("length") };
  let first: ExitCode = exitCodes.done;
  let written = 0;
  for (const operand of operands) {
    try {
      await catFile(operand, part, call);
      written += 1;
    } catch (error) {
      if (error instanceof ClosedOutput || error instanceof OutputError) throw error;
      warn(messageOf(error));
      if (first === exitCodes.done) first = exitCodeOf(error);
    }
  }
  return first !== exitCodes.done && written > 0 ? exitCodes.partial : first;
}

async function catFile(operand: string, part: Part, { output, warn }: Call): Promise<void> {
  using input = openOperand(operand);
  refuseOutput(input, output);
  if (input.unmappable === undefined) {
    writeMapped(input, part, output);
  } else {
    warn(`${input.name} is read, not mapped: ${input.unmappable}`);
    await writeRead(input, part, output);
  }
}

function openOperand(operand: string): InputFile {
  if (operand === "-") return new InputFile("the standard input", 0);
  const name = quote(operand);
  return new InputFile(
    name,
    attempt(`cannot open ${name}`, () => openSync(operand, "r")),
  );
}

/* Bytes that are written to the file they come from would be read again, or be gone before. */
function refuseOutput(input: InputFile, output: Output): void {
  const target = fstatSync(output.fd, { bigint: true });
  const same = target.dev === input.status.dev && target.ino === input.status.ino;
  if (same && target.isFile()) throw failedError(`${input.name} is also the output`);
}

function beginsPastEnd({ offset }: Part, input: InputFile, size: string): Error {
  return failedError(`cannot begin at byte ${offset} of ${input.name}: it has ${size}`);
}

function writeMapped(input: InputFile, part: Part, output: Output): void {
  const { size } = input;
  if (part.offset > size) throw beginsPastEnd(part, input, plural(size, "byte"));
  const end = part.offset + Math.min(part.length ?? size, size - part.offset);
  for (let at = part.offset; at < end; at += windowBytes) {
    const length = Math.min(windowBytes, end - at);
    using mapping = input.window(at, length);
    try {
      if (output.isBuffered) writeChecked(mapping, output);
      else output.write(mapping.bytes);
    } catch (error) {
      const isFault = ["EFAULT", "ERR_MEMMAP_FAULT"].includes(codeOf(error) ?? "");
      throw isFault ? input.faultError() : error;
    }
    // A file that ends inside a page reads as zeros from there on.
    input.requireBytes(at + length);
  }
}

/* Where others look at the bytes before write(2) does, they get a checked copy. */
function writeChecked(mapping: Mapping, output: Output): void {
  const copy = new Uint8Array(Math.min(checkedBytes, mapping.byteLength));
  for (let at = 0; at < mapping.byteLength; at += copy.length) {
    const piece = copy.subarray(0, Math.min(copy.length, mapping.byteLength - at));
    mapping.readInto(piece, at);
    output.write(piece);
  }
}

/* What can be read at any place is asked for its part; of the rest the beginning is thrown away. */
async function writeRead(input: InputFile, part: Part, output: Output): Promise<void> {
  const seekable = input.status.isFile() && input.fd !== 0;
  let skip = seekable ? 0 : part.offset;
  let rest = part.length ?? Number.POSITIVE_INFINITY;
  let came = 0;
  if (rest === 0) return;
  for await (const piece of input.pieces(seekable ? part.offset : null)) {
    came += piece.length;
    const wanted = piece.subarray(Math.min(skip, piece.length));
    skip -= piece.length - wanted.length;
    const bytes = wanted.subarray(0, Math.min(wanted.length, rest));
    output.write(bytes);
    rest -= bytes.length;
    if (rest === 0) return;
  }
  if (skip > 0) throw beginsPastEnd(part, input, plural(came, "byte"));
  const reached = came > 0 || part.offset === 0 || !seekable;
  if (!reached && !(await input.has(part.offset - 1)))
    throw beginsPastEnd(part, input, "fewer bytes");
}
