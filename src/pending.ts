/**
 * Pure: the promises of a mapping that are waiting for storage.
 *
 * A call that has begun cannot be taken back; what can be done is to stop waiting for it. So each
 * promise settles by whichever comes first: the call returns, its signal aborts, or the mapping is
 * closed. The native side keeps the addresses until the call has really returned.
 */

/** The waiting promises of one mapping. */
export class Pending {
  readonly #rejections = new Set<(reason: unknown) => void>();

  /** Waits for a call, for its signal, and for {@link rejectAll}. */
  wait<T>(signal: AbortSignal | undefined, start: () => Promise<T>): Promise<T> {
    if (signal?.aborted === true) return Promise.reject(signal.reason);
    return new Promise<T>((resolve, reject) => {
      const onAbort = (): void => settle(() => reject(signal?.reason));
      const onClose = (reason: unknown): void => settle(() => reject(reason));
      const settle = (action: () => void): void => {
        this.#rejections.delete(onClose);
        signal?.removeEventListener("abort", onAbort);
        action();
      };
      this.#rejections.add(onClose);
      signal?.addEventListener("abort", onAbort, { once: true });
      start().then(
        (value) => settle(() => resolve(value)),
        (error: unknown) => settle(() => reject(error)),
      );
    });
  }

  /** Rejects every waiting promise. */
  rejectAll(reason: unknown): void {
    for (const reject of [...this.#rejections]) reject(reason);
  }
}
