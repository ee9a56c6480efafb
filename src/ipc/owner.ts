/**
 * Who holds something in shared memory: threads, by the numbers that the kernel gives them. Owns
 * the one answer to the question whether a thread of this or another process is dead.
 *
 * A record in shared memory is two words: the number of a thread, which is written in the same
 * atomic step that takes the lock, and the moment it was started, which follows. A number alone
 * could be given to another thread later; both together name one thread for ever.
 *
 *     +----------------+----------------------------+
 *     |   thread id    |  start time, ticks, 31 bit |     0: not written yet
 *     +----------------+----------------------------+
 *
 * The kernel's lists of robust locks are not used: engines unmap what belongs to a worker before
 * its thread ends, and the kernel finds nothing there any more.
 */
import { readFileSync, readlinkSync } from "node:fs";
import { native } from "../native.js";

/** A thread, as shared memory names it. */
export interface Thread {
  readonly id: number;
  /** In ticks since boot, the low 31 bits, never 0 where it is known. */
  readonly startTime: number;
  /** The namespace in which the id is one: ids of another mean nothing here. 0: cannot be told. */
  readonly namespace: number;
}

/** Fields 3 and 22 of /proc/ID/stat (proc_pid_stat(5)); the name before them may hold anything. */
function statOf(id: number): { readonly state: string; readonly startTime: number } {
  const stat = readFileSync(`/proc/${id}/stat`, "latin1");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const startTime = Number(BigInt(fields[19] ?? "0") & 0x7fff_ffffn) || 1;
  return { state: fields[0] ?? "", startTime };
}

function readThread(): Thread {
  const id = native().threadId();
  try {
    const namespace = Number(/\d+/.exec(readlinkSync("/proc/self/ns/pid"))?.[0]) | 0;
    return { id, startTime: statOf(id).startTime, namespace };
  } catch {
    return { id, startTime: 0, namespace: 0 }; // Where /proc may not be read.
  }
}

let own: Thread | undefined;

/** The thread that runs this. */
export function thisThread(): Thread {
  own ??= readThread();
  return own;
}

/* Whether there is no thread of that number, asked where /proc hides those of other users. */
function isAbsent(id: number): boolean {
  try {
    process.kill(id, 0);
    return false;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "ESRCH";
  }
}

/**
 * Whether a thread of this namespace has ended; false where that cannot be told.
 *
 * @param id Its number.
 * @param startTime When it started, as recorded; 0 when it has not been recorded.
 */
export function isDead(id: number, startTime: number): boolean {
  if (id <= 0 || id > 0x3f_ffff) return true;
  try {
    const now = statOf(id);
    if (now.state === "Z" || now.state === "X" || now.state === "x") return true;
    return startTime !== 0 && now.startTime !== startTime;
  } catch {
    return isAbsent(id);
  }
}
