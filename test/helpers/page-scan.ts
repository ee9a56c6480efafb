// What the kernel finds of one kind in a range of this process: PAGEMAP_SCAN, an ioctl that
// JavaScript cannot make. A program, compiled here, makes it on the page map of its parent.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { compileProgram } from "./compile.js";
import type { Cleanup } from "./temp.js";

const program = `
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>

struct page_region { uint64_t start, end, categories; };

struct pm_scan_arg {
  uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
  uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

int main(int count, char **args) {
  struct page_region found[64];
  if (count != 5) return 2;
  uint64_t category = strtoull(args[4], NULL, 0);
  struct pm_scan_arg scan = {
      .size = sizeof scan,
      .start = strtoull(args[2], NULL, 0),
      .end = strtoull(args[3], NULL, 0),
      .vec = (uint64_t)(uintptr_t)found,
      .vec_len = 64,
      .category_mask = category,
      .return_mask = category,
  };
  int fd = open(args[1], O_RDONLY);
  int regions = ioctl(fd, _IOWR('f', 16, struct pm_scan_arg), &scan);
  if (regions < 0) {
    perror("PAGEMAP_SCAN");
    return 1;
  }
  printf("%llu\\n", (unsigned long long)scan.walk_end);
  for (int i = 0; i < regions; i++) {
    printf("%llu\\n%llu\\n", (unsigned long long)found[i].start, (unsigned long long)found[i].end);
  }
  return 0;
}
`;

/** Pages on which a guard was installed, since Linux 6.16. */
export const PAGE_IS_GUARD: number = 1 << 8;

/** What one scan found. */
export interface Scan {
  /** Where the walk came to its end. */
  readonly walkEnd: bigint;
  /** Runs of pages of the kind: the first address, and the one behind. */
  readonly regions: readonly (readonly [start: bigint, end: bigint])[];
}

/** A range of addresses and the kind of pages that are looked for in it. */
export interface ScanPlan {
  readonly start: bigint;
  readonly end: bigint;
  readonly category: number;
}

/** Looks for pages of a kind in a range of this process: 64 regions at the most. */
export function scanPages(t: Cleanup, { start, end, category }: ScanPlan): Scan {
  const args = [`/proc/${process.pid}/pagemap`, ...[start, end, BigInt(category)].map(String)];
  const { status, stdout, stderr } = spawnSync(compileProgram(t, program), args, {
    encoding: "utf8",
  });
  assert.equal(status, 0, stderr);
  const [walkEnd = 0n, ...edges] = stdout.trim().split("\n").map(BigInt);
  const regions: [bigint, bigint][] = [];
  for (let i = 0; i < edges.length; i += 2) regions.push([edges[i] ?? 0n, edges[i + 1] ?? 0n]);
  return { walkEnd, regions };
}
