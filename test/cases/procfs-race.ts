// A process that changes its areas while another one reads its maps, for procfs.ts.

import { closeSync, openSync, readSync } from "node:fs";
import { pageSize } from "memmap";
import { withPeer } from "../helpers/peer.js";
import { makeQuery, noQuery, type Query } from "../helpers/procmap-query.js";
import { pages } from "../helpers/raw-pages.js";
import { makeArena } from "../helpers/syscalls.js";
import type { CaseContext, Check } from "./case.js";

/** An address as the rows of maps have it. */
export function hex(address: bigint): string {
  return address.toString(16).padStart(8, "0");
}

/* Splits, merges, shortens and replaces areas until a file appears; four pages apart, so that they
   are never neighbours, between as many rows as fill several pages. */
const changing = `
  const { PROT_READ, PROT_WRITE, PROT_NONE, MAP_PRIVATE, MAP_ANONYMOUS, MAP_FIXED } = raw;
  const kind = MAP_PRIVATE | MAP_ANONYMOUS;
  const page = BigInt(pageSize);
  const place = raw.mmap(null, 600 * pageSize, PROT_NONE, kind, -1, 0);
  for (let i = 0n; i < 600n; i += 2n) raw.mprotect(place + i * page, pageSize, PROT_READ);
  const rw = PROT_READ | PROT_WRITE;
  const areas = [];
  for (let i = 1n; i < 600n; i += 6n) areas.push(place + i * page);
  for (const at of areas) raw.mmap(at, 3 * pageSize, rw, kind | MAP_FIXED, -1, 0);
  ready({ pid: process.pid, place: String(place) });
  while (!isStopped()) {
    for (const [i, at] of areas.entries()) {
      if (i % 3 === 0) {
        raw.mprotect(at + page, pageSize, PROT_READ);
        raw.mprotect(at + page, pageSize, rw);
      } else if (i % 3 === 1) {
        raw.mremap(at, 3 * pageSize, 2 * pageSize, 0);
        raw.mmap(at, 3 * pageSize, rw, kind | MAP_FIXED, -1, 0);
      } else {
        raw.mmap(at + page, pageSize, PROT_READ, kind | MAP_FIXED, -1, 0);
        raw.mmap(at + page, pageSize, rw, kind | MAP_FIXED, -1, 0);
      }
    }
  }
  answer({ ended: true });`;

/* Every row that can stand in the place of the changing areas, at whatever moment. */
function rowsAllowed(place: bigint): Set<string> {
  const rows = new Set<string>();
  const add = (first: number, count: number, permissions: string) => {
    const start = place + pages(first);
    rows.add(`${hex(start)}-${hex(start + pages(count))} ${permissions}`);
  };
  for (let i = 0; i < 600; i++) for (const one of ["r--p", "---p"]) add(i, 1, one);
  for (let i = 1; i < 600; i += 6) {
    for (const [from, count] of [
      [0, 3],
      [0, 2],
      [0, 1],
      [2, 1],
    ] as const)
      add(i + from, count, "rw-p");
  }
  return rows;
}

/* Reads maps in pieces of one page; each piece ends at the end of a row. */
function readPieces(check: Check, fd: number): string {
  const piece = new Uint8Array(pageSize);
  let text = "";
  for (let position = 0; ; ) {
    const count = readSync(fd, piece, 0, piece.length, position);
    if (count === 0) return text;
    position += count;
    const part = Buffer.from(piece.slice(0, count)).toString();
    check.ok(part.endsWith("\n"), "a row is torn");
    text += part;
  }
}

const rowShape = /^[0-9a-f]+-[0-9a-f]+ [r-][w-][x-][ps] [0-9a-f]+ [0-9a-f]+:[0-9a-f]+ \d+ *\S?.*$/;

/* Where the areas are that another process changes, and which of their rows were seen. */
interface Watch {
  readonly check: Check;
  readonly first: bigint;
  readonly allowed: ReadonlySet<string>;
  readonly seen: Set<string>;
}

function keep({ check, allowed, seen }: Watch, row: string): void {
  if (!allowed.has(row)) check.ok(false, `neither an old nor a new row: ${row}`);
  seen.add(row);
}

function readAll(watch: Watch, fd: number): void {
  const { check, first } = watch;
  for (const line of readPieces(check, fd).trimEnd().split("\n")) {
    if (!rowShape.test(line)) check.ok(false, `no row: ${line}`);
    const start = BigInt(`0x${line.split("-")[0]}`);
    const isWatched = first <= start && start < first + pages(600);
    if (isWatched) keep(watch, line.slice(0, line.indexOf("p ") + 1));
  }
}

function queryAll(watch: Watch, query: Query): void {
  for (let i = 1; i < 600; i += 6) {
    const { start, end, flags } = query(watch.first + pages(i));
    const permissions = `${flags & 1 ? "r" : "-"}${flags & 2 ? "w" : "-"}-p`;
    keep(watch, `${hex(start)}-${hex(end)} ${permissions}`);
  }
}

/** Reads and asks for the areas of a process that changes them meanwhile. */
export async function checkRace(check: Check, t: CaseContext): Promise<void> {
  const seen = new Set<string>();
  const answer = await withPeer(t, { code: changing }, ({ pid, place }) => {
    const first = BigInt(String(place));
    const watch: Watch = { check, first, allowed: rowsAllowed(first), seen };
    const fd = openSync(`/proc/${pid}/maps`, "r");
    try {
      for (let round = 0; round < 150; round++) readAll(watch, fd);
      const query = noQuery ? undefined : makeQuery(t, fd, makeArena(t));
      for (let round = 0; query !== undefined && round < 20; round++) queryAll(watch, query);
    } finally {
      closeSync(fd);
    }
  });
  check.deepEqual(answer, { ended: true });
  const states = [...seen].filter((row) => row.endsWith("rw-p")).length;
  check.ok(states > 100, `${states} rows of the areas: nothing changed meanwhile`);
}
