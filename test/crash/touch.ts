// How a way is done, and what it gave, in a form that crosses threads and processes.

/** What the touch itself gave: an error, or a number where it counts bytes. */
export interface Outcome {
  readonly error: string | undefined;
  readonly code: string | undefined;
  readonly count: number | undefined;
}

/** The same, with the value beside it for those who are in the same thread. */
export interface Touched {
  readonly outcome: Outcome;
  readonly value: unknown;
}

/* Longer than any touch takes; one that does not end is a finding, not a hanging test. */
const touchMsMax = 10_000;
const endless = "it did not end";

function describe(error: unknown): Outcome {
  if (!(error instanceof Error)) return { error: String(error), code: undefined, count: undefined };
  const code: unknown = Reflect.get(error, "code");
  const isBadAddress = code === "EFAULT" || /EFAULT|bad address/i.test(error.message);
  return {
    error: `${error.name}: ${error.message}`,
    code: isBadAddress ? "EFAULT" : typeof code === "string" ? code : undefined,
    count: undefined,
  };
}

function failed(error: unknown): Touched {
  return { outcome: describe(error), value: undefined };
}

function given(value: unknown): Touched {
  const count = typeof value === "number" ? value : undefined;
  return { outcome: { error: undefined, code: undefined, count }, value };
}

/** Touches, and tells what came of it. */
export function touchNow(run: () => unknown): Touched {
  try {
    return given(run());
  } catch (error) {
    return failed(error);
  }
}

/** Touches, and tells what came of it when all of it is over. */
export async function touch(run: () => unknown): Promise<Touched> {
  let timer: NodeJS.Timeout | undefined;
  try {
    const result = run();
    if (!(result instanceof Promise)) return given(result);
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(endless)), touchMsMax);
    });
    return given(await Promise.race([result, late]));
  } catch (error) {
    return failed(error);
  } finally {
    clearTimeout(timer);
  }
}

/** Whether a touch was given up. */
export function isEndless({ error }: Outcome): boolean {
  return error?.endsWith(endless) ?? false;
}

/** Whether the runtime's system call says that it could not reach all of the memory. */
export function isKernelAnswer({ code, count }: Outcome, wantedCount: number): boolean {
  return code === "EFAULT" || (count !== undefined && count < wantedCount);
}
