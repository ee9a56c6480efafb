/**
 * Pure: the words of the options and what they are called in the system's headers. The numbers come
 * from the addon, which reads those headers; none is typed here.
 */

/** What may be done with the bytes of a mapping. */
export const protections = [
  "none",
  "read",
  "read-write",
  "read-execute",
  "read-write-execute",
] as const;

/** What may be done with the bytes of a mapping. */
export type Protection = (typeof protections)[number];

/** Who sees what is written: everybody who maps the same memory, or this mapping alone. */
export const sharings = ["shared", "private"] as const;

/** Who sees what is written: everybody who maps the same memory, or this mapping alone. */
export type Sharing = (typeof sharings)[number];

/** What stands behind the pages of a mapping. */
export type Backing = "file" | "anonymous" | "device";

/**
 * The advice of madvise(2) that loses no data, by the manual's names. What loses data is
 * `discard()` (MADV_DONTNEED, MADV_REMOVE) or left to the raw call (MADV_FREE, MADV_GUARD_INSTALL
 * ...).
 */
const adviceNames = {
  normal: "MADV_NORMAL",
  random: "MADV_RANDOM",
  sequential: "MADV_SEQUENTIAL",
  "will-need": "MADV_WILLNEED",
  cold: "MADV_COLD",
  "page-out": "MADV_PAGEOUT",
  "populate-read": "MADV_POPULATE_READ",
  "populate-write": "MADV_POPULATE_WRITE",
  "huge-page": "MADV_HUGEPAGE",
  "no-huge-page": "MADV_NOHUGEPAGE",
  collapse: "MADV_COLLAPSE",
  mergeable: "MADV_MERGEABLE",
  unmergeable: "MADV_UNMERGEABLE",
  "dont-fork": "MADV_DONTFORK",
  "do-fork": "MADV_DOFORK",
  "wipe-on-fork": "MADV_WIPEONFORK",
  "keep-on-fork": "MADV_KEEPONFORK",
  "dont-dump": "MADV_DONTDUMP",
  "do-dump": "MADV_DODUMP",
} as const;

/** An advice that loses no data: the manual's name in kebab-case. */
export type Advice = keyof typeof adviceNames;

/** Every advice, in the order of the documents. */
export const advices: readonly Advice[] = Object.keys(adviceNames) as Advice[];

/** The name of an advice in the headers. */
export function adviceConstant(advice: Advice): string {
  return adviceNames[advice];
}

const protectionNames: Readonly<Record<Protection, readonly string[]>> = {
  none: ["PROT_NONE"],
  read: ["PROT_READ"],
  "read-write": ["PROT_READ", "PROT_WRITE"],
  "read-execute": ["PROT_READ", "PROT_EXEC"],
  "read-write-execute": ["PROT_READ", "PROT_WRITE", "PROT_EXEC"],
};

/** The names of a protection's bits in the headers. */
export function protectionConstants(protection: Protection): readonly string[] {
  return protectionNames[protection];
}

/** Whether bytes under a protection can be written. */
export function isWritable(protection: Protection | "mixed"): boolean {
  return protection === "read-write" || protection === "read-write-execute";
}
