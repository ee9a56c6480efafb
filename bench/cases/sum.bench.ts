// Touching mapped bytes must cost what touching an ordinary array costs.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { mapFileSync } from "memmap";
import type { Bench } from "../run.js";

const byteLength = 256 * 1024 * 1024;

function sum(bytes: Uint8Array): number {
  let total = 0;
  for (let i = 0; i < bytes.length; i += 1) total += bytes[i] ?? 0;
  return total;
}

/** Summing the bytes of a warm mapping against an ordinary Uint8Array of the same content. */
const bench: Bench = {
  question: "How fast are the bytes of a warm 256 MiB file mapping summed, beside a Uint8Array?",
  rounds: 7,
  setUp() {
    const folder = mkdtempSync(join(tmpdir(), "memmap-bench-"));
    const path = join(folder, "data.bin");
    const writing = mapFileSync(path, { create: true, grow: true, length: byteLength });
    for (let i = 0; i < byteLength; i += 1) writing.bytes[i] = i;
    writing.close();
    const mapping = mapFileSync(path, { populate: true });
    const ordinary = new Uint8Array(byteLength);
    ordinary.set(mapping.bytes);
    return {
      ours: { name: "memmap mapping", run: () => sum(mapping.bytes) },
      rivals: [{ name: "Uint8Array", wanted: 0.95, run: () => sum(ordinary) }],
      answer: (byteLength / 256) * 32_640,
      tearDown() {
        mapping.close();
        rmSync(folder, { recursive: true });
      },
    };
  },
};

/** What is measured. */
export const benches: readonly Bench[] = [bench];
