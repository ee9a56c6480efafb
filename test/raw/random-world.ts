// What random calls are made on: the mappings, views and descriptors that they have made so far,
// and where in the process everything else lies.

import { closeSync, ftruncateSync, openSync } from "node:fs";
import { join } from "node:path";
import * as raw from "memmap/raw";
import { type Area, areasOf } from "../helpers/proc-self.js";
import type { Place } from "./random-arguments.js";

/** A mapping that a call has made; another call may have ended or replaced it since. */
export interface Made {
  readonly address: bigint;
  readonly length: bigint;
}

/** So many mappings and views are kept; older ones make room. */
const madeMax = 40;
const viewsMax = 30;

const pageBytes = 4096n;

export class World {
  readonly views: Uint8Array[] = [];
  readonly #made: Made[] = [];
  readonly #files: number[];
  readonly #memory: number[];
  readonly #pool: BigUint64Array | undefined;
  #areas: readonly Area[] = [];

  /**
   * @param folder Where its files may lie.
   * @param pool Addresses that several threads share, so that they meet.
   */
  constructor(folder: string, pool?: BigUint64Array) {
    const path = join(folder, "file");
    const open = (flags: string, name: string) => openSync(name, flags);
    const writable = open("w+", path);
    ftruncateSync(writable, 65_536);
    this.#pool = pool;
    this.#files = [writable, open("r", path), open("a", path), open("r", folder)];
    this.#files.push(
      open("r+", "/dev/zero"),
      open("r", "/dev/null"),
      open("r", "/proc/self/status"),
    );
    this.#memory = [0, raw.MFD_ALLOW_SEALING, raw.MFD_HUGETLB].flatMap(makeMemory);
    this.#memory.push(raw.pidfd_open(process.pid, 0));
  }

  /** Looks where everything lies now. */
  look(): void {
    this.#areas = areasOf();
  }

  /** The file that may be resized under its mappings. */
  get file(): number {
    return this.#files[0] ?? -1;
  }

  get pidfd(): number {
    return this.#memory.at(-1) ?? -1;
  }

  descriptor(pick: number): number {
    const all = [...this.#files, ...this.#memory];
    return all[pick % all.length] ?? -1;
  }

  /** Whether a descriptor may be one that calls are made on, here or in another thread. */
  mayHold(fd: unknown): boolean {
    const isShared = this.#pool !== undefined && typeof fd === "number" && fd < 1000;
    return isShared || this.#memory.some((held) => held === fd);
  }

  /** A memory object of the raw door. */
  memory(pick: number): number {
    return this.#memory[pick % this.#memory.length] ?? -1;
  }

  remember(address: bigint, length: bigint): void {
    this.#made.push({ address, length });
    if (this.#pool !== undefined) this.#pool[this.#made.length % this.#pool.length] = address;
    if (this.#made.length > madeMax) this.#giveBack(this.#made.splice(0, madeMax / 4));
  }

  keepView(view: Uint8Array): void {
    this.views.push(view);
    if (this.views.length > viewsMax) this.views.splice(0, viewsMax / 3);
  }

  /** The address of a place. */
  resolve(place: Place): unknown {
    if (place.of === "value") return place.value;
    const start = this.#startOf(place.of, place.pick);
    const address = start + BigInt(place.page) * pageBytes + BigInt(place.byte);
    return BigInt.asUintN(64, address);
  }

  #startOf(of: string, pick: number): bigint {
    const areas = this.#areas;
    switch (of) {
      case "ours":
        return this.#ourStart(pick);
      case "heap":
        return areas.find((area) => area.name === "[heap]")?.start ?? 0n;
      case "stack": {
        // Also far below it, where it has not grown to yet.
        const start = areas.find((area) => area.name === "[stack]")?.start ?? 0n;
        return start - BigInt(pick % 4) * 2n ** 20n;
      }
      case "libc": {
        const rows = areas.filter((area) => /\/libc|ld-/.test(area.name));
        return rows[pick % rows.length]?.start ?? 0n;
      }
      case "hole":
        return areas[pick % areas.length]?.end ?? 0n;
      default:
        return areas[pick % areas.length]?.start ?? 0n;
    }
  }

  #ourStart(pick: number): bigint {
    const shared = this.#pool?.[pick % this.#pool.length] ?? 0n;
    if (shared !== 0n && pick % 2 === 0) return shared;
    return this.#made[pick % this.#made.length]?.address ?? 2n ** 44n;
  }

  #giveBack(list: readonly Made[]): void {
    for (const { address, length } of list) {
      try {
        raw.munmap(address, length);
      } catch {
        // It is sealed, or partly somebody else's by now.
      }
    }
  }

  /** Gives all of it back. */
  end(): void {
    this.#giveBack(this.#made.splice(0));
    this.views.length = 0;
    for (const fd of this.#files) closeSync(fd);
    for (const fd of this.#memory) raw.close(fd);
  }
}

/** A memory object of 64 KiB, where the system has such. */
function makeMemory(flags: number): number[] {
  try {
    const fd = raw.memfd_create("memmap-random", raw.MFD_CLOEXEC | flags);
    raw.ftruncate(fd, flags === raw.MFD_HUGETLB ? 2 ** 22 : 65_536);
    if (flags === raw.MFD_ALLOW_SEALING) raw.add_seals(fd, raw.F_SEAL_SHRINK);
    return [fd];
  } catch {
    return [];
  }
}
