/**
 * The verb `copy`: the classic mapped copy. Each window of the source is mapped, its data goes by
 * write(2) straight from the mapping into a temporary file, and that takes the place of DST at the
 * end. Invariant: under its final name DST is the old file or the whole copy, never anything else.
 */
import { constants } from "node:fs";
import { resolveTarget, TemporaryFile } from "./copy-target.js";
import { openFile } from "./descriptor.js";
import { attemptAsync, codeOf, type ExitCode, exitCodes, failedError } from "./exit.js";
import { InputFile, windowBytes } from "./input-file.js";
import { Progress } from "./progress.js";
import { dataFrom } from "./sparse.js";
import { quote } from "./text.js";
import type { Call, Verb } from "./verb.js";

/* What one call writes: a signal and the progress are looked at in between. */
const pieceBytes = 2 ** 23;

/** The verb `copy`. */
export const copy: Verb = {
  name: "copy",
  summary: "Copies a file straight from a mapping; DST is never half-written.",
  about: [
    "Copies SRC to DST. SRC is mapped, a window of 256 MiB at a time, and write(2) takes the " +
      "bytes from there: nothing is copied inside the process. Holes stay holes.",
    "The bytes go to a temporary file beside DST, are brought to storage (fsync) and take DST's " +
      "place in one step (rename). Until then DST stays as it was; on an error or a signal the " +
      "temporary file is removed.",
    "DST may be a directory: the copy goes into it under the name of SRC. A symbolic link is " +
      "followed. As with cp, a new DST gets the permissions of SRC less the umask, and an " +
      "existing one keeps its permissions and, where that is permitted, its owner. Other hard " +
      "links to it keep the old bytes.",
    "What cannot be mapped (a pipe, a device, a file of /proc) is read the ordinary way, and " +
      "standard error says so. A copy that takes longer than a second shows its progress when " +
      "standard error is a terminal.",
  ],
  operands: { form: "SRC DST", min: 2, max: 2 },
  options: {},
  exits: [
    { code: exitCodes.done, about: "DST is a whole copy of SRC" },
    { code: exitCodes.usage, about: "wrong usage" },
    { code: exitCodes.missing, about: "no such file or directory" },
    { code: exitCodes.denied, about: "not permitted" },
    {
      code: exitCodes.failed,
      about:
        "anything else: SRC and DST are one file, a full disk, SRC removed or shortened " +
        "meanwhile; a signal ends the command as that signal does (128 + its number in a shell)",
    },
  ],
  examples: ["memmap copy disk.img backup/disk.img"],
  run: runCopy,
};

async function runCopy({ operands, warn }: Call): Promise<ExitCode> {
  const [source = "", destination = ""] = operands;
  const name = quote(source);
  using input = new InputFile(
    name,
    await attemptAsync(`cannot open ${name}`, () => openFile(source, constants.O_RDONLY)),
  );
  const target = resolveTarget(destination, source);
  if (target.existing?.dev === input.status.dev && target.existing.ino === input.status.ino) {
    throw failedError(`cannot copy ${name} onto itself: ${quote(target.path)} is the same file`);
  }
  using progress = new Progress(input.size);
  using file = new TemporaryFile(target, Number(input.status.mode) & 0o777);
  if (input.unmappable === undefined) {
    await copyMapped(input, file, progress);
  } else {
    warn(`${name} is read, not mapped: ${input.unmappable}`);
    await copyRead(input, file);
  }
  input.requirePresent();
  await file.commit();
  return exitCodes.done;
}

/* A window begins where data begins, so that a hole of any size costs one question. */
async function copyMapped(
  input: InputFile,
  file: TemporaryFile,
  progress: Progress,
): Promise<void> {
  const { size } = input;
  file.setLength(size);
  let moved = 0;
  let run = dataFrom(input.fd, 0, size);
  while (run !== undefined) {
    const start = run.offset;
    const end = Math.min(size, start + windowBytes);
    using mapping = input.window(start, end - start);
    for (; run !== undefined && run.offset < end; ) {
      const stop = Math.min(run.offset + run.length, end);
      for (let at = run.offset; at < stop; at += pieceBytes) {
        const piece = mapping.bytes.subarray(at - start, Math.min(at + pieceBytes, stop) - start);
        await writePiece(input, file, { piece, at });
        moved += piece.length;
        progress.update(at + piece.length, moved);
      }
      run = dataFrom(input.fd, stop, size);
    }
  }
  input.requireBytes(size);
  progress.update(size, moved);
}

interface Piece {
  readonly piece: Uint8Array;
  readonly at: number;
}

async function writePiece(input: InputFile, file: TemporaryFile, part: Piece): Promise<void> {
  const { piece, at } = part;
  try {
    await file.write(piece, at);
  } catch (error) {
    throw codeOf(error) === "EFAULT" ? input.faultError() : error;
  }
  // A file that ends inside a page reads as zeros from there on.
  input.requireBytes(at + piece.length);
  input.requirePresent();
}

async function copyRead(input: InputFile, file: TemporaryFile): Promise<void> {
  let at = 0;
  for await (const piece of input.pieces(input.status.isFile() ? 0 : null)) {
    await file.write(piece, at);
    at += piece.length;
  }
}
