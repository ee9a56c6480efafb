/**
 * Pure: words and numbers as the command prints them.
 */

/** The widest line the command prints. */
export const columnsMax = 100;

/** How prose is laid out: columns. */
export interface Wrapping {
  readonly width?: number | undefined;
  readonly indent?: number | undefined;
}

/** Breaks prose into lines of at most `width` columns, each after `indent` spaces. */
export function wrap(text: string, options: Wrapping = {}): string[] {
  const { width = columnsMax, indent = 0 } = options;
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(/\s+/)) {
    const longer = line === "" ? word : `${line} ${word}`;
    if (line !== "" && indent + longer.length > width) {
      lines.push(line);
      line = word;
    } else {
      line = longer;
    }
  }
  if (line !== "") lines.push(line);
  return lines.map((each) => " ".repeat(indent) + each);
}

/** A whole number with its thousands apart: 1,234,567. */
export function formatCount(value: number): string {
  return String(value).replace(/\B(?=(?:\d{3})+$)/g, ",");
}

/** A number and its unit in the number's form: "1 byte", "2,000 bytes". */
export function plural(count: number, unit: string): string {
  return `${formatCount(count)} ${unit}${count === 1 ? "" : "s"}`;
}

const units = ["KiB", "MiB", "GiB", "TiB", "PiB"] as const;

/** A size in the unit that suits it: "17 bytes", "4.0 KiB", "5.0 GiB". */
export function formatSize(bytes: number): string {
  if (bytes < 1024) return plural(bytes, "byte");
  let value = bytes / 1024;
  let unit = 0;
  while (value >= 1023.95 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value.toFixed(1)} ${units[unit]}`;
}

/** A time in seconds as a clock shows it: "0:07", "1:02:03". */
export function formatClock(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const pad = (value: number): string => String(value).padStart(2, "0");
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes}:${pad(whole % 60)}`;
  return `${Math.floor(minutes / 60)}:${pad(minutes % 60)}:${pad(whole % 60)}`;
}

/** A name that is at most `width` columns long: what is too much is left out at its front. */
export function shorten(name: string, width: number): string {
  return name.length <= width ? name : `...${name.slice(name.length - Math.max(0, width - 3))}`;
}

/** Words as a sentence lists them: "a", "a and b", "a, b and c". */
export function enumerate(words: readonly string[]): string {
  if (words.length < 2) return words.join("");
  return `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}

/** A name in quotes, on one line whatever it holds. */
export function quote(name: string): string {
  return JSON.stringify(name);
}

/* How many letters must be added, removed or replaced to make one word of the other. */
function distance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, j) => j);
  for (let i = 1; i <= from.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= to.length; j += 1) {
      const replaced = (row[j - 1] ?? 0) + (from[i - 1] === to[j - 1] ? 0 : 1);
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, replaced));
    }
    row = next;
  }
  return row[to.length] ?? 0;
}

/** The word of a list that was most likely meant; undefined for an empty list. */
export function nearest(word: string, words: readonly string[]): string | undefined {
  const lower = word.toLowerCase();
  const ranked = words.map((each) => ({ each, far: distance(lower, each) }));
  return ranked.sort((a, b) => a.far - b.far)[0]?.each;
}
