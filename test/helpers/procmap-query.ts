// The query for one area of an address space, by its ioctl on /proc/PID/maps: since Linux 6.11.

import { noCompiler } from "./compile.js";
import { type Arena, syscall } from "./syscalls.js";
import { type Cleanup, needs } from "./temp.js";

/** Why areas cannot be asked for here; false where they can. */
export const noQuery: string | false = noCompiler || needs({ kernel: "6.11" }).skip;

/* From linux/fs.h: the number of the ioctl, and the size of its structure. */
const procmapQuery = 0xc068_6611;
const querySize = 104;

/** Finds the next area where there is none at the address. */
export const coveringOrNext = 0x10;

/** An area as the kernel tells it. */
export interface Found {
  readonly start: bigint;
  readonly end: bigint;
  readonly flags: number;
  readonly name: string;
  readonly buildId: Uint8Array;
}

/** Asks for the area at an address; fails where there is none. */
export type Query = (address: bigint, flags?: number) => Found;

/** Makes such a function for an open /proc/PID/maps. */
export function makeQuery(t: Cleanup, fd: number, arena: Arena): Query {
  const query = arena.room(querySize);
  const name = arena.room(512);
  const buildId = arena.room(64);
  const fields = new DataView(query.bytes.buffer, query.bytes.byteOffset, querySize);
  return (address, flags = 0) => {
    query.bytes.fill(0);
    const words = [BigInt(querySize), BigInt(flags), address];
    for (const [i, word] of words.entries()) fields.setBigUint64(i * 8, word, true);
    fields.setUint32(80, name.bytes.length, true);
    fields.setUint32(84, buildId.bytes.length, true);
    fields.setBigUint64(88, name.address, true);
    fields.setBigUint64(96, buildId.address, true);
    syscall(t, "ioctl", fd, procmapQuery, query.address);
    const nameSize = fields.getUint32(80, true);
    return {
      start: fields.getBigUint64(24, true),
      end: fields.getBigUint64(32, true),
      flags: Number(fields.getBigUint64(40, true)),
      name: Buffer.from(name.bytes.slice(0, Math.max(nameSize - 1, 0))).toString(),
      buildId: buildId.bytes.slice(0, fields.getUint32(84, true)),
    };
  };
}
