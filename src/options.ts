/**
 * Reads the options of `mapFile` and `mapAnonymous`: each field once, in order, with its type, its
 * default and what contradicts it. What comes out is complete; no later file knows a default.
 */
import { bitsOf, protectionBits } from "./bits.js";
import { outOfRange, tooLarge, wrongType, wrongValue } from "./errors.js";
import { isWritable, type Protection, protections, type Sharing, sharings } from "./flags.js";
import { byteMax, viewMax } from "./limits.js";
import { constant, pageSize } from "./native.js";
import {
  asInteger,
  asOptionalAddress,
  asOptionalBoolean,
  asOptionalInteger,
  asOptionalOneOf,
  asOptions,
} from "./validate.js";

/** How memory is mapped. */
export interface MapOptions {
  /** What may be done with the bytes. Default: "read" for a file, else "read-write". */
  readonly protection?: Protection | undefined;
  /** Who sees what is written. Default: "shared" for a file, "private" for anonymous memory. */
  readonly sharing?: Sharing | undefined;
  /**
   * What becomes of a fault that no `read`, `write`, `load`, `flush` or `check` has collected:
   * "throw" tells `onfault`, or throws it as an uncaught error; "collect" keeps it for these calls
   * alone. Default "throw".
   */
  readonly faults?: "throw" | "collect" | undefined;
  /** Brings all pages in before the call returns (MAP_POPULATE). Default false. */
  readonly populate?: boolean | undefined;
  /** Keeps all pages in memory (MAP_LOCKED), within RLIMIT_MEMLOCK. Default false. */
  readonly lock?: boolean | undefined;
  /** False: no swap space is set aside (MAP_NORESERVE). Default true. */
  readonly reserve?: boolean | undefined;
  /**
   * "transparent": the kernel may use huge pages (MADV_HUGEPAGE); a number: pages of that many
   * bytes from the huge-page pool (MAP_HUGETLB), a power of two.
   */
  readonly hugePages?: "transparent" | number | undefined;
  /** A hint where to put the mapping; `Mapping.address` tells where it came to lie. */
  readonly at?: bigint | undefined;
  /** For a stack (MAP_STACK); the kernel may choose a fitting address. Private memory only. */
  readonly stack?: boolean | undefined;
  /** Grows downwards when touched just below (MAP_GROWSDOWN). Private memory only. */
  readonly growsDown?: boolean | undefined;
  /** In the first 2 GiB of addresses (MAP_32BIT). x86-64 only. */
  readonly low32?: boolean | undefined;
  /** The kernel may drop the pages when memory is short; they read as zeros then. Linux 6.11. */
  readonly droppable?: boolean | undefined;
  /** A name for tools: 1 to 64 printable ASCII characters without `[ ] \ $` and backquote. */
  readonly name?: string | undefined;
}

/** How a file is mapped. */
export interface MapFileOptions extends MapOptions {
  /** The first byte of the file to map; any alignment. Default 0. */
  readonly offset?: number | undefined;
  /** How many bytes; any alignment. Default: to the end of the file. */
  readonly length?: number | undefined;
  /** Makes the file where it does not exist; an existing one is opened unchanged. Default false. */
  readonly create?: boolean | undefined;
  /** With `create`: an existing file is refused (`EEXIST`). Default false. */
  readonly exclusive?: boolean | undefined;
  /** The permissions of a file that is made. Default 0o666, less the umask. */
  readonly mode?: number | undefined;
  /** The file reaches `offset + length`, with its space allocated for real. Default false. */
  readonly grow?: boolean | undefined;
  /** Writes reach persistent memory at once (MAP_SYNC), on file systems that have it. */
  readonly synchronous?: boolean | undefined;
}

/** The options of every mapping, complete. */
export interface MapPlan {
  readonly protection: Protection;
  readonly sharing: Sharing;
  readonly prot: number;
  /** Everything but MAP_SHARED, MAP_PRIVATE and what depends on the backing. */
  readonly flags: number;
  readonly hint: bigint;
  /** The page size that was asked for by number; 0 for ordinary pages. */
  readonly hugePageSize: number;
  readonly transparent: boolean;
  readonly droppable: boolean;
  readonly faults: "throw" | "collect";
  /** Mapping itself may wait for storage. */
  readonly waits: boolean;
  readonly name: string | undefined;
}

/** The options of a file mapping, complete. */
export interface FilePlan extends MapPlan {
  readonly offset: number;
  readonly length: number | undefined;
  readonly create: boolean;
  readonly exclusive: boolean;
  readonly mode: number;
  readonly grow: boolean;
  readonly synchronous: boolean;
}

interface Defaults {
  readonly protection: Protection;
  readonly sharing: Sharing;
}

function asName(value: unknown): string | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== "string") throw wrongType(`"name" must be a string`);
  if (/^[ -~]{1,64}$/.test(value) && !/[[\]\\$`]/.test(value)) return value;
  throw wrongValue(
    `"name" must be 1 to 64 printable ASCII characters other than [ ] \\ $ and backquote`,
  );
}

function asHugePages(value: unknown): "transparent" | number | undefined {
  if (value === undefined || value === "transparent") return value;
  if (typeof value === "string") {
    throw wrongValue(`"hugePages" must be "transparent" or a page size in bytes`);
  }
  const size = asInteger(value, "hugePages", { min: pageSize });
  if (Number.isInteger(Math.log2(size))) return size;
  throw outOfRange(`"hugePages" must be a power of two, not ${size}`);
}

/* The flags of mmap(2) that are one option each. */
function simpleFlags(options: Partial<MapOptions>): { flags: number; droppable: boolean } {
  const names: string[] = [];
  const add = (value: unknown, name: string, flag: string): boolean => {
    const given = asOptionalBoolean(value, name) === true;
    if (given) names.push(flag);
    return given;
  };
  add(options.populate, "populate", "MAP_POPULATE");
  add(options.lock, "lock", "MAP_LOCKED");
  if (asOptionalBoolean(options.reserve, "reserve") === false) names.push("MAP_NORESERVE");
  add(options.stack, "stack", "MAP_STACK");
  add(options.growsDown, "growsDown", "MAP_GROWSDOWN");
  add(options.low32, "low32", "MAP_32BIT");
  const droppable = asOptionalBoolean(options.droppable, "droppable") === true;
  return { flags: bitsOf(names), droppable };
}

function readCommon(options: Partial<MapOptions>, defaults: Defaults): MapPlan {
  const protection =
    asOptionalOneOf(options.protection, "protection", protections) ?? defaults.protection;
  const sharing = asOptionalOneOf(options.sharing, "sharing", sharings) ?? defaults.sharing;
  const faults = asOptionalOneOf(options.faults, "faults", ["throw", "collect"]) ?? "throw";
  const { flags, droppable } = simpleFlags(options);
  const hugePages = asHugePages(options.hugePages);
  const hint = asOptionalAddress(options.at, "at") ?? 0n;
  const name = asName(options.name);
  const hugePageSize = typeof hugePages === "number" ? hugePages : 0;
  const waiting = constant("MAP_POPULATE") | constant("MAP_LOCKED");
  return {
    protection,
    sharing,
    prot: protectionBits(protection),
    flags: flags | hugeFlags(hugePageSize),
    hint: hint - (hint % BigInt(pageSize)),
    hugePageSize,
    transparent: hugePages === "transparent",
    droppable,
    faults,
    waits: (flags & waiting) !== 0,
    name,
  };
}

function hugeFlags(size: number): number {
  if (size === 0) return 0;
  return constant("MAP_HUGETLB") | (Math.log2(size) << constant("MAP_HUGE_SHIFT"));
}

/** Reads the arguments of `mapAnonymous`. */
export function readAnonymous(
  byteLength: number,
  value: MapOptions | undefined,
): { readonly byteLength: number; readonly plan: MapPlan } {
  const length = asInteger(byteLength, "byteLength");
  const options = asOptions(value);
  const plan = readCommon(options, { protection: "read-write", sharing: "private" });
  const found = privateOnly(plan).find(([given]) => given);
  if (found !== undefined) throw wrongValue(found[1]);
  requireViewable(length, "map less at once");
  return { byteLength: length, plan };
}

/** Reads the options of `mapFile`. */
export function readFileOptions(
  value: MapFileOptions | undefined,
  location: "path" | "descriptor",
): FilePlan {
  const options = asOptions(value);
  const offset = asOptionalInteger(options.offset, "offset", { max: byteMax }) ?? 0;
  const length = asOptionalInteger(options.length, "length");
  const create = asOptionalBoolean(options.create, "create") === true;
  const exclusive = asOptionalBoolean(options.exclusive, "exclusive") === true;
  const mode = asOptionalInteger(options.mode, "mode", { max: 0o7777 }) ?? 0o666;
  const grow = asOptionalBoolean(options.grow, "grow") === true;
  const synchronous = asOptionalBoolean(options.synchronous, "synchronous") === true;
  const writing = create || grow;
  const common = readCommon(options, {
    protection: writing ? "read-write" : "read",
    sharing: "shared",
  });
  const plan = { ...common, offset, length, create, exclusive, mode, grow, synchronous };
  requireConsistent(plan, location);
  if (length !== undefined) requireViewable(length);
  return plan;
}

type Contradiction = readonly [given: boolean, message: string];

/* What the kernel has for private memory alone. */
function privateOnly(plan: MapPlan): readonly Contradiction[] {
  const isShared = plan.sharing === "shared";
  const has = (flag: string): boolean => (plan.flags & constant(flag)) !== 0;
  return [
    [plan.droppable && isShared, `"droppable" contradicts "sharing" shared`],
    [has("MAP_STACK") && isShared, `"stack" contradicts "sharing" shared`],
    [has("MAP_GROWSDOWN") && isShared, `"growsDown" contradicts "sharing" shared`],
  ];
}

function requireConsistent(plan: FilePlan, location: "path" | "descriptor"): void {
  const writer = plan.grow ? "grow" : "create";
  const writing = plan.grow || plan.create;
  const isPrivate = plan.sharing === "private";
  const contradictions: readonly Contradiction[] = [
    [plan.create && location === "descriptor", `"create" needs a path, not a file descriptor`],
    [plan.exclusive && !plan.create, `"exclusive" needs "create"`],
    [
      writing && !isWritable(plan.protection),
      `"${writer}" contradicts "protection" ${JSON.stringify(plan.protection)}`,
    ],
    [writing && isPrivate, `"${writer}" contradicts "sharing" private`],
    [plan.synchronous && isPrivate, `"synchronous" contradicts "sharing" private`],
    [plan.droppable, `"droppable" memory is anonymous, not a file`],
    ...privateOnly(plan),
  ];
  const found = contradictions.find(([given]) => given);
  if (found !== undefined) throw wrongValue(found[1]);
  if (plan.length !== undefined && plan.length > byteMax - plan.offset) {
    throw outOfRange(`"offset" + "length" must be at most ${byteMax}`);
  }
}

/** Refuses a length that this runtime could not view, before anything is mapped. */
export function requireViewable(length: number, way = "map a range with { offset, length }"): void {
  if (length <= viewMax) return;
  throw tooLarge(
    `Cannot map ${length} bytes: this runtime views at most ${viewMax} bytes at once; ${way}`,
  );
}
