// What no call of the raw door may ever change: memory of the language, memory of another mapping,
// the code of the C library, and where the libraries are mapped.

import { createHash } from "node:crypto";
import { closeSync, openSync, readSync } from "node:fs";
import { type Mapping, mapAnonymous } from "memmap";
import { areasOf } from "../helpers/proc-self.js";

const length = 65_536;

function isPattern(bytes: Uint8Array): boolean {
  return bytes.length === length && bytes.every((byte, i) => byte === i % 251);
}

/** A digest of the code of the C library, as another process would read its pages. */
function digest(): string {
  const hash = createHash("sha256");
  const code = areasOf().filter((area) => {
    return area.permissions.startsWith("r-x") && /\/(libc|ld-)[^/]*$/.test(area.name);
  });
  const fd = openSync("/proc/self/mem", "r");
  for (const { start, end } of code) {
    const bytes = new Uint8Array(Number(end - start));
    readSync(fd, bytes, { position: start });
    hash.update(bytes);
  }
  closeSync(fd);
  return hash.digest("hex"); // advice may make several rows of one
}

/** The mappings of files that are there from the beginning, neighbours of one kind as one. */
function fileRows(): string[] {
  const rows: { text: string; end: bigint }[] = [];
  for (const area of areasOf()) {
    if (!area.name.startsWith("/usr/") && !/\.(so[.0-9]*|node)$/.test(area.name)) continue;
    const last = rows.at(-1);
    const kind = `${area.permissions} ${area.name}`;
    if (last?.end === area.start && last.text.endsWith(kind)) last.end = area.end;
    else rows.push({ text: `${area.start.toString(16)} ${kind}`, end: area.end });
  }
  return rows.map(({ text, end }) => `${text} ${end.toString(16)}`);
}

function deep(level: number): number {
  return level === 0 ? 0 : 1 + deep(level - 1);
}

export class Canaries {
  readonly #bytes: Uint8Array;
  readonly #mapping: Mapping;
  readonly #digest: string;
  readonly #rows: readonly string[];

  constructor() {
    this.#bytes = Uint8Array.from({ length }, (_, i) => i % 251);
    this.#mapping = mapAnonymous(length);
    this.#mapping.bytes.set(this.#bytes);
    this.#digest = digest();
    this.#rows = fileRows();
  }

  /** Throws for the first that was changed. */
  check(): void {
    if (!isPattern(this.#bytes)) throw new Error("an ordinary array was changed");
    if (!isPattern(this.#mapping.bytes)) throw new Error("another mapping was changed");
    if (!isPattern(this.#mapping.read(0, length))) throw new Error("another mapping reads changed");
    if (deep(5000) !== 5000) throw new Error("the stack does not hold");
    const now = fileRows();
    const gone = this.#rows.filter((row) => !now.includes(row));
    if (gone.length > 0) throw new Error(`mappings of libraries have changed: ${gone.join("; ")}`);
  }

  /** The same, and the code of the C library. */
  checkAll(): void {
    this.check();
    if (digest() !== this.#digest) throw new Error("the code of the C library was changed");
  }

  end(): void {
    this.checkAll();
    this.#mapping.close();
  }
}
