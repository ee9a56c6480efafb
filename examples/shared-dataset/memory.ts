// What a group of processes holds in memory, as the kernel counts it.

import { readFileSync } from "node:fs";

/** Prints a line of the table: sums over the processes, in MiB; returns the PSS. */
export function printMemory(title: string, pids: readonly number[]): number {
  const inodes = new Set<string>();
  let [rss, pss] = [0, 0];
  for (const pid of pids) {
    const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
    const mebibytes = (field: string): number =>
      Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(rollup)?.[1]) / 1024;
    rss += mebibytes("Rss"); // A page that several processes have counts for each of them.
    pss += mebibytes("Pss"); // Here it counts once: each of them bears its share.
    const maps = readFileSync(`/proc/${pid}/maps`, "utf8");
    for (const [, inode = ""] of maps.matchAll(/(\d+) +\/memfd:memmap:shared/g)) inodes.add(inode);
  }
  printLine(title, [rss.toFixed(1), pss.toFixed(1), String(inodes.size)]);
  return pss;
}

/** Prints a title and its columns. */
export function printLine(title: string, columns: readonly string[]): void {
  console.log(title.padEnd(44) + columns.map((column) => column.padStart(11)).join(""));
}
