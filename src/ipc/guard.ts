/**
 * What it is to hold a lock: the guard that its owner has, and gives back once.
 */
import { memmapError } from "../errors.js";

/** A held lock. */
export interface LockGuard extends Disposable {
  /**
   * Whether an owner has died while it held the lock, and nobody has repaired since what it left:
   * what the lock protects may be half changed.
   */
  readonly ownerDied: boolean;
  /**
   * Says that what the lock protects is whole again. Without that, `release()` abandons a lock
   * whose owner had died, and nobody can take it any more.
   *
   * @throws {MemmapError} `ERR_MEMMAP_READ_ONLY` for a lock that is held for reading;
   *   `ERR_MEMMAP_CLOSED` after `release()`.
   */
  recover(): void;
  /**
   * Gives the lock back; a second call does nothing. `using` does it at the end of a block.
   *
   * @throws {MemmapError} `ERR_MEMMAP_CORRUPT` when somebody has written over the lock.
   */
  release(): void;
}

/** What can be held, by several at once where a number tells the holds apart. */
export interface Holdable {
  repaired(hold: number): void;
  letGo(hold: number): void;
}

/** A guard over one hold. */
export class Guard implements LockGuard {
  readonly #lock: Holdable;
  readonly #hold: number;
  #ownerDied: boolean;
  #isHeld = true;

  constructor(lock: Holdable, hold: number, ownerDied: boolean) {
    this.#lock = lock;
    this.#hold = hold;
    this.#ownerDied = ownerDied;
  }

  get ownerDied(): boolean {
    return this.#ownerDied;
  }

  recover(): void {
    if (!this.#isHeld) {
      throw memmapError("ERR_MEMMAP_CLOSED", "Cannot recover a lock: it was released");
    }
    this.#lock.repaired(this.#hold);
    this.#ownerDied = false;
  }

  release(): void {
    if (!this.#isHeld) return;
    this.#isHeld = false;
    this.#lock.letGo(this.#hold);
  }

  [Symbol.dispose](): void {
    this.release();
  }
}
