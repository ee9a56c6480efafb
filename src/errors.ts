/**
 * The errors of memmap and the one list of their codes. Knows nothing of the system: what a
 * negative errno means is told in failure.ts.
 *
 * Four kinds, no more: a mistake of the caller is a `TypeError` or `RangeError` with Node's code,
 * found before any system call; a state worth catching is a {@link MemmapError}; a call that the
 * system refused is a {@link SystemError}; memory that could not be served is a {@link FaultError}.
 * `code` is the contract, the message is not. docs/errors.md has a row for each code.
 */

/** The codes of a caller's mistake, as Node spells them. */
export const argumentCodes = [
  "ERR_INVALID_ARG_TYPE",
  "ERR_INVALID_ARG_VALUE",
  "ERR_OUT_OF_RANGE",
  "ERR_BUFFER_TOO_LARGE",
  "ERR_ILLEGAL_CONSTRUCTOR",
] as const;

/** The codes of a {@link MemmapError} that is no failed system call. */
export const memmapCodes = [
  "ERR_MEMMAP_CLOSED",
  "ERR_MEMMAP_PINNED",
  "ERR_MEMMAP_READ_ONLY",
  "ERR_MEMMAP_UNSUPPORTED",
  "ERR_MEMMAP_UNSAFE_FIXED",
  "ERR_MEMMAP_CANNOT_TELL",
  "ERR_MEMMAP_TIMEOUT",
  "ERR_MEMMAP_OWNER_DIED",
  "ERR_MEMMAP_PEER_DIED",
  "ERR_MEMMAP_CORRUPT",
  "ERR_MEMMAP_VERSION",
  "ERR_MEMMAP_FAULT",
] as const;

/** The code of a caller's mistake. */
export type ArgumentCode = (typeof argumentCodes)[number];

/** The code of a {@link MemmapError} that is no failed system call. */
export type MemmapCode = (typeof memmapCodes)[number];

/** How the memory was touched. */
export type FaultAccess = "read" | "write";

/** Why memory could not be served. */
export type FaultReason = "truncated" | "protected" | "closed" | "memory" | "io" | "source";

/** An error of this library that a program may want to catch; `code` says which. */
export class MemmapError extends Error {
  /** The contract: one of the codes in docs/errors.md, or the name of an errno ("ENOENT"). */
  readonly code: string;

  constructor(message: string, options: ErrorOptions & { readonly code: string }) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = options.code;
  }
}

/** What a {@link SystemError} is made of: the fields of Node's own system errors. */
export interface SystemErrorFields {
  readonly code: string;
  readonly errno: number;
  readonly syscall: string;
  readonly path?: string | undefined;
  readonly cause?: unknown;
}

/** A call that the system refused, in the shape of Node's system errors. */
export class SystemError extends MemmapError {
  /** The negative number of the error, as in `os.constants.errno`. */
  readonly errno: number;
  /** The call that failed, by its name in the manual: "mmap", "msync" ... */
  readonly syscall: string;
  /** The file it failed on, where there was one. */
  declare readonly path?: string;

  constructor(message: string, fields: SystemErrorFields) {
    super(message, fields);
    this.errno = fields.errno;
    this.syscall = fields.syscall;
    if (fields.path !== undefined) this.path = fields.path;
  }
}

/** What a {@link FaultError} is made of. */
export interface FaultErrorFields {
  readonly address: bigint;
  readonly byteOffset: number;
  readonly access: FaultAccess;
  readonly reason: FaultReason;
  readonly count: number;
  readonly path?: string | undefined;
}

/** Memory that could not be served: where it lies, how it was touched, and why it failed. */
export class FaultError extends MemmapError {
  /** The address of the first byte that could not be served: mapping address + `byteOffset`. */
  readonly address: bigint;
  /** The same byte, counted from the first byte of the mapping. */
  readonly byteOffset: number;
  /** How it was touched. */
  readonly access: FaultAccess;
  /** Why it could not be served. */
  readonly reason: FaultReason;
  /** How many faults this error stands for. */
  readonly count: number;
  /** The file behind the mapping, where it has a path. */
  declare readonly path?: string;

  constructor(message: string, fields: FaultErrorFields) {
    super(message, { code: "ERR_MEMMAP_FAULT" });
    this.address = fields.address;
    this.byteOffset = fields.byteOffset;
    this.access = fields.access;
    this.reason = fields.reason;
    this.count = fields.count;
    if (fields.path !== undefined) this.path = fields.path;
  }

  /** The fields for `JSON.stringify`, which knows no bigint: the address in hex. */
  toJSON(): Record<string, string | number> {
    const { name, message, code, byteOffset, access, reason, count } = this;
    const address = `0x${this.address.toString(16)}`;
    const fields = { name, message, code, address, byteOffset, access, reason, count };
    return this.path === undefined ? fields : { ...fields, path: this.path };
  }
}

/* The name stands once on each prototype, as with the errors of the language. */
for (const [type, name] of [
  [MemmapError, "MemmapError"],
  [SystemError, "SystemError"],
  [FaultError, "FaultError"],
] as const) {
  Object.defineProperty(type.prototype, "name", {
    value: name,
    configurable: true,
    writable: true,
  });
}

/** A MemmapError whose code the compiler knows to be in the list. */
export function memmapError(code: MemmapCode, message: string): MemmapError {
  return new MemmapError(message, { code });
}

function withCode<E extends Error>(error: E, code: ArgumentCode): E & { code: ArgumentCode } {
  return Object.assign(error, { code });
}

/** A number, offset or length outside its bounds. */
export function outOfRange(message: string): RangeError {
  return withCode(new RangeError(message), "ERR_OUT_OF_RANGE");
}

/** A view that the runtime cannot hold. */
export function tooLarge(message: string): RangeError {
  return withCode(new RangeError(message), "ERR_BUFFER_TOO_LARGE");
}

/** An argument of the wrong type. */
export function wrongType(message: string): TypeError {
  return withCode(new TypeError(message), "ERR_INVALID_ARG_TYPE");
}

/** An argument of the right type with a value that means nothing, or contradicts another. */
export function wrongValue(message: string): TypeError {
  return withCode(new TypeError(message), "ERR_INVALID_ARG_VALUE");
}

/** A class that only this library can construct. */
export function illegalConstructor(message: string): TypeError {
  return withCode(new TypeError(message), "ERR_ILLEGAL_CONSTRUCTOR");
}
