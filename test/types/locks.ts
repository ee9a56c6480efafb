// Compile-only: the types of the locks of memmap/ipc. Nothing here is run; a line that should not
// compile and does is an error of its own.

import {
  Barrier,
  type BlockOptions,
  type BlockSyncOptions,
  type LockGuard,
  Mutex,
  type Permit,
  RwLock,
  Semaphore,
  SharedEvent,
} from "memmap/ipc";

/** True for one type alone, so that a type that became `any` is noticed. */
type Same<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;

/** Compiles for `true` only. */
function holds<T extends true>(): T | undefined {
  return undefined;
}

export async function locks(bytes: Uint8Array): Promise<void> {
  const mutex = new Mutex(bytes);
  using guard = mutex.lockSync({ timeoutMs: 1 });
  const awaited = await mutex.lock({ signal: new AbortController().signal, timeoutMs: undefined });
  holds<Same<typeof guard, LockGuard>>();
  holds<Same<typeof awaited, LockGuard>>();
  holds<Same<ReturnType<Mutex["tryLock"]>, LockGuard | undefined>>();
  const lock = new RwLock(bytes);
  holds<Same<ReturnType<typeof lock.read>, Promise<LockGuard>>>();
  holds<Same<ReturnType<typeof lock.writeSync>, LockGuard>>();
  holds<Same<ReturnType<typeof lock.tryWrite>, LockGuard | undefined>>();
  holds<Same<typeof RwLock.byteLength, number>>();
  // @ts-expect-error: a synchronous wait cannot be aborted
  lock.readSync({ signal: AbortSignal.abort() });
  // @ts-expect-error: the outcome is told, not set
  guard.ownerDied = false;
}

export async function counters(bytes: Uint8Array): Promise<void> {
  const semaphore = new Semaphore(bytes);
  using permit = semaphore.acquireSync(2);
  const awaited = await semaphore.acquire();
  holds<Same<typeof permit, Permit>>();
  holds<Same<typeof awaited, Permit>>();
  holds<Same<ReturnType<typeof semaphore.tryAcquire>, Permit | undefined>>();
  holds<Same<typeof semaphore.value, number>>();
  // @ts-expect-error: permits are given and taken, not set
  semaphore.value = 1;
}

export async function meetings(bytes: Uint8Array): Promise<void> {
  const event = new SharedEvent(bytes);
  holds<Same<ReturnType<typeof event.wait>, Promise<void>>>();
  holds<Same<typeof event.isSet, boolean>>();
  const barrier = Barrier.create(bytes, 3);
  holds<Same<typeof barrier, Barrier>>();
  const isLast = await barrier.arrive();
  holds<Same<typeof isLast, boolean>>();
  holds<Same<ReturnType<typeof barrier.tryArrive>, boolean>>();
  // @ts-expect-error: a barrier is made with its size
  Barrier.create(bytes);
}

export function options(some: BlockOptions): BlockSyncOptions {
  holds<Same<typeof some.timeoutMs, number | undefined>>();
  return some;
}
