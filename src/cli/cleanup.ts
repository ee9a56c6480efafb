/**
 * What must be undone when a signal ends the process. The signal is then raised again with its
 * default action, so that whoever started the command sees what ended it.
 */

const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/*
 * Heard and not acted on, so that a file past the limit of its size is an error of write(2). It is
 * heard until the end: Deno takes notice of a signal later and acts on it by default if nobody
 * listens then, which can still happen while it exits.
 */
function ignoreFileSizeLimit(): void {}

/** Runs a function once: when it is disposed of, or when a signal ends the process before. */
export class Cleanup {
  readonly #undo: () => void;
  readonly #handlers: ReadonlyMap<(typeof signals)[number], () => void>;
  #done = false;

  constructor(undo: () => void) {
    this.#undo = undo;
    this.#handlers = new Map(signals.map((name) => [name, () => this.#end(name)]));
    for (const [name, handler] of this.#handlers) process.on(name, handler);
    if (!process.listeners("SIGXFSZ").includes(ignoreFileSizeLimit)) {
      process.on("SIGXFSZ", ignoreFileSizeLimit);
    }
  }

  [Symbol.dispose](): void {
    for (const [name, handler] of this.#handlers) process.removeListener(name, handler);
    if (this.#done) return;
    this.#done = true;
    this.#undo();
  }

  #end(name: (typeof signals)[number]): void {
    try {
      this[Symbol.dispose]();
    } finally {
      process.kill(process.pid, name);
    }
  }
}
