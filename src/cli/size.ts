/**
 * Pure: reads sizes as users write them: 4096, 4K, 16MiB.
 */
import { usageError } from "./exit.js";
import { quote } from "./text.js";

const powers: Readonly<Record<string, number>> = { "": 0, K: 1, M: 2, G: 3, T: 4 };

/**
 * Reads a number of bytes: decimal digits, then nothing or K, M, G, T (powers of 1024, in upper or
 * lower case, "iB" may follow).
 */
export function parseSize(text: string, option: string): number {
  const match = /^(\d+)(?:([KMGT])(?:iB)?)?$/i.exec(text);
  if (match === null) {
    throw usageError(
      `${option} must be a number of bytes such as 4096, 64K or 2G, not ${quote(text)}`,
    );
  }
  const power = powers[(match[2] ?? "").toUpperCase()] ?? 0;
  const bytes = Number(match[1]) * 1024 ** power;
  if (Number.isSafeInteger(bytes)) return bytes;
  throw usageError(`${option} must be at most ${Number.MAX_SAFE_INTEGER} bytes, not ${text}`);
}
