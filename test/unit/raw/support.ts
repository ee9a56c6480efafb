// What the unit tests of the raw door share: the mistakes that each C type of the manual refuses,
// and kernels that must be new enough.

import assert from "node:assert/strict";
import { callUntyped } from "../../helpers/bad-calls.js";
import { emulatedName } from "../../helpers/runtime.js";
import { needs } from "../../helpers/temp.js";

/** The C types of arguments: void *, size_t, off_t, int, const char *. */
export type Kind = "address" | "size" | "offset" | "int" | "text";

/** An argument: its name in messages, its type, and a value that is none of the mistakes. */
export type Argument = readonly [name: string, kind: Kind, value: unknown];

interface Mistakes {
  readonly types: readonly unknown[];
  readonly values: readonly unknown[];
  readonly code: "ERR_OUT_OF_RANGE" | "ERR_INVALID_ARG_VALUE";
}

const trap = { valueOf: () => assert.fail("valueOf was called") };
const fractions = [0.5, Number.NaN, Infinity];

/* One of each kind of mistake; arguments.test.ts has them all. */
const mistakes: Readonly<Record<Kind, Mistakes>> = {
  address: {
    types: [undefined, 4096, "4096", trap],
    values: [-1n, 2n ** 64n],
    code: "ERR_OUT_OF_RANGE",
  },
  size: {
    types: [undefined, null, "1", trap],
    values: [-1, 2 ** 53, 2n ** 64n, ...fractions],
    code: "ERR_OUT_OF_RANGE",
  },
  offset: {
    types: [undefined, null, "1", trap],
    values: [2 ** 53, 2n ** 63n, -(2n ** 63n) - 1n, ...fractions],
    code: "ERR_OUT_OF_RANGE",
  },
  int: {
    types: [undefined, null, "1", 1n, trap],
    values: [2 ** 32, -(2 ** 31) - 1, ...fractions],
    code: "ERR_OUT_OF_RANGE",
  },
  text: {
    types: [undefined, null, 1, trap],
    values: ["a\0b"],
    code: "ERR_INVALID_ARG_VALUE",
  },
};

/**
 * Calls a function with one mistake after the other in each of its arguments, the others being
 * right; each is refused by the name of the argument.
 *
 * @param pack Makes the arguments of the call from the values, where they are not just these.
 */
export function refusesMistakes(
  fn: (...args: never[]) => unknown,
  args: readonly Argument[],
  pack: (values: readonly unknown[]) => readonly unknown[] = (values) => values,
): void {
  for (const [index, [name, kind]] of args.entries()) {
    const { types, values, code } = mistakes[kind];
    const plans = [
      ...types.map((value) => [value, "ERR_INVALID_ARG_TYPE"] as const),
      ...values.map((value) => [value, code] as const),
    ];
    for (const [mistake, expected] of plans) {
      const given = args.map(([, , value], i) => (i === index ? mistake : value));
      assert.throws(
        () => callUntyped(fn, undefined, pack(given)),
        (error) => {
          assert.ok(error instanceof TypeError || error instanceof RangeError, String(error));
          assert.equal("code" in error ? error.code : undefined, expected, error.message);
          assert.ok(error.message.startsWith(`"${name}" must`), error.message);
          return true;
        },
        `${fn.name}: ${name}`,
      );
    }
  }
}

/** The condition of a test whose call came with a version; an emulator may not know the call. */
export function needsKernel(kernel: string): { skip: string | false } {
  if (emulatedName) return { skip: "needs a kernel that is not emulated" };
  return needs({ kernel });
}
