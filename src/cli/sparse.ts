/**
 * Where the data of a sparse file lies: lseek(2) with SEEK_DATA and SEEK_HOLE. A file system that
 * does not know holes calls the whole file data.
 */
import { constant, native } from "../native.js";

/** A part of a file that holds data. */
export interface DataRun {
  readonly offset: number;
  readonly length: number;
}

/* A negative errno: no data behind the place, or a file system that cannot tell. */
function seek(fd: number, offset: number, name: string): number | "none" | "unknown" {
  const result = native().seek(fd, offset, constant(name));
  if (result >= 0) return result;
  return native().errnoNames[String(-result)] === "ENXIO" ? "none" : "unknown";
}

/** The first run of data at or behind `offset` and before `end`; undefined when there is none. */
export function dataFrom(fd: number, offset: number, end: number): DataRun | undefined {
  if (offset >= end) return undefined;
  const start = seek(fd, offset, "SEEK_DATA");
  if (start === "none") return undefined;
  if (start === "unknown") return { offset, length: end - offset };
  if (start >= end) return undefined;
  const hole = seek(fd, start, "SEEK_HOLE");
  const stop = typeof hole === "number" ? Math.min(hole, end) : end;
  return { offset: start, length: stop - start };
}
